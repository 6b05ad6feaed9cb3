//! Logic, shifts and fields of bits.

use super::{Mods, for_bits, for_int, sources};
use crate::program::build::Builder;
use crate::program::inst::Src;
use crate::program::lanes::{LaneFn, lanes};
use crate::syntax::Read;
use crate::syntax::ast::Ty;

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    match m.raw.opcode {
        "and" | "or" | "xor" | "not" | "cnot" => logic(b, m)?,
        "shl" | "shr" => shift(b, m)?,
        "shf" => funnel(b, m)?,
        "popc" | "clz" | "brev" | "bfind" => count(b, m)?,
        "bfe" | "bfi" | "bmsk" | "szext" => field(b, m)?,
        "lop3" => lop3(b, m)?,
        "prmt" => permute(b, m)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn logic<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let ty = m.ty(b)?;
    if ty != Ty::Pred && !matches!(ty, Ty::B16 | Ty::B32 | Ty::B64) {
        return m.bad_type(b, ty);
    }
    let f: LaneFn = match m.raw.opcode {
        "and" => lanes!(|x: u64, y: u64| -> u64 { x & y }),
        "or" => lanes!(|x: u64, y: u64| -> u64 { x | y }),
        "xor" => lanes!(|x: u64, y: u64| -> u64 { x ^ y }),
        "not" if ty == Ty::Pred => lanes!(|x: bool| -> bool { !x }),
        "not" => for_bits!(b, m, ty, T => lanes!(|x: T| -> T { !x })),
        _ => for_bits!(b, m, ty, T => lanes!(|x: T| -> T { T::from(x == 0) })),
    };
    let [dst, args @ ..] = &m.raw.operands[..] else { return b.error("expected a destination") };
    let wanted = if matches!(m.raw.opcode, "not" | "cnot") { 1 } else { 2 };
    if args.len() != wanted {
        return b.error(format!("`{}` takes {} operands, found {}", m.raw.opcode, wanted + 1, args.len() + 1));
    }
    let args = sources(b, args, ty)?;
    let dst = b.dst(dst)?;
    b.map(f, dst, &args)
}

fn shift<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let ty = m.ty(b)?;
    let [dst, x, amount] = m.operands(b)?;
    let (x, amount) = (b.src(x, ty)?, b.src(amount, Ty::U32)?);
    let f: LaneFn = match m.raw.opcode {
        "shl" => for_int!(b, m, ty, T => lanes!(|x: T, n: u32| -> T { x.checked_shl(n).unwrap_or(0) })),
        // An arithmetic shift by too much leaves the sign.
        _ => for_int!(b, m, ty, T => lanes!(|x: T, n: u32| -> T {
            if n < T::BITS { x >> n } else { (x >> (T::BITS - 1)) >> 1 }
        })),
    };
    let dst = b.dst(dst)?;
    b.map(f, dst, &[x, amount])
}

fn funnel<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let left = m.take("l");
    if !left && !m.take("r") {
        return b.error("`shf` needs .l or .r");
    }
    let wrap = m.take("wrap");
    if !wrap && !m.take("clamp") {
        return b.error("`shf` needs .wrap or .clamp");
    }
    let ty = m.ty(b)?;
    if ty != Ty::B32 {
        return m.bad_type(b, ty);
    }
    let f: LaneFn = match (left, wrap) {
        (true, true) => lanes!(|x: u64, y: u64, n: u32| -> u32 { ((y << 32 | x) << (n & 31) >> 32) as u32 }),
        (true, false) => lanes!(|x: u64, y: u64, n: u32| -> u32 { ((y << 32 | x) << n.min(32) >> 32) as u32 }),
        (false, true) => lanes!(|x: u64, y: u64, n: u32| -> u32 { ((y << 32 | x) >> (n & 31)) as u32 }),
        (false, false) => lanes!(|x: u64, y: u64, n: u32| -> u32 { ((y << 32 | x) >> n.min(32)) as u32 }),
    };
    let [dst, x, y, n] = m.operands(b)?;
    let args = [b.src(x, ty)?, b.src(y, ty)?, b.src(n, Ty::U32)?];
    let dst = b.dst(dst)?;
    b.map(f, dst, &args)
}

fn count<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let amount = m.take("shiftamt");
    let ty = m.ty(b)?;
    let [dst, x] = m.operands(b)?;
    let f: LaneFn = match m.raw.opcode {
        "popc" => for_bits!(b, m, ty, T => lanes!(|x: T| -> u32 { x.count_ones() })),
        "clz" => for_bits!(b, m, ty, T => lanes!(|x: T| -> u32 { x.leading_zeros() })),
        "brev" => for_bits!(b, m, ty, T => lanes!(|x: T| -> T { x.reverse_bits() })),
        // The place of the highest bit that differs from the sign; all ones where there is none.
        _ => {
            let wide: LaneFn = match ty {
                Ty::U32 => lanes!(|x: u32| -> u32 { x.checked_ilog2().unwrap_or(u32::MAX) }),
                Ty::U64 => lanes!(|x: u64| -> u32 { x.checked_ilog2().unwrap_or(u32::MAX) }),
                Ty::S32 => lanes!(|x: i32| -> u32 { ((x ^ (x >> 31)) as u32).checked_ilog2().unwrap_or(u32::MAX) }),
                Ty::S64 => lanes!(|x: i64| -> u32 { ((x ^ (x >> 63)) as u64).checked_ilog2().unwrap_or(u32::MAX) }),
                _ => return m.bad_type(b, ty),
            };
            wide
        }
    };
    let x = b.src(x, ty)?;
    let dst = b.dst(dst)?;
    b.map(f, dst, &[x])?;
    if amount {
        let top = b.number(u64::from(ty.bits()) - 1);
        let f = lanes!(|x: u32, top: u32| -> u32 { if x == u32::MAX { x } else { top - x.min(top) } });
        b.map(f, dst, &[Src::reg(dst), top])?;
    }
    Ok(())
}

/// Takes `length` bits from `start`; with a sign, the last of them (or of the value) is spread.
fn extract(x: u64, start: u32, length: u32, bits: u32, signed: bool) -> u64 {
    let (start, length) = (start & 0xff, length & 0xff);
    if length == 0 {
        return 0;
    }
    let mask = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
    let field = if start >= bits { 0 } else { (x >> start) & mask };
    if !signed {
        return field;
    }
    let sign = x >> (start + length - 1).min(bits - 1) & 1;
    // Bits above the field, and those that lie beyond the value, are copies of the sign.
    let known = length.min(bits.saturating_sub(start));
    let low = if known >= 64 { u64::MAX } else { (1 << known) - 1 };
    let all = if sign == 1 { (field & low) | !low } else { field & low };
    if bits == 64 { all } else { all & ((1 << bits) - 1) }
}

fn insert(x: u64, into: u64, start: u32, length: u32, bits: u32) -> u64 {
    let (start, length) = (start & 0xff, length & 0xff);
    if start >= bits || length == 0 {
        return into;
    }
    let ones = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
    let limit = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let mask = (ones << start) & limit;
    (into & !mask) | (x << start & mask)
}

fn field<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let (wrap, clamp) = (m.take("wrap"), m.take("clamp"));
    let ty = m.ty(b)?;
    match m.raw.opcode {
        "bfe" => {
            let f: LaneFn = match ty {
                Ty::U32 => lanes!(|x: u64, s: u32, n: u32| -> u64 { extract(x, s, n, 32, false) }),
                Ty::U64 => lanes!(|x: u64, s: u32, n: u32| -> u64 { extract(x, s, n, 64, false) }),
                Ty::S32 => lanes!(|x: u64, s: u32, n: u32| -> u64 { extract(x, s, n, 32, true) }),
                Ty::S64 => lanes!(|x: u64, s: u32, n: u32| -> u64 { extract(x, s, n, 64, true) }),
                _ => return m.bad_type(b, ty),
            };
            let [dst, x, s, n] = m.operands(b)?;
            let args = [b.src(x, ty)?, b.src(s, Ty::U32)?, b.src(n, Ty::U32)?];
            let dst = b.dst(dst)?;
            b.map(f, dst, &args)
        }
        "bfi" => {
            let f: LaneFn = match ty {
                Ty::B32 => lanes!(|x: u64, y: u64, s: u32, n: u32| -> u64 { insert(x, y, s, n, 32) }),
                Ty::B64 => lanes!(|x: u64, y: u64, s: u32, n: u32| -> u64 { insert(x, y, s, n, 64) }),
                _ => return m.bad_type(b, ty),
            };
            let [dst, x, y, s, n] = m.operands(b)?;
            let args = [b.src(x, ty)?, b.src(y, ty)?, b.src(s, Ty::U32)?, b.src(n, Ty::U32)?];
            let dst = b.dst(dst)?;
            b.map(f, dst, &args)
        }
        "bmsk" if wrap || clamp => {
            let f: LaneFn = if wrap {
                lanes!(|s: u32, n: u32| -> u64 { insert(u64::MAX, 0, s & 31, n & 31, 32) })
            } else {
                lanes!(|s: u32, n: u32| -> u64 { insert(u64::MAX, 0, s.min(32), n.min(32), 32) })
            };
            let [dst, s, n] = m.operands(b)?;
            let args = [b.src(s, Ty::U32)?, b.src(n, Ty::U32)?];
            let dst = b.dst(dst)?;
            b.map(f, dst, &args)
        }
        "szext" if wrap || clamp => {
            let f: LaneFn = match (ty, wrap) {
                (Ty::U32, true) => lanes!(|x: u64, n: u32| -> u64 { extract(x, 0, n & 31, 32, false) }),
                (Ty::U32, false) => lanes!(|x: u64, n: u32| -> u64 { extract(x, 0, n.min(32), 32, false) }),
                (Ty::S32, true) => lanes!(|x: u64, n: u32| -> u64 { extract(x, 0, n & 31, 32, true) }),
                (Ty::S32, false) => lanes!(|x: u64, n: u32| -> u64 { extract(x, 0, n.min(32), 32, true) }),
                _ => return m.bad_type(b, ty),
            };
            let [dst, x, n] = m.operands(b)?;
            let args = [b.src(x, ty)?, b.src(n, Ty::U32)?];
            let dst = b.dst(dst)?;
            b.map(f, dst, &args)
        }
        other => b.error(format!("`{other}` needs .wrap or .clamp")),
    }
}

/// Any function of three bits.
fn lop3<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let ty = m.ty(b)?;
    let [dst, x, y, z, table] = m.operands(b)?;
    let args = [b.src(x, ty)?, b.src(y, ty)?, b.src(z, ty)?, b.src(table, Ty::U32)?];
    let f = lanes!(|x: u32, y: u32, z: u32, table: u32| -> u32 {
        (0..8).filter(|row| table >> row & 1 == 1).fold(0, |all, row: u32| {
            let pick = |v: u32, bit: u32| if row >> bit & 1 == 1 { v } else { !v };
            all | (pick(x, 2) & pick(y, 1) & pick(z, 0))
        })
    });
    let dst = b.dst(dst)?;
    b.map(f, dst, &args)
}

/// The selector of a byte permutation for its special modes.
fn selector(mode: u32, n: u32) -> u32 {
    let n = n & 3;
    let nibbles = |f: &dyn Fn(u32) -> u32| (0..4).fold(0, |s, i| s | f(i) << (4 * i));
    match mode {
        1 => nibbles(&|i| i + n),
        2 => nibbles(&|i| (8 + n - i) & 7),
        3 => nibbles(&|_| n),
        4 => nibbles(&|i| i.max(n)),
        5 => nibbles(&|i| i.min(n)),
        _ => nibbles(&|i| (n & 1) * 2 + (i & 1)),
    }
}

/// Picks four of eight bytes; bit 3 of a nibble spreads the byte's sign.
fn permuted(x: u32, y: u32, selector: u32) -> u32 {
    let bytes = u64::from(y) << 32 | u64::from(x);
    (0..4).fold(0, |all, i| {
        let nibble = selector >> (4 * i) & 15;
        let byte = (bytes >> (8 * (nibble & 7))) as u8;
        let byte = if nibble & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte };
        all | u32::from(byte) << (8 * i)
    })
}

fn permute<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let ty = m.ty(b)?;
    let mode =
        m.find(|w| ["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"].iter().position(|x| *x == w)).map_or(0, |i| i + 1);
    let [dst, x, y, s] = m.operands(b)?;
    let args = [b.src(x, ty)?, b.src(y, ty)?, b.src(s, Ty::U32)?, b.number(mode as u64)];
    let f: LaneFn = if mode == 0 {
        lanes!(|x: u32, y: u32, s: u32| -> u32 { permuted(x, y, s) })
    } else {
        lanes!(|x: u32, y: u32, s: u32, mode: u32| -> u32 { permuted(x, y, selector(mode, s)) })
    };
    let dst = b.dst(dst)?;
    b.map(f, dst, &args)
}

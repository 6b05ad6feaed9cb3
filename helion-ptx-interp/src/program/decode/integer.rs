//! Integer arithmetic.

use super::{Mods, for_int, sources};
use crate::program::build::Builder;
use crate::program::inst::{Reg, Src};
use crate::program::lanes::{LaneFn, lanes};
use crate::syntax::Read;
use crate::syntax::ast::Ty;

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    let is_float = m.raw.modifiers.iter().any(|w| w.starts_with('f') || w.starts_with("bf"));
    let opcode = m.raw.opcode;
    match opcode {
        "add" | "sub" | "mul" | "mad" | "div" | "rem" | "min" | "max" | "abs" | "neg" if !is_float => {}
        "addc" | "subc" | "sad" | "mul24" | "mad24" | "dp4a" | "dp2a" => {}
        _ => return Ok(false),
    }
    match opcode {
        "add" | "sub" if m.take("cc") => carry(b, m, opcode == "sub", false, true)?,
        "addc" | "subc" => {
            let writes = m.take("cc");
            carry(b, m, opcode == "subc", true, writes)?;
        }
        "mul" | "mad" => product(b, m)?,
        "dp4a" | "dp2a" => dot(b, m)?,
        "mul24" | "mad24" => narrow_product(b, m)?,
        _ => simple(b, m)?,
    }
    Ok(true)
}

fn simple<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let sat = m.take("sat");
    let relu = m.take("relu");
    let ty = m.ty(b)?;
    let f: LaneFn = match m.raw.opcode {
        op @ ("add" | "sub" | "min" | "max") if matches!(ty, Ty::U16x2 | Ty::S16x2) => pairs(op, ty == Ty::S16x2),
        "add" if sat => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> T { x.saturating_add(y) })),
        "sub" if sat => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> T { x.saturating_sub(y) })),
        "add" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> T { x.wrapping_add(y) })),
        "sub" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> T { x.wrapping_sub(y) })),
        // The hardware's quotient by zero has all bits set.
        "div" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> T { if y == 0 { !0 } else { x.wrapping_div(y) } })),
        "rem" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> T { if y == 0 { x } else { x.wrapping_rem(y) } })),
        "min" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> T { x.min(y) })),
        "max" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> T { x.max(y) })),
        "sad" => {
            for_int!(b, m, ty, T => lanes!(|x: T, y: T, z: T| -> T { z.wrapping_add(x.max(y).wrapping_sub(x.min(y))) }))
        }
        "abs" => match ty {
            Ty::S16 => lanes!(|x: i16| -> i16 { x.wrapping_abs() }),
            Ty::S32 => lanes!(|x: i32| -> i32 { x.wrapping_abs() }),
            Ty::S64 => lanes!(|x: i64| -> i64 { x.wrapping_abs() }),
            _ => return m.bad_type(b, ty),
        },
        _ => for_int!(b, m, ty, T => lanes!(|x: T| -> T { (0 as T).wrapping_sub(x) })),
    };
    let wanted = match m.raw.opcode {
        "abs" | "neg" => 1,
        "sad" => 3,
        _ => 2,
    };
    let [dst, args @ ..] = &m.raw.operands[..] else { return b.error("expected a destination") };
    if args.len() != wanted {
        return b.error(format!("`{}` takes {} operands, found {}", m.raw.opcode, wanted + 1, args.len() + 1));
    }
    let args = sources(b, args, ty)?;
    let dst = b.dst(dst)?;
    b.map(f, dst, &args)?;
    if relu {
        let f: LaneFn = match ty {
            Ty::S32 => lanes!(|x: i32| -> i32 { x.max(0) }),
            Ty::S16x2 => crate::program::lanes::packed!(|x| i16 { x.max(0) }),
            _ => return m.bad_type(b, ty),
        };
        b.map(f, dst, &[Src::reg(dst)])?;
    }
    Ok(())
}

/// Two 16-bit operations in one register.
fn pairs(op: &str, signed: bool) -> LaneFn {
    use crate::program::lanes::packed;
    match (op, signed) {
        ("add", _) => packed!(|x, y| u16 { x.wrapping_add(y) }),
        ("sub", _) => packed!(|x, y| u16 { x.wrapping_sub(y) }),
        ("min", false) => packed!(|x, y| u16 { x.min(y) }),
        ("min", true) => packed!(|x, y| i16 { x.min(y) }),
        (_, false) => packed!(|x, y| u16 { x.max(y) }),
        (_, true) => packed!(|x, y| i16 { x.max(y) }),
    }
}

/// Sums whose carry goes through the condition code, which is a register here.
fn carry<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>, subtract: bool, reads: bool, writes: bool) -> Read<()> {
    let ty = m.ty(b)?;
    let [dst, x, y] = m.operands(b)?;
    let (x, y) = (b.src(x, ty)?, b.src(y, ty)?);
    let dst = b.dst(dst)?;
    let flag: Reg = match b.carry {
        Some(reg) => reg,
        None => {
            let reg = b.temp();
            b.carry = Some(reg);
            reg
        }
    };
    let old = if reads { Src::reg(flag) } else { b.number(0) };
    let (sum, over): (LaneFn, LaneFn) = match (ty.bits(), subtract) {
        (32, false) => (
            lanes!(|x: u32, y: u32, c: u32| -> u32 { x.wrapping_add(y).wrapping_add(c) }),
            lanes!(|x: u32, y: u32, c: u32| -> bool {
                u64::from(x) + u64::from(y) + u64::from(c) > u64::from(u32::MAX)
            }),
        ),
        (32, true) => (
            lanes!(|x: u32, y: u32, c: u32| -> u32 { x.wrapping_sub(y).wrapping_sub(c) }),
            lanes!(|x: u32, y: u32, c: u32| -> bool { u64::from(x) < u64::from(y) + u64::from(c) }),
        ),
        (64, false) => (
            lanes!(|x: u64, y: u64, c: u64| -> u64 { x.wrapping_add(y).wrapping_add(c) }),
            lanes!(|x: u64, y: u64, c: u64| -> bool {
                u128::from(x) + u128::from(y) + u128::from(c) > u128::from(u64::MAX)
            }),
        ),
        (64, true) => (
            lanes!(|x: u64, y: u64, c: u64| -> u64 { x.wrapping_sub(y).wrapping_sub(c) }),
            lanes!(|x: u64, y: u64, c: u64| -> bool { u128::from(x) < u128::from(y) + u128::from(c) }),
        ),
        _ => return m.bad_type(b, ty),
    };
    // The carry is computed first: the sum may overwrite an operand.
    let new = b.temp();
    if writes {
        b.map(over, new, &[x, y, old])?;
    }
    b.map(sum, dst, &[x, y, old])?;
    if writes {
        b.map(lanes!(|a: u64| -> u64 { a }), flag, &[Src::reg(new)])?;
    }
    Ok(())
}

/// Picks by an integer type and the type of twice its width.
macro_rules! for_wide {
    ($b:expr, $m:expr, $ty:expr, $t:ident, $w:ident => $e:expr) => {
        match $ty {
            Ty::U16 => {
                type $t = u16;
                type $w = u32;
                $e
            }
            Ty::U32 => {
                type $t = u32;
                type $w = u64;
                $e
            }
            Ty::S16 => {
                type $t = i16;
                type $w = i32;
                $e
            }
            Ty::S32 => {
                type $t = i32;
                type $w = i64;
                $e
            }
            other => return $m.bad_type($b, other),
        }
    };
}

fn product<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let part = m.find(|w| ["lo", "hi", "wide"].into_iter().find(|p| *p == w));
    let ty = m.ty(b)?;
    let adds = m.raw.opcode == "mad";
    let f: LaneFn = match part {
        Some("lo") => for_int!(b, m, ty, T => lanes!(|x: T, y: T, z: T| -> T { x.wrapping_mul(y).wrapping_add(z) })),
        Some("hi") => match ty {
            Ty::U64 => lanes!(|x: u64, y: u64, z: u64| -> u64 {
                (((u128::from(x) * u128::from(y)) >> 64) as u64).wrapping_add(z)
            }),
            Ty::S64 => lanes!(|x: i64, y: i64, z: i64| -> i64 {
                (((i128::from(x) * i128::from(y)) >> 64) as i64).wrapping_add(z)
            }),
            _ => for_wide!(b, m, ty, T, W => lanes!(|x: T, y: T, z: T| -> T {
                ((W::from(x).wrapping_mul(W::from(y)) >> T::BITS) as T).wrapping_add(z)
            })),
        },
        Some("wide") => for_wide!(b, m, ty, T, W => lanes!(|x: T, y: T, z: W| -> W {
            W::from(x).wrapping_mul(W::from(y)).wrapping_add(z)
        })),
        _ => return b.error(format!("`{}` of integers needs .lo, .hi or .wide", m.raw.opcode)),
    };
    let wide = match ty {
        Ty::U16 | Ty::S16 => Ty::B32,
        _ => Ty::B64,
    };
    let (dst, x, y, z) = if adds {
        let [dst, x, y, z] = m.operands(b)?;
        (dst, x, y, b.src(z, if part == Some("wide") { wide } else { ty })?)
    } else {
        let [dst, x, y] = m.operands(b)?;
        (dst, x, y, b.number(0))
    };
    let (x, y) = (b.src(x, ty)?, b.src(y, ty)?);
    let dst = b.dst(dst)?;
    b.map(f, dst, &[x, y, z])
}

/// Products of the lower 24 bits.
fn narrow_product<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let high = m.take("hi");
    m.ignore(&["lo"]);
    let ty = m.ty(b)?;
    let f: LaneFn = match (ty, high) {
        (Ty::U32, false) => {
            lanes!(|x: u32, y: u32, z: u32| -> u32 { (x & 0xff_ffff).wrapping_mul(y & 0xff_ffff).wrapping_add(z) })
        }
        (Ty::U32, true) => lanes!(|x: u32, y: u32, z: u32| -> u32 {
            (((u64::from(x & 0xff_ffff) * u64::from(y & 0xff_ffff)) >> 16) as u32).wrapping_add(z)
        }),
        (Ty::S32, false) => {
            lanes!(|x: i32, y: i32, z: i32| -> i32 { (x << 8 >> 8).wrapping_mul(y << 8 >> 8).wrapping_add(z) })
        }
        _ => return m.bad_type(b, ty),
    };
    let (dst, x, y, z) = if m.raw.opcode == "mad24" {
        let [dst, x, y, z] = m.operands(b)?;
        (dst, x, y, b.src(z, ty)?)
    } else {
        let [dst, x, y] = m.operands(b)?;
        (dst, x, y, b.number(0))
    };
    let (x, y) = (b.src(x, ty)?, b.src(y, ty)?);
    let dst = b.dst(dst)?;
    b.map(f, dst, &[x, y, z])
}

/// The byte of a register, sign-extended or not.
fn byte(x: u32, i: u32, signed: bool) -> i32 {
    let byte = (x >> (8 * i)) as u8;
    if signed { i32::from(byte as i8) } else { i32::from(byte) }
}

/// The half of a register, sign-extended or not.
fn half(x: u32, i: u32, signed: bool) -> i32 {
    let half = (x >> (16 * i)) as u16;
    if signed { i32::from(half as i16) } else { i32::from(half) }
}

/// Dot products of four bytes, or of two halves and two bytes, and a sum.
fn dot<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let four = m.raw.opcode == "dp4a";
    let high = !four && m.take("hi");
    if !four && !high {
        m.take("lo");
    }
    let (x_ty, y_ty) = (m.ty(b)?, m.ty(b)?);
    let flags = u64::from(x_ty.is_signed()) | u64::from(y_ty.is_signed()) << 1 | u64::from(high) << 2;
    let f: LaneFn = if four {
        lanes!(|x: u32, y: u32, z: u32, how: u32| -> u32 {
            (0..4).fold(z, |sum, i| sum.wrapping_add((byte(x, i, how & 1 != 0) * byte(y, i, how & 2 != 0)) as u32))
        })
    } else {
        lanes!(|x: u32, y: u32, z: u32, how: u32| -> u32 {
            (0..2).fold(z, |sum, i| {
                let other = byte(y, i + (how >> 2) * 2, how & 2 != 0);
                sum.wrapping_add(half(x, i, how & 1 != 0).wrapping_mul(other) as u32)
            })
        })
    };
    let [dst, x, y, z] = m.operands(b)?;
    let args = [b.src(x, Ty::B32)?, b.src(y, Ty::B32)?, b.src(z, Ty::B32)?, b.number(flags)];
    let dst = b.dst(dst)?;
    b.map(f, dst, &args)
}

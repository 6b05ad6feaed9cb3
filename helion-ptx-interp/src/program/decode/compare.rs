//! Comparisons and selections.

use super::{Float, Mods, for_int};
use crate::program::build::Builder;
use crate::program::inst::Src;
use crate::program::lanes::{Bf16, F16, F32, F32Ftz, F64, LaneFn, Real, lanes};
use crate::report::Class;
use crate::syntax::Read;
use crate::syntax::ast::{Operand, Ty};

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    match m.raw.opcode {
        "setp" => set_predicate(b, m)?,
        "set" => set(b, m)?,
        "selp" => {
            let ty = m.ty(b)?;
            let [dst, x, y, p] = m.operands(b)?;
            let args = [b.src(x, ty)?, b.src(y, ty)?, b.src(p, Ty::Pred)?];
            let dst = b.dst(dst)?;
            b.map(lanes!(|x: u64, y: u64, p: bool| -> u64 { if p { x } else { y } }), dst, &args)?;
        }
        "slct" => {
            m.take("ftz");
            let (ty, by) = (m.ty(b)?, m.ty(b)?);
            let f: LaneFn = match by {
                Ty::S32 => lanes!(|x: u64, y: u64, c: i32| -> u64 { if c >= 0 { x } else { y } }),
                Ty::F32 => lanes!(|x: u64, y: u64, c: F32| -> u64 { if c >= 0.0 { x } else { y } }),
                _ => return m.bad_type(b, by),
            };
            let [dst, x, y, c] = m.operands(b)?;
            let args = [b.src(x, ty)?, b.src(y, ty)?, b.src(c, by)?];
            let dst = b.dst(dst)?;
            b.map(f, dst, &args)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A comparison of integers.
fn integers<'a>(b: &mut Builder<'_, 'a>, m: &Mods<'_, 'a>, cmp: &str, ty: Ty) -> Read<LaneFn> {
    // `lo` and so on are unsigned names of the same relations.
    Ok(match cmp {
        "eq" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> bool { x == y })),
        "ne" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> bool { x != y })),
        "lt" | "lo" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> bool { x < y })),
        "le" | "ls" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> bool { x <= y })),
        "gt" | "hi" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> bool { x > y })),
        "ge" | "hs" => for_int!(b, m, ty, T => lanes!(|x: T, y: T| -> bool { x >= y })),
        other => return b.error(format!("`.{other}` does not compare values of type {ty}")),
    })
}

/// A comparison of floats; of packed floats it compares the lower halves.
fn floats<'a>(b: &Builder<'_, 'a>, cmp: &str, kind: Float) -> Read<LaneFn> {
    macro_rules! pick {
        (|$x:ident, $y:ident| $e:expr) => {
            match kind {
                Float::F32 => lanes!(|$x: F32, $y: F32| -> bool { $e }),
                Float::F32Ftz => lanes!(|$x: F32Ftz, $y: F32Ftz| -> bool { $e }),
                Float::F64 => lanes!(|$x: F64, $y: F64| -> bool { $e }),
                Float::F16 | Float::F16x2 => lanes!(|$x: F16, $y: F16| -> bool { $e }),
                Float::Bf16 | Float::Bf16x2 => lanes!(|$x: Bf16, $y: Bf16| -> bool { $e }),
            }
        };
    }
    Ok(match cmp {
        "eq" => pick!(|x, y| x == y),
        "ne" => pick!(|x, y| x.partial_cmp(&y).is_some_and(|o| o.is_ne())),
        "lt" => pick!(|x, y| x < y),
        "le" => pick!(|x, y| x <= y),
        "gt" => pick!(|x, y| x > y),
        "ge" => pick!(|x, y| x >= y),
        "equ" => pick!(|x, y| x.partial_cmp(&y).is_none_or(|o| o.is_eq())),
        "neu" => pick!(|x, y| x != y),
        "ltu" => pick!(|x, y| x.partial_cmp(&y).is_none_or(|o| o.is_lt())),
        "leu" => pick!(|x, y| x.partial_cmp(&y).is_none_or(|o| o.is_le())),
        "gtu" => pick!(|x, y| x.partial_cmp(&y).is_none_or(|o| o.is_gt())),
        "geu" => pick!(|x, y| x.partial_cmp(&y).is_none_or(|o| o.is_ge())),
        "num" => pick!(|x, y| !x.unordered() && !y.unordered()),
        "nan" => pick!(|x, y| x.unordered() || y.unordered()),
        other => return b.error(format!("`.{other}` is not a comparison")),
    })
}

const COMPARISONS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan",
];

/// How the result of a comparison is combined with a third operand.
fn combination(m: &mut Mods<'_, '_>) -> Option<LaneFn> {
    m.find(|w| {
        Some(match w {
            "and" => lanes!(|t: bool, c: bool| -> bool { t && c }),
            "or" => lanes!(|t: bool, c: bool| -> bool { t || c }),
            "xor" => lanes!(|t: bool, c: bool| -> bool { t ^ c }),
            _ => return None,
        })
    })
}

fn comparison<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>, cmp: &str, ty: Ty) -> Read<LaneFn> {
    let ftz = m.take("ftz");
    match Float::of(ty, ftz) {
        Some(kind) => {
            b.classify(Class::Float);
            floats(b, cmp, kind)
        }
        None => integers(b, m, cmp, ty),
    }
}

fn set_predicate<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let Some(cmp) = m.find(|w| COMPARISONS.into_iter().find(|c| *c == w)) else {
        return b.error("`setp` needs a comparison");
    };
    let combine = combination(m);
    let ty = m.ty(b)?;
    let f = comparison(b, m, cmp, ty)?;
    let [dst, x, y, rest @ ..] = &m.raw.operands[..] else { return b.error("`setp` takes two values") };
    let (x, y) = (b.src(x, ty)?, b.src(y, ty)?);
    let third = match (combine, rest) {
        (Some(_), [c]) => Some(b.src(c, Ty::Pred)?),
        (None, []) => None,
        _ => return b.error("`setp` takes a predicate exactly if it combines with one"),
    };
    let (p, q) = match dst {
        Operand::Pair(p, q) => (b.dst_or_sink(p)?, b.dst_or_sink(q)?),
        _ => (Some(b.dst(dst)?), None),
    };
    if let (Some(p), None, None) = (p, q, third) {
        return b.map(f, p, &[x, y]);
    }
    // Everything is computed before anything is written, as an operand may be overwritten.
    let first = b.temp();
    b.map(f, first, &[x, y])?;
    let second = q.map(|_| b.temp());
    if let Some(second) = second {
        if matches!(ty, Ty::F16x2 | Ty::Bf16x2) {
            let upper = lanes!(|x: u64| -> u64 { x >> 16 });
            let (hx, hy) = (b.temp(), b.temp());
            b.map(upper, hx, &[x])?;
            b.map(upper, hy, &[y])?;
            b.map(f, second, &[Src::reg(hx), Src::reg(hy)])?;
        } else {
            b.map(lanes!(|t: bool| -> bool { !t }), second, &[Src::reg(first)])?;
        }
    }
    if let (Some(combine), Some(c)) = (combine, third) {
        b.map(combine, first, &[Src::reg(first), c])?;
        if let Some(second) = second {
            b.map(combine, second, &[Src::reg(second), c])?;
        }
    }
    let copy = lanes!(|t: bool| -> bool { t });
    if let Some(p) = p {
        b.map(copy, p, &[Src::reg(first)])?;
    }
    if let (Some(q), Some(second)) = (q, second) {
        b.map(copy, q, &[Src::reg(second)])?;
    }
    Ok(())
}

/// A comparison whose result is a number.
fn set<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let Some(cmp) = m.find(|w| COMPARISONS.into_iter().find(|c| *c == w)) else {
        return b.error("`set` needs a comparison");
    };
    let combine = combination(m);
    let (result, ty) = (m.ty(b)?, m.ty(b)?);
    let f = comparison(b, m, cmp, ty)?;
    let [dst, x, y, rest @ ..] = &m.raw.operands[..] else { return b.error("`set` takes two values") };
    let (x, y) = (b.src(x, ty)?, b.src(y, ty)?);
    let t = b.temp();
    b.map(f, t, &[x, y])?;
    match (combine, rest) {
        (Some(combine), [c]) => {
            let c = b.src(c, Ty::Pred)?;
            b.map(combine, t, &[Src::reg(t), c])?;
        }
        (None, []) => {}
        _ => return b.error("`set` takes a predicate exactly if it combines with one"),
    }
    let dst = b.dst(dst)?;
    if matches!(ty, Ty::F16x2 | Ty::Bf16x2) {
        let upper = lanes!(|x: u64| -> u64 { x >> 16 });
        let (hx, hy, high) = (b.temp(), b.temp(), b.temp());
        b.map(upper, hx, &[x])?;
        b.map(upper, hy, &[y])?;
        b.map(f, high, &[Src::reg(hx), Src::reg(hy)])?;
        let one = match result {
            Ty::F16x2 => 0x3c00,
            Ty::Bf16x2 => 0x3f80,
            _ => 0xffff,
        };
        let one = b.number(one);
        let f = lanes!(|l: bool, h: bool, one: u32| -> u32 { (u32::from(l) * one) | ((u32::from(h) * one) << 16) });
        return b.map(f, dst, &[Src::reg(t), Src::reg(high), one]);
    }
    let f: LaneFn = match result {
        Ty::U32 | Ty::S32 => lanes!(|t: bool| -> u32 { if t { u32::MAX } else { 0 } }),
        Ty::U16 | Ty::S16 => lanes!(|t: bool| -> u16 { if t { u16::MAX } else { 0 } }),
        Ty::F32 => lanes!(|t: bool| -> F32 { f32::from(u8::from(t)) }),
        Ty::F16 => lanes!(|t: bool| -> F16 { f32::from(u8::from(t)) }),
        Ty::Bf16 => lanes!(|t: bool| -> Bf16 { f32::from(u8::from(t)) }),
        _ => return m.bad_type(b, result),
    };
    b.map(f, dst, &[Src::reg(t)])
}

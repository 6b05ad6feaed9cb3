//! Floating-point arithmetic. Approximate functions are computed in f64 and rounded once: closer than the hardware's.

use super::{Float, Mods, for_float, sources};
use crate::float::{Format, Round, direct, round_to, to_odd};
use crate::program::build::Builder;
use crate::program::inst::{Reg, Src};
use crate::program::lanes::{Bf16, F16, F32, F32Ftz, F64, Fused, LaneFn, Real, lanes, packed, product_error};
use crate::report::Class;
use crate::syntax::Read;
use crate::syntax::ast::Ty;

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    let arguments = match m.raw.opcode {
        "add" | "sub" | "mul" | "div" | "min" | "max" | "copysign" => 2,
        "fma" | "mad" => 3,
        "abs" | "neg" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => 1,
        "testp" => {
            test(b, m)?;
            return Ok(true);
        }
        _ => return Ok(false),
    };
    b.classify(Class::Float);
    let ftz = m.take("ftz");
    m.take("noftz");
    let approx = m.take("approx") || m.take("full");
    let round = m.find(Round::named).unwrap_or(Round::Nearest);
    let (sat, relu, nan) = (m.take("sat"), m.take("relu"), m.take("NaN"));
    let ty = m.ty(b)?;
    let Some(kind) = Float::of(ty, ftz) else { return m.bad_type(b, ty) };
    let [dst, args @ ..] = &m.raw.operands[..] else { return b.error("expected a destination") };
    if args.len() != arguments {
        return b.error(format!("`{}` takes {} operands, found {}", m.raw.opcode, arguments + 1, args.len() + 1));
    }
    let args = sources(b, args, ty)?;
    let dst = b.dst(dst)?;
    if round != Round::Nearest && !approx {
        directed(b, m, kind, round, dst, &args)?;
    } else if let Some(f) = unrounded(m.raw.opcode, kind, nan) {
        b.map(f, dst, &args)?;
    } else {
        return m.bad_type(b, ty);
    }
    if sat {
        b.map(for_float!(kind, |x| x.unit()), dst, &[Src::reg(dst)])?;
    }
    if relu {
        b.map(for_float!(kind, |x| x.rectified()), dst, &[Src::reg(dst)])?;
    }
    Ok(true)
}

/// Functions that round to nearest, or not at all.
fn unrounded(opcode: &str, kind: Float, nan: bool) -> Option<LaneFn> {
    Some(match opcode {
        "add" => for_float!(kind, |x, y| x + y),
        "sub" => for_float!(kind, |x, y| x - y),
        "mul" => for_float!(kind, |x, y| x * y),
        "fma" | "mad" => fused(kind),
        // Two roundings of a quotient or a root end at the same value when the first has more than twice the bits.
        "div" => for_float!(kind, |x, y| Real::narrowed(x.wide() / y.wide())),
        "rcp" => for_float!(kind, |x| Real::narrowed(1.0 / x.wide())),
        "sqrt" => for_float!(kind, |x| Real::narrowed(x.wide().sqrt())),
        "rsqrt" => for_float!(kind, |x| Real::narrowed(1.0 / x.wide().sqrt())),
        "sin" => for_float!(kind, |x| Real::narrowed(x.wide().sin())),
        "cos" => for_float!(kind, |x| Real::narrowed(x.wide().cos())),
        "lg2" => for_float!(kind, |x| Real::narrowed(x.wide().log2())),
        "ex2" => for_float!(kind, |x| Real::narrowed(x.wide().exp2())),
        "tanh" => for_float!(kind, |x| Real::narrowed(x.wide().tanh())),
        "min" if nan => for_float!(kind, |x, y| x.smaller_nan(y)),
        "max" if nan => for_float!(kind, |x, y| x.larger_nan(y)),
        "min" => for_float!(kind, |x, y| x.smaller(y)),
        "max" => for_float!(kind, |x, y| x.larger(y)),
        "abs" => for_float!(kind, |x| x.abs()),
        "neg" => for_float!(kind, |x| -x),
        "copysign" => match kind {
            Float::F32 | Float::F32Ftz => lanes!(|x: u32, y: u32| -> u32 { (x & 1 << 31) | (y & !(1 << 31)) }),
            Float::F64 => lanes!(|x: u64, y: u64| -> u64 { (x & 1 << 63) | (y & !(1 << 63)) }),
            Float::F16 | Float::Bf16 | Float::F16x2 | Float::Bf16x2 => return None,
        },
        _ => return None,
    })
}

fn fused(kind: Float) -> LaneFn {
    match kind {
        Float::F32 => lanes!(|x: F32, y: F32, z: F32| -> F32 { F32::fused(x, y, z) }),
        Float::F32Ftz => lanes!(|x: F32Ftz, y: F32Ftz, z: F32Ftz| -> F32Ftz { F32Ftz::fused(x, y, z) }),
        Float::F64 => lanes!(|x: F64, y: F64, z: F64| -> F64 { F64::fused(x, y, z) }),
        Float::F16 => lanes!(|x: F16, y: F16, z: F16| -> F16 { F16::fused(x, y, z) }),
        Float::Bf16 => lanes!(|x: Bf16, y: Bf16, z: Bf16| -> Bf16 { Bf16::fused(x, y, z) }),
        Float::F16x2 => packed!(|x, y, z| F16 { F16::fused(x, y, z) }),
        Float::Bf16x2 => packed!(|x, y, z| Bf16 { Bf16::fused(x, y, z) }),
    }
}

/// The nearest f64 to an operation's result, and what the exact result has beyond it (its sign is what counts).
fn with_error(op: u64, x: f64, y: f64, z: f64) -> (f64, f64) {
    let sum = |a: f64, b: f64| {
        let s = a + b;
        let t = s - a;
        (s, (a - (s - t)) + (b - t))
    };
    match op {
        0 => sum(x, y),
        1 => sum(x, -y),
        2 => (x * y, product_error(x, y, x * y)),
        3 => {
            let p = x * y;
            let (s, e) = sum(p, z);
            (s, e + product_error(x, y, p))
        }
        4 => {
            let q = x / y;
            (q, (-q).mul_add(y, x) / y)
        }
        5 => {
            let q = 1.0 / x;
            (q, (-q).mul_add(x, 1.0) / x)
        }
        _ => {
            let s = x.sqrt();
            (s, (-s).mul_add(s, x))
        }
    }
}

fn round_of(code: u64) -> Round {
    match code {
        0 => Round::Zero,
        1 => Round::Down,
        _ => Round::Up,
    }
}

fn directed32(x: f32, y: f32, z: f32, how: u64) -> f32 {
    let (nearest, error) = with_error(how / 4, x.into(), y.into(), z.into());
    f32::from_bits(round_to(to_odd(nearest, error), Format::F32, round_of(how % 4), false))
}

/// Operations with a directed rounding mode.
fn directed<'a>(
    b: &mut Builder<'_, 'a>,
    m: &Mods<'_, 'a>,
    kind: Float,
    round: Round,
    dst: Reg,
    args: &[Src],
) -> Read<()> {
    let op = match m.raw.opcode {
        "add" => 0,
        "sub" => 1,
        "mul" => 2,
        "fma" | "mad" => 3,
        "div" => 4,
        "rcp" => 5,
        "sqrt" => 6,
        other => return b.error(format!("`{other}` has no rounding mode")),
    };
    let mode = match round {
        Round::Zero => 0,
        Round::Down => 1,
        Round::Up => 2,
        Round::Nearest | Round::Away => return b.error("the rounding mode .rna is for conversions"),
    };
    let f: LaneFn = match kind {
        Float::F32 => lanes!(|x: F32, y: F32, z: F32, how: u64| -> F32 { directed32(x, y, z, how) }),
        Float::F32Ftz => lanes!(|x: F32Ftz, y: F32Ftz, z: F32Ftz, how: u64| -> F32Ftz { directed32(x, y, z, how) }),
        Float::F64 => lanes!(|x: F64, y: F64, z: F64, how: u64| -> F64 {
            {
                let (nearest, error) = with_error(how / 4, x, y, z);
                direct(nearest, error, round_of(how % 4))
            }
        }),
        Float::F16 | Float::Bf16 | Float::F16x2 | Float::Bf16x2 => {
            return b.error(format!("`{}` of 16-bit floats rounds to nearest only", m.raw.opcode));
        }
    };
    let zero = b.number(0);
    let mut all = [zero; 4];
    all[..args.len()].copy_from_slice(args);
    all[3] = b.number(op * 4 + mode);
    b.map(f, dst, &all)
}

/// `testp`: what kind of float a value is.
fn test<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    const KINDS: [&str; 6] = ["finite", "infinite", "number", "notanumber", "normal", "subnormal"];
    let Some(kind) = m.find(|w| KINDS.iter().position(|k| *k == w)) else {
        return b.error(format!("`testp` needs one of {KINDS:?}"));
    };
    let ty = m.ty(b)?;
    let [dst, x] = m.operands(b)?;
    macro_rules! pick {
        ($t:ident) => {
            match kind {
                0 => lanes!(|x: $t| -> bool { x.is_finite() }),
                1 => lanes!(|x: $t| -> bool { x.is_infinite() }),
                2 => lanes!(|x: $t| -> bool { !x.is_nan() }),
                3 => lanes!(|x: $t| -> bool { x.is_nan() }),
                4 => lanes!(|x: $t| -> bool { x.is_normal() }),
                _ => lanes!(|x: $t| -> bool { x.is_subnormal() }),
            }
        };
    }
    let f: LaneFn = match ty {
        Ty::F32 => pick!(F32),
        Ty::F64 => pick!(F64),
        _ => return m.bad_type(b, ty),
    };
    let x = b.src(x, ty)?;
    let dst = b.dst(dst)?;
    b.map(f, dst, &[x])
}

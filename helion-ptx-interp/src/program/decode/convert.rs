//! `cvt`: between all types, in all rounding modes.
//!
//! A conversion goes through f64, which every source fits into exactly (64-bit integers are rounded to odd, which a second
//! rounding cannot tell from exact), and is then rounded once. Common pairs have a function of their own.

use super::mov::COPY;
use super::{Mods, for_int};
use crate::float::{Format, Round, direct, e4m3, e5m2, integer_odd, narrow, narrowing, round_integral};
use crate::program::build::Builder;
use crate::program::inst::{Reg, Src};
use crate::program::lanes::{Bf16, F16, F32, F32Ftz, F64, LaneFn, lanes};
use crate::report::Class;
use crate::syntax::Read;
use crate::syntax::ast::Ty;

/// What a conversion's modifiers say.
#[derive(Clone, Copy)]
struct How {
    round: Option<Round>,
    /// `.rni` and so on: the result is integral.
    integral: Option<Round>,
    ftz: bool,
    sat: bool,
    satfinite: bool,
    relu: bool,
}

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    if m.raw.opcode != "cvt" {
        return Ok(false);
    }
    b.classify(Class::Convert);
    if m.take("pack") {
        pack(b, m)?;
        return Ok(true);
    }
    let integral = m.find(|w| {
        Some(match w {
            "rni" => Round::Nearest,
            "rzi" => Round::Zero,
            "rmi" => Round::Down,
            "rpi" => Round::Up,
            _ => return None,
        })
    });
    let how = How {
        integral,
        round: m.find(Round::named),
        ftz: m.take("ftz"),
        sat: m.take("sat"),
        satfinite: m.take("satfinite"),
        relu: m.take("relu"),
    };
    let (to, from) = (m.ty(b)?, m.ty(b)?);
    match (lanes_of(to), lanes_of(from)) {
        (1, 1) => {
            let [dst, x] = m.operands(b)?;
            let x = b.src(x, from)?;
            let width = b.width(dst);
            let dst = b.dst(dst)?;
            scalar(b, m, how, to, from, dst, x, width)?;
        }
        (2, 1) => {
            let [dst, high, low] = m.operands(b)?;
            let (high, low) = (b.src(high, from)?, b.src(low, from)?);
            let dst = b.dst(dst)?;
            pair(b, m, how, to, from, dst, high, low)?;
        }
        (2, 2) => {
            let [dst, x] = m.operands(b)?;
            let x = b.src(x, from)?;
            let half = from.bits() / 2;
            let (high, low, by) = (b.temp(), b.temp(), b.number(u64::from(half)));
            let cut: LaneFn = match half {
                8 => lanes!(|x: u64| -> u8 { x as u8 }),
                _ => lanes!(|x: u64| -> u16 { x as u16 }),
            };
            b.map(cut, low, &[x])?;
            b.map(lanes!(|x: u64, by: u32| -> u64 { x >> by }), high, &[x, by])?;
            let dst = b.dst(dst)?;
            pair(b, m, how, to, element(from), dst, Src::reg(high), Src::reg(low))?;
        }
        _ => return m.bad_type(b, to),
    }
    Ok(true)
}

fn lanes_of(ty: Ty) -> u32 {
    if element(ty) == ty { 1 } else { 2 }
}

/// The type of one part of a packed type.
fn element(ty: Ty) -> Ty {
    match ty {
        Ty::F16x2 => Ty::F16,
        Ty::Bf16x2 => Ty::Bf16,
        Ty::E4m3x2 => Ty::E4m3,
        Ty::E5m2x2 => Ty::E5m2,
        other => other,
    }
}

fn format_of(ty: Ty) -> Option<Format> {
    Some(match ty {
        Ty::F16 => Format::F16,
        Ty::Bf16 => Format::Bf16,
        Ty::F32 => Format::F32,
        Ty::Tf32 => Format::Tf32,
        Ty::E4m3 => Format::E4m3,
        Ty::E5m2 => Format::E5m2,
        _ => return None,
    })
}

/// Converts two values and packs them, the first into the upper half.
#[allow(clippy::too_many_arguments)]
fn pair<'a>(
    b: &mut Builder<'_, 'a>,
    m: &Mods<'_, 'a>,
    how: How,
    to: Ty,
    from: Ty,
    dst: Reg,
    high: Src,
    low: Src,
) -> Read<()> {
    if to == Ty::Bf16x2 && from == Ty::F32 && how.round == Some(Round::Nearest) && !how.relu && !how.satfinite {
        let f = lanes!(|h: F32, l: F32| -> u32 { cut_bf16(h) << 16 | cut_bf16(l) });
        return b.map(f, dst, &[high, low]);
    }
    let part = element(to);
    let (h, l) = (b.temp(), b.temp());
    scalar(b, m, how, part, from, h, high, part.bits())?;
    scalar(b, m, how, part, from, l, low, part.bits())?;
    let f: LaneFn = match part.bits() {
        8 => lanes!(|h: u32, l: u32| -> u32 { h << 8 | l }),
        _ => lanes!(|h: u32, l: u32| -> u32 { h << 16 | l }),
    };
    b.map(f, dst, &[Src::reg(h), Src::reg(l)])
}

fn cut_bf16(x: f32) -> u32 {
    if x.is_nan() { 0x7fff } else { u32::from(half::bf16::from_f32(x).to_bits()) }
}

/// Conversions that one function does.
fn shortcut(how: How, to: Ty, from: Ty) -> Option<LaneFn> {
    let nearest = how.round == Some(Round::Nearest) && !how.relu && !how.satfinite && !how.sat && !how.ftz;
    let plain = how.round.is_none() && how.integral.is_none() && !how.sat && !how.ftz;
    Some(match (to, from) {
        (Ty::F32, Ty::F16) if plain => lanes!(|x: F16| -> F32 { x }),
        (Ty::F32, Ty::Bf16) if plain => lanes!(|x: Bf16| -> F32 { x }),
        (Ty::F64, Ty::F32) if plain => lanes!(|x: F32| -> F64 { f64::from(x) }),
        (Ty::F16, Ty::F32) if nearest => lanes!(|x: F32| -> F16 { x }),
        (Ty::Bf16, Ty::F32) if nearest => lanes!(|x: F32| -> Bf16 { x }),
        (Ty::F32, Ty::F64) if nearest => lanes!(|x: F64| -> F32 { x as f32 }),
        (Ty::F32, Ty::S32) if nearest => lanes!(|x: i32| -> F32 { x as f32 }),
        (Ty::F32, Ty::U32) if nearest => lanes!(|x: u32| -> F32 { x as f32 }),
        _ => return None,
    })
}

#[allow(clippy::too_many_arguments)]
fn scalar<'a>(
    b: &mut Builder<'_, 'a>,
    m: &Mods<'_, 'a>,
    how: How,
    to: Ty,
    from: Ty,
    dst: Reg,
    x: Src,
    width: u32,
) -> Read<()> {
    if let Some(f) = shortcut(how, to, from) {
        return b.map(f, dst, &[x]);
    }
    let (from_int, to_int) = (is_int(from), is_int(to));
    match (from_int, to_int) {
        (true, true) => integers(b, m, how, to, from, dst, x)?,
        (true, false) => {
            let t = b.temp();
            let f: LaneFn = for_int!(b, m, from, T => lanes!(|x: T| -> F64 { integer_odd(i128::from(x)) }));
            b.map(f, t, &[x])?;
            let directed = how.round.unwrap_or(Round::Nearest);
            if to == Ty::F64 {
                // Odd rounding was a means; what is wanted are 53 bits rounded once.
                let code = b.number(code_of(directed));
                let f: LaneFn =
                    for_int!(b, m, from, T => lanes!(|x: T, code: u64| -> F64 { integer_to_f64(i128::from(x), code) }));
                b.map(f, dst, &[x, code])?;
            } else {
                narrow_into(b, m, how, to, dst, Src::reg(t))?;
            }
        }
        (false, _) => {
            let wide = Src::reg(widen(b, m, how, from, x)?);
            if to_int {
                to_integer(b, m, how, to, dst, wide)?;
            } else {
                narrow_into(b, m, how, to, dst, wide)?;
            }
        }
    }
    // A narrow signed result fills a wider register with its sign.
    match (to, width) {
        (Ty::S8, 16) => b.map(lanes!(|x: i8| -> i16 { i16::from(x) }), dst, &[Src::reg(dst)]),
        (Ty::S8, 32) => b.map(lanes!(|x: i8| -> i32 { i32::from(x) }), dst, &[Src::reg(dst)]),
        (Ty::S16, 32) => b.map(lanes!(|x: i16| -> i32 { i32::from(x) }), dst, &[Src::reg(dst)]),
        (Ty::S32, 64) => b.map(lanes!(|x: i32| -> i64 { i64::from(x) }), dst, &[Src::reg(dst)]),
        _ => Ok(()),
    }
}

fn is_int(ty: Ty) -> bool {
    matches!(
        ty,
        Ty::U8
            | Ty::U16
            | Ty::U32
            | Ty::U64
            | Ty::S8
            | Ty::S16
            | Ty::S32
            | Ty::S64
            | Ty::B8
            | Ty::B16
            | Ty::B32
            | Ty::B64
    )
}

fn integers<'a>(b: &mut Builder<'_, 'a>, m: &Mods<'_, 'a>, how: How, to: Ty, from: Ty, dst: Reg, x: Src) -> Read<()> {
    let f: LaneFn = if how.sat {
        for_int!(b, m, from, S => for_int!(b, m, to, D => lanes!(|x: S| -> D {
            i128::from(x).clamp(i128::from(D::MIN), i128::from(D::MAX)) as D
        })))
    } else {
        for_int!(b, m, from, S => for_int!(b, m, to, D => lanes!(|x: S| -> D { x as D })))
    };
    b.map(f, dst, &[x])
}

fn code_of(round: Round) -> u64 {
    match round {
        Round::Nearest | Round::Away => 0,
        Round::Zero => 1,
        Round::Down => 2,
        Round::Up => 3,
    }
}

fn round_of(code: u64) -> Round {
    match code & 3 {
        0 => Round::Nearest,
        1 => Round::Zero,
        2 => Round::Down,
        _ => Round::Up,
    }
}

fn integer_to_f64(x: i128, code: u64) -> f64 {
    let nearest = x as f64;
    direct(nearest, (x - nearest as i128) as f64, round_of(code))
}

/// A float as f64, exactly; integral if that is asked for.
fn widen<'a>(b: &mut Builder<'_, 'a>, m: &Mods<'_, 'a>, how: How, from: Ty, x: Src) -> Read<Reg> {
    let f: LaneFn = match from {
        Ty::F16 => lanes!(|x: F16| -> F64 { f64::from(x) }),
        Ty::Bf16 => lanes!(|x: Bf16| -> F64 { f64::from(x) }),
        Ty::F32 if how.ftz => lanes!(|x: F32Ftz| -> F64 { f64::from(x) }),
        Ty::F32 => lanes!(|x: F32| -> F64 { f64::from(x) }),
        Ty::F64 => COPY,
        Ty::E4m3 => lanes!(|x: u8| -> F64 { f64::from(e4m3(x)) }),
        Ty::E5m2 => lanes!(|x: u8| -> F64 { f64::from(e5m2(x)) }),
        _ => return m.bad_type(b, from),
    };
    let t = b.temp();
    b.map(f, t, &[x])?;
    if let Some(round) = how.integral {
        let code = b.number(code_of(round));
        b.map(lanes!(|x: F64, code: u64| -> F64 { round_integral(x, round_of(code)) }), t, &[Src::reg(t), code])?;
    }
    Ok(t)
}

/// An integral f64 to an integer: too large values become the largest, NaN becomes zero.
fn to_integer<'a>(b: &mut Builder<'_, 'a>, m: &Mods<'_, 'a>, how: How, to: Ty, dst: Reg, x: Src) -> Read<()> {
    if how.integral.is_none() {
        return b.error("a conversion of a float to an integer needs .rni, .rzi, .rmi or .rpi");
    }
    let f: LaneFn = for_int!(b, m, to, T => lanes!(|x: F64| -> T { x as T }));
    b.map(f, dst, &[x])
}

/// An f64 to a narrower float, or to itself.
fn narrow_into<'a>(b: &mut Builder<'_, 'a>, m: &Mods<'_, 'a>, how: How, to: Ty, dst: Reg, x: Src) -> Read<()> {
    let mut x = x;
    if how.relu || how.sat {
        let t = b.temp();
        use crate::program::lanes::Real;
        let f: LaneFn =
            if how.sat { lanes!(|x: F64| -> F64 { x.unit() }) } else { lanes!(|x: F64| -> F64 { x.rectified() }) };
        b.map(f, t, &[x])?;
        x = Src::reg(t);
    }
    if to == Ty::F64 {
        return b.map(COPY, dst, &[x]);
    }
    let Some(format) = format_of(to) else { return m.bad_type(b, to) };
    let saturate = how.satfinite;
    let code = b.number(narrowing(format, how.round.unwrap_or(Round::Nearest), saturate));
    b.map(lanes!(|x: F64, code: u64| -> u32 { narrow(x, code) }), dst, &[x, code])?;
    if how.ftz && to == Ty::F32 {
        b.map(lanes!(|x: F32Ftz| -> F32Ftz { x }), dst, &[Src::reg(dst)])?;
    }
    Ok(())
}

/// `cvt.pack.sat`: two integers, saturated, and optionally the lower half of a third register.
fn pack<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    m.take("sat");
    let (to, from) = (m.ty(b)?, m.ty(b)?);
    let third = m.maybe_ty().is_some();
    let how = How { round: None, integral: None, ftz: false, sat: true, satfinite: false, relu: false };
    let [dst, high, low, rest @ ..] = &m.raw.operands[..] else { return b.error("`cvt.pack` takes two values") };
    if rest.len() != usize::from(third) {
        return b.error("`cvt.pack` takes a third value exactly if its type is named");
    }
    let (high, low) = (b.src(high, from)?, b.src(low, from)?);
    let c = match rest {
        [c] => b.src(c, Ty::B32)?,
        _ => b.number(0),
    };
    let (h, l) = (b.temp(), b.temp());
    integers(b, m, how, to, from, h, high)?;
    integers(b, m, how, to, from, l, low)?;
    let f: LaneFn = match to.bits() {
        16 => lanes!(|h: u32, l: u32| -> u32 { h << 16 | l }),
        8 => lanes!(|h: u32, l: u32, c: u32| -> u32 { c << 16 | h << 8 | l }),
        _ => return m.bad_type(b, to),
    };
    let dst = b.dst(dst)?;
    b.map(f, dst, &[Src::reg(h), Src::reg(l), c])
}

//! Moves, packing and unpacking, addresses of spaces.

use super::Mods;
use crate::address;
use crate::program::build::Builder;
use crate::program::inst::{Inst, Src};
use crate::program::lanes::{LaneFn, lanes};
use crate::report::Class;
use crate::syntax::Read;
use crate::syntax::ast::{Operand, Space, Ty};

/// Copies a lane.
pub(super) const COPY: LaneFn = lanes!(|a: u64| -> u64 { a });

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    match m.raw.opcode {
        "mov" => mov(b, m)?,
        "cvta" => {
            let to = m.take("to");
            let Some(space) = m.find(Space::named) else { return b.error("`cvta` needs a state space") };
            let ty = m.ty(b)?;
            let [dst, x] = m.operands(b)?;
            let x = b.src(x, ty)?;
            let window = match space {
                Space::Shared => address::SHARED,
                Space::Local => address::LOCAL,
                Space::Param => address::PARAM,
                Space::Global | Space::Const | Space::Generic => 0,
            };
            let f: LaneFn = match (to, ty.bits()) {
                (_, 32) => return b.error("`cvta` with 32-bit addresses is not supported"),
                (false, _) => lanes!(|x: u64, w: u64| -> u64 { x.wrapping_add(w) }),
                (true, _) => lanes!(|x: u64, w: u64| -> u64 { x.wrapping_sub(w) }),
            };
            let window = b.number(window);
            let dst = b.dst(dst)?;
            b.map(f, dst, &[x, window])?;
        }
        "isspacep" => {
            let Some(space) = m.find(Space::named) else { return b.error("`isspacep` needs a state space") };
            let window = b.number(match space {
                Space::Shared => address::SHARED,
                Space::Local => address::LOCAL,
                Space::Param => address::PARAM,
                Space::Global | Space::Const | Space::Generic => 0,
            });
            let [dst, x] = m.operands(b)?;
            let x = b.src(x, Ty::B64)?;
            let dst = b.dst(dst)?;
            b.map(lanes!(|x: u64, w: u64| -> bool { address::window(x) == w }), dst, &[x, window])?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn mov<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    b.classify(Class::Move);
    let ty = m.ty(b)?;
    let [dst, src] = m.operands(b)?;
    match (dst, src) {
        (Operand::Vector(parts), src) => {
            let width = part_width(b, parts, ty)?;
            if let Operand::Vector(from) = src {
                return move_vector(b, parts, from, ty);
            }
            let x = b.src(src, ty)?;
            for (i, part) in parts.iter().enumerate() {
                let Some(part) = b.dst_or_sink(part)? else { continue };
                let by = b.number(u64::from(width) * i as u64);
                let f: LaneFn = match width {
                    8 => lanes!(|x: u64, by: u32| -> u8 { (x >> by) as u8 }),
                    16 => lanes!(|x: u64, by: u32| -> u16 { (x >> by) as u16 }),
                    _ => lanes!(|x: u64, by: u32| -> u32 { (x >> by) as u32 }),
                };
                b.map(f, part, &[x, by])?;
            }
            Ok(())
        }
        (dst, Operand::Vector(parts)) => {
            let width = part_width(b, parts, ty)?;
            let part_ty = match width {
                8 => Ty::B8,
                16 => Ty::B16,
                _ => Ty::B32,
            };
            let args = super::sources(b, parts, part_ty)?;
            let f: LaneFn = match (width, parts.len()) {
                (16, 2) => lanes!(|x: u16, y: u16| -> u32 { u32::from(x) | u32::from(y) << 16 }),
                (32, 2) => lanes!(|x: u32, y: u32| -> u64 { u64::from(x) | u64::from(y) << 32 }),
                (8, 2) => lanes!(|x: u8, y: u8| -> u32 { u32::from(x) | u32::from(y) << 8 }),
                (8, 4) => lanes!(|x: u8, y: u8, z: u8, w: u8| -> u32 { u32::from_le_bytes([x, y, z, w]) }),
                (16, 4) => lanes!(|x: u16, y: u16, z: u16, w: u16| -> u64 {
                    u64::from(x) | u64::from(y) << 16 | u64::from(z) << 32 | u64::from(w) << 48
                }),
                _ => return b.error(format!("`mov`: {} parts of {width} bits", parts.len())),
            };
            let dst = b.dst(dst)?;
            b.map(f, dst, &args)
        }
        (dst, Operand::Name(name @ ("%clock" | "%clock64" | "%clock_hi"))) => {
            b.classify(Class::Special);
            let dst = b.dst(dst)?;
            b.push(Inst::Clock { dst, nanoseconds: false })?;
            trim_clock(b, name, ty, dst)
        }
        (dst, Operand::Name(name @ ("%globaltimer" | "%globaltimer_lo" | "%globaltimer_hi"))) => {
            b.classify(Class::Special);
            let dst = b.dst(dst)?;
            b.push(Inst::Clock { dst, nanoseconds: true })?;
            trim_clock(b, name, ty, dst)
        }
        (dst, src) => {
            let x = b.src(src, ty)?;
            let f: LaneFn = match ty.bits() {
                1 => lanes!(|x: bool| -> bool { x }),
                16 => lanes!(|x: u16| -> u16 { x }),
                32 => lanes!(|x: u32| -> u32 { x }),
                64 => COPY,
                _ => return m.bad_type(b, ty),
            };
            let dst = b.dst(dst)?;
            b.map(f, dst, &[x])
        }
    }
}

/// The half of a clock that a name means.
fn trim_clock<'a>(b: &mut Builder<'_, 'a>, name: &str, ty: Ty, dst: u32) -> Read<()> {
    let f: LaneFn = match (name.ends_with("_hi"), ty.bits()) {
        (true, _) => lanes!(|x: u64| -> u64 { x >> 32 }),
        (false, 32) => lanes!(|x: u32| -> u32 { x }),
        _ => return Ok(()),
    };
    b.map(f, dst, &[Src::reg(dst)])
}

fn part_width<'a>(b: &Builder<'_, 'a>, parts: &[Operand<'a>], ty: Ty) -> Read<u32> {
    match (parts.len() as u32, ty.bits()) {
        (n @ (2 | 4), bits @ (16 | 32 | 64)) => Ok(bits / n),
        (n, _) => b.error(format!("`mov` of {ty} with {n} parts is not supported")),
    }
}

/// Copies part by part, all of them read first.
fn move_vector<'a>(b: &mut Builder<'_, 'a>, to: &[Operand<'a>], from: &[Operand<'a>], ty: Ty) -> Read<()> {
    if to.len() != from.len() {
        return b.error("`mov` between vectors of different lengths");
    }
    let mut copies = Vec::new();
    for part in from {
        let (t, x) = (b.temp(), b.src(part, ty)?);
        b.map(COPY, t, &[x])?;
        copies.push(t);
    }
    for (part, copy) in to.iter().zip(copies) {
        let dst = b.dst(part)?;
        b.map(COPY, dst, &[Src::reg(copy)])?;
    }
    Ok(())
}

//! Instructions through which the lanes of a warp exchange values.

use super::Mods;
use crate::program::build::Builder;
use crate::program::inst::{Inst, Redux, Shuffle, Vote};
use crate::report::Class;
use crate::syntax::Read;
use crate::syntax::ast::{Operand, Ty};

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    b.classify(Class::Warp);
    match m.raw.opcode {
        "shfl" => shuffle(b, m)?,
        "vote" => vote(b, m)?,
        "match" => match_any(b, m)?,
        "redux" => redux(b, m)?,
        "activemask" => {
            m.ty(b)?;
            let [dst] = m.operands(b)?;
            let dst = b.dst(dst)?;
            b.push(Inst::ActiveMask { dst })?;
        }
        "elect" => {
            m.take("sync");
            let [dst, mask] = m.operands(b)?;
            let (dst, pred) = pair(b, dst)?;
            let Some(pred) = pred else { return b.error("`elect.sync` writes a lane and a predicate: `d|p`") };
            let mask = b.src(mask, Ty::B32)?;
            b.push(Inst::Elect { dst, pred, mask })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The parts of `d|p`, or `d` alone.
fn pair<'a>(b: &mut Builder<'_, 'a>, dst: &Operand<'a>) -> Read<(Option<u32>, Option<u32>)> {
    match dst {
        Operand::Pair(d, p) => Ok((b.dst_or_sink(d)?, b.dst_or_sink(p)?)),
        d => Ok((b.dst_or_sink(d)?, None)),
    }
}

fn shuffle<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    if !m.take("sync") {
        return b.error("`shfl` without .sync is not supported");
    }
    let kind = m.find(|w| {
        Some(match w {
            "up" => Shuffle::Up,
            "down" => Shuffle::Down,
            "bfly" => Shuffle::Butterfly,
            "idx" => Shuffle::Index,
            _ => return None,
        })
    });
    let Some(kind) = kind else { return b.error("`shfl` needs .up, .down, .bfly or .idx") };
    m.ty(b)?;
    let [dst, value, lane, clamp, mask] = m.operands(b)?;
    let (dst, pred) = pair(b, dst)?;
    let dst = dst.unwrap_or_else(|| b.temp());
    let (value, lane) = (b.src(value, Ty::B32)?, b.src(lane, Ty::B32)?);
    let (clamp, mask) = (b.src(clamp, Ty::B32)?, b.src(mask, Ty::B32)?);
    b.push(Inst::Shuffle { kind, dst, pred, value, lane, clamp, mask })
}

fn vote<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    if !m.take("sync") {
        return b.error("`vote` without .sync is not supported");
    }
    let kind = m.find(|w| {
        Some(match w {
            "all" => Vote::All,
            "any" => Vote::Any,
            "uni" => Vote::Uniform,
            "ballot" => Vote::Ballot,
            _ => return None,
        })
    });
    let Some(kind) = kind else { return b.error("`vote` needs .all, .any, .uni or .ballot") };
    m.ty(b)?;
    let [dst, pred, mask] = m.operands(b)?;
    let (pred, negate) = match pred {
        Operand::Not(p) => (b.src(p, Ty::Pred)?, true),
        p => (b.src(p, Ty::Pred)?, false),
    };
    let mask = b.src(mask, Ty::B32)?;
    let dst = b.dst(dst)?;
    b.push(Inst::Vote { kind, dst, pred, negate, mask })
}

fn match_any<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let all = m.take("all");
    m.ignore(&["any", "sync"]);
    let ty = m.ty(b)?;
    let [dst, value, mask] = m.operands(b)?;
    let (dst, pred) = pair(b, dst)?;
    let dst = dst.unwrap_or_else(|| b.temp());
    let (value, mask) = (b.src(value, ty)?, b.src(mask, Ty::B32)?);
    b.push(Inst::Match { all, dst, pred, value, mask })
}

fn redux<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    m.take("sync");
    let op = m.find(|w| ["add", "min", "max", "and", "or", "xor"].into_iter().find(|o| *o == w));
    let ty = m.ty(b)?;
    let kind = match (op, ty) {
        (Some("add"), Ty::U32 | Ty::S32) => Redux::Add,
        (Some("min"), Ty::S32) => Redux::MinS,
        (Some("max"), Ty::S32) => Redux::MaxS,
        (Some("min"), Ty::U32) => Redux::MinU,
        (Some("max"), Ty::U32) => Redux::MaxU,
        (Some("and"), Ty::B32) => Redux::And,
        (Some("or"), Ty::B32) => Redux::Or,
        (Some("xor"), Ty::B32) => Redux::Xor,
        _ => return m.bad_type(b, ty),
    };
    let [dst, value, mask] = m.operands(b)?;
    let (value, mask) = (b.src(value, ty)?, b.src(mask, Ty::B32)?);
    let dst = b.dst(dst)?;
    b.push(Inst::Redux { kind, dst, value, mask })
}

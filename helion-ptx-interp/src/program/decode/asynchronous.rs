//! Copies in the background, what waits for them, and mbarriers.

use super::Mods;
use super::matrix::literal;
use crate::program::build::Builder;
use crate::program::inst::{Bulk, Inst, MbarrierAction, Src, Srcs};
use crate::report::Class;
use crate::syntax::Read;
use crate::syntax::ast::{Operand, Space, Ty};

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    b.classify(Class::Async);
    let raw = m.raw;
    match raw.opcode {
        "cp" if m.take("async") => {
            if m.take("bulk") {
                bulk(b, m, None)?;
            } else {
                copy(b, m)?;
            }
        }
        "cp" if m.take("reduce") => {
            m.ignore(&["async", "bulk"]);
            let op = m.find(|w| ["add", "min", "max", "inc", "dec", "and", "or", "xor"].into_iter().find(|o| *o == w));
            let Some(op) = op else { return b.error("`cp.reduce.async.bulk` needs an operation") };
            bulk(b, m, Some(op))?;
        }
        "mbarrier" => mbarrier(b, m)?,
        "fence" if m.raw.modifiers.first() == Some(&"proxy") => {
            let all = m.raw.modifiers.clone();
            m.ignore(&all);
            let proxy = all.iter().any(|w| w.starts_with("async"));
            b.push(if proxy { Inst::ProxyFence } else { Inst::Nothing })?;
        }
        "fence" if m.take("mbarrier_init") => {
            m.ignore(&["release", "cluster"]);
            b.push(Inst::Fence)?;
        }
        "setmaxnreg" => {
            m.ignore(&["inc", "dec", "sync", "aligned"]);
            m.maybe_ty();
            let [n] = m.operands(b)?;
            let n = literal(b, n)?;
            if n % 8 != 0 || !(24..=256).contains(&n) {
                return b.error(format!("`setmaxnreg {n}`: a multiple of 8 from 24 to 256 is expected"));
            }
            b.push(Inst::Nothing)?;
        }
        // A cluster is one block: its addresses are the block's.
        "mapa" => {
            m.space();
            let ty = m.ty(b)?;
            let [dst, x, _] = m.operands(b)?;
            let x = b.src(x, ty)?;
            let dst = b.dst(dst)?;
            b.map(super::mov::COPY, dst, &[x])?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn copy<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    if m.take("commit_group") {
        return b.push(Inst::CopyCommit);
    }
    if m.take("wait_all") {
        return b.push(Inst::CopyWait(None));
    }
    if m.take("wait_group") {
        let [keep] = m.operands(b)?;
        let keep = literal(b, keep)?;
        return b.push(Inst::CopyWait(Some(keep)));
    }
    if m.take("mbarrier") {
        m.take("arrive");
        let counted = m.take("noinc");
        m.space();
        m.maybe_ty();
        let [at] = m.operands(b)?;
        let (at, _) = b.address(at)?;
        return b.push(Inst::Mbarrier { at, action: Box::new(MbarrierAction::ArriveAfterCopies { counted }) });
    }
    m.ignore(&["ca", "cg", "shared", "shared::cta", "global", "L2::64B", "L2::128B", "L2::256B"]);
    let operands = &m.raw.operands[..];
    let operands = if m.take("L2::cache_hint") { &operands[..operands.len().saturating_sub(1)] } else { operands };
    let [to, from, size, rest @ ..] = operands else { return b.error("`cp.async` takes two addresses and a size") };
    let size = literal(b, size)?;
    if !matches!(size, 4 | 8 | 16) {
        return b.error(format!("`cp.async` copies 4, 8 or 16 bytes, not {size}"));
    }
    let ((shared, _), (global, _)) = (b.address(to)?, b.address(from)?);
    let read: Option<Src> = match rest {
        [] => None,
        [Operand::Int(0)] => Some(b.number(0)),
        [n] => Some(b.src(n, Ty::U32)?),
        _ => return b.error("`cp.async` has too many operands"),
    };
    b.push(Inst::Copy { shared, global, size, read })
}

fn mbarrier<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    const ACTIONS: [&str; 8] =
        ["init", "inval", "arrive", "arrive_drop", "expect_tx", "complete_tx", "try_wait", "test_wait"];
    let Some(action) = m.find(|w| ACTIONS.into_iter().find(|a| *a == w)) else {
        return b.error("`mbarrier`: this action is not supported");
    };
    let (expects, parity) = (action.starts_with("arrive") && m.take("expect_tx"), m.take("parity"));
    m.ignore(&["release", "acquire", "relaxed", "cta", "cluster", "noComplete"]);
    m.space();
    m.maybe_ty();
    let operands = &m.raw.operands[..];
    let one = b.number(1);
    let wrong = |b: &Builder<'_, 'a>| b.error(format!("`mbarrier.{action}` has the wrong operands"));
    let (at, action) = match (action, operands) {
        ("init", [at, count]) => (at, MbarrierAction::Init { count: b.src(count, Ty::U32)? }),
        ("inval", [at]) => (at, MbarrierAction::Invalidate),
        ("expect_tx", [at, bytes]) => (at, MbarrierAction::Expect(b.src(bytes, Ty::U32)?)),
        ("complete_tx", [at, bytes]) => (at, MbarrierAction::Complete(b.src(bytes, Ty::U32)?)),
        ("arrive" | "arrive_drop", operands) => {
            let (state, at, value) = match operands {
                [at @ Operand::Address { .. }] => (None, at, None),
                [at @ Operand::Address { .. }, v] => (None, at, Some(v)),
                [state, at] => (b.dst_or_sink(state)?, at, None),
                [state, at, v] => (b.dst_or_sink(state)?, at, Some(v)),
                _ => return wrong(b),
            };
            let value = value.map(|v| b.src(v, Ty::U32)).transpose()?;
            let (count, expect) = if expects { (one, value) } else { (value.unwrap_or(one), None) };
            (at, MbarrierAction::Arrive { count, expect, drop: action == "arrive_drop", state })
        }
        ("try_wait" | "test_wait", [done, at, state, ..]) => {
            let ty = if parity { Ty::U32 } else { Ty::B64 };
            let (done, state) = (b.dst(done)?, b.src(state, ty)?);
            (at, MbarrierAction::Test { done, state, parity, blocks: action == "try_wait" })
        }
        _ => return wrong(b),
    };
    let (at, _) = b.address(at)?;
    b.push(Inst::Mbarrier { at, action: Box::new(action) })
}

fn bulk<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>, reduce: Option<&'static str>) -> Read<()> {
    if m.take("commit_group") {
        return b.push(Inst::BulkCommit);
    }
    if m.take("wait_group") {
        // Data that was read and data that was written arrive at the same time here.
        m.take("read");
        let [keep] = m.operands(b)?;
        let keep = literal(b, keep)?;
        return b.push(Inst::BulkWait { keep });
    }
    if m.take("prefetch") {
        let all = m.raw.modifiers.clone();
        m.ignore(&all);
        return b.push(Inst::Nothing);
    }
    let tensor = m.take("tensor");
    let rank = m.find(|w| ["1d", "2d", "3d", "4d", "5d"].iter().position(|d| *d == w).map(|i| i + 1));
    let (Some(to), Some(from)) = (m.find(Space::named), m.find(Space::named)) else {
        return b.error("a bulk copy names two state spaces, of its destination and its source");
    };
    m.ignore(&["tile", "bulk_group", "mbarrier::complete_tx::bytes", "noftz", "cta_group::1"]);
    let hints = usize::from(m.take("L2::cache_hint")) + usize::from(m.take("multicast::cluster"));
    if reduce.is_some() && !tensor {
        let ty = m.ty(b)?;
        return b.error(format!("`cp.reduce.async.bulk` of {ty} without .tensor is not supported"));
    }
    let operands = &m.raw.operands[..];
    let operands = &operands[..operands.len().saturating_sub(hints)];
    let loads = match (to, from) {
        (Space::Shared, Space::Global) => true,
        (Space::Global, Space::Shared) => false,
        _ => return b.error("a bulk copy goes between global and shared memory"),
    };
    let coords_of = |operand: &Operand<'a>| match operand {
        Operand::Address { coords, .. } => coords.clone(),
        _ => Vec::new(),
    };
    let (shared, global, size, mbarrier) = match (loads, tensor, operands) {
        (true, true, [to, from, bar]) => (to, from, None, Some(bar)),
        (true, false, [to, from, size, bar]) => (to, from, Some(size), Some(bar)),
        (false, true, [to, from]) => (from, to, None, None),
        (false, false, [to, from, size]) => (from, to, Some(size), None),
        _ => return b.error("a bulk copy has the wrong operands"),
    };
    let coords = coords_of(global);
    if tensor && Some(coords.len()) != rank {
        return b.error(format!("{} coordinates do not fit the rank of the tensor", coords.len()));
    }
    let size = size.map(|s| b.src(s, Ty::U32)).transpose()?;
    let coords = coords.iter().map(|c| b.src(c, Ty::S32)).collect::<Read<Srcs>>()?;
    let ((shared, _), (global, named)) = (b.address(shared)?, b.address(global)?);
    if named.is_some() {
        return b.error("the global side of a bulk copy is an address in a register");
    }
    let mbarrier = mbarrier.map(|at| b.address(at)).transpose()?.map(|(at, _)| at);
    b.push(Inst::Bulk(Box::new(Bulk { shared, global, size, coords, mbarrier, reduce })))
}

//! Branches, calls, barriers of the block, and what has no effect on results.

use super::Mods;
use crate::program::build::Builder;
use crate::program::inst::{Barrier, BarrierReduce, Inst};
use crate::report::Class;
use crate::syntax::Read;
use crate::syntax::ast::{Operand, Ty};

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    b.classify(Class::Control);
    match m.raw.opcode {
        "bra" => {
            m.take("uni");
            let [Operand::Name(label)] = m.operands(b)? else { return b.error("`bra` takes a label") };
            b.branch(label)?;
        }
        "brx" => {
            m.ignore(&["idx", "uni"]);
            let [index, Operand::Name(list)] = m.operands(b)? else {
                return b.error("`brx.idx` takes an index and a list");
            };
            let index = b.src(index, Ty::U32)?;
            b.branch_indexed(index, list)?;
        }
        "call" => {
            m.take("uni");
            call(b, m)?;
        }
        "ret" => {
            m.take("uni");
            b.ret()?;
        }
        "exit" => b.push(Inst::Exit)?,
        "trap" => b.push(Inst::Trap)?,
        "brkpt" | "pmevent" => b.push(Inst::Nothing)?,
        "bar" | "barrier" => barrier(b, m)?,
        "membar" | "fence" => {
            b.classify(Class::Barrier);
            m.ignore(&["cta", "cluster", "gpu", "gl", "sys", "sc", "acq_rel", "acquire", "release", "level"]);
            b.push(Inst::Fence)?;
        }
        "nanosleep" => {
            m.maybe_ty();
            b.push(Inst::Pause)?;
        }
        "griddepcontrol" => {
            m.ignore(&["launch_dependents", "wait"]);
            b.push(Inst::Nothing)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn call<'a>(b: &mut Builder<'_, 'a>, m: &Mods<'_, 'a>) -> Read<()> {
    match &m.raw.operands[..] {
        [Operand::List(returns), Operand::Name(name), Operand::List(args)] => b.call(name, returns, args),
        [Operand::Name(name), Operand::List(args)] => b.call(name, &[], args),
        [Operand::List(returns), Operand::Name(name)] => b.call(name, returns, &[]),
        [Operand::Name(name)] => b.call(name, &[], &[]),
        _ => b.error("`call` takes a function of this module by name; calls through pointers are not supported"),
    }
}

fn barrier<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    b.classify(Class::Barrier);
    if m.take("warp") {
        m.take("sync");
        let [mask] = m.operands(b)?;
        let mask = b.src(mask, Ty::B32)?;
        return b.push(Inst::WarpBarrier { mask });
    }
    if m.take("cluster") {
        // A cluster is one block here: arriving orders nothing, waiting is a barrier of the block.
        let waits = m.take("wait");
        m.ignore(&["arrive", "release", "acquire", "relaxed", "aligned"]);
        if !waits {
            return b.push(Inst::Fence);
        }
        let id = b.number(16);
        return b.push(Inst::Barrier(Box::new(Barrier {
            id,
            threads: None,
            aligned: true,
            waits: true,
            reduce: None,
        })));
    }
    m.take("cta");
    let aligned = m.take("aligned") || m.raw.opcode == "bar";
    let operands = &m.raw.operands[..];
    if m.take("red") {
        let op = m.find(|w| {
            Some(match w {
                "popc" => BarrierReduce::Count,
                "and" => BarrierReduce::And,
                "or" => BarrierReduce::Or,
                _ => return None,
            })
        });
        let Some(op) = op else { return b.error("`bar.red` needs .popc, .and or .or") };
        m.maybe_ty();
        let (dst, id, threads, p) = match operands {
            [dst, id, p] => (dst, id, None, p),
            [dst, id, threads, p] => (dst, id, Some(b.src(threads, Ty::U32)?), p),
            _ => return b.error("`bar.red` takes a result, a barrier, a number of threads if wanted, and a predicate"),
        };
        let (id, p, dst) = (b.src(id, Ty::U32)?, b.src(p, Ty::Pred)?, b.dst(dst)?);
        return b.push(Inst::Barrier(Box::new(Barrier {
            id,
            threads,
            aligned,
            waits: true,
            reduce: Some((op, p, dst)),
        })));
    }
    let waits = m.take("sync");
    if !waits && !m.take("arrive") {
        return b.error("a barrier needs .sync, .arrive or .red");
    }
    let (id, threads) = match operands {
        [id] => (b.src(id, Ty::U32)?, None),
        [id, threads] => (b.src(id, Ty::U32)?, Some(b.src(threads, Ty::U32)?)),
        _ => return b.error("a barrier takes its number, and a number of threads if wanted"),
    };
    b.push(Inst::Barrier(Box::new(Barrier { id, threads, aligned, waits, reduce: None })))
}

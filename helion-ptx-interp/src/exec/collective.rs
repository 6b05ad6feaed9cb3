//! Instructions of several lanes of a warp.

use super::Machine;
use super::step::{Flow, each};
use super::warp::Warp;
use crate::fault::{AtLane, Exec, FaultKind, trouble};
use crate::program::inst::{Inst, Redux, Shuffle, Src, Vote};
use crate::program::lanes::{Lanes, WARP};

impl Machine<'_> {
    /// Runs one for the lanes that name each other in their masks, once they are all here.
    pub(super) fn collective(&mut self, warp: &mut Warp, all: u32, mask: u32, inst: &Inst) -> Exec<Flow> {
        let named = match inst {
            Inst::WarpBarrier { mask }
            | Inst::Shuffle { mask, .. }
            | Inst::Vote { mask, .. }
            | Inst::Match { mask, .. }
            | Inst::Redux { mask, .. }
            | Inst::Elect { mask, .. } => *mask,
            _ => return Ok(Flow::Next),
        };
        let named = *self.lanes(warp, named);
        let first = mask.trailing_zeros() as usize;
        let members = named[first] as u32;
        let group = each(mask).filter(|l| named[*l] as u32 == members).fold(0, |m, l| m | 1 << l);
        if members >> first & 1 == 0 {
            let message = format!("the mask {members:#x} leaves out the lane {first} that runs the instruction");
            return trouble(FaultKind::Misuse, message).at(first);
        }
        let missing = members & warp.live & !group;
        if missing != 0 {
            return Ok(Flow::Gather { lanes: group, missing });
        }
        self.lanes_synced(warp);
        self.exchange(warp, group, inst)?;
        // Lanes that the guard keeps out go on with those that are done.
        let done = group | (all & !mask);
        Ok(if done == all { Flow::Next } else { Flow::Some(done) })
    }

    fn exchange(&mut self, warp: &mut Warp, group: u32, inst: &Inst) -> Exec<()> {
        match inst {
            Inst::Shuffle { kind, dst, pred, value, lane, clamp, .. } => {
                let (out, inside) = self.shuffle(warp, group, *kind, [*value, *lane, *clamp])?;
                warp.set(*dst, group, &out);
                if let Some(p) = pred {
                    warp.set(*p, group, &inside);
                }
            }
            Inst::Vote { kind, dst, pred, negate, .. } => {
                let p = self.lanes(warp, *pred);
                let ballot = each(group).filter(|l| (p[*l] & 1 == 1) != *negate).fold(0u32, |m, l| m | 1 << l);
                let value = match kind {
                    Vote::All => u64::from(ballot == group),
                    Vote::Any => u64::from(ballot != 0),
                    Vote::Uniform => u64::from(ballot == group || ballot == 0),
                    Vote::Ballot => u64::from(ballot),
                };
                warp.set(*dst, group, &[value; WARP]);
            }
            Inst::Match { all, dst, pred, value, .. } => {
                let v = *self.lanes(warp, *value);
                let equal = |lane: usize| each(group).filter(|l| v[*l] == v[lane]).fold(0u32, |m, l| m | 1 << l);
                let mut out: Lanes = std::array::from_fn(|lane| u64::from(equal(lane)));
                if *all {
                    let uniform = equal(group.trailing_zeros() as usize) == group;
                    out = [if uniform { u64::from(group) } else { 0 }; WARP];
                    if let Some(p) = pred {
                        warp.set(*p, group, &[u64::from(uniform); WARP]);
                    }
                }
                warp.set(*dst, group, &out);
            }
            Inst::Redux { kind, dst, value, .. } => {
                let v = self.lanes(warp, *value);
                let all = each(group).map(|l| v[l] as u32);
                let result = match kind {
                    Redux::Add => all.fold(0u32, |a, b| a.wrapping_add(b)),
                    Redux::And => all.fold(u32::MAX, |a, b| a & b),
                    Redux::Or => all.fold(0, |a, b| a | b),
                    Redux::Xor => all.fold(0, |a, b| a ^ b),
                    Redux::MinU => all.min().unwrap_or(0),
                    Redux::MaxU => all.max().unwrap_or(0),
                    Redux::MinS => all.map(|x| x as i32).min().unwrap_or(0) as u32,
                    Redux::MaxS => all.map(|x| x as i32).max().unwrap_or(0) as u32,
                };
                warp.set(*dst, group, &[u64::from(result); WARP]);
            }
            Inst::Elect { dst, pred, .. } => {
                let leader = group.trailing_zeros();
                if let Some(dst) = dst {
                    warp.set(*dst, group, &[u64::from(leader); WARP]);
                }
                let chosen = std::array::from_fn(|lane| u64::from(lane as u32 == leader));
                warp.set(*pred, group, &chosen);
            }
            _ => {}
        }
        Ok(())
    }

    fn shuffle(&self, warp: &Warp, group: u32, kind: Shuffle, [value, lane, clamp]: [Src; 3]) -> Exec<(Lanes, Lanes)> {
        let (value, by, clamp) = (self.lanes(warp, value), self.lanes(warp, lane), self.lanes(warp, clamp));
        let (mut out, mut inside) = ([0; WARP], [0; WARP]);
        for lane in each(group) {
            let (l, b, c) = (lane as i64, (by[lane] & 31) as i64, (clamp[lane] & 31) as i64);
            let segment = (clamp[lane] >> 8 & 31) as i64;
            let (low, high) = (l & segment, (l & segment) | (c & !segment));
            let (from, fits) = match kind {
                Shuffle::Up => (l - b, l - b >= high),
                Shuffle::Down => (l + b, l + b <= high),
                Shuffle::Butterfly => (l ^ b, l ^ b <= high),
                Shuffle::Index => (low | (b & !segment), (low | (b & !segment)) <= high),
            };
            let from = if fits { from } else { l };
            if group >> from & 1 == 0 {
                let message = format!("lane {lane} takes a value from lane {from}, which does not take part");
                return trouble(FaultKind::Misuse, message).at(lane);
            }
            out[lane] = value[from as usize] & 0xffff_ffff;
            inside[lane] = u64::from(fits);
        }
        Ok((out, inside))
    }

    /// Lanes of a warp met: what each did is before what the others do next.
    pub(super) fn lanes_synced(&mut self, warp: &Warp) {
        self.shared.order.tick(warp.index);
    }
}

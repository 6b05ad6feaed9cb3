//! One step of a warp.

use super::warp::{Fragment, State, Warp};
use super::{Machine, PATIENCE, TURN};
use crate::fault::{AtLane, Exec, FaultKind, trouble};
use crate::program::inst::{Inst, Reg, Step};
use crate::program::lanes::{Lanes, WARP};

/// Where a fragment goes after a step.
pub(super) enum Flow {
    /// All its lanes to the next step.
    Next,
    Jump(u32),
    /// The lanes of the mask go there, the others to the next step.
    Part(u32, u32),
    /// Lanes that ended.
    Exit(u32),
    /// These lanes have to wait until the others of a mask are here.
    Gather {
        lanes: u32,
        missing: u32,
    },
    /// These lanes have arrived at a barrier.
    Wait {
        lanes: u32,
        barrier: u32,
    },
    /// These lanes are done with the step, others have yet to do it.
    Some(u32),
    /// To the next step, but others should run first.
    Yield,
    /// The same step again, once others have run.
    Retry,
    /// Its lanes were put where they go.
    Gone,
}

/// The lanes of a mask.
pub(super) fn each(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            lane
        })
    })
}

impl Warp {
    /// Writes the lanes of a mask.
    pub fn set(&mut self, reg: Reg, mask: u32, values: &Lanes) {
        let to = &mut self.registers[reg as usize];
        if mask == u32::MAX {
            *to = *values;
        } else {
            for lane in 0..WARP {
                if mask >> lane & 1 != 0 {
                    to[lane] = values[lane];
                }
            }
        }
    }
}

impl Machine<'_> {
    /// Runs a warp until it waits or its turn is over.
    pub(super) fn run_warp(&mut self, warp: &mut Warp) -> Exec<()> {
        let mut left = TURN;
        let last = warp.starving >= PATIENCE;
        if last {
            warp.starving = 0;
        }
        while let Some(mut f) = warp.take(last) {
            let mut meeting = warp.next_meeting(f.pc);
            loop {
                if left == 0 {
                    // A whole turn is work, even if nobody else can see it.
                    self.effects += 1;
                    warp.starving = if warp.fragments.is_empty() { 0 } else { warp.starving + 1 };
                    warp.put(f);
                    return self.check_limit(TURN);
                }
                left -= 1;
                self.pc = f.pc;
                let flow = self.step(warp, f)?;
                let back = |warp: &mut Warp, pc: u32, mask: u32, state: State| warp.put(Fragment { pc, mask, state });
                match flow {
                    Flow::Next => {
                        f.pc += 1;
                        if f.pc < meeting {
                            continue;
                        }
                        warp.put(f);
                    }
                    Flow::Jump(to) => {
                        f.pc = to;
                        if warp.fragments.is_empty() {
                            meeting = u32::MAX;
                            continue;
                        }
                        warp.put(f);
                    }
                    Flow::Part(to, lanes) => {
                        back(warp, to, lanes, State::Ready);
                        back(warp, f.pc + 1, f.mask & !lanes, State::Ready);
                    }
                    Flow::Exit(lanes) => {
                        warp.live &= !lanes;
                        self.effects += 1;
                        // Others may have waited for these lanes only.
                        warp.fragments
                            .iter_mut()
                            .filter(|f| matches!(f.state, State::Gathering(_)))
                            .for_each(|f| f.state = State::Ready);
                        back(warp, f.pc + 1, f.mask & !lanes, State::Ready);
                    }
                    Flow::Gather { lanes, missing } => {
                        back(warp, f.pc + 1, f.mask & !lanes, State::Ready);
                        warp.fragments.push(Fragment { pc: f.pc, mask: lanes, state: State::Gathering(missing) });
                    }
                    Flow::Wait { lanes, barrier } => {
                        back(warp, f.pc + 1, f.mask & !lanes, State::Ready);
                        back(warp, f.pc, lanes, State::AtBarrier(barrier));
                    }
                    Flow::Some(lanes) => {
                        back(warp, f.pc + 1, lanes, State::Ready);
                        back(warp, f.pc, f.mask & !lanes, State::Ready);
                    }
                    Flow::Gone => {}
                    Flow::Retry => {
                        warp.put(f);
                        return self.check_limit(TURN - left);
                    }
                    Flow::Yield => {
                        warp.starving += u32::from(!warp.fragments.is_empty());
                        back(warp, f.pc + 1, f.mask, State::Ready);
                        return self.check_limit(TURN - left);
                    }
                }
                break;
            }
        }
        self.check_limit(TURN - left)
    }

    fn check_limit(&mut self, ran: u32) -> Exec<()> {
        self.ticks += u64::from(ran);
        if self.ticks > self.limit {
            return trouble(
                FaultKind::Limit,
                format!("the launch ran more than {} instructions of warps; a loop may have no end", self.limit),
            );
        }
        Ok(())
    }

    /// The lanes of a fragment that a step's guard lets run.
    fn guarded(warp: &Warp, step: &Step, mask: u32) -> u32 {
        match step.guard {
            None => mask,
            Some((reg, bit)) => {
                let p = &warp.registers[reg as usize];
                let set = p.iter().enumerate().fold(0u32, |m, (lane, p)| m | ((*p & 1) as u32) << lane);
                mask & if bit { set } else { !set }
            }
        }
    }

    fn step(&mut self, warp: &mut Warp, f: Fragment) -> Exec<Flow> {
        let program = self.program;
        let step = &program.steps[f.pc as usize];
        let mask = Self::guarded(warp, step, f.mask);
        if mask == 0 {
            return Ok(Flow::Next);
        }
        let site = &mut self.sites[f.pc as usize];
        site.count.warps += 1;
        site.count.threads += u64::from(mask.count_ones());
        // Where nobody in particular is to blame, it is the first lane.
        self.perform(warp, f, step, mask).at(mask.trailing_zeros() as usize)
    }

    /// What the lanes of `mask`, which are among the fragment's, do.
    fn perform(&mut self, warp: &mut Warp, f: Fragment, step: &Step, mask: u32) -> Exec<Flow> {
        let program = self.program;
        if let Some((read, written)) = program.watched.get(f.pc as usize).and_then(|w| w.as_deref()) {
            self.watch(warp, read, written, step.class, &step.inst)?;
        }
        if needs_all(&step.inst) && !Self::all_here(warp, mask)? {
            return Ok(Flow::Gather { lanes: mask, missing: warp.live & !mask });
        }
        match &step.inst {
            Inst::LoadMatrix { access, dst } => self.load_matrix(warp, access, dst)?,
            Inst::StoreMatrix { access, src } => self.store_matrix(warp, access, src)?,
            Inst::Mma(mma) => self.mma(warp, mma),
            Inst::Copy { shared, global, size, read } => self.copy(warp, mask, *shared, *global, *size, *read)?,
            Inst::CopyCommit => self.copy_commit(warp, mask),
            Inst::CopyWait(keep) => self.copy_wait(warp, mask, *keep),
            Inst::Mbarrier { at, action } => {
                return self.mbarrier(warp, mask, *at, action);
            }
            Inst::Bulk(bulk) => self.bulk(warp, mask, bulk)?,
            Inst::BulkCommit => self.bulk_commit(warp, mask),
            Inst::BulkWait { keep } => self.bulk_wait(warp, mask, *keep)?,
            Inst::ProxyFence => self.shared.fence_proxy(warp.index),
            Inst::Wgmma(w) => self.wgmma(warp, w)?,
            Inst::WgmmaFence => self.wgmma_fence(warp),
            Inst::WgmmaCommit => self.wgmma_commit(warp)?,
            Inst::WgmmaWait(keep) => return self.wgmma_wait(warp, *keep),
            Inst::Map { f, dst, src } => {
                let mut out = [0; WARP];
                let [a, b, c, d] = *src;
                f(&[self.lanes(warp, a), self.lanes(warp, b), self.lanes(warp, c), self.lanes(warp, d)], &mut out);
                warp.set(*dst, mask, &out);
            }
            Inst::Branch(to) => {
                return Ok(if mask == f.mask { Flow::Jump(*to) } else { Flow::Part(*to, mask) });
            }
            Inst::BranchIndexed { index, targets } => {
                let index = *self.lanes(warp, *index);
                let first = index[mask.trailing_zeros() as usize];
                let same = each(mask).filter(|l| index[*l] == first).fold(0, |m, l| m | 1 << l);
                let Some(to) = targets.get(first as usize) else {
                    return trouble(FaultKind::Misuse, format!("branches to target {first} of {}", targets.len()));
                };
                if same == f.mask {
                    return Ok(Flow::Jump(*to));
                }
                // Other lanes come to this step again, with their own target.
                warp.put(Fragment { pc: f.pc, mask: mask & !same, state: State::Ready });
                warp.put(Fragment { pc: f.pc + 1, mask: f.mask & !mask, state: State::Ready });
                warp.put(Fragment { pc: *to, mask: same, state: State::Ready });
                return Ok(Flow::Gone);
            }
            Inst::Exit => {
                let open =
                    each(mask).find_map(|l| warp.stores.get(l).and_then(|s| s.unfinished()).map(|line| (l, line)));
                if let Some((lane, line)) = open {
                    let message = format!("the thread ends before it has waited for the bulk store of line {line}");
                    return trouble(FaultKind::NotArrived, message).at(lane);
                }
                return Ok(Flow::Exit(mask));
            }
            Inst::Trap => return trouble(FaultKind::Trap, "the kernel trapped"),
            Inst::Clock { dst, nanoseconds } => {
                let now = self.ticks * if *nanoseconds { 1 } else { 2 };
                self.ticks += 1;
                warp.set(*dst, mask, &[now; WARP]);
            }
            Inst::Load { access, dst, width } => self.load(warp, mask, access, dst, *width)?,
            Inst::Store { access, src } => self.store(warp, mask, access, src)?,
            Inst::Atomic(atomic) => self.atomic(warp, mask, atomic)?,
            Inst::Barrier(barrier) => return self.arrive(warp, mask, barrier),
            Inst::WarpBarrier { .. }
            | Inst::Shuffle { .. }
            | Inst::Vote { .. }
            | Inst::Match { .. }
            | Inst::Redux { .. }
            | Inst::Elect { .. } => return self.collective(warp, f.mask, mask, &step.inst),
            Inst::ActiveMask { dst } => warp.set(*dst, mask, &[u64::from(mask); WARP]),
            Inst::Print { format, arguments, result } => self.print(warp, mask, *format, *arguments, *result)?,
            Inst::Assert { message } => return self.failed_assertion(warp, mask, *message),
            Inst::Pause => return Ok(Flow::Yield),
            Inst::Fence => self.shared.order.fence(warp.index),
            Inst::Nothing => {}
        }
        Ok(Flow::Next)
    }
}

/// Instructions that a warp runs with all its lanes or not at all.
fn needs_all(inst: &Inst) -> bool {
    matches!(
        inst,
        Inst::LoadMatrix { .. }
            | Inst::StoreMatrix { .. }
            | Inst::Mma(_)
            | Inst::Wgmma(_)
            | Inst::WgmmaFence
            | Inst::WgmmaCommit
            | Inst::WgmmaWait(_)
    )
}

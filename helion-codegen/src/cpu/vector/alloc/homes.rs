//! Which homes get registers.
//!
//! Comes in: staged code. Goes out: [`Homes`]. Carries come first; what the loops leave free goes to the
//! values that are the same in every step (constants, splats, results of `before`), most used first.
//! At least [`SPARE`] registers are left to the code between, which is more than any instruction needs.

use super::super::ir::{Inst, V};
use super::super::unroll::{Section, Staged};
use super::{Class, Machine, Needs, Prepared, class, registers};

/// Registers that invariant values never take: three operands, a result and scratch.
const SPARE: u8 = 8;
/// The same for masks: two operands, a result and scratch.
const SPARE_MASKS: u8 = 4;

/// Where a home is, in all sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HomePlace {
    Reg(u8),
    Frame(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Homes {
    /// By home.
    pub places: Vec<HomePlace>,
    /// Sourced values that keep a register in all loops.
    pub sources: Vec<(V, u8)>,
    /// Vector registers that do not change in loops.
    pub pinned: u64,
    /// Mask registers that do not change in loops.
    pub pinned_masks: u64,
    /// Frame slots used so far.
    pub frame: u32,
}

impl Homes {
    pub fn pinned(&self, class: Class) -> u64 {
        match class {
            Class::Vector => self.pinned,
            Class::Mask => self.pinned_masks,
        }
    }
    pub fn new_frame(&mut self) -> u32 {
        self.frame += 1;
        self.frame - 1
    }
}

/// Uses of each value, and where each section's loads may be folded.
pub(crate) fn folded<M: Machine>(staged: &Staged, machine: &M, section: &Section, needs: &[Needs]) -> Vec<(V, u32)> {
    let mut found = Vec::new();
    let stores: Vec<usize> =
        section.insts.iter().enumerate().filter(|(_, i)| i.op.is_store()).map(|(at, _)| at).collect();
    let loads = section.insts.iter().enumerate().filter(|(_, i)| matches!(i.op, super::super::ir::Op::Load(..)));
    let candidates: Vec<(usize, V)> = loads.filter_map(|(at, i)| i.result.map(|r| (at, r))).collect();
    if candidates.is_empty() {
        return found;
    }
    let mut uses: Vec<(u32, u32, bool)> = vec![(0, 0, true); staged.values.len()];
    for (at, inst) in section.insts.iter().enumerate() {
        for (arg, v) in inst.args.iter().enumerate() {
            let entry = &mut uses[v.0 as usize];
            let readable = needs[at].memory & (1 << arg) != 0 && inst.args.iter().filter(|&a| a == v).count() == 1;
            *entry = (entry.0 + 1, at as u32, entry.2 && readable);
        }
    }
    section.outs.iter().for_each(|&(_, v)| uses[v.0 as usize].2 = false);
    // An instruction reads one operand from memory, so the second folded load of one would be done apart.
    let mut taken = vec![false; section.insts.len()];
    for (at, v) in candidates {
        let (count, last, readable) = uses[v.0 as usize];
        let crossed = stores.iter().any(|&s| s > at && s < last as usize);
        if !readable || crossed || count == 0 || !machine.folds(staged, &section.insts[at], count as usize) {
            continue;
        }
        let users = || (at + 1..=last as usize).filter(|&u| section.insts[u].args.contains(&v));
        if users().any(|u| taken[u]) {
            continue;
        }
        users().for_each(|u| taken[u] = true);
        found.push((v, at as u32));
    }
    found
}

/// The most values of a class alive at once in a section, invariant ones left out.
fn pressure<M: Machine>(staged: &Staged, machine: &M, p: &Prepared<'_>, invariant: &[bool], class_: Class) -> u8 {
    let (section, needs) = (p.section, &p.needs);
    let mut skip = invariant.to_vec();
    for &(v, _) in &p.folded {
        skip[v.0 as usize] = true;
    }
    let mut live = vec![false; staged.values.len()];
    let mut count = 0_u32;
    let counted = |v: V| !skip[v.0 as usize] && class(machine, staged.ty(v)) == class_;
    for &(_, v) in &section.outs {
        if counted(v) && !std::mem::replace(&mut live[v.0 as usize], true) {
            count += 1;
        }
    }
    let mut most = count;
    for (inst, needs) in section.insts.iter().zip(needs).rev() {
        let scratch = u32::from(if class_ == Class::Vector { needs.vectors } else { needs.masks });
        if let Some(r) = inst.result
            && counted(r)
        {
            if std::mem::replace(&mut live[r.0 as usize], false) {
                count -= 1;
            }
            most = most.max(count + 1 + if needs.early { inst.args.len() as u32 } else { 0 });
        }
        for &a in &inst.args {
            if counted(a) && !std::mem::replace(&mut live[a.0 as usize], true) {
                count += 1;
            }
        }
        most = most.max(count + scratch + unreadable(staged, machine, inst, needs, class_));
    }
    most.min(255) as u8
}

/// How many sourced operands an instruction cannot read in place.
fn unreadable<M: Machine>(staged: &Staged, machine: &M, inst: &Inst, needs: &Needs, class_: Class) -> u32 {
    let mut count = 0;
    let mut memory = needs.memory != 0;
    for (at, &a) in inst.args.iter().enumerate() {
        if staged.source(a).is_some() && class(machine, staged.ty(a)) == class_ {
            if memory && needs.memory & (1 << at) != 0 && machine.reads_source(staged, a) {
                memory = false;
            } else {
                count += 1;
            }
        }
    }
    count
}

/// Uses of invariant values in loops, weighted by what a use out of a register costs.
fn weights<M: Machine>(staged: &Staged, machine: &M, loops: [Option<&Prepared<'_>>; 2]) -> Vec<u32> {
    let mut weights = vec![0; staged.values.len()];
    for p in loops.into_iter().flatten() {
        for (inst, needs) in p.section.insts.iter().zip(&p.needs) {
            for (at, &a) in inst.args.iter().enumerate() {
                let readable = needs.memory & (1 << at) != 0
                    && match staged.source(a) {
                        Some(_) => machine.reads_source(staged, a),
                        None => true,
                    };
                weights[a.0 as usize] += if readable { 2 } else { 5 };
            }
        }
    }
    weights
}

/// Gives places to homes.
pub(crate) fn assign<M: Machine>(
    staged: &Staged,
    machine: &M,
    main: Option<&Prepared<'_>>,
    single: &Prepared<'_>,
) -> Homes {
    let mut homes = Homes { places: Vec::new(), sources: Vec::new(), pinned: 0, pinned_masks: 0, frame: 0 };
    let mut invariant: Vec<bool> = staged.sources.iter().map(Option::is_some).collect();
    let mut kept: Vec<(V, usize)> = Vec::new();
    for &(home, v) in &staged.before.outs {
        if home.0 as usize >= staged.carried {
            invariant[v.0 as usize] = true;
            kept.push((v, home.0 as usize));
        }
    }
    // Carries may share a value with an invariant; that one is copied.
    homes.places = vec![HomePlace::Frame(u32::MAX); staged.homes.len()];
    let loops = [main, Some(single)];
    let weights = weights(staged, machine, loops);
    for class_ in [Class::Vector, Class::Mask] {
        let total = registers(machine, class_);
        if total == 0 || !staged.values.iter().any(|&ty| class(machine, ty) == class_) {
            continue;
        }
        let need = loops.into_iter().flatten().map(|p| pressure(staged, machine, p, &invariant, class_)).max();
        let mut next = 0;
        let most = total - if class_ == Class::Vector { SPARE / 2 } else { 2 };
        for (at, &ty) in staged.homes.iter().enumerate().take(staged.carried) {
            if class(machine, ty) == class_ && next < most {
                homes.places[at] = HomePlace::Reg(next);
                next += 1;
            }
        }
        let spare = if class_ == Class::Vector { SPARE } else { SPARE_MASKS };
        let free = total.saturating_sub(need.unwrap_or(0)).min(total - next).min(total.saturating_sub(spare));
        let mut wish: Vec<(u32, V, Option<usize>)> = Vec::new();
        for (at, source) in staged.sources.iter().enumerate() {
            let v = V(at as u32);
            if source.is_some() && class(machine, staged.ty(v)) == class_ && weights[at] > 0 {
                wish.push((weights[at], v, None));
            }
        }
        for &(v, home) in &kept {
            if class(machine, staged.ty(v)) == class_ && weights[v.0 as usize] > 0 {
                // A reload of these costs no more than of a constant, but the frame is not read elsewhere.
                wish.push((weights[v.0 as usize] + 1, v, Some(home)));
            }
        }
        wish.sort_by_key(|w| (std::cmp::Reverse(w.0), w.1));
        for (taken, (_, v, home)) in wish.into_iter().take(free as usize).enumerate() {
            let reg = total - 1 - taken as u8;
            match home {
                Some(home) => homes.places[home] = HomePlace::Reg(reg),
                None => homes.sources.push((v, reg)),
            }
            match class_ {
                Class::Vector => homes.pinned |= 1 << reg,
                Class::Mask => homes.pinned_masks |= 1 << reg,
            }
        }
    }
    for place in &mut homes.places {
        if *place == HomePlace::Frame(u32::MAX) {
            *place = HomePlace::Frame(homes.frame);
            homes.frame += 1;
        }
    }
    homes
}

//! Registers within one section.
//!
//! Comes in: a section, and where homes are. Goes out: its steps. At the beginning homes hold the
//! section's `ins`; at the end they hold its `outs`, and registers that do not change in loops are as
//! they were.

use smallvec::SmallVec;

use super::super::ir::{Inst, Op, V};
use super::super::unroll::{Home, Section, Staged};
use super::homes::{HomePlace, Homes};
use super::{Class, Machine, Memory, Needs, Place, Prepared, Role, Step, class, registers};

/// Never used again.
const NEVER: u32 = u32::MAX;
const NONE: u8 = u8::MAX;

struct Alloc<'a, M> {
    staged: &'a Staged,
    machine: &'a M,
    homes: &'a mut Homes,
    section: &'a Section,
    role: Role,
    steps: Vec<Step>,
    /// The register of each value, or `NONE`.
    reg: Vec<u8>,
    /// Memory that holds each value.
    memory: Vec<Option<Memory>>,
    /// The next use of each value.
    next: Vec<u32>,
    /// The register it should end up in.
    hint: Vec<u8>,
    /// Who is in each register.
    content: [[Option<V>; 32]; 2],
    /// Registers that may not be given away now.
    locked: [u64; 2],
    /// Registers that homes want at the end.
    wanted: [u64; 2],
}

pub(crate) fn allocate<M: Machine>(
    staged: &Staged,
    machine: &M,
    homes: &mut Homes,
    prepared: &Prepared<'_>,
    role: Role,
) -> Vec<Step> {
    let section = prepared.section;
    let count = staged.values.len();
    let mut a = Alloc {
        staged,
        machine,
        homes,
        section,
        role,
        steps: Vec::with_capacity(section.insts.len() + 8),
        reg: vec![NONE; count],
        memory: vec![None; count],
        next: vec![NEVER; count],
        hint: vec![NONE; count],
        content: [[None; 32]; 2],
        locked: [0; 2],
        wanted: [0; 2],
    };
    a.run(prepared);
    a.steps
}

impl<M: Machine> Alloc<'_, M> {
    fn class(&self, v: V) -> Class {
        class(self.machine, self.staged.ty(v))
    }

    fn run(&mut self, prepared: &Prepared<'_>) {
        let section = self.section;
        let needs = &prepared.needs;
        let uses = self.next_uses();
        self.enter();
        let mut skip = vec![false; section.insts.len()];
        for &(v, at) in &prepared.folded {
            self.memory[v.0 as usize] = Some(Memory::Load(at));
            skip[at as usize] = true;
        }
        self.hints();
        let mut first = 0;
        for (at, inst) in section.insts.iter().enumerate() {
            let later = &uses[first..first + inst.args.len()];
            first += inst.args.len();
            if !skip[at] {
                self.inst(at as u32, inst, &needs[at], later);
            }
        }
        self.leave();
    }

    /// Fills `next` with first uses, and gives for every operand the use after it.
    fn next_uses(&mut self) -> Vec<u32> {
        let section = self.section;
        let end = section.insts.len() as u32;
        for &(home, v) in &section.outs {
            // Nothing has to be done for a home in memory that keeps its value.
            let stays = section.ins.contains(&(home, v)) && matches!(self.place(home), HomePlace::Frame(_));
            if !stays {
                self.next[v.0 as usize] = end;
            }
        }
        let mut later: Vec<u32> = Vec::new();
        for (at, inst) in section.insts.iter().enumerate().rev() {
            let from = later.len();
            for a in inst.args.iter().rev() {
                later.push(self.next[a.0 as usize]);
            }
            debug_assert_eq!(later.len(), from + inst.args.len());
            for a in &inst.args {
                self.next[a.0 as usize] = at as u32;
            }
        }
        later.reverse();
        later
    }

    fn place(&self, home: Home) -> HomePlace {
        self.homes.places[home.0 as usize]
    }

    fn enter(&mut self) {
        for (at, source) in self.staged.sources.iter().enumerate() {
            if source.is_some() {
                self.memory[at] = Some(Memory::Source(V(at as u32)));
            }
        }
        if self.role != Role::Before {
            for (v, reg) in self.homes.sources.clone() {
                self.put(v, reg);
            }
        }
        for &(home, v) in &self.section.ins {
            match self.place(home) {
                HomePlace::Reg(reg) => {
                    if self.next[v.0 as usize] != NEVER || home.0 as usize >= self.staged.carried {
                        self.put(v, reg);
                    }
                }
                HomePlace::Frame(slot) => self.memory[v.0 as usize] = Some(Memory::Frame(slot)),
            }
        }
        for &(home, v) in &self.section.outs {
            if let HomePlace::Reg(reg) = self.place(home) {
                self.wanted[self.class(v) as usize] |= 1 << reg;
            }
        }
    }

    fn put(&mut self, v: V, reg: u8) {
        let class = self.class(v) as usize;
        self.content[class][reg as usize] = Some(v);
        self.reg[v.0 as usize] = reg;
    }

    fn drop_value(&mut self, v: V) {
        let reg = self.reg[v.0 as usize];
        if reg != NONE && !(self.role == Role::Loop && self.is_pinned(v, reg)) {
            self.content[self.class(v) as usize][reg as usize] = None;
            self.reg[v.0 as usize] = NONE;
        }
    }

    fn is_pinned(&self, v: V, reg: u8) -> bool {
        self.homes.pinned(self.class(v)) & (1 << reg) != 0
    }

    /// Wishes for the values on the way from a carry's param to its next.
    fn hints(&mut self) {
        let mut chain: Vec<u32> = vec![NEVER; self.staged.values.len()];
        for &(home, v) in &self.section.ins {
            if (home.0 as usize) < self.staged.carried {
                chain[v.0 as usize] = home.0;
            }
        }
        for inst in &self.section.insts {
            let Some(r) = inst.result else { continue };
            let ty = self.staged.ty(r);
            let leads = |a: &&V| chain[a.0 as usize] != NEVER && self.staged.ty(**a) == ty;
            let from = match inst.op {
                Op::Fma | Op::Fnma | Op::Dots(_) => inst.args.iter().rev().find(leads),
                _ => inst.args.iter().find(leads),
            };
            if let Some(from) = from {
                chain[r.0 as usize] = chain[from.0 as usize];
            }
        }
        for (at, &home) in chain.iter().enumerate() {
            if home != NEVER
                && let HomePlace::Reg(reg) = self.place(Home(home))
            {
                self.hint[at] = reg;
            }
        }
        for &(home, v) in &self.section.outs {
            if let HomePlace::Reg(reg) = self.place(home) {
                self.hint[v.0 as usize] = reg;
            }
        }
    }

    /// Registers nobody is in and nobody holds.
    fn free(&self, class: Class) -> u64 {
        let all = (1_u64 << registers(self.machine, class)) - 1;
        let mut free = all & !self.locked[class as usize];
        if self.role == Role::Loop {
            free &= !self.homes.pinned(class);
        }
        for (reg, content) in self.content[class as usize].iter().enumerate() {
            if content.is_some() {
                free &= !(1 << reg);
            }
        }
        free
    }

    /// A register to write, emptied if need be.
    fn take(&mut self, class: Class, hint: u8) -> u8 {
        let free = self.free(class);
        if hint != NONE && free & (1 << hint) != 0 {
            return hint;
        }
        let quiet = free & !self.wanted[class as usize];
        let choice = if quiet != 0 { quiet } else { free };
        if choice != 0 {
            return choice.trailing_zeros() as u8;
        }
        self.evict(class)
    }

    /// Empties the register whose value is needed last.
    fn evict(&mut self, class: Class) -> u8 {
        let kept = if self.role == Role::Loop { self.homes.pinned(class) } else { 0 } | self.locked[class as usize];
        let count = registers(self.machine, class);
        let candidates = (0..count).filter(|reg| kept & (1 << reg) == 0);
        let distance = |reg: &u8| match self.content[class as usize][*reg as usize] {
            // Of those equally far, rather one that memory has already.
            Some(v) => (self.next[v.0 as usize], self.memory[v.0 as usize].is_some()),
            None => (NEVER, true),
        };
        // The homes leave more registers than one instruction holds, so there is a candidate.
        let reg = candidates.max_by_key(distance).unwrap_or(0);
        if let Some(v) = self.content[class as usize][reg as usize].take() {
            self.save(v);
            self.reg[v.0 as usize] = NONE;
        }
        reg
    }

    /// Makes memory hold a value that is in a register.
    fn save(&mut self, v: V) {
        if self.memory[v.0 as usize].is_none() {
            let frame = self.homes.new_frame();
            self.steps.push(Step::Spill { ty: self.staged.ty(v), frame, from: self.reg[v.0 as usize] });
            self.memory[v.0 as usize] = Some(Memory::Frame(frame));
        }
    }

    /// Brings a value into a register.
    fn fill(&mut self, v: V, hint: u8) -> u8 {
        let class = self.class(v);
        let reg = self.take(class, hint);
        if let Some(from) = self.memory[v.0 as usize] {
            self.steps.push(Step::Fill { ty: self.staged.ty(v), to: reg, from });
        }
        self.put(v, reg);
        reg
    }

    fn lock(&mut self, class: Class, reg: u8) {
        self.locked[class as usize] |= 1 << reg;
    }

    fn inst(&mut self, at: u32, inst: &Inst, needs: &Needs, later: &[u32]) {
        self.locked = [0; 2];
        let mut args: SmallVec<[Place; 3]> = SmallVec::new();
        for &v in &inst.args {
            let reg = self.reg[v.0 as usize];
            if reg != NONE {
                self.lock(self.class(v), reg);
            }
        }
        let mut memory_left = true;
        for (arg, &v) in inst.args.iter().enumerate() {
            let mut reg = self.reg[v.0 as usize];
            if reg == NONE {
                let once = inst.args.iter().filter(|&&a| a == v).count() == 1;
                if let Some(memory) = self.memory[v.0 as usize]
                    && memory_left
                    && once
                    && needs.memory & (1 << arg) != 0
                    && self.reads(v, memory, later[arg])
                {
                    memory_left = false;
                    args.push(Place::Memory(memory));
                    continue;
                }
                reg = self.fill(v, NONE);
                self.lock(self.class(v), reg);
            }
            args.push(Place::Reg(reg));
        }
        let temps = self.temps(needs);
        let early = if needs.early { self.result(inst, &args) } else { None };
        for (&v, &next) in inst.args.iter().zip(later) {
            self.next[v.0 as usize] = next;
        }
        for (arg, &v) in inst.args.iter().enumerate() {
            if later[arg] == NEVER {
                let reg = self.reg[v.0 as usize];
                self.drop_value(v);
                // The factors of packed products are read after the sum has its new place.
                let factor = matches!(inst.op, Op::Dots(_)) && arg < 2;
                if reg != NONE && self.reg[v.0 as usize] == NONE && !factor {
                    self.locked[self.class(v) as usize] &= !(1 << reg);
                }
            }
        }
        let dst = if needs.early { early } else { self.result(inst, &args) };
        if let (Some(r), Some(reg)) = (inst.result, dst) {
            self.put(r, reg);
            if self.next[r.0 as usize] == NEVER {
                self.drop_value(r);
            }
        }
        self.steps.push(Step::Inst { inst: at, args, dst, temps });
    }

    /// Whether an instruction should read a value from memory rather than have it brought in.
    fn reads(&self, v: V, memory: Memory, later: u32) -> bool {
        match memory {
            Memory::Source(v) => self.machine.reads_source(self.staged, v),
            Memory::Load(_) => true,
            // Worth a register if there is one left and more uses come.
            Memory::Frame(_) => {
                let end = self.section.insts.len() as u32;
                later >= end || self.free(self.class(v)) & !self.wanted[self.class(v) as usize] == 0
            }
        }
    }

    fn temps(&mut self, needs: &Needs) -> SmallVec<[u8; 4]> {
        let mut temps = SmallVec::new();
        for (class, count) in [(Class::Vector, needs.vectors), (Class::Mask, needs.masks)] {
            let class = if registers(self.machine, class) == 0 { Class::Vector } else { class };
            for _ in 0..count {
                let reg = self.take(class, NONE);
                self.lock(class, reg);
                temps.push(reg);
            }
        }
        temps
    }

    fn result(&mut self, inst: &Inst, args: &[Place]) -> Option<u8> {
        let r = inst.result?;
        let class = self.class(r);
        let hint = self.hint[r.0 as usize];
        if hint != NONE && self.free(class) & (1 << hint) != 0 {
            return Some(hint);
        }
        if let (Op::Dots(_), Some(Place::Reg(sum))) = (inst.op, args.get(2))
            && self.free(class) & (1 << sum) != 0
        {
            return Some(*sum);
        }
        if matches!(inst.op, Op::Fma | Op::Fnma) {
            // One operand is overwritten: one that is not needed any more saves a copy.
            for arg in [2, 0, 1] {
                if let Place::Reg(reg) = args[arg]
                    && self.free(class) & (1 << reg) != 0
                {
                    return Some(reg);
                }
            }
        }
        if let (Op::Bitcast(_), Place::Reg(reg)) = (inst.op, args.first().copied().unwrap_or(Place::Reg(NONE)))
            && reg != NONE
            && self.free(class) & (1 << reg) != 0
        {
            return Some(reg);
        }
        Some(self.take(class, NONE))
    }

    /// Puts the section's results into their homes.
    fn leave(&mut self) {
        self.locked = [0; 2];
        let mut outs = self.section.outs.clone();
        let mut moves: Vec<(V, u8, Option<u8>)> = Vec::new();
        if self.role == Role::Before {
            moves.extend(self.homes.sources.clone().into_iter().map(|(v, reg)| (v, reg, None)));
        }
        outs.retain(|&(home, v)| {
            !self.section.ins.contains(&(home, v)) || matches!(self.place(home), HomePlace::Reg(_))
        });
        self.detach(&outs);
        for &(home, v) in &outs {
            match self.place(home) {
                HomePlace::Reg(to) => {
                    let reg = self.reg[v.0 as usize];
                    moves.push((v, to, (reg != NONE).then_some(reg)));
                }
                HomePlace::Frame(frame) => self.store_home(v, frame),
            }
        }
        for class in [Class::Vector, Class::Mask] {
            let mut of: Vec<(V, u8, u8)> = Vec::new();
            let mine = moves.iter().filter(|m| self.class(m.0) == class);
            for &(v, to, from) in mine.clone() {
                of.extend(from.filter(|&from| from != to).map(|from| (v, to, from)));
            }
            self.parallel(of);
            for &(v, to, from) in &moves {
                if from.is_none()
                    && self.class(v) == class
                    && let Some(memory) = self.memory[v.0 as usize]
                {
                    self.steps.push(Step::Fill { ty: self.staged.ty(v), to, from: memory });
                }
            }
        }
    }

    /// Copies results that lie in frame slots of homes that are about to be written.
    fn detach(&mut self, outs: &[(Home, V)]) {
        let written: Vec<u32> = outs
            .iter()
            .filter_map(|&(home, _)| match self.place(home) {
                HomePlace::Frame(slot) => Some(slot),
                HomePlace::Reg(_) => None,
            })
            .collect();
        for &(home, v) in outs {
            let Some(Memory::Frame(slot)) = self.memory[v.0 as usize] else { continue };
            let own = self.place(home) == HomePlace::Frame(slot);
            if self.reg[v.0 as usize] == NONE && written.contains(&slot) && !own {
                self.through_register(v, None);
            }
        }
    }

    fn store_home(&mut self, v: V, frame: u32) {
        let ty = self.staged.ty(v);
        match self.reg[v.0 as usize] {
            NONE if self.memory[v.0 as usize] == Some(Memory::Frame(frame)) => {}
            NONE => self.through_register(v, Some(frame)),
            from => self.steps.push(Step::Spill { ty, frame, from }),
        }
    }

    /// Copies a value in memory to a frame slot (a new one, where it then lives, unless told) and leaves
    /// all registers as they were.
    fn through_register(&mut self, v: V, frame: Option<u32>) {
        let (class, ty) = (self.class(v), self.staged.ty(v));
        let Some(from) = self.memory[v.0 as usize] else { return };
        let to = frame.unwrap_or_else(|| self.homes.new_frame());
        let free = self.free(class);
        if free != 0 {
            let reg = free.trailing_zeros() as u8;
            self.steps.push(Step::Fill { ty, to: reg, from });
            self.steps.push(Step::Spill { ty, frame: to, from: reg });
        } else {
            // Borrow any register that may change.
            let borrowed = self.homes.new_frame();
            let reg = (0..registers(self.machine, class))
                .find(|reg| self.role != Role::Loop || self.homes.pinned(class) & (1 << reg) == 0)
                .unwrap_or(0);
            let old = self.content[class as usize][reg as usize].map_or(ty, |v| self.staged.ty(v));
            self.steps.push(Step::Spill { ty: old, frame: borrowed, from: reg });
            self.steps.push(Step::Fill { ty, to: reg, from });
            self.steps.push(Step::Spill { ty, frame: to, from: reg });
            self.steps.push(Step::Fill { ty: old, to: reg, from: Memory::Frame(borrowed) });
        }
        if frame.is_none() {
            self.memory[v.0 as usize] = Some(Memory::Frame(to));
        }
    }

    /// Copies registers as if all at once.
    fn parallel(&mut self, mut moves: Vec<(V, u8, u8)>) {
        while !moves.is_empty() {
            let ready = moves.iter().position(|&(_, to, _)| moves.iter().all(|&(_, _, from)| from != to));
            match ready {
                Some(at) => {
                    let (v, to, from) = moves.swap_remove(at);
                    self.steps.push(Step::Move { ty: self.staged.ty(v), to, from });
                }
                None => {
                    // A cycle: one value waits in the frame, as a move from memory done at the end.
                    let (v, to, from) = moves.swap_remove(0);
                    let (ty, frame) = (self.staged.ty(v), self.homes.new_frame());
                    self.steps.push(Step::Spill { ty, frame, from });
                    self.parallel(std::mem::take(&mut moves));
                    self.steps.push(Step::Fill { ty, to, from: Memory::Frame(frame) });
                }
            }
        }
    }
}

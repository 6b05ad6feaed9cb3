//! Register assignment for staged programs, shared by the emitters.
//!
//! Comes in: [`Staged`] code and a [`Machine`] that says how many registers there are and what each
//! instruction needs. Goes out: [`Allocation`], the steps of every section with registers in place of
//! values. Afterwards every home has one place for all sections, every operand is in a register or in
//! memory the instruction can read, and registers hold what the steps say. It never fails: values that
//! find no register live in the frame.
//!
//! Sections are straight lines, so the farthest next use decides who leaves. Carried values begin and end
//! in their home's register, and the values that lead to them are put there when it is free, so that
//! accumulators stay in place.

mod homes;
mod section;

use smallvec::SmallVec;

use super::ir::{Inst, Ty, V};
use super::unroll::{Section, Staged};

/// What an instruction needs besides its operands and result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Scratch vector registers.
    pub vectors: u8,
    /// Scratch mask registers.
    pub masks: u8,
    /// Bit `i`: operand `i` may be in memory, if all others are in registers.
    pub memory: u8,
    /// The result is written before all operands are read, so it has a register of its own.
    pub early: bool,
}

/// What the allocator must know of a machine.
pub trait Machine {
    /// Vector registers it may use.
    fn vectors(&self) -> u8;
    /// Mask registers it may use; 0 when masks live in vector registers.
    fn masks(&self) -> u8;
    /// What the instruction needs.
    fn needs(&self, staged: &Staged, inst: &Inst) -> Needs;
    /// Whether a plain load with `uses` users may be done by them as memory operands.
    fn folds(&self, staged: &Staged, load: &Inst, uses: usize) -> bool;
    /// Whether instructions can read this value, which has a source, from where it comes.
    fn reads_source(&self, staged: &Staged, v: V) -> bool;
}

/// Memory that a value can be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A slot of the frame; every slot has room for one vector.
    Frame(u32),
    /// The source of a value.
    Source(V),
    /// What the section's instruction of this number would load.
    Load(u32),
}

/// Where an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a register of the type's class.
    Reg(u8),
    /// In memory.
    Memory(Memory),
}

/// One thing to emit.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// An instruction of the section.
    Inst {
        /// Its number.
        inst: u32,
        /// Its operands.
        args: SmallVec<[Place; 3]>,
        /// Its result.
        dst: Option<u8>,
        /// Its scratch registers, vectors first.
        temps: SmallVec<[u8; 4]>,
    },
    /// A copy between registers.
    Move {
        /// The type.
        ty: Ty,
        /// To.
        to: u8,
        /// From.
        from: u8,
    },
    /// A value brought into a register.
    Fill {
        /// The type.
        ty: Ty,
        /// To.
        to: u8,
        /// From.
        from: Memory,
    },
    /// A value saved to the frame.
    Spill {
        /// The type.
        ty: Ty,
        /// To this slot.
        frame: u32,
        /// From.
        from: u8,
    },
}

/// All sections with registers.
#[derive(Clone, Debug, Default)]
pub struct Allocation {
    /// Once, first.
    pub before: Vec<Step>,
    /// The unrolled loop.
    pub main: Option<Vec<Step>>,
    /// After the main loop.
    pub combine: Vec<Step>,
    /// The loop of single steps.
    pub single: Vec<Step>,
    /// The masked step.
    pub partial: Option<Vec<Step>>,
    /// Once, last.
    pub after: Vec<Step>,
    /// Slots of the frame.
    pub frame: u32,
}

/// Register classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Vector,
    Mask,
}

pub(crate) fn class<M: Machine>(machine: &M, ty: Ty) -> Class {
    if ty == Ty::Mask && machine.masks() > 0 { Class::Mask } else { Class::Vector }
}

pub(crate) fn registers<M: Machine>(machine: &M, class: Class) -> u8 {
    match class {
        Class::Vector => machine.vectors(),
        Class::Mask => machine.masks(),
    }
}

/// What a section is to the homes that do not change in loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Before,
    Loop,
    After,
}

/// What is known of a section before registers are assigned.
pub(crate) struct Prepared<'a> {
    pub section: &'a Section,
    /// By instruction.
    pub needs: Vec<Needs>,
    /// Loads done by their users, with their instructions.
    pub folded: Vec<(V, u32)>,
}

fn prepare<'a, M: Machine>(staged: &Staged, machine: &M, section: &'a Section) -> Prepared<'a> {
    let needs: Vec<Needs> = section.insts.iter().map(|i| machine.needs(staged, i)).collect();
    let folded = homes::folded(staged, machine, section, &needs);
    Prepared { section, needs, folded }
}

/// Assigns registers.
pub fn allocate<M: Machine>(staged: &Staged, machine: &M) -> Allocation {
    let prepare = |section| prepare(staged, machine, section);
    let (main, single) = (staged.main.as_ref().map(prepare), prepare(&staged.single));
    let mut homes = homes::assign(staged, machine, main.as_ref(), &single);
    let mut run = |p: &Prepared<'_>, role: Role| section::allocate(staged, machine, &mut homes, p, role);
    let mut all = Allocation {
        before: run(&prepare(&staged.before), Role::Before),
        main: main.as_ref().map(|p| run(p, Role::Loop)),
        combine: if staged.main.is_some() { run(&prepare(&staged.combine), Role::Loop) } else { Vec::new() },
        single: run(&single, Role::Loop),
        partial: staged.partial.as_ref().map(|s| run(&prepare(s), Role::Loop)),
        after: run(&prepare(&staged.after), Role::After),
        frame: 0,
    };
    all.frame = homes.frame;
    all
}

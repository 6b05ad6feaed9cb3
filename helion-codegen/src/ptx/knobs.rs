//! The backend's own knobs.
//!
//! In: a config, a scheduled function. Out: what the rest of the backend reads ([`Knobs`]), which slots a kernel has
//! ([`add`]), whether their values fit a device ([`legal`]), and the loop function without those that change nothing in
//! its code ([`settle`]). Each knob is read here and nowhere else; those of other backends appear in no space and are
//! dropped.

use crate::cost;
use helion_ir::config::{Config, ConfigSpace, Knob, Slot};
use helion_ir::dtype::DType;
use helion_ir::loops::{Function, Mem, ParamKind, Stmt};

/// What compiling reads.
#[cfg_attr(not(feature = "llvm"), allow(dead_code, reason = "read by the code generator"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knobs {
    /// log2 of the warps of a block.
    pub warps: u32,
    /// The most registers that a thread may use. Without a limit the assembler prefers many blocks side by side, and
    /// keeps values in memory for it.
    pub registers: u32,
    /// Steps of products in shared memory at a time.
    pub stages: u32,
}

/// Warps of a block without products, where nothing says otherwise; the fewest otherwise.
const WARPS: u64 = 4;
/// Steps of products in shared memory, where nothing says otherwise.
const STAGES: u64 = 4;
/// The value of `registers` for as many as there are.
const ANY: u64 = 0;
/// Registers of a multiprocessor.
const REGISTER_FILE: u64 = 64 << 10;
/// With fewer registers the assembler refuses code.
const FEWEST: u64 = 24;

#[cfg_attr(not(feature = "llvm"), allow(dead_code, reason = "read by the code generator"))]
impl Knobs {
    /// Reads those of a function.
    pub(super) fn of(f: &Function) -> Knobs {
        let get = |knob| f.config.get(&Slot::kernel(knob));
        let warps = get(Knob::Warps).unwrap_or_else(|| cost::warps(f)).clamp(1, 32).ilog2();
        let most = most_registers(warps);
        let registers = get(Knob::Registers).filter(|n| *n != ANY).map_or(most, |n| n.clamp(FEWEST, most));
        let stages = get(Knob::Stages).unwrap_or(STAGES) as u32;
        Knobs { warps, registers: registers as u32, stages }
    }
}

/// As many registers as each thread of a block of `1 << warps` warps can have.
fn most_registers(warps: u32) -> u64 {
    registers_of(1 << warps).into()
}

/// The same for any number of warps. Each quarter of a multiprocessor has its own registers, and gives them out in
/// eights.
pub(super) fn registers_of(warps: u32) -> u32 {
    let each = REGISTER_FILE as u32 / 4 / (32 * warps.div_ceil(4));
    if each > 255 { 255 } else { each & !7 }
}

/// Registers of each thread that computes, when a warpgroup that fetches has given most of its own away, and of those.
#[cfg(feature = "llvm")]
pub(super) fn registers_of_crew(warps: u32) -> (u32, u32) {
    const FETCHING: u32 = 24;
    let each = (REGISTER_FILE as u32 - 128 * FETCHING) / (32 * warps);
    (each.min(240) & !7, FETCHING)
}

/// Whether a function has products that may run on matrix units.
fn multiplies(f: &Function, body: &[Stmt]) -> bool {
    body.iter().any(|s| match s {
        Stmt::Contract(c) => match c.lhs.mem {
            Mem::Buffer(b) => is_narrow(f.buffers[b.index()].dtype),
            Mem::Tensor(p) => match &f.params[p.index()].kind {
                ParamKind::Tensor { dtype, .. } | ParamKind::Scalar { dtype } => is_narrow(*dtype),
            },
        },
        Stmt::For { body, .. } => multiplies(f, body),
        Stmt::While { cond, body, .. } => multiplies(f, cond) || multiplies(f, body),
        Stmt::If { then, other, .. } => multiplies(f, then) || multiplies(f, other),
        Stmt::Inst(_) | Stmt::Nest(_) => false,
    })
}

fn is_narrow(d: DType) -> bool {
    d.size() <= 2
}

/// Adds the slots of a kernel scheduled with its default config, the default first.
pub(super) fn add(f: &Function, space: &mut ConfigSpace) {
    if multiplies(f, &f.body) {
        space.add(Slot::kernel(Knob::Stages), vec![STAGES, 2, 3, 5]);
    }
    let warps = cost::warps(f);
    let others = [WARPS, 1, 2, 8, 16].into_iter().filter(|w| *w != warps);
    space.add(Slot::kernel(Knob::Warps), std::iter::once(warps).chain(others).collect());
    space.add(Slot::kernel(Knob::Registers), vec![ANY, 64, 128, 40]);
}

/// Whether the values of a config fit a device.
///
/// # Errors
/// What does not, in words.
pub(super) fn legal(config: &Config) -> Result<(), String> {
    let Some(registers) = config.get(&Slot::kernel(Knob::Registers)).filter(|n| *n != ANY) else { return Ok(()) };
    if registers < FEWEST {
        return Err(format!("`registers={registers}`: code needs at least {FEWEST}; 0 is for as many as there are"));
    }
    let warps = config.get(&Slot::kernel(Knob::Warps)).unwrap_or(WARPS).clamp(1, 32).ilog2();
    let (threads, most) = (32 << warps, most_registers(warps));
    if registers > most {
        return Err(format!(
            "`registers={registers}`: a block of {threads} threads has at most {most} for each thread"
        ));
    }
    Ok(())
}

/// Takes out of a scheduled function's config what changes nothing in its code.
pub(super) fn settle(f: &mut Function) {
    let (multiplies, warps) = (multiplies(f, &f.body), cost::warps(f));
    let mut config = f.config.clone();
    config.retain(|slot, v| match slot.knob {
        Knob::Warps => v != warps,
        Knob::Registers => v != ANY,
        Knob::Stages => multiplies && v != STAGES,
        Knob::MicroRows | Knob::MicroVectors | Knob::Kc | Knob::Mc | Knob::Nc | Knob::Pack => false,
        Knob::Unroll | Knob::Stream | Knob::Threads | Knob::Share | Knob::Split => false,
        Knob::Block | Knob::Order | Knob::Grid | Knob::Group | Knob::Keep => true,
        Knob::Fuse | Knob::Chunk | Knob::Interchange | Knob::Owners | Knob::User => true,
    });
    f.config = config;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> Function {
        let text = "loops copy {\n  param x: tensor f32[4] contiguous\n  body {\n  }\n}\n";
        helion_ir::loops::parse(text).expect("loop IR")
    }

    #[test]
    fn the_default_is_first_and_legal() {
        let mut space = ConfigSpace::default();
        add(&copy(), &mut space);
        let with = |config: Config| Knobs::of(&Function { config, ..copy() });
        assert_eq!(with(space.nth(0)), with(Config::new()));
        let legal = (0..space.len()).filter(|i| legal(&space.nth(*i)).is_ok()).count();
        // 128 registers for each of 512 threads are all there are.
        assert_eq!(legal as u64, space.len());
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let with = |warps, registers| {
            let config = Config::new().knob(Knob::Warps, warps).knob(Knob::Registers, registers);
            legal(&config).unwrap_err()
        };
        assert!(with(4, 8).contains("at least 24"), "{}", with(4, 8));
        assert!(with(16, 160).contains("at most 128"), "{}", with(16, 160));
    }
}

//! How a launch finds its number of program instances and its memory: the header of a loop function, run on the host.
//!
//! In: argument words. Out: a [`Plan`]. Only the instructions that grid and buffers depend on are kept.

use super::kernel::Plan;
use helion_ir::dtype::{DType, Literal};
use helion_ir::eval;
use helion_ir::loops::{BufferId, Function, Inst, Op, ParamKind, Val};

/// Values of header instructions; memory to be used again.
#[derive(Clone, Debug, Default)]
pub struct Values(Vec<Literal>);

/// The rule of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    header: Vec<Inst>,
    /// How many values the function has.
    values: usize,
    counts: Vec<Val>,
    /// Extents and element bytes of buffers whose size launches decide.
    dynamic: Vec<(Vec<Val>, u64)>,
    /// First argument word of each parameter, then of the symbols, then one past the last.
    words: Vec<usize>,
    /// Element types of scalar parameters.
    scalars: Vec<Option<DType>>,
}

/// What each dynamic buffer's size is rounded up to.
pub(super) const ALIGN: u64 = 16;

/// First argument word of each parameter, then of the symbols, then the number of words.
pub(super) fn word_offsets(f: &Function) -> Vec<usize> {
    let mut at = 0;
    let mut words = Vec::with_capacity(f.params.len() + 2);
    for p in &f.params {
        words.push(at);
        at += match &p.kind {
            ParamKind::Tensor { dims, .. } => 1 + 2 * dims.len(),
            ParamKind::Scalar { .. } => 1,
        };
    }
    words.push(at);
    words.push(at + f.symbols.len());
    words
}

impl Rule {
    /// The rule of a function of which these buffers have a size that launches decide.
    pub(super) fn new(f: &Function, dynamic: &[BufferId]) -> Rule {
        let counts: Vec<Val> = f.grid.iter().map(|axis| axis.count).collect();
        let dynamic: Vec<(Vec<Val>, u64)> =
            dynamic.iter().map(|b| &f.buffers[b.index()]).map(|b| (b.dims.clone(), b.dtype.size() as u64)).collect();
        let mut needed = vec![false; f.values.len()];
        for v in counts.iter().chain(dynamic.iter().flat_map(|d| &d.0)) {
            needed[v.index()] = true;
        }
        let mut header: Vec<Inst> = Vec::new();
        for inst in f.header.iter().rev() {
            if inst.result.is_some_and(|r| needed[r.index()]) {
                inst.args.iter().for_each(|a| needed[a.index()] = true);
                header.push(inst.clone());
            }
        }
        header.reverse();
        let scalar = |kind: &ParamKind| match kind {
            ParamKind::Scalar { dtype } => Some(*dtype),
            ParamKind::Tensor { .. } => None,
        };
        Rule {
            header,
            values: f.values.len(),
            counts,
            dynamic,
            words: word_offsets(f),
            scalars: f.params.iter().map(|p| scalar(&p.kind)).collect(),
        }
    }

    pub(super) fn words(&self) -> usize {
        self.words.last().copied().unwrap_or(0)
    }

    pub(super) fn plan(&self, args: &[u64], values: &mut Values) -> Plan {
        let all = &mut values.0;
        all.clear();
        all.resize(self.values, Literal::from_bits(DType::I64, 0));
        for inst in &self.header {
            let Some(r) = inst.result else { continue };
            let arg = |i: usize| inst.args.get(i).map_or(Literal::from_bits(DType::I64, 0), |v| all[v.index()]);
            all[r.index()] = self.value(&inst.op, args, arg);
        }
        let get = |v: &Val| all[v.index()].to_i64().max(0) as u64;
        let programs = self.counts.iter().map(get).fold(1, u64::saturating_mul);
        let bytes = |(dims, size): &(Vec<Val>, u64)| {
            let bytes = dims.iter().map(get).fold(*size, u64::saturating_mul);
            bytes.checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX)
        };
        Plan { programs, dynamic_bytes: self.dynamic.iter().map(bytes).fold(0, u64::saturating_add) }
    }

    fn value(&self, op: &Op, args: &[u64], arg: impl Fn(usize) -> Literal) -> Literal {
        let size = |bits: u64| Literal::from_bits(DType::I64, bits);
        match op {
            Op::Const(l) => *l,
            Op::Size(s) => size(args[self.words[self.words.len() - 2] + s.index()]),
            Op::Dim(p, axis) => size(args[self.words[p.index()] + 1 + *axis as usize]),
            Op::Scalar(p) => {
                Literal::from_bits(self.scalars[p.index()].unwrap_or(DType::I64), args[self.words[p.index()]])
            }
            Op::Unary(op) => eval::unary(*op, arg(0)),
            Op::Binary(op) => eval::binary(*op, arg(0), arg(1)),
            Op::Fma => eval::fma(arg(0), arg(1), arg(2)),
            Op::Select if arg(0).is_true() => arg(1),
            Op::Select => arg(2),
            Op::Cast(to) => eval::cast(arg(0), *to),
            Op::Bitcast(to) => eval::bitcast(arg(0), *to),
            // A header has no memory; `loops::verify` sees to it.
            Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } | Op::Random { .. } | Op::Print { .. } => size(0),
        }
    }
}

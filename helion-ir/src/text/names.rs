//! The words for reductions and atomic operations in printed IR.

use crate::tile::{AtomicOp, ReduceOp};

impl ReduceOp {
    /// Every reduction.
    pub const ALL: &'static [ReduceOp] = &[
        ReduceOp::Sum,
        ReduceOp::Prod,
        ReduceOp::Max,
        ReduceOp::Min,
        ReduceOp::Any,
        ReduceOp::All,
        ReduceOp::ArgMax,
        ReduceOp::ArgMin,
    ];

    /// The name in printed IR.
    pub const fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Prod => "prod",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::Any => "any",
            ReduceOp::All => "all",
            ReduceOp::ArgMax => "argmax",
            ReduceOp::ArgMin => "argmin",
        }
    }

    /// The reduction of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|o| o.name() == name)
    }
}

impl AtomicOp {
    /// Every atomic operation.
    pub const ALL: &'static [AtomicOp] =
        &[AtomicOp::Add, AtomicOp::Max, AtomicOp::Min, AtomicOp::Exchange, AtomicOp::CompareSwap];

    /// The name in printed IR.
    pub const fn name(self) -> &'static str {
        match self {
            AtomicOp::Add => "add",
            AtomicOp::Max => "max",
            AtomicOp::Min => "min",
            AtomicOp::Exchange => "exchange",
            AtomicOp::CompareSwap => "compare_swap",
        }
    }

    /// The operation of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|o| o.name() == name)
    }

    /// How many values it takes beside the index: the new value and, for `CompareSwap`, the expected one.
    pub const fn operands(self) -> usize {
        match self {
            AtomicOp::CompareSwap => 2,
            AtomicOp::Add | AtomicOp::Max | AtomicOp::Min | AtomicOp::Exchange => 1,
        }
    }
}

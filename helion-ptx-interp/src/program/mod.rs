//! A kernel in the form that is run.
//!
//! In: the bodies of an entry and of the functions it calls, as they were written. Out: a [`Program`], one flat list
//! of steps on numbered registers. Calls are gone (bodies are copied into their callers), blocks are laid out so
//! that loops are contiguous, and every modifier was understood: what is not supported is an error here, not a
//! surprise later.

pub(crate) mod build;
mod decode;
pub(crate) mod inst;
pub(crate) mod lanes;
mod layout;
pub(crate) mod names;

use crate::report::Class;
use inst::{Constant, Inst, Reg, Step};

/// A value that is fixed for a warp when its block starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    LaneId,
    WarpId,
    WarpCount,
    LaneMaskEq,
    LaneMaskLe,
    LaneMaskLt,
    LaneMaskGe,
    LaneMaskGt,
    SmId,
    SmCount,
    GridId,
    DynamicShared,
    TotalShared,
    ClusterId(usize),
    ClusterCount(usize),
    ClusterCtaid(usize),
    ClusterNctaid(usize),
    ClusterRank,
    ClusterSize,
}

impl Special {
    /// The register that is read as `%tid.x` and so on.
    pub fn named(name: &str) -> Option<Special> {
        let axis = match name.as_bytes() {
            [.., b'.', b'x'] => 0,
            [.., b'.', b'y'] => 1,
            [.., b'.', b'z'] => 2,
            _ => 3,
        };
        Some(match (name.split('.').next()?, axis) {
            ("%tid", 0..3) => Special::Tid(axis),
            ("%ntid", 0..3) => Special::Ntid(axis),
            ("%ctaid", 0..3) => Special::Ctaid(axis),
            ("%nctaid", 0..3) => Special::Nctaid(axis),
            ("%clusterid", 0..3) => Special::ClusterId(axis),
            ("%nclusterid", 0..3) => Special::ClusterCount(axis),
            ("%cluster_ctaid", 0..3) => Special::ClusterCtaid(axis),
            ("%cluster_nctaid", 0..3) => Special::ClusterNctaid(axis),
            ("%laneid", _) => Special::LaneId,
            ("%warpid", _) => Special::WarpId,
            ("%nwarpid", _) => Special::WarpCount,
            ("%lanemask_eq", _) => Special::LaneMaskEq,
            ("%lanemask_le", _) => Special::LaneMaskLe,
            ("%lanemask_lt", _) => Special::LaneMaskLt,
            ("%lanemask_ge", _) => Special::LaneMaskGe,
            ("%lanemask_gt", _) => Special::LaneMaskGt,
            ("%smid", _) => Special::SmId,
            ("%nsmid", _) => Special::SmCount,
            ("%gridid", _) => Special::GridId,
            ("%dynamic_smem_size", _) => Special::DynamicShared,
            ("%total_smem_size" | "%aggr_smem_size", _) => Special::TotalShared,
            ("%cluster_ctarank", _) => Special::ClusterRank,
            ("%cluster_nctarank", _) => Special::ClusterSize,
            _ => return None,
        })
    }
}

/// Registers that a step reads, and that it writes.
pub(crate) type Watched = Option<Box<(Vec<Reg>, Vec<Reg>)>>;

/// The registers that may hold results of asynchronous products, for each step that touches one.
fn watch(steps: &[Step], registers: u32) -> Vec<Watched> {
    let mut held = vec![false; registers as usize];
    let mut any = false;
    for step in steps {
        if let Inst::Wgmma(w) = &step.inst {
            any = true;
            w.d.iter().copied().chain(w.a.iter().filter_map(|s| s.split().err())).for_each(|r| held[r as usize] = true);
        }
    }
    if !any {
        return Vec::new();
    }
    // Copies of results are results.
    loop {
        let mut grew = false;
        for step in steps.iter().filter(|s| s.class == Class::Move) {
            if let Inst::Map { dst, src, .. } = &step.inst
                && src[0].split().is_err_and(|r| held[r as usize])
                && !held[*dst as usize]
            {
                held[*dst as usize] = true;
                grew = true;
            }
        }
        if !grew {
            break;
        }
    }
    let watched = |step: &Step| {
        let (mut read, mut written) = decode::matrix::touched(&step.inst);
        read.retain(|r| held[*r as usize]);
        written.retain(|r| held[*r as usize]);
        (!read.is_empty() || !written.is_empty()).then(|| Box::new((read, written)))
    };
    steps.iter().map(watched).collect()
}

/// A kernel ready to run.
#[derive(Debug)]
pub(crate) struct Program {
    pub steps: Vec<Step>,
    /// Registers of a warp's file.
    pub registers: u32,
    pub constants: Vec<Constant>,
    /// Registers that hold special values when a warp starts.
    pub specials: Vec<(Special, Reg)>,
    /// Bytes of shared memory that the kernel declares.
    pub static_shared: u32,
    /// Where memory whose size a launch chooses begins.
    pub dynamic_start: u32,
    /// Whether the kernel names such memory.
    pub uses_dynamic: bool,
    /// Bytes of local memory of a thread.
    pub local: u32,
    /// For each step: registers of asynchronous products that it reads and writes, where there are any.
    pub watched: Vec<Watched>,
}

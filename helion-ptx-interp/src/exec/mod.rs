//! Running a launch.
//!
//! In: a program, a grid, memory. Out: memory as the kernel leaves it and a [`Report`], or the first fault. Blocks run one
//! after another; the warps of a block take turns, each until it waits for others or its time is over.

mod barrier;
mod bulk;
mod collective;
mod copies;
mod matrix;
mod mbarrier;
mod memory;
mod print;
mod step;
mod traffic;
mod warp;
mod wgmma;

use crate::fault::{Fault, FaultKind, Trouble};
use crate::memory::global::GlobalMemory;
use crate::memory::shared::SharedMemory;
use crate::module::{Entry, Module};
use crate::program::inst::{Constant, Src};
use crate::program::lanes::{Lanes, WARP};
use crate::program::{Program, Special};
use crate::report::{Count, Line, Report};
use barrier::Barriers;
use bulk::Landing;
use mbarrier::Mbarriers;
use std::collections::VecDeque;
use traffic::Site;
use warp::{State, Warp};
use wgmma::Warpgroup;

/// Steps that a warp runs before others get their turn.
const TURN: u32 = 1024;
/// Turns after which fragments that were kept from running get one.
const PATIENCE: u32 = 4;
/// Rounds over all warps in which each only looked whether it can go on, and nothing happened, after which the block is
/// stuck.
const STUCK: u32 = 400;

/// The numbers of a launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
}

/// A launch that is running.
pub(crate) struct Machine<'a> {
    program: &'a Program,
    constants: Vec<Lanes>,
    params: &'a [u8],
    global: &'a mut GlobalMemory,
    shared: SharedMemory,
    barriers: Barriers,
    mbarriers: Mbarriers,
    landings: VecDeque<Landing>,
    warpgroups: Vec<Warpgroup>,
    shape: Shape,
    block: [u32; 3],
    sites: Vec<Site>,
    printed: String,
    /// Steps so far, of all warps.
    ticks: u64,
    limit: u64,
    /// Effects that other warps can see; while it stands still, nobody gets on.
    effects: u64,
    /// The place of the step that runs, for faults.
    pc: u32,
}

/// Runs a launch whose numbers were checked.
pub(crate) fn run(
    module: &Module,
    entry: &Entry,
    shape: Shape,
    params: &[u8],
    global: &mut GlobalMemory,
    symbol: impl Fn(&str) -> Option<u64>,
    limit: u64,
) -> Result<Report, Fault> {
    let program = &entry.program;
    let constants = program.constants.iter().map(|c| [constant(c, &symbol); WARP]).collect();
    let mut machine = Machine {
        program,
        constants,
        params,
        global,
        shared: SharedMemory::default(),
        barriers: Barriers::default(),
        mbarriers: Mbarriers::default(),
        landings: VecDeque::new(),
        warpgroups: Vec::new(),
        shape,
        block: [0; 3],
        sites: vec![Site::default(); program.steps.len()],
        printed: String::new(),
        ticks: 0,
        limit,
        effects: 0,
        pc: 0,
    };
    let threads: u32 = shape.block.iter().product();
    let mut warps: Vec<Warp> =
        (0..threads.div_ceil(32) as usize).map(|i| Warp::new(i, program.registers as usize)).collect();
    let [gx, gy, gz] = shape.grid;
    for z in 0..gz {
        for y in 0..gy {
            for x in 0..gx {
                machine.block = [x, y, z];
                machine.run_block(&mut warps).map_err(|(t, warp)| machine.fault(module, entry, *t, warp))?;
            }
        }
    }
    Ok(machine.report(module))
}

fn constant(c: &Constant, symbol: &impl Fn(&str) -> Option<u64>) -> u64 {
    match c {
        Constant::Bits(bits) => *bits,
        Constant::Symbol(name, add) => symbol(name).unwrap_or(0).wrapping_add_signed(*add),
    }
}

/// Trouble and the warp that met it.
type Located = (Box<Trouble>, Option<usize>);

impl Machine<'_> {
    fn run_block(&mut self, warps: &mut [Warp]) -> Result<(), Located> {
        let size = self.program.dynamic_start + self.shape.dynamic_shared;
        self.shared.reset(size as usize, warps.len());
        self.barriers = Barriers::default();
        self.mbarriers = Mbarriers::default();
        self.landings.clear();
        self.warpgroups = (0..warps.len() / 4).map(|_| Warpgroup::default()).collect();
        let threads: u32 = self.shape.block.iter().product();
        for warp in warps.iter_mut() {
            let lanes = (threads - warp.index as u32 * 32).min(32);
            warp.reset(if lanes == 32 { u32::MAX } else { (1 << lanes) - 1 }, self.program.local as usize);
            for (special, reg) in &self.program.specials {
                warp.registers[*reg as usize] = std::array::from_fn(|lane| self.special(*special, warp.index, lane));
            }
        }
        let (mut effects, mut idle) = (self.effects, 0);
        loop {
            let mut ran = false;
            for warp in warps.iter_mut() {
                if warp.has_ready() {
                    ran = true;
                    self.run_warp(warp).map_err(|t| (t, Some(warp.index)))?;
                }
            }
            let landed = self.land_all().map_err(|t| (t, None))?;
            let released = self.settle(warps).map_err(|t| (t, None))? || landed;
            if warps.iter().all(|w| w.live == 0) {
                return Ok(());
            }
            if !ran && !released {
                return Err(self.stuck(warps));
            }
            idle = if self.effects == effects { idle + 1 } else { 0 };
            effects = self.effects;
            if idle > STUCK {
                return Err(self.stuck(warps));
            }
        }
    }

    /// What a special register holds.
    fn special(&self, special: Special, warp: usize, lane: usize) -> u64 {
        let [bx, by, _] = self.shape.block;
        let thread = (warp * WARP + lane) as u32;
        let bit = 1u64 << lane;
        u64::from(match special {
            Special::Tid(0) => thread % bx,
            Special::Tid(1) => thread / bx % by,
            Special::Tid(_) => thread / (bx * by),
            Special::Ntid(axis) => self.shape.block[axis],
            Special::Ctaid(axis) | Special::ClusterId(axis) => self.block[axis],
            Special::Nctaid(axis) | Special::ClusterCount(axis) => self.shape.grid[axis],
            Special::LaneId => lane as u32,
            Special::WarpId => warp as u32,
            Special::WarpCount => self.shape.block.iter().product::<u32>().div_ceil(32),
            Special::LaneMaskEq => bit as u32,
            Special::LaneMaskLt => (bit - 1) as u32,
            Special::LaneMaskLe => (bit * 2 - 1) as u32,
            Special::LaneMaskGe => !(bit - 1) as u32,
            Special::LaneMaskGt => !(bit * 2 - 1) as u32,
            Special::SmId | Special::GridId | Special::ClusterCtaid(_) | Special::ClusterRank => 0,
            Special::SmCount | Special::ClusterNctaid(_) | Special::ClusterSize => 1,
            Special::DynamicShared => self.shape.dynamic_shared,
            Special::TotalShared => self.program.dynamic_start + self.shape.dynamic_shared,
        })
    }

    /// An operand's lanes.
    fn lanes<'s>(&'s self, warp: &'s Warp, src: Src) -> &'s Lanes {
        match src.split() {
            Ok(constant) => &self.constants[constant],
            Err(reg) => &warp.registers[reg as usize],
        }
    }

    /// Nobody in the block can go on.
    fn stuck(&mut self, warps: &[Warp]) -> Located {
        let mut waits: Vec<String> = Vec::new();
        let mut first = None;
        for warp in warps.iter().filter(|w| w.live != 0) {
            for f in &warp.fragments {
                let line = self.program.steps[f.pc as usize].line;
                if first.is_none() {
                    first = Some((warp.index, f.pc, f.mask.trailing_zeros() as usize));
                }
                waits.push(match f.state {
                    State::AtBarrier(id) => format!("warp {} lanes {:#x} wait at barrier {id} (line {line})", warp.index, f.mask),
                    State::Gathering(missing) => format!(
                        "warp {} lanes {:#x} wait at line {line} for lanes {missing:#x} of their warp, which are not there",
                        warp.index, f.mask
                    ),
                    State::Ready => format!("warp {} lanes {:#x} go around at line {line} without effect", warp.index, f.mask),
                });
            }
        }
        let hidden = waits.len().saturating_sub(8);
        waits.truncate(8);
        let mut message = format!("no thread of the block can go on: {}", waits.join("; "));
        if hidden > 0 {
            message += &format!("; and {hidden} more");
        }
        let barriers = self.mbarriers.describe();
        if !barriers.is_empty() {
            message += &format!("; {barriers}");
        }
        let (warp, pc, lane) = first.unwrap_or((0, 0, 0));
        self.pc = pc;
        (Box::new(Trouble { kind: FaultKind::Deadlock, message, lane: Some(lane) }), Some(warp))
    }

    fn fault(&self, module: &Module, entry: &Entry, t: Trouble, warp: Option<usize>) -> Fault {
        let line = self.program.steps.get(self.pc as usize).map_or(0, |s| s.line);
        let [bx, by, _] = self.shape.block;
        let thread = warp.zip(t.lane).map(|(w, lane)| {
            let n = (w * WARP + lane) as u32;
            [n % bx, n / bx % by, n / (bx * by)]
        });
        Fault {
            kind: t.kind,
            kernel: entry.name.clone(),
            line,
            text: module.line(line).to_string(),
            block: self.block,
            thread,
            message: t.message,
        }
    }

    fn report(self, module: &Module) -> Report {
        let mut report = Report { printed: self.printed, ..Report::default() };
        let mut lines: std::collections::BTreeMap<u32, Line> = std::collections::BTreeMap::new();
        for (step, site) in self.program.steps.iter().zip(&self.sites) {
            if site.count == Count::default() {
                continue;
            }
            report.counts[step.class as usize] += site.count;
            report.global += site.global;
            report.shared += site.shared;
            let line = lines.entry(step.line).or_insert_with(|| Line {
                line: step.line,
                text: module.line(step.line).trim().to_string(),
                class: step.class,
                count: Count::default(),
                global: Default::default(),
                shared: Default::default(),
            });
            // A line may have become several steps; it ran as often as the one that ran most.
            if site.count.warps > line.count.warps {
                line.count = site.count;
            }
            line.global += site.global;
            line.shared += site.shared;
        }
        report.lines = lines.into_values().collect();
        report
    }
}

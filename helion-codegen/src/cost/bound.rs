//! A time that no config can beat: what must be multiplied at the peak of the cores, what must be moved at the rate of
//! the memory that holds it.

use super::traffic;
use super::tree::{Tree, Work};
use crate::schedule;
use helion_ir::config::{Config, Knob, Slot};
use helion_ir::target::Target;
use helion_ir::tile::Verified;

/// How much faster than its estimate a rate may really be.
const SLACK: f64 = 1.3;

/// The least seconds of one launch on so many threads: matrix products at the peak rate, or every element of the
/// operands once from where it fits. Work that only the data decides does not count. 0 when nothing is known.
pub fn bound(kernel: &Verified, sizes: &[u64], target: &Target, threads: u32) -> f64 {
    let func = kernel.function();
    if sizes.len() != func.symbols.len() {
        return 0.0;
    }
    // Blocks of one element show the work without what blocks waste.
    let blocks = func.tiles.iter().filter(|t| !t.unit).map(|t| Slot::of(Knob::Block, t.name.clone()));
    let config = blocks.fold(Config::new(), |c, slot| c.with(slot, 1));
    let Ok(f) = schedule::schedule(kernel, &config, target) else { return 0.0 };
    let tree = Tree::new(&f, sizes, target);
    let s = &target.speed;
    let threads = f64::from(threads.clamp(1, target.cores.max(1)));
    let hertz = f64::from(s.mhz) * 1e6;
    let bytes = traffic::compulsory(&tree);
    let rate = if bytes > target.l3_bytes as f64 {
        (f64::from(s.core_memory) * threads).min(f64::from(s.memory)) * 1e6
    } else if bytes > target.l2_bytes as f64 * threads {
        f64::from(s.l3_bytes) / 10.0 * hertz * threads
    } else {
        f64::from(s.l2_bytes) / 10.0 * hertz * threads * 2.0
    };
    let moved = bytes / rate;
    let computed = products(&tree, target) / (f64::from(s.vector_ops) / 10.0 * hertz * threads);
    let least = moved.max(computed) / SLACK;
    if least.is_finite() { least } else { 0.0 }
}

/// Vector multiply-adds of the matrix products that surely run.
fn products(tree: &Tree, target: &Target) -> f64 {
    let mut total = 0.0;
    for leaf in tree.leaves.iter().filter(|l| l.weight >= 1.0) {
        let Work::Contract(c) = &leaf.work else { continue };
        let loops = leaf.around.iter().copied().chain(leaf.loops.clone()).map(|l| &tree.loops[l as usize]);
        let lanes = (f64::from(target.vector_bytes) / c.dtype.size() as f64).max(1.0);
        // The product of loops of one element each: what is summed need not be whole vectors here.
        total += loops.map(|l| if l.guess { 0.0 } else { l.mean }).product::<f64>() / lanes;
    }
    total
}

//! What the examples share: made-up data in several layouts, comparison within a tolerance, a stopwatch.
//!
//! Each example declares `mod support;` and holds everything else itself: what the kernel does, the kernel,
//! the same in plain Rust, a `check` of one against the other, and a `main` that checks and times.
#![allow(dead_code)] // no example uses all of it

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use helion::prelude::*;

/// How the tensors of a check lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Row-major without gaps.
    Dense,
    /// The last two axes are swapped in memory.
    Transposed,
    /// A window of a larger tensor: every row is followed by elements that must not be touched.
    Window,
    /// Every other element of every axis of a larger tensor, backwards.
    Stepped,
}

/// A source of test tensors: reproducible, uniform in [-1, 1), in one memory layout.
#[derive(Clone, Debug)]
pub struct Data {
    state: u64,
    memory: Memory,
    special: bool,
}

impl Data {
    /// Dense tensors of ordinary numbers.
    pub fn plain() -> Data {
        Data { state: 0x9e37_79b9_7f4a_7c15, memory: Memory::Dense, special: false }
    }
    /// Tensors of ordinary numbers in the given layout.
    pub fn laid_out(memory: Memory) -> Data {
        Data { memory, ..Data::plain() }
    }
    /// Dense tensors with NaN, infinities, zeros of both signs and subnormal numbers among them.
    pub fn special() -> Data {
        Data { special: true, ..Data::plain() }
    }

    /// Every kind of data with its name; "special" comes last.
    pub fn variants() -> [(&'static str, Data); 5] {
        [
            ("dense", Data::plain()),
            ("transposed", Data::laid_out(Memory::Transposed)),
            ("window", Data::laid_out(Memory::Window)),
            ("stepped", Data::laid_out(Memory::Stepped)),
            ("special", Data::special()),
        ]
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A whole number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
    fn number(&mut self) -> f32 {
        const SPECIAL: [f32; 6] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-40];
        if self.special && self.below(29) == 0 {
            return SPECIAL[self.below(SPECIAL.len())];
        }
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    /// `n` numbers.
    pub fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }
    /// `n` whole numbers below `limit`.
    pub fn indices(&mut self, n: usize, limit: usize) -> Vec<i64> {
        (0..n).map(|_| self.below(limit) as i64).collect()
    }
    /// A tensor of the given shape in this layout.
    pub fn tensor<const R: usize>(&mut self, dims: [usize; R]) -> Result<Tensor<f32, R>> {
        let memory = if R == 1 && self.memory == Memory::Transposed { Memory::Dense } else { self.memory };
        match memory {
            Memory::Dense => Tensor::from_vec(dims, self.numbers(dims.iter().product())),
            Memory::Transposed => {
                let mut swapped = dims;
                swapped.swap(R - 2, R - 1);
                Tensor::from_vec(swapped, self.numbers(dims.iter().product()))?.transpose(R - 2, R - 1)
            }
            Memory::Window => {
                let wide = dims.map(|d| d + 3);
                let mut t = Tensor::from_vec(wide, self.numbers(wide.iter().product()))?;
                for (axis, d) in dims.into_iter().enumerate() {
                    t = t.slice(axis, 1..1 + d)?;
                }
                Ok(t)
            }
            Memory::Stepped => {
                let wide = dims.map(|d| 2 * d);
                let mut t = Tensor::from_vec(wide, self.numbers(wide.iter().product()))?;
                for axis in 0..R {
                    t = t.step_by(axis, 2)?.flip(axis)?;
                }
                Ok(t)
            }
        }
    }
}

/// Checks that `got` is `want` within `tolerance`, relative for numbers above 1 and absolute below. NaN equals NaN.
///
/// # Errors
/// Names the first element that differs.
pub fn close(what: &str, got: &[f32], want: &[f32], tolerance: f32) -> Result<()> {
    ensure!(got.len() == want.len(), "{what}: {} elements, expected {}", got.len(), want.len());
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance * w.abs().max(1.0);
        ensure!(same, "{what}: element {i} of {} is {g}, expected {w}", want.len());
    }
    Ok(())
}

/// Checks that two sequences are equal.
///
/// # Errors
/// Names the first element that differs.
pub fn equal<V: PartialEq + fmt::Display>(what: &str, got: &[V], want: &[V]) -> Result<()> {
    ensure!(got.len() == want.len(), "{what}: {} elements, expected {}", got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        ensure!(g == w, "{what}: element {i} of {} is {g}, expected {w}", want.len());
    }
    Ok(())
}

/// What a call has to do at least; printed as a rate.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Bytes read and written.
    Bytes(usize),
    /// Floating-point (or integer) operations.
    Operations(usize),
}

/// The median time of a call, from at least five calls and a quarter of a second.
///
/// # Errors
/// Those of the call.
pub fn median<R>(mut call: impl FnMut() -> Result<R>) -> Result<Duration> {
    black_box(call()?);
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 5 || (begin.elapsed() < Duration::from_millis(250) && times.len() < 1000) {
        let t = Instant::now();
        black_box(call()?);
        times.push(t.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// Times a call and prints one line.
///
/// # Errors
/// Those of the call.
pub fn time<R>(what: &str, work: Work, call: impl FnMut() -> Result<R>) -> Result<()> {
    let t = median(call)?.as_secs_f64();
    let rate = match work {
        Work::Bytes(n) => format!("{:7.1} GB/s", n as f64 / t / 1e9),
        Work::Operations(n) => format!("{:7.1} Gop/s", n as f64 / t / 1e9),
    };
    println!("  {what:<40} {:>9.3} ms  {rate}", t * 1e3);
    Ok(())
}

//! What this machine can do at most, measured in a few hundred milliseconds: multiply-adds in registers, and copying
//! memory that fits in no cache. The speed of a kernel means something only beside these.

use std::hint::black_box;
use std::time::Instant;

use helion::prelude::*;

/// The two ceilings, with all threads.
pub struct Ceilings {
    /// f32 operations per second in fused multiply-adds (each counts as two).
    pub flops: f64,
    /// Bytes read and written per second while copying.
    pub bytes: f64,
}

/// Measures both.
pub fn measure(threads: usize) -> Ceilings {
    Ceilings { flops: best_of_all_threads(threads, multiply_adds), bytes: best_of_all_threads(threads, copies) }
}

/// Bytes read per second from memory that fits in no cache, with all threads.
#[allow(dead_code, reason = "the benchmarks measure it, the tour does not")]
pub fn measure_reading(threads: usize) -> f64 {
    best_of_all_threads(threads, reads)
}

/// The sum of what the threads reach, each at its best of several runs.
fn best_of_all_threads(threads: usize, rate: fn() -> f64) -> f64 {
    std::thread::scope(|s| {
        let all: Vec<_> = (0..threads).map(|_| s.spawn(rate)).collect();
        all.into_iter().map(|t| t.join().unwrap_or(0.0)).sum()
    })
}

/// Independent chains of multiply-adds: enough to hide the latency of the instruction.
const CHAINS: usize = 12;
const STEPS: usize = 20_000;

fn multiply_adds() -> f64 {
    let mut best = f64::INFINITY;
    let mut lanes = 0;
    for _ in 0..200 {
        let begin = Instant::now();
        lanes = chains();
        best = best.min(begin.elapsed().as_secs_f64());
    }
    (2 * lanes * CHAINS * STEPS) as f64 / best
}

/// Runs the chains with the widest vectors; returns how many numbers a vector holds.
#[cfg(target_arch = "x86_64")]
fn chains() -> usize {
    use std::arch::x86_64::*;
    macro_rules! chains {
        ($name:ident, $features:literal, $set:ident, $fma:ident) => {
            #[target_feature(enable = $features)]
            fn $name() {
                let (factor, term) = (black_box($set(0.999)), black_box($set(0.001)));
                let mut sums = [term; CHAINS];
                for _ in 0..STEPS {
                    for s in &mut sums {
                        *s = $fma(*s, factor, term);
                    }
                }
                black_box(sums);
            }
        };
    }
    chains!(wide, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps);
    chains!(middle, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps);
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was detected.
        unsafe { wide() };
        16
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the features were detected.
        unsafe { middle() };
        8
    } else {
        plain_chains()
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn chains() -> usize {
    plain_chains()
}

/// The same left to the compiler's vectors, with a separate multiplication and addition.
fn plain_chains() -> usize {
    const LANES: usize = 4;
    let (factor, term) = (black_box(0.999f32), black_box(0.001f32));
    let mut sums = [[term; LANES]; CHAINS];
    for _ in 0..STEPS {
        for s in sums.as_flattened_mut() {
            *s = *s * factor + term;
        }
    }
    black_box(sums);
    LANES
}

fn copies() -> f64 {
    const N: usize = 16 << 20;
    // Tensors lie in huge pages where the system has them, which ordinary vectors may not.
    let (from, mut to) = (Tensor::full([N], 1.0f32), Tensor::full([N], 2.0f32));
    let (Ok(from), Ok(to)) = (from.as_slice(), to.as_mut_slice()) else { return 0.0 };
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let begin = Instant::now();
        to.copy_from_slice(black_box(from));
        black_box(&mut *to);
        best = best.min(begin.elapsed().as_secs_f64());
    }
    (2 * size_of::<f32>() * N) as f64 / best
}

fn reads() -> f64 {
    const N: usize = 32 << 20;
    // Several streams at once: memory serves one alone no faster than it answers.
    const STREAMS: usize = 8;
    const PART: usize = 1024;
    let from = Tensor::full([N], 1u32);
    let Ok(from) = from.as_slice() else { return 0.0 };
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let begin = Instant::now();
        let mut total = 0u32;
        for block in black_box(from).chunks_exact(STREAMS * PART) {
            let streams: [&[u32]; STREAMS] = std::array::from_fn(|i| &block[i * PART..][..PART]);
            let mut sums = [0u32; 16];
            for at in (0..PART).step_by(sums.len()) {
                for stream in streams {
                    let line: &[u32; 16] = stream[at..].first_chunk().unwrap_or(&[0; 16]);
                    sums.iter_mut().zip(line).for_each(|(s, v)| *s = s.wrapping_add(*v));
                }
            }
            total = total.wrapping_add(sums.into_iter().fold(0, u32::wrapping_add));
        }
        black_box(total);
        best = best.min(begin.elapsed().as_secs_f64());
    }
    (size_of::<u32>() * N) as f64 / best
}

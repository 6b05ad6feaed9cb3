//! Sizes and indices at the edges of their types, through every engine and the launch interface.

#[path = "support/mod.rs"]
mod support;

use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::config::Config;
use helion_ir::dtype::Literal;
use helion_ir::tile::{self, Builder, Dim, Index, Layout, Op, Verified};
use helion_ir::{BinaryOp, DType, Loc};
use support::engines::{self, Engine};

const AT: Loc = Loc::UNKNOWN;

/// `y[t - base] = i + x[t]` for `t` in `base .. base + 11`, where `x` has one element with stride 0 and `i` is
/// the index; the axis of `x` ends at `end`.
fn far_indices(base: i64, end: u64) -> (Verified, Args) {
    let mut b = Builder::new("far");
    let n = b.symbol("n");
    let x = b.tensor("x", DType::I64, [Dim::Symbol(n)].into_iter().collect(), false, Layout::Strided, AT);
    let y = b.tensor("y", DType::I64, [Dim::Const(11)].into_iter().collect(), true, Layout::Contiguous, AT);
    let int = |b: &mut Builder, v: i64| b.one(Op::Const(Literal::from_i64(DType::I64, v)), &[], AT);
    let (first, last) = (int(&mut b, base), int(&mut b, base + 11));
    let t = b.grid_tile("t", first, last, false, AT);
    b.begin_body();
    let value = b.one(Op::Load { tensor: x, index: vec![Index::Tile(t, None)] }, &[], AT);
    let iota = b.one(Op::Iota(Dim::Tile(t)), &[], AT);
    let begin = b.one(Op::TileBegin(t), &[], AT);
    let index = b.one(Op::Binary(BinaryOp::Add), &[iota, begin], AT);
    let sum = b.one(Op::Binary(BinaryOp::Add), &[index, value], AT);
    let back = int(&mut b, -base);
    b.push(Op::Store { tensor: y, index: vec![Index::Tile(t, Some(back))] }, &[sum], AT);
    let kernel = tile::verify(b.finish().expect("a function")).expect("a valid function");
    let x = TensorArg::strided(DType::I64, &[end], &[0], 0, 7i64.to_le_bytes().to_vec()).expect("one element");
    let args =
        Args { params: vec![Arg::Tensor(x), Arg::Tensor(TensorArg::zeros(DType::I64, &[11]))], symbols: vec![end] };
    (kernel, args)
}

#[test]
fn indices_beyond_32_bits_are_exact() {
    support::crash::install();
    let target = helion_codegen::cpu::host_target();
    let config = Config::new().block("t", 4);
    for base in [0, (1 << 31) - 5, (1 << 32) - 5, 1 << 40, 1 << 62] {
        // The axis ends inside the range: beyond it there are zeros.
        let end = base as u64 + 8;
        let want: Vec<i64> = (0..11).map(|i| base + i + if i < 8 { 7 } else { 0 }).collect();
        for engine in Engine::all() {
            let (kernel, mut args) = far_indices(base, end);
            support::crash::running(&format!("indices from {base} by the {}", engine.name()));
            engines::run(&engine, &kernel, &config, &target, &mut args).unwrap_or_else(|e| panic!("{base}: {e}"));
            let got = args.tensor(1).expect("a tensor").to_i64s();
            assert_eq!(got, want, "indices from {base} by the {}", engine.name());
        }
    }
}

#[test]
fn empty_tensors_of_huge_shapes_are_left_alone() {
    support::crash::install();
    let target = helion_codegen::cpu::host_target();
    for engine in Engine::all() {
        let mut b = Builder::new("empty");
        let (m, n) = (b.symbol("m"), b.symbol("n"));
        let dims = [Dim::Symbol(m), Dim::Symbol(n)].into_iter().collect();
        let x = b.tensor("x", DType::F32, dims, true, Layout::Contiguous, AT);
        let zero = b.one(Op::Const(Literal::from_i64(DType::I64, 0)), &[], AT);
        let end = b.one(Op::Extent(Dim::Symbol(n)), &[], AT);
        let t = b.grid_tile("t", zero, end, false, AT);
        b.begin_body();
        let index = vec![Index::Full, Index::Tile(t, None)];
        let v = b.one(Op::Load { tensor: x, index: index.clone() }, &[], AT);
        b.push(Op::Store { tensor: x, index }, &[v], AT);
        let kernel = tile::verify(b.finish().expect("a function")).expect("a valid function");
        let tensor = TensorArg::strided(DType::F32, &[1 << 40, 0], &[0, 1], 0, vec![]).expect("no element");
        let mut args = Args { params: vec![Arg::Tensor(tensor)], symbols: vec![1 << 40, 0] };
        let config = Config::new().block("t", 4);
        engines::run(&engine, &kernel, &config, &target, &mut args)
            .unwrap_or_else(|e| panic!("{}: {e}", engine.name()));
    }
}

/// Kernels called with views of memory between guard pages, in all layouts.
mod launches {
    use super::support::guard::Guarded;
    use helion::prelude::*;
    use std::ptr::NonNull;

    /// A view of guarded memory: `dims` with `strides`, element `i` of the storage holding `i % 97`.
    fn view<const R: usize>(dims: [usize; R], strides: [isize; R], at_end: bool, writable: bool) -> Tensor<f32, R> {
        let reach = |sign: isize| {
            dims.iter()
                .zip(&strides)
                .filter(|(_, s)| s.signum() == sign)
                .map(|(d, s)| (*d as isize - 1).max(0) * s)
                .sum::<isize>()
        };
        let (low, high) = if dims.contains(&0) { (0, -1) } else { (reach(-1), reach(1)) };
        let data: Vec<u8> = (0..high - low + 1).flat_map(|i| ((i % 97) as f32).to_le_bytes()).collect();
        let mut memory = Guarded::new(&data, at_end);
        let first = NonNull::new(memory.as_mut_ptr().cast::<f32>()).expect("an address");
        // SAFETY: the storage holds every element the strides reach, and is given up to the tensor.
        unsafe {
            let at = NonNull::new_unchecked(first.as_ptr().wrapping_offset(-low));
            Tensor::from_raw_parts(at, dims, strides, writable, Box::new(Owner(memory))).expect("a view")
        }
    }

    struct Owner(#[allow(dead_code, reason = "held until the last view is gone")] Guarded);
    // SAFETY: nothing is done with it but dropping.
    unsafe impl Sync for Owner {}

    /// Adds a row to every row, and shifts.
    #[kernel]
    pub fn add_row(x: &Tensor<f32, 2>, row: &Tensor<f32, 1>, out: &mut Tensor<f32, 2>) -> Result<()> {
        let [m, n] = x.dims();
        for [tm, tn] in tile([m, n]) {
            out[(tm, tn)] = x[(tm, tn)] + row[tn] + x[(tm, tn + 1)];
        }
        Ok(())
    }

    /// Copies rows picked by an index.
    #[kernel]
    pub fn pick(x: &Tensor<f32, 2>, index: &Tensor<i64, 1>, out: &mut Tensor<f32, 2>) -> Result<()> {
        let ([k], [_, n], [_, columns]) = (index.dims(), x.dims(), out.dims());
        ensure!(n == columns, "{n} columns go into {columns}");
        for tk in tile(k) {
            out[(tk, ..)] = x[(index[tk], ..)];
        }
        Ok(())
    }

    fn read<const R: usize>(t: &Tensor<f32, R>) -> Vec<f32> {
        t.to_vec().expect("elements")
    }

    #[test]
    fn views_of_guarded_memory() {
        super::support::crash::install();
        for (m, n) in [(1usize, 1usize), (3, 7), (4, 16), (5, 17), (2, 33), (0, 5), (6, 0), (13, 100)] {
            for at_end in [false, true] {
                let (mi, ni) = (m as isize, n as isize);
                let layouts = [[ni, 1], [1, mi], [-ni, 1], [ni, -1], [0, 1], [2 * ni, 2], [0, 0], [ni + 3, 1]];
                for strides in layouts {
                    super::support::crash::running(&format!("add_row {m}x{n}, strides {strides:?}, {at_end}"));
                    let x = view([m, n], strides, at_end, false);
                    let row = view([n], [1], at_end, false);
                    let mut out = view([m, n], [ni, 1], at_end, true);
                    add_row(&x, &row, &mut out).expect("a launch");
                    let (x, row) = (read(&x), read(&row));
                    let at = |i: usize, j: usize| if j < n { x[i * n + j] } else { 0.0 };
                    let want: Vec<f32> =
                        (0..m * n).map(|p| at(p / n, p % n) + row[p % n] + at(p / n, p % n + 1)).collect();
                    assert_eq!(read(&out), want, "{m}x{n}, strides {strides:?}");
                }
            }
        }
    }

    #[test]
    fn indices_out_of_range_read_zeros() {
        super::support::crash::install();
        let x = view([5, 9], [9, 1], true, false);
        let far = [0, 4, 5, -1, i64::MAX, i64::MIN, 1 << 32, 3, (1 << 61) + 1];
        let index = Tensor::<i64, 1>::from_vec([far.len()], far.to_vec()).expect("indices");
        let mut out = view([far.len(), 9], [9, 1], true, true);
        pick(&x, &index, &mut out).expect("a launch");
        let (x, out) = (read(&x), read(&out));
        for (r, i) in far.iter().enumerate() {
            for c in 0..9 {
                let want = if (0..5).contains(i) { x[*i as usize * 9 + c] } else { 0.0 };
                assert_eq!(out[r * 9 + c], want, "row {i}, column {c}");
            }
        }
    }

    #[test]
    fn outputs_that_overlap_are_refused() {
        let mut data = [0f32; 16];
        let at = NonNull::new(data.as_mut_ptr()).expect("an address");
        for strides in [[0isize, 1], [1, 1], [2, 1]] {
            // SAFETY: the elements are within `data`, which outlives the attempt.
            let made = unsafe { Tensor::from_raw_parts(at, [3usize, 4], strides, true, Box::new(())) };
            assert!(made.is_err(), "strides {strides:?}");
        }
    }
}

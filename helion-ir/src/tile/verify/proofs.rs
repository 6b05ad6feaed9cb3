//! The race proof against what happens: random accesses of one tensor. Where the verifier accepts, the launch must
//! give the same with its program instances in either order, at several block sizes.

use super::super::samples::{AT, Sketch};
use super::super::{ReduceOp, interp};
use super::mutants::Rng;
use super::*;
use crate::args::{Args, TensorArg};

/// A kernel over `out [m, n]` with one or two grid variables, random scalars and random accesses.
fn random_accesses(rng: &mut Rng) -> Function {
    let mut s = Sketch::new();
    let out = s.tensor("out", DType::I64, &["m", "n"], true);
    let x = s.tensor("x", DType::I64, &["m"], false);
    let mut grid = vec![if rng.below(2) == 0 { s.grid("t", "m") } else { s.unit_grid("t", "m") }];
    if rng.below(2) == 0 {
        grid.push(s.grid("u", "n"));
    }
    s.body();
    let mut scalars: Vec<ValueId> = [0, 1, 2, -1].into_iter().map(|c| s.int(c)).collect();
    scalars.push(s.size("m"));
    let mut id = s.int(7);
    for t in grid.clone() {
        for op in [Op::TileBegin(t), Op::TileEnd(t), Op::TileOrdinal(t), Op::TileCount(t)] {
            scalars.push(s.one(op, &[]));
        }
        let (ten, ordinal) = (s.int(10), s.one(Op::TileOrdinal(t), &[]));
        let shifted = s.bin(BinaryOp::Mul, id, ten);
        id = s.bin(BinaryOp::Add, shifted, ordinal);
    }
    // What is loaded may undo the difference between instances: `x` holds 3 - i.
    let at = scalars[5 + rng.below(3)];
    let loaded = s.load(x, &[Index::Scalar(at)]);
    scalars.push(loaded);
    let (base, undone) = (scalars[5], scalars[7]);
    scalars.extend([s.bin(BinaryOp::Add, base, loaded), s.bin(BinaryOp::Add, loaded, undone)]);
    for _ in 0..rng.below(4) {
        let op = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div][rng.below(4)];
        let (a, b) = (scalars[rng.below(scalars.len())], scalars[rng.below(scalars.len())]);
        scalars.push(s.bin(op, a, b));
    }
    let mut tiles = grid;
    let t = tiles[rng.below(tiles.len())];
    let (begin, end) = (s.one(Op::TileBegin(t), &[]), s.one(Op::TileEnd(t), &[]));
    let shift = scalars[rng.below(scalars.len())];
    let (begin, end) = match rng.below(3) {
        0 => (begin, end),
        1 => (s.bin(BinaryOp::Add, begin, shift), s.bin(BinaryOp::Add, end, shift)),
        _ => (begin, s.bin(BinaryOp::Add, end, shift)),
    };
    let inner = s.b.loop_tile("inner", begin, end, false, AT);
    tiles.push(inner);
    s.for_loop(&[inner], &[], |s, _| {
        for _ in 0..1 + rng.below(3) {
            let mut entry = || match rng.below(8) {
                0 => Index::Full,
                1 | 2 => Index::Scalar(scalars[rng.below(scalars.len())]),
                3 => Index::Tile(tiles[rng.below(tiles.len())], Some(scalars[rng.below(scalars.len())])),
                _ => Index::Tile(tiles[rng.below(tiles.len())], None),
            };
            let index = [entry(), entry()];
            if rng.below(3) == 0 {
                let mut v = s.load(out, &index);
                for axis in 0..s.b.ty(v).rank() {
                    v = s.reduce(ReduceOp::Sum, axis as u32, v);
                }
                let v = s.one(Op::Reshape(Default::default()), &[v]);
                id = s.bin(BinaryOp::Add, id, v);
            } else {
                s.store(out, &index, id);
            }
        }
        vec![]
    });
    s.finish()
}

#[test]
fn accepted_launches_do_not_depend_on_the_order_of_instances() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..6_000 {
        let Ok(f) = verify(random_accesses(&mut Rng(seed * 77))) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        for block in [1, 2, 3] {
            let [there, back] = [false, true].map(|backwards| {
                let out = TensorArg::from_i64s(DType::I64, &[4, 5], (0..20).map(|i| i * i));
                let x = TensorArg::from_i64s(DType::I64, &[4], [3, 2, 1, 0]);
                let (params, symbols) = (&f.function().params, &f.function().symbols);
                let mut args = Args::bind(params, symbols, vec![out.into(), x.into()], &[("m", 4), ("n", 5)]).unwrap();
                interp::run_in_order(&f, &mut args, &|_| block, &mut |_| {}, backwards).map(|()| args)
            });
            assert_eq!(there, back, "seed {seed}, block {block}: {:#?}", f.function().body);
        }
    }
    assert!(accepted > 300 && refused > 300, "{accepted} accepted, {refused} refused");
}

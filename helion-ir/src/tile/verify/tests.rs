//! Every refusal, and what must pass.

use super::super::samples::{AT, Sketch, matmul, softmax, tile};
use super::super::{AtomicOp, DimExpr, ExprId, ParamId, Value};
use super::*;
use crate::dtype::Literal;

/// The messages of `f`, without helps.
fn messages(f: Function) -> Vec<String> {
    verify(f).map_or_else(|e| e.into_iter().map(|d| d.message).collect(), |_| vec![])
}

fn refused(f: Function, want: &str) {
    assert_eq!(messages(f), [want]);
}

/// `x` and mutable `out`, both `f32 [m, n]`, and grid variables `tm`, `tn`.
fn two_axes() -> (Sketch, [ParamId; 2], [TileId; 2]) {
    let mut s = Sketch::new();
    let x = s.tensor("x", DType::F32, &["m", "n"], false);
    let out = s.tensor("out", DType::F32, &["m", "n"], true);
    let tiles = [s.grid("tm", "m"), s.grid("tn", "n")];
    s.body();
    (s, [x, out], tiles)
}

#[test]
fn good_functions_pass_unchanged() {
    for f in [softmax(), matmul()] {
        assert_eq!(verify(f.clone()).unwrap().into_function(), f);
    }
}

#[test]
fn store_without_a_grid_variable() {
    let (mut s, [x, out], [tm, _]) = two_axes();
    let v = s.load(x, &[tile(tm), Index::Full]);
    s.store(out, &[tile(tm), Index::Full], v);
    let e = verify(s.finish()).unwrap_err();
    assert_eq!(
        e[0].to_string(),
        "error: program instances that differ in `tn` may write the same elements of `out`: no axis of this index follows `tn`
  help: use `tn` in the index, so that each instance writes elements of its own
  help: or combine what the instances have with an atomic, as in `out.atomic_add(index, value)`
  help: or loop over `tn` inside the kernel instead of in the grid"
    );
}

#[test]
fn load_of_what_another_instance_writes() {
    let (mut s, [_, out], [tm, tn]) = two_axes();
    let v = s.load(out, &[tile(tm), Index::Full]);
    let v = s.reduce(crate::tile::ReduceOp::Sum, 1, v);
    s.store(out, &[tile(tm), tile(tn)], v);
    let e = verify(s.finish()).unwrap_err();
    assert_eq!(
        e[0].to_string(),
        "error: this load of `out` may read what another program instance writes: no axis of this index follows `tn`
note: `out` is written here
  help: use `tn` in the load as in the store
  help: or split the work into two launches: a second `for … in tile(…)` after this one"
    );
}

#[test]
fn in_place_update_is_fine_and_a_shifted_one_is_not() {
    let update = |shift: Option<i64>| {
        let (mut s, [_, out], [tm, tn]) = two_axes();
        let by = shift.map(|v| s.int(v));
        let v = s.load(out, &[Index::Tile(tm, by), tile(tn)]);
        s.store(out, &[tile(tm), tile(tn)], v);
        s.finish()
    };
    assert!(messages(update(None)).is_empty());
    assert!(messages(update(Some(0))).is_empty());
    refused(
        update(Some(1)),
        "this load of `out` may read what another program instance writes: `tm` is not on the same axis with the same offset in both",
    );
}

#[test]
fn stores_on_different_axes() {
    let mut s = Sketch::new();
    let out = s.tensor("out", DType::F32, &["m", "m"], true);
    let tm = s.grid("tm", "m");
    s.body();
    let v = s.float(1.0);
    s.store(out, &[tile(tm), Index::Full], v);
    s.store(out, &[Index::Full, tile(tm)], v);
    refused(
        s.finish(),
        "two stores to `out` may write the same elements from different program instances: `tm` is not on the same axis with the same offset in both",
    );
}

#[test]
fn stores_at_different_constants_never_meet() {
    let stores = |second: i64| {
        let mut s = Sketch::new();
        let out = s.tensor("out", DType::F32, &["m", "m", "2"], true);
        let tm = s.grid("tm", "m");
        s.body();
        let (v, zero, other) = (s.float(1.0), s.int(0), s.int(second));
        s.store(out, &[tile(tm), Index::Full, Index::Scalar(zero)], v);
        s.store(out, &[Index::Full, tile(tm), Index::Scalar(other)], v);
        s.finish()
    };
    assert!(messages(stores(1)).is_empty());
    assert_eq!(messages(stores(0)).len(), 1);
}

#[test]
fn stores_side_by_side_never_meet() {
    // out [2 m], tm in 0..m: stores at tm and at tm + shift.
    let stores = |shift: &dyn Fn(&mut Sketch, TileId) -> ValueId| {
        let mut s = Sketch::new();
        let out = s.tensor("out", DType::F32, &["w", "m"], true);
        let tm = s.grid("tm", "m");
        s.body();
        let by = shift(&mut s, tm);
        let v = s.float(1.0);
        s.store(out, &[tile(tm), Index::Full], v);
        s.store(out, &[Index::Tile(tm, Some(by)), Index::Full], v);
        messages(s.finish())
    };
    assert!(stores(&|s, _| s.size("m")).is_empty());
    let times = |k: i64| {
        stores(&move |s, _| {
            let (m, k) = (s.size("m"), s.int(k));
            s.bin(BinaryOp::Mul, m, k)
        })
    };
    assert!(times(2).is_empty() && times(-1).is_empty());
    assert_eq!(times(1 << 40).len(), 1);
    // Another size, a size and one less, the place of the block: nothing is known.
    assert_eq!(stores(&|s, _| s.size("w")).len(), 1);
    let less = stores(&|s, _| {
        let (m, one) = (s.size("m"), s.int(1));
        s.bin(BinaryOp::Sub, m, one)
    });
    assert_eq!(less.len(), 1);
    assert_eq!(stores(&|s, t| s.one(Op::TileBegin(t), &[])).len(), 1);
    assert_eq!(stores(&|s, t| s.one(Op::TileEnd(t), &[])).len(), 1);
}

/// A store to `out [m]` at an index computed from a grid variable.
fn at_index(unit: bool, index: impl FnOnce(&mut Sketch, TileId) -> ValueId) -> Vec<String> {
    let mut s = Sketch::new();
    let out = s.tensor("out", DType::F32, &["m"], true);
    let t = if unit { s.unit_grid("t", "m") } else { s.grid("t", "m") };
    s.body();
    let i = index(&mut s, t);
    let v = s.float(1.0);
    s.store(out, &[Index::Scalar(i)], v);
    messages(s.finish())
}

#[test]
fn scalar_indices() {
    assert!(at_index(true, |s, t| s.one(Op::TileBegin(t), &[])).is_empty());
    assert!(at_index(false, |s, t| s.one(Op::TileOrdinal(t), &[])).is_empty());
    assert!(
        at_index(false, |s, t| {
            let (i, two, m) = (s.one(Op::TileOrdinal(t), &[]), s.int(2), s.size("m"));
            let twice = s.bin(BinaryOp::Mul, two, i);
            s.bin(BinaryOp::Sub, m, twice)
        })
        .is_empty()
    );
    let bad: [fn(&mut Sketch, TileId) -> ValueId; 5] = [
        |s, _| s.int(3),
        |s, t| s.one(Op::TileCount(t), &[]),
        |s, t| {
            let (i, two) = (s.one(Op::TileOrdinal(t), &[]), s.int(2));
            s.bin(BinaryOp::Div, i, two)
        },
        |s, t| {
            let i = s.one(Op::TileOrdinal(t), &[]);
            s.bin(BinaryOp::Sub, i, i)
        },
        |s, t| {
            let (b, e) = (s.one(Op::TileBegin(t), &[]), s.one(Op::TileEnd(t), &[]));
            s.bin(BinaryOp::Add, b, e)
        },
    ];
    for index in bad {
        let said = at_index(false, index);
        assert!(said[0].starts_with("program instances that differ in `t` may write the same elements"), "{said:?}");
    }
}

#[test]
fn offsets_must_be_the_same_in_the_launch() {
    let shifted = |by: fn(&mut Sketch, TileId) -> ValueId| {
        let mut s = Sketch::new();
        let out = s.tensor("out", DType::F32, &["m"], true);
        let t = s.grid("t", "m");
        s.body();
        let (by, v) = (by(&mut s, t), s.float(1.0));
        s.store(out, &[Index::Tile(t, Some(by))], v);
        messages(s.finish())
    };
    assert!(shifted(|s, _| s.size("m")).is_empty());
    assert_eq!(shifted(|s, t| s.one(Op::TileOrdinal(t), &[])).len(), 1);
}

#[test]
fn a_loop_within_a_block_follows_the_grid() {
    let nested = |shrink: bool| {
        let mut s = Sketch::new();
        let out = s.tensor("out", DType::F32, &["m"], true);
        let t = s.grid("t", "m");
        s.body();
        let (begin, mut end) = (s.one(Op::TileBegin(t), &[]), s.one(Op::TileEnd(t), &[]));
        if shrink {
            end = s.size("m");
        }
        let inner = s.b.loop_tile("inner", begin, end, false, AT);
        s.for_loop(&[inner], &[], |s, _| {
            let v = s.float(1.0);
            s.store(out, &[tile(inner)], v);
            vec![]
        });
        messages(s.finish())
    };
    assert!(nested(false).is_empty());
    assert_eq!(nested(true).len(), 1);
}

#[test]
fn gathered_stores_need_every_variable_elsewhere() {
    let scatter = |use_tm: bool| {
        let (mut s, [_, out], [tm, tn]) = two_axes();
        let idx = s.one(Op::Iota(Dim::Const(4)), &[]);
        let v = s.float(1.0);
        if use_tm {
            let _ = tn;
            s.store(out, &[tile(tm), Index::Gather(idx)], v);
        } else {
            s.store(out, &[Index::Gather(idx), tile(tn)], v);
        }
        messages(s.finish())
    };
    assert!(scatter(true)[0].contains("differ in `tn`"));
    assert!(scatter(false)[0].contains("differ in `tm`"));
}

#[test]
fn atomics_are_allowed_alone() {
    let with = |load: bool| {
        let (mut s, [x, out], [tm, _]) = two_axes();
        let v = s.load(x, &[tile(tm), Index::Full]);
        s.one(Op::Atomic { op: AtomicOp::Add, tensor: out, index: vec![tile(tm), Index::Full] }, &[v]);
        if load {
            s.load(out, &[tile(tm), Index::Full]);
        }
        s.finish()
    };
    assert!(messages(with(false)).is_empty());
    refused(with(true), "`out` is updated by atomics in this launch, so it cannot also be read here");
}

/// Changes a good function by hand.
fn broken(change: impl FnOnce(&mut Function)) -> Vec<String> {
    let mut f = matmul();
    change(&mut f);
    messages(f)
}

#[test]
fn malformed_functions_are_refused_without_panicking() {
    let first = |said: Vec<String>| said.into_iter().next().unwrap_or_default();
    assert_eq!(first(broken(|f| f.body.body[0].args = vec![ValueId(999)])), "value %999 does not exist");
    assert_eq!(first(broken(|f| f.body.body.swap(0, 1))), "value %4 is used before it is defined");
    assert_eq!(first(broken(|f| f.body.body[1].args.clear())), "`broadcast` takes 1 operands, 0 given");
    assert_eq!(
        first(broken(|f| f.values[5].ty.dtype = DType::I32)),
        "`broadcast` gives f32 [tm, tn], value %5 is declared as i32 [tm, tn]"
    );
    assert_eq!(
        first(broken(|f| f.values[5].ty.shape[0] = Dim::Expr(ExprId(7)))),
        "the shape of value %5 has a size that does not exist"
    );
    assert_eq!(first(broken(|f| f.tiles[0].begin = ValueId(77))), "the bounds of `tm` must be i64 scalars");
    assert_eq!(first(broken(|f| f.tiles[0].name = "tn".into())), "two tile variables are named `tn`");
    assert_eq!(first(broken(|f| f.symbols[0].name = "n".into())), "two size symbols are named `n`");
    assert_eq!(first(broken(|f| f.tiles.swap(0, 2))), "grid variable `tn` comes after a loop variable");
    assert_eq!(
        first(broken(|f| f.exprs.push(DimExpr { op: BinaryOp::Add, lhs: Dim::Expr(ExprId(0)), rhs: Dim::Const(1) }))),
        "size expression 0 refers to one that is not before it"
    );
    assert_eq!(
        first(broken(|f| f.exprs.push(DimExpr { op: BinaryOp::Mul, lhs: Dim::Const(2), rhs: Dim::Const(3) }))),
        "the size `2 * 3` is not written in its simplest form"
    );
    assert_eq!(first(broken(|f| f.body.yields.push(ValueId(0)))), "the body of a launch takes and gives no values");
    assert_eq!(
        first(broken(|f| {
            let inst = f.body.body.remove(0);
            f.header.push(Inst {
                op: Op::Print { label: String::new() },
                args: inst.results.clone(),
                results: vec![],
                ..inst.clone()
            });
            f.body.body.insert(0, inst);
        })),
        "`print` cannot define the grid"
    );
    assert_eq!(
        first(broken(|f| {
            f.body.body.iter_mut().for_each(|i| i.results.iter_mut().for_each(|v| *v = ValueId(0)));
        })),
        "`constant` gives f32, value %0 is declared as i64"
    );
    let loop_at = |f: &Function| f.body.body.iter().position(|i| matches!(i.op, Op::For { .. })).unwrap();
    assert_eq!(
        first(broken(|f| {
            let at = loop_at(f);
            f.body.body[at].regions[0].yields.clear();
        })),
        "`for` carries 1 values, its body hands on 0"
    );
    assert_eq!(
        first(broken(|f| {
            let at = loop_at(f);
            f.body.body[at].regions.clear();
        })),
        "`for` has 1 regions, 0 given"
    );
    assert_eq!(
        first(broken(|f| {
            let at = loop_at(f);
            let leaked = f.body.body[at].regions[0].yields[0];
            f.body.body.last_mut().unwrap().args[0] = leaked;
        })),
        "a value is used outside the loop or branch that computes it"
    );
    assert_eq!(
        first(broken(|f| {
            let at = loop_at(f);
            f.values.push(Value { ty: Type::scalar(DType::I64), name: None, at: AT });
            let v = ValueId(f.values.len() as u32 - 1);
            let inst = Inst { op: Op::TileBegin(TileId(2)), args: vec![], results: vec![v], regions: vec![], at: AT };
            f.body.body.insert(at, inst);
        })),
        "tile variable `tk` is used outside its loop"
    );
    assert_eq!(
        first(broken(|f| {
            if let ParamKind::Tensor { mutable, .. } = &mut f.params[2].kind {
                *mutable = false;
            }
        })),
        "`out` can only be read here, this writes to it"
    );
}

#[test]
fn deep_nesting_is_refused() {
    let mut f = softmax();
    for _ in 0..MAX_DEPTH + 50 {
        let body = std::mem::take(&mut f.body.body);
        let region = Region { params: vec![], body, yields: vec![] };
        f.body.body =
            vec![Inst { op: Op::If, args: vec![], results: vec![], regions: vec![region, Region::default()], at: AT }];
    }
    refused(f, "regions nest more than 100 deep");
}

#[test]
fn bad_literals_are_refused() {
    let mut f = softmax();
    f.header[0].op = Op::Const(Literal { dtype: DType::Bool, bits: 2 });
    assert_eq!(messages(f)[0], "0x2 is not a value of bool");
}

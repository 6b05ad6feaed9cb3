//! Rules of operations with regions: loops, branches, user's combine functions.

use super::{Cx, Types};
use crate::diag::Diagnostic;
use crate::dtype::DType;
use crate::tile::types::{Dim, Op, Region, TileId, Type, ValueId};

impl Cx<'_> {
    fn value_ty(&self, v: ValueId) -> Type {
        self.f.ty(v).clone()
    }

    /// `f32 [tm, n]`, `i64`.
    fn type_name(&self, ty: &Type) -> String {
        if ty.rank() == 0 { ty.dtype.to_string() } else { format!("{} {}", ty.dtype, self.f.shape_name(&ty.shape)) }
    }

    /// The user's name of the `n`-th carried value.
    fn carried_name(&self, n: usize, region: &Region) -> String {
        let of = |v: Option<&ValueId>| v.and_then(|v| self.f.values[v.index()].name.clone());
        of(region.params.get(n))
            .or_else(|| of(self.args.get(n)))
            .or_else(|| of(region.yields.get(n)))
            .map_or_else(|| format!("carried value {}", n + 1), |name| format!("`{name}`"))
    }

    /// A region is entered with the types of the operands.
    fn check_params(&self, region: &Region) -> Result<(), Diagnostic> {
        let params = region.params.iter().map(|v| self.f.ty(*v));
        if region.params.len() == self.args.len() && params.eq(self.args.iter().map(|v| self.f.ty(*v))) {
            return Ok(());
        }
        let word = self.op.word();
        Err(self.error(format!("the region of `{word}` must take what the loop carries, with the same types")))
    }

    /// A region hands on the types of the operands.
    fn check_yields(&self, region: &Region) -> Result<(), Diagnostic> {
        let word = self.op.word();
        if region.yields.len() != self.args.len() {
            let (n, m) = (self.args.len(), region.yields.len());
            return Err(self.error(format!("`{word}` carries {n} values, its body hands on {m}")));
        }
        for (n, (v, init)) in region.yields.iter().zip(self.args).enumerate() {
            let (now, before) = (self.value_ty(*v), self.value_ty(*init));
            if now == before {
                continue;
            }
            let who = self.carried_name(n, region);
            let (was, is) = (self.type_name(&before), self.type_name(&now));
            let e = self.error(format!("{who} is {was} before the loop and {is} after an iteration"));
            let e = match self.f.values[v.index()].at {
                at if at.is_known() => e.label(at, "the new value is made here"),
                _ => e,
            };
            return Err(if now.dtype != before.dtype && now.shape == before.shape {
                e.help(format!("convert: write `.cast::<{}>()`", before.dtype))
            } else {
                e.help("a variable that a loop changes keeps its element type and shape; start with that shape")
            });
        }
        Ok(())
    }

    fn carried(&self) -> Types {
        self.args.iter().map(|v| self.value_ty(*v)).collect()
    }

    pub(super) fn for_loop(&self, tiles: &[TileId], body: &Region) -> Result<Types, Diagnostic> {
        for (n, t) in tiles.iter().enumerate() {
            let var = &self.f.tiles[t.index()];
            if var.grid || tiles[..n].contains(t) {
                let name = &var.name;
                return Err(self.error(format!("`{name}` is already the tile variable of another loop")));
            }
        }
        if tiles.is_empty() {
            return Err(self.error("a tile loop needs a tile variable"));
        }
        self.check_params(body)?;
        self.check_yields(body)?;
        Ok(self.carried())
    }

    pub(super) fn while_loop(&self, cond: &Region, body: &Region) -> Result<Types, Diagnostic> {
        self.check_params(cond)?;
        match cond.yields[..] {
            [v] if *self.f.ty(v) == Type::scalar(DType::Bool) => {}
            [v] => {
                let ty = self.type_name(self.f.ty(v));
                let e = self.error(format!("the condition of `while` is {ty}, it must be one bool"));
                return Err(e.help("reduce it: `.any(0)` or `.all(0)`, then `.squeeze(0)`"));
            }
            _ => return Err(self.error("`while` needs one condition")),
        }
        self.check_params(body)?;
        self.check_yields(body)?;
        Ok(self.carried())
    }

    pub(super) fn branch(&self, then: &Region, other: &Region) -> Result<Types, Diagnostic> {
        if *self.ty(0) != Type::scalar(DType::Bool) {
            let ty = self.type_name(self.ty(0));
            let e = self.error(format!("the condition of `if` is {ty}, it must be one bool"));
            return Err(if self.dtype(0) == DType::Bool {
                e.help("to choose element by element, write `select(condition, a, b)`")
            } else {
                e.help("compare to get a condition, as in `s > 0.0`")
            });
        }
        if !then.params.is_empty() || !other.params.is_empty() {
            return Err(self.error("the arms of `if` take no values"));
        }
        if then.yields.len() != other.yields.len() {
            let (n, m) = (then.yields.len(), other.yields.len());
            return Err(self.error(format!("one arm of `if` gives {n} values, the other {m}")));
        }
        for (n, (a, b)) in then.yields.iter().zip(&other.yields).enumerate() {
            let (x, y) = (self.f.ty(*a), self.f.ty(*b));
            if x != y {
                let name = [a, b].into_iter().find_map(|v| self.f.values[v.index()].name.as_ref());
                let who = name.map_or_else(|| format!("value {}", n + 1), |name| format!("`{name}`"));
                let (x, y) = (self.type_name(x), self.type_name(y));
                let e = self.error(format!("{who} is {x} after one arm of `if` and {y} after the other"));
                return Err(e.help("both arms must give the same element type and shape"));
            }
        }
        Ok(then.yields.iter().map(|v| self.value_ty(*v)).collect())
    }

    /// `ReduceWith` and `ScanWith`.
    pub(super) fn combine(&self, axis: u32, region: &Region, reduce: bool) -> Result<Types, Diagnostic> {
        let k = self.args.len();
        let axis = self.check_axis(0, axis)?;
        for i in 1..k {
            if self.ty(i).shape != self.ty(0).shape {
                let (a, b) = (self.is(0), self.is(i));
                return Err(self.error(format!("what is combined together must have one shape: {a}, {b}")));
            }
        }
        let word = self.op.word();
        let elements: Vec<Type> = (0..k).map(|i| Type::scalar(self.dtype(i))).collect();
        let params = region.params.iter().map(|v| self.f.ty(*v));
        if !params.eq(elements.iter().chain(&elements)) {
            return Err(self.error(format!("the function of `{word}` takes {k} elements and {k} more")));
        }
        let yields: Vec<Type> = region.yields.iter().map(|v| self.value_ty(*v)).collect();
        if yields != elements {
            let name = |list: &[Type]| list.iter().map(|t| self.type_name(t)).collect::<Vec<_>>().join(", ");
            let (have, want) = (name(&yields), name(&elements));
            return Err(self.error(format!("the function of `{word}` gives ({have}), it must give ({want})")));
        }
        for inst in &region.body {
            let scalar = inst.results.iter().all(|v| self.f.values.get(v.index()).is_some_and(|v| v.ty.rank() == 0));
            if !scalar || !pure(&inst.op) {
                let e = Diagnostic::new(inst.at, format!("`{}` in the function of `{word}`", inst.op.word()));
                return Err(e.help("a combine function computes on its elements only; choose with `select`"));
            }
        }
        let mut types = self.carried();
        if reduce {
            types.iter_mut().for_each(|t| t.shape[axis] = Dim::Const(1));
        }
        Ok(types)
    }
}

/// Whether an operation may stand in a combine function.
fn pure(op: &Op) -> bool {
    op.is_math() || op.tile_asked().is_some() || matches!(op, Op::Random { .. })
}

//! Rules of loads, stores and atomics.

use super::Cx;
use super::elementwise::broadcast_two;
use crate::diag::Diagnostic;
use crate::dtype::{Class, DType};
use crate::tile::types::{AtomicOp, Dim, Index, ParamId, ParamKind, Shape, Type, ValueId};

impl Cx<'_> {
    pub(super) fn load(&self, tensor: ParamId, index: &[Index]) -> Result<Type, Diagnostic> {
        let ty = self.indexed(tensor, index, false)?;
        if !self.args.is_empty() {
            self.check_dtype(0, DType::Bool)?;
            self.check_fits(0, &ty.shape, tensor)?;
        }
        if self.args.len() > 1 {
            self.check_dtype(1, ty.dtype)?;
            if self.ty(1).rank() != 0 {
                return Err(self.error(format!("masked elements get one value, {}", self.is(1))));
            }
        }
        Ok(ty)
    }

    pub(super) fn store(&self, tensor: ParamId, index: &[Index]) -> Result<(), Diagnostic> {
        let ty = self.indexed(tensor, index, true)?;
        self.check_value(0, tensor, &ty)?;
        if self.args.len() > 1 {
            self.check_dtype(1, DType::Bool)?;
            self.check_fits(1, &ty.shape, tensor)?;
        }
        Ok(())
    }

    pub(super) fn atomic(&self, op: AtomicOp, tensor: ParamId, index: &[Index]) -> Result<Type, Diagnostic> {
        let ty = self.indexed(tensor, index, true)?;
        let numeric = match op {
            AtomicOp::Add | AtomicOp::Max | AtomicOp::Min => true,
            AtomicOp::Exchange | AtomicOp::CompareSwap => false,
        };
        if numeric && !ty.dtype.is_num() {
            let (word, name) = (self.op.word(), &self.f.params[tensor.index()].name);
            return Err(self.error(format!("`{word}` takes numbers, `{name}` is {}", ty.dtype)));
        }
        let values = if matches!(op, AtomicOp::CompareSwap) { 2 } else { 1 };
        for i in 0..values {
            self.check_value(i, tensor, &ty)?;
        }
        if self.args.len() > values {
            self.check_dtype(values, DType::Bool)?;
            self.check_fits(values, &ty.shape, tensor)?;
        }
        Ok(ty)
    }

    /// The type of what an index selects.
    fn indexed(&self, tensor: ParamId, index: &[Index], write: bool) -> Result<Type, Diagnostic> {
        let param = &self.f.params[tensor.index()];
        let name = &param.name;
        let ParamKind::Tensor { dtype, dims, mutable, .. } = &param.kind else {
            return Err(self.error(format!("`{name}` is a scalar and has no axes to index")));
        };
        if write && !mutable {
            let e = self.error(format!("`{name}` can only be read here, this writes to it"));
            return Err(e.help(format!("take it as `{name}: &mut Tensor<…>`, or make it with `let mut {name} = …`")));
        }
        if dims.len() != index.len() {
            let axes = |n: usize| if n == 1 { "1 axis".to_owned() } else { format!("{n} axes") };
            let shape = self.f.shape_name(dims);
            let e = self.error(format!("`{name}` has {} {shape}, the index names {}", axes(dims.len()), index.len()));
            return Err(e.help("name every axis; `..` takes the rest whole"));
        }
        let mut shape = Shape::new();
        for (axis, (entry, dim)) in index.iter().zip(dims).enumerate() {
            match entry {
                Index::Full => shape.push(*dim),
                Index::Tile(t, offset) => {
                    if let Some(v) = offset {
                        self.check_index(*v, 0, axis, name)?;
                    }
                    shape.push(self.f.normal_dim(Dim::Tile(*t)));
                }
                Index::Scalar(v) => self.check_index(*v, 0, axis, name)?,
                Index::Gather(v) => {
                    self.check_index(*v, 1, axis, name)?;
                    shape.extend(self.f.ty(*v).shape.iter().copied());
                }
            }
        }
        Ok(Type { dtype: *dtype, shape })
    }

    /// An index entry is `i64` of the given rank.
    fn check_index(&self, v: ValueId, rank: usize, axis: usize, tensor: &str) -> Result<(), Diagnostic> {
        let value = &self.f.values[v.index()];
        let who = value.name.as_ref().map_or_else(|| "the index".to_owned(), |n| format!("`{n}`"));
        let place = format!("on axis {axis} of `{tensor}`");
        if value.ty.rank() != rank {
            let shape = self.f.shape_name(&value.ty.shape);
            let want = if rank == 0 { "one index" } else { "a tile with one axis" };
            let e = self.error(format!("{who} {place} is {shape}, it must be {want}"));
            return Err(e.help("to pick one element per row, load the rows and use `gather`"));
        }
        if value.ty.dtype != DType::I64 {
            let d = value.ty.dtype;
            let e = self.error(format!("{who} {place} is {d}, indices are i64"));
            return Err(match d.class() {
                Class::Bool => e.help("a condition selects with `select`, or as the mask of the access"),
                Class::Signed | Class::Unsigned | Class::Float | Class::Storage => {
                    e.help("convert it: write `.cast::<i64>()`")
                }
            });
        }
        Ok(())
    }

    /// Operand `i` can be written to a place of type `place`.
    fn check_value(&self, i: usize, tensor: ParamId, place: &Type) -> Result<(), Diagnostic> {
        if self.dtype(i) != place.dtype {
            let (name, who) = (&self.f.params[tensor.index()].name, self.who(i));
            let (want, d) = (place.dtype, self.dtype(i));
            let e = self.error(format!("`{name}` holds {want}, {who} is {d}"));
            return Err(e.help(self.call(i, "cast()")));
        }
        self.check_fits(i, &place.shape, tensor)
    }

    /// Operand `i` broadcasts to exactly `place`.
    fn check_fits(&self, i: usize, place: &Shape, tensor: ParamId) -> Result<(), Diagnostic> {
        let shape = &self.ty(i).shape;
        if broadcast_two(place, shape).as_ref() == Ok(place) {
            return Ok(());
        }
        let name = &self.f.params[tensor.index()].name;
        let (is, want) = (self.is(i), self.f.shape_name(place));
        let e = self.error(format!("{is}, but the index of `{name}` selects {want}"));
        let e = self.made_at(e, &[i]);
        if shape.len() == place.len() + 1
            && let Some(axis) = shape.iter().rposition(|d| *d == Dim::Const(1))
        {
            return Err(e.help(self.call(i, &format!("squeeze({axis})"))));
        }
        let padded = |axis: usize| {
            let mut s = shape.to_vec();
            s.insert(axis, Dim::Const(1));
            s
        };
        if shape.len() < place.len()
            && let Some(axis) =
                (0..=shape.len()).rev().find(|a| broadcast_two(place, &padded(*a)).as_ref() == Ok(place))
        {
            return Err(e.help(self.call(i, &format!("unsqueeze({axis})"))));
        }
        match (&shape[..], &place[..]) {
            ([a, b], [c, d]) if (a, b) == (d, c) => Err(e.help(format!("transpose it: {}", self.call(i, "t()")))),
            _ => Err(e),
        }
    }
}

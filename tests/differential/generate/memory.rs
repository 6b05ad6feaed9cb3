//! Loads, stores and atomics.

use helion_ir::DType;
use helion_ir::Loc;
use helion_ir::args::Arg;
use helion_ir::dtype::Literal;
use helion_ir::tile::{AtomicOp, Dim, Index, Layout, Op, ParamId, Shape, TileId, Type};

use super::data::{Kind, bound, element};
use super::{Gen, Val, broadcast};
use crate::num::Num;
use crate::source::Rng;

/// An index under construction: its entries, the tensor's axes, the kept shape.
#[derive(Clone, Default)]
struct Place {
    index: Vec<Index>,
    dims: Shape,
    kept: Shape,
}

impl Place {
    fn axis(&mut self, index: Index, dim: Dim, kept: Option<Dim>) {
        self.index.push(index);
        self.dims.push(dim);
        self.kept.extend(kept);
    }
}

impl Gen<'_> {
    /// The dim a tile variable's extent is in types.
    fn tile_dim(&self, t: TileId) -> Dim {
        self.b.function().normal_dim(Dim::Tile(t))
    }

    /// A new parameter.
    pub(super) fn tensor(&mut self, d: DType, dims: Shape, kind: Kind, written: bool) -> ParamId {
        let extents: Vec<u64> = dims.iter().map(|d| self.extent(*d)).collect();
        let (arg, layout) = self.contents(d, &extents, kind, written);
        // A stronger layout may be declared weaker.
        let layout = if self.c.chance(10) { Layout::Strided } else { layout };
        let name = format!("{}{}", if written { "y" } else { "x" }, self.params.len());
        let id = self.b.tensor(&name, d, dims, written, layout, Loc::UNKNOWN);
        self.argument(id, Arg::Tensor(arg), bound(d, kind));
        id
    }

    /// A scalar `i64` of the pool or a small constant, for an index.
    fn position(&mut self) -> helion_ir::tile::ValueId {
        if self.c.chance(50)
            && let Some(v) = self.choose(|_, v| v.ty == Type::scalar(DType::I64))
        {
            return v.id;
        }
        let at = self.c.below(12) as i64 - 2;
        self.int(at)
    }

    /// An axis of a load.
    fn load_axis(&mut self, place: &mut Place) {
        let room = super::MAX_ELEMENTS / self.elements(&place.kept).max(1);
        match self.c.below(10) {
            0..5 if !self.open.is_empty() => {
                let open = self.open.clone();
                let t = *self.c.pick(&open);
                let offset = if self.c.chance(20) { Some(self.position()) } else { None };
                let over = self.tiles[t.index()].over;
                let dim = match over {
                    Some(d) if !self.c.chance(15) => d,
                    _ => {
                        self.depends_on_blocks |= over.is_none();
                        self.plain_dim().0
                    }
                };
                let kept = self.tile_dim(t);
                if self.extent(kept) <= room {
                    return place.axis(Index::Tile(t, offset), dim, Some(kept));
                }
            }
            5 => {
                let wanted =
                    |g: &Self, v: &Val| v.ty.dtype == DType::I64 && v.ty.rank() == 1 && g.extent(v.ty.shape[0]) <= room;
                if let Some(v) = self.choose(wanted) {
                    let dim = self.plain_dim().0;
                    return place.axis(Index::Gather(v.id), dim, Some(v.ty.shape[0]));
                }
            }
            6 => {
                let (at, dim) = (self.position(), self.plain_dim().0);
                return place.axis(Index::Scalar(at), dim, None);
            }
            _ => {
                let dim = self.plain_dim().0;
                if self.extent(dim) <= room {
                    return place.axis(Index::Full, dim, Some(dim));
                }
            }
        }
        let (at, dim) = (self.int(0), self.plain_dim().0);
        place.axis(Index::Scalar(at), dim, None);
    }

    /// Loads from a new tensor.
    pub(super) fn load_fresh(&mut self) -> Option<()> {
        let rank = *self.c.pick(&[2, 1, 2, 1, 3, 0]);
        let mut place = Place::default();
        for _ in 0..rank {
            self.load_axis(&mut place);
        }
        let size: u64 = self.elements(&place.dims);
        if size > 40_000 || !self.affordable(&place.kept, 1) {
            return None;
        }
        let (d, kind) = (self.dtype(), self.kind());
        if rank == 0 && self.c.chance(60) {
            let mut rng = Rng(self.c.seed());
            let name = format!("s{}", self.params.len());
            let id = self.b.scalar(&name, d, Loc::UNKNOWN);
            self.argument(id, Arg::Scalar(element(d, kind, &mut rng)), bound(d, kind));
            self.keep(Op::Scalar(id), &[], bound(d, kind));
            return Some(());
        }
        let tensor = self.tensor(d, place.dims.clone(), kind, false);
        let mut num = bound(d, kind);
        let mut args = Vec::new();
        if self.c.chance(20)
            && let Some(mask) = self.choose(|_, v| fits_bool(v, &place.kept))
        {
            args.push(mask.id);
            if self.c.chance(50) {
                let mut rng = Rng(self.c.seed());
                let other = self.one(Op::Const(element(d, kind, &mut rng)), &[]);
                args.push(other);
            }
        }
        num.mag = num.mag.max(1.0);
        self.keep(Op::Load { tensor, index: place.index }, &args, num);
        Some(())
    }

    /// A place of a new tensor that no other program instance writes, with axes for a value of this shape.
    fn own_place(&mut self, shape: &[Dim]) -> Option<Place> {
        let mut place = Place::default();
        let grid: Vec<TileId> = self.open.iter().copied().filter(|t| self.tiles[t.index()].grid).collect();
        let of_grid = |d: &Dim| grid.iter().position(|t| self.tile_dim(*t) == *d && *d != Dim::Const(1));
        let seen: Vec<usize> = shape.iter().filter_map(of_grid).collect();
        for (i, t) in grid.iter().enumerate() {
            if !seen.contains(&i) {
                let (dim, kept) = (self.size_dim(*t), self.tile_dim(*t));
                place.axis(Index::Tile(*t, None), dim, Some(kept));
            }
        }
        for (i, d) in shape.iter().enumerate() {
            match d {
                // The block of a variable on one axis; another axis of the same extent counts from 0.
                Dim::Tile(t) if !shape[..i].contains(d) => {
                    let offset = if self.c.chance(8) { Some(self.c.below(4) as i64 - 1) } else { None };
                    let offset = offset.map(|o| self.int(o));
                    let dim = self.size_dim(*t);
                    place.axis(Index::Tile(*t, offset), dim, Some(*d));
                }
                Dim::Const(_) | Dim::Symbol(_) => place.axis(Index::Full, *d, Some(*d)),
                Dim::Expr(_) | Dim::Tile(_) => {
                    self.touches(*d);
                    let iota = self.one(Op::Iota(*d), &[]);
                    let dim = Dim::Const(self.extent(*d));
                    place.axis(Index::Gather(iota), dim, Some(*d));
                }
            }
        }
        (self.elements(&place.dims) <= 60_000).then_some(place)
    }

    /// An axis long enough for all indices of a tile variable.
    pub(super) fn size_dim(&self, t: TileId) -> Dim {
        let t = &self.tiles[t.index()];
        t.over.unwrap_or(Dim::Const(t.size))
    }

    /// Stores what nothing uses, as far as time allows.
    pub(super) fn store_unused(&mut self) {
        let unused = |g: &Self| g.pool.iter().filter(|v| !g.used.contains(&v.id)).cloned().collect::<Vec<_>>();
        for v in unused(self).into_iter().rev().take(8) {
            self.store(&v);
        }
        if !self.stored {
            self.store_fresh();
        }
    }

    /// Stores a value of the pool to a new tensor.
    pub(super) fn store_fresh(&mut self) -> Option<()> {
        let v = self.choose(|_, _| true)?;
        self.store(&v)
    }

    fn store(&mut self, v: &Val) -> Option<()> {
        let place = self.own_place(&v.ty.shape)?;
        if !self.affordable(&place.kept, 1) {
            return None;
        }
        // What is not written keeps its contents, so those must have bounds too: exact ones.
        let tensor = self.tensor(v.ty.dtype, place.dims.clone(), Kind::Whole, true);
        self.params[tensor.index()].1 = v.num;
        let mut args = vec![v.id];
        if self.c.chance(20)
            && let Some(mask) = self.choose(|_, m| fits_bool(m, &place.kept))
        {
            args.push(mask.id);
        }
        self.push(Op::Store { tensor, index: place.index }, &args);
        self.stored = true;
        Some(())
    }

    /// Loads, changes and stores one place of a mutable tensor, perhaps twice.
    pub(super) fn in_place(&mut self) -> Option<()> {
        let extra: Vec<Dim> = if self.c.chance(50) { vec![self.plain_dim().0] } else { vec![] };
        let place = self.own_place(&extra)?;
        if !self.affordable(&place.kept, 6) {
            return None;
        }
        let (d, kind) = (self.dtype(), self.kind());
        if self.depth > 0 && !d.is_int() {
            return None; // Differences would grow with every iteration.
        }
        let tensor = self.tensor(d, place.dims.clone(), kind, true);
        let load = Op::Load { tensor, index: place.index.clone() };
        let store = Op::Store { tensor, index: place.index.clone() };
        let start = self.pool.len();
        self.keep(load.clone(), &[], bound(d, kind));
        self.unary();
        self.binary();
        let changed = self.choose(|g, v| {
            let recent = g.pool[start..].iter().any(|p| p.id == v.id);
            recent && v.ty.dtype == d && broadcast(&place.kept, &v.ty.shape).as_ref() == Some(&place.kept)
        })?;
        self.push(store.clone(), &[changed.id]);
        let num = self.params[tensor.index()].1.join(changed.num);
        self.params[tensor.index()].1 = num;
        if self.c.chance(40) {
            let again = self.keep(load, &[], num);
            if let Some(n) = crate::num::binary(helion_ir::BinaryOp::Max, d, again.num, again.num)
                && d.is_num()
            {
                let v = self.keep(Op::Binary(helion_ir::BinaryOp::Max), &[again.id, changed.id], n);
                self.params[tensor.index()].1 = num.join(n);
                self.push(store, &[v.id]);
            }
        }
        Some(())
    }

    /// Combines a value into a new tensor, instances meeting in one element.
    pub(super) fn atomic(&mut self) -> Option<()> {
        let types = [DType::I32, DType::U32, DType::I64, DType::U64, DType::F32, DType::F64];
        let v = self.choose(|_, v| types.contains(&v.ty.dtype) && v.num.is_exact())?;
        let op = *self.c.pick(&[AtomicOp::Add, AtomicOp::Max, AtomicOp::Min]);
        if v.ty.dtype.is_float() {
            // The order of a sum must not matter, and a maximum of zeros may have either sign.
            let total = v.num.mag * (self.trips * self.elements(&v.ty.shape)) as f64 + 8.0;
            if !v.num.integral || total > 1e6 {
                return None;
            }
        }
        let mut place = Place::default();
        for d in &v.ty.shape {
            match d {
                Dim::Tile(t) if self.c.chance(60) => {
                    let dim = self.size_dim(*t);
                    place.axis(Index::Tile(*t, None), dim, Some(*d));
                }
                Dim::Const(_) | Dim::Symbol(_) if self.c.chance(60) => place.axis(Index::Full, *d, Some(*d)),
                _ => {
                    self.touches(*d);
                    let iota = self.one(Op::Iota(*d), &[]);
                    let by = 1 + self.c.below(3) as i64;
                    let by = self.int(by);
                    let at = self.one(Op::Binary(helion_ir::BinaryOp::Rem), &[iota, by]);
                    let dim = self.plain_dim().0;
                    place.axis(Index::Gather(at), dim, Some(*d));
                }
            }
        }
        if self.c.chance(40) {
            let (at, dim) = (self.position(), self.plain_dim().0);
            place.axis(Index::Scalar(at), dim, None);
        }
        if self.elements(&place.dims) > 20_000 || !self.affordable(&place.kept, 2) {
            return None;
        }
        self.depends_on_blocks = true; // Each instance adds its own.
        let tensor = self.tensor(v.ty.dtype, place.dims, Kind::Whole, true);
        self.params[tensor.index()].1 = Num { zero_sign: true, ..v.num };
        let mut args = vec![v.id];
        if self.c.chance(20)
            && let Some(mask) = self.choose(|_, m| fits_bool(m, &place.kept))
        {
            args.push(mask.id);
        }
        self.push(Op::Atomic { op, tensor, index: place.index }, &args);
        Some(())
    }

    /// A number as a value.
    pub(super) fn constant(&mut self, l: Literal) -> Val {
        let id = self.one(Op::Const(l), &[]);
        let mag = l.to_f64().abs();
        let num = if mag.is_finite() && mag == mag.trunc() { Num::whole(mag) } else { Num::exact(mag) };
        let num = if mag.is_finite() { num } else { Num::WILD };
        Val { id, ty: Type::scalar(l.dtype), num }
    }
}

/// Whether a value can mask an access that keeps this shape.
fn fits_bool(v: &Val, kept: &Shape) -> bool {
    v.ty.dtype == DType::Bool && broadcast(kept, &v.ty.shape).as_ref() == Some(kept)
}

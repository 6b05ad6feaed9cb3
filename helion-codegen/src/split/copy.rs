//! Copies instructions of one function into another under construction.
//!
//! In: instructions of a verified function, in an order that defines values before their uses. Out: the same in a
//! builder, about the values, tile variables and sizes that took the places of the old ones. Types are inferred
//! anew, so what was given other operands gets the types that follow from these.

use helion_ir::diag::Loc;
use helion_ir::tile::{
    Builder, Dim, Function, Inst, Op, ParamKind, Region, Rename, Shape, TileId, TileVar, Type, ValueId,
};

/// A copy in the making.
pub struct Copy<'a> {
    /// What is copied from.
    pub src: &'a Function,
    /// What is copied to.
    pub b: Builder,
    values: Vec<Option<ValueId>>,
    tiles: Vec<Option<TileId>>,
}

impl<'a> Copy<'a> {
    /// A copy with the parameters, symbols and header of `src`, still in its header.
    pub fn new(src: &'a Function, name: &str) -> Copy<'a> {
        let mut b = Builder::new(name);
        for s in &src.symbols {
            b.symbol(&s.name);
        }
        for p in &src.params {
            match &p.kind {
                ParamKind::Tensor { dtype, dims, mutable, layout } => {
                    b.tensor(&p.name, *dtype, dims.clone(), *mutable, *layout, p.at)
                }
                ParamKind::Scalar { dtype } => b.scalar(&p.name, *dtype, p.at),
            };
        }
        let mut copy = Copy { src, b, values: vec![None; src.values.len()], tiles: vec![None; src.tiles.len()] };
        for inst in &src.header {
            copy.inst(inst);
        }
        copy
    }

    /// The grid of `src`, after the variables that the copy may have already.
    pub fn grid(&mut self) {
        for t in self.src.grid() {
            let var = &self.src.tiles[t.index()];
            let (begin, end) = (self.get(var.begin), self.get(var.end));
            self.tiles[t.index()] = Some(self.b.grid_tile(&var.name, begin, end, var.unit, var.at));
        }
    }

    /// What took the place of a value.
    pub fn get(&self, v: ValueId) -> ValueId {
        self.values[v.index()].expect("values are copied before their uses")
    }

    /// Lets `to` take the place of a value.
    pub fn set(&mut self, v: ValueId, to: ValueId) {
        self.values[v.index()] = Some(to);
        if let Some(name) = &self.src.values[v.index()].name {
            self.b.name_value(to, name);
        }
    }

    /// What took the place of every value so far.
    pub fn places(&self) -> Vec<Option<ValueId>> {
        self.values.clone()
    }

    /// Forgets what took the place of values since.
    pub fn restore(&mut self, places: Vec<Option<ValueId>>) {
        self.values = places;
    }

    /// What took the place of a tile variable.
    pub fn tile_of(&self, t: TileId) -> TileId {
        self.tiles[t.index()].expect("tile variables are copied before their uses")
    }

    /// The type of a value after copying, if its operands have the types they had.
    pub fn type_of(&mut self, v: ValueId) -> Type {
        let ty = self.src.ty(v);
        Type { dtype: ty.dtype, shape: self.shape(&ty.shape) }
    }

    /// A shape in the copy.
    pub fn shape(&mut self, shape: &Shape) -> Shape {
        shape.iter().map(|d| self.dim(*d)).collect()
    }

    /// Copies an instruction.
    pub fn inst(&mut self, inst: &Inst) {
        if let Op::For { tiles } = &inst.op {
            for t in tiles {
                let var = &self.src.tiles[t.index()];
                let (begin, end) = (self.get(var.begin), self.get(var.end));
                self.loop_tile(*t, begin, end);
            }
        }
        let init: Vec<ValueId> = inst.args.iter().map(|v| self.get(*v)).collect();
        self.inst_with(inst, &init);
    }

    /// A tile variable of a loop that takes the place of another, over another range.
    pub fn loop_tile(&mut self, t: TileId, begin: ValueId, end: ValueId) {
        let TileVar { name, unit, at, .. } = &self.src.tiles[t.index()];
        self.tiles[t.index()] = Some(self.b.loop_tile(name, begin, end, *unit, *at));
    }

    /// Copies an instruction with other operands; the tile variables of a loop are copied already.
    pub fn inst_with(&mut self, inst: &Inst, args: &[ValueId]) {
        let op = inst.op.renamed(self);
        self.op(inst, op, args);
    }

    /// Copies an instruction as another operation.
    pub fn op(&mut self, inst: &Inst, op: Op, args: &[ValueId]) {
        let regions = inst.regions.iter().map(|r| self.region(r, inst.at)).collect();
        let results = self.b.push_with_regions(op, args, regions, inst.at);
        for (v, to) in inst.results.iter().zip(results) {
            self.set(*v, to);
        }
    }

    fn region(&mut self, region: &Region, at: Loc) -> Region {
        let types: Vec<Type> = region.params.iter().map(|v| self.type_of(*v)).collect();
        let params = self.b.open_region(&types, at);
        for (v, to) in region.params.iter().zip(params) {
            self.set(*v, to);
        }
        region.body.iter().for_each(|i| self.inst(i));
        let yields: Vec<ValueId> = region.yields.iter().map(|v| self.get(*v)).collect();
        self.b.close_region(&yields)
    }
}

impl Rename for Copy<'_> {
    fn dim(&mut self, d: Dim) -> Dim {
        match d {
            Dim::Const(_) | Dim::Symbol(_) => d,
            Dim::Tile(t) => Dim::Tile(self.tile_of(t)),
            Dim::Expr(e) => {
                let e = self.src.exprs[e.index()];
                let (lhs, rhs) = (self.dim(e.lhs), self.dim(e.rhs));
                self.b.dim_expr(e.op, lhs, rhs)
            }
        }
    }
    fn tile(&mut self, t: TileId) -> TileId {
        self.tile_of(t)
    }
    fn value(&mut self, v: ValueId) -> ValueId {
        self.get(v)
    }
}

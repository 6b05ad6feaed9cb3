//! Matrix products: operands become windows of memory, sums go straight into the accumulator.

use super::lower::{Def, Lower, Res};
use super::scope::Scope;
use helion_ir::diag::Diagnostic;
use helion_ir::dtype::DType;
use helion_ir::elementwise::BinaryOp;
use helion_ir::loops::{Args, BufferId, Contract, Extent, Mem, Operand, Stmt};
use helion_ir::tile::{Dim, Index, Inst, Op, ValueId};

/// A window of memory: each axis of the value, and the axis of the memory it walks.
struct Window {
    mem: Mem,
    origin: Args,
    axes: Vec<Option<u32>>,
}

impl<'a> Lower<'a> {
    /// A product: waits for the addition it feeds, if there is just one; else gets a buffer.
    pub fn dot(&mut self, inst: &'a Inst) -> Res<()> {
        let v = inst.results[0];
        for a in &inst.args {
            let reads = self.reads[a.index()].clone();
            self.reads[v.index()].extend(reads);
            if let Some(Def::Buffer(b)) = self.defs[a.index()] {
                self.reads[v.index()].insert(Mem::Buffer(b));
            }
        }
        self.defs[v.index()] = Some(Def::Lazy(inst));
        self.deferred.insert(v);
        if self.uses.count[v.index()] != 1 || self.uses.nested[v.index()] || !self.used_by_add(v) {
            self.materialise(v)?;
        }
        Ok(())
    }

    /// Whether the only user of a product is an addition of the same shape.
    fn used_by_add(&self, v: ValueId) -> bool {
        self.origin.iter().flatten().any(|i| {
            let same = |a: &ValueId| self.src.ty(*a).shape == self.src.ty(v).shape;
            matches!(i.op, Op::Binary(BinaryOp::Add)) && i.args.contains(&v) && i.args.iter().all(same)
        })
    }

    /// For an addition with a waiting product: which operand that is.
    pub fn feeds_product(&self, inst: &Inst) -> Option<usize> {
        let shape = &self.src.ty(inst.results[0]).shape;
        (0..2).find(|k| {
            let other = self.src.ty(inst.args[1 - k]);
            self.deferred.contains(&inst.args[*k]) && other.shape == *shape && inst.args[0] != inst.args[1]
        })
    }

    /// `x + a · b`: the product is accumulated onto `x`.
    pub fn add_product(&mut self, inst: &'a Inst) -> Res<()> {
        let k = self.feeds_product(inst).expect("checked by the caller");
        let (product, x, result) = (inst.args[k], inst.args[1 - k], inst.results[0]);
        let dot = self.origin[product.index()].expect("a product");
        // Two waiting products: the other one goes first.
        if self.deferred.contains(&x) {
            self.materialise(x)?;
        }
        let lhs = self.window(dot.args[0], self.src.ty(product).dtype)?;
        let rhs = self.window(dot.args[1], self.src.ty(product).dtype)?;
        self.deferred.remove(&product);
        let b = match self.in_place(result, [lhs.mem, rhs.mem]) {
            Some(b) => {
                self.before_write(Mem::Buffer(b))?;
                b
            }
            None => self.buffer_for(result),
        };
        if !matches!(self.defs[x.index()], Some(Def::Buffer(own)) if own == b) {
            self.materialise_into(x, b)?;
        }
        self.push_contract(dot, b, true, lhs, rhs);
        self.defs[result.index()] = Some(Def::Buffer(b));
        Ok(())
    }

    /// The buffer that will hold `result` anyway at the end of the region, if writing it now is safe.
    fn in_place(&self, result: ValueId, operands: [Mem; 2]) -> Option<BufferId> {
        let (_, dest) = self.yields.last()?.iter().find(|(v, _)| *v == result)?;
        let param = dest.param?;
        let last_read = self.uses.last[param.index()] <= self.now;
        let sole = self.uses.count[result.index()] == 1 && !operands.contains(&Mem::Buffer(dest.buffer));
        (last_read && sole && self.def_depth[result.index()] == self.depth).then_some(dest.buffer)
    }

    /// A product into a buffer of its shape.
    pub fn contract(&mut self, dot: &'a Inst, acc: BufferId, accumulate: bool) -> Res<()> {
        let dtype = self.src.ty(dot.results[0]).dtype;
        let lhs = self.window(dot.args[0], dtype)?;
        let rhs = self.window(dot.args[1], dtype)?;
        self.push_contract(dot, acc, accumulate, lhs, rhs);
        Ok(())
    }

    fn push_contract(&mut self, dot: &Inst, acc: BufferId, accumulate: bool, lhs: Window, rhs: Window) {
        let (a, b) = (self.src.ty(dot.args[0]).shape.clone(), self.src.ty(dot.args[1]).shape.clone());
        let rank = a.len();
        let operand = |w: Window| Operand {
            mem: w.mem,
            origin: w.origin,
            batch: w.axes[..rank - 2].iter().copied().collect(),
            row: w.axes[rank - 2],
            col: w.axes[rank - 1],
        };
        let mut extent = |d: Dim| Extent { extent: self.dim(d), bound: self.bound(d) };
        let contract = Contract {
            batch: a[..rank - 2].iter().map(|d| extent(*d)).collect(),
            m: extent(a[rank - 2]),
            n: extent(b[rank - 1]),
            k: extent(a[rank - 1]),
            lhs: operand(lhs),
            rhs: operand(rhs),
            acc,
            accumulate,
            at: dot.at,
        };
        self.body.push(Stmt::Contract(contract));
    }

    /// The memory that holds an operand of a product in element type `acc` or one that widens to it.
    fn window(&mut self, v: ValueId, acc: DType) -> Res<Window> {
        match self.direct(v, acc)? {
            Some(w) => Ok(w),
            None => {
                let b = self.materialise(v)?;
                Ok(self.buffer_window(v, b))
            }
        }
    }

    fn buffer_window(&mut self, v: ValueId, b: BufferId) -> Window {
        let shape = self.src.ty(v).shape.clone();
        let zero = self.index(0);
        let axes = shape.iter().enumerate().map(|(k, d)| (!self.is_one(*d)).then_some(k as u32)).collect();
        Window { mem: Mem::Buffer(b), origin: smallvec::smallvec![zero; shape.len()], axes }
    }

    /// Sees through loads, permutations, size-1 axes and exact widening.
    fn direct(&mut self, v: ValueId, acc: DType) -> Res<Option<Window>> {
        let inst = match self.defs[v.index()].clone() {
            Some(Def::Buffer(b)) => return Ok(Some(self.buffer_window(v, b))),
            Some(Def::Lazy(inst)) => inst,
            other => {
                debug_assert!(other.is_some());
                return Err(Diagnostic::new(self.src.values[v.index()].at, "a matrix product needs tiles"));
            }
        };
        Ok(match &inst.op {
            Op::Load { tensor, index } if inst.args.is_empty() => {
                if index.iter().any(|i| matches!(i, Index::Gather(_))) {
                    return Ok(None);
                }
                let zero = self.index(0);
                let shape = self.src.ty(v).shape.clone();
                let idx: Args = smallvec::smallvec![zero; shape.len()];
                let place = self.place(&mut Scope::kernel(), *tensor, index, &idx, None)?;
                if place.mask.is_some() {
                    return Ok(None);
                }
                let kept =
                    index.iter().enumerate().filter(|(_, i)| !matches!(i, Index::Scalar(_))).map(|(k, _)| k as u32);
                let axes = kept.zip(&shape).map(|(k, d)| (!self.is_one(*d)).then_some(k)).collect();
                Some(Window { mem: Mem::Tensor(*tensor), origin: place.index, axes })
            }
            Op::Permute(perm) => self
                .direct(inst.args[0], acc)?
                .map(|w| Window { axes: perm.iter().map(|p| w.axes[*p as usize]).collect(), ..w }),
            Op::Reshape(_) => {
                let wide = |this: &Self, v: ValueId| -> Vec<Dim> {
                    this.src.ty(v).shape.iter().copied().filter(|d| !this.is_one(*d)).collect()
                };
                if wide(self, v) != wide(self, inst.args[0]) {
                    return Ok(None);
                }
                let Some(w) = self.direct(inst.args[0], acc)? else { return Ok(None) };
                let mut from = self.src.ty(inst.args[0]).shape.iter().zip(&w.axes).filter(|(d, _)| !self.is_one(**d));
                let to = &self.src.ty(v).shape;
                let axes = to.iter().map(|d| if self.is_one(*d) { None } else { *from.next().expect("same axes").1 });
                let axes = axes.collect();
                Some(Window { axes, ..w })
            }
            Op::Cast(to) if widens(self.src.ty(inst.args[0]).dtype, *to) && widens(*to, acc) => {
                self.direct(inst.args[0], acc)?
            }
            _ => None,
        })
    }
}

/// Whether every value of `from` is one of `to`.
fn widens(from: DType, to: DType) -> bool {
    use DType::{BF16, F8E4M3, F8E5M2, F16, F32, F64, I8, I16, I32, U8};
    from == to
        || matches!(
            (from, to),
            (F16 | BF16 | F8E4M3 | F8E5M2, F32 | F64) | (F32, F64) | (I8 | U8, I16 | I32) | (I16, I32)
        )
}

//! Elementwise steps and values made from nothing.

use helion_ir::dtype::{Class, Literal};
use helion_ir::tile::{Dim, Op, Type};
use helion_ir::{BinaryOp, DType, UnaryOp};

use super::data::element;
use super::{Gen, Val, broadcast};
use crate::num::{self, Num};
use crate::source::Rng;

impl Gen<'_> {
    pub(super) fn unary(&mut self) -> Option<()> {
        let op = *self.c.pick(UnaryOp::ALL);
        let v = self.choose(|_, v| op.rule().accepts(v.ty.dtype) && num::unary(op, v.ty.dtype, v.num).is_some())?;
        let n = num::unary(op, v.ty.dtype, v.num)?;
        if !self.affordable(&v.ty.shape, 1) {
            return None;
        }
        self.keep(Op::Unary(op), &[v.id], n);
        Some(())
    }

    /// Another operand that broadcasts with `a`; a number if there is none.
    fn partner(&mut self, a: &Val) -> Val {
        let found = if self.c.chance(85) {
            self.choose(|g, b| {
                let shape = broadcast(&a.ty.shape, &b.ty.shape);
                b.ty.dtype == a.ty.dtype && shape.is_some_and(|s| g.elements(&s) <= super::MAX_ELEMENTS)
            })
        } else {
            None
        };
        found.unwrap_or_else(|| {
            let kind = self.kind();
            let mut rng = Rng(self.c.seed());
            self.constant(element(a.ty.dtype, kind, &mut rng))
        })
    }

    pub(super) fn binary(&mut self) -> Option<()> {
        let op = *self.c.pick(BinaryOp::ALL);
        let a = self.choose(|_, v| op.rule().accepts(v.ty.dtype))?;
        let b = self.partner(&a);
        let n = num::binary(op, a.ty.dtype, a.num, b.num)?;
        let shape = broadcast(&a.ty.shape, &b.ty.shape)?;
        if !self.affordable(&shape, 1) {
            return None;
        }
        let args = if self.c.chance(50) { [b.id, a.id] } else { [a.id, b.id] };
        // The bounds of a difference, quotient or power depend on the order.
        let n = if args[0] == b.id { num::binary(op, a.ty.dtype, b.num, a.num)? } else { n };
        self.keep(Op::Binary(op), &args, n);
        Some(())
    }

    pub(super) fn select(&mut self) -> Option<()> {
        let mask = self.choose(|_, v| v.ty.dtype == DType::Bool)?;
        let a = self.choose(|_, v| broadcast(&v.ty.shape, &mask.ty.shape).is_some())?;
        let b = self.partner(&a);
        let shape = broadcast(&broadcast(&a.ty.shape, &b.ty.shape)?, &mask.ty.shape)?;
        if !self.affordable(&shape, 1) {
            return None;
        }
        self.keep(Op::Select, &[mask.id, a.id, b.id], a.num.join(b.num));
        Some(())
    }

    pub(super) fn cast(&mut self) -> Option<()> {
        let to = if self.c.chance(50) { self.dtype() } else { *self.c.pick(DType::ALL) };
        let v = self.choose(|_, v| v.ty.dtype != to && num::cast(v.ty.dtype, to, v.num).is_some())?;
        let n = num::cast(v.ty.dtype, to, v.num)?;
        if !self.affordable(&v.ty.shape, 1) {
            return None;
        }
        self.keep(Op::Cast(to), &[v.id], n);
        Some(())
    }

    /// The bits of a float are known only when every execution agrees on them; those of NaN never are.
    pub(super) fn bitcast(&mut self) -> Option<()> {
        let v = self.choose(|_, v| {
            let float = matches!(v.ty.dtype.class(), Class::Float | Class::Storage);
            v.num.is_exact() && (!float || (v.num.mag.is_finite() && !v.num.zero_sign))
        })?;
        let to = *self.c.pick(DType::ALL);
        if to.size() != v.ty.dtype.size() || (to == DType::Bool) != (v.ty.dtype == DType::Bool) {
            return None;
        }
        if !self.affordable(&v.ty.shape, 1) {
            return None;
        }
        let whole = matches!(to.class(), Class::Signed | Class::Unsigned | Class::Bool);
        let n = if whole { Num::whole(2f64.powi(8 * to.size() as i32)) } else { Num::WILD };
        self.keep(Op::Bitcast(to), &[v.id], n);
        Some(())
    }

    /// A dim that something in scope has.
    pub(super) fn any_dim(&mut self) -> Dim {
        if !self.open.is_empty() && self.c.chance(50) {
            let open = self.open.clone();
            let t = *self.c.pick(&open);
            return self.b.function().normal_dim(Dim::Tile(t));
        }
        self.plain_dim().0
    }

    /// Indices and facts of tile variables.
    pub(super) fn index_value(&mut self) -> Option<()> {
        if self.open.is_empty() || self.c.chance(50) {
            let d = self.any_dim();
            if !self.affordable(&[d], 1) {
                return None;
            }
            self.touches(d);
            self.keep(Op::Iota(d), &[], Num::whole(self.extent(d) as f64));
            return Some(());
        }
        let open = self.open.clone();
        let t = *self.c.pick(&open);
        self.depends_on_blocks = true;
        let all = [Op::TileBegin(t), Op::TileEnd(t), Op::TileOrdinal(t), Op::TileCount(t), Op::Extent(Dim::Tile(t))];
        let op = self.c.pick(&all).clone();
        self.keep(op, &[], Num::whole(256.0));
        Some(())
    }

    pub(super) fn random(&mut self) -> Option<()> {
        let counter = self.choose(|_, v| v.ty.dtype == DType::I64)?;
        if !self.affordable(&counter.ty.shape, 4) {
            return None;
        }
        let dtype = if self.c.chance(50) { DType::I64 } else { DType::U64 };
        let seed = Literal::from_bits(dtype, self.c.seed() * 0x1_0001_0001);
        let seed = self.one(Op::Const(seed), &[]);
        let word = self.c.below(4) as u8;
        self.keep(Op::Random { word }, &[seed, counter.id], Num::whole(4.3e9));
        Some(())
    }

    /// Whether a type is a scalar of a type.
    pub(super) fn is_scalar(v: &Val, d: DType) -> bool {
        v.ty == Type::scalar(d)
    }
}

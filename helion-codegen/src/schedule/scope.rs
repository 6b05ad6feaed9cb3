//! Where instructions go: the header, the statements of the program instance, or the body of a nest.
//!
//! [`Lower::emit`] puts a pure instruction in the outermost place that its operands allow (launch-level
//! arithmetic ends up in the header), folds what is constant, and never makes the same value twice
//! in one place, so equal index expressions are equal values.

use super::lower::Lower;
use helion_ir::diag::Loc;
use helion_ir::dtype::{DType, Literal};
use helion_ir::elementwise::BinaryOp;
use helion_ir::loops::{Args, Inst, Mem, Op, Stmt, Val, Value};
use helion_ir::tile::{Dim, ValueId};
use std::collections::{HashMap, HashSet};

/// A key of common-subexpression elimination.
pub type Key = (Op, Args);

/// A place for instructions: the kernel level, or the body of a nest under construction.
#[derive(Default)]
pub struct Scope {
    /// Whether this is a nest (else instructions become statements).
    pub nest: bool,
    /// The nest's instructions so far.
    pub insts: Vec<Inst>,
    /// Axes of the nest: the dim each runs over, and its index variable.
    pub axes: Vec<(Dim, Val)>,
    /// Elements already computed here: value, index, guard.
    pub memo: HashMap<(ValueId, Args, Option<Val>), Val>,
    /// Every access read here, for hazards.
    pub loads: Vec<(Mem, Args)>,
    /// Values computed here that are stored on the way: they live in buffers once the nest has run.
    pub kept: Vec<ValueId>,
    /// Their buffers.
    pub kept_in: Vec<helion_ir::loops::BufferId>,
    /// Values made in this nest: axes, carries, results.
    pub local: HashSet<Val>,
    cse: HashMap<Key, Val>,
}

impl Scope {
    /// The kernel level.
    pub fn kernel() -> Scope {
        Scope::default()
    }
    /// A nest without axes yet.
    pub fn nest() -> Scope {
        Scope { nest: true, ..Scope::default() }
    }
}

impl Lower<'_> {
    /// A new value.
    pub fn value(&mut self, dtype: DType) -> Val {
        self.out.values.push(Value { dtype, name: None });
        Val(self.out.values.len() as u32 - 1)
    }

    /// A constant.
    pub fn literal(&mut self, lit: Literal) -> Val {
        if let Some(v) = self.consts.get(&lit) {
            return *v;
        }
        let v = self.value(lit.dtype);
        self.out.header.push(Inst { op: Op::Const(lit), args: Args::new(), result: Some(v), at: Loc::UNKNOWN });
        self.consts.insert(lit, v);
        self.known.insert(v, lit);
        v
    }

    /// An index constant.
    pub fn index(&mut self, i: i64) -> Val {
        self.literal(Literal::from_i64(DType::I64, i))
    }

    /// A pure instruction.
    pub fn emit(&mut self, sc: &mut Scope, op: Op, args: &[Val], dtype: DType, at: Loc) -> Val {
        if let Some(v) = self.fold(&op, args) {
            return v;
        }
        let key: Key = (op, args.iter().copied().collect());
        if self.place_in_header(&key) {
            return self.emit_header(key, dtype, at);
        }
        if let Some(v) = self.lookup(sc, &key) {
            return v;
        }
        let v = self.value(dtype);
        let inst = Inst { op: key.0.clone(), args: key.1.clone(), result: Some(v), at };
        if sc.nest && key.1.iter().any(|a| sc.local.contains(a)) {
            sc.insts.push(inst);
            sc.local.insert(v);
            sc.cse.insert(key, v);
        } else {
            self.body.push(Stmt::Inst(inst));
            self.cse.last_mut().expect("a kernel scope").insert(key, v);
        }
        v
    }

    fn lookup(&self, sc: &Scope, key: &Key) -> Option<Val> {
        sc.cse.get(key).copied().or_else(|| self.cse.iter().rev().find_map(|c| c.get(key).copied()))
    }

    fn place_in_header(&self, key: &Key) -> bool {
        !matches!(key.0, Op::Random { .. })
            && key.1.iter().all(|a| self.header_vals.contains(a) || self.known.contains_key(a))
    }

    fn emit_header(&mut self, key: Key, dtype: DType, at: Loc) -> Val {
        if let Some(v) = self.header_cse.get(&key) {
            return *v;
        }
        let v = self.value(dtype);
        self.out.header.push(Inst { op: key.0.clone(), args: key.1.clone(), result: Some(v), at });
        self.header_vals.insert(v);
        self.header_cse.insert(key, v);
        v
    }

    /// Index arithmetic on constants and with neutral elements.
    fn fold(&mut self, op: &Op, args: &[Val]) -> Option<Val> {
        if let Op::Cast(d) = op {
            return (self.out.dtype(args[0]) == *d).then_some(args[0]);
        }
        let Op::Binary(op) = op else { return None };
        let [a, b] = *args else { return None };
        if self.out.dtype(a) != DType::I64 {
            return None;
        }
        let (ka, kb) = (self.known.get(&a).map(|l| l.to_i64()), self.known.get(&b).map(|l| l.to_i64()));
        match (op, ka, kb) {
            (BinaryOp::Add, Some(0), _) | (BinaryOp::Mul, Some(1), _) => Some(b),
            (BinaryOp::Add | BinaryOp::Sub, _, Some(0)) | (BinaryOp::Mul | BinaryOp::Div, _, Some(1)) => Some(a),
            (BinaryOp::Rem, _, Some(1)) | (BinaryOp::Mul, _, Some(0)) | (BinaryOp::Mul, Some(0), _) => {
                Some(self.index(0))
            }
            (BinaryOp::Min | BinaryOp::Max, _, _) if a == b => Some(a),
            (_, Some(x), Some(y)) if !op.rule().result(DType::I64).eq(&DType::Bool) => {
                let r =
                    helion_ir::eval::binary(*op, Literal::from_i64(DType::I64, x), Literal::from_i64(DType::I64, y));
                Some(self.literal(r))
            }
            _ => None,
        }
    }

    /// `a op b` on indices.
    pub fn arith(&mut self, sc: &mut Scope, op: BinaryOp, a: Val, b: Val) -> Val {
        let dtype = op.rule().result(self.out.dtype(a));
        self.emit(sc, Op::Binary(op), &[a, b], dtype, Loc::UNKNOWN)
    }

    /// The conjunction of optional masks.
    pub fn both(&mut self, sc: &mut Scope, a: Option<Val>, b: Option<Val>) -> Option<Val> {
        match (a, b) {
            (Some(a), Some(b)) if a != b => Some(self.arith(sc, BinaryOp::And, a, b)),
            (a, b) => a.or(b),
        }
    }

    /// An instruction that must stay where it is: loads, stores, atomics, prints.
    pub fn effect(&mut self, sc: &mut Scope, op: Op, args: Args, result: Option<DType>, at: Loc) -> Option<Val> {
        let result = result.map(|d| self.value(d));
        let inst = Inst { op, args, result, at };
        if sc.nest {
            sc.local.extend(result);
            sc.insts.push(inst);
        } else {
            self.body.push(Stmt::Inst(inst));
        }
        result
    }

    /// Reads an element.
    pub fn load(&mut self, sc: &mut Scope, mem: Mem, index: Args, dtype: DType, mask: Option<Val>, at: Loc) -> Val {
        sc.loads.push((mem, index.clone()));
        let mut args = index;
        if let Some(mask) = mask {
            let zero = self.literal(Literal::from_bits(dtype, 0));
            args.extend([mask, zero]);
        }
        self.effect(sc, Op::Load { mem, masked: mask.is_some() }, args, Some(dtype), at).expect("a result")
    }
}

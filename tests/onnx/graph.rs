//! Values of a program under construction, with constant shapes, so that operators read like formulas.
//!
//! Each method appends one or a few instructions through [`tile::Builder`] and checks that the type the
//! builder inferred is the one expected here: the two derivations of every shape are independent.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Add, Div, Mul, Sub};
use std::rc::Rc;

use helion_ir::dtype::Literal;
use helion_ir::tile::{self, Builder, Dim, Index, Layout, Op, ParamId, ReduceOp, Shape, Type, ValueId};
use helion_ir::{BinaryOp, DType, Loc, UnaryOp};

use crate::case::{Case, Tensor};

/// A dense shape.
pub type Dims = Vec<u64>;

/// A value: a tile or scalar of known shape.
#[derive(Clone)]
pub struct V {
    pub b: Rc<RefCell<Builder>>,
    pub id: ValueId,
    pub dtype: DType,
    pub shape: Dims,
}

/// Constant dims.
pub fn dims(shape: &[u64]) -> Shape {
    shape.iter().map(|d| Dim::Const(*d)).collect()
}

/// The shape two operands broadcast to, by numpy's rule.
pub fn broadcast_shape(a: &[u64], b: &[u64]) -> Dims {
    let rank = a.len().max(b.len());
    let at = |s: &[u64], i: usize| if i + s.len() >= rank { s[i + s.len() - rank] } else { 1 };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (1, y) => y,
            (x, 1) => x,
            (x, y) => {
                assert_eq!(x, y, "{a:?} and {b:?} do not broadcast");
                x
            }
        })
        .collect()
}

/// A right operand: a value, or a number of the left operand's type.
pub trait Operand {
    fn like(self, left: &V) -> V;
}
impl Operand for V {
    fn like(self, _: &V) -> V {
        self
    }
}
impl Operand for &V {
    fn like(self, _: &V) -> V {
        self.clone()
    }
}
impl Operand for f64 {
    fn like(self, left: &V) -> V {
        left.num(self)
    }
}

macro_rules! operators {
    ($($tr:ident $method:ident $op:ident;)*) => {$(
        impl<R: Operand> $tr<R> for V {
            type Output = V;
            fn $method(self, r: R) -> V { self.bin(BinaryOp::$op, r) }
        }
        impl<R: Operand> $tr<R> for &V {
            type Output = V;
            fn $method(self, r: R) -> V { self.bin(BinaryOp::$op, r) }
        }
    )*};
}
operators! { Add add Add; Sub sub Sub; Mul mul Mul; Div div Div; }

macro_rules! unary {
    ($($name:ident $op:ident;)*) => { impl V {$( pub fn $name(&self) -> V { self.un(UnaryOp::$op) } )*} };
}
unary! { neg Neg; abs Abs; not Not; floor Floor; exp Exp; log Log; sqrt Sqrt; sin Sin; cos Cos; tanh Tanh; sigmoid Sigmoid; erf Erf; round Round; }

macro_rules! binary {
    ($($name:ident $op:ident;)*) => { impl V {$( pub fn $name(&self, r: impl Operand) -> V { self.bin(BinaryOp::$op, r) } )*} };
}
binary! { max Max; min Min; rem Rem; and And; or Or; eq Eq; ne Ne; lt Lt; le Le; gt Gt; ge Ge; pow Pow; }

impl V {
    /// Appends an instruction with one result of the expected type.
    pub fn push(&self, op: Op, args: &[&V], dtype: DType, shape: Dims) -> V {
        let ids: Vec<ValueId> = args.iter().map(|v| v.id).collect();
        let shown = format!("{op:?}");
        let id = self.b.borrow_mut().one(op, &ids, Loc::UNKNOWN);
        let expected = Type { dtype, shape: dims(&shape) };
        assert_eq!(self.b.borrow().ty(id), &expected, "type of {shown}");
        V { b: self.b.clone(), id, dtype, shape }
    }
    /// How many elements it has.
    pub fn len(&self) -> u64 {
        self.shape.iter().product()
    }
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// An axis counted from the end when negative.
    pub fn axis(&self, axis: i64) -> usize {
        (if axis < 0 { axis + self.rank() as i64 } else { axis }) as usize
    }
    /// A number of this value's type.
    pub fn num(&self, v: f64) -> V {
        self.constant(Literal::from_f64(self.dtype, v))
    }
    /// A whole number of this value's type.
    pub fn int(&self, v: i64) -> V {
        self.constant(Literal::from_i64(self.dtype, v))
    }
    pub fn constant(&self, l: Literal) -> V {
        self.push(Op::Const(l), &[], l.dtype, vec![])
    }
    /// A tile filled with one number.
    pub fn full(&self, l: Literal, shape: &[u64]) -> V {
        self.constant(l).broadcast(shape)
    }
    /// `0, 1, …` as `i64`.
    pub fn iota(&self, n: u64) -> V {
        self.push(Op::Iota(Dim::Const(n)), &[], DType::I64, vec![n])
    }
    /// The index along one axis, shaped to broadcast against a tile of that rank.
    pub fn iota_along(&self, n: u64, axis: usize, rank: usize) -> V {
        let mut shape = vec![1; rank];
        shape[axis] = n;
        self.iota(n).reshape(&shape)
    }
    pub fn un(&self, op: UnaryOp) -> V {
        self.push(Op::Unary(op), &[self], op.rule().result(self.dtype), self.shape.clone())
    }
    pub fn bin(&self, op: BinaryOp, r: impl Operand) -> V {
        let r = r.like(self);
        let shape = broadcast_shape(&self.shape, &r.shape);
        self.push(Op::Binary(op), &[self, &r], op.rule().result(self.dtype), shape)
    }
    /// `a` where this mask is true, else `b`.
    pub fn select(&self, a: impl Operand, b: impl Operand, like: &V) -> V {
        let (a, b) = (a.like(like), b.like(like));
        let shape = broadcast_shape(&self.shape, &broadcast_shape(&a.shape, &b.shape));
        self.push(Op::Select, &[self, &a, &b], a.dtype, shape)
    }
    pub fn cast(&self, to: DType) -> V {
        if to == self.dtype { self.clone() } else { self.push(Op::Cast(to), &[self], to, self.shape.clone()) }
    }
    pub fn bitcast(&self, to: DType) -> V {
        self.push(Op::Bitcast(to), &[self], to, self.shape.clone())
    }
    pub fn broadcast(&self, shape: &[u64]) -> V {
        if shape == self.shape {
            return self.clone();
        }
        self.push(Op::Broadcast(dims(shape)), &[self], self.dtype, shape.to_vec())
    }
    pub fn reshape(&self, shape: &[u64]) -> V {
        if shape == self.shape {
            return self.clone();
        }
        assert_eq!(shape.iter().product::<u64>(), self.len(), "{:?} to {shape:?}", self.shape);
        self.push(Op::Reshape(dims(shape)), &[self], self.dtype, shape.to_vec())
    }
    pub fn permute(&self, perm: &[usize]) -> V {
        let shape = perm.iter().map(|p| self.shape[*p]).collect();
        self.push(Op::Permute(perm.iter().map(|p| *p as u32).collect()), &[self], self.dtype, shape)
    }
    /// The last two axes exchanged.
    pub fn transpose(&self) -> V {
        let mut perm: Vec<usize> = (0..self.rank()).collect();
        let n = perm.len();
        perm.swap(n - 1, n - 2);
        self.permute(&perm)
    }
    pub fn slice(&self, axis: usize, start: u64, len: u64) -> V {
        let mut shape = self.shape.clone();
        shape[axis] = len;
        let op = Op::Slice { axis: axis as u32, start: Dim::Const(start), len: Dim::Const(len) };
        self.push(op, &[self], self.dtype, shape)
    }
    pub fn concat(parts: &[V], axis: usize) -> V {
        if let [one] = parts {
            return one.clone();
        }
        let mut shape = parts[0].shape.clone();
        shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
        let args: Vec<&V> = parts.iter().collect();
        parts[0].push(Op::Concat { axis: axis as u32 }, &args, parts[0].dtype, shape)
    }
    /// Picks along one axis with an index of the same rank.
    pub fn gather_elements(&self, axis: usize, index: &V) -> V {
        self.push(Op::Gather { axis: axis as u32 }, &[self, index], self.dtype, index.shape.clone())
    }
    /// Picks along one axis with a rank-1 index that counts from the front.
    pub fn take(&self, axis: usize, index: &V) -> V {
        let k = index.shape[0];
        let mut shape = self.shape.clone();
        shape[axis] = k;
        let mut column = vec![1; self.rank()];
        column[axis] = k;
        self.gather_elements(axis, &index.reshape(&column).broadcast(&shape))
    }
    /// Reduces one axis, which stays with size 1.
    pub fn reduce(&self, op: ReduceOp, axis: usize) -> V {
        let mut shape = self.shape.clone();
        shape[axis] = 1;
        let dtype = if matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) { DType::I64 } else { self.dtype };
        self.push(Op::Reduce { op, axis: axis as u32 }, &[self], dtype, shape)
    }
    /// Reduces several axes, which stay with size 1.
    pub fn reduce_all(&self, op: ReduceOp, axes: &[usize]) -> V {
        axes.iter().fold(self.clone(), |v, a| v.reduce(op, *a))
    }
    /// The mean of several axes, which stay with size 1.
    pub fn mean(&self, axes: &[usize]) -> V {
        let n: u64 = axes.iter().map(|a| self.shape[*a]).product();
        self.reduce_all(ReduceOp::Sum, axes) / n as f64
    }
    pub fn scan(&self, op: ReduceOp, axis: usize, reverse: bool) -> V {
        self.push(Op::Scan { op, axis: axis as u32, reverse }, &[self], self.dtype, self.shape.clone())
    }
    /// A matrix product of operands with equal leading axes.
    pub fn dot(&self, r: &V, acc: DType) -> V {
        let n = self.rank();
        let mut shape = self.shape.clone();
        shape[n - 1] = r.shape[n - 1];
        self.push(Op::Dot { acc }, &[self, r], acc, shape)
    }
    /// Softmax along one axis.
    pub fn softmax(&self, axis: usize) -> V {
        let e = (self - &self.reduce(ReduceOp::Max, axis)).exp();
        &e / &e.reduce(ReduceOp::Sum, axis)
    }
    /// The logarithm of softmax along one axis.
    pub fn log_softmax(&self, axis: usize) -> V {
        let x = self - &self.reduce(ReduceOp::Max, axis);
        &x - &x.exp().reduce(ReduceOp::Sum, axis).log()
    }
    /// Drops axes of size 1.
    pub fn squeeze(&self, axes: &[usize]) -> V {
        let kept = self.shape.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| *d);
        self.reshape(&kept.collect::<Dims>())
    }
}

/// A program under construction: the values of a case by name.
pub struct Graph {
    pub b: Rc<RefCell<Builder>>,
    pub case: Case,
    values: HashMap<String, V>,
    tensors: HashMap<String, ParamId>,
}

/// The arguments of the finished program, in launch order.
pub struct Arguments {
    /// Read-only tensors first, then one mutable tensor per expected output (`None`: not bound to data).
    pub tensors: Vec<Option<Tensor>>,
}

impl Graph {
    /// Declares the parameters of a case: inputs, constants that are not scalars, outputs.
    pub fn new(case: &Case) -> (Graph, Arguments) {
        let mut b = Builder::new(&case.name);
        let (mut tensors, mut args) = (HashMap::new(), Vec::new());
        let constants = case.host.iter().filter(|(_, t)| t.len() > 1);
        for (name, t) in case.inputs.iter().chain(constants) {
            let id = b.tensor(name, t.dtype, dims(&t.shape), false, Layout::Contiguous, Loc::UNKNOWN);
            tensors.insert(name.clone(), id);
            args.push(Some(t.clone()));
        }
        for (name, t) in &case.outputs {
            let id = b.tensor(&out_name(name), t.dtype, dims(&t.shape), true, Layout::Contiguous, Loc::UNKNOWN);
            tensors.insert(out_name(name), id);
            args.push(None);
        }
        b.begin_body();
        let b = Rc::new(RefCell::new(b));
        (Graph { b, case: case.clone(), values: HashMap::new(), tensors }, Arguments { tensors: args })
    }
    /// A value from which constants can be made.
    pub fn seed(&self) -> V {
        let l = Literal::from_i64(DType::I64, 0);
        let id = self.b.borrow_mut().one(Op::Const(l), &[], Loc::UNKNOWN);
        V { b: self.b.clone(), id, dtype: DType::I64, shape: vec![] }
    }
    /// The parameter of a case's input.
    pub fn param(&self, name: &str) -> ParamId {
        self.tensors[name]
    }
    /// The parameter of an output.
    pub fn out_param(&self, name: &str) -> ParamId {
        self.tensors[&out_name(name)]
    }
    /// What is known on the host, if it is.
    pub fn host(&self, name: &str) -> Option<&Tensor> {
        self.case.host.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }
    /// A value by name: a result so far, a loaded input, or a constant.
    pub fn value(&mut self, name: &str) -> V {
        if let Some(v) = self.values.get(name) {
            return v.clone();
        }
        let v = match (self.tensors.get(name), self.host(name)) {
            (Some(id), _) => {
                let find = self.case.inputs.iter().chain(&self.case.host).find(|(n, _)| n == name);
                let t = find.map(|(_, t)| t.clone()).expect("a declared tensor");
                self.load(*id, t.dtype, &t.shape)
            }
            (None, Some(t)) if t.len() == 1 => self.seed().full(t.get(0), &t.shape.clone()),
            (None, Some(t)) => self.seed().full(Literal::from_i64(t.dtype, 0), &t.shape.clone()),
            (None, None) => panic!("no value `{name}`"),
        };
        self.values.insert(name.to_string(), v.clone());
        v
    }
    /// Loads a whole tensor.
    pub fn load(&self, tensor: ParamId, dtype: DType, shape: &[u64]) -> V {
        self.seed().push(Op::Load { tensor, index: vec![Index::Full; shape.len()] }, &[], dtype, shape.to_vec())
    }
    /// Binds a result.
    pub fn bind(&mut self, name: &str, v: V) {
        self.values.insert(name.to_string(), v);
    }
    /// Whether a result was bound.
    pub fn is_bound(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
    /// Stores a whole tensor.
    pub fn store(&self, tensor: ParamId, v: &V) {
        let index = vec![Index::Full; v.rank()];
        self.b.borrow_mut().push(Op::Store { tensor, index }, &[v.id], Loc::UNKNOWN);
    }
    /// Ends the program: every output that has a value is stored. The outputs were checked against the
    /// expected types.
    pub fn finish(mut self) -> Result<tile::Function, String> {
        for (name, t) in self.case.outputs.clone() {
            let known = self.is_bound(&name) || self.host(&name).is_some() || self.tensors.contains_key(&name);
            if !known {
                continue; // The operator wrote the tensor itself.
            }
            let v = self.value(&name);
            if (v.dtype, &v.shape) != (t.dtype, &t.shape) {
                return Err(format!("`{name}` is {} {:?}, not {} {:?}", v.dtype, v.shape, t.dtype, t.shape));
            }
            self.store(self.out_param(&name), &v);
        }
        self.values.clear();
        let b = Rc::try_unwrap(self.b).map_err(|_| "a value outlives the program".to_string())?;
        b.into_inner().finish().map_err(|d| helion_ir::diag::render(&d))
    }
}

/// The parameter's name of an output; an output may share its name with nothing else.
fn out_name(name: &str) -> String {
    format!("{name}.out")
}

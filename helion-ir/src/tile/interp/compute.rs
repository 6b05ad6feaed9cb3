//! Operations on tiles that touch neither memory nor regions. The operands fit each other: `infer` has seen
//! to it, and what depends on run-time sizes is checked here.

use super::value::{Extents, Lines, Tile, broadcast_strides, count, row_major, walk};
use crate::dtype::{DType, Literal};
use crate::elementwise::BinaryOp;
use crate::eval;
use crate::tile::types::ReduceOp;

pub(super) fn binary(op: BinaryOp, a: &Tile, b: &Tile, dims: Extents) -> Result<Tile, String> {
    let (s, t) = (broadcast_strides(&a.dims, &dims)?, broadcast_strides(&b.dims, &dims)?);
    let mut data = Vec::with_capacity(count(&dims)?);
    walk(&dims, [&s, &t], |[i, j]| data.push(eval::binary(op, a.get(i), b.get(j)).bits));
    Ok(Tile::new(op.rule().result(a.dtype), dims, data))
}

pub(super) fn select(mask: &Tile, a: &Tile, b: &Tile, dims: Extents) -> Result<Tile, String> {
    let strides = [mask, a, b].map(|t| broadcast_strides(&t.dims, &dims));
    let [s, t, u] = strides;
    let (s, t, u) = (s?, t?, u?);
    let mut data = Vec::with_capacity(count(&dims)?);
    walk(&dims, [&s, &t, &u], |[m, i, j]| data.push(if mask.data[m] != 0 { a.data[i] } else { b.data[j] }));
    Ok(Tile::new(a.dtype, dims, data))
}

pub(super) fn broadcast(x: &Tile, dims: Extents) -> Result<Tile, String> {
    let s = broadcast_strides(&x.dims, &dims)?;
    count(&dims)?;
    Ok(strided(x, dims, &s, 0))
}

pub(super) fn reshape(x: &Tile, dims: Extents) -> Result<Tile, String> {
    if count(&dims)? != x.data.len() {
        return Err(format!("shape {:?} cannot become {dims:?}", x.dims));
    }
    Ok(Tile { dtype: x.dtype, dims, data: x.data.clone() })
}

pub(super) fn permute(x: &Tile, perm: &[u32]) -> Tile {
    let own = row_major(&x.dims);
    let strides: Extents = perm.iter().map(|p| own[*p as usize]).collect();
    strided(x, perm.iter().map(|p| x.dims[*p as usize]).collect(), &strides, 0)
}

pub(super) fn slice(x: &Tile, axis: usize, start: usize, len: usize) -> Result<Tile, String> {
    if start.checked_add(len).is_none_or(|end| end > x.dims[axis]) {
        let have = x.dims[axis];
        return Err(format!(
            "the slice {start}..{} leaves axis {axis} with {have} elements",
            start.saturating_add(len)
        ));
    }
    let strides = row_major(&x.dims);
    let mut dims = x.dims.clone();
    dims[axis] = len;
    let from = start * strides[axis];
    Ok(strided(x, dims, &strides, from))
}

/// The elements at `from` and on, with the given strides.
fn strided(x: &Tile, dims: Extents, strides: &[usize], from: usize) -> Tile {
    let mut data = Vec::new();
    walk(&dims, [strides], |[i]| data.push(x.data[from + i]));
    Tile::new(x.dtype, dims, data)
}

pub(super) fn concat(parts: &[Tile], axis: usize) -> Result<Tile, String> {
    let first = &parts[0];
    let mut dims = first.dims.clone();
    dims[axis] = parts.iter().map(|p| p.dims[axis]).sum();
    let mut data = Vec::with_capacity(count(&dims)?);
    let outer: usize = first.dims[..axis].iter().product();
    for o in 0..outer {
        for p in parts {
            let run: usize = p.dims[axis..].iter().product();
            data.extend_from_slice(&p.data[o * run..(o + 1) * run]);
        }
    }
    Ok(Tile::new(first.dtype, dims, data))
}

pub(super) fn gather(x: &Tile, index: &Tile, axis: usize) -> Tile {
    let (from, to) = (Lines::new(&x.dims, axis), Lines::new(&index.dims, axis));
    let mut data = vec![0; index.data.len()];
    for (source, target) in from.each().zip(to.each()) {
        for i in 0..to.len {
            let picked = index.get(target.at(i)).to_i64();
            if let Some(p) = usize::try_from(picked).ok().filter(|p| *p < from.len) {
                data[target.at(i)] = x.data[source.at(p)];
            }
        }
    }
    Tile::new(x.dtype, index.dims.clone(), data)
}

/// A running reduction: floats are summed and multiplied in `f64`.
enum Running {
    Float(f64),
    Element(Literal),
}

impl Running {
    fn new(op: ReduceOp, dtype: DType) -> Running {
        match op {
            ReduceOp::Sum if dtype.is_float() => Running::Float(0.0),
            ReduceOp::Prod if dtype.is_float() => Running::Float(1.0),
            ReduceOp::Sum
            | ReduceOp::Prod
            | ReduceOp::Max
            | ReduceOp::Min
            | ReduceOp::Any
            | ReduceOp::All
            | ReduceOp::ArgMax
            | ReduceOp::ArgMin => Running::Element(eval::reduce_identity(op, dtype)),
        }
    }
    fn add(&mut self, op: ReduceOp, l: Literal) {
        match self {
            Running::Float(v) if op == ReduceOp::Sum => *v += l.to_f64(),
            Running::Float(v) => *v *= l.to_f64(),
            Running::Element(e) => {
                if let Some(combine) = eval::reduce_combine(op) {
                    *e = eval::binary(combine, *e, l);
                }
            }
        }
    }
    fn value(&self, dtype: DType) -> Literal {
        match self {
            Running::Float(v) => eval::from_f64(dtype, *v),
            Running::Element(e) => *e,
        }
    }
}

pub(super) fn reduce(op: ReduceOp, x: &Tile, axis: usize) -> Tile {
    let lines = Lines::new(&x.dims, axis);
    let mut dims = x.dims.clone();
    dims[axis] = 1;
    let one = |line: super::value::Line| {
        let elements = (0..lines.len).map(|i| x.get(line.at(i)));
        match op {
            ReduceOp::ArgMax | ReduceOp::ArgMin => arg_extreme(op, elements),
            ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::Any | ReduceOp::All => {
                let mut r = Running::new(op, x.dtype);
                elements.for_each(|l| r.add(op, l));
                r.value(x.dtype)
            }
        }
    };
    let data = lines.each().map(|line| one(line).bits).collect();
    let dtype = if matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) { DType::I64 } else { x.dtype };
    Tile::new(dtype, dims, data)
}

/// The index of the first NaN, else of the first extreme; 0 of nothing.
fn arg_extreme(op: ReduceOp, elements: impl Iterator<Item = Literal>) -> Literal {
    let better = if op == ReduceOp::ArgMax { BinaryOp::Gt } else { BinaryOp::Lt };
    let is_nan = |l: Literal| l.dtype.is_float() && l.to_f64().is_nan();
    let mut best: Option<(usize, Literal)> = None;
    for (i, l) in elements.enumerate() {
        let wins = match best {
            None => true,
            Some((_, b)) => !is_nan(b) && (is_nan(l) || eval::binary(better, l, b).is_true()),
        };
        if wins {
            best = Some((i, l));
        }
    }
    eval::from_i64(DType::I64, best.map_or(0, |(i, _)| i as i64))
}

pub(super) fn scan(op: ReduceOp, x: &Tile, axis: usize, reverse: bool) -> Tile {
    let lines = Lines::new(&x.dims, axis);
    let mut data = vec![0; x.data.len()];
    for line in lines.each() {
        let mut r = Running::new(op, x.dtype);
        for i in 0..lines.len {
            let at = line.at(if reverse { lines.len - 1 - i } else { i });
            r.add(op, x.get(at));
            data[at] = r.value(x.dtype).bits;
        }
    }
    Tile::new(x.dtype, x.dims.clone(), data)
}

pub(super) fn dot(a: &Tile, b: &Tile, acc: DType) -> Result<Tile, String> {
    let rank = a.dims.len();
    let (m, k, n) = (a.dims[rank - 2], a.dims[rank - 1], b.dims[rank - 1]);
    let mut dims = a.dims.clone();
    dims[rank - 1] = n;
    let mut data = Vec::with_capacity(count(&dims)?);
    let batches: usize = a.dims[..rank - 2].iter().product();
    // Operands are converted to the accumulator's type first. Floats are summed in f64 and rounded once.
    let floats = |t: &Tile| t.elements().map(|l| eval::cast(l, acc).to_f64()).collect::<Vec<_>>();
    let ints = |t: &Tile| t.elements().map(|l| eval::cast(l, acc).to_i64()).collect::<Vec<_>>();
    let at = |batch: usize, i: usize, p: usize, j: usize| ((batch * m + i) * k + p, (batch * k + p) * n + j);
    let points = (0..batches).flat_map(|z| (0..m).flat_map(move |i| (0..n).map(move |j| (z, i, j))));
    if acc.is_float() {
        let (x, y) = (floats(a), floats(b));
        data.extend(points.map(|(z, i, j)| {
            let sum: f64 = (0..k).map(|p| at(z, i, p, j)).map(|(s, t)| x[s] * y[t]).sum();
            eval::from_f64(acc, sum + 0.0).bits
        }));
    } else {
        let (x, y) = (ints(a), ints(b));
        data.extend(points.map(|(z, i, j)| {
            let products = (0..k).map(|p| at(z, i, p, j)).map(|(s, t)| x[s].wrapping_mul(y[t]));
            Literal::from_bits(acc, products.fold(0i64, i64::wrapping_add) as u64).bits
        }));
    }
    Ok(Tile::new(acc, dims, data))
}

//! Operators that move elements without computing.

use helion_ir::DType;
use helion_ir::dtype::Literal;

use super::Cx;
use crate::graph::{Dims, V, broadcast_shape};

/// Whether the operator is of this family; it is then appended.
pub fn lower(cx: &mut Cx<'_>) -> bool {
    let y = match cx.node.op.as_str() {
        "Reshape" => {
            let (x, to) = (cx.x(0), cx.ints(1).expect("a shape"));
            x.reshape(&resolve(&x.shape, &to, cx.node.flag("allowzero")))
        }
        "Flatten" => {
            let x = cx.x(0);
            let axis = cx.axis("axis", x.rank(), 1);
            let (rows, columns) = x.shape.split_at(axis);
            x.reshape(&[rows.iter().product(), columns.iter().product()])
        }
        "Squeeze" => {
            let x = cx.x(0);
            let axes: Vec<usize> = match cx.ints(1) {
                Some(axes) => axes.iter().map(|a| x.axis(*a)).collect(),
                None => (0..x.rank()).filter(|i| x.shape[*i] == 1).collect(),
            };
            x.squeeze(&axes)
        }
        "Unsqueeze" => {
            let (x, axes) = (cx.x(0), cx.ints(1).expect("axes"));
            let rank = x.rank() + axes.len();
            let at: Vec<usize> = axes.iter().map(|a| (if *a < 0 { a + rank as i64 } else { *a }) as usize).collect();
            let mut old = x.shape.iter();
            let shape: Dims =
                (0..rank).map(|i| if at.contains(&i) { 1 } else { *old.next().expect("an axis") }).collect();
            x.reshape(&shape)
        }
        "Expand" => {
            let (x, to) = (cx.x(0), cx.ints(1).expect("a shape"));
            let to: Dims = to.iter().map(|d| *d as u64).collect();
            x.broadcast(&broadcast_shape(&x.shape, &to))
        }
        "Transpose" => {
            let x = cx.x(0);
            let perm = cx.node.list("perm").unwrap_or_else(|| (0..x.rank() as i64).rev().collect());
            x.permute(&perm.iter().map(|p| *p as usize).collect::<Vec<_>>())
        }
        "Concat" => {
            let all = cx.all();
            let axis = cx.axis("axis", all[0].rank(), 0);
            V::concat(&all, axis)
        }
        "Slice" => slice(cx),
        "Split" => return split(cx),
        "Tile" => {
            let (mut x, repeats) = (cx.x(0), cx.ints(1).expect("repeats"));
            for (axis, n) in repeats.iter().enumerate() {
                x = V::concat(&vec![x.clone(); *n as usize], axis);
            }
            x
        }
        "Pad" => pad(cx),
        "DepthToSpace" | "SpaceToDepth" => blocks(cx),
        "Trilu" => {
            let x = cx.x(0);
            let n = x.rank();
            let k = cx.ints(1).map_or(0, |k| k[0]);
            let (row, column) = (x.iota_along(x.shape[n - 2], n - 2, n), x.iota_along(x.shape[n - 1], n - 1, n));
            let shifted = &row + &x.seed(k);
            let keep = if cx.node.flag("upper") { column.ge(&shifted) } else { column.le(&shifted) };
            keep.select(&x, x.int(0), &x)
        }
        "EyeLike" => {
            let x = cx.x(0);
            let (row, column) = (x.iota_along(x.shape[0], 0, 2), x.iota_along(x.shape[1], 1, 2));
            let k = x.seed(cx.node.int("k").unwrap_or(0));
            column.eq(&(&row + &k)).cast(cx.node.dtype("dtype").unwrap_or(x.dtype))
        }
        "Range" => {
            let (start, delta) = (cx.host(0).expect("a start"), cx.host(2).expect("a step"));
            let n = cx.g.case.outputs[0].1.shape[0];
            let seed = cx.g.seed();
            let (start, delta) = (seed.constant(start.get(0)), seed.constant(delta.get(0)));
            let wide = start.dtype.compute();
            (seed.iota(n).cast(wide) * delta.cast(wide) + start.cast(wide)).cast(start.dtype)
        }
        "Constant" => {
            let name = format!("{}.value", cx.node.outputs[0]);
            cx.g.value(&name)
        }
        "ConstantOfShape" => {
            let fill = cx.g.host(&format!("{}.value", cx.node.outputs[0])).expect("a value").get(0);
            let shape: Dims = cx.ints(0).expect("a shape").iter().map(|d| *d as u64).collect();
            cx.g.seed().full(fill, &shape)
        }
        "OneHot" => {
            let (x, depth, values) = (cx.x(0), cx.ints(1).expect("a depth")[0], cx.x(2));
            let axis = cx.axis("axis", x.rank() + 1, -1);
            let mut shape = x.shape.clone();
            shape.insert(axis, 1);
            let x = x.cast(DType::I64).reshape(&shape);
            let x = x.lt(0.0).select(&x + depth as f64, &x, &x);
            let hot = x.iota_along(depth as u64, axis, shape.len()).eq(&x);
            let pick = |i| values.slice(0, i, 1).reshape(&[]);
            hot.select(pick(1), pick(0), &values)
        }
        _ => return false,
    };
    cx.out(0, y);
    true
}

impl V {
    /// A whole number of the index type.
    pub fn seed(&self, v: i64) -> V {
        self.constant(Literal::from_i64(DType::I64, v))
    }
}

/// A target shape with its zeros (copy) and its -1 (the rest) resolved.
fn resolve(from: &[u64], to: &[i64], allow_zero: bool) -> Dims {
    let copy = |(i, d): (usize, &i64)| if *d == 0 && !allow_zero { from[i] as i64 } else { *d };
    let to: Vec<i64> = to.iter().enumerate().map(copy).collect();
    let known: i64 = to.iter().filter(|d| **d != -1).product();
    let total: u64 = from.iter().product();
    to.iter().map(|d| if *d == -1 { total / known as u64 } else { *d as u64 }).collect()
}

fn slice(cx: &mut Cx<'_>) -> V {
    let mut x = cx.x(0);
    let (starts, ends) = (cx.ints(1).expect("starts"), cx.ints(2).expect("ends"));
    let axes = cx.ints(3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = cx.ints(4).unwrap_or_else(|| vec![1; starts.len()]);
    for i in 0..starts.len() {
        let axis = x.axis(axes[i]);
        let (n, step) = (x.shape[axis] as i64, steps[i]);
        let place = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let (start, end) = (place(starts[i]).clamp(low.max(0), high), place(ends[i]).clamp(low, high));
        let count = ((end - start) + step - step.signum()) / step;
        let count = count.max(0) as u64;
        x = if step == 1 {
            x.slice(axis, start as u64, count)
        } else {
            x.take(axis, &(x.iota(count) * step as f64 + start as f64))
        };
    }
    x
}

fn split(cx: &mut Cx<'_>) -> bool {
    let x = cx.x(0);
    let axis = cx.axis("axis", x.rank(), 0);
    let parts = cx.node.outputs.len() as u64;
    let n = x.shape[axis];
    let sizes: Vec<u64> = match cx.ints(1) {
        Some(sizes) => sizes.iter().map(|s| *s as u64).collect(),
        None => (0..parts).map(|i| n.div_ceil(parts).min(n.saturating_sub(i * n.div_ceil(parts)))).collect(),
    };
    let mut at = 0;
    for (i, size) in sizes.iter().enumerate() {
        let part = x.slice(axis, at, *size);
        cx.out(i, part);
        at += size;
    }
    true
}

fn pad(cx: &mut Cx<'_>) -> V {
    let mut x = cx.x(0);
    let pads = cx.ints(1).expect("pads");
    let fill = if cx.has(2) { cx.host(2).expect("a value").get(0) } else { Literal::from_i64(x.dtype, 0) };
    let axes = cx.ints(3).unwrap_or_else(|| (0..x.rank() as i64).collect());
    let mode = cx.node.text("mode").unwrap_or("constant").to_string();
    for (i, axis) in axes.iter().enumerate() {
        let axis = x.axis(*axis);
        let (before, after, n) = (pads[i], pads[i + axes.len()], x.shape[axis] as i64);
        if before == 0 && after == 0 {
            continue;
        }
        let at = x.iota((before + n + after) as u64) - before as f64;
        let index = match mode.as_str() {
            "edge" => at.max(0.0).min((n - 1) as f64),
            "wrap" => (at + (8 * n) as f64).rem(n as f64),
            "reflect" => {
                let period = (2 * (n - 1)) as f64;
                let folded = (at + 8.0 * period).rem(period);
                folded.min(folded.neg() + period)
            }
            _ => {
                // A negative pad cuts; a positive one joins a filled tile.
                let (low, high) = ((-before).max(0), n + after.min(0));
                let mut parts = vec![x.slice(axis, low as u64, (high - low) as u64)];
                for (count, first) in [(before, true), (after, false)] {
                    if count > 0 {
                        let mut shape = x.shape.clone();
                        shape[axis] = count as u64;
                        parts.insert(if first { 0 } else { parts.len() }, x.full(fill, &shape));
                    }
                }
                x = V::concat(&parts, axis);
                continue;
            }
        };
        x = x.take(axis, &index);
    }
    x
}

fn blocks(cx: &mut Cx<'_>) -> V {
    let x = cx.x(0);
    let [n, c, h, w] = x.shape[..] else { panic!("rank 4") };
    let b = cx.node.int("blocksize").expect("a block size") as u64;
    if cx.node.op == "SpaceToDepth" {
        let y = x.reshape(&[n, c, h / b, b, w / b, b]).permute(&[0, 3, 5, 1, 2, 4]);
        return y.reshape(&[n, c * b * b, h / b, w / b]);
    }
    let y = if cx.node.text("mode") == Some("CRD") {
        x.reshape(&[n, c / (b * b), b, b, h, w]).permute(&[0, 1, 4, 2, 5, 3])
    } else {
        x.reshape(&[n, b, b, c / (b * b), h, w]).permute(&[0, 3, 4, 1, 5, 2])
    };
    y.reshape(&[n, c / (b * b), h * b, w * b])
}

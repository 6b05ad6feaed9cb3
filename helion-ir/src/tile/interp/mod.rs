//! The reference interpreter of tile IR: what every backend is compared with.
//!
//! In: a verified function, its arguments, and a block size for every tile variable. Out: the arguments with
//! everything the launch stores. Program instances run one after another in row-major order of the grid.
//! Partial blocks are short tiles; there are no masks. Sums, products, dots and scans of floats run in
//! `f64` and round once. What depends on run-time sizes and goes wrong is an error, never a panic.

mod compute;
mod memory;
#[cfg(test)]
mod tests;
mod value;

use super::types::{Dim, Function, Inst, Op, Region, TileId, ValueId};
use super::verify::Verified;
use crate::args::Args;
use crate::dtype::{DType, Literal};
use crate::{eval, philox};
use value::{Extents, Lines, Tile, count};

/// Runs a launch with the given block sizes. Unit variables have block size 1 whatever `blocks` says.
/// Prints go to standard error.
///
/// # Errors
/// When an argument does not fit, a size is negative, a slice leaves its tile, a block size is zero, a
/// tile is too large, or a loop does not end.
pub fn run(f: &Verified, args: &mut Args, blocks: &dyn Fn(TileId) -> u64) -> Result<(), String> {
    run_with(f, args, blocks, &mut |line| eprintln!("{line}"))
}

/// As [`run`], with each line printed given to `print`.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    f: &Verified,
    args: &mut Args,
    blocks: &dyn Fn(TileId) -> u64,
    print: &mut dyn FnMut(String),
) -> Result<(), String> {
    run_in_order(f, args, blocks, print, false)
}

/// As [`run_with`]; program instances run in the opposite order when `backwards`. A verified function
/// without atomics gives the same either way.
pub(super) fn run_in_order(
    f: &Verified,
    args: &mut Args,
    blocks: &dyn Fn(TileId) -> u64,
    print: &mut dyn FnMut(String),
    backwards: bool,
) -> Result<(), String> {
    let f = f.function();
    args.check(&f.params, &f.symbols)?;
    let values = vec![None; f.values.len()];
    let tiles = vec![None; f.tiles.len()];
    let mut m = Machine { f, args, blocks, print, backwards, values, tiles, turns: 0 };
    m.insts(&f.header)?;
    let grid: Vec<TileId> = f.grid().collect();
    m.each_block(&grid, &mut |m| m.insts(&f.body.body))
}

/// More turns of `while` loops than this are taken for a loop that does not end.
const MAX_TURNS: u64 = 1 << 22;

/// A block of a tile variable.
#[derive(Clone, Copy, Debug)]
struct Block {
    begin: i64,
    end: i64,
    ordinal: i64,
    count: i64,
}

struct Machine<'a> {
    f: &'a Function,
    args: &'a mut Args,
    blocks: &'a dyn Fn(TileId) -> u64,
    print: &'a mut dyn FnMut(String),
    backwards: bool,
    values: Vec<Option<Tile>>,
    tiles: Vec<Option<Block>>,
    turns: u64,
}

type Step<'s, 'a> = &'s mut dyn FnMut(&mut Machine<'a>) -> Result<(), String>;

impl<'a> Machine<'a> {
    fn get(&self, v: ValueId) -> Result<&Tile, String> {
        self.values[v.index()].as_ref().ok_or_else(|| format!("value %{} is not computed yet", v.0))
    }
    fn set(&mut self, v: ValueId, t: Tile) {
        self.values[v.index()] = Some(t);
    }
    fn state(&self, t: TileId) -> Result<Block, String> {
        self.tiles[t.index()].ok_or_else(|| format!("`{}` has no block here", self.f.tiles[t.index()].name))
    }
    /// First index of the current block and one past the last.
    fn block(&self, t: TileId) -> Result<(i64, i64), String> {
        self.state(t).map(|b| (b.begin, b.end))
    }

    /// Runs `step` for every block of the product of `tiles`, outermost first.
    fn each_block(&mut self, tiles: &[TileId], step: Step<'_, 'a>) -> Result<(), String> {
        let Some((&t, inner)) = tiles.split_first() else { return step(self) };
        let var = &self.f.tiles[t.index()];
        let (first, last) = (self.get(var.begin)?.item().to_i64(), self.get(var.end)?.item().to_i64());
        let size = if var.unit { 1 } else { (self.blocks)(t) };
        let size = i64::try_from(size).ok().filter(|s| *s > 0);
        let size = size.ok_or_else(|| format!("the block size of `{}` must be positive", var.name))?;
        let span = last.checked_sub(first).ok_or_else(|| format!("the range of `{}` is too long", var.name))?.max(0);
        let count = span / size + i64::from(span % size != 0);
        let backwards = var.grid && self.backwards;
        for n in 0..count {
            let ordinal = if backwards { count - 1 - n } else { n };
            let begin = first + ordinal * size;
            let end = begin.saturating_add(size).min(last);
            self.tiles[t.index()] = Some(Block { begin, end, ordinal, count });
            self.each_block(inner, step)?;
        }
        self.tiles[t.index()] = None;
        Ok(())
    }

    /// The value of a dim; negative when an expression is.
    fn size(&self, d: Dim) -> Result<i64, String> {
        Ok(match d {
            Dim::Const(c) => i64::try_from(c).map_err(|_| format!("the size {c} is too large"))?,
            Dim::Symbol(s) => self.args.symbols[s.index()] as i64,
            Dim::Tile(t) => self.block(t).map(|(begin, end)| end - begin)?,
            Dim::Expr(e) => {
                let e = self.f.exprs[e.index()];
                let of = |d| Ok::<_, String>(eval::from_i64(DType::I64, self.size(d)?));
                eval::binary(e.op, of(e.lhs)?, of(e.rhs)?).to_i64()
            }
        })
    }
    fn extent(&self, d: Dim) -> Result<usize, String> {
        let n = self.size(d)?;
        usize::try_from(n).map_err(|_| format!("the size `{}` is {n}, it must not be negative", self.f.dim_name(d)))
    }
    fn extents(&self, shape: &[Dim]) -> Result<Extents, String> {
        shape.iter().map(|d| self.extent(*d)).collect()
    }

    fn insts(&mut self, insts: &'a [Inst]) -> Result<(), String> {
        insts.iter().try_for_each(|i| self.inst(i))
    }

    fn region(&mut self, region: &'a Region, given: Vec<Tile>) -> Result<Vec<Tile>, String> {
        for (v, t) in region.params.iter().zip(given) {
            self.set(*v, t);
        }
        self.insts(&region.body)?;
        region.yields.iter().map(|v| self.get(*v).cloned()).collect()
    }

    fn inst(&mut self, inst: &'a Inst) -> Result<(), String> {
        let results = self.eval(inst)?;
        for (v, t) in inst.results.iter().zip(results) {
            self.set(*v, t);
        }
        Ok(())
    }

    fn eval(&mut self, inst: &'a Inst) -> Result<Vec<Tile>, String> {
        match &inst.op {
            Op::Store { tensor, index } => self.store(*tensor, index, &inst.args).map(|()| vec![]),
            Op::Print { label } => self.print(label, inst.args[0]).map(|()| vec![]),
            Op::For { tiles } => self.for_loop(inst, tiles),
            Op::While => self.while_loop(inst),
            Op::If => {
                let arm = if self.get(inst.args[0])?.item().is_true() { 0 } else { 1 };
                self.region(&inst.regions[arm], vec![])
            }
            Op::ReduceWith { axis } => self.combine(inst, *axis as usize, None),
            Op::ScanWith { axis, reverse } => self.combine(inst, *axis as usize, Some(*reverse)),
            _ => self.single(inst).map(|t| vec![t]),
        }
    }

    /// Operations with one result and no regions.
    fn single(&mut self, inst: &'a Inst) -> Result<Tile, String> {
        if let Op::Atomic { op, tensor, index } = &inst.op {
            return self.atomic(*op, *tensor, index, &inst.args);
        }
        let int = |v: i64| Tile::scalar(eval::from_i64(DType::I64, v));
        let arg = |i: usize| self.get(inst.args[i]);
        let result_dims = || self.extents(&self.f.ty(inst.results[0]).shape);
        Ok(match &inst.op {
            Op::Const(l) => Tile::scalar(*l),
            Op::Extent(d) => int(self.size(*d)?),
            Op::Scalar(p) => Tile::scalar(self.args.scalar(p.index()).ok_or("a scalar was expected")?),
            Op::TileBegin(t) => int(self.block(*t)?.0),
            Op::TileEnd(t) => int(self.block(*t)?.1),
            Op::TileOrdinal(t) => int(self.state(*t)?.ordinal),
            Op::TileCount(t) => int(self.state(*t)?.count),
            Op::Iota(d) => {
                let n = self.extent(*d)?;
                count(&[n])?;
                Tile::new(DType::I64, [n].into_iter().collect(), (0..n as u64).collect())
            }
            Op::Load { tensor, index } => self.load(*tensor, index, &inst.args)?,
            Op::Unary(op) => {
                let x = arg(0)?;
                x.map(op.rule().result(x.dtype), |l| eval::unary(*op, l))
            }
            Op::Binary(op) => compute::binary(*op, arg(0)?, arg(1)?, result_dims()?)?,
            Op::Select => compute::select(arg(0)?, arg(1)?, arg(2)?, result_dims()?)?,
            Op::Cast(to) => arg(0)?.map(*to, |l| eval::cast(l, *to)),
            Op::Bitcast(to) => arg(0)?.map(*to, |l| eval::bitcast(l, *to)),
            Op::Broadcast(_) => compute::broadcast(arg(0)?, result_dims()?)?,
            Op::Reshape(_) => compute::reshape(arg(0)?, result_dims()?)?,
            Op::Permute(perm) => compute::permute(arg(0)?, perm),
            Op::Slice { axis, start, len } => {
                compute::slice(arg(0)?, *axis as usize, self.extent(*start)?, self.extent(*len)?)?
            }
            Op::Concat { axis } => {
                let parts = inst.args.iter().map(|v| self.get(*v).cloned()).collect::<Result<Vec<_>, _>>()?;
                compute::concat(&parts, *axis as usize)?
            }
            Op::Gather { axis } => compute::gather(arg(0)?, arg(1)?, *axis as usize),
            Op::Reduce { op, axis } => compute::reduce(*op, arg(0)?, *axis as usize),
            Op::Scan { op, axis, reverse } => compute::scan(*op, arg(0)?, *axis as usize, *reverse),
            Op::Dot { acc } => compute::dot(arg(0)?, arg(1)?, *acc)?,
            Op::Random { word } => {
                let seed = arg(0)?.item().bits;
                let draw = |l: Literal| philox::word(seed, l.bits, *word);
                arg(1)?.map(DType::U32, |l| Literal::from_bits(DType::U32, draw(l).into()))
            }
            Op::Store { .. }
            | Op::Atomic { .. }
            | Op::ReduceWith { .. }
            | Op::ScanWith { .. }
            | Op::Print { .. }
            | Op::For { .. }
            | Op::While
            | Op::If => return Err(format!("`{}` has no single value", inst.op.word())),
        })
    }

    fn args_of(&self, inst: &Inst) -> Result<Vec<Tile>, String> {
        inst.args.iter().map(|v| self.get(*v).cloned()).collect()
    }

    fn for_loop(&mut self, inst: &'a Inst, tiles: &[TileId]) -> Result<Vec<Tile>, String> {
        let mut carried = self.args_of(inst)?;
        self.each_block(tiles, &mut |m| {
            carried = m.region(&inst.regions[0], std::mem::take(&mut carried))?;
            Ok(())
        })?;
        Ok(carried)
    }

    fn while_loop(&mut self, inst: &'a Inst) -> Result<Vec<Tile>, String> {
        let mut carried = self.args_of(inst)?;
        loop {
            let test = self.region(&inst.regions[0], carried.clone())?;
            if !test.first().is_some_and(|t| t.item().is_true()) {
                return Ok(carried);
            }
            self.turns += 1;
            if self.turns > MAX_TURNS {
                return Err(format!("`while` loops ran for more than {MAX_TURNS} turns"));
            }
            carried = self.region(&inst.regions[1], carried)?;
        }
    }

    /// A reduction (`scan` is `None`) or a scan (`Some(reverse)`) with a user's function.
    fn combine(&mut self, inst: &'a Inst, axis: usize, scan: Option<bool>) -> Result<Vec<Tile>, String> {
        let tiles = self.args_of(inst)?;
        let dims = &tiles[0].dims;
        let lines = Lines::new(dims, axis);
        let mut out_dims = dims.clone();
        if scan.is_none() {
            out_dims[axis] = 1;
        }
        let mut data: Vec<Vec<u64>> = tiles.iter().map(|_| vec![0; out_dims.iter().product()]).collect();
        for (n, line) in lines.each().enumerate() {
            let mut running: Vec<Tile> = Vec::new();
            for i in 0..lines.len {
                let at = line.at(if scan == Some(true) { lines.len - 1 - i } else { i });
                let next = tiles.iter().map(|t| Tile::scalar(t.get(at)));
                running = if i == 0 {
                    next.collect()
                } else {
                    running.extend(next);
                    self.region(&inst.regions[0], running)?
                };
                let target = if scan.is_some() { at } else { n };
                for (d, r) in data.iter_mut().zip(&running) {
                    d[target] = r.item().bits;
                }
            }
        }
        Ok(tiles.iter().zip(data).map(|(t, d)| Tile::new(t.dtype, out_dims.clone(), d)).collect())
    }

    /// `label (tm 0, tn 1): f32 [2, 3] 1.0 2.0 …`.
    fn print(&mut self, label: &str, v: ValueId) -> Result<(), String> {
        const SHOWN: usize = 64;
        let place: Vec<String> = (self.f.tiles.iter().zip(&self.tiles))
            .filter_map(|(var, state)| state.map(|s| format!("{} {}", var.name, s.ordinal)))
            .collect();
        let t = self.get(v)?;
        let show = |l: Literal| match l.dtype.class() {
            crate::dtype::Class::Bool => l.is_true().to_string(),
            crate::dtype::Class::Signed => l.to_i64().to_string(),
            crate::dtype::Class::Unsigned => l.bits.to_string(),
            crate::dtype::Class::Float | crate::dtype::Class::Storage => format!("{:?}", l.to_f64()),
        };
        let mut words: Vec<String> = t.elements().take(SHOWN).map(show).collect();
        if t.data.len() > SHOWN {
            words.push("…".to_owned());
        }
        let shape = if t.dims.is_empty() { String::new() } else { format!(" {:?}", &t.dims[..]) };
        let line = format!("{label} ({}): {}{shape} {}", place.join(", "), t.dtype, words.join(" "));
        (self.print)(line);
        Ok(())
    }
}

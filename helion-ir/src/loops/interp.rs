//! The reference interpreter of loop IR: the meaning of the module head, executed.
//!
//! In: a function and its arguments. Out: the arguments with their tensors written, or what went wrong.
//! Then: every access was inside its tensor or buffer, nothing undefined was read, every extent was within its
//! bound, and no two points of a nest and no two program instances depended on each other's order. Program
//! instances run one after another.

mod memory;
mod nest;

use super::types::*;
use crate::args::{Arg, Args as LaunchArgs};
use crate::dtype::{DType, Literal};
use crate::text::write;
use crate::{diag, eval, philox};
use memory::{Cell, Memory};
use smallvec::SmallVec;

/// Result of a step.
type Done = Result<(), String>;

/// A launch that would run more instructions than this is stopped by [`run`].
const UNLIMITED: u64 = u64::MAX;

/// Runs the whole grid. What `print` instructions print goes to standard error.
///
/// # Errors
/// Why the function is not valid, why the arguments do not fit, or the first access that is wrong.
pub fn run(func: &Function, args: &mut LaunchArgs) -> Result<(), String> {
    run_with(func, args, UNLIMITED, &mut |line| eprintln!("{line}"))
}

/// Like [`run`], but stops with an error after about `steps` instructions, and hands printed lines to `print`.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    func: &Function,
    args: &mut LaunchArgs,
    steps: u64,
    print: &mut dyn FnMut(String),
) -> Result<(), String> {
    super::verify(func).map_err(|e| diag::render(&e))?;
    args.check(&func.params, &func.symbols)?;
    let scalar = |a: &Arg| match a {
        Arg::Scalar(l) => l.bits,
        Arg::Tensor(_) => 0,
    };
    let scalars = args.params.iter().map(scalar).collect();
    let mut m = Machine {
        func,
        memory: Memory::new(func, args)?,
        vals: vec![0; func.values.len()],
        dtypes: func.values.iter().map(|v| v.dtype).collect(),
        scalars,
        steps,
        print,
        point: 0,
        points: 0,
        nest_start: 0,
    };
    m.grid()
}

/// What [`run_with`] says when it stops.
const LIMIT: &str = "the limit of instructions is reached";

/// The state of a launch.
struct Machine<'a> {
    func: &'a Function,
    memory: Memory<'a>,
    /// The bits of every value.
    vals: Vec<u64>,
    dtypes: Vec<DType>,
    /// The bits of every scalar parameter.
    scalars: Vec<u64>,
    /// How many more instructions may run.
    steps: u64,
    print: &'a mut dyn FnMut(String),
    /// The parallel point being run, 0 outside nests.
    point: u32,
    /// How many parallel points have been run.
    points: u32,
    /// The first point of the nest being run.
    nest_start: u32,
}

impl Machine<'_> {
    fn grid(&mut self) -> Done {
        let func = self.func;
        for inst in &func.header {
            self.inst(inst)?;
        }
        let counts: Vec<u64> = func.grid.iter().map(|a| self.count(a.count)).collect();
        let programs = counts.iter().try_fold(1u64, |n, c| n.checked_mul(*c));
        let programs = programs.filter(|n| *n < u64::from(u32::MAX)).ok_or("the grid is too large to interpret")?;
        self.memory.allocate(&|v| self.vals[v.index()] as i64)?;
        self.steps = self.steps.checked_sub(self.memory.elements()).ok_or(LIMIT)?;
        for p in 0..programs {
            let mut rest = p;
            for (axis, count) in func.grid.iter().zip(&counts).rev() {
                self.vals[axis.index.index()] = rest % count;
                rest /= count;
            }
            self.memory.begin(p as u32 + 1);
            self.block(&func.body).map_err(|e| format!("{e} (program instance {p} of {programs})"))?;
        }
        Ok(())
    }

    /// An `i64`.
    #[inline]
    fn int(&self, v: Val) -> i64 {
        self.vals[v.index()] as i64
    }

    /// An `i64` count; not positive means none.
    fn count(&self, v: Val) -> u64 {
        self.int(v).max(0) as u64
    }

    #[inline]
    fn bits(&self, v: Val) -> u64 {
        self.vals[v.index()]
    }

    #[inline]
    fn lit(&self, v: Val) -> Literal {
        Literal { dtype: self.dtypes[v.index()], bits: self.vals[v.index()] }
    }

    #[inline]
    fn spend(&mut self) -> Done {
        self.steps = self.steps.checked_sub(1).ok_or(LIMIT)?;
        Ok(())
    }

    fn block(&mut self, stmts: &[Stmt]) -> Done {
        stmts.iter().try_for_each(|s| self.stmt(s))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Done {
        match stmt {
            Stmt::Inst(i) => self.inst(i),
            Stmt::For { var, begin, end, step, body } => {
                let (mut i, end, step) = (self.int(*begin), self.int(*end), self.int(*step));
                if step <= 0 {
                    return Err(format!("the loop over {} has step {step}", self.show(*var)));
                }
                while i < end {
                    self.spend()?;
                    self.vals[var.index()] = i as u64;
                    self.block(body)?;
                    let Some(next) = i.checked_add(step) else { break };
                    i = next;
                }
                Ok(())
            }
            Stmt::While { cond, test, body } => loop {
                self.spend()?;
                self.block(cond)?;
                if self.bits(*test) == 0 {
                    return Ok(());
                }
                self.block(body)?;
            },
            Stmt::If { cond, then, other } => self.block(if self.bits(*cond) != 0 { then } else { other }),
            Stmt::Nest(n) => self.nest(n),
            Stmt::Contract(c) => self.contract(c),
        }
    }

    /// A value as printed.
    fn show(&self, v: Val) -> String {
        let name = self.func.values.get(v.index()).and_then(|x| x.name.as_deref());
        write::text(|f| write::value(f, v.0, name))
    }

    /// The indices of an access.
    fn index(&self, args: &[Val]) -> SmallVec<[i64; 6]> {
        let mut out = SmallVec::new();
        for v in args {
            out.push(self.vals[v.index()] as i64);
        }
        out
    }

    /// What an access was, for messages.
    fn blame(&self, inst: &Inst, index: &[i64], why: String) -> String {
        let numbers: Vec<String> = index.iter().map(i64::to_string).collect();
        let result = inst.result.map_or_else(String::new, |r| format!(" into {}", self.show(r)));
        let place = if inst.at.is_known() { format!(" at {}", inst.at) } else { String::new() };
        let (word, mem) = match &inst.op {
            Op::Load { mem, .. } => ("load", *mem),
            Op::Store { mem, .. } => ("store", *mem),
            Op::Atomic { mem, .. } => ("atomic", *mem),
            Op::Const(_)
            | Op::Size(_)
            | Op::Dim(..)
            | Op::Scalar(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Fma
            | Op::Select
            | Op::Cast(_)
            | Op::Bitcast(_)
            | Op::Random { .. }
            | Op::Print { .. } => return why,
        };
        format!("{word} {}[{}]{result}{place}: {why}", self.memory.name(mem), numbers.join(", "))
    }

    fn inst(&mut self, inst: &Inst) -> Done {
        self.spend()?;
        let a = inst.args.as_slice();
        let bits = match &inst.op {
            Op::Const(l) => l.bits,
            Op::Size(s) => self.memory.args.symbols[s.index()],
            Op::Dim(p, axis) => self.memory.extent(*p, *axis),
            Op::Scalar(p) => self.scalars[p.index()],
            Op::Unary(u) => eval::unary(*u, self.lit(a[0])).bits,
            Op::Binary(b) => eval::binary(*b, self.lit(a[0]), self.lit(a[1])).bits,
            Op::Fma => eval::fma(self.lit(a[0]), self.lit(a[1]), self.lit(a[2])).bits,
            Op::Select => self.bits(if self.bits(a[0]) != 0 { a[1] } else { a[2] }),
            Op::Cast(d) => eval::cast(self.lit(a[0]), *d).bits,
            Op::Bitcast(d) => eval::bitcast(self.lit(a[0]), *d).bits,
            Op::Random { word } => u64::from(philox::word(self.bits(a[0]), self.bits(a[1]), *word)),
            Op::Print { label } => return self.print(label, a),
            Op::Load { mem, masked } => self.load(inst, *mem, *masked)?,
            Op::Store { mem, masked } => return self.store(inst, *mem, *masked),
            Op::Atomic { op, mem, masked } => self.atomic(inst, *op, *mem, *masked)?,
        };
        if let Some(r) = inst.result {
            self.vals[r.index()] = bits;
        }
        Ok(())
    }

    fn print(&mut self, label: &str, args: &[Val]) -> Done {
        let at: Vec<String> = args[1..].iter().map(|v| self.int(*v).to_string()).collect();
        let value = write::text(|f| write::literal(f, self.lit(args[0])));
        let at = if at.is_empty() { String::new() } else { format!(" [{}]", at.join(", ")) };
        (self.print)(format!("{label}{at} = {value}"));
        Ok(())
    }

    fn load(&mut self, inst: &Inst, mem: Mem, masked: bool) -> Result<u64, String> {
        let n = inst.args.len() - if masked { 2 } else { 0 };
        if masked && self.bits(inst.args[n]) == 0 {
            return Ok(self.bits(inst.args[n + 1]));
        }
        let index = self.index(&inst.args[..n]);
        let (point, start) = (self.point, self.nest_start);
        let read = self.memory.locate(mem, &index).and_then(|at| {
            self.memory.cell(mem, at).map_or(Ok(()), |mut c| c.read(point, start))?;
            self.memory.get(mem, at)
        });
        read.map_err(|why| self.blame(inst, &index, why))
    }

    fn store(&mut self, inst: &Inst, mem: Mem, masked: bool) -> Done {
        let n = inst.args.len() - usize::from(masked);
        if masked && self.bits(inst.args[n]) == 0 {
            return Ok(());
        }
        let index = self.index(&inst.args[1..n]);
        let value = self.lit(inst.args[0]);
        let (point, start) = (self.point, self.nest_start);
        let written = self.memory.locate(mem, &index).and_then(|at| {
            let same = self.memory.holds(mem, at, value.bits);
            self.memory.cell(mem, at).map_or(Ok(()), |mut c| c.write(point, start, same))?;
            self.memory.set(mem, at, value)
        });
        written.map_err(|why| self.blame(inst, &index, why))
    }

    fn atomic(&mut self, inst: &Inst, op: AtomicOp, mem: Mem, masked: bool) -> Result<u64, String> {
        let n = inst.args.len() - usize::from(masked);
        if masked && self.bits(inst.args[n]) == 0 {
            return Ok(0);
        }
        let index = self.index(&inst.args[op.operands()..n]);
        let value = self.lit(inst.args[0]);
        let at = self.memory.locate(mem, &index).map_err(|why| self.blame(inst, &index, why))?;
        let old = self.memory.get(mem, at).map_err(|why| self.blame(inst, &index, why))?;
        let old_lit = Literal { dtype: value.dtype, bits: old };
        let new = match op {
            AtomicOp::Add => eval::binary(crate::BinaryOp::Add, old_lit, value),
            AtomicOp::Max => eval::binary(crate::BinaryOp::Max, old_lit, value),
            AtomicOp::Min => eval::binary(crate::BinaryOp::Min, old_lit, value),
            AtomicOp::Exchange => value,
            AtomicOp::CompareSwap if self.bits(inst.args[1]) == old => value,
            AtomicOp::CompareSwap => old_lit,
        };
        self.memory.set(mem, at, new).map_err(|why| self.blame(inst, &index, why))?;
        Ok(old)
    }
}

impl Cell<'_> {
    /// Notes a read; an error where its order relative to another point or instance is not defined.
    fn read(&mut self, point: u32, start: u32) -> Done {
        let s = &mut *self.shadow;
        if self.shared && s.writer != 0 && s.writer != self.program {
            return Err(format!("program instance {} wrote this element", s.writer - 1));
        }
        if point != 0 && s.write_point >= start && s.write_point != point && s.writer == self.program {
            return Err("another point of this nest stored this element".to_owned());
        }
        if s.reader != self.program || s.read_point < start {
            s.read_first = point;
        }
        s.read_point = point;
        s.reader = if s.reader == 0 || s.reader == self.program || !self.shared { self.program } else { memory::MANY };
        Ok(())
    }

    /// Notes a write; an error where its order relative to another point or instance is not defined.
    fn write(&mut self, point: u32, start: u32, same: bool) -> Done {
        let s = &mut *self.shadow;
        if self.shared && s.writer != 0 && s.writer != self.program {
            return Err(format!("program instance {} wrote this element too", s.writer - 1));
        }
        if self.shared && s.reader != 0 && s.reader != self.program {
            return Err("another program instance read this element".to_owned());
        }
        let read_elsewhere = s.read_first != point || s.read_point != point;
        if point != 0 && s.reader == self.program && s.read_point >= start && read_elsewhere {
            return Err("another point of this nest loaded this element".to_owned());
        }
        if point != 0 && !same && s.writer == self.program && s.write_point >= start && s.write_point != point {
            return Err("another point of this nest stored another value to this element".to_owned());
        }
        (s.writer, s.write_point) = (self.program, point);
        Ok(())
    }
}

//! Text of vector programs, for dumps and messages.
//!
//! Comes in: any program, legal or not. Goes out: one line per slot, carry and instruction.

use std::fmt;

use super::ir::{Addr, Cmp, Fold, Inst, Op, Program, Rounding, Slot, SlotId, Trip, Ty, V, Walk};

impl fmt::Display for V {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

macro_rules! names {
    ($($ty:ident { $($variant:ident $name:literal)* })*) => {
        $(impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($ty::$variant => $name,)* })
            }
        })*
    };
}

names! {
    Ty { F32 "f32" F64 "f64" I32 "i32" I64 "i64" Mask "mask" }
    Cmp { Eq "eq" Ne "ne" Lt "lt" Le "le" Unordered "unordered" LtU "lt_u" }
    Fold { Add "add" Mul "mul" Max "max" Min "min" Or "or" And "and" }
    Rounding { Nearest "nearest" Down "down" Up "up" Zero "zero" }
    Trip { Elements "elements" Count "count" }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Pointer => f.write_str("pointer"),
            Slot::Stride => f.write_str("stride"),
            Slot::Scalar(ty) => write!(f, "scalar {ty}"),
            Slot::Result(ty) => write!(f, "result {ty}"),
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.pointer)?;
        if let Some((row, stride)) = self.row {
            write!(f, " + {row}*{stride}")?;
        }
        if self.vectors != 0 {
            write!(f, " + {} vectors", self.vectors)?;
        }
        if self.offset != 0 {
            write!(f, " + {}", self.offset)?;
        }
        match self.walk {
            Walk::Fixed => write!(f, ", fixed]"),
            Walk::Unit => write!(f, ", unit]"),
            Walk::Bytes { advance, splat: true } => write!(f, ", splat by {advance}]"),
            Walk::Bytes { advance, splat: false } => write!(f, ", by {advance}]"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Const(l) => match Ty::of_literal(l.dtype) {
                Some(Ty::F32) => write!(f, "const f32 {:?}", f32::from_bits(l.bits as u32)),
                Some(Ty::F64) => write!(f, "const f64 {:?}", f64::from_bits(l.bits)),
                Some(Ty::I32) => write!(f, "const i32 {}", l.bits as i32),
                Some(Ty::I64) => write!(f, "const i64 {}", l.bits as i64),
                Some(Ty::Mask) => write!(f, "const mask {}", l.is_true()),
                None => write!(f, "const {} {:#x}", l.dtype, l.bits),
            },
            Op::Splat(s) => write!(f, "splat {s}"),
            Op::Index => f.write_str("index"),
            Op::Tail => f.write_str("tail"),
            Op::Load(a, d) => write!(f, "load {d} {a}"),
            Op::LoadMasked(a, d) => write!(f, "load_masked {d} {a}"),
            Op::Store(a, d) => write!(f, "store {d} {a}"),
            Op::StoreMasked(a, d) => write!(f, "store_masked {d} {a}"),
            Op::StoreStream(a, d) => write!(f, "store_stream {d} {a}"),
            Op::Prefetch(a, d) => write!(f, "prefetch {d} {a}"),
            Op::Add => f.write_str("add"),
            Op::Sub => f.write_str("sub"),
            Op::Mul => f.write_str("mul"),
            Op::Div => f.write_str("div"),
            Op::Min => f.write_str("min"),
            Op::Max => f.write_str("max"),
            Op::Fma => f.write_str("fma"),
            Op::Fnma => f.write_str("fnma"),
            Op::Scale => f.write_str("scale"),
            Op::Dots(packed) => write!(f, "dots {packed:?}"),
            Op::Sqrt => f.write_str("sqrt"),
            Op::Round(mode) => write!(f, "round {mode}"),
            Op::And => f.write_str("and"),
            Op::Or => f.write_str("or"),
            Op::Xor => f.write_str("xor"),
            Op::Shl(by) => write!(f, "shl {by}"),
            Op::ShrU(by) => write!(f, "shr_u {by}"),
            Op::ShrS(by) => write!(f, "shr_s {by}"),
            Op::Compare(cmp) => write!(f, "compare {cmp}"),
            Op::Select => f.write_str("select"),
            Op::Convert(ty) => write!(f, "convert {ty}"),
            Op::Bitcast(ty) => write!(f, "bitcast {ty}"),
            Op::ReduceTo(fold, slot) => write!(f, "reduce {fold} {slot}"),
        }
    }
}

impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(r) = self.result {
            write!(f, "{r} = ")?;
        }
        write!(f, "{}", self.op)?;
        for (at, arg) in self.args.iter().enumerate() {
            write!(f, "{}{arg}", if at == 0 { " " } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "vector {} ({}, unroll {})", self.name, self.trip, self.unroll)?;
        for (at, slot) in self.slots.iter().enumerate() {
            writeln!(f, "  s{at}: {slot}")?;
        }
        for (name, part) in [("before", &self.before), ("body", &self.body), ("after", &self.after)] {
            writeln!(f, "{name}:")?;
            if name == "body" {
                for c in &self.carries {
                    write!(
                        f,
                        "  {}: {} = carry from {} to {} as {}",
                        c.param,
                        self.ty(c.param),
                        c.init,
                        c.next,
                        c.result
                    )?;
                    match c.fold {
                        Some(fold) => writeln!(f, " by {fold}")?,
                        None => writeln!(f)?,
                    }
                }
            }
            for inst in part {
                match inst.result {
                    Some(r) => writeln!(f, "  {inst}  : {}", self.ty(r))?,
                    None => writeln!(f, "  {inst}")?,
                }
            }
        }
        Ok(())
    }
}

//! Instructions from words to steps.
//!
//! Each group of instructions has a file. A group takes the modifiers that it understands out of [`Mods`]; what is left
//! at the end is an error, so no modifier is ignored by mistake.

mod asynchronous;
mod bits;
mod compare;
mod control;
mod convert;
mod float;
mod integer;
pub(super) mod matrix;
mod memory;
mod mov;
mod warp;

use super::build::Builder;
use super::inst::{Order, Src};
use crate::syntax::Read;
use crate::syntax::ast::{Operand, Raw, Space, Ty};

/// Translates one instruction.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, raw: &Raw<'a>) -> Read<()> {
    let mut m = Mods::new(raw);
    let known = mov::decode(b, &mut m)?
        || integer::decode(b, &mut m)?
        || float::decode(b, &mut m)?
        || bits::decode(b, &mut m)?
        || compare::decode(b, &mut m)?
        || convert::decode(b, &mut m)?
        || memory::decode(b, &mut m)?
        || asynchronous::decode(b, &mut m)?
        || matrix::decode(b, &mut m)?
        || control::decode(b, &mut m)?
        || warp::decode(b, &mut m)?;
    if !known {
        return b.error(format!("the instruction `{}` is not supported", m.full_name()));
    }
    m.finish(b)
}

/// An instruction whose modifiers are taken one by one.
pub(super) struct Mods<'r, 'a> {
    pub raw: &'r Raw<'a>,
    used: Vec<bool>,
}

impl<'r, 'a> Mods<'r, 'a> {
    fn new(raw: &'r Raw<'a>) -> Self {
        Mods { raw, used: vec![false; raw.modifiers.len()] }
    }

    fn full_name(&self) -> String {
        let mut name = self.raw.opcode.to_string();
        for m in &self.raw.modifiers {
            name.push('.');
            name.push_str(m);
        }
        name
    }

    /// The words that are not taken yet.
    fn rest(&self) -> impl Iterator<Item = (usize, &'a str)> + '_ {
        self.raw.modifiers.iter().enumerate().filter(|(i, _)| !self.used[*i]).map(|(i, w)| (i, *w))
    }

    /// Takes a modifier if it is there.
    pub fn take(&mut self, word: &str) -> bool {
        self.find(|w| (w == word).then_some(())).is_some()
    }

    /// Takes all of some modifiers that change nothing here.
    pub fn ignore(&mut self, words: &[&str]) {
        for (i, w) in self.raw.modifiers.iter().enumerate() {
            self.used[i] |= words.contains(w);
        }
    }

    /// Takes the first modifier that means something.
    pub fn find<T>(&mut self, meaning: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (i, found) = self.rest().find_map(|(i, w)| meaning(w).map(|t| (i, t)))?;
        self.used[i] = true;
        Some(found)
    }

    pub fn maybe_ty(&mut self) -> Option<Ty> {
        self.find(Ty::named)
    }

    /// Takes the next type.
    pub fn ty(&mut self, b: &Builder<'_, 'a>) -> Read<Ty> {
        match self.maybe_ty() {
            Some(ty) => Ok(ty),
            None => b.error(format!("`{}` needs a type", self.full_name())),
        }
    }

    /// Takes the state space; generic where none is named.
    pub fn space(&mut self) -> Space {
        self.find(Space::named).unwrap_or(Space::Generic)
    }

    /// Takes the words about the order and scope of an access.
    pub fn order(&mut self) -> Order {
        self.ignore(&["cta", "cluster", "gpu", "sys"]);
        self.find(|w| {
            Some(match w {
                "weak" => Order::Weak,
                "volatile" | "relaxed" | "mmio" => Order::Relaxed,
                "acquire" => Order::Acquire,
                "release" => Order::Release,
                "acq_rel" | "sc" => Order::AcqRel,
                _ => return None,
            })
        })
        .unwrap_or(Order::Weak)
    }

    /// The operands, of which there must be as many as the pattern has.
    pub fn operands<const N: usize>(&self, b: &Builder<'_, 'a>) -> Read<&'r [Operand<'a>; N]> {
        match self.raw.operands.as_slice().try_into() {
            Ok(operands) => Ok(operands),
            Err(_) => b.error(format!("`{}` takes {N} operands, found {}", self.full_name(), self.raw.operands.len())),
        }
    }

    /// A message about a type that an instruction does not have.
    pub fn bad_type<T>(&self, b: &Builder<'_, 'a>, ty: Ty) -> Read<T> {
        b.error(format!("`{}`: the type {ty} is not supported here", self.full_name()))
    }

    fn finish(&self, b: &Builder<'_, 'a>) -> Read<()> {
        match self.rest().next() {
            None => Ok(()),
            Some((_, word)) => b.error(format!("`{}`: the modifier .{word} is not supported here", self.full_name())),
        }
    }
}

/// Reads all operands after the first as values of one type.
pub(super) fn sources<'a>(b: &mut Builder<'_, 'a>, operands: &[Operand<'a>], ty: Ty) -> Read<Vec<Src>> {
    operands.iter().map(|o| b.src(o, ty)).collect()
}

/// Picks a lane function by an integer type: `for_int!(b, m, ty, T => lanes!(…))`. Untyped bits are unsigned.
macro_rules! for_int {
    ($b:expr, $m:expr, $ty:expr, $t:ident => $e:expr) => {
        match $ty {
            Ty::U8 | Ty::B8 => {
                type $t = u8;
                $e
            }
            Ty::U16 | Ty::B16 => {
                type $t = u16;
                $e
            }
            Ty::U32 | Ty::B32 => {
                type $t = u32;
                $e
            }
            Ty::U64 | Ty::B64 => {
                type $t = u64;
                $e
            }
            Ty::S8 => {
                type $t = i8;
                $e
            }
            Ty::S16 => {
                type $t = i16;
                $e
            }
            Ty::S32 => {
                type $t = i32;
                $e
            }
            Ty::S64 => {
                type $t = i64;
                $e
            }
            other => return $m.bad_type($b, other),
        }
    };
}
pub(super) use for_int;

/// Picks a lane function by the width of untyped bits.
macro_rules! for_bits {
    ($b:expr, $m:expr, $ty:expr, $t:ident => $e:expr) => {
        match $ty.bits() {
            16 => {
                type $t = u16;
                $e
            }
            32 => {
                type $t = u32;
                $e
            }
            64 => {
                type $t = u64;
                $e
            }
            _ => return $m.bad_type($b, $ty),
        }
    };
}
pub(super) use for_bits;

/// The families of floats that share formulas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Float {
    F32,
    F32Ftz,
    F64,
    F16,
    Bf16,
    F16x2,
    Bf16x2,
}

impl Float {
    /// The family of a type; None if it is no float.
    pub fn of(ty: Ty, ftz: bool) -> Option<Float> {
        Some(match ty {
            Ty::F32 if ftz => Float::F32Ftz,
            Ty::F32 => Float::F32,
            Ty::F64 => Float::F64,
            Ty::F16 => Float::F16,
            Ty::Bf16 => Float::Bf16,
            Ty::F16x2 => Float::F16x2,
            Ty::Bf16x2 => Float::Bf16x2,
            _ => return None,
        })
    }
}

/// Picks a lane function by the family of floats: `for_float!(kind, |a, b| a + b)`.
macro_rules! for_float {
    ($kind:expr, |$($x:ident),+| $e:expr) => {{
        use $crate::program::lanes::{F16, Bf16, F32, F32Ftz, F64, lanes, packed};
        match $kind {
            $crate::program::decode::Float::F32 => lanes!(|$($x: F32),+| -> F32 { $e }),
            $crate::program::decode::Float::F32Ftz => lanes!(|$($x: F32Ftz),+| -> F32Ftz { $e }),
            $crate::program::decode::Float::F64 => lanes!(|$($x: F64),+| -> F64 { $e }),
            $crate::program::decode::Float::F16 => lanes!(|$($x: F16),+| -> F16 { $e }),
            $crate::program::decode::Float::Bf16 => lanes!(|$($x: Bf16),+| -> Bf16 { $e }),
            $crate::program::decode::Float::F16x2 => packed!(|$($x),+| F16 { $e }),
            $crate::program::decode::Float::Bf16x2 => packed!(|$($x),+| Bf16 { $e }),
        }
    }};
}
pub(super) use for_float;

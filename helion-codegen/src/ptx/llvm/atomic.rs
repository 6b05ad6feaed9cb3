//! Atomic operations on one element in memory.
//!
//! In: an operation, an address, a value. Out: what the element was before, zero where the mask is false. Order is
//! relaxed, among all threads of the device. Where the device has an instruction it is used, else a loop that computes the
//! new value and swaps it in if the element is still what it was; elements of 8 bits are swapped within their 32-bit word.
//! Additions of `f32` in global memory take denormals for zeros, as the device's instruction does.

use super::Arch;
use super::emit::{Done, Emit, I, P, Space, V, mistake};
use super::memory::class;
use helion_ir::BinaryOp;
use helion_ir::dtype::{Class, DType};
use helion_ir::tile::AtomicOp;
use inkwell::IntPredicate;

/// The device's instruction, without order and space; `None` where a loop has to do.
fn instruction(op: AtomicOp, d: DType, arch: Arch) -> Option<String> {
    let bits = 8 * d.size();
    let wide = bits >= 32;
    match (op, d) {
        (AtomicOp::Exchange, _) if wide => Some(format!("exch.b{bits}")),
        (AtomicOp::CompareSwap, _) if bits >= 16 => Some(format!("cas.b{bits}")),
        (AtomicOp::Add, DType::F16) => Some("add.noftz.f16".to_owned()),
        (AtomicOp::Add, DType::BF16) if arch == Arch::Sm90a => Some("add.noftz.bf16".to_owned()),
        (AtomicOp::Add, DType::F32 | DType::F64) => Some(format!("add.f{bits}")),
        // The sum of integers is the same with and without sign; there is none of 64 bits with.
        (AtomicOp::Add, _) if d.is_int() && wide => Some(format!("add.u{bits}")),
        (AtomicOp::Min | AtomicOp::Max, _) if d.is_int() && wide => {
            let sign = if matches!(d.class(), Class::Signed) { 's' } else { 'u' };
            Some(format!("{}.{sign}{bits}", if op == AtomicOp::Min { "min" } else { "max" }))
        }
        (AtomicOp::Add | AtomicOp::Min | AtomicOp::Max | AtomicOp::Exchange | AtomicOp::CompareSwap, _) => None,
    }
}

/// A word of memory and an element in it.
struct Word<'c> {
    space: Space,
    address: V<'c>,
    letter: &'static str,
    bits: u32,
    /// By how many bits the element is shifted, if it is not the word.
    shift: Option<I<'c>>,
}

impl<'c> Emit<'c> {
    /// Applies an operation to the element at an address. `expected` is what a compare-and-swap compares with.
    #[expect(clippy::too_many_arguments, reason = "an atomic instruction has that many operands")]
    pub(super) fn atomic(
        &self,
        op: AtomicOp,
        d: DType,
        space: Space,
        p: P<'c>,
        value: V<'c>,
        expected: Option<V<'c>>,
        mask: Option<I<'c>>,
    ) -> Done<V<'c>> {
        if matches!(op, AtomicOp::CompareSwap) != expected.is_some() {
            return mistake("an atomic operation with the wrong number of operands");
        }
        match instruction(op, d, self.arch) {
            Some(name) => {
                let (address, letter) = self.address(space, p)?;
                let word = Word { space, address, letter, bits: 8 * d.size() as u32, shift: None };
                let whole = self.int_type(word.bits).into();
                let mut operands = Vec::with_capacity(2);
                for v in expected.into_iter().chain([value]) {
                    operands.push(self.bits_to(v, whole)?);
                }
                let old = self.atom(&name, &word, &operands, mask)?;
                self.bits_to(old, self.register_type(d))
            }
            None => self.atomic_loop(op, d, space, p, value, expected, mask),
        }
    }

    /// One atomic instruction; zero where the mask is false.
    fn atom(&self, name: &str, word: &Word<'c>, operands: &[V<'c>], mask: Option<I<'c>>) -> Done<V<'c>> {
        let list: String = (0..operands.len()).map(|n| format!(", ${}", n + 2)).collect();
        let (start, predicate) = match mask {
            Some(_) => (format!("mov.b{} $0, 0; ", word.bits), format!("@${} ", operands.len() + 2)),
            None => (String::new(), String::new()),
        };
        let line = format!("{start}{predicate}atom.relaxed.gpu{}.{name} $0, [$1]{list};", word.space.suffix());
        let register = class(word.bits);
        let mut constraints = format!("=&{register},{}", word.letter);
        let mut args = vec![word.address];
        for v in operands {
            constraints += &format!(",{register}");
            args.push(*v);
        }
        if let Some(mask) = mask {
            constraints += ",b";
            args.push(mask.into());
        }
        constraints += ",~{memory}";
        match self.asm(Some(self.int_type(word.bits).into()), &line, &constraints, &args, true)? {
            Some(old) => Ok(old),
            None => mistake("an atomic operation without result"),
        }
    }

    /// The word that an element is in.
    fn word_of(&self, d: DType, space: Space, p: P<'c>) -> Done<Word<'c>> {
        let (address, letter) = self.address(space, p)?;
        let bits = 8 * d.size() as u32;
        if bits > 8 {
            return Ok(Word { space, address, letter, bits, shift: None });
        }
        let at = address.into_int_value();
        let low = self.to_i32(self.and(at, at.get_type().const_int(3, false))?)?;
        let start = self.and(at, at.get_type().const_int(!3, true))?;
        Ok(Word { space, address: start.into(), letter, bits: 32, shift: Some(self.shl(low, 3)?) })
    }

    #[expect(clippy::too_many_arguments, reason = "those of an atomic instruction")]
    fn atomic_loop(
        &self,
        op: AtomicOp,
        d: DType,
        space: Space,
        p: P<'c>,
        value: V<'c>,
        expected: Option<V<'c>>,
        mask: Option<I<'c>>,
    ) -> Done<V<'c>> {
        let word = self.word_of(d, space, p)?;
        let (before, first, again, swap, end) =
            (self.here()?, self.block_here()?, self.block_here()?, self.block_here()?, self.block_here()?);
        match mask {
            Some(mask) => self.branch(mask, first, end)?,
            None => self.jump(first)?,
        }
        self.at(first);
        let line = format!("ld.relaxed.gpu{}.b{} $0, [$1];", space.suffix(), word.bits);
        let constraints = format!("=&{},{},~{{memory}}", class(word.bits), word.letter);
        let whole = self.int_type(word.bits);
        let Some(start) = self.asm(Some(whole.into()), &line, &constraints, &[word.address], true)? else {
            return mistake("a load without result");
        };
        self.jump(again)?;

        self.at(again);
        let seen = self.builder.build_phi(whole, "")?;
        let was = seen.as_basic_value().into_int_value();
        let old = self.element(&word, was, d)?;
        let new = self.combined(op, d, old, value, expected)?;
        let new = self.with_element(&word, was, new, d)?;
        // Nothing to write: reading was all.
        let same = self.compare(IntPredicate::EQ, new, was)?;
        let computed = self.here()?;
        self.branch(same, end, swap)?;

        self.at(swap);
        let got = self.atom(&format!("cas.b{}", word.bits), &word, &[was.into(), new.into()], None)?;
        let done = self.compare(IntPredicate::EQ, got.into_int_value(), was)?;
        self.branch(done, end, again)?;
        seen.add_incoming(&[(&start, first), (&got, swap)]);

        self.at(end);
        let result = self.builder.build_phi(self.register_type(d), "")?;
        result.add_incoming(&[(&old, computed), (&old, swap)]);
        if mask.is_some() {
            result.add_incoming(&[(&self.register_type(d).const_zero(), before)]);
        }
        Ok(result.as_basic_value())
    }

    /// What the element becomes.
    fn combined(&self, op: AtomicOp, d: DType, old: V<'c>, value: V<'c>, expected: Option<V<'c>>) -> Done<V<'c>> {
        match (op, expected) {
            (AtomicOp::Add, _) => self.binary(BinaryOp::Add, d, old, value),
            (AtomicOp::Min, _) => self.binary(BinaryOp::Min, d, old, value),
            (AtomicOp::Max, _) => self.binary(BinaryOp::Max, d, old, value),
            (AtomicOp::Exchange | AtomicOp::CompareSwap, None) => Ok(value),
            (AtomicOp::Exchange | AtomicOp::CompareSwap, Some(expected)) => {
                let bits = self.int_type(if d == DType::Bool { 1 } else { 8 * d.size() as u32 });
                let of = |v: V<'c>| -> Done<I<'c>> { Ok(self.bits_to(v, bits.into())?.into_int_value()) };
                let equal = self.compare(IntPredicate::EQ, of(old)?, of(expected)?)?;
                self.select(equal, value, old)
            }
        }
    }

    /// The element in a word.
    fn element(&self, word: &Word<'c>, bits: I<'c>, d: DType) -> Done<V<'c>> {
        let Some(shift) = word.shift else { return self.bits_to(bits.into(), self.register_type(d)) };
        let low = self.builder.build_right_shift(bits, shift, false, "")?;
        let byte = self.builder.build_int_truncate(low, self.context.i8_type(), "")?;
        self.bitcast(byte.into(), DType::U8, d)
    }

    /// A word with another element in it.
    fn with_element(&self, word: &Word<'c>, bits: I<'c>, v: V<'c>, d: DType) -> Done<I<'c>> {
        let Some(shift) = word.shift else {
            return Ok(self.bits_to(v, bits.get_type().into())?.into_int_value());
        };
        let byte = self.to_i32(self.bitcast(v, d, DType::U8)?.into_int_value())?;
        let hole = self.not(self.builder.build_left_shift(self.i32(0xff), shift, "")?)?;
        self.or(self.and(bits, hole)?, self.builder.build_left_shift(byte, shift, "")?)
    }
}

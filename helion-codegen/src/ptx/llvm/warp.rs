//! The threads of a warp: who they are, and values that they hand to each other.
//!
//! All 32 threads of a warp take part in every exchange.

use super::emit::{Done, Emit, I, V, mistake};
use helion_ir::dtype::DType;

impl<'c> Emit<'c> {
    /// The thread's place in its warp.
    pub(super) fn lane(&self) -> Done<I<'c>> {
        self.and(self.special("tid.x")?, self.i32(31))
    }

    /// The warp's place in its block, in a form that is known to be the same in all its threads.
    pub(super) fn warp(&self) -> Done<I<'c>> {
        let own = self.shr(self.special("tid.x")?, 5)?;
        self.shuffle("idx", own, self.i32(0))
    }

    /// The value of the thread whose lane differs in these bits.
    pub(super) fn shuffle_xor(&self, v: V<'c>, d: DType, lanes: u32) -> Done<V<'c>> {
        self.exchange(v, d, &|word| self.shuffle("bfly", word, self.i32(i64::from(lanes))))
    }

    /// The value of the thread of a lane.
    #[cfg(test)]
    pub(super) fn shuffle_from(&self, v: V<'c>, d: DType, lane: I<'c>) -> Done<V<'c>> {
        self.exchange(v, d, &|word| self.shuffle("idx", word, lane))
    }

    fn shuffle(&self, how: &str, word: I<'c>, lane: I<'c>) -> Done<I<'c>> {
        let args = [self.i32(-1).into(), word.into(), lane.into(), self.i32(31).into()];
        Ok(self.value_of(&format!("llvm.nvvm.shfl.sync.{how}.i32"), &[], &args)?.into_int_value())
    }

    /// A value moved word by word.
    fn exchange(&self, v: V<'c>, d: DType, word: &dyn Fn(I<'c>) -> Done<I<'c>>) -> Done<V<'c>> {
        let bits = self.int_type(if d == DType::Bool { 1 } else { 8 * d.size() as u32 });
        let i = self.bits_to(v, bits.into())?.into_int_value();
        let moved = match bits.get_bit_width() {
            64 => {
                let pair = self.context.i32_type().vec_type(2);
                let halves = self.bits_to(i.into(), pair.into())?;
                let mut out = pair.get_undef();
                for n in 0..2 {
                    let half = word(self.part(halves, n)?.into_int_value())?;
                    out = self.builder.build_insert_element(out, half, self.i32(i64::from(n)), "")?;
                }
                self.bits_to(out.into(), bits.into())?
            }
            32 => word(i)?.into(),
            _ => {
                let got = word(self.to_i32(i)?)?;
                self.builder.build_int_truncate(got, bits, "")?.into()
            }
        };
        match moved.get_type() == bits.into() {
            true => self.bits_to(moved, self.register_type(d)),
            false => mistake("an exchange that changed a type"),
        }
    }
}

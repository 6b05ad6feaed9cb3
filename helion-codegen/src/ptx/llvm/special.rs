//! Functions of `f32` on the device's unit for special functions.
//!
//! In: values. Out: quotients within 2 ulp; `exp` and `exp2`, within 3 ulp of the exact value (`scripts/gpu-suite` measures it); results below the smallest normal number are zero,
//! as everywhere on that unit. What other functions make of exponentials comes from `passes::math`.

use super::emit::{Done, Emit, V, mistake};

/// `1 / ln 2`, and `ln 2` as the sum of two.
const LOG2_E: f64 = std::f32::consts::LOG2_E as f64;
const LN_2: f64 = std::f32::consts::LN_2 as f64;
const LN_2_LOW: f64 = std::f64::consts::LN_2 - LN_2;
/// Below this `exp` is zero.
const LEAST: f64 = -88.0;
/// The largest exponent whose power of two is finite.
const MOST: f64 = 127.999_992_370_605_47;

impl<'c> Emit<'c> {
    /// `2^x`: one instruction.
    pub(super) fn exp2_f32(&self, x: V<'c>) -> Done<V<'c>> {
        self.value_of("llvm.nvvm.ex2.approx.ftz", &[x.get_type()], &[x])
    }

    /// A quotient within 2 ulp, whatever the operands, by the definition of `div.full` (PTX ISA).
    pub(super) fn quotient(&self, a: V<'c>, b: V<'c>) -> Done<V<'c>> {
        let made = self.asm(Some(a.get_type()), "div.full.f32 $0, $1, $2;", "=f,f,f", &[a, b], false)?;
        made.map_or_else(|| mistake("a quotient without a value"), Ok)
    }

    /// `e^x = 2^t (1 + c)` with `t` about `x / ln 2` and `c = x - t ln 2`, which makes up for the rounding of `t`. Where
    /// the power of two would be infinite, `t` stays finite and `c` takes the result there.
    pub(super) fn exp_f32(&self, x: V<'c>) -> Done<V<'c>> {
        let f32 = self.context.f32_type();
        let number = |v: f64| -> V<'c> { f32.const_float(v).into() };
        let x = self.value_of("llvm.maximum", &[f32.into()], &[x, number(LEAST)])?;
        let t = self.builder.build_float_mul(x.into_float_value(), f32.const_float(LOG2_E), "")?;
        let t = self.value_of("llvm.minimum", &[f32.into()], &[t.into(), number(MOST)])?;
        let power = self.exp2_f32(t)?;
        let fma = |a: V<'c>, b: V<'c>, c: V<'c>| self.value_of("llvm.fma", &[f32.into()], &[a, b, c]);
        let c = fma(t, number(-LN_2), x)?;
        let c = fma(t, number(-LN_2_LOW), c)?;
        fma(power, c, power)
    }
}

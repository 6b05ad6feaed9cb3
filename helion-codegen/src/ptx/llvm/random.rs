//! Random numbers: [`helion_ir::philox`] in instructions.

use super::emit::{Done, Emit, I};
use helion_ir::philox::{KEY_STEPS, MULTIPLIERS, ROUNDS};

impl<'c> Emit<'c> {
    /// One of the four words (counted modulo 4) that the generator gives for a 64-bit seed and counter.
    pub(super) fn random(&self, seed: I<'c>, counter: I<'c>, word: u8) -> Done<I<'c>> {
        let halves = |v: I<'c>| -> Done<[I<'c>; 2]> { Ok([self.to_i32(v)?, self.to_i32(self.shr(v, 32)?)?]) };
        let ([low, high], mut key) = (halves(counter)?, halves(seed)?);
        let mut c = [low, high, self.i32(0), self.i32(0)];
        for _ in 0..ROUNDS {
            let [high0, low0] = self.product_halves(MULTIPLIERS[0], c[0])?;
            let [high1, low1] = self.product_halves(MULTIPLIERS[1], c[2])?;
            c = [self.xor(self.xor(high1, c[1])?, key[0])?, low1, self.xor(self.xor(high0, c[3])?, key[1])?, low0];
            for (k, step) in key.iter_mut().zip(KEY_STEPS) {
                *k = self.add(*k, self.i32(i64::from(step)))?;
            }
        }
        Ok(c[usize::from(word % 4)])
    }

    /// The upper and the lower half of a product.
    fn product_halves(&self, a: u32, b: I<'c>) -> Done<[I<'c>; 2]> {
        let p = self.mul(self.to_i64(b)?, self.i64(i64::from(a)))?;
        Ok([self.to_i32(self.shr(p, 32)?)?, self.to_i32(p)?])
    }
}

//! Philox 4x32-10, the counter-based random number generator behind [`crate::tile::Op::Random`].
//!
//! A generator has no state: the same seed and counter always give the same four words, in any order, on any
//! device. The key is the seed's two halves (low first), the counter block is `(low half of the counter,
//! high half, 0, 0)`.

/// The four words of one counter value.
pub const fn philox(seed: u64, counter: u64) -> [u32; 4] {
    rounds([counter as u32, (counter >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32])
}

/// One of the four words of one counter value; `which` counts modulo 4.
pub const fn word(seed: u64, counter: u64, which: u8) -> u32 {
    philox(seed, counter)[(which % 4) as usize]
}

/// Multipliers of the round function.
pub const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What the key words grow by from round to round.
pub const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
/// How many rounds there are.
pub const ROUNDS: u32 = 10;

/// The generator proper: ten rounds on a counter block.
pub const fn rounds(mut c: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < ROUNDS {
        let p0 = MULTIPLIERS[0] as u64 * c[0] as u64;
        let p1 = MULTIPLIERS[1] as u64 * c[2] as u64;
        c = [(p1 >> 32) as u32 ^ c[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ key[1], p0 as u32];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
        round += 1;
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with the generator.
    #[test]
    fn known_answers() {
        assert_eq!(rounds([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(rounds([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        let pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
        assert_eq!(rounds(pi, [0xa4093822, 0x299f31d0]), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
    }

    #[test]
    fn seed_and_counter_take_their_places() {
        assert_eq!(philox(0x2_0000_0001, 0x4_0000_0003), rounds([3, 4, 0, 0], [1, 2]));
        assert_eq!(word(7, 9, 2), philox(7, 9)[2]);
    }
}

//! Floating-point formats below f64, and rounding into them.
//!
//! In: an f64 that is exact, or rounded to odd (so that rounding it once more is the same as rounding the exact
//! value). Out: the bits of the nearest value of a format in one of five rounding modes.

/// How a value that lies between two others is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// `.rn`: nearest, ties to even.
    Nearest,
    /// `.rna`: nearest, ties away from zero.
    Away,
    /// `.rz`
    Zero,
    /// `.rm`
    Down,
    /// `.rp`
    Up,
}

impl Round {
    const ALL: [Round; 5] = [Round::Nearest, Round::Away, Round::Zero, Round::Down, Round::Up];

    /// What `.rn` and so on name.
    pub fn named(word: &str) -> Option<Round> {
        Some(match word {
            "rn" => Round::Nearest,
            "rna" => Round::Away,
            "rz" => Round::Zero,
            "rm" => Round::Down,
            "rp" => Round::Up,
            _ => return None,
        })
    }
}

/// A format of at most 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    F16,
    Bf16,
    F32,
    /// Kept in the upper bits of an f32.
    Tf32,
    E4m3,
    E5m2,
}

impl Format {
    const ALL: [Format; 6] = [Format::F16, Format::Bf16, Format::F32, Format::Tf32, Format::E4m3, Format::E5m2];

    /// Bits of exponent and of mantissa.
    fn widths(self) -> (u32, u32) {
        match self {
            Format::F16 => (5, 10),
            Format::Bf16 => (8, 7),
            Format::F32 => (8, 23),
            Format::Tf32 => (8, 10),
            Format::E4m3 => (4, 3),
            Format::E5m2 => (5, 2),
        }
    }

    /// Bits of the largest finite value.
    fn largest(self) -> u32 {
        let (e, m) = self.widths();
        match self {
            Format::E4m3 => 0x7e,
            _ => (((1 << e) - 1) << m) - 1,
        }
    }

    fn infinity(self) -> u32 {
        self.largest() + 1
    }

    /// The quiet NaN that the hardware makes.
    fn nan(self) -> u32 {
        match self {
            Format::F32 => 0x7fff_ffff,
            Format::F16 => 0x7fff,
            Format::Bf16 => 0x7fff,
            Format::Tf32 => 0x3ffff,
            Format::E4m3 | Format::E5m2 => 0x7f,
        }
    }

    fn sign_bit(self) -> u32 {
        let (e, m) = self.widths();
        1 << (e + m)
    }
}

/// A format, a rounding mode and whether too large values become the largest, as one number: the parameter of
/// a conversion, in a register.
pub(crate) fn narrowing(format: Format, round: Round, saturate: bool) -> u64 {
    let f = Format::ALL.iter().position(|x| *x == format).unwrap_or(0);
    let r = Round::ALL.iter().position(|x| *x == round).unwrap_or(0);
    (f * 16 + r * 2 + usize::from(saturate)) as u64
}

/// Rounds as [`narrowing`] says.
pub(crate) fn narrow(x: f64, how: u64) -> u32 {
    let format = Format::ALL[(how as usize / 16) % 6];
    let round = Round::ALL[(how as usize / 2 % 8) % 5];
    round_to(x, format, round, how & 1 == 1)
}

fn power(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// Rounds a value to an integer that an f64 holds.
pub(crate) fn round_integral(x: f64, round: Round) -> f64 {
    match round {
        Round::Nearest => x.round_ties_even(),
        Round::Away => x.round(),
        Round::Zero => x.trunc(),
        Round::Down => x.floor(),
        Round::Up => x.ceil(),
    }
}

/// The bits of `x` in a format; [`Format::Tf32`] in the place of an f32's.
pub(crate) fn round_to(x: f64, format: Format, round: Round, saturate: bool) -> u32 {
    let bits = round_bits(x, format, round, saturate);
    if format == Format::Tf32 { bits << 13 } else { bits }
}

fn round_bits(x: f64, format: Format, round: Round, saturate: bool) -> u32 {
    if x.is_nan() {
        return format.nan();
    }
    let (e, m) = format.widths();
    let (least, m) = (2 - (1 << (e - 1)), m as i32);
    let sign = if x.is_sign_negative() { format.sign_bit() } else { 0 };
    let size = x.abs();
    if size == 0.0 {
        return sign;
    }
    let exponent = ((size.to_bits() >> 52) as i32 - 1023).clamp(least, 1023);
    let quantum = exponent - m;
    // Scaling by a power of two is exact: the result has at most 53 bits.
    let scaled =
        if size.is_infinite() { f64::INFINITY } else { size * power(-quantum / 2) * power(-quantum + quantum / 2) };
    // Directed modes depend on the sign, which was taken away.
    let mode = match (round, sign != 0) {
        (Round::Down, true) | (Round::Up, false) => Round::Up,
        (Round::Down, false) | (Round::Up, true) => Round::Down,
        (other, _) => other,
    };
    let rounded = round_integral(scaled, mode) as u64;
    // A mantissa that rounds up to the next power of two carries into the exponent by itself.
    let bits = (((quantum + m - least) as u64) << m).saturating_add(rounded);
    if bits <= u64::from(format.largest()) {
        return sign | bits as u32;
    }
    let stays_finite = saturate || (!size.is_infinite() && matches!(mode, Round::Zero | Round::Down));
    match (stays_finite, format) {
        (true, _) => sign | format.largest(),
        (false, Format::E4m3) => sign | format.nan(),
        (false, _) => sign | format.infinity(),
    }
}

/// The value of an 8-bit float with 4 bits of exponent: no infinity, one NaN.
pub(crate) fn e4m3(bits: u8) -> f32 {
    let magnitude = match bits & 0x7f {
        0x7f => return f32::NAN,
        small @ 0..8 => f32::from(small) / 512.0,
        normal => f32::from_bits((u32::from(normal) << 20) + (120 << 23)),
    };
    if bits & 0x80 != 0 { -magnitude } else { magnitude }
}

/// The value of an 8-bit float with 5 bits of exponent: the upper half of an f16.
pub(crate) fn e5m2(bits: u8) -> f32 {
    half::f16::from_bits(u16::from(bits) << 8).to_f32()
}

/// A sum rounded to odd: what is lost is remembered in the last bit, so that rounding to fewer bits is exact.
pub(crate) fn add_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let bb = sum - a;
    let error = (a - (sum - bb)) + (b - bb);
    to_odd(sum, error)
}

/// `sum + error`, where `sum` is the nearest f64, as the neighbour of the exact value with an odd last bit.
pub(crate) fn to_odd(sum: f64, error: f64) -> f64 {
    if error == 0.0 || !sum.is_finite() || sum.to_bits() & 1 == 1 {
        return sum;
    }
    if error > 0.0 { sum.next_up() } else { sum.next_down() }
}

/// The result of an f64 operation, nearest, moved to a directed mode; `error` is the exact result minus it.
pub(crate) fn direct(nearest: f64, error: f64, round: Round) -> f64 {
    let up = match round {
        Round::Nearest | Round::Away => return nearest,
        Round::Up => error > 0.0,
        Round::Down => false,
        Round::Zero => error > 0.0 && nearest < 0.0,
    };
    let down = match round {
        Round::Down => error < 0.0,
        Round::Zero => error < 0.0 && nearest > 0.0,
        Round::Nearest | Round::Away | Round::Up => false,
    };
    match (up, down) {
        (true, _) => nearest.next_up(),
        (_, true) => nearest.next_down(),
        _ => nearest,
    }
}

/// A 64-bit integer as an f64, rounded to odd.
pub(crate) fn integer_odd(x: i128) -> f64 {
    let nearest = x as f64;
    to_odd(nearest, (x - nearest as i128) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_agrees_with_the_half_crate_and_the_hardware() {
        let mut state = 1u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let x = f32::from_bits((state >> 32) as u32);
            if x.is_nan() {
                continue;
            }
            let wide = f64::from(x);
            assert_eq!(
                round_to(wide, Format::F16, Round::Nearest, false),
                u32::from(half::f16::from_f32(x).to_bits()),
                "{x}"
            );
            assert_eq!(
                round_to(wide, Format::Bf16, Round::Nearest, false),
                u32::from(half::bf16::from_f32(x).to_bits()),
                "{x}"
            );
            assert_eq!(round_to(wide, Format::F32, Round::Zero, false), x.to_bits());
            let y = wide * 1.000_000_123;
            assert_eq!(round_to(y, Format::F32, Round::Nearest, false), (y as f32).to_bits(), "{y}");
        }
    }

    #[test]
    fn eight_bit_floats_survive_the_round_trip() {
        for bits in 0..=255u8 {
            let (a, b) = (e4m3(bits), e5m2(bits));
            if !a.is_nan() {
                assert_eq!(round_to(f64::from(a), Format::E4m3, Round::Nearest, true), u32::from(bits), "{a}");
            }
            if !b.is_nan() {
                assert_eq!(round_to(f64::from(b), Format::E5m2, Round::Nearest, false), u32::from(bits), "{b}");
            }
        }
        assert_eq!(e4m3(0x7e), 448.0);
        assert_eq!(round_to(1e9, Format::E4m3, Round::Nearest, true), 0x7e);
        assert_eq!(round_to(1e9, Format::E4m3, Round::Nearest, false), 0x7f);
        assert_eq!(round_to(-1e9, Format::E5m2, Round::Nearest, true), 0xfb);
        assert_eq!(round_to(1e9, Format::E5m2, Round::Nearest, false), 0x7c);
    }

    #[test]
    fn directed_modes_enclose() {
        for x in [0.1f64, -0.1, 1e-42, -1e-42, 3.3e38, 1e39, -1e39, 1e-300] {
            let down = f32::from_bits(round_to(x, Format::F32, Round::Down, false));
            let up = f32::from_bits(round_to(x, Format::F32, Round::Up, false));
            let zero = f32::from_bits(round_to(x, Format::F32, Round::Zero, false));
            assert!(f64::from(down) <= x && x <= f64::from(up), "{x}: {down} {up}");
            assert_eq!(down.next_up(), up, "{x}");
            assert_eq!(zero, if x > 0.0 { down } else { up });
        }
        assert_eq!(round_to(1.0 + f64::powi(2.0, -11), Format::Tf32, Round::Away, false), 0x3f80_2000);
        assert_eq!(round_to(1.0 + f64::powi(2.0, -11), Format::Tf32, Round::Nearest, false), 0x3f80_0000);
    }
}

//! Operands to test with, and how far results may be from the meaning.

use helion_ir::dtype::{Class, DType, Literal};

/// Random numbers that are the same in every run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// How many elements of a wide type are tried.
const MANY: usize = 6000;

/// Values where something changes.
fn edges(d: DType) -> Vec<u64> {
    let mut v: Vec<u64> = Vec::new();
    let bits = 8 * d.size() as u32;
    if matches!(d.class(), Class::Float | Class::Storage) {
        for x in [
            0.0,
            0.5,
            1.0,
            1.5,
            2.0,
            2.5,
            3.0,
            7.0,
            10.0,
            88.7,
            89.0,
            104.0,
            127.0,
            127.5,
            128.0,
            150.0,
            255.0,
            255.5,
            256.0,
            448.0,
            464.0,
            465.0,
            32767.0,
            32768.0,
            57344.0,
            61439.0,
            61440.0,
            65504.0,
            65520.0,
            65535.0,
            65536.0,
            709.78,
            710.0,
            745.0,
            746.0,
            1e6,
            4e6,
            2147483647.0,
            2147483648.0,
            4294967295.0,
            4294967296.0,
            9.223372036854775e18,
            1.844674407370955e19,
            1e22,
            1e300,
            1e-300,
            1e-40,
            6e-8,
            1e-5,
            0.25,
            0.75,
            0.4999,
            0.6,
            0.93,
            f64::INFINITY,
            f64::NAN,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            std::f64::consts::PI,
        ] {
            v.push(Literal::from_f64(d, x).bits);
            v.push(Literal::from_f64(d, -x).bits);
        }
        // The smallest and the largest numbers of the type itself.
        let top = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        v.extend([1, 2, 3, top, top >> 1, (top >> 1) - 1, top - 1]);
    } else {
        for b in 0..bits {
            for x in [1u64 << b, (1u64 << b).wrapping_sub(1), (1u64 << b) + 1] {
                v.extend([x, x.wrapping_neg()]);
            }
        }
    }
    let mut v: Vec<u64> = v.into_iter().map(|b| Literal::from_bits(d, b).bits).collect();
    v.sort_unstable();
    v.dedup();
    v
}

/// One random element: any bits, or for wide types a size that is likelier to matter.
fn any(d: DType, r: &mut Random) -> u64 {
    let bits = r.next();
    let x = match d {
        DType::F32 | DType::F64 if bits.is_multiple_of(3) => {
            let size = 2f64.powi((r.next() % 44) as i32 - 30);
            Literal::from_f64(d, ((r.next() >> 11) as f64 * 2f64.powi(-53) * 2.0 - 1.0) * size).bits
        }
        DType::I32 | DType::I64 | DType::U32 | DType::U64 => r.next() as i64 as u64 >> (bits % 64),
        DType::Bool => bits & 1,
        _ => bits,
    };
    let x = if matches!(d.class(), Class::Signed) && bits & 64 != 0 { x.wrapping_neg() } else { x };
    Literal::from_bits(d, x).bits
}

/// Operands of one operation: all there are up to 16 bits, else edges and random ones.
pub(super) fn ones(d: DType) -> Vec<u64> {
    match d {
        DType::Bool => vec![0, 1],
        _ if d.size() <= 2 => (0..1 << (8 * d.size())).collect(),
        _ => {
            let mut r = Random::new(d.size() as u64 + d as u64);
            edges(d).into_iter().chain((0..MANY).map(|_| any(d, &mut r))).collect()
        }
    }
}

/// Pairs of operands: all of 8 bits, else those of edges and random ones.
pub(super) fn pairs(d: DType) -> (Vec<u64>, Vec<u64>) {
    let all = |v: Vec<u64>| v.iter().flat_map(|a| v.iter().map(|b| (*a, *b)).collect::<Vec<_>>()).collect::<Vec<_>>();
    let pairs: Vec<(u64, u64)> = match d.size() {
        1 => all(ones(d)),
        _ => {
            let mut r = Random::new(77 + d as u64);
            let some: Vec<u64> = edges(d).into_iter().step_by(if d.is_int() { 3 } else { 1 }).collect();
            all(some).into_iter().chain((0..MANY).map(|_| (any(d, &mut r), any(d, &mut r)))).collect()
        }
    };
    pairs.into_iter().unzip()
}

/// Whether a float is not a number.
fn is_nan(l: Literal) -> bool {
    matches!(l.dtype.class(), Class::Float | Class::Storage) && l.to_f64().is_nan()
}

/// How many floats lie between two of a type, by their codes in order; infinity follows the largest number.
fn distance(a: Literal, b: Literal) -> u64 {
    let place = |l: Literal| {
        let sign = 1u64 << (8 * l.dtype.size() - 1);
        let size = (l.bits & (sign - 1)) as i128;
        if l.bits & sign != 0 { -size } else { size }
    };
    place(a).abs_diff(place(b)).min(u128::from(u64::MAX)) as u64
}

/// What results may differ by.
#[derive(Clone, Copy)]
pub(super) enum Allow {
    /// In bits, but for the bits of NaN.
    Nothing,
    /// By the sign of zero.
    ZeroSign,
    /// By so many floats of the type.
    Floats(u64),
    /// The same, and a result may be zero that is no normal number of `f32`.
    Flushed(u64),
}

/// Says what is wrong with a result.
pub(super) fn wrong(got: Literal, want: Literal, allow: Allow) -> bool {
    if got == want || (is_nan(got) && is_nan(want)) {
        return false;
    }
    match allow {
        Allow::Nothing => true,
        _ if is_nan(got) || is_nan(want) => true,
        Allow::ZeroSign => got.to_f64() != want.to_f64(),
        Allow::Floats(n) => distance(got, want) > n,
        Allow::Flushed(_) if got.to_f64() == 0.0 && want.to_f64().abs() < f64::from(f32::MIN_POSITIVE) => false,
        Allow::Flushed(n) => distance(got, want) > n,
    }
}

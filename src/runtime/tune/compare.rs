//! Whether two results of one kernel are the same up to rounding.
//!
//! Configs sum in different orders and keep different values in registers, so results of floats differ a little.
//! Two elements agree when they are equal, both not a number, or finite and
//! `|a - b| <= r * (|expected| + mean |expected|)` with
//!
//! `r = 4 u + 256 a (4 + √L)`
//!
//! where `u` is the unit roundoff of the coarsest float type among the output and the values the kernel computes (`2^-24` for
//! `f32`, `2^-11` for `f16`, `2^-8` for `bf16`), `a` that of the type sums are kept in (`2^-24`, or `2^-53` when all
//! is `f64`; that of the tensor when it is added to atomically), and `L` the length of the longest sum: the largest size, or how many elements of the largest
//! tensor there are for each element of the smallest output. A sum of `L` terms in another order is off by about
//! `√L` roundings; 256 leaves room for what follows a sum to magnify that.
//!
//! Integers and bools must be equal, unless they are made from sums of floats (quantised values, positions of
//! the largest): then one in a thousand may differ.

use super::super::pool;
use super::super::show::close;
use helion_ir::dtype::{Class, DType, Literal};
use helion_ir::tile::{Function, Inst, Op, ParamKind};
use std::sync::Mutex;

/// How far results of one kernel may be apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance {
    /// Unit roundoff of the coarsest float type that is computed with.
    unit: f64,
    /// The second term of the formula.
    sums: f64,
    /// How many integers may differ, as a fraction.
    few: f64,
}

/// One of a thousand.
const FEW: f64 = 1e-3;

impl Tolerance {
    /// For a function launched on tensors of so many elements, each given with whether it is written, and sizes up to
    /// `longest`.
    pub(super) fn of(f: &Function, tensors: &[(u64, bool)], longest: u64) -> Tolerance {
        let mut t = Traits { floats: false, double: true, unit: 0.0, sums: false, atomic: 0.0, decides: false };
        t.walk(f, &f.header);
        t.walk(f, &f.body.body);
        let largest = tensors.iter().map(|t| t.0).max().unwrap_or(1);
        let smallest = tensors.iter().filter(|t| t.1).map(|t| t.0.max(1)).min().unwrap_or(1);
        let terms = if t.sums { longest.max(largest / smallest).max(1) } else { 1 };
        let kept = if t.double && t.floats { unit(DType::F64) } else { unit(DType::F32) };
        let sums = 256.0 * kept.max(t.atomic / 64.0) * (4.0 + (terms as f64).sqrt());
        Tolerance { unit: t.unit, sums, few: if t.sums && t.decides { FEW } else { 0.0 } }
    }

    /// For results of different algorithms, whose sums are of unknown length.
    pub(super) fn wide() -> Tolerance {
        Tolerance { unit: 0.0, sums: 256.0 * unit(DType::F32) * 64.0, few: FEW }
    }

    /// For results that differ by rounding once.
    #[cfg(test)]
    pub(super) fn tight() -> Tolerance {
        Tolerance { unit: 0.0, sums: 0.0, few: 0.0 }
    }

    /// The relative tolerance for an output.
    fn relative(self, output: DType) -> f64 {
        (4.0 * self.unit.max(unit(output)) + self.sums).min(0.5)
    }
}

/// What a function does with floats.
struct Traits {
    floats: bool,
    /// All of them are of 64 bits.
    double: bool,
    unit: f64,
    sums: bool,
    /// Unit roundoff of what is added to atomically.
    atomic: f64,
    /// Whether integers or bools are made from floats.
    decides: bool,
}

impl Traits {
    fn walk(&mut self, f: &Function, insts: &[Inst]) {
        for i in insts {
            let float = |v| Some(f.ty(v).dtype).filter(|d: &DType| is_float(*d));
            let is_load = matches!(i.op, Op::Load { .. });
            for d in i.results.iter().filter_map(|v| float(*v)).filter(|_| !is_load) {
                self.floats = true;
                self.double &= d == DType::F64;
                self.unit = self.unit.max(unit(d));
                let summed = matches!(
                    i.op,
                    Op::Reduce { .. }
                        | Op::ReduceWith { .. }
                        | Op::Scan { .. }
                        | Op::ScanWith { .. }
                        | Op::Dot { .. }
                        | Op::For { .. }
                        | Op::While
                );
                self.sums |= summed;
                if matches!(i.op, Op::Atomic { .. }) {
                    self.sums = true;
                    self.atomic = self.atomic.max(unit(d));
                }
            }
            let from_float = i.args.iter().any(|v| float(*v).is_some());
            self.decides |= from_float && i.results.iter().any(|v| float(*v).is_none());
            i.regions.iter().for_each(|r| self.walk(f, &r.body));
        }
    }
}

fn is_float(d: DType) -> bool {
    matches!(d.class(), Class::Float | Class::Storage)
}

/// Half the distance from 1 to the next number; 0 for integers.
fn unit(d: DType) -> f64 {
    match d.class() {
        Class::Bool | Class::Signed | Class::Unsigned => 0.0,
        Class::Float | Class::Storage => {
            // The largest power of two that is lost when added to one.
            let one = |e: i32| Literal::from_f64(d, 1.0 + 2f64.powi(-e)).to_f64() == 1.0;
            (1..64).find(|e| one(*e)).map_or(0.0, |e| 2f64.powi(-e))
        }
    }
}

/// How many elements of all tensors of a function there are, and whether each tensor is written; for
/// [`Tolerance::of`]. `extents` gives the extents of a parameter.
pub(super) fn tensors<'e>(f: &Function, extents: impl Fn(usize) -> &'e [u64]) -> Vec<(u64, bool)> {
    let one = |(i, kind): (usize, &ParamKind)| match kind {
        ParamKind::Tensor { mutable, .. } => Some((extents(i).iter().product(), *mutable)),
        ParamKind::Scalar { .. } => None,
    };
    f.params.iter().map(|p| &p.kind).enumerate().filter_map(one).collect()
}

/// What is expected of one output.
pub(super) struct Expected {
    dtype: DType,
    bytes: Vec<u8>,
    /// The mean size of its finite numbers.
    scale: f64,
}

impl Expected {
    pub(super) fn new(dtype: DType, bytes: Vec<u8>) -> Expected {
        let scale = if is_float(dtype) { mean(dtype, &bytes) } else { 0.0 };
        Expected { dtype, bytes, scale }
    }

    /// The same, of another run: large numbers that it left as they were do not count.
    pub(super) fn with(&self, bytes: Vec<u8>) -> Expected {
        Expected { dtype: self.dtype, bytes, scale: self.scale }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is different in words; `None` when nothing is.
    pub(super) fn differs(&self, found: &[u8], tolerance: Tolerance) -> Option<String> {
        if self.bytes == found {
            return None;
        }
        if self.bytes.len() != found.len() {
            return Some(format!("{} bytes instead of {}", found.len(), self.bytes.len()));
        }
        let size = self.dtype.size();
        let relative = tolerance.relative(self.dtype);
        let absolute = relative * self.scale;
        let wrong = |a: &[u8], b: &[u8]| match self.dtype {
            DType::F32 => count_f32(a, b, relative as f32, absolute as f32),
            _ if is_float(self.dtype) => {
                count(a, b, size, |a, b| close(value(self.dtype, b), value(self.dtype, a), relative, absolute))
            }
            _ => count(a, b, size, |a, b| a == b),
        };
        let total = in_parts(&self.bytes, found, size, wrong);
        let n = self.bytes.len() / size;
        let allowed =
            if is_float(self.dtype) || tolerance.few == 0.0 { 0 } else { 1 + (n as f64 * tolerance.few) as usize };
        if total <= allowed {
            return None;
        }
        let pairs = self.bytes.chunks_exact(size).zip(found.chunks_exact(size)).enumerate();
        let mut bad = pairs.filter(|(_, (a, b))| wrong(a, b) > 0);
        let (at, (a, b)) = bad.next()?;
        let (a, b) = (value(self.dtype, a), value(self.dtype, b));
        Some(format!("{total} of {n} elements differ; number {at} is {b}, expected {a} (tolerance {relative:.1e})"))
    }
}

fn value(dtype: DType, bytes: &[u8]) -> f64 {
    let mut w = [0u8; 8];
    w[..bytes.len()].copy_from_slice(bytes);
    Literal::from_bits(dtype, u64::from_le_bytes(w)).to_f64()
}

fn count(a: &[u8], b: &[u8], size: usize, same: impl Fn(&[u8], &[u8]) -> bool) -> usize {
    a.chunks_exact(size).zip(b.chunks_exact(size)).filter(|(a, b)| a != b && !same(a, b)).count()
}

/// As [`count`] for `f32`, in a form that becomes vector instructions.
fn count_f32(a: &[u8], b: &[u8], relative: f32, absolute: f32) -> usize {
    let number = |c: &[u8]| f32::from_le_bytes([c[0], c[1], c[2], c[3]]);
    let wrong = |(a, b): (&[u8], &[u8])| {
        let (a, b) = (number(a), number(b));
        let near = (a - b).abs() <= absolute + relative * a.abs();
        let near = near & a.is_finite() & b.is_finite();
        usize::from(!(near | (a == b) | (a.is_nan() & b.is_nan())))
    };
    a.chunks_exact(4).zip(b.chunks_exact(4)).map(wrong).sum()
}

/// Counts in two arrays of bytes, on all cores when they are large.
fn in_parts(a: &[u8], b: &[u8], size: usize, count: impl Fn(&[u8], &[u8]) -> usize + Sync) -> usize {
    const LARGE: usize = 1 << 19;
    if a.len() < LARGE {
        return count(a, b);
    }
    let total = Mutex::new(0);
    pool::run(crate::settings::threads(), |part, parts| {
        let each = (a.len() / size).div_ceil(parts) * size;
        let (from, to) = ((part * each).min(a.len()), ((part + 1) * each).min(a.len()));
        let n = count(&a[from..to], &b[from..to]);
        *total.lock().unwrap_or_else(|e| e.into_inner()) += n;
    });
    total.into_inner().unwrap_or_else(|e| e.into_inner())
}

fn mean(dtype: DType, bytes: &[u8]) -> f64 {
    // A sample says enough of large outputs.
    const MOST: usize = 1 << 16;
    let size = dtype.size();
    let step = (bytes.len() / size / MOST).max(1);
    let values = bytes.chunks_exact(size).step_by(step).map(|b| value(dtype, b)).filter(|v| v.is_finite());
    let (sum, n) = values.fold((0.0, 0.0), |(s, n), v| (s + v.abs(), n + 1.0));
    if n == 0.0 { 0.0 } else { sum / n }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Tolerance = Tolerance { unit: 0.0, sums: 1e-4, few: 0.0 };

    fn floats(v: &[f32]) -> Vec<u8> {
        v.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn rounding_is_not_a_difference() {
        let e = Expected::new(DType::F32, floats(&[1.0, 2.0, f32::NAN, f32::INFINITY]));
        let differs = |v: &[f32]| e.differs(&floats(v), PLAIN);
        assert_eq!(differs(&[1.0, 2.00005, f32::NAN, f32::INFINITY]), None);
        assert!(differs(&[1.0, 2.1, f32::NAN, f32::INFINITY]).unwrap().contains("number 1 is 2.0999"));
        assert!(differs(&[1.0, f32::NAN, f32::NAN, f32::INFINITY]).is_some());
        assert!(differs(&[1.0, 2.0, 0.0, f32::INFINITY]).is_some());
        assert!(differs(&[1.0, 2.0, f32::NAN, f32::NEG_INFINITY]).is_some());
        assert!(differs(&[1.0, 2.0, f32::NAN, 1e38]).is_some());
        assert!(differs(&[1.0, f32::INFINITY, f32::NAN, f32::INFINITY]).is_some());
    }

    #[test]
    fn integers_are_equal_unless_made_from_sums() {
        let many: Vec<u8> = (0..4000i32).flat_map(i32::to_le_bytes).collect();
        let mut other = many.clone();
        other[400] ^= 1;
        let e = Expected::new(DType::I32, many);
        assert!(e.differs(&other, PLAIN).unwrap().starts_with("1 of 4000"));
        let few = Tolerance { few: FEW, ..PLAIN };
        assert_eq!(e.differs(&other, few), None);
        other.iter_mut().step_by(100).for_each(|b| *b ^= 1);
        assert!(e.differs(&other, few).is_some());
    }

    #[test]
    fn large_outputs_are_compared_in_parts() {
        let e = Expected::new(DType::F32, floats(&vec![1.0; 300_001]));
        let mut other = vec![1.0; 300_001];
        assert_eq!(e.differs(&floats(&other), PLAIN), None);
        (other[0], other[300_000]) = (2.0, 2.0);
        assert!(e.differs(&floats(&other), PLAIN).unwrap().starts_with("2 of 300001 elements differ; number 0"));
    }

    #[test]
    fn units_and_their_formula() {
        let units = [DType::F64, DType::F32, DType::F16, DType::BF16].map(|d| unit(d).log2());
        assert_eq!(units, [-53.0, -24.0, -11.0, -8.0]);
        assert!(PLAIN.relative(DType::BF16) > PLAIN.relative(DType::F32));
    }
}

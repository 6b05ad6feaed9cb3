//! A guess of how fast an unmeasured config is, from those that were measured, and how sure the guess is.
//!
//! In: points (one number per slot) with the logarithm of their time. Out: mean and deviation anywhere. It is a
//! Gaussian process: times of configs that are near each other are alike, and how far "near" reaches is
//! learnt for each slot from the points, so that slots which do not matter are ignored.

use rayon::prelude::*;

/// Reach of a slot's influence, in units of its range; the last says that the slot hardly matters.
const REACHES: [f64; 6] = [0.15, 0.3, 0.6, 1.2, 3.0, 10.0];
/// Share of a point's variance that is noise or cannot be explained by slots.
const NUGGETS: [f64; 4] = [0.0005, 0.004, 0.03, 0.15];

/// How coordinates of a slot compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// By their difference; coordinates lie in 0..=1.
    Number,
    /// Equal or not.
    Word,
}

/// A measured point.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// One coordinate per axis.
    pub(crate) x: Vec<f64>,
    /// What was measured there.
    pub(crate) y: f64,
    /// Variance of its noise, relative to the usual.
    pub(crate) noise: f64,
}

/// What is learnt of the axes; kept from fit to fit, so that each needs few steps.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    axes: Vec<Axis>,
    reach: Vec<usize>,
    nugget: usize,
}

impl Shape {
    pub(crate) fn new(axes: Vec<Axis>) -> Shape {
        let reach = vec![3; axes.len()];
        Shape { axes, reach, nugget: 1 }
    }

    /// How alike two points are: 1 when they are the same, 0 when one says nothing about the other.
    pub(crate) fn likeness(&self, a: &[f64], b: &[f64]) -> f64 {
        let mut sum = 0.0;
        for (i, axis) in self.axes.iter().enumerate() {
            let d = match axis {
                Axis::Number => (a[i] - b[i]) / REACHES[self.reach[i]],
                Axis::Word if a[i] == b[i] => 0.0,
                Axis::Word => 0.6 / REACHES[self.reach[i]],
            };
            sum += d * d;
        }
        // Matérn 5/2: smooth, but not so smooth that one cliff spoils everything.
        let r = (5.0 * sum).sqrt();
        (1.0 + r + r * r / 3.0) * (-r).exp()
    }

    /// Improves reaches and nugget by steps that make the points likelier.
    pub(crate) fn learn(&mut self, points: &[Point]) {
        let mut best = self.likelihood(points);
        for i in 0..=self.axes.len() {
            let is_nugget = i == self.axes.len();
            let (now, last) =
                if is_nugget { (self.nugget, NUGGETS.len() - 1) } else { (self.reach[i], REACHES.len() - 1) };
            let steps = [now.wrapping_sub(1), now + 1, now.wrapping_sub(2), now + 2];
            // Each likelihood takes the cube of the number of points, the longest thinking there is here.
            let tried: Vec<(f64, Shape)> = steps
                .into_par_iter()
                .filter(|value| *value <= last)
                .map(|value| {
                    let mut other = self.clone();
                    if is_nugget {
                        other.nugget = value;
                    } else {
                        other.reach[i] = value;
                    }
                    (other.likelihood(points), other)
                })
                .collect();
            for (likelihood, other) in tried {
                if likelihood > best + 1e-9 {
                    (*self, best) = (other, likelihood);
                }
            }
        }
    }

    /// Logarithm of how likely the points are, up to a constant; less for short reaches, which explain anything.
    fn likelihood(&self, points: &[Point]) -> f64 {
        let Some(factor) = Factor::of(self, points) else { return f64::NEG_INFINITY };
        let y: Vec<f64> = centred(points).1;
        let z = factor.forward(&y);
        let n = points.len() as f64;
        let variance = z.iter().map(|v| v * v).sum::<f64>() / n;
        let prior: f64 = self.reach.iter().map(|r| (*r as f64 - 3.0).powi(2)).sum();
        -0.5 * n * variance.max(1e-12).ln() - factor.log_diagonal() - 0.15 * prior
    }
}

/// The mean of the points' values, and their distances from it.
fn centred(points: &[Point]) -> (f64, Vec<f64>) {
    let weight: f64 = points.iter().map(|p| 1.0 / p.noise).sum();
    let mean = points.iter().map(|p| p.y / p.noise).sum::<f64>() / weight.max(1e-12);
    (mean, points.iter().map(|p| p.y - mean).collect())
}

/// A lower triangle whose square is the matrix of likenesses.
struct Factor {
    rows: Vec<Vec<f64>>,
}

impl Factor {
    /// `None` when the matrix is not positive, which rounding can cause.
    fn of(shape: &Shape, points: &[Point]) -> Option<Factor> {
        let nugget = NUGGETS[shape.nugget];
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(points.len());
        for (i, p) in points.iter().enumerate() {
            let mut row = Vec::with_capacity(i + 1);
            for (j, q) in points[..i].iter().enumerate() {
                let dot: f64 = rows[j].iter().zip(&row).map(|(a, b)| a * b).sum();
                row.push((shape.likeness(&p.x, &q.x) - dot) / rows[j][j]);
            }
            let left = 1.0 + nugget * p.noise - row.iter().map(|v: &f64| v * v).sum::<f64>();
            if left.is_nan() || left <= 1e-10 {
                return None;
            }
            row.push(left.sqrt());
            rows.push(row);
        }
        Some(Factor { rows })
    }
    /// Solves `factor · z = y`.
    fn forward(&self, y: &[f64]) -> Vec<f64> {
        let mut z: Vec<f64> = Vec::with_capacity(y.len());
        for (row, y) in self.rows.iter().zip(y) {
            let dot: f64 = row.iter().zip(&z).map(|(a, b)| a * b).sum();
            z.push((y - dot) / row[z.len()]);
        }
        z
    }
    /// Solves `factor transposed · x = z`.
    fn backward(&self, mut z: Vec<f64>) -> Vec<f64> {
        for i in (0..z.len()).rev() {
            z[i] /= self.rows[i][i];
            let x = z[i];
            for (j, v) in z[..i].iter_mut().enumerate() {
                *v -= self.rows[i][j] * x;
            }
        }
        z
    }
    fn log_diagonal(&self) -> f64 {
        self.rows.iter().filter_map(|r| r.last()).map(|d| d.ln()).sum()
    }
}

/// A fitted surrogate.
pub(crate) struct Surrogate<'a> {
    shape: &'a Shape,
    points: &'a [Point],
    factor: Factor,
    weights: Vec<f64>,
    mean: f64,
    deviation: f64,
}

impl<'a> Surrogate<'a> {
    /// `None` when the points say nothing, as when there are fewer than two.
    pub(crate) fn fit(shape: &'a Shape, points: &'a [Point]) -> Option<Surrogate<'a>> {
        if points.len() < 2 {
            return None;
        }
        let factor = Factor::of(shape, points)?;
        let (mean, y) = centred(points);
        let z = factor.forward(&y);
        let deviation = (z.iter().map(|v| v * v).sum::<f64>() / points.len() as f64).sqrt().max(1e-6);
        let weights = factor.backward(z);
        Some(Surrogate { shape, points, factor, weights, mean, deviation })
    }
    fn likenesses(&self, x: &[f64]) -> Vec<f64> {
        self.points.iter().map(|p| self.shape.likeness(&p.x, x)).collect()
    }
    /// How alike two points are, by what was learnt.
    pub(crate) fn likeness(&self, a: &[f64], b: &[f64]) -> f64 {
        self.shape.likeness(a, b)
    }
    /// The value expected at a point.
    pub(crate) fn mean(&self, x: &[f64]) -> f64 {
        self.mean + self.likenesses(x).iter().zip(&self.weights).map(|(k, w)| k * w).sum::<f64>()
    }
    /// How far off that may be.
    pub(crate) fn deviation(&self, x: &[f64]) -> f64 {
        let z = self.factor.forward(&self.likenesses(x));
        let left = 1.0 - z.iter().map(|v| v * v).sum::<f64>();
        self.deviation * left.max(1e-9).sqrt()
    }
}

/// By how much a value with this mean and deviation will fall below `best`, on average, if not falling below
/// counts as zero.
pub(crate) fn improvement(best: f64, mean: f64, deviation: f64) -> f64 {
    let z = (best - mean) / deviation;
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (deviation * (z * below(z) + density)).max(0.0)
}

/// The probability that a standard normal number is below `z`; off by at most 1e-7 (Abramowitz and Stegun 26.2.17).
fn below(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let poly = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let tail = poly.iter().fold(0.0, |s, c| (s + c) * t) * (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z >= 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn uniform(rng: &mut Random) -> f64 {
        rng.below(1 << 30) as f64 / (1u64 << 30) as f64
    }

    /// A valley along the first axis, a step along the second, nothing along the third.
    fn surface(x: &[f64]) -> f64 {
        (x[0] - 0.6).powi(2) + if x[1] == 1.0 { 0.3 } else { 0.0 }
    }

    fn points(rng: &mut Random, n: usize) -> Vec<Point> {
        let at = |rng: &mut Random| vec![uniform(rng), rng.below(3) as f64, uniform(rng)];
        let point = |_| {
            let x = at(rng);
            Point { y: surface(&x) + 0.005 * uniform(rng), x, noise: 1.0 }
        };
        (0..n).map(point).collect()
    }

    #[test]
    fn learns_what_matters_and_predicts() {
        let mut rng = Random::new(5);
        let train = points(&mut rng, 40);
        let mut shape = Shape::new(vec![Axis::Number, Axis::Word, Axis::Number]);
        (0..4).for_each(|_| shape.learn(&train));
        assert!(shape.reach[2] > shape.reach[0], "the third axis says nothing: {:?}", shape.reach);
        let s = Surrogate::fit(&shape, &train).unwrap();
        for p in points(&mut rng, 50) {
            assert!((s.mean(&p.x) - surface(&p.x)).abs() < 0.05, "{:?}", p.x);
        }
        let far = vec![0.5, 7.0, 0.5];
        assert!(s.deviation(&far) > 4.0 * s.deviation(&train[0].x), "a word never seen is unsure");
    }

    #[test]
    fn degenerate_points_are_no_trouble() {
        let shape = Shape::new(vec![Axis::Number]);
        let same = |n| vec![Point { x: vec![0.5], y: 1.0, noise: 1.0 }; n];
        assert!(Surrogate::fit(&shape, &same(1)).is_none());
        let p = same(30);
        let s = Surrogate::fit(&shape, &p).unwrap();
        assert!((s.mean(&[0.1]) - 1.0).abs() < 1e-9 && s.deviation(&[0.1]).is_finite());
    }

    #[test]
    fn improvement_is_what_the_normal_distribution_says() {
        assert!((improvement(0.0, 0.0, 1.0) - 0.398_942).abs() < 1e-5);
        assert!((improvement(1.0, 0.0, 1.0) - 1.083_316).abs() < 1e-5);
        assert!((improvement(-1.0, 0.0, 1.0) - 0.083_315).abs() < 1e-5);
        assert!(improvement(0.0, 50.0, 1.0) < 1e-12);
    }
}

//! Statistics that assume nothing about how noise is distributed.
//!
//! Timings have long tails and drift, so means and variances mislead. Everything here rests on order: medians,
//! intervals between order statistics, and ranks within rounds in which everything was sampled once.

use crate::Timing;

/// The median; `None` of nothing.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut s = samples.to_vec();
    s.sort_by(f64::total_cmp);
    let high = *s.get(s.len() / 2)?;
    Some(if s.len() % 2 == 1 { high } else { (s[s.len() / 2 - 1] + high) / 2.0 })
}

/// An interval that holds the true median with a probability of at least 95 %, whatever the distribution.
/// Fewer than six samples cannot give that much: then it is their whole range.
pub fn interval(samples: &[f64]) -> Option<(f64, f64)> {
    let mut s = samples.to_vec();
    s.sort_by(f64::total_cmp);
    let cut = outside(s.len());
    Some((*s.get(cut)?, s[s.len() - 1 - cut]))
}

/// How many samples to leave out at each end: the most `k` for which at most `k` heads among `n` fair coins have a
/// probability of 2.5 % or less.
fn outside(n: usize) -> usize {
    if n > 400 {
        return (n as f64 / 2.0 - 0.98 * (n as f64).sqrt()) as usize - 1;
    }
    let (mut term, mut sum, mut k) = (0.5f64.powi(n as i32), 0.0, 0);
    while k < n / 2 {
        sum += term;
        if sum > 0.025 {
            break;
        }
        term *= (n - k) as f64 / (k + 1) as f64;
        k += 1;
    }
    k.saturating_sub(1)
}

/// Median and interval of samples in seconds.
pub fn timing(samples: &[f64]) -> Option<Timing> {
    let (low, high) = interval(samples)?;
    Some(Timing { seconds: median(samples)?, low, high, samples: samples.len() })
}

/// Round by round, by which factor `b` was slower than `a`.
pub fn ratios(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| b / a).collect()
}

/// How unlikely it is that chance alone lets one arm be so fast.
///
/// In every round an arm meets two others that are equal to each other. If it is equal too, it beats none, one or
/// both of them with the same probability in each round, whatever the noise does between rounds. Given are
/// the rounds as (arm, one, other). The answer is the probability to beat at least as many in all. Ties count
/// half.
pub fn luck(rounds: impl Iterator<Item = (f64, f64, f64)>) -> f64 {
    let beats = |a: f64, b: f64| if a < b { 2 } else { usize::from(a == b) };
    let (mut n, mut halves) = (0usize, 0usize);
    for (arm, one, other) in rounds {
        n += 1;
        halves += beats(arm, one) + beats(arm, other);
    }
    chance(n, halves / 2)
}

/// The probability that `n` numbers, each 0, 1 or 2, sum to `least` or more.
fn chance(n: usize, least: usize) -> f64 {
    let mut p = vec![0.0; 2 * n + 3];
    p[0] = 1.0;
    for i in 0..n {
        for s in (0..=2 * i + 2).rev() {
            let below = |d: usize| if s >= d { p[s - d] } else { 0.0 };
            p[s] = (p[s] + below(1) + below(2)) / 3.0;
        }
    }
    p[least.min(2 * n + 2)..].iter().sum::<f64>().min(1.0)
}

/// The usual distance of a sample from its median, scaled so that it is the deviation where noise is normal. In:
/// distances.
pub(crate) fn spread(distances: &[f64]) -> Option<f64> {
    let d: Vec<f64> = distances.iter().map(|d| d.abs()).collect();
    median(&d).map(|m| m * 1.4826)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn intervals_are_the_textbook_ones() {
        // Order statistics (from one) of the table in any book on nonparametric statistics.
        for (n, k) in [(6, 1), (9, 2), (10, 2), (15, 4), (20, 6), (30, 10), (50, 18), (100, 40)] {
            assert_eq!(outside(n) + 1, k, "{n}");
        }
        assert_eq!(interval(&[]), None);
        assert_eq!(interval(&[2.0, 1.0, 3.0]), Some((1.0, 3.0)));
        let exact = outside(400);
        assert!((outside(401) as i64 - exact as i64).abs() <= 1);
    }

    #[test]
    fn intervals_cover_the_median() {
        let mut rng = Random::new(3);
        for n in [7, 15, 40] {
            let mut missed = 0;
            for _ in 0..2000 {
                // Far from normal: a long tail on one side; the median is 1.
                let v: Vec<f64> = (0..n).map(|_| (rng.below(1 << 30) as f64 / (1u64 << 29) as f64).powi(6)).collect();
                let (low, high) = interval(&v).unwrap();
                missed += usize::from(1.0 < low || high < 1.0);
            }
            assert!(missed < 120, "{missed} of 2000 with {n} samples");
        }
    }

    #[test]
    fn luck_is_exact_for_few_rounds() {
        let all = |n: usize| luck((0..n).map(|_| (1.0, 2.0, 2.0)));
        assert!((all(4) - 1.0 / 81.0).abs() < 1e-12);
        assert_eq!(luck((0..5).map(|_| (3.0, 2.0, 2.0))), 1.0);
        // Two rounds: sums 0..=4 with weights 1, 2, 3, 2, 1.
        assert!((chance(2, 3) - 3.0 / 9.0).abs() < 1e-12);
        assert!(luck((0..100).map(|_| (1.0, 1.0, 1.0))) > 0.4, "ties prove nothing");
        assert_eq!(luck(std::iter::empty()), 1.0);
    }

    #[test]
    fn spreads() {
        assert_eq!(spread(&[]), None);
        assert!((spread(&[-1.0, 1.0, 1.0, 9.0]).unwrap() - 1.4826).abs() < 1e-9);
    }
}

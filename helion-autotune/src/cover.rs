//! Few configs for many shapes: which ones, and what that costs.
//!
//! In: the seconds of every config on every shape, and how many configs may be kept. Out: the configs whose
//! geometric mean over all shapes, each shape taking its best of them, is least; which one serves each shape;
//! and the loss against every shape having its own winner.
//!
//! Small problems are solved by trying every choice. Larger ones start with the config that helps most, then the
//! next, and then exchange one for another as long as that helps.

/// Choices tried at most before exchanging takes over.
const EXACT: f64 = 200_000.0;

/// The configs that were kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Cover {
    /// Columns that were kept, in order.
    pub kept: Vec<usize>,
    /// The column that serves each shape.
    pub serves: Vec<usize>,
    /// For each shape: seconds with what serves it, over its winner's seconds. 1 is no loss.
    pub losses: Vec<f64>,
}

impl Cover {
    /// The geometric mean of the losses: 1.02 is 2 % slower than per-shape winners.
    pub fn loss(&self) -> f64 {
        let n = self.losses.len().max(1) as f64;
        (self.losses.iter().map(|l| l.ln()).sum::<f64>() / n).exp()
    }
}

/// Keeps at most `most` of the configs. `seconds[shape][config]` is `None` where a config cannot be used.
///
/// # Errors
/// A shape that no config serves, or no choice that serves every shape; in words.
pub fn cover(seconds: &[Vec<Option<f64>>], most: usize) -> Result<Cover, String> {
    let costs = Costs::new(seconds)?;
    let most = most.clamp(1, costs.configs.max(1)).min(costs.rows.len().max(1));
    let kept = if choices(costs.configs, most) <= EXACT { costs.exact(most) } else { costs.exchange(most) };
    costs.finish(kept, most)
}

/// How many choices of `most` out of `n` there are.
fn choices(n: usize, most: usize) -> f64 {
    (0..most).map(|i| (n - i) as f64 / (i + 1) as f64).product()
}

/// Logarithms of the loss of each config on each shape; infinite where it cannot be used.
struct Costs {
    rows: Vec<Vec<f64>>,
    configs: usize,
}

/// How bad a choice is: shapes it leaves without a config, then the sum of the others' costs.
type Cost = (usize, f64);

fn less(a: Cost, b: Cost) -> bool {
    a.0 < b.0 || a.0 == b.0 && a.1 < b.1 - 1e-12
}

impl Costs {
    fn new(seconds: &[Vec<Option<f64>>]) -> Result<Costs, String> {
        let configs = seconds.iter().map(Vec::len).max().unwrap_or(0);
        let mut rows = Vec::with_capacity(seconds.len());
        for (i, row) in seconds.iter().enumerate() {
            let usable = |s: &Option<f64>| s.filter(|s| s.is_finite() && *s > 0.0);
            let best = row.iter().filter_map(usable).fold(f64::INFINITY, f64::min);
            if best == f64::INFINITY {
                return Err(format!("shape {i} was measured with no config"));
            }
            let cost = |k| row.get(k).and_then(usable).map_or(f64::INFINITY, |s| (s / best).ln());
            rows.push((0..configs).map(cost).collect());
        }
        Ok(Costs { rows, configs })
    }

    fn best(row: &[f64], kept: &[usize]) -> f64 {
        kept.iter().map(|&k| row[k]).fold(f64::INFINITY, f64::min)
    }

    fn of(&self, kept: &[usize]) -> Cost {
        let bests = self.rows.iter().map(|r| Costs::best(r, kept));
        bests.fold((0, 0.0), |(n, sum), b| if b.is_finite() { (n, sum + b) } else { (n + 1, sum) })
    }

    /// Tries every choice.
    fn exact(&self, most: usize) -> Vec<usize> {
        let mut at: Vec<usize> = (0..most.min(self.configs)).collect();
        let (mut best, mut cost) = (at.clone(), self.of(&at));
        while next(&mut at, self.configs) {
            let c = self.of(&at);
            if less(c, cost) {
                best.clone_from(&at);
                cost = c;
            }
        }
        best
    }

    /// Adds what helps most, then exchanges.
    fn exchange(&self, most: usize) -> Vec<usize> {
        let mut kept: Vec<usize> = Vec::new();
        let mut cost = (usize::MAX, 0.0);
        while kept.len() < most {
            kept.push(0);
            let at = kept.len() - 1;
            let Some(k) = self.improve(&mut kept, at, &mut cost) else {
                kept.pop();
                break;
            };
            kept[at] = k;
        }
        // Each round makes the cost smaller, so this ends.
        while (0..kept.len()).fold(false, |changed, at| {
            let old = kept[at];
            let new = self.improve(&mut kept, at, &mut cost);
            kept[at] = new.unwrap_or(old);
            changed || new.is_some()
        }) {}
        kept
    }

    /// The config at one place that makes the choice cheapest, if that is cheaper than `cost`.
    fn improve(&self, kept: &mut [usize], at: usize, cost: &mut Cost) -> Option<usize> {
        let mut best = None;
        for k in 0..self.configs {
            kept[at] = k;
            let c = self.of(kept);
            if less(c, *cost) {
                (best, *cost) = (Some(k), c);
            }
        }
        best
    }

    fn finish(&self, mut kept: Vec<usize>, most: usize) -> Result<Cover, String> {
        kept.sort_unstable();
        kept.dedup();
        let without = self.of(&kept).0;
        if without > 0 {
            return Err(format!("no choice of {most} configs serves every shape; {without} are left over"));
        }
        let serve = |row: &Vec<f64>| kept.iter().copied().min_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
        let serves: Vec<usize> = self.rows.iter().map(serve).collect();
        kept.retain(|k| serves.contains(k));
        let losses = self.rows.iter().zip(&serves).map(|(row, &k)| row[k].exp()).collect();
        Ok(Cover { kept, serves, losses })
    }
}

/// The next choice in order: rising numbers below `n`.
fn next(at: &mut [usize], n: usize) -> bool {
    let k = at.len();
    let Some(i) = (0..k).rev().find(|&i| at[i] < n - k + i) else { return false };
    at[i] += 1;
    for j in i + 1..k {
        at[j] = at[j - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The least geometric mean over every subset of at most `most` columns, by the definition.
    fn brute(seconds: &[Vec<Option<f64>>], most: usize) -> Option<f64> {
        let n = seconds[0].len();
        let loss = |set: u32| -> Option<f64> {
            let mut product = 1.0;
            for row in seconds {
                let of =
                    |all: u32| row.iter().enumerate().filter(move |(k, _)| all >> k & 1 == 1).filter_map(|(_, s)| *s);
                let (own, best) = (of(set).min_by(f64::total_cmp)?, of(u32::MAX).min_by(f64::total_cmp)?);
                product *= own / best;
            }
            Some(product.powf(1.0 / seconds.len() as f64))
        };
        let sets = (1u32..1 << n).filter(|s| s.count_ones() as usize <= most);
        sets.filter_map(loss).min_by(f64::total_cmp)
    }

    fn problem(rng: &mut Random, shapes: usize, configs: usize, gaps: u64) -> Vec<Vec<Option<f64>>> {
        let time = |rng: &mut Random| (rng.below(100) >= gaps).then(|| 1e-6 * (100 + rng.below(900)) as f64);
        (0..shapes).map(|_| (0..configs).map(|_| time(rng)).collect()).collect()
    }

    fn check(seconds: &[Vec<Option<f64>>], most: usize, c: &Cover) {
        assert!(c.kept.len() <= most && c.kept.windows(2).all(|w| w[0] < w[1]));
        for (row, (k, loss)) in seconds.iter().zip(c.serves.iter().zip(&c.losses)) {
            let winner = row.iter().flatten().copied().fold(f64::INFINITY, f64::min);
            let own = row[*k].expect("serves only where it can");
            assert!(c.kept.contains(k) && (own / winner - loss).abs() < 1e-9);
            assert!(c.kept.iter().all(|k| row[*k].is_none_or(|s| s >= own)), "each shape takes its best");
        }
    }

    #[test]
    fn small_problems_are_solved_exactly() {
        let mut rng = Random::new(11);
        for round in 0..200 {
            let (shapes, configs) = (1 + rng.below(7) as usize, 1 + rng.below(9) as usize);
            let seconds = problem(&mut rng, shapes, configs, 15);
            for most in 1..5 {
                match (cover(&seconds, most), brute(&seconds, most)) {
                    (Ok(c), Some(best)) => {
                        check(&seconds, most, &c);
                        assert!((c.loss() - best).abs() < 1e-9, "{round}: {} and {best}", c.loss());
                    }
                    (Err(_), None) => {}
                    (c, b) => panic!("{round}: {c:?} and {b:?}"),
                }
            }
        }
    }

    #[test]
    fn exchanging_comes_close() {
        let mut rng = Random::new(5);
        let (mut sum, mut worst) = (0.0, 0.0f64);
        for _ in 0..100 {
            let seconds = problem(&mut rng, 8, 12, 10);
            let costs = Costs::new(&seconds).unwrap();
            let found = costs.finish(costs.exchange(3), 3).unwrap();
            check(&seconds, 3, &found);
            let over = found.loss() / brute(&seconds, 3).unwrap();
            (sum, worst) = (sum + over, worst.max(over));
        }
        assert!(sum / 100.0 < 1.01 && worst < 1.2, "mean {}, worst {worst}", sum / 100.0);
    }

    #[test]
    fn many_configs_take_the_other_way() {
        let mut rng = Random::new(9);
        let seconds = problem(&mut rng, 20, 60, 5);
        let mut last = f64::INFINITY;
        for most in [1, 2, 4, 8, 20, 100] {
            let c = cover(&seconds, most).unwrap();
            check(&seconds, most, &c);
            assert!(c.loss() <= last + 1e-9, "more configs lose more");
            last = c.loss();
        }
        assert!((last - 1.0).abs() < 1e-9, "with a config for each shape there is no loss");
    }

    #[test]
    fn what_cannot_be_served_is_said() {
        assert!(cover(&[vec![Some(1.0)], vec![None]], 1).unwrap_err().contains("shape 1"));
        let apart = [vec![Some(1.0), None], vec![None, Some(1.0)]];
        assert!(cover(&apart, 1).unwrap_err().contains("1 are left over"));
        assert_eq!(cover(&apart, 2).unwrap().serves, [0, 1]);
        let none = cover(&[], 3).unwrap();
        assert!(none.kept.is_empty() && none.loss() == 1.0);
    }
}

//! What was tuned at which sizes, and which of it serves sizes that were not tuned.
//!
//! In: points, each the sizes of a launch and what was found for them. Out: for any sizes the point with exactly
//! these sizes, or else the nearest one and how far away it is.
//!
//! **Distance** is counted in *doublings*: how often one of the sizes has to be doubled or halved to get from one
//! shape to the other, fractions included. 128×64 is 1 from 256×64 and 2 from 256×32; 96 is 0.58 from 64.
//! Every size counts the same. A size of 0 counts as one half, so it is 1 from a size of 1.

use std::cmp::Ordering;

/// How many doublings lie between two shapes. Infinite when they do not have equally many sizes.
pub fn distance(a: &[u64], b: &[u64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    a.iter().zip(b).map(|(&a, &b)| (log(a) - log(b)).abs()).sum()
}

fn log(size: u64) -> f64 {
    if size == 0 { -1.0 } else { (size as f64).log2() }
}

/// Points of one kernel: values by sizes.
#[derive(Clone, Debug)]
pub struct Table<V> {
    /// In the order of sizes, each at most once. Which point wins among equally near ones follows from the
    /// order, so it does not depend on when points were added.
    points: Vec<Point<V>>,
}

#[derive(Clone, Debug)]
struct Point<V> {
    sizes: Box<[u64]>,
    /// Logarithms of the sizes.
    logs: Box<[f64]>,
    value: V,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table { points: Vec::new() }
    }
}

impl<V> FromIterator<(Vec<u64>, V)> for Table<V> {
    fn from_iter<I: IntoIterator<Item = (Vec<u64>, V)>>(points: I) -> Self {
        let mut table = Table::default();
        points.into_iter().for_each(|(sizes, value)| table.insert(&sizes, value));
        table
    }
}

impl<V> Table<V> {
    /// Adds a point, or replaces the one with exactly these sizes.
    pub fn insert(&mut self, sizes: &[u64], value: V) {
        match self.find(sizes) {
            Ok(i) => self.points[i].value = value,
            Err(i) => {
                let logs = sizes.iter().map(|&s| log(s)).collect();
                self.points.insert(i, Point { sizes: sizes.into(), logs, value });
            }
        }
    }

    /// The value of the point with exactly these sizes.
    pub fn exact(&self, sizes: &[u64]) -> Option<&V> {
        self.find(sizes).ok().map(|i| &self.points[i].value)
    }

    /// The value of the nearest point, and how far away it is; of equally near ones that with the smaller
    /// sizes, compared in order. Points with another number of sizes are no neighbours.
    pub fn nearest(&self, sizes: &[u64]) -> Option<(f64, &V)> {
        if let Some(v) = self.exact(sizes) {
            return Some((0.0, v));
        }
        let logs: Vec<f64> = sizes.iter().map(|&s| log(s)).collect();
        let mut best: Option<(f64, &V)> = None;
        for p in self.points.iter().filter(|p| p.logs.len() == logs.len()) {
            let d = p.logs.iter().zip(&logs).map(|(a, b)| (a - b).abs()).sum();
            if best.is_none_or(|(least, _)| d < least) {
                best = Some((d, &p.value));
            }
        }
        best
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Every point, in the order of sizes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u64], &V)> {
        self.points.iter().map(|p| (&*p.sizes, &p.value))
    }

    /// Fewer sizes come first, then smaller ones.
    fn find(&self, sizes: &[u64]) -> Result<usize, usize> {
        self.points.binary_search_by(|p| match p.sizes.len().cmp(&sizes.len()) {
            Ordering::Equal => (*p.sizes).cmp(sizes),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn distances_are_doublings() {
        for (a, b, d) in [
            (&[64][..], &[64][..], 0.0),
            (&[64], &[128], 1.0),
            (&[128, 64], &[256, 32], 2.0),
            (&[64], &[96], 0.584_962_500_721_156),
            (&[0], &[1], 1.0),
            (&[0, 5], &[0, 5], 0.0),
            (&[1], &[u64::MAX], 64.0),
            (&[], &[], 0.0),
        ] {
            assert!(near(distance(a, b), d) && near(distance(b, a), d), "{a:?} {b:?}: {}", distance(a, b));
        }
        assert_eq!(distance(&[1], &[1, 1]), f64::INFINITY);
    }

    #[test]
    fn farther_in_any_size_is_farther() {
        let mut rng = Random::new(1);
        for _ in 0..2000 {
            let n = 1 + rng.below(6) as usize;
            let a: Vec<u64> = (0..n).map(|_| rng.below(1 << 20)).collect();
            let b: Vec<u64> = (0..n).map(|_| rng.below(1 << 20)).collect();
            let c: Vec<u64> = (0..n).map(|_| rng.below(1 << 20)).collect();
            assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c) + 1e-9, "no shortcut through {b:?}");
            let k = rng.below(n as u64) as usize;
            let mut farther = b.clone();
            farther[k] = if b[k] >= a[k] { b[k] * 2 + 1 } else { b[k] / 2 };
            if farther[k] != b[k] {
                assert!(distance(&a, &farther) > distance(&a, &b), "{a:?} {b:?} {farther:?}");
            }
        }
    }

    #[test]
    fn exact_points_win_and_are_replaced() {
        let mut t = Table::default();
        assert!(t.nearest(&[1]).is_none() && t.is_empty());
        t.insert(&[64, 64], "a");
        t.insert(&[65, 64], "b");
        assert_eq!(t.nearest(&[65, 64]), Some((0.0, &"b")));
        t.insert(&[65, 64], "c");
        assert_eq!((t.len(), t.exact(&[65, 64])), (2, Some(&"c")));
        assert_eq!(t.exact(&[64, 65]), None);
        assert_eq!(t.nearest(&[64, 65]).map(|n| *n.1), Some("a"));
        // Another number of sizes is another kind of launch.
        assert_eq!(t.nearest(&[64]), None);
    }

    #[test]
    fn the_order_of_insertion_does_not_matter() {
        // 128 lies one doubling from both neighbours; the smaller one wins.
        let points: Vec<(Vec<u64>, u32)> = [[64, 8], [256, 8], [128, 4], [128, 16], [0, 0]]
            .into_iter()
            .zip(0..)
            .map(|(s, i)| (s.to_vec(), i))
            .collect();
        let mut rng = Random::new(7);
        for _ in 0..50 {
            let mut shuffled = points.clone();
            rng.shuffle(&mut shuffled);
            let t: Table<u32> = shuffled.into_iter().collect();
            assert_eq!(t.nearest(&[128, 8]), Some((1.0, &0)));
            assert_eq!(t.nearest(&[0, 1]), Some((1.0, &4)));
        }
    }

    #[test]
    fn the_nearest_is_the_nearest() {
        let mut rng = Random::new(3);
        for n in [1usize, 2, 5, 12] {
            let size = |rng: &mut Random| {
                let bits = 1 + rng.below(24);
                rng.below(1 << bits)
            };
            let shape = |rng: &mut Random| -> Vec<u64> { (0..n).map(|_| size(rng)).collect() };
            let points: Vec<Vec<u64>> = (0..60).map(|_| shape(&mut rng)).collect();
            let t: Table<Vec<u64>> = points.iter().map(|p| (p.clone(), p.clone())).collect();
            for _ in 0..300 {
                let q = shape(&mut rng);
                let (d, p) = t.nearest(&q).unwrap();
                let least = points.iter().map(|p| distance(p, &q)).fold(f64::INFINITY, f64::min);
                assert!(near(d, least) && near(distance(p, &q), least), "{q:?}");
            }
        }
    }
}

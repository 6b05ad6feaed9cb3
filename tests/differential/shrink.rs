//! Makes a failing list of decisions shorter and plainer.

/// The plainest list found that still fails, within a number of tries.
pub fn shrink(choices: &[u32], tries: usize, mut fails: impl FnMut(&[u32]) -> bool) -> Vec<u32> {
    let mut best = choices.to_vec();
    let mut left = tries;
    let mut attempt = |best: &mut Vec<u32>, candidate: Vec<u32>| {
        if left == 0 || candidate == *best {
            return false;
        }
        left -= 1;
        let better = fails(&candidate);
        if better {
            *best = candidate;
        }
        better
    };
    loop {
        let before = best.clone();
        // Without a run of decisions, long runs first.
        let mut run = best.len().next_power_of_two() / 2;
        while run > 0 {
            let mut at = 0;
            while at < best.len() {
                let mut shorter = best.clone();
                shorter.drain(at..(at + run).min(best.len()));
                if !attempt(&mut best, shorter) {
                    at += run;
                }
            }
            run /= 2;
        }
        // With single decisions plainer.
        for i in 0..best.len() {
            for lower in [0, 1, best[i] / 2, best[i].wrapping_sub(1)] {
                if i < best.len() && lower < best[i] {
                    let mut plainer = best.clone();
                    plainer[i] = lower;
                    if attempt(&mut best, plainer) {
                        break;
                    }
                }
            }
        }
        if best == before {
            return best;
        }
    }
}

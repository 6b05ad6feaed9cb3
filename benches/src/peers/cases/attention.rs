//! Attention of 16 heads of size 64.

use super::{Case, Context, Work, dense, no_crates, numbers, words};
use crate::attention::attention;
use crate::python::Array;

/// 2048 positions, causal and not, and an odd number of them.
pub fn all(context: &Context) -> Result<(), String> {
    let (heads, d) = (16, 64);
    for (length, causal, quick) in [(2048, false, true), (2048, true, false), (1999, false, false)] {
        let kernel = if causal { "causal_attention" } else { "attention" };
        if !context.wants(kernel, quick) {
            continue;
        }
        let (q, v) = (numbers([heads, length, d])?, numbers([heads, length, d])?);
        // Not the same as the queries: those would all see themselves best.
        let k = dense(&q.flip(1).map_err(words)?)?;
        let mut inputs = vec![Array::new("q", &q)?, Array::new("k", &k)?, Array::new("v", &v)?];
        if causal {
            inputs.push(Array::new("causal", &numbers([1])?)?);
        }
        let pairs = if causal { length * (length + 1) / 2 } else { length * length };
        context.run(Case {
            kernel,
            shape: format!("{heads} heads, {length} × {d}"),
            work: Work::Operations(4 * heads * pairs * d),
            tolerance: 1e-4,
            python: ("attention", inputs),
            compile: true,
            call: &|| attention(&q, &k, &v, 0.125, causal),
            crates: &no_crates,
        });
    }
    Ok(())
}

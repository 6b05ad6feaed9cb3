//! What comes before the first result: compiling a kernel for one config.

use std::time::Instant;

use helion::prelude::*;
use helion::with_config;

use super::{Context, Measured, Work, numbers, words};
use crate::matmul::{identity, matmul};
use crate::race::{Kind, Outcome, quantile};
use crate::softmax::softmax;

/// First calls with configs never used before, less later calls with the same config.
pub fn all(context: &Context) -> std::result::Result<(), String> {
    if !context.wants("compile", true) {
        return Ok(());
    }
    let (a, b) = (numbers([64, 64])?, numbers([64, 64])?);
    let product = |c: &Config| with_config(c, || matmul(&a, &b, identity)).map(drop);
    let rows = |c: &Config| with_config(c, || softmax(&a)).map(drop);
    for (shape, outcome) in [("matrix product", compile(&product)?), ("softmax", compile(&rows)?)] {
        let outcomes = vec![outcome];
        let work = Work::Things(1, "configs");
        context.measured.borrow_mut().push(Measured { kernel: "compile", shape: shape.to_owned(), work, outcomes });
    }
    Ok(())
}

fn compile(call: &dyn Fn(&Config) -> Result<()>) -> std::result::Result<Outcome, String> {
    let mut times = Vec::new();
    for block in 1..=40 {
        let config = Config::new().block("tm", block);
        let seconds = || -> std::result::Result<f64, String> {
            let begin = Instant::now();
            call(&config).map_err(words)?;
            Ok(begin.elapsed().as_secs_f64())
        };
        let (first, second) = (seconds()?, seconds()?);
        times.push(first - second);
    }
    let [low, median, high] = [0.25, 0.5, 0.75].map(|q| quantile(&mut times, q));
    let spread = (high - low) / 2.0 / median;
    Ok(Outcome { name: "helion".to_owned(), kind: Kind::Untuned, median, spread, ratio: 1.0, ratio_spread: 0.0 })
}

//! The report as JSON, for programs.

use super::Report;
use crate::{Rejection, Timing, Trial};
use helion_ir::config::Config;
use serde_json::{Map, Value, json};

/// Changes when a field changes its meaning.
const FORMAT: &str = "helion tuning report 1";

/// The whole document, indented.
pub(super) fn document(r: &Report<'_>) -> String {
    let o = r.outcome;
    let sizes: Map<String, Value> = r.sizes.iter().map(|(name, v)| (name.clone(), json!(v))).collect();
    let runners: Vec<Value> = o.runners_up.iter().map(|(c, t)| measured(c, t)).collect();
    let trials: Vec<Value> = o.trials.iter().map(trial).collect();
    let document = json!({
        "format": FORMAT,
        "helion": env!("CARGO_PKG_VERSION"),
        "kernel": r.kernel,
        "device": r.device,
        "sizes": sizes,
        "effort": format!("{:?}", o.effort).to_lowercase(),
        "strategy": o.strategy,
        "seed": o.seed,
        "space": o.space,
        "seconds": o.time.as_secs_f64(),
        "end": format!("{:?}", o.end).to_lowercase(),
        "bound": o.bound,
        "noise": { "ratio": o.noise.ratio, "samples": o.noise.samples },
        "gain": o.gain(),
        "winner": measured(&o.best, &o.timing),
        "default": measured(&o.default, &o.default_timing),
        "runners_up": runners,
        "trials": trials,
    });
    format!("{document:#}\n")
}

fn measured(config: &Config, t: &Timing) -> Value {
    json!({
        "config": config.to_string(),
        "seconds": t.seconds,
        "low": t.low,
        "high": t.high,
        "samples": t.samples,
    })
}

fn trial(t: &Trial) -> Value {
    let mut v = match &t.result {
        Ok(timing) => measured(&t.config, timing),
        Err(why) => json!({ "config": t.config.to_string(), "rejected": rejected(why) }),
    };
    v["origin"] = json!(t.origin);
    v["predicted"] = json!(t.predicted);
    v["at"] = json!(t.at);
    v
}

fn rejected(why: &Rejection) -> Value {
    json!({ "kind": why.kind(), "reason": why.to_string() })
}

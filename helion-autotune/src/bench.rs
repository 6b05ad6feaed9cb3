//! What a search can do with a config: [`Bench`].
//!
//! A search never sees a backend. It asks a bench whether a config is legal and how fast it is expected to
//! be, has it compiled and checked, and takes samples of its time. Failures are data: a [`Rejection`] says why
//! a config is out, and the search goes on.

use helion_ir::config::Config;
use std::fmt;
use std::time::Duration;

/// A config that is compiled and gave right results; a number that the bench hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u32);

/// Compiles, checks and times configs of one kernel on one problem.
pub trait Bench {
    /// Whether a config may be compiled at all, by facts of the target. Cheap.
    ///
    /// # Errors
    /// Why not, in words.
    fn legal(&self, config: &Config) -> Result<(), String>;

    /// The seconds of a launch by the cost model; `None` when there is no model. Cheap.
    fn predict(&self, config: &Config) -> Option<f64>;

    /// The least seconds a launch could take on this device (a roofline); `None` when unknown.
    fn bound(&self) -> Option<f64> {
        None
    }

    /// Configs that will probably be asked for next, the likeliest first: a bench may compile them while it
    /// does other work. Replaces what was said before.
    fn expect(&mut self, configs: &[Config]) {
        let _ = configs;
    }

    /// Compiles each config, runs it, and compares what it writes with the reference. One answer for each, in
    /// order. A config that is asked for again gets a copy of its own: the null arm of a final is one.
    fn prepare(&mut self, configs: &[Config]) -> Vec<Result<Id, Rejection>>;

    /// Takes one sample of each, in this order: the seconds of one launch. One answer for each, in order.
    fn sample(&mut self, ids: &[Id]) -> Vec<Result<f64, Rejection>>;

    /// Frees what a prepared config holds; it will not be asked for again.
    fn forget(&mut self, id: Id) {
        let _ = id;
    }
}

/// Why a config is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Facts of the target rule it out; it was not compiled.
    Illegal(String),
    /// It gives the same code as this earlier config.
    Same(Config),
    /// It does not compile.
    Compile(String),
    /// Its results are wrong.
    Wrong(String),
    /// It panicked, or ended with an error.
    Failed(String),
    /// It took the process down.
    Crashed(String),
    /// It did not finish in this time.
    Hung(Duration),
}

impl Rejection {
    /// One word for tables.
    pub const fn kind(&self) -> &'static str {
        match self {
            Rejection::Illegal(_) => "illegal",
            Rejection::Same(_) => "same",
            Rejection::Compile(_) => "compile",
            Rejection::Wrong(_) => "wrong",
            Rejection::Failed(_) => "failed",
            Rejection::Crashed(_) => "crashed",
            Rejection::Hung(_) => "hung",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Illegal(why) => write!(f, "not legal here: {why}"),
            Rejection::Same(config) => write!(f, "the same code as `{config}`"),
            Rejection::Compile(why) => write!(f, "does not compile: {why}"),
            Rejection::Wrong(why) => write!(f, "wrong results: {why}"),
            Rejection::Failed(why) => write!(f, "failed: {why}"),
            Rejection::Crashed(why) => write!(f, "took its process down: {why}"),
            Rejection::Hung(time) => write!(f, "did not finish in {:.1} s", time.as_secs_f64()),
        }
    }
}

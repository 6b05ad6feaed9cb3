//! Kernels that do not exist: response surfaces with noise, on a clock that only they move.
//!
//! Every run is the same for a seed. The surfaces have what real ones have: blocks that must fit into caches, register
//! tiles that spill, remainders, idle threads, knobs that only matter together.
#![allow(dead_code, reason = "each test uses a part")]

mod surfaces;

#[allow(unused_imports, reason = "each test uses a part")]
pub use surfaces::{SURFACES, Surface, flat};

use helion_autotune::{Bench, Clock, Id, Rejection};
use helion_ir::config::{Config, Slot};
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// A clock that a bench moves.
#[derive(Clone, Default)]
pub struct Hand(Rc<Cell<f64>>);

impl Hand {
    pub fn wait(&self, seconds: f64) {
        self.0.set(self.0.get() + seconds);
    }
    pub fn seconds(&self) -> f64 {
        self.0.get()
    }
}

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_secs_f64(self.0.get())
    }
}

/// Random numbers, apart from those of the search.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// Evenly between 0 and 1.
    pub fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Normal, deviation 1.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.even().max(1e-300).ln()).sqrt() * (std::f64::consts::TAU * self.even()).cos()
    }
}

/// How samples differ from the truth.
#[derive(Clone, Copy)]
pub struct Disturbance {
    /// Relative deviation of every sample.
    pub jitter: f64,
    /// Share of samples that meet a burst, which adds up to twice the time.
    pub bursts: f64,
    /// How far the machine's speed wanders, over some seconds.
    pub drift: f64,
    /// Factor of slow periods of 100 ms, about one in each second.
    pub slow: f64,
}

/// Noise as on a machine that does other things too.
pub const BUSY: Disturbance = Disturbance { jitter: 0.02, bursts: 0.04, drift: 0.04, slow: 1.3 };
/// Noise of a quiet machine.
pub const QUIET: Disturbance = Disturbance { jitter: 0.01, bursts: 0.01, drift: 0.01, slow: 1.0 };
/// None.
pub const NONE: Disturbance = Disturbance { jitter: 0.0, bursts: 0.0, drift: 0.0, slow: 1.0 };

/// What the cost model knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Model {
    /// There is none.
    Absent,
    /// Off by 30 % at random, but it knows the trend.
    Good,
    /// Random numbers.
    Useless,
    /// Slow is said to be fast.
    Misleading,
}

/// What goes wrong with a config, if anything.
pub type Fault = Box<dyn Fn(&Config) -> Option<Rejection>>;

/// A bench of a surface.
pub struct Synthetic {
    pub surface: Surface,
    pub noise: Disturbance,
    pub model: Model,
    pub hand: Hand,
    pub dice: Dice,
    /// Seconds that preparing takes.
    pub compile: f64,
    /// What happens to configs, decided before anything else.
    pub fault: Fault,
    /// Fails when it is sampled, not when it is prepared.
    pub late: Fault,
    pub bound: Option<f64>,
    prepared: Vec<Config>,
    pub asked: HashMap<Config, usize>,
    pub samples: usize,
}

impl Synthetic {
    pub fn new(surface: Surface, noise: Disturbance, seed: u64) -> Synthetic {
        Synthetic {
            surface,
            noise,
            model: Model::Absent,
            hand: Hand::default(),
            dice: Dice(seed ^ 0xabcd_ef01),
            compile: 0.003,
            fault: Box::new(|_| None),
            late: Box::new(|_| None),
            bound: None,
            prepared: Vec::new(),
            asked: HashMap::new(),
            samples: 0,
        }
    }
    /// The true seconds.
    pub fn truth(&self, config: &Config) -> f64 {
        (self.surface.time)(config).expect("a legal config")
    }
    /// The best true seconds of the space.
    pub fn optimum(&self) -> f64 {
        let s = &self.surface;
        (0..s.space.len()).filter_map(|i| (s.time)(&s.space.nth(i))).fold(f64::INFINITY, f64::min)
    }
    fn disturb(&mut self) -> f64 {
        let (n, t) = (self.noise, self.hand.seconds());
        let mut f = 1.0 + n.jitter * self.dice.normal().abs();
        if self.dice.even() < n.bursts {
            f *= 1.0 + 2.0 * self.dice.even().powi(2);
        }
        f *= 1.0 + n.drift * (t * 1.7).sin();
        // The slow period's place in each second differs.
        let place = Dice(t as u64 + 77).even() * 0.9;
        if t.fract() >= place && t.fract() < place + 0.1 {
            f *= n.slow;
        }
        f
    }
}

impl Bench for Synthetic {
    fn legal(&self, config: &Config) -> Result<(), String> {
        (self.surface.time)(config).map(|_| ()).ok_or_else(|| "the surface has a hole here".into())
    }
    fn predict(&self, config: &Config) -> Option<f64> {
        let text = config.to_string();
        let mut dice = Dice(text.bytes().fold(7u64, |h, b| h.wrapping_mul(1_099_511_628_211) ^ u64::from(b)));
        let time = (self.surface.time)(config)?;
        match self.model {
            Model::Absent => None,
            Model::Good => Some(time * (0.3 * dice.normal()).exp()),
            Model::Useless => Some(dice.even() + 0.1),
            Model::Misleading => Some(1e-6 / time * (0.3 * dice.normal()).exp()),
        }
    }
    fn bound(&self) -> Option<f64> {
        self.bound
    }
    fn prepare(&mut self, configs: &[Config]) -> Vec<Result<Id, Rejection>> {
        let mut out = Vec::new();
        for c in configs {
            *self.asked.entry(c.clone()).or_default() += 1;
            self.hand.wait(self.compile);
            out.push(match (self.fault)(c) {
                Some(why) => Err(why),
                None => {
                    self.hand.wait(self.truth(c));
                    self.prepared.push(c.clone());
                    Ok(Id(self.prepared.len() as u32 - 1))
                }
            });
        }
        out
    }
    fn sample(&mut self, ids: &[Id]) -> Vec<Result<f64, Rejection>> {
        let mut out = Vec::new();
        for id in ids {
            let config = self.prepared[id.0 as usize].clone();
            self.samples += 1;
            if let Some(why) = (self.late)(&config) {
                out.push(Err(why));
                continue;
            }
            let seconds = self.truth(&config) * self.disturb();
            // Short kernels run in batches of at least this.
            self.hand.wait(seconds.max(60e-6));
            out.push(Ok(seconds));
        }
        out
    }
}

/// A slot's value.
pub fn value(config: &Config, slot: &Slot) -> f64 {
    config.get(slot).unwrap_or(0) as f64
}

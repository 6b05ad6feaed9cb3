//! Runs one program by every engine and compares what they leave in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use helion_codegen::split;
use helion_ir::args::{Arg, Args};
use helion_ir::config::{Config, Knob};
use helion_ir::dtype::{Class, Literal};
use helion_ir::target::Target;
use helion_ir::{loops, tile};

use crate::generate::{Case, Refused, generate};
use crate::num::Num;
use crate::source::Source;
use crate::support::engines::{self, Engine};

/// How many programs had reductions to split.
pub static SPLIT: AtomicU64 = AtomicU64::new(0);

/// What became of a list of decisions.
pub enum Outcome {
    /// Every engine agreed.
    Agreed,
    /// There is no such program.
    Refused(Refused),
    /// Something is wrong.
    Failed(Failure),
}

/// Something is wrong.
pub struct Failure {
    /// What failed: an engine or a stage. Shrinking keeps it.
    pub stage: String,
    pub message: String,
    /// The program as text.
    pub program: String,
}

impl Failure {
    /// What failures of the same cause have in common: the stage and the first words without numbers.
    pub fn kind(&self) -> String {
        let line = self.message.lines().next().unwrap_or("");
        let words: String = line.chars().filter(|c| !c.is_ascii_digit()).take(70).collect();
        let words = if line.contains("differs in") { "wrong values" } else { &words };
        format!("{}: {words}", self.stage)
    }
}

/// Generates and checks.
pub fn check(source: &mut Source, engines: &[Engine], target: &Target) -> Outcome {
    let case = match guarded(|| Ok(generate(source))) {
        Ok(Ok(case)) => case,
        Ok(Err(refused)) => return Outcome::Refused(refused),
        Err(message) => return Outcome::Failed(Failure { stage: "generator".into(), message, program: String::new() }),
    };
    match check_case(&case, engines, target) {
        Ok(()) => Outcome::Agreed,
        Err((stage, message)) => {
            let program = format!("{}\nconfig: {}\n{}", case.kernel.function(), case.config, arguments(&case.args));
            Outcome::Failed(Failure { stage, message, program })
        }
    }
}

/// Panics become messages.
fn guarded<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|p| {
        let text = p.downcast_ref::<String>().cloned().or_else(|| p.downcast_ref::<&str>().map(|s| (*s).to_string()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

fn check_case(case: &Case, engines: &[Engine], target: &Target) -> Result<(), (String, String)> {
    guarded(|| round_trips(case, target)).map_err(|e| ("text".to_string(), e))?;
    let run = |engine: &Engine, config: &Config| {
        let mut args = case.args.clone();
        guarded(|| engines::run(engine, &case.kernel, config, target, &mut args)).map(|()| args)
    };
    let expected = run(&Engine::Tile, &case.config).map_err(|e| ("tile interpreter".to_string(), e))?;
    for engine in engines {
        let stage = || engine.name().to_string();
        let got = run(engine, &case.config).map_err(|e| (stage(), e))?;
        compare(case, &expected, &got).map_err(|e| (stage(), e))?;
    }
    if split::applies(&case.kernel) {
        let parts = 2 + case.kernel.function().values.len() as u64 % 5;
        let config = case.config.clone().knob(Knob::Split, parts);
        for engine in [&Engine::Tile].into_iter().chain(engines) {
            let stage = || format!("{} of a split kernel", engine.name());
            let got = run(engine, &config).map_err(|e| (stage(), e))?;
            compare(case, &expected, &got).map_err(|e| (stage(), format!("config {config}: {e}")))?;
        }
        SPLIT.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(other) = &case.other {
        let engine = engines.last().unwrap_or(&Engine::Tile);
        let stage = || format!("{} with another config", engine.name());
        let got = run(engine, other).map_err(|e| (stage(), e))?;
        compare(case, &expected, &got).map_err(|e| (stage(), format!("config {other}: {e}")))?;
    }
    Ok(())
}

/// What either IR prints reads back as the same.
fn round_trips(case: &Case, target: &Target) -> Result<(), String> {
    let f = case.kernel.function();
    let text = f.to_string();
    let back = tile::parse(&text).map_err(|e| format!("tile text does not read back: {e}\n{text}"))?;
    if back != *f {
        return Err(format!("tile text reads back as something else:\n{back}"));
    }
    let f = engines::lowered(&case.kernel, &case.config, target)?;
    let text = f.to_string();
    let back = loops::parse(&text).map_err(|e| format!("loop text does not read back: {e}\n{text}"))?;
    if back != f {
        return Err(format!("loop text reads back as something else:\n{text}\n---\n{back}"));
    }
    Ok(())
}

/// Compares all storage: what a program may not touch must be as before, which it is in `expected`.
fn compare(case: &Case, expected: &Args, got: &Args) -> Result<(), String> {
    for (i, (want, have)) in expected.params.iter().zip(&got.params).enumerate() {
        let (Arg::Tensor(want), Arg::Tensor(have)) = (want, have) else { continue };
        let count = want.data().len() / want.dtype().size();
        let bound = case.bounds[i];
        let (mut wrong, mut first) = (0, None);
        for p in 0..count {
            let (Some(w), Some(h)) = (want.get_at(p), have.get_at(p)) else { continue };
            if !agrees(w, h, bound) {
                wrong += 1;
                first.get_or_insert((p, w, h));
            }
        }
        if let Some((p, w, h)) = first {
            let name = &case.kernel.function().params[i].name;
            return Err(format!(
                "`{name}` differs in {wrong} of {count} elements; at {p} (in storage): {:e} (bits {:#x}) where {:e} \
                 (bits {:#x}) was expected, allowed difference {:e} + {:e} relative",
                h.to_f64(),
                h.bits,
                w.to_f64(),
                w.bits,
                bound.abs,
                bound.rel
            ));
        }
    }
    Ok(())
}

/// Whether two elements may come from correct executions.
fn agrees(a: Literal, b: Literal, bound: Num) -> bool {
    if a == b {
        return true;
    }
    if !matches!(a.dtype.class(), Class::Float | Class::Storage) {
        return false;
    }
    let (x, y) = (a.to_f64(), b.to_f64());
    if x.is_nan() || y.is_nan() {
        return x.is_nan() && y.is_nan();
    }
    if x == y {
        return bound.zero_sign || !bound.is_exact();
    }
    if bound.is_exact() {
        return false;
    }
    let top = Literal::from_f64(a.dtype, 1e308).to_f64().min(3e38);
    if x.is_infinite() != y.is_infinite() {
        // A relative difference may decide over overflow.
        return bound.rel > 0.0 && x.signum() == y.signum() && x.abs().min(y.abs()) >= 0.9 * top;
    }
    (x - y).abs() <= 2.0 * (bound.abs + bound.rel * x.abs().max(y.abs()))
}

/// The arguments in a few lines.
pub fn arguments(args: &Args) -> String {
    let mut text = format!("sizes: {:?}\n", args.symbols);
    for (i, a) in args.params.iter().enumerate() {
        text += &match a {
            Arg::Scalar(l) => format!("argument {i}: {} {:e} (bits {:#x})\n", l.dtype, l.to_f64(), l.bits),
            Arg::Tensor(t) => {
                let shown: Vec<f64> = t.to_f64s().into_iter().take(12).collect();
                format!("argument {i}: {} {:?}, strides {:?}, begins {shown:?}\n", t.dtype(), t.dims(), t.strides())
            }
        };
    }
    text
}

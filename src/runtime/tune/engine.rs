//! What compiles, checks and times candidates: an [`Engine`], and a [`Server`] that answers requests with one.
//!
//! In: requests of a search. Out: answers, one for each item, whatever a candidate does short of taking the process
//! down: a panic is a rejection. Where the server runs (this process, or one that may be killed) is
//! the business of [`isolated`](super::isolated).

use super::board::Board;
use helion_autotune::{Id, Rejection};
use helion_ir::config::Config;
use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Compiles, checks and times candidates, in the process it is in.
pub(super) trait Engine {
    /// Called once in each process before anything else; `own` when the process is there for this alone. Jobs on
    /// other threads are counted in `board`.
    ///
    /// # Errors
    /// Why nothing can be measured here, in words.
    fn enter(&mut self, board: Arc<Board>, own: bool) -> Result<(), String> {
        let _ = (board, own);
        Ok(())
    }
    /// Results are compared with those of this config from now on. Called before [`enter`](Engine::enter).
    fn refer(&mut self, config: &Config) {
        let _ = config;
    }
    /// How to start a program that measures this, where a fork of this process cannot; `None` where it can.
    #[cfg(unix)]
    fn remote(&self) -> Option<std::io::Result<super::remote::Remote>> {
        None
    }
    /// How many samples one request may ask for: as many as the board tells of, and one where a worker has no board.
    fn at_once(&self) -> usize {
        super::board::PLACES
    }
    /// Bytes that a launch uses; a worker process may have a few times as much.
    fn memory(&self) -> u64 {
        0
    }
    /// Whether a config may be compiled at all. Cheap.
    ///
    /// # Errors
    /// Why not, in words.
    fn legal(&self, config: &Config) -> Result<(), String> {
        let _ = config;
        Ok(())
    }
    /// The seconds of a launch by the cost model. Cheap.
    fn predict(&self, config: &Config) -> Option<f64> {
        let _ = config;
        None
    }
    /// The least seconds a launch could take.
    fn bound(&self) -> Option<f64> {
        None
    }
    /// Configs that will be asked for, the likeliest first; may be compiled on other threads.
    fn expect(&mut self, configs: &[Config]) {
        let _ = configs;
    }
    /// Samples follow, so nothing else may run on the cores they need; or no more of them.
    fn measuring(&mut self, on: bool) {
        let _ = on;
    }
    /// A name of the code of a config: equal for equal code.
    ///
    /// # Errors
    /// Why there is none.
    fn fingerprint(&mut self, config: &Config) -> Result<u128, Rejection>;
    /// Compiles a config, runs it, and compares what it writes with the reference.
    ///
    /// # Errors
    /// Why it is out.
    fn prepare(&mut self, id: Id, config: &Config) -> Result<(), Rejection>;
    /// One sample of a prepared config: the seconds of one launch.
    ///
    /// # Errors
    /// Why it is out.
    fn sample(&mut self, id: Id) -> Result<f64, Rejection>;
    /// Runs a prepared config on a small problem and compares with the definition. `Some` says why that is not
    /// possible.
    ///
    /// # Errors
    /// Why it is out.
    fn verify(&mut self, id: Id) -> Result<Option<String>, Rejection> {
        let _ = id;
        Ok(Some("there is nothing to compare with".to_owned()))
    }
    /// Frees what a prepared config holds.
    fn forget(&mut self, id: Id) {
        let _ = id;
    }
}

/// A config to be prepared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) id: Id,
    pub(super) config: Config,
    /// Whether it was not prepared before in this search, by any process.
    pub(super) fresh: bool,
}

/// What a server is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// See [`Engine::expect`]. No answer.
    Expect(Vec<Config>),
    /// One [`Answer::Prepared`] for each, in order. Others may be compiled on the way unless `alone`.
    Prepare { items: Vec<Item>, alone: bool },
    /// One [`Answer::Sampled`].
    Sample(Vec<Id>),
    /// One [`Answer::Verified`].
    Verify(Id),
    /// No answer.
    Forget(Id),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// The process is up; or why it cannot work.
    Ready(Result<(), String>),
    /// The name of the code, if it came so far, and the result.
    Prepared(Option<u128>, Result<(), Rejection>),
    /// Seconds of one launch of each.
    Sampled(Vec<Result<f64, Rejection>>),
    /// Why the check was not possible, if it was not.
    Verified(Result<Option<String>, Rejection>),
}

/// Answers requests with an engine.
pub(super) struct Server<E> {
    pub(super) engine: E,
    /// Configs by the code they gave, in this process and in those before it.
    pub(super) seen: HashMap<u128, Config>,
}

impl<E: Engine> Server<E> {
    pub(super) fn new(engine: E) -> Server<E> {
        Server { engine, seen: HashMap::new() }
    }

    /// Answers one request; `answer` gets each answer as soon as it is there and says whether to go on.
    pub(super) fn handle(&mut self, request: &Request, board: &Board, answer: &mut dyn FnMut(Answer) -> bool) {
        match request {
            Request::Expect(configs) => self.engine.expect(configs),
            Request::Prepare { items, alone } => {
                let configs: Vec<Config> = items.iter().map(|i| i.config.clone()).collect();
                self.engine.expect(if *alone { &[] } else { &configs });
                for item in items {
                    board.begin();
                    let mut print = None;
                    let result = guarded(|| self.prepare(item, board, &mut print));
                    board.end(f64::NAN);
                    if !answer(Answer::Prepared(print, result)) {
                        return;
                    }
                }
            }
            Request::Sample(ids) => {
                self.engine.measuring(true);
                let sample = |id: &Id| {
                    board.begin();
                    let result = guarded(|| self.engine.sample(*id)).and_then(plausible);
                    board.end(*result.as_ref().unwrap_or(&f64::NAN));
                    result
                };
                let results = ids.iter().map(sample).collect();
                self.engine.measuring(false);
                answer(Answer::Sampled(results));
            }
            Request::Verify(id) => {
                board.begin();
                let result = guarded(|| self.engine.verify(*id));
                board.end(f64::NAN);
                answer(Answer::Verified(result));
            }
            Request::Forget(id) => self.engine.forget(*id),
        }
    }

    fn prepare(&mut self, item: &Item, board: &Board, print: &mut Option<u128>) -> Result<(), Rejection> {
        let name = self.engine.fingerprint(&item.config)?;
        if item.fresh {
            if let Some(same) = self.seen.get(&name) {
                return Err(Rejection::Same(same.clone()));
            }
            board.name(name);
            *print = Some(name);
            self.seen.insert(name, item.config.clone());
        }
        self.engine.prepare(item.id, &item.config)
    }
}

/// Times are positive numbers.
fn plausible(seconds: f64) -> Result<f64, Rejection> {
    if seconds.is_finite() && seconds > 0.0 {
        return Ok(seconds);
    }
    Err(Rejection::Failed(format!("a launch took {seconds} seconds, says its clock")))
}

/// Makes a panic a rejection.
fn guarded<V>(f: impl FnOnce() -> Result<V, Rejection>) -> Result<V, Rejection> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|p| Err(Rejection::Failed(format!("panic: {}", panic_text(&*p)))))
}

/// What a panic said.
pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
}

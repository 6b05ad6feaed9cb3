//! A bench whose candidates run in a worker process, so that none of them can take the search down.
//!
//! In: an [`Engine`]. Out: a [`Bench`]. The worker is forked when it is first needed and answers over a socket;
//! each item has a deadline. A worker that dies or is late costs the candidate it was at: that one is
//! rejected, a new worker is forked, and candidates that the old one had prepared are prepared again when they are next
//! sampled. Where there is no `fork`, or by choice, the engine runs in this process.

use super::board::{Board, PLACES};
use super::engine::{Answer, Engine, Item, Request, Server};
#[cfg(unix)]
use super::process::{Child, Silence};
use crate::error::{Error, Result};
use helion_autotune::{Bench, Id, Rejection};
use helion_ir::config::Config;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the first config may take; the others have limits made from its time.
const FIRST: Duration = Duration::from_secs(60);
/// How long a later config may take in any case.
const LEAST: Duration = Duration::from_secs(1);
/// A config may take so many times what the first one took, from compiling to the end of its check.
const SLOWER: u32 = 8;
/// How long a check on a small problem may take.
const CHECK: Duration = Duration::from_secs(3);
/// How long a new worker may take to be up.
const START: Duration = Duration::from_secs(10);
/// So many workers in a row that do not come up are taken to say that none will.
const STARTS: u32 = 3;

/// Runs an engine where it can do no harm.
pub(super) struct Isolated<E: Engine> {
    server: Server<E>,
    board: Arc<Board>,
    place: Place,
    /// What the others are compared with, once there is one that works.
    reference: Option<Id>,
    /// By id.
    configs: Vec<Config>,
    /// Prepared in the present worker.
    live: HashSet<Id>,
    /// Time for an item.
    limit: Duration,
    /// How many workers were lost.
    deaths: usize,
    unverified: Option<String>,
    spent: Spent,
}

/// Where the time of a bench went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Waiting for candidates to be compiled and checked.
    pub preparing: Duration,
    /// Taking samples, restoring and warming up included.
    pub sampling: Duration,
}

/// Where the engine runs.
enum Place {
    /// In this process; whether it was told so.
    Here(bool),
    /// In a worker, if one is up.
    #[cfg(unix)]
    Worker(Option<Child>),
}

/// A request that was not answered in full.
#[derive(Debug)]
struct Death {
    /// What becomes of the candidate.
    rejection: Rejection,
    /// Items that were finished.
    done: usize,
    /// Whether other candidates were being compiled, one of which may be to blame.
    others: bool,
    /// The name of the candidate's code.
    name: Option<u128>,
}

impl<E: Engine> Isolated<E> {
    /// A bench on a worker process, or on this one.
    ///
    /// # Errors
    /// When there is no memory for what the two processes share.
    pub(super) fn new(engine: E, isolate: bool) -> Result<Isolated<E>> {
        let board = Board::new().map_err(|e| Error::memory(format!("no memory for tuning: {e}")))?;
        let place = Isolated::<E>::place(isolate);
        Ok(Isolated {
            server: Server::new(engine),
            board: Arc::new(board),
            place,
            reference: None,
            configs: Vec::new(),
            live: HashSet::new(),
            limit: FIRST,
            deaths: 0,
            unverified: None,
            spent: Spent::default(),
        })
    }

    #[cfg(unix)]
    fn place(isolate: bool) -> Place {
        if isolate { Place::Worker(None) } else { Place::Here(false) }
    }

    #[cfg(not(unix))]
    fn place(_isolate: bool) -> Place {
        Place::Here(false)
    }

    /// Where the time went.
    pub(super) fn spent(&self) -> Spent {
        self.spent
    }

    /// How many worker processes were lost.
    pub(super) fn deaths(&self) -> usize {
        self.deaths
    }

    /// The number of a config that was prepared.
    pub(super) fn id(&self, config: &Config) -> Option<Id> {
        self.configs.iter().position(|c| c == config).map(|i| Id(i as u32))
    }

    /// Runs a config on a small problem and compares with the definition. `Some` says why that was not possible.
    ///
    /// # Errors
    /// Why the config is out.
    pub(super) fn verify(&mut self, id: Id) -> Result<Option<String>, Rejection> {
        if let Some(why) = self.revive(&[id]).remove(&id) {
            return Err(why);
        }
        let limit = self.limit;
        self.limit = CHECK;
        let mut answers = Vec::new();
        let asked = self.exchange(&Request::Verify(id), 1, &mut answers);
        self.limit = limit;
        match (asked, answers.pop()) {
            // An endless loop on made-up data says nothing about the user's.
            (Err(Death { rejection: Rejection::Hung(_), .. }), _) => Ok(Some("it takes too long".to_owned())),
            (Err(death), _) => Err(death.rejection),
            (Ok(()), Some((Answer::Verified(result), _))) => result,
            (Ok(()), _) => Err(nonsense()),
        }
    }

    /// Makes a config the reference, if it works and agrees with the definition.
    fn refer(&mut self, item: &Item) -> Result<(), Rejection> {
        self.restart();
        self.server.engine.refer(&item.config);
        self.limit = FIRST;
        self.prepare_items(std::slice::from_ref(item)).pop().unwrap_or_else(|| Err(nonsense()))?;
        if let Some(why) = self.verify(item.id)? {
            self.unverified = Some(why);
        }
        self.reference = Some(item.id);
        Ok(())
    }

    /// Why the reference was not compared with the definition, if it was not.
    pub(super) fn unverified(&self) -> Option<&str> {
        self.unverified.as_deref()
    }

    /// Asks for `count` answers. What came before something went wrong is in `answers`, each with the time it took.
    fn exchange(
        &mut self,
        request: &Request,
        count: usize,
        answers: &mut Vec<(Answer, Duration)>,
    ) -> Result<(), Death> {
        #[cfg(unix)]
        if matches!(self.place, Place::Worker(_)) && self.start() {
            return self.ask(request, count, answers);
        }
        if let Place::Here(told @ false) = &mut self.place {
            *told = true;
            if let Err(why) = self.server.engine.enter(Arc::clone(&self.board), false) {
                eprintln!("warning: tuning: {why}");
            }
        }
        let mut last = Instant::now();
        self.board.clear();
        self.server.handle(request, &self.board, &mut |a| {
            answers.push((a, last.elapsed()));
            last = Instant::now();
            true
        });
        if answers.len() == count { Ok(()) } else { Err(self.death(nonsense())) }
    }

    fn death(&self, rejection: Rejection) -> Death {
        let done = usize::try_from(self.board.done()).unwrap_or(usize::MAX);
        let others = self.board.others.load(std::sync::atomic::Ordering::Relaxed) > 0;
        Death { rejection, done, others, name: self.board.named() }
    }

    /// Prepares items, each at most twice: a worker that dies while it compiles several may not die of the one it
    /// was asked for, so that one is tried again alone.
    fn prepare_items(&mut self, items: &[Item]) -> Vec<Result<(), Rejection>> {
        let mut results: Vec<Result<(), Rejection>> = Vec::new();
        let (mut alone, mut again) = (false, false);
        while results.len() < items.len() {
            let rest = items[results.len()..].to_vec();
            let (count, mut answers) = (rest.len(), Vec::new());
            let asked = self.exchange(&Request::Prepare { items: rest.clone(), alone }, count, &mut answers);
            again &= answers.is_empty();
            let at = answers.len();
            for (item, (answer, time)) in rest.iter().zip(answers) {
                results.push(self.prepared(item, answer, time));
            }
            let Err(death) = asked else { continue };
            let Some(item) = items.get(results.len()) else { break };
            // A reference is tried twice in any case: nothing can be done without one.
            if !again && ((death.others && !alone) || self.reference.is_none()) {
                (alone, again) = (true, true);
                continue;
            }
            // A worker that talked nonsense may have gone on to the next item, whose name this is not.
            if let Some(name) = death.name.filter(|_| death.done == at) {
                self.server.seen.entry(name).or_insert_with(|| item.config.clone());
            }
            results.push(Err(death.rejection));
        }
        results
    }

    fn prepared(&mut self, item: &Item, answer: Answer, time: Duration) -> Result<(), Rejection> {
        let Answer::Prepared(name, result) = answer else { return Err(nonsense()) };
        if let Some(name) = name {
            self.server.seen.entry(name).or_insert_with(|| item.config.clone());
        }
        if result.is_ok() {
            self.live.insert(item.id);
            if self.reference.is_none() {
                self.limit = LEAST + time * SLOWER;
            }
        }
        result
    }

    /// Makes the present worker have these candidates. Gives those that cannot be had.
    fn revive(&mut self, ids: &[Id]) -> HashMap<Id, Rejection> {
        let mut failed = HashMap::new();
        loop {
            let mut items: Vec<Item> = Vec::new();
            for &id in ids {
                if self.live.contains(&id) || failed.contains_key(&id) || items.iter().any(|i| i.id == id) {
                    continue;
                }
                match self.configs.get(id.0 as usize) {
                    Some(c) => items.push(Item { id, config: c.clone(), fresh: false }),
                    None => drop(failed.insert(id, Rejection::Failed("it was never prepared".to_owned()))),
                }
            }
            if items.is_empty() {
                return failed;
            }
            // Each turn revives all, or loses a candidate with a worker.
            for (item, result) in items.iter().zip(self.prepare_items(&items)) {
                if let Err(why) = result {
                    failed.insert(item.id, why);
                }
            }
        }
    }

    /// Samples at most as many as the board has places for.
    fn sample_some(&mut self, ids: &[Id]) -> Vec<Result<f64, Rejection>> {
        let mut results: Vec<Option<Result<f64, Rejection>>> = vec![None; ids.len()];
        let mut lost = HashMap::new();
        let mut forgiven = false;
        loop {
            let open: Vec<usize> = (0..ids.len()).filter(|i| results[*i].is_none()).collect();
            let wanted: Vec<Id> = open.iter().map(|i| ids[*i]).filter(|i| !lost.contains_key(i)).collect();
            lost.extend(self.revive(&wanted));
            let (gone, open): (Vec<usize>, Vec<usize>) = open.into_iter().partition(|i| lost.contains_key(&ids[*i]));
            gone.into_iter().for_each(|i| results[i] = lost.get(&ids[i]).cloned().map(Err));
            if open.is_empty() {
                return results.into_iter().map(|r| r.unwrap_or_else(|| Err(nonsense()))).collect();
            }
            let mut answers = Vec::new();
            let request = Request::Sample(open.iter().map(|i| ids[*i]).collect());
            match (self.exchange(&request, 1, &mut answers), answers.pop()) {
                (Ok(()), Some((Answer::Sampled(found), _))) if found.len() == open.len() => {
                    open.into_iter().zip(found).for_each(|(i, r)| results[i] = Some(r));
                }
                (Ok(()), _) => open.into_iter().for_each(|i| results[i] = Some(Err(nonsense()))),
                (Err(death), _) => {
                    for (item, i) in open.iter().take(death.done).enumerate() {
                        results[*i] = self.board.seconds(item).map(Ok);
                    }
                    if death.others && !forgiven {
                        // The new worker compiles nothing beside.
                        forgiven = true;
                    } else if let Some(i) = open.get(death.done) {
                        lost.insert(ids[*i], death.rejection);
                    } else if let Some(i) = open.last() {
                        lost.insert(ids[*i], death.rejection);
                    }
                }
            }
        }
    }
}

fn nonsense() -> Rejection {
    Rejection::Crashed("its answer makes no sense".to_owned())
}

#[cfg(not(unix))]
impl<E: Engine> Isolated<E> {
    /// Nothing to do: there is one process.
    fn restart(&mut self) {}
}

#[cfg(unix)]
impl<E: Engine> Isolated<E> {
    /// The next request goes to a new worker.
    fn restart(&mut self) {
        if let Place::Worker(child) = &mut self.place {
            *child = None;
            self.live.clear();
        }
    }

    /// Makes sure that a worker is up. When none comes up, this process takes its place.
    fn start(&mut self) -> bool {
        let Place::Worker(child) = &mut self.place else { return false };
        if child.is_some() {
            return true;
        }
        let mut why = String::new();
        for _ in 0..STARTS {
            self.live.clear();
            let new = match self.server.engine.remote() {
                None => Child::start(&mut self.server, &self.board),
                Some(remote) => remote.and_then(Child::spawn),
            };
            match new {
                Err(e) => why = e.to_string(),
                Ok(mut new) => match new.receive(START) {
                    Ok(Answer::Ready(Ok(()))) => {
                        *child = Some(new);
                        return true;
                    }
                    Ok(Answer::Ready(Err(e))) => why = e,
                    Ok(_) => why = "its first answer makes no sense".to_owned(),
                    Err(silence) => why = format!("{silence:?}: {}", new.end(silence == Silence::Gone)),
                },
            }
        }
        eprintln!("warning: no worker process for tuning ({why}); candidates run in this process");
        self.place = Place::Here(false);
        false
    }

    /// Asks the worker.
    fn ask(&mut self, request: &Request, count: usize, answers: &mut Vec<(Answer, Duration)>) -> Result<(), Death> {
        let Place::Worker(child) = &mut self.place else { return Ok(()) };
        let Some(worker) = child.as_mut() else { return Ok(()) };
        self.board.clear();
        worker.send(request);
        let items = match request {
            Request::Sample(ids) => ids.len(),
            Request::Expect(_) | Request::Prepare { .. } | Request::Verify(_) | Request::Forget(_) => count,
        } as u64;
        let (mut last, mut done, mut begun) = (Instant::now(), 0, worker.moment());
        while answers.len() < count {
            let silence = match worker.receive(self.limit) {
                Ok(a) if fits(request, &a) => {
                    answers.push((a, last.elapsed()));
                    (last, begun) = (Instant::now(), worker.moment());
                    continue;
                }
                Ok(_) => Silence::Nonsense,
                Err(s) => s,
            };
            // Late, but the next item has begun meanwhile.
            let now = self.board.done();
            if silence == Silence::Late && now > done && now < items {
                (done, begun) = (now, worker.moment());
                continue;
            }
            // Late, but the machine was busy with something else.
            if silence == Silence::Late && worker.is_starved(begun, self.limit) {
                continue;
            }
            let how = child.take().map(|w| w.end(silence == Silence::Gone)).unwrap_or_default();
            self.live.clear();
            self.deaths += 1;
            return Err(self.death(match silence {
                Silence::Late => Rejection::Hung(self.limit),
                Silence::Gone => Rejection::Crashed(how),
                Silence::Nonsense => nonsense(),
            }));
        }
        Ok(())
    }
}

/// Whether an answer is of the kind that was asked for.
#[cfg(unix)]
fn fits(request: &Request, answer: &Answer) -> bool {
    match request {
        Request::Prepare { .. } => matches!(answer, Answer::Prepared(..)),
        Request::Sample(ids) => matches!(answer, Answer::Sampled(s) if s.len() == ids.len()),
        Request::Verify(_) => matches!(answer, Answer::Verified(_)),
        Request::Expect(_) | Request::Forget(_) => false,
    }
}

impl<E: Engine> Bench for Isolated<E> {
    fn legal(&self, config: &Config) -> Result<(), String> {
        self.server.engine.legal(config)
    }

    fn predict(&self, config: &Config) -> Option<f64> {
        self.server.engine.predict(config)
    }

    fn bound(&self) -> Option<f64> {
        self.server.engine.bound()
    }

    fn expect(&mut self, configs: &[Config]) {
        let _ = self.exchange(&Request::Expect(configs.to_vec()), 0, &mut Vec::new());
    }

    fn prepare(&mut self, configs: &[Config]) -> Vec<Result<Id, Rejection>> {
        let first = self.configs.len();
        self.configs.extend_from_slice(configs);
        let item = |(i, c): (usize, &Config)| {
            // The same config again is a copy that was asked for.
            let fresh = !self.configs[..first + i].contains(c);
            Item { id: Id((first + i) as u32), config: c.clone(), fresh }
        };
        let items: Vec<Item> = configs.iter().enumerate().map(item).collect();
        let start = Instant::now();
        let mut results = Vec::new();
        while self.reference.is_none() && results.len() < items.len() {
            results.push(self.refer(&items[results.len()]));
        }
        results.extend(self.prepare_items(&items[results.len()..]));
        self.spent.preparing += start.elapsed();
        items.into_iter().zip(results).map(|(i, r)| r.map(|()| i.id)).collect()
    }

    fn sample(&mut self, ids: &[Id]) -> Vec<Result<f64, Rejection>> {
        let start = Instant::now();
        let most = self.server.engine.at_once().clamp(1, PLACES);
        let results = ids.chunks(most).flat_map(|some| self.sample_some(some)).collect();
        self.spent.sampling += start.elapsed();
        results
    }

    fn forget(&mut self, id: Id) {
        if self.live.remove(&id) {
            let _ = self.exchange(&Request::Forget(id), 0, &mut Vec::new());
        }
    }
}

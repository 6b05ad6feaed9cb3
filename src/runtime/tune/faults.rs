//! Candidates that do everything wrong: each must be rejected with its reason, and the search completed with the right
//! winner.

use super::board::Board;
use super::check::{Checker, Input};
use super::compare::Tolerance;
use super::engine::Engine;
use super::isolated::Isolated;
use crate::runtime::outputs::Outputs;
use helion_autotune::{Bench, Budget, Effort, Id, Outcome, Rejection, Task, strategy};
use helion_ir::config::{Config, ConfigSpace, Knob, Slot};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How many numbers the kernel doubles: several pages.
const COUNT: usize = 3000;

/// What a candidate does. The position is its value in the space; the first is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Slow,
    Fast,
    Faster,
    WrongValues,
    AlmostRight,
    NotANumber,
    LeavesUnwritten,
    WritesNothing,
    WritesBefore,
    WritesAfter,
    WritesInput,
    WritesEdgeOfInput,
    ReadsNull,
    StackOverflow,
    IllegalInstruction,
    DividesByZero,
    Abort,
    Panic,
    PanicInCompiler,
    LoopForever,
    AllocateForever,
    Exit,
    KillItself,
    TalksNonsense,
    ClosesEverything,
    ScribblesOnBoard,
    CrashLater,
    HangLater,
    PanicLater,
    NoTime,
    NegativeTime,
    DoesNotCompile,
    SameAsFast,
}

use Deed::*;

const DEEDS: [Deed; 33] = [
    Slow,
    Fast,
    Faster,
    WrongValues,
    AlmostRight,
    NotANumber,
    LeavesUnwritten,
    WritesNothing,
    WritesBefore,
    WritesAfter,
    WritesInput,
    WritesEdgeOfInput,
    ReadsNull,
    StackOverflow,
    IllegalInstruction,
    DividesByZero,
    Abort,
    Panic,
    PanicInCompiler,
    LoopForever,
    AllocateForever,
    Exit,
    KillItself,
    TalksNonsense,
    ClosesEverything,
    ScribblesOnBoard,
    CrashLater,
    HangLater,
    PanicLater,
    NoTime,
    NegativeTime,
    DoesNotCompile,
    SameAsFast,
];

/// What must become of each.
fn verdict(deed: Deed) -> Option<&'static str> {
    match deed {
        Slow | Fast | Faster => None,
        WrongValues | AlmostRight | NotANumber | LeavesUnwritten | WritesNothing | WritesBefore | WritesAfter
        | WritesEdgeOfInput => Some("wrong"),
        Panic | PanicInCompiler | PanicLater | NoTime | NegativeTime => Some("failed"),
        ReadsNull | WritesInput | StackOverflow | IllegalInstruction | DividesByZero | Abort | AllocateForever
        | Exit | KillItself | TalksNonsense | ClosesEverything | ScribblesOnBoard | CrashLater => Some("crashed"),
        LoopForever | HangLater => Some("hung"),
        DoesNotCompile => Some("compile"),
        SameAsFast => Some("same"),
    }
}

fn slot() -> Slot {
    Slot::of(Knob::User, "deed")
}

fn space() -> ConfigSpace {
    let mut space = ConfigSpace::default();
    space.add(slot(), (0..DEEDS.len() as u64).collect());
    space
}

fn deed(config: &Config) -> Deed {
    DEEDS[config.get(&slot()).unwrap_or(0) as usize]
}

/// A "kernel" that doubles numbers.
struct Faults {
    /// The numbers, somewhere in more of them: so that they begin and end within pages, and span some.
    memory: Vec<f32>,
    begin: usize,
    checker: Checker,
    words: [u64; 1],
    board: Option<Arc<Board>>,
    samples: HashMap<Id, (Deed, u32)>,
}

impl Faults {
    fn new() -> Faults {
        let mut memory = vec![0f32; COUNT + 2048];
        let begin = (memory.as_ptr() as usize).next_multiple_of(4096) - memory.as_ptr() as usize;
        let begin = begin / 4 + 64;
        (0..COUNT).for_each(|i| memory[begin + i] = i as f32 / 7.0);
        // SAFETY: the numbers stay where they are as long as the engine.
        let watched = unsafe { Input::new("x".into(), memory[begin..].as_ptr() as usize, COUNT * 4) };
        let checker = Checker::new(Outputs::of_f32(COUNT), vec![watched], Tolerance::tight());
        Faults { memory, begin, checker, words: [0], board: None, samples: HashMap::new() }
    }
}

/// Runs until its time is up, which nobody gives it.
fn forever() -> ! {
    loop {
        std::hint::black_box(0);
    }
}

fn deeper(n: u64) -> u64 {
    let page = std::hint::black_box([n; 500]);
    if n == u64::MAX { 0 } else { deeper(n + 1) + page[7] }
}

/// Calls `f` for every socket of this process.
fn each_socket<V>(f: impl Fn(libc::c_int) -> V) {
    for fd in 3..1024 {
        let (mut kind, mut size) = (0, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: asks about a number that may not even be a file.
        let is = unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut size) == 0
        };
        if is {
            f(fd);
        }
    }
}

/// Doubles, or what else the candidate does.
fn launch(deed: Deed, input: &[f32], out: *mut f32, board: Option<&Board>) -> Result<(), Rejection> {
    // SAFETY: the memory of the output. Other accesses are as wrong as they look, in a process that is there for that.
    unsafe {
        match deed {
            WritesNothing => return Ok(()),
            ReadsNull => drop(std::hint::black_box(std::ptr::without_provenance::<u64>(8).read_volatile())),
            WritesInput => input.as_ptr().cast_mut().add(COUNT / 2).write_volatile(0.0),
            WritesEdgeOfInput => input.as_ptr().cast_mut().write_volatile(9.0),
            WritesBefore => out.sub(3).write_volatile(1.0),
            WritesAfter => out.add(COUNT + 100).write_volatile(1.0),
            StackOverflow => drop(std::hint::black_box(deeper(0))),
            IllegalInstruction => drop(libc::raise(libc::SIGILL)),
            DividesByZero => drop(libc::raise(libc::SIGFPE)),
            Abort => std::process::abort(),
            Panic => panic!("on purpose"),
            LoopForever => forever(),
            AllocateForever => loop {
                std::hint::black_box(vec![0u8; 64 << 20].leak());
            },
            Exit => libc::_exit(0),
            KillItself => drop(libc::kill(libc::getpid(), libc::SIGKILL)),
            TalksNonsense => {
                each_socket(|fd| libc::send(fd, [3u8, 0, 0, 0, 77, 78, 79].as_ptr().cast(), 7, libc::MSG_NOSIGNAL));
            }
            ClosesEverything => each_socket(|fd| libc::close(fd)),
            ScribblesOnBoard => {
                if let Some(b) = board {
                    std::ptr::from_ref(&**b).cast_mut().cast::<u8>().write_bytes(0xee, 4096);
                }
                std::process::abort();
            }
            Slow | Fast | Faster | WrongValues | AlmostRight | NotANumber | LeavesUnwritten | PanicInCompiler
            | CrashLater | HangLater | PanicLater | NoTime | NegativeTime | DoesNotCompile | SameAsFast => {}
        }
        for (i, x) in input.iter().enumerate() {
            let y = match deed {
                WrongValues => x + 2.0,
                AlmostRight if i == COUNT - 1 => x * 2.0 + 1.0,
                NotANumber if i == 1000 => f32::NAN,
                LeavesUnwritten if i % 8 == 7 => continue,
                _ => x * 2.0,
            };
            out.add(i).write(y);
        }
    }
    Ok(())
}

impl Engine for Faults {
    fn enter(&mut self, board: Arc<Board>, own: bool) -> Result<(), String> {
        self.board = Some(board);
        self.checker.outputs.allocate().map_err(|e| e.to_string())?;
        self.checker.outputs.redirect(&mut self.words);
        if own {
            self.checker.inputs.iter().for_each(Input::protect);
        }
        Ok(())
    }
    fn fingerprint(&mut self, config: &Config) -> Result<u128, Rejection> {
        match deed(config) {
            DoesNotCompile => Err(Rejection::Compile("on purpose".into())),
            PanicInCompiler => panic!("on purpose"),
            SameAsFast => Ok(Fast as u128),
            other => Ok(other as u128),
        }
    }
    fn prepare(&mut self, id: Id, config: &Config) -> Result<(), Rejection> {
        let input = &self.memory[self.begin..self.begin + COUNT];
        let (deed, out, board) = (deed(config), self.words[0] as *mut f32, self.board.as_deref());
        if !self.checker.is_ready() {
            self.checker.set_reference(&mut || launch(Slow, input, out, board))?;
        }
        self.checker.check(&mut || launch(deed, input, out, board))?;
        self.samples.insert(id, (deed, 0));
        Ok(())
    }
    fn sample(&mut self, id: Id) -> Result<f64, Rejection> {
        let (deed, n) = self.samples.get_mut(&id).ok_or(Rejection::Failed("it is not prepared".into()))?;
        *n += 1;
        match deed {
            CrashLater if *n == 2 => std::process::abort(),
            HangLater if *n == 2 => forever(),
            PanicLater if *n == 2 => panic!("on purpose"),
            NoTime => return Ok(f64::NAN),
            NegativeTime => return Ok(-1.0),
            _ => {}
        }
        let wobble = 1.0 + f64::from(*n % 5) * 1e-4;
        Ok(wobble
            * match deed {
                Slow => 10e-6,
                Fast => 7e-6,
                Faster => 5e-6,
                // The guilty look good.
                _ => 1e-6,
            })
    }
}

fn search(bench: &mut Isolated<Faults>) -> Outcome {
    let mut budget = Budget::of(Effort::Full, 1);
    budget.time = Duration::from_secs(60);
    let (space, mut all) = (space(), strategy::named("exhaustive", 1).unwrap());
    helion_autotune::search(&Task::new(&space, &budget), &mut *all, bench, &mut ()).expect("the default works")
}

#[test]
fn every_fault_is_a_rejection_and_the_right_one_wins() {
    let mut bench = Isolated::new(Faults::new(), true).unwrap();
    let start = std::time::Instant::now();
    let o = search(&mut bench);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for t in &o.trials {
        let (deed, kind) = (deed(&t.config), t.result.as_ref().err().map(Rejection::kind));
        let said = t.result.as_ref().map_or_else(ToString::to_string, |t| format!("{:.1} µs", t.seconds * 1e6));
        println!("{deed:?}: {said}");
        assert_eq!(kind, verdict(deed), "{deed:?}: {said}");
        *counts.entry(kind.unwrap_or("measured")).or_default() += 1;
    }
    let faults = DEEDS.iter().filter(|d| verdict(**d).is_some()).count();
    println!(
        "{faults} kinds of faults: {counts:?}; {} workers lost, {:.1} s",
        bench.deaths(),
        start.elapsed().as_secs_f64()
    );
    assert_eq!(deed(&o.best), Faster);
    assert_eq!(o.trials.len(), DEEDS.len());
    assert!(bench.deaths() >= 15, "each crash costs a worker");
}

#[test]
fn without_a_worker_panics_and_wrong_results_are_rejections() {
    let mut bench = Isolated::new(Faults::new(), false).unwrap();
    let harmless = [Slow, Fast, Faster, WrongValues, LeavesUnwritten, WritesAfter, Panic, PanicInCompiler, SameAsFast];
    let config = |d: &Deed| Config::new().with(slot(), *d as u64);
    let configs: Vec<Config> = harmless.iter().map(config).collect();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let results = bench.prepare(&configs);
    std::panic::set_hook(hook);
    for (d, r) in harmless.iter().zip(results) {
        assert_eq!(r.err().as_ref().map(Rejection::kind), verdict(*d), "{d:?}");
    }
    assert_eq!(bench.deaths(), 0);
}

/// An engine that compiles on other threads, one of which takes the process down.
struct Poisoned {
    board: Option<Arc<Board>>,
    expected: Vec<u64>,
}

impl Engine for Poisoned {
    fn enter(&mut self, board: Arc<Board>, _own: bool) -> Result<(), String> {
        self.board = Some(board);
        Ok(())
    }
    fn expect(&mut self, configs: &[Config]) {
        self.expected = configs.iter().filter_map(|c| c.get(&slot())).collect();
    }
    fn fingerprint(&mut self, config: &Config) -> Result<u128, Rejection> {
        let n = config.get(&slot()).unwrap_or(0);
        if n == 3 || (self.expected.contains(&3) && n != 0) {
            // As if another thread were at number 3.
            if let Some(b) = &self.board {
                b.others.store(1, std::sync::atomic::Ordering::Relaxed);
            }
            std::process::abort();
        }
        Ok(n.into())
    }
    fn prepare(&mut self, _id: Id, _config: &Config) -> Result<(), Rejection> {
        Ok(())
    }
    fn sample(&mut self, _id: Id) -> Result<f64, Rejection> {
        Ok(1e-6)
    }
}

#[test]
fn only_the_one_that_kills_is_blamed() {
    let mut bench = Isolated::new(Poisoned { board: None, expected: vec![] }, true).unwrap();
    let configs: Vec<Config> = (0..6).map(|n| Config::new().with(slot(), n)).collect();
    let results = bench.prepare(&configs);
    let bad: Vec<usize> = (0..6).filter(|i| results[*i].is_err()).collect();
    assert_eq!(bad, [3], "{results:?}");
    let ids: Vec<Id> = results.into_iter().flatten().collect();
    assert!(bench.sample(&ids).into_iter().all(|r| r == Ok(1e-6)));
}

//! What the unit test of a kernel does.
//!
//! In: the kernel's instantiations, each as a function of made-up sizes. Out: a passed test, or a panic
//! with the mistakes of the first recording that fails. Sizes are distinct at first; while the kernel's
//! own host checks refuse them, sizes are made equal to each other and to its constants, few at a time,
//! until they pass. Nothing is compiled or run.

use super::elem::Elem;
use super::modes::Outcome;
use crate::error::{Error, Kind};
use crate::runtime::{self, Tensor};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// The last mistake found in a kernel on this thread.
    static MISTAKE: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// Remembers a mistake in a kernel, whatever the kernel makes of the error.
pub(crate) fn note_mistake(e: &Error) {
    if matches!(e.kind(), Kind::Kernel { .. }) {
        MISTAKE.set(Some(e.clone()));
    }
}

/// Made-up sizes and flags for one call.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    plan: Vec<usize>,
    flags: u32,
    used: usize,
    used_flags: u32,
}

/// Distinct sizes that can be halved twice.
const FRESH: [usize; 16] = [8, 12, 20, 28, 44, 52, 68, 76, 92, 116, 124, 148, 164, 172, 188, 212];

impl Sizes {
    /// The next size.
    fn size(&mut self) -> usize {
        let i = self.used;
        self.used += 1;
        self.plan.get(i).copied().unwrap_or(FRESH[i % FRESH.len()])
    }
    /// The next `bool`.
    pub fn flag(&mut self) -> bool {
        let i = self.used_flags;
        self.used_flags += 1;
        self.flags >> (i % 32) & 1 != 0
    }
    /// The next value.
    pub fn make<X: Sample>(&mut self) -> X {
        X::sample(self)
    }
}

/// A type whose values can be made up.
pub trait Sample {
    #[doc(hidden)]
    fn sample(sizes: &mut Sizes) -> Self;
}
impl<T: Elem, const R: usize> Sample for Tensor<T, R> {
    fn sample(sizes: &mut Sizes) -> Self {
        Tensor::new(std::array::from_fn(|_| sizes.size()))
    }
}
impl Sample for usize {
    fn sample(sizes: &mut Sizes) -> usize {
        sizes.size()
    }
}
impl Sample for isize {
    fn sample(sizes: &mut Sizes) -> isize {
        sizes.size() as isize
    }
}
impl<T: Elem> Sample for T {
    fn sample(_: &mut Sizes) -> T {
        T::from_f64(1.0)
    }
}

/// What one call did.
#[derive(Debug)]
pub enum Attempt {
    /// Every launch recorded and verified.
    Passed,
    /// The kernel's host code did not accept the arguments.
    Refused,
    /// The kernel has mistakes.
    Mistake(Error),
}

/// Calls a kernel, recording only.
pub fn attempt<O: Outcome>(call: impl FnOnce() -> O) -> Attempt {
    MISTAKE.set(None);
    let refused = || Error::check("refused");
    let run = || runtime::check(|| call().result().map(drop).map_err(|_| refused()));
    let result = catch_unwind(AssertUnwindSafe(run));
    match (MISTAKE.take(), result) {
        (Some(e), _) => Attempt::Mistake(e),
        (None, Ok(Ok(()))) => Attempt::Passed,
        (None, Ok(Err(_)) | Err(_)) => Attempt::Refused,
    }
}

/// One kernel's test.
#[derive(Debug)]
pub struct ShapeTest {
    kernel: &'static str,
    /// Sizes that worked for an earlier instance.
    known: Vec<Vec<usize>>,
    failures: Vec<String>,
    /// Instances for which no sizes were found.
    skipped: Vec<String>,
}

/// How many calls one search may take.
const TRIES: usize = 4000;

impl ShapeTest {
    /// For a kernel of this name.
    pub fn new(kernel: &'static str) -> ShapeTest {
        ShapeTest { kernel, known: Vec::new(), failures: Vec::new(), skipped: Vec::new() }
    }

    /// Tests one instantiation, with every combination of its flags.
    pub fn instance(&mut self, label: &str, consts: &[usize], call: &dyn Fn(&mut Sizes) -> Attempt) {
        let mut first = Sizes::default();
        call(&mut first);
        let flags = first.used_flags.min(4);
        for pattern in 0..1 << flags {
            self.search(label, consts, pattern, call);
        }
    }

    fn search(&mut self, label: &str, consts: &[usize], flags: u32, call: &dyn Fn(&mut Sizes) -> Attempt) {
        let mut probe = Sizes { flags, ..Sizes::default() };
        call(&mut probe);
        let n = probe.used;
        let mut tries = 0;
        let mut accepts = |plan: &[usize]| {
            tries += 1;
            let mut sizes = Sizes { plan: plan.to_vec(), flags, ..Sizes::default() };
            match call(&mut sizes) {
                Attempt::Passed => Some(Ok(())),
                Attempt::Mistake(e) => Some(Err(e)),
                Attempt::Refused if tries > TRIES => Some(Ok(())),
                Attempt::Refused => None,
            }
        };
        let fresh: Vec<usize> = (0..n).map(|i| FRESH[i % FRESH.len()]).collect();
        let known = self.known.iter().filter(|k| k.len() == n).cloned().collect::<Vec<_>>();
        let found = known
            .iter()
            .find_map(|plan| accepts(plan).map(|r| (plan.clone(), r)))
            .or_else(|| (0..=n).find_map(|changes| unify(&fresh, consts, changes, false, &mut accepts)));
        let found = found.or_else(|| (1..=n).find_map(|changes| unify(&fresh, consts, changes, true, &mut accepts)));
        let gave_up = tries > TRIES;
        match found {
            Some((plan, Ok(()))) if !gave_up => {
                if !self.known.contains(&plan) {
                    self.known.push(plan);
                }
            }
            Some((plan, Err(e))) => {
                let of = if label.is_empty() { String::new() } else { format!(" with {label}") };
                self.failures.push(format!(
                    "kernel `{}`{of}, for sizes {plan:?}:\n{e}\n  help: if the kernel relies on equal sizes, check them before the tile loop with `ensure!`",
                    self.kernel
                ));
            }
            Some(_) | None => self.skipped.push(label.to_owned()),
        }
    }

    /// Panics with every mistake found.
    ///
    /// # Panics
    /// When the kernel is wrong.
    pub fn finish(self) {
        for label in &self.skipped {
            eprintln!(
                "kernel `{}` {label}: no sizes found that its host checks accept; its shapes are not tested",
                self.kernel
            );
        }
        // The same mistake shows for every element type; one is enough.
        if let Some(first) = self.failures.first() {
            panic!("{first}");
        }
    }
}

type Found = (Vec<usize>, Result<(), Error>);

/// Tries a plan; `None` when the kernel's host checks refuse it.
type Accepts<'a> = dyn FnMut(&[usize]) -> Option<Result<(), Error>> + 'a;

/// Tries plans in which exactly `changes` sizes follow an earlier size or a constant; `related` also
/// tries halves, doubles, products and small numbers.
fn unify(fresh: &[usize], consts: &[usize], changes: usize, related: bool, accepts: &mut Accepts<'_>) -> Option<Found> {
    struct Search<'a, 'f> {
        fresh: &'a [usize],
        consts: &'a [usize],
        related: bool,
        accepts: &'a mut Accepts<'f>,
    }
    impl Search<'_, '_> {
        fn go(&mut self, plan: &mut Vec<usize>, left: usize) -> Option<Found> {
            let i = plan.len();
            if i == self.fresh.len() {
                return if left == 0 { (self.accepts)(plan).map(|r| (plan.clone(), r)) } else { None };
            }
            if self.fresh.len() - i > left {
                plan.push(self.fresh[i]);
                let found = self.go(plan, left);
                plan.pop();
                if found.is_some() {
                    return found;
                }
            }
            if left == 0 {
                return None;
            }
            let mut values: Vec<usize> = plan.clone();
            values.extend(self.consts);
            if self.related {
                values.extend(plan.iter().flat_map(|v| [v / 2, v * 2]));
                values.extend(plan.iter().enumerate().flat_map(|(i, a)| plan[..i].iter().map(move |b| a * b)));
                values.extend([1, 2]);
            }
            values.sort_unstable();
            values.dedup();
            for v in values {
                plan.push(v);
                let found = self.go(plan, left - 1);
                plan.pop();
                if found.is_some() {
                    return found;
                }
            }
            None
        }
    }
    Search { fresh, consts, related, accepts }.go(&mut Vec::new(), changes)
}

//! Whether a run leaves what it should, and nothing else.
//!
//! In: copies of what a launch writes, and what it only reads. A run must write the same as the reference, over two
//! patterns, so that nothing stays unwritten; bytes beside the outputs and the inputs must stay as they are.

use super::super::outputs::{Outputs, PATTERNS};
use super::compare::{Expected, Tolerance};
use helion_autotune::Rejection;
use std::time::{Duration, Instant};

/// Launches that take longer are checked with one pattern only.
const LONG: Duration = Duration::from_millis(200);
/// Bytes that cannot be protected alone.
const PAGE: usize = 4096;

/// Checks runs.
pub(super) struct Checker {
    pub(super) outputs: Outputs,
    pub(super) inputs: Vec<Input>,
    tolerance: Tolerance,
    /// What the reference leaves in the outputs, for each pattern; the second is empty when it is as the first.
    expected: [Vec<Expected>; 2],
}

/// One run on the copies.
pub(super) type Run<'a> = &'a mut dyn FnMut() -> Result<(), Rejection>;

impl Checker {
    pub(super) fn new(outputs: Outputs, inputs: Vec<Input>, tolerance: Tolerance) -> Checker {
        Checker { outputs, inputs, tolerance, expected: [Vec::new(), Vec::new()] }
    }

    /// Whether the reference was run.
    pub(super) fn is_ready(&self) -> bool {
        !self.expected[0].is_empty() || self.outputs.size() == 0
    }

    /// Runs the reference once with each pattern.
    ///
    /// # Errors
    /// What a run says.
    pub(super) fn set_reference(&mut self, run: Run<'_>) -> Result<(), Rejection> {
        self.outputs.reset(PATTERNS[0]);
        run()?;
        let first: Vec<Expected> = self.outputs.bytes().map(|(d, b)| Expected::new(d, b.to_vec())).collect();
        self.outputs.reset(PATTERNS[1]);
        run()?;
        // The same bytes need no second copy.
        let same = self.outputs.bytes().zip(&first).all(|((_, b), e)| e.bytes() == b);
        let second = |()| self.outputs.bytes().zip(&first).map(|((_, b), e)| e.with(b.to_vec())).collect();
        self.expected[1] = if same { Vec::new() } else { second(()) };
        self.expected[0] = first;
        Ok(())
    }

    /// Runs a candidate and compares.
    ///
    /// # Errors
    /// What a run says, or what is wrong.
    pub(super) fn check(&mut self, run: Run<'_>) -> Result<(), Rejection> {
        for (n, pattern) in PATTERNS.into_iter().enumerate() {
            self.outputs.reset(pattern);
            let start = Instant::now();
            let ran = run();
            let time = start.elapsed();
            // First, and all of them: the next candidate must find them as they were.
            let written: Vec<bool> = self.inputs.iter_mut().map(|i| !i.intact()).collect();
            if let Some((input, _)) = self.inputs.iter().zip(written).find(|(_, w)| *w) {
                return Err(Rejection::Wrong(format!("`{}`, which it may only read, was written", input.name)));
            }
            ran?;
            let expected = if self.expected[n].is_empty() { &self.expected[0] } else { &self.expected[n] };
            for (i, ((_, found), e)) in self.outputs.bytes().zip(expected).enumerate() {
                if let Some(text) = e.differs(found, self.tolerance) {
                    return Err(Rejection::Wrong(format!("output {i}: {text}")));
                }
            }
            if let Some(i) = self.outputs.overrun(pattern) {
                return Err(Rejection::Wrong(format!("output {i}: memory beside it was written")));
            }
            if time > LONG {
                break;
            }
        }
        Ok(())
    }
}

/// Memory that launches only read.
pub(super) struct Input {
    name: String,
    start: usize,
    pub(super) bytes: usize,
    /// What the first and last bytes held, which share pages with something else.
    edges: [Vec<u8>; 2],
}

impl Input {
    /// # Safety
    /// The memory must be live and stay as it is while this lives, as far as others are concerned.
    pub(super) unsafe fn new(name: String, start: usize, bytes: usize) -> Input {
        let mut input = Input { name, start, bytes, edges: [Vec::new(), Vec::new()] };
        input.edges = input.edge_ranges().map(|(from, n)| {
            // SAFETY: promised by the caller.
            unsafe { std::slice::from_raw_parts(from as *const u8, n) }.to_vec()
        });
        input
    }

    /// Whole pages of this memory.
    fn pages(&self) -> (usize, usize) {
        let from = self.start.next_multiple_of(PAGE);
        let to = (self.start + self.bytes) / PAGE * PAGE;
        (from, to.saturating_sub(from))
    }

    /// What is before and after the whole pages; of memory with none the first and last bytes.
    fn edge_ranges(&self) -> [(usize, usize); 2] {
        let (from, n) = self.pages();
        if n > 0 {
            return [(self.start, from - self.start), (from + n, self.start + self.bytes - from - n)];
        }
        let first = self.bytes.min(PAGE);
        [(self.start, first), (self.start + first, self.bytes - first)]
    }

    /// Makes whole pages unwritable. For a process whose end is near.
    #[cfg(unix)]
    pub(super) fn protect(&self) {
        let (from, n) = self.pages();
        if n > 0 {
            // SAFETY: pages of this process that hold nothing but a tensor that is only read.
            unsafe { libc::mprotect(from as *mut libc::c_void, n, libc::PROT_READ) };
        }
    }

    #[cfg(not(unix))]
    pub(super) fn protect(&self) {}

    /// Whether the edges are as they were. If not, makes them so.
    fn intact(&mut self) -> bool {
        let mut intact = true;
        for ((from, n), before) in self.edge_ranges().into_iter().zip(&self.edges) {
            // SAFETY: as in `new`.
            if unsafe { std::slice::from_raw_parts(from as *const u8, n) } != before.as_slice() {
                intact = false;
                // SAFETY: the same bytes; who wrote them broke the rules before us, and has ended.
                unsafe { (from as *mut u8).copy_from_nonoverlapping(before.as_ptr(), n) };
            }
        }
        intact
    }
}

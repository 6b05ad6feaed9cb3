//! Ctrl-C while a search runs: the first ends the search, whose best so far is kept, and takes its usual effect after
//! that; the second takes it at once.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether an interrupt came since the first watch that is held began.
static CAME: AtomicBool = AtomicBool::new(false);

/// Whether the user wants the search to end.
pub(super) fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}

#[cfg(unix)]
pub(super) use unix::Watch;

#[cfg(unix)]
mod unix {
    use super::{CAME, Ordering};
    use std::sync::Mutex;

    /// How many watches there are, and what interrupts did before the first.
    static WATCHES: Mutex<(usize, Option<libc::sigaction>)> = Mutex::new((0, None));

    /// Catches interrupts until dropped; then an interrupt that came takes its usual effect.
    pub(in super::super) struct Watch(());

    impl Watch {
        /// Starts to watch, unless interrupts are ignored.
        pub(in super::super) fn new() -> Watch {
            let mut watches = WATCHES.lock().unwrap_or_else(|e| e.into_inner());
            watches.0 += 1;
            if watches.0 == 1 {
                CAME.store(false, Ordering::Relaxed);
                // SAFETY: the handler does only what a handler may: stores a flag, sets a signal's action, raises.
                unsafe {
                    let mut before: libc::sigaction = std::mem::zeroed();
                    let mut now: libc::sigaction = std::mem::zeroed();
                    now.sa_sigaction = handler as *const () as usize;
                    now.sa_flags = libc::SA_RESTART;
                    libc::sigaction(libc::SIGINT, std::ptr::null(), &raw mut before);
                    if before.sa_sigaction != libc::SIG_IGN {
                        libc::sigaction(libc::SIGINT, &raw const now, std::ptr::null_mut());
                        watches.1 = Some(before);
                    }
                }
            }
            Watch(())
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            let mut watches = WATCHES.lock().unwrap_or_else(|e| e.into_inner());
            watches.0 -= 1;
            if watches.0 > 0 {
                return;
            }
            let before = watches.1.take();
            drop(watches);
            let Some(before) = before else { return };
            // SAFETY: puts back what was there.
            unsafe { libc::sigaction(libc::SIGINT, &raw const before, std::ptr::null_mut()) };
            if CAME.swap(false, Ordering::Relaxed) {
                // SAFETY: no preconditions.
                unsafe { libc::raise(libc::SIGINT) };
            }
        }
    }

    extern "C" fn handler(signal: libc::c_int) {
        if CAME.swap(true, Ordering::Relaxed) {
            // SAFETY: both are allowed in a handler; the signal arrives when it returns.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Watch(());

#[cfg(not(unix))]
impl Watch {
    /// Does nothing here: an interrupt ends the process.
    pub(super) fn new() -> Watch {
        Watch(())
    }
}

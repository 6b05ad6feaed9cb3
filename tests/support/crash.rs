//! Says which case was running when compiled code crashes or does not end.

use std::cell::RefCell;
use std::ffi::c_int;

thread_local! {
    static RUNNING: RefCell<[u8; 256]> = const { RefCell::new([0; 256]) };
}

/// Notes what this thread is about to run; shown if the process dies of it.
pub fn running(what: &str) {
    RUNNING.with(|r| {
        let mut r = r.borrow_mut();
        let n = what.len().min(255);
        r[..n].copy_from_slice(&what.as_bytes()[..n]);
        r[n] = b'\n';
        r[n + 1..].fill(0);
    });
}

/// Installs the report for memory faults, illegal instructions, and libraries that end the process.
pub fn install() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
        // SAFETY: the handler only writes to standard error and ends the process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn handler(signal: c_int) {
    let say = |text: &[u8]| {
        // SAFETY: a plain write of readable bytes, allowed in a signal handler.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    };
    say(b"\ncrash while running: ");
    RUNNING.with(|r| {
        if let Ok(r) = r.try_borrow() {
            say(&r[..r.iter().position(|b| *b == 0).unwrap_or(255)]);
        }
    });
    // SAFETY: ends the process at once with the signal's usual status.
    unsafe { libc::_exit(128 + signal) };
}

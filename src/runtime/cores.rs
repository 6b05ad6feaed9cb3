//! Which cores threads run on.
//!
//! In: a thread's place among those that share launches, the calling one having place 0. What then holds, on Linux: the
//! thread stays on a core of its own among those that the process may use. Elsewhere nothing happens. A busy
//! system may leave two threads of one launch on one core although another one does less important work; for a
//! measurement that is the difference between two threads and one.

#[cfg(target_os = "linux")]
mod system {
    use std::sync::OnceLock;

    /// The cores that the process may use, as it was when somebody first asked.
    fn allowed() -> &'static (libc::cpu_set_t, Vec<usize>) {
        static ALLOWED: OnceLock<(libc::cpu_set_t, Vec<usize>)> = OnceLock::new();
        ALLOWED.get_or_init(|| {
            // SAFETY: a set of cores is plain bits; the call fills it, or leaves it empty.
            let (set, found) = unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                let found = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) == 0;
                (set, found)
            };
            // SAFETY: the number is below the size of the set.
            let has = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
            let cores = (0..libc::CPU_SETSIZE as usize).filter(|core| found && has(core)).collect();
            (set, cores)
        })
    }

    /// Keeps this thread on the core of a place.
    pub fn stay(place: usize) {
        let (_, cores) = allowed();
        if cores.len() < 2 {
            return;
        }
        // SAFETY: as above; what the system refuses is left as it is.
        unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cores[place % cores.len()], &mut one);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one);
        }
    }

    /// Lets this thread run where the process may.
    pub fn roam() {
        let (set, cores) = allowed();
        if cores.len() >= 2 {
            // SAFETY: as above.
            unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), std::ptr::from_ref(set)) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub fn stay(_place: usize) {}
    pub fn roam() {}
}

pub use system::{roam, stay};

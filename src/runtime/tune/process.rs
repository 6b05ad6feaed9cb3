//! A worker process: forked, spoken to over a socket, killed when need be.
//!
//! The child owns a copy of everything by copy-on-write. Of the threads only the one that forks lives on in it, so a
//! lock that another thread held at that moment stays locked there: those of our own are taken
//! around the fork or reset after it, the C library cares for its own, and for the rest there is the deadline
//! of whoever waits for an answer.

use super::board::Board;
use super::engine::{Answer, Engine, Request, Server};
use super::remote::Remote;
use super::wire::{LARGEST, message};
use crate::runtime::{alloc, pool};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Memory of a worker beside what it shares with its parent and what launches need.
const MARGIN: u64 = 1 << 30;
/// Address space that a thread reserves: its stack, and an arena of the allocator.
const PER_THREAD: u64 = 80 << 20;
/// A process that does not get its share of the machine may take so many times the limit.
const PATIENCE: u32 = 4;

/// A worker process, seen from its parent. Killed when dropped.
pub(super) struct Child {
    pid: libc::pid_t,
    stream: UnixStream,
    /// What was read of the next message.
    pending: Vec<u8>,
}

/// When an item began.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    at: Instant,
    /// Processor time of the process, where the system says.
    worked: Option<Duration>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The time is up; it may still come.
    Late,
    /// The process is gone, or closed its end.
    Gone,
    /// What came makes no sense.
    Nonsense,
}

impl Child {
    /// Forks a process that answers with a copy of this server.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn start<E: Engine>(server: &mut Server<E>, board: &Arc<Board>) -> io::Result<Child> {
        // Two forks at once would inherit each other's sockets.
        static FORKING: Mutex<()> = Mutex::new(());
        let one = FORKING.lock().unwrap_or_else(|e| e.into_inner());
        let (stream, theirs) = UnixStream::pair()?;
        // SAFETY: no preconditions.
        let parent = unsafe { libc::getpid() };
        // SAFETY: the child runs our code only, which relies on the C library's promise to keep its allocator usable,
        // and never returns to its caller's frames.
        let pid = alloc::locked(|| unsafe { libc::fork() });
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => live(server, theirs, board, parent),
            pid => {
                drop(theirs);
                drop(one);
                Ok(Child { pid, stream, pending: Vec::new() })
            }
        }
    }

    /// Starts another program that answers, and tells it what about.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn spawn(remote: Remote) -> io::Result<Child> {
        let (stream, theirs) = UnixStream::pair()?;
        let Remote { mut command, told } = remote;
        let quiet = std::process::Stdio::null;
        let process = command.stdin(OwnedFd::from(theirs)).stdout(quiet()).stderr(quiet()).spawn()?;
        // The command holds the other end until now; a process that is gone must be seen.
        drop(command);
        let child = Child { pid: process.id() as libc::pid_t, stream, pending: Vec::new() };
        child.tell(&told);
        Ok(child)
    }

    /// Sends a request; whether it arrived shows when the answer is awaited.
    pub(super) fn send(&mut self, request: &Request) {
        self.tell(&message(|out| request.write(out)));
    }

    fn tell(&self, bytes: &[u8]) {
        let _ = self.stream.set_write_timeout(Some(Duration::from_secs(10)));
        let mut rest = bytes;
        while !rest.is_empty() {
            // SAFETY: readable bytes. As a plain write, but a dead reader is an error and not a signal.
            let n =
                unsafe { libc::send(self.stream.as_raw_fd(), rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
            match usize::try_from(n) {
                Ok(n) => rest = &rest[n..],
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// The time now, and how much of it the process has had.
    pub(super) fn moment(&self) -> Moment {
        Moment { at: Instant::now(), worked: worked(self.pid) }
    }

    /// Whether the process is late because others had the machine: since then it has worked for less than half of its
    /// time. One that sleeps instead is late all the same after a few times as long.
    pub(super) fn is_starved(&self, since: Moment, limit: Duration) -> bool {
        let worked = worked(self.pid).zip(since.worked).map(|(now, then)| now.saturating_sub(then));
        worked.is_some_and(|t| t < limit / 2) && since.at.elapsed() < limit * PATIENCE
    }

    /// The next answer, if it comes in time.
    pub(super) fn receive(&mut self, limit: Duration) -> Result<Answer, Silence> {
        let end = Instant::now() + limit;
        self.fill(4, end)?;
        let length = self.pending[..4].iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b));
        if length > LARGEST {
            return Err(Silence::Nonsense);
        }
        self.fill(4 + length, end)?;
        let answer = Answer::read(&self.pending[4..]).ok_or(Silence::Nonsense);
        self.pending.clear();
        answer
    }

    /// Reads until so many bytes are there.
    fn fill(&mut self, bytes: usize, end: Instant) -> Result<(), Silence> {
        while self.pending.len() < bytes {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Silence::Late);
            }
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).map_err(|_| Silence::Gone)?;
            let mut chunk = [0; 4096];
            let most = chunk.len().min(bytes - self.pending.len());
            match self.stream.read(&mut chunk[..most]) {
                Ok(0) => return Err(Silence::Gone),
                Ok(n) => self.pending.extend(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(_) => return Err(Silence::Gone),
            }
        }
        Ok(())
    }

    /// Kills it unless it has ended by itself, and says how it ended.
    pub(super) fn end(mut self, gone: bool) -> String {
        // A process that closed its socket is on its way out.
        let patience = Instant::now() + Duration::from_secs(if gone { 2 } else { 0 });
        loop {
            match self.reap(libc::WNOHANG) {
                Some(text) => return text,
                None if Instant::now() >= patience => break,
                None => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        self.kill().unwrap_or_else(|| "it was stopped".to_owned())
    }

    fn kill(&mut self) -> Option<String> {
        if self.pid > 0 {
            // SAFETY: our child, not waited for yet, so the number is still its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
        self.reap(0)
    }

    /// How it ended; `None` while it runs.
    fn reap(&mut self, flags: libc::c_int) -> Option<String> {
        let mut status = 0;
        while self.pid > 0 {
            // SAFETY: our child, and a place for its status.
            match unsafe { libc::waitpid(self.pid, &raw mut status, flags) } {
                0 => return None,
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                -1 => {
                    self.pid = 0;
                    return Some("somebody else took its exit status".to_owned());
                }
                _ => {
                    self.pid = 0;
                    return Some(describe(status));
                }
            }
        }
        Some("it has ended".to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Processor time that a child has had.
#[cfg(target_os = "linux")]
fn worked(pid: libc::pid_t) -> Option<Duration> {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: asks for a clock, and reads it; both into places of the right types.
    let found = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
    };
    found.then(|| Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
}

/// Processor time that a child has had.
#[cfg(not(target_os = "linux"))]
fn worked(_pid: libc::pid_t) -> Option<Duration> {
    None
}

/// An exit status in words.
fn describe(status: libc::c_int) -> String {
    if !libc::WIFSIGNALED(status) {
        return format!("exit with status {}", libc::WEXITSTATUS(status));
    }
    let signal = libc::WTERMSIG(status);
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGABRT => "SIGABRT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// The life of the child.
fn live<E: Engine>(server: &mut Server<E>, stream: UnixStream, board: &Arc<Board>, parent: libc::pid_t) -> ! {
    let served = catch_unwind(AssertUnwindSafe(|| {
        close_sockets(stream.as_raw_fd());
        confine(parent, server.engine.memory());
        pool::after_fork();
        pool::keep_apart();
        // Reused blocks would be copied page by page at the first write; fresh ones are as in a process of its own.
        alloc::release_pooled();
        serve(server, stream, board)
    }));
    // Destructors and exit handlers are the parent's business. SAFETY: ends the process.
    unsafe { libc::_exit(if served.is_ok() { 0 } else { 101 }) }
}

/// Answers requests until the other side is gone.
pub(super) fn serve<E: Engine>(server: &mut Server<E>, mut stream: UnixStream, board: &Arc<Board>) -> io::Result<()> {
    let mut replies = stream.try_clone()?;
    let mut reply = |a: Answer| replies.write_all(&message(|out| a.write(out))).is_ok();
    if !reply(Answer::Ready(server.engine.enter(Arc::clone(board), true))) {
        return Ok(());
    }
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut body)?;
        let request = Request::read(&body).ok_or(io::ErrorKind::InvalidData)?;
        server.handle(&request, board, &mut reply);
    }
}

/// Makes a worker that is a program of its own end with the process that started it, and leave Ctrl-C to it.
pub(super) fn attend(parent: libc::pid_t) {
    // SAFETY: calls that set properties of this process.
    unsafe {
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(0);
        }
        libc::signal(libc::SIGINT, libc::SIG_IGN);
    }
}

/// Closes every socket but one. The others came along with the fork: those of other workers, and whatever connections the
/// program has, which a candidate that has gone astray could write to.
fn close_sockets(own: libc::c_int) {
    let listed = std::fs::read_dir("/proc/self/fd").map(|all| {
        all.flatten().filter_map(|e| e.file_name().to_string_lossy().parse().ok()).collect::<Vec<libc::c_int>>()
    });
    for fd in listed.unwrap_or_else(|_| (3..1024).collect()) {
        let (mut kind, mut size) = (0, size_of::<libc::c_int>() as libc::socklen_t);
        let into = (&raw mut kind).cast();
        // SAFETY: asks about a number that may not even be a file; one that is a socket is not used any more, since the
        // threads and frames that had it are not in this process.
        unsafe {
            if fd != own && libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, into, &raw mut size) == 0 {
                libc::close(fd);
            }
        }
    }
}

/// Makes the process one that can do little harm: it dies with its parent, leaves Ctrl-C to it, writes no core file,
/// says nothing when it panics, and cannot use all memory.
fn confine(parent: libc::pid_t, memory: u64) {
    // SAFETY: calls that set properties of this process.
    unsafe {
        #[cfg(target_os = "linux")]
        {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::prctl(libc::PR_SET_DUMPABLE, 0);
        }
        if libc::getppid() != parent {
            libc::_exit(0);
        }
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        for signal in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGABRT,
            libc::SIGTERM,
            libc::SIGHUP,
            libc::SIGQUIT,
        ] {
            libc::signal(signal, libc::SIG_DFL);
        }
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    if let Some(used) = address_space() {
        let most = used.saturating_add(memory.saturating_mul(4)).saturating_add(MARGIN + 2 * threads * PER_THREAD);
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: reads and lowers a limit of this process.
        unsafe {
            if libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) == 0 {
                limit.rlim_cur = limit.rlim_cur.min(most as libc::rlim_t);
                libc::setrlimit(libc::RLIMIT_AS, &raw const limit);
            }
        }
    }
}

/// Bytes of address space in use, where the system says so.
fn address_space() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().next()?.parse().ok()?;
    // SAFETY: no preconditions.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    pages.checked_mul(page)
}

//! Worker processes that are programs of their own, for devices that do not survive a fork.
//!
//! In: a launch and its kernel. Out: a command, and everything its process needs to rebuild both ([`of`]): tile IR, the
//! launch's words and captures, and the contents of the tensors that the kernel reads. The process finds a socket on its
//! standard input, reads that, and answers requests as a forked worker does.
//!
//! Which program? The user's own, if it calls [`worker`] when it starts; else what the `tune_worker` setting names, or a
//! `helion` command in the path. It says its version first, and one of another version is not used.

use super::super::compile::Traced;
use super::super::cuda;
use super::super::device::{Device, Machine};
use super::super::extent::reach;
use super::super::launch::{Capture, Name, State, TensorFacts};
use super::super::{outputs, records};
use super::board::Board;
use super::engine::{Answer, Server};
use super::on_gpu::OnGpu;
use super::process;
use super::wire::{Reader, config, flag, list, message, number, option, text};
use crate::error::{Error, Result};
use crate::settings;
use helion_ir::config::Config;
use helion_ir::dtype::DType;
use helion_ir::tile::{self, Layout};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::panic::Location;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Set in a worker's environment.
const MARK: &str = "HELION_WORKER";
/// The form of what a worker is told, and the version of this compiler.
const VERSION: &str = concat!("helion worker 1, ", env!("CARGO_PKG_VERSION"));

/// How a worker process is started, and what it is told.
pub(super) struct Remote {
    pub(super) command: Command,
    pub(super) told: Vec<u8>,
}

/// How this program is started as a worker, if it can be.
static OWN: Mutex<Option<(PathBuf, Vec<OsString>)>> = Mutex::new(None);

/// Lets this program be the process in which candidates of the tuner run on a GPU. Call it first thing in `main`: it does
/// not return in a process that was started as a worker, and does nothing else but remember how to start one in all
/// others. `args` are passed to such a process; the call must be reached with them.
///
/// ```no_run
/// helion::tuning::worker::<&str>([]); // first thing in `main`
/// ```
///
/// Without it the `helion` command is used, if it is in the path and of this version, and else candidates run in the
/// program itself, where one that hangs or faults ends the search and may cost the device.
pub fn worker<A: Into<OsString>>(args: impl IntoIterator<Item = A>) {
    if std::env::var_os(MARK).is_some() {
        let served = serve();
        std::process::exit(i32::from(served.is_err()));
    }
    if let Ok(path) = std::env::current_exe() {
        let args = args.into_iter().map(Into::into).collect();
        *OWN.lock().unwrap_or_else(|e| e.into_inner()) = Some((path, args));
    }
}

/// The command of a worker.
fn command() -> io::Result<Command> {
    if let Some((path, args)) = &*OWN.lock().unwrap_or_else(|e| e.into_inner()) {
        let mut command = Command::new(path);
        command.args(args);
        return Ok(command);
    }
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join("helion")).find(|p| p.is_file())
    };
    let found = settings::tune_worker().or_else(in_path).ok_or_else(|| {
        io::Error::other(
            "this program does not call `helion::tuning::worker`, and there is no `helion` command of this version in the path",
        )
    })?;
    let mut command = Command::new(found);
    command.arg("worker");
    Ok(command)
}

/// How to start a worker for a launch.
///
/// # Errors
/// When there is no program for it, or tensors cannot be read.
pub(super) fn of(state: &State, traced: &Traced, reference: &Config) -> io::Result<Remote> {
    let mut command = command()?;
    command.env(MARK, "1");
    let mut told = message(|out| {
        text(out, VERSION);
        number(out, u64::from(std::process::id()));
        write(state, traced, reference, out);
    });
    for c in sent(state, traced) {
        let words = &state.words[c.word..];
        let (dims, strides) = outputs::shape(words, c.tensor.map_or(0, |t| t.rank));
        let from = std::ptr::without_provenance(words[0] as usize);
        // SAFETY: a live tensor of the launch, which nobody writes until it ends.
        let bytes =
            unsafe { outputs::held(state.device(), from, c.dtype, &dims, &strides) }.map_err(io::Error::other)?;
        number(&mut told, bytes.len() as u64);
        told.extend(bytes);
    }
    Ok(Remote { command, told })
}

/// The tensors whose contents a kernel reads.
fn sent<'s>(state: &'s State, traced: &Traced) -> impl Iterator<Item = &'s Capture> {
    let read = outputs::read_params(traced.verified.function());
    let wanted = move |i: usize, t: &TensorFacts| !t.mutable || read.get(i).copied().unwrap_or(true);
    let captures = state.captures.iter().enumerate();
    captures.filter(move |(i, c)| c.tensor.as_ref().is_some_and(|t| wanted(*i, t))).map(|(_, c)| c)
}

fn write(state: &State, traced: &Traced, reference: &Config, out: &mut Vec<u8>) {
    text(out, state.kernel);
    text(out, &traced.text);
    config(out, reference);
    number(
        out,
        match state.device() {
            Device::Cuda(n) => n as u64,
            Device::Cpu => u64::MAX,
        },
    );
    list(out, &state.words, |out, w| number(out, *w));
    list(out, &state.sizes, |out, w| number(out, *w));
    list(out, state.place(), |out, w| number(out, *w));
    number(out, state.aligned);
    flag(out, state.narrow);
    list(out, &state.captures, |out, c| {
        text(out, &c.name.to_string());
        text(out, &c.dtype.to_string());
        number(out, c.word as u64);
        option(out, c.tensor.as_ref(), |out, t| {
            number(out, t.rank as u64);
            flag(out, t.mutable);
            number(out, t.layout as u64);
        });
    });
}

/// A launch as another process described it. Its tensors have no memory yet.
fn read(r: &mut Reader<'_>) -> Option<(State, String, Config)> {
    let mut state = State::default();
    state.kernel = String::leak(r.text()?);
    let (tile_ir, reference) = (r.text()?, r.config()?);
    state.device = Some(Device::Cuda(usize::try_from(r.number()?).ok()?));
    state.words = r.list(Reader::number)?;
    state.sizes = r.list(Reader::number)?;
    state.set_place(&r.list(Reader::number)?);
    state.aligned = r.number()?;
    state.narrow = r.flag()?;
    state.captures = r.list(|r| {
        Some(Capture {
            name: Name::leaked(r.text()?),
            dtype: r.text()?.parse().ok()?,
            word: usize::try_from(r.number()?).ok()?,
            tensor: r.option(|r| {
                let (rank, mutable) = (usize::try_from(r.number()?).ok()?, r.flag()?);
                let layout = [Layout::Contiguous, Layout::LastUnit, Layout::Strided];
                let layout = *layout.get(usize::try_from(r.number()?).ok()?)?;
                Some(TensorFacts::described(rank, mutable, layout))
            })?,
            at: Location::caller(),
        })
    })?;
    let inside = |c: &Capture| c.word + c.tensor.map_or(1, |t| 1 + 2 * t.rank) <= state.words.len();
    (state.captures.iter().all(inside)).then_some((state, tile_ir, reference))
}

/// The life of a worker.
fn serve() -> Result<()> {
    // SAFETY: the program that started this one put a socket there, and nothing else uses it.
    let mut stream = unsafe { UnixStream::from_raw_fd(0) };
    let rebuilt = rebuild(&mut stream);
    let mut refuse = |why: &Error| {
        let bytes = message(|out| Answer::Ready(Err(why.to_string())).write(out));
        let _ = io::Write::write_all(&mut stream, &bytes);
    };
    let (state, traced, reference, _memory) = match rebuilt {
        Ok(all) => all,
        Err(e) => {
            refuse(&e);
            return Err(e);
        }
    };
    let mut engine = OnGpu::new(&state, &traced)?;
    super::engine::Engine::refer(&mut engine, &reference);
    let board = Arc::new(Board::new()?);
    process::serve(&mut Server::new(engine), stream, &board).map_err(Error::from)
}

/// Memory of tensors.
type Blocks = Vec<cuda::Block>;

/// The launch that this worker is about.
fn rebuild(stream: &mut UnixStream) -> Result<(State, Traced, Config, Blocks)> {
    let odd = || Error::internal("a worker was told something that makes no sense");
    let length = usize::try_from(u32::from_le_bytes(take(stream)?)).map_err(|_| odd())?;
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    let mut r = Reader::new(&bytes);
    let version = r.text().ok_or_else(odd)?;
    if version != VERSION {
        return Err(Error::device(format!("the worker is `{VERSION}`, the program `{version}`")));
    }
    let parent = r.number().ok_or_else(odd)?;
    process::attend(parent as libc::pid_t);
    let (mut state, tile_ir, reference) = read(&mut r).ok_or_else(odd)?;
    let wrong = |d| Error::kernel(state.kernel, vec![d]);
    let function = tile::parse(&tile_ir).map_err(wrong)?;
    let verified = tile::verify(function).map_err(|d| Error::kernel(state.kernel, d))?;
    let machine = Machine::of(state.device())?;
    let id = records::Id::new(state.kernel, &tile_ir, machine.device(), machine.target());
    let traced = Traced { verified, text: tile_ir, machine, id, phases: Vec::new() };
    let Machine::Gpu(gpu, _) = machine else { return Err(odd()) };
    let sent: Vec<usize> = sent(&state, &traced).map(|c| c.word).collect();
    let mut blocks = Vec::new();
    for i in 0..state.captures.len() {
        let c = &state.captures[i];
        let Some(t) = c.tensor else { continue };
        let word = c.word;
        let (block, first) = place(gpu, &state.words[word..], t.rank, c.dtype)?;
        if sent.contains(&word) {
            let mut bytes = vec![0; usize::try_from(u64::from_le_bytes(take(stream)?)).map_err(|_| odd())?];
            stream.read_exact(&mut bytes)?;
            if bytes.len() > first.bytes {
                return Err(odd());
            }
            // SAFETY: the block has as many bytes from the lowest element on.
            unsafe { cuda::write(gpu, std::ptr::without_provenance_mut(first.lowest as usize), &bytes) }?;
        }
        state.words[word] = first.zero;
        blocks.push(block);
    }
    Ok((state, traced, reference, blocks))
}

/// Where a tensor is.
struct Placed {
    /// Its lowest element, and the one at index 0…0.
    lowest: u64,
    zero: u64,
    bytes: usize,
}

/// Memory for a tensor, at the same place within 256 bytes as the original.
fn place(gpu: &'static cuda::Gpu, words: &[u64], rank: usize, dtype: DType) -> Result<(cuda::Block, Placed)> {
    let (dims, strides) = outputs::shape(words, rank);
    let (lo, hi) = reach(&dims, &strides).unwrap_or((0, -1));
    let size = dtype.size() as u64;
    let bytes = usize::try_from(hi - lo + 1).unwrap_or(0) * dtype.size();
    let before = lo.unsigned_abs() as u64 * size;
    let shift = words[0].wrapping_sub(before) % 256;
    let block = cuda::Block::new(gpu, bytes + shift as usize)?;
    let lowest = block.address().0 + shift;
    Ok((block, Placed { lowest, zero: lowest + before, bytes }))
}

fn take<const N: usize>(stream: &mut UnixStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

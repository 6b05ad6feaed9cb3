//! The devices of this process: the machine's own, then those of drivers that tests installed.
//!
//! In: a device's number. Out: a [`Gpu`], which lives as long as the process, or an error that says what is missing and
//! what to do. Contexts are made when a device is first used. A context that was lost (an illegal access in a kernel,
//! for example) stays lost: every later use of the device returns the error that was found first.

use super::driver::{self, Context, Driver, Event, Facts, Fault, Severity};
use super::memory::Pool;
use crate::error::{Error, Result};
use helion_codegen::ptx::{self, Arch};
use helion_ir::target::Target;
use std::ffi::c_void;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};

/// A device, and what this process has on it.
pub(in crate::runtime) struct Gpu {
    /// Its number in this process.
    pub(in crate::runtime) index: usize,
    /// Its number for its driver.
    ordinal: usize,
    driver: Arc<dyn Driver>,
    pub(in crate::runtime) facts: Facts,
    /// The driver's version, as in 12080 for 12.8.
    pub(in crate::runtime) version: u32,
    /// What is compiled for; `None` when the device is too old.
    arch: Option<Arch>,
    /// The device as the scheduler sees it.
    pub(in crate::runtime) target: Target,
    context: OnceLock<Result<Context>>,
    /// Why nothing works any more.
    lost: OnceLock<Error>,
    pool: Mutex<Pool>,
    /// Used to make one stream wait for another; see [`stream`](super::stream).
    pub(super) fence: Mutex<Option<Event>>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} {}", self.index, self.facts.name)
    }
}

static DEVICES: RwLock<Vec<&'static Gpu>> = RwLock::new(Vec::new());

/// Puts the machine's own devices into the list, once; else says why there are none.
fn own() -> &'static Result<(), String> {
    static OWN: OnceLock<Result<(), String>> = OnceLock::new();
    OWN.get_or_init(|| {
        let driver = system()?;
        add(driver).map(drop).map_err(|f| f.to_string())
    })
}

#[cfg(feature = "cuda")]
fn system() -> Result<Arc<dyn Driver>, String> {
    Ok(Arc::new(super::system::open()?))
}

#[cfg(not(feature = "cuda"))]
fn system() -> Result<Arc<dyn Driver>, String> {
    Err("this build of helion does not use GPUs\n  help: build with `--features cuda,llvm`".to_owned())
}

/// Adds all devices of a driver; gives the number of the first.
fn add(driver: Arc<dyn Driver>) -> driver::Result<usize> {
    let version = driver.version()?;
    let mut new = Vec::new();
    for ordinal in 0..driver.devices()? {
        new.push((ordinal, driver.facts(ordinal)?));
    }
    let mut devices = DEVICES.write().unwrap_or_else(|e| e.into_inner());
    let first = devices.len();
    for (ordinal, facts) in new {
        let arch = Arch::of_device(facts.capability.0, facts.capability.1);
        devices.push(Box::leak(Box::new(Gpu {
            index: first + ordinal,
            ordinal,
            driver: Arc::clone(&driver),
            version,
            arch,
            target: target(arch.unwrap_or(Arch::Sm80), &facts),
            facts,
            context: OnceLock::new(),
            lost: OnceLock::new(),
            pool: Mutex::default(),
            fence: Mutex::default(),
        })));
    }
    Ok(first)
}

/// The architecture's target with what this device says of itself.
fn target(arch: Arch, facts: &Facts) -> Target {
    let mut t = ptx::target(arch);
    let typical = t.cores.max(1);
    if facts.multiprocessors > 0 {
        t.cores = facts.multiprocessors;
    }
    if facts.cache > 0 {
        (t.l2_bytes, t.l3_bytes) = (facts.cache, facts.cache);
    }
    if facts.shared > 0 {
        t.l1_bytes = u64::from(facts.shared);
    }
    if facts.clock > 0 {
        t.speed.mhz = facts.clock / 1000;
    }
    let (bits, khz) = facts.bus;
    // Two transfers in each cycle of the memory's clock; MB/s.
    let memory = u64::from(bits) / 8 * 2 * u64::from(khz) / 1000;
    if let Ok(memory @ 1..) = u32::try_from(memory) {
        t.speed.core_memory = (u64::from(t.speed.core_memory) * u64::from(memory) / u64::from(t.speed.memory.max(1)))
            .saturating_mul(typical.into())
            .checked_div(t.cores.into())
            .and_then(|m| u32::try_from(m).ok())
            .unwrap_or(t.speed.core_memory);
        t.speed.memory = memory;
    }
    t
}

/// The device of a number.
///
/// # Errors
/// What is missing, and what to do.
pub(in crate::runtime) fn gpu(index: usize) -> Result<&'static Gpu> {
    let find = || DEVICES.read().unwrap_or_else(|e| e.into_inner()).get(index).copied();
    // Own devices come first, so they must be known before a number means anything.
    let own = own();
    find().ok_or_else(|| missing(index, own))
}

#[cold]
fn missing(index: usize, own: &Result<(), String>) -> Error {
    let count = DEVICES.read().unwrap_or_else(|e| e.into_inner()).len();
    match own {
        Err(why) if count == 0 => Error::device(format!("CUDA device {index} cannot be used: {why}")),
        _ => Error::device(format!(
            "CUDA device {index} cannot be used: there are {count} devices, numbered from 0\n  help: `helion doctor` lists them"
        )),
    }
}

/// Every device.
///
/// # Errors
/// Why there is none.
pub(in crate::runtime) fn all() -> Result<Vec<&'static Gpu>> {
    let own = own();
    let devices = DEVICES.read().unwrap_or_else(|e| e.into_inner()).clone();
    if devices.is_empty() { Err(missing(0, own)) } else { Ok(devices) }
}

/// Waits for the work of this process on every device that it has used.
///
/// # Errors
/// What went wrong in that work.
pub(in crate::runtime) fn wait_everywhere() -> Result<()> {
    let devices = DEVICES.read().unwrap_or_else(|e| e.into_inner()).clone();
    for gpu in devices.into_iter().filter(|g| matches!(g.context.get(), Some(Ok(_)))) {
        let driver = gpu.enter()?;
        gpu.check(driver.wait_all())?;
    }
    Ok(())
}

/// Adds the devices of a driver after those that are there, and returns the number of the first: **for tests**, and for
/// programs that bring a simulator. Devices stay as long as the process.
///
/// # Errors
/// When the driver cannot say what it has.
pub fn install(driver: Arc<dyn Driver>) -> Result<usize> {
    let _ = own();
    add(driver).map_err(|f| Error::device(format!("the driver cannot be used: {f}")))
}

/// Makes a context of the caller's the one that a device is used with, instead of the device's primary context. Call it
/// before anything else uses the device.
///
/// # Errors
/// When there is no such device, or it was used before.
///
/// # Safety
/// `context` must be a `CUcontext` of this device, and live as long as the process uses the device.
pub unsafe fn use_context(device: usize, context: *mut c_void) -> Result<()> {
    let gpu = gpu(device)?;
    let context = Context(context.expose_provenance() as u64);
    match gpu.context.get_or_init(|| Ok(context)) {
        Ok(c) if *c == context => Ok(()),
        _ => Err(Error::device(format!("cuda:{device} is in use already, with another context"))),
    }
}

impl Gpu {
    /// What tells it from others, for what was measured on it.
    pub(in crate::runtime) fn identity(&self) -> Vec<(&'static str, String)> {
        let (f, (major, minor)) = (&self.facts, self.facts.capability);
        vec![
            ("gpu", f.name.clone()),
            ("capability", format!("{major}.{minor}")),
            ("memory", f.memory.to_string()),
            ("driver", self.version.to_string()),
        ]
    }

    /// The architecture that code is made for.
    ///
    /// # Errors
    /// When the device is too old.
    pub(in crate::runtime) fn arch(&self) -> Result<Arch> {
        self.arch.ok_or_else(|| {
            let (major, minor) = self.facts.capability;
            Error::device(format!(
                "{} has compute capability {major}.{minor}; kernels need 8.0 (Ampere) or later",
                self.facts.name
            ))
        })
    }

    /// The driver, for calls that need no context.
    pub(in crate::runtime) fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// The driver, with the device's context current on this thread until the result is dropped.
    ///
    /// # Errors
    /// When there is no context, or it was lost.
    #[inline]
    pub(in crate::runtime) fn enter(&'static self) -> Result<Entered> {
        if let Some(e) = self.lost.get() {
            return Err(e.clone());
        }
        let context = match self.context.get() {
            Some(Ok(c)) => *c,
            _ => self.first_context()?,
        };
        let before = self.check(self.driver.current())?;
        if before != context {
            // SAFETY: the context lives as long as the process.
            self.check(unsafe { self.driver.enter(context) })?;
        }
        Ok(Entered { gpu: self, before: (before != context && before != Context(0)).then_some(before) })
    }

    #[cold]
    fn first_context(&self) -> Result<Context> {
        self.context
            .get_or_init(|| {
                self.driver.context(self.ordinal).map_err(|f| {
                    let text = format!("{self:?} cannot be used: {f}");
                    Error::device(format!("{text}\n  help: `nvidia-smi` shows who uses it and in which mode"))
                })
            })
            .clone()
    }

    /// A result of the driver as ours; a lost context is remembered.
    #[inline]
    pub(in crate::runtime) fn check<T>(&self, result: driver::Result<T>) -> Result<T> {
        result.map_err(|f| self.error(&f))
    }

    #[cold]
    pub(super) fn error(&self, fault: &Fault) -> Error {
        match fault.severity() {
            Severity::Memory => Error::memory(format!("{self:?} has no memory left: {fault}")),
            Severity::Lost => {
                let text = format!("{self:?} cannot be used by this process any more: {fault}");
                let help = "a kernel or copy that was queued earlier failed; a program has to be started anew";
                self.lost.get_or_init(|| Error::lost(fault.code, format!("{text}\n  help: {help}"))).clone()
            }
            Severity::Call => Error::driver(fault.code, format!("{self:?}: {fault}")),
        }
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The most dynamic shared memory that a block of a kernel with so much static one can have.
    pub(super) fn shared_beside(&self, declared: u32) -> u32 {
        self.facts.shared.saturating_sub(declared)
    }
}

/// The driver, while a device's context is current on this thread.
pub(in crate::runtime) struct Entered {
    gpu: &'static Gpu,
    /// Whose turn it was before.
    before: Option<Context>,
}

impl Deref for Entered {
    type Target = dyn Driver;
    fn deref(&self) -> &(dyn Driver + 'static) {
        &*self.gpu.driver
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // SAFETY: it was current a moment ago. A failure shows at the caller's next call.
            let _ = unsafe { self.gpu.driver.enter(before) };
        }
    }
}

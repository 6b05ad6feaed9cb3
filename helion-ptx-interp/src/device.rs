//! A simulated device: memory, modules loaded into it, launches.

use crate::exec::{self, Shape};
use crate::fault::{Fault, FaultKind};
use crate::memory::global::GlobalMemory;
use crate::module::Module;
use crate::report::Report;
use std::collections::HashMap;

/// Shared memory that a block may have at most, as on sm_90.
const MAX_SHARED: u32 = 227 * 1024;
/// Instructions of warps that a launch may run, unless it is set.
const LIMIT: u64 = 400_000_000;

/// An access of the host that is not possible, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host {0}")]
pub struct HostError(String);

/// A device with nothing but memory and time.
#[derive(Debug)]
pub struct Device {
    global: GlobalMemory,
    /// For each module: the addresses of its variables.
    loaded: HashMap<u64, HashMap<String, u64>>,
    limit: u64,
}

impl Default for Device {
    fn default() -> Device {
        Device::new()
    }
}

impl Device {
    /// A device with empty memory.
    pub fn new() -> Device {
        Device { global: GlobalMemory::new(), loaded: HashMap::new(), limit: LIMIT }
    }

    /// Sets how many instructions of warps a launch may run before it is stopped as endless.
    pub fn set_instruction_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Takes memory. Its bytes are filled with a pattern, not with zeros. The address is a multiple of 4 GiB, which the
    /// hardware does not promise: it promises 256.
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        self.global.alloc(bytes)
    }

    /// Gives memory back. Later accesses to it are faults.
    ///
    /// # Errors
    /// If the address is not one that [`Device::alloc`] returned, or was freed before.
    pub fn free(&mut self, address: u64) -> Result<(), HostError> {
        self.global.free(address).map_err(|t| HostError(format!("frees memory: {}", t.message)))
    }

    /// Copies bytes to the device.
    ///
    /// # Errors
    /// If they do not lie in one live allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), HostError> {
        match self.global.write(address, bytes.len()) {
            Ok(to) => {
                to.copy_from_slice(bytes);
                Ok(())
            }
            Err(t) => Err(HostError(t.message)),
        }
    }

    /// The bytes at an address.
    ///
    /// # Errors
    /// If they do not lie in one live allocation.
    pub fn read(&self, address: u64, bytes: usize) -> Result<&[u8], HostError> {
        self.global.read(address, bytes).map_err(|t| HostError(t.message))
    }

    /// Puts the variables of a module into memory; a launch does it where it was not done before.
    pub fn load(&mut self, module: &Module) {
        if self.loaded.contains_key(&module.id) {
            return;
        }
        let mut symbols = HashMap::new();
        for data in &module.data {
            symbols.insert(data.name.clone(), self.global.alloc_with(data.bytes.clone(), data.writable));
        }
        for data in &module.data {
            let Some(start) = symbols.get(&data.name) else { continue };
            for (offset, name, add) in &data.addresses {
                let value = symbols.get(name).map_or(0, |a| a.wrapping_add_signed(*add));
                self.global.initialise(start + *offset as u64, &value.to_le_bytes());
            }
        }
        self.loaded.insert(module.id, symbols);
    }

    /// The address of a variable of a module that was loaded.
    pub fn symbol(&self, module: &Module, name: &str) -> Option<u64> {
        self.loaded.get(&module.id)?.get(name).copied()
    }

    /// Runs a kernel on a grid of blocks. `params` is the parameter block: each parameter at the offset that
    /// [`crate::Entry::params`] says.
    ///
    /// # Errors
    /// The first fault. Memory is then as the kernel left it.
    pub fn launch(
        &mut self,
        module: &Module,
        entry: &str,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic_shared: u32,
        params: &[u8],
    ) -> Result<Report, Fault> {
        let impossible = |message: String| Fault {
            kind: FaultKind::Launch,
            kernel: entry.to_string(),
            line: 0,
            text: String::new(),
            block: [0; 3],
            thread: None,
            message,
        };
        let Some(entry) = module.entry(entry) else {
            let known: Vec<&str> = module.entries().iter().map(|e| e.name.as_str()).collect();
            return Err(impossible(format!("the module has no such entry; it has {known:?}")));
        };
        let threads = block.iter().try_fold(1u32, |n, e| n.checked_mul(*e)).unwrap_or(u32::MAX);
        if threads == 0 || threads > 1024 || grid.contains(&0) {
            return Err(impossible(format!("a grid of {grid:?} blocks of {block:?} threads; a block has 1 to 1024")));
        }
        if let Some(wanted) = entry.bounds.required_threads
            && wanted != block
        {
            return Err(impossible(format!("blocks of {block:?} threads; .reqntid asks for {wanted:?}")));
        }
        if let Some(most) = entry.bounds.max_threads
            && threads > most.iter().product()
        {
            return Err(impossible(format!("blocks of {threads} threads; .maxntid allows {most:?}")));
        }
        if let Some(cluster) = entry.bounds.cluster
            && cluster.iter().product::<u32>() > 1
        {
            return Err(impossible(format!("clusters of {cluster:?} blocks; this interpreter runs clusters of one")));
        }
        if params.len() != entry.param_bytes() {
            let message = format!("{} bytes of parameters; the entry takes {}", params.len(), entry.param_bytes());
            return Err(impossible(message));
        }
        let total = entry.program.dynamic_start.saturating_add(dynamic_shared);
        if total > MAX_SHARED {
            return Err(impossible(format!("{total} bytes of shared memory; a block has at most {MAX_SHARED}")));
        }
        self.load(module);
        let symbols = &self.loaded[&module.id];
        let shape = Shape { grid, block, dynamic_shared };
        exec::run(module, entry, shape, params, &mut self.global, |name| symbols.get(name).copied(), self.limit)
    }
}

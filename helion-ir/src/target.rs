//! Facts about a device that the scheduler may ask for. No backend is named here.

/// What the scheduler and the passes know of the device they plan for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// A name for reports, such as `x86-64 avx512` or `sm_90a`.
    pub name: String,
    /// Bytes of one vector register (64, 32 or 16 on CPUs).
    pub vector_bytes: u32,
    /// How many vector registers an instruction can name.
    pub vector_registers: u32,
    /// Bytes of the first-level data cache of one core (or shared memory of one multiprocessor).
    pub l1_bytes: u64,
    /// Bytes of the second-level cache of one core.
    pub l2_bytes: u64,
    /// Bytes of the last-level cache, shared by all cores.
    pub l3_bytes: u64,
    /// Cores (or multiprocessors) that run program instances side by side.
    pub cores: u32,
    /// Threads that execute in lockstep; 1 on CPUs.
    pub warp: u32,
    /// How fast it is.
    pub speed: Speed,
}

/// Bytes of a line of the caches, on all machines that are known here.
const LINE: u32 = 64;

impl Target {
    /// Whether a vector is less than a line of the caches: work for each line is then done several times.
    pub fn narrow(&self) -> bool {
        self.vector_bytes < LINE
    }
}

/// How fast a device is: estimates, good enough to compare plans with. Whole numbers, so that equal facts give equal
/// plans on every run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Speed {
    /// Clock of a core at work, in MHz.
    pub mhz: u32,
    /// Vector arithmetic instructions (a fused multiply-add is one) that a core finishes in ten cycles.
    pub vector_ops: u32,
    /// Products of 16-bit floats that a core's matrix unit makes in a cycle; 0 where products are vector arithmetic.
    pub matrix_ops: u32,
    /// Bytes that one core takes from the second-level cache in ten cycles.
    pub l2_bytes: u32,
    /// Bytes that one core takes from the last-level cache in ten cycles.
    pub l3_bytes: u32,
    /// MB/s between one core and memory.
    pub core_memory: u32,
    /// MB/s between all cores and memory.
    pub memory: u32,
    /// Cycles to start a vector loop.
    pub loop_cycles: u32,
    /// Cycles to start a program instance.
    pub program_cycles: u32,
    /// Nanoseconds to hand work to other threads and wait for them.
    pub fork_ns: u32,
}

impl Default for Speed {
    /// A server core of recent years.
    fn default() -> Speed {
        Speed {
            mhz: 3000,
            vector_ops: 20,
            matrix_ops: 0,
            l2_bytes: 300,
            l3_bytes: 120,
            core_memory: 12_000,
            memory: 24_000,
            loop_cycles: 40,
            program_cycles: 30,
            fork_ns: 1000,
        }
    }
}

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
}

//! Micro-kernels on the matrix unit of recent Intel processors (AMX).
//!
//! In: a panel of the left operand, rows of 64 bytes along `k`, and one of the right operand, rows of 32-bit lanes along
//! the columns, each lane holding as many steps of `k` as fit. Out: a tile of 32 × 32 sums, stored or added. Shapes are
//! fixed, so the code is written once, here, and not emitted.
//!
//! The unit has eight registers of 16 rows of 64 bytes: four hold the sums, two a step of the left operand, two a step of
//! the right one. They are shaped by [`Unit::open`] and given back when it is dropped; between the two a thread may use
//! the kernels.

use super::driver::Kernel;

/// What the unit multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Matrix {
    /// `bf16`, summed in `f32`. Subnormal numbers count as zero.
    Bf16,
    /// 8-bit integers, summed in `i32`, and whether the left and the right ones have signs.
    Bytes(bool, bool),
}

/// All of them, in the order of their numbers in the driver's block.
pub(super) const ALL: [Matrix; 5] = [
    Matrix::Bf16,
    Matrix::Bytes(true, true),
    Matrix::Bytes(true, false),
    Matrix::Bytes(false, true),
    Matrix::Bytes(false, false),
];

/// Rows and columns of a tile.
pub(super) const SIDE: u64 = 32;
/// Lanes of a step of the unit: what one row of a register holds.
pub(super) const LANES: usize = 16;

impl Matrix {
    /// Steps of `k` in a lane.
    pub(super) fn per_lane(self) -> usize {
        match self {
            Matrix::Bf16 => 2,
            Matrix::Bytes(..) => 4,
        }
    }

    /// Products in the time of a vector instruction.
    pub(in super::super) fn products_at_once(self) -> usize {
        256 * self.per_lane()
    }

    /// Name and address of the kernel that stores a tile, or adds it to what is there.
    pub(in super::super) fn helper(self, add: bool) -> (&'static str, usize) {
        let (name, kernel): (_, Kernel) = match (self, add) {
            (Matrix::Bf16, false) => ("amx_bf16_store", unit::bf16_store),
            (Matrix::Bf16, true) => ("amx_bf16_add", unit::bf16_add),
            (Matrix::Bytes(true, true), false) => ("amx_i8_i8_store", unit::ss_store),
            (Matrix::Bytes(true, true), true) => ("amx_i8_i8_add", unit::ss_add),
            (Matrix::Bytes(true, false), false) => ("amx_i8_u8_store", unit::su_store),
            (Matrix::Bytes(true, false), true) => ("amx_i8_u8_add", unit::su_add),
            (Matrix::Bytes(false, true), false) => ("amx_u8_i8_store", unit::us_store),
            (Matrix::Bytes(false, true), true) => ("amx_u8_i8_add", unit::us_add),
            (Matrix::Bytes(false, false), false) => ("amx_u8_u8_store", unit::uu_store),
            (Matrix::Bytes(false, false), true) => ("amx_u8_u8_add", unit::uu_add),
        };
        (name, kernel as usize)
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod unit {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use std::sync::OnceLock;

    /// Whether the processor has the unit, for `bf16` and bytes, and the system lets this process use it.
    pub fn exists() -> bool {
        static EXISTS: OnceLock<bool> = OnceLock::new();
        *EXISTS.get_or_init(|| {
            const BF16_TILE_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
            let saves_state = __cpuid(0).eax >= 7 && __cpuid(1).ecx & (1 << 27) != 0;
            if !saves_state || __cpuid_count(7, 0).edx & BF16_TILE_INT8 != BF16_TILE_INT8 {
                return false;
            }
            // SAFETY: the processor has `xgetbv`, as bit 27 says.
            let saved = unsafe { xcr0() };
            saved & 0x6_0000 == 0x6_0000 && permitted()
        })
    }

    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: register 0 exists wherever the instruction does.
        unsafe { _xgetbv(0) }
    }

    /// Asks the kernel for the registers, which are too large to be saved for processes that do not use them.
    fn permitted() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XTILEDATA: libc::c_long = 18;
        // SAFETY: the call changes nothing but what this process may use.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
    }

    /// The shapes of the registers.
    #[repr(C, align(64))]
    struct Shapes {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes: [u16; 16],
        rows: [u8; 16],
    }

    static SHAPES: Shapes = Shapes {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    /// Shapes the registers of this thread.
    ///
    /// # Safety
    /// [`exists`] said so.
    pub unsafe fn open() {
        // SAFETY: the block describes shapes that the unit has.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, preserves_flags)) };
    }

    /// Gives the registers of this thread back.
    ///
    /// # Safety
    /// [`exists`] said so.
    pub unsafe fn close() {
        // SAFETY: nothing is kept in the registers.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }

    macro_rules! kernels {
        ($($name:ident $product:literal, $($first:literal)*;)*) => {$(
            /// Slots: panel of the left operand, of the right one, the first element of the tile, bytes between its
            /// rows. `k`: lanes of a panel for each row or column, a multiple of 16.
            ///
            /// # Safety
            /// The registers are open, the panels are as long as `k` says, the tile is 32 × 32.
            pub unsafe extern "C" fn $name(slots: *mut u64, k: u64) {
                // SAFETY: by the caller's promise.
                unsafe {
                    let (a, b, c, stride) = (*slots, *slots.add(1), *slots.add(2), *slots.add(3));
                    asm!(
                        $($first,)*
                        "test {k}, {k}",
                        "jz 3f",
                        "2:",
                        "tileloadd tmm4, [{a} + {line}]",
                        "tileloadd tmm6, [{b} + {line}*2]",
                        "tileloadd tmm7, [{b} + {line}*2 + 64]",
                        concat!($product, " tmm0, tmm4, tmm6"),
                        "tileloadd tmm5, [{a} + {line} + 1024]",
                        concat!($product, " tmm1, tmm4, tmm7"),
                        concat!($product, " tmm2, tmm5, tmm6"),
                        concat!($product, " tmm3, tmm5, tmm7"),
                        "add {a}, 2048",
                        "add {b}, 2048",
                        "dec {k}",
                        "jnz 2b",
                        "3:",
                        "tilestored [{c} + {stride}], tmm0",
                        "tilestored [{c} + {stride} + 64], tmm1",
                        "tilestored [{low} + {stride}], tmm2",
                        "tilestored [{low} + {stride} + 64], tmm3",
                        a = inout(reg) a => _, b = inout(reg) b => _, k = inout(reg) k / 16 => _,
                        c = in(reg) c, low = in(reg) c.wrapping_add(stride.wrapping_mul(16)), stride = in(reg) stride,
                        line = in(reg) 64u64,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    );
                }
            }
        )*};
    }

    macro_rules! pairs {
        ($($store:ident $add:ident $product:literal;)*) => {$(
            kernels! {
                $store $product, "tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3";
                $add $product,
                    "tileloadd tmm0, [{c} + {stride}]" "tileloadd tmm1, [{c} + {stride} + 64]"
                    "tileloadd tmm2, [{low} + {stride}]" "tileloadd tmm3, [{low} + {stride} + 64]";
            }
        )*};
    }

    pairs! {
        bf16_store bf16_add "tdpbf16ps";
        ss_store ss_add "tdpbssd";
        su_store su_add "tdpbsud";
        us_store us_add "tdpbusd";
        uu_store uu_add "tdpbuud";
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod unit {
    /// No other machine has it.
    pub fn exists() -> bool {
        false
    }
    /// # Safety
    /// Never called: see [`exists`].
    pub unsafe fn open() {}
    /// # Safety
    /// Never called: see [`exists`].
    pub unsafe fn close() {}

    macro_rules! none {
        ($($name:ident)*) => {$(
            /// # Safety
            /// Never called: see [`exists`].
            pub unsafe extern "C" fn $name(_: *mut u64, _: u64) {}
        )*};
    }
    none! { bf16_store bf16_add ss_store ss_add su_store su_add us_store us_add uu_store uu_add }
}

pub(in super::super) use unit::exists;

/// The unit's registers, in shape for the kernels; this thread's until dropped.
pub(super) struct Unit(());

impl Unit {
    /// Shapes them, where the machine has them.
    pub(super) fn open() -> Option<Unit> {
        exists().then(|| {
            // SAFETY: just asked.
            unsafe { unit::open() };
            Unit(())
        })
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // SAFETY: opened, so it exists.
        unsafe { unit::close() };
    }
}

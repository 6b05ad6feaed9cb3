//! Kernels with one mistake each, and what is said about it; and the same kernels without it.

mod common;

use common::{params, ptx};
use helion_ptx_interp::{Device, Fault, FaultKind, Report};

/// Runs the body of a kernel with registers `i` (the thread), `a`, `b`, `c` (32 bits), `g` (the address of 1 KiB), `x`,
/// `y` (64 bits), `f` (a float), `p`, and 4 KiB of shared memory `s`.
fn body(threads: u32, code: &str) -> Result<Report, Fault> {
    let m = ptx(
        "sm_90a",
        &format!(
            ".visible .entry k(.param .u64 out) {{
            .shared .align 16 .b8 s[4096]; .local .align 8 .b8 l[16];
            .reg .b32 i, a, b, c; .reg .b64 g, x, y; .reg .f32 f; .reg .pred p;
            ld.param.b64 g, [out]; mov.u32 i, %tid.x; shl.b32 a, i, 2; xor.b32 b, a, 4; xor.b32 c, a, 128;
            {code}
            ret; }}"
        ),
    );
    let mut device = Device::new();
    device.set_instruction_limit(2_000_000);
    let out = device.alloc(1024);
    device.launch(&m, "k", [1, 1, 1], [threads, 1, 1], 0, &params(&[out]))
}

fn faults(threads: u32, code: &str, kind: FaultKind) -> Fault {
    let fault = body(threads, code).expect_err(code);
    assert_eq!(fault.kind, kind, "`{code}`: {fault}");
    assert!(fault.line > 0 && !fault.text.is_empty() && !fault.message.is_empty(), "{fault}");
    fault
}

fn fine(threads: u32, code: &str) {
    if let Err(e) = body(threads, code) {
        panic!("`{code}`: {e}");
    }
}

#[test]
fn accesses_outside_of_memory() {
    use FaultKind::{Misaligned, OutOfBounds};
    let f = faults(1, "ld.global.b32 a, [g+1024];", OutOfBounds);
    assert!(f.message.contains("1024 bytes into the allocation of 1024 bytes"), "{f}");
    faults(1, "ld.global.b32 a, [g+-4];", OutOfBounds);
    faults(1, "ld.global.v4.b32 {a, b, c, i}, [g+1016];", Misaligned);
    faults(1, "cvt.u32.u64 a, g; cvt.u64.u32 x, a; st.global.b32 [x], a;", OutOfBounds);
    let f = faults(64, "mul.wide.u32 x, i, 32; add.s64 x, x, g; st.global.b32 [x], i;", OutOfBounds);
    assert_eq!(f.thread, Some([32, 0, 0]));
    faults(1, "st.shared.b32 [s+4096], a;", OutOfBounds);
    faults(1, "st.shared.b32 [s+2], a;", Misaligned);
    faults(1, "st.local.b32 [l+16], a;", OutOfBounds);
    faults(1, "ld.param.b64 x, [out+8];", OutOfBounds);
    faults(1, "cvta.shared.u64 x, 4096; ld.b32 a, [x];", OutOfBounds);
    fine(1, "cvta.shared.u64 x, 8; st.b32 [x], a; ld.shared.b32 b, [s+8];");
    fine(32, "st.global.b32 [g+1020], a;");
}

#[test]
fn freed_memory() {
    let m = ptx(
        "sm_80",
        ".visible .entry k(.param .u64 p) { .reg .b64 x; ld.param.b64 x, [p]; st.global.b64 [x], x; ret; }",
    );
    let mut device = Device::new();
    let a = device.alloc(8);
    device.free(a).expect("a live allocation");
    let fault = device.launch(&m, "k", [1, 1, 1], [1, 1, 1], 0, &params(&[a])).expect_err("freed");
    assert!(fault.message.contains("freed"), "{fault}");
    assert!(device.free(a).is_err() && device.read(a, 1).is_err());
}

#[test]
fn shared_memory_that_nobody_wrote() {
    let f = faults(
        32,
        "setp.lt.u32 p, i, 8; @p st.shared.b32 [a], i; bar.sync 0; ld.shared.b32 b, [a];",
        FaultKind::Uninitialised,
    );
    assert_eq!(f.thread, Some([8, 0, 0]));
    faults(1, "red.shared.add.u32 [s], 1;", FaultKind::Uninitialised);
}

#[test]
fn races_between_warps() {
    faults(64, "st.shared.b32 [a], i; ld.shared.b32 b, [c];", FaultKind::Uninitialised);
    let late = "st.shared.b32 [a], i; setp.ge.u32 p, i, 32; @p ld.shared.b32 b, [c];";
    let f = faults(64, late, FaultKind::Race);
    assert!(f.message.contains("warp"), "{f}");
    fine(64, "st.shared.b32 [a], i; bar.sync 0; ld.shared.b32 b, [c];");
    // The second write may overtake the reads of the first.
    faults(64, "st.shared.b32 [a], i; bar.sync 0; ld.shared.b32 b, [c]; st.shared.b32 [a], b;", FaultKind::Race);
    fine(64, "st.shared.b32 [a], i; bar.sync 0; ld.shared.b32 b, [c]; bar.sync 0; st.shared.b32 [a], b;");
    // Two writers.
    faults(64, "and.b32 b, a, 127; st.shared.b32 [b], i;", FaultKind::Race);
    // Writing what is there already harms nobody.
    fine(64, "and.b32 b, a, 127; st.shared.b32 [b], 7; bar.sync 0; ld.shared.b32 c, [b];");
    // Many readers, then a writer in another warp.
    faults(
        96,
        "st.shared.b32 [s], 1; bar.sync 0; ld.shared.b32 b, [s]; setp.eq.u32 p, i, 95; @p st.shared.b32 [s], 2;",
        FaultKind::Race,
    );
    // A barrier of two warps does not order the third.
    faults(
        96,
        "st.shared.b32 [a], i; setp.ge.u32 p, i, 64; @p bra E; bar.sync 1, 64; ld.shared.b32 b, [a+128]; E:",
        FaultKind::Race,
    );
}

#[test]
fn races_between_lanes() {
    faults(32, "st.shared.b32 [a], i; ld.shared.b32 b, [b];", FaultKind::Race);
    fine(32, "st.shared.b32 [a], i; bar.warp.sync -1; ld.shared.b32 b, [b];");
    fine(32, "st.shared.b32 [a], i; shfl.sync.bfly.b32 c, i, 1, 31, -1; ld.shared.b32 b, [b];");
    faults(32, "st.shared.b32 [s], i;", FaultKind::Race);
    // Redundant lanes read what one of them then updates: a warp issues these in order.
    fine(
        32,
        "st.shared.b32 [s], 1; bar.warp.sync -1; ld.shared.b32 b, [s]; setp.eq.u32 p, i, 0; @p st.shared.b32 [s], b;",
    );
    fine(
        32,
        "st.shared.b32 [s], 1; bar.warp.sync -1; ld.shared.b32 b, [s]; setp.eq.u32 p, i, 0; @p st.shared.b32 [s], 2;",
    );
    fine(32, "st.shared.b32 [a], i; ld.shared.b32 b, [a]; st.shared.b32 [a], b;");
}

#[test]
fn atomics_order_nothing_but_themselves() {
    let zero = "setp.eq.u32 p, i, 0; @p st.shared.b32 [s], 0; bar.sync 0;";
    fine(64, &format!("{zero} red.shared.add.u32 [s], 1; bar.sync 0; ld.shared.b32 a, [s];"));
    faults(64, &format!("{zero} red.shared.add.u32 [s], 1; ld.shared.b32 a, [s];"), FaultKind::Race);
    // A flag with release and acquire orders what was before it.
    let flag = |store: &str, load: &str| {
        format!(
            "{zero} setp.lt.u32 p, i, 32; @p bra WRITE;
             SPIN: {load} b, [s]; setp.eq.u32 p, b, 0; @p bra SPIN; {} ld.shared.b32 c, [s+1024]; bra E;
             WRITE: setp.ne.u32 p, i, 0; @p bra E; st.shared.b32 [s+1024], 5; {} {store} [s], 1; E:",
            if load.contains("volatile") { "membar.cta;" } else { "" },
            if store.contains("volatile") { "membar.cta;" } else { "" }
        )
    };
    fine(64, &flag("st.release.cta.shared.b32", "ld.acquire.cta.shared.b32"));
    fine(64, &flag("st.volatile.shared.b32", "ld.volatile.shared.b32"));
    faults(64, &flag("st.relaxed.cta.shared.b32", "ld.relaxed.cta.shared.b32"), FaultKind::Race);
}

#[test]
fn threads_that_wait_for_ever() {
    let f = faults(64, "setp.lt.u32 p, i, 32; @p bra E; bar.sync 1, 64; E: bar.sync 0;", FaultKind::Deadlock);
    assert!(f.message.contains("barrier 1") && f.message.contains("barrier 0"), "{f}");
    let f = faults(32, "setp.lt.u32 p, i, 16; @p bra E; bar.sync 0; bra F; E: bar.sync 1; F:", FaultKind::Deadlock);
    assert!(f.message.contains("lanes"), "{f}");
    faults(
        32,
        "setp.lt.u32 p, i, 16; @p bra E; shfl.sync.bfly.b32 b, i, 1, 31, -1; E: bar.sync 0;",
        FaultKind::Deadlock,
    );
    // Threads that have exited are not waited for.
    fine(64, "setp.lt.u32 p, i, 32; @p exit; bar.sync 0;");
    faults(32, "L: bra L;", FaultKind::Limit);
    faults(32, "L: st.global.b32 [g], i; bra L;", FaultKind::Limit);
    faults(
        32,
        "st.shared.b32 [s], 0; bar.warp.sync -1; L: ld.volatile.shared.b32 b, [s]; setp.eq.u32 p, b, 0; @p bra L;",
        FaultKind::Limit,
    );
    // A long computation is not a wait.
    fine(1, "mov.u32 a, 0; L: add.u32 a, a, 1; setp.lt.u32 p, a, 400000; @p bra L;");
    faults(1, "trap;", FaultKind::Trap);
    faults(32, "bar.sync 0, 48;", FaultKind::Misuse);
    faults(32, "shfl.sync.bfly.b32 b, i, 1, 31, 0xfffe;", FaultKind::Misuse);
}

#[test]
fn launches_that_cannot_be() {
    let m = ptx("sm_80", ".visible .entry k(.param .u64 p) .maxntid 64 { ret; }");
    let mut device = Device::new();
    let mut launch = |entry: &str, threads: u32, shared: u32, params: &[u8]| {
        device.launch(&m, entry, [1, 1, 1], [threads, 1, 1], shared, params).err().map(|f| f.kind)
    };
    let p = [0; 8];
    assert_eq!(launch("k", 64, 0, &p), None);
    for (entry, threads, shared, p) in
        [("no", 1, 0, &p[..]), ("k", 65, 0, &p), ("k", 0, 0, &p), ("k", 1, 0, &p[..4]), ("k", 1, 1 << 20, &p)]
    {
        assert_eq!(launch(entry, threads, shared, p), Some(FaultKind::Launch));
    }
}

#[test]
fn conflicts_between_banks_are_counted() {
    let conflicts = |code: &str| body(32, code).unwrap_or_else(|e| panic!("{e}")).shared.conflicts();
    assert_eq!(conflicts("st.shared.b32 [a], i;"), 0);
    assert_eq!(conflicts("shl.b32 a, i, 3; st.shared.b32 [a], i;"), 1);
    assert_eq!(conflicts("shl.b32 a, i, 7; st.shared.b32 [a], i;"), 31);
    assert_eq!(conflicts("shl.b32 a, i, 4; st.shared.v4.b32 [a], {i, i, i, i};"), 0);
    assert_eq!(conflicts("st.shared.b32 [a], i; bar.warp.sync -1; ld.shared.b32 b, [s];"), 0);
    let report =
        body(32, "mul.wide.u32 x, i, 32; add.s64 x, x, g; ld.global.b32 a, [x];").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((report.global.sectors, report.global.ideal), (32, 4));
}

//! What surrounds instructions: functions, scopes, variables of modules, printing, election, half-precision pairs.

mod common;

use common::{download, params, ptx, run, upload};
use helion_ptx_interp::{Class, Device, FaultKind, Module};

#[test]
fn functions_are_called_by_lanes_that_part_and_meet_again() {
    let m = ptx(
        "sm_80",
        ".func (.param .b32 r) collatz(.param .b32 n, .param .align 8 .b8 pair[16]);
        .func (.param .b32 r) half(.param .b32 n) {
            .reg .b32 v; ld.param.b32 v, [n]; shr.u32 v, v, 1; st.param.b32 [r], v; ret; }
        .func (.param .b32 r) collatz(.param .b32 n, .param .align 8 .b8 pair[16]) {
            .reg .b32 %r<4>; .reg .b64 %rd<3>; .reg .pred p;
            .local .align 4 .b8 steps[4];
            ld.param.b32 %r0, [n]; ld.param.b64 %rd1, [pair+8]; st.local.b32 [steps], 0;
            LOOP: setp.eq.u32 p, %r0, 1; @p bra DONE;
            ld.local.b32 %r1, [steps]; add.u32 %r1, %r1, 1; st.local.b32 [steps], %r1;
            and.b32 %r2, %r0, 1; setp.eq.u32 p, %r2, 1; @p bra ODD;
            { .param .b32 a; .param .b32 b; st.param.b32 [a], %r0; call.uni (b), half, (a); ld.param.b32 %r0, [b]; }
            bra LOOP;
            ODD: mad.lo.u32 %r0, %r0, 3, 1; bra LOOP;
            DONE: ld.local.b32 %r1, [steps]; cvt.u32.u64 %r3, %rd1; add.u32 %r1, %r1, %r3; st.param.b32 [r], %r1; ret; }
        .visible .entry k(.param .u64 out) {
            .reg .b32 i, v; .reg .b64 o, t;
            ld.param.b64 o, [out]; mov.u32 i, %tid.x; mul.wide.u32 t, i, 4; add.s64 o, o, t; add.u32 v, i, 1;
            { .param .b32 n; .param .align 8 .b8 pair[16]; .param .b32 r;
              st.param.b32 [n], v; st.param.b64 [pair], 5; st.param.b64 [pair+8], 1000;
              call.uni (r), collatz, (n, pair); ld.param.b32 v, [r]; }
            st.global.b32 [o], v; ret; }",
    );
    let mut device = Device::new();
    let out = device.alloc(256);
    let report = run(&mut device, &m, "k", 1, 64, &params(&[out])).unwrap_or_else(|e| panic!("{e}"));
    let steps = |mut n: u32| {
        let mut count = 1000;
        while n != 1 {
            n = if n % 2 == 1 { 3 * n + 1 } else { n / 2 };
            count += 1;
        }
        count
    };
    assert_eq!(download::<u32>(&device, out, 64), (1..=64).map(steps).collect::<Vec<u32>>());
    assert_eq!(report.lines_with("st.global").next().map(|l| l.count.warps), Some(2), "lanes met again");
}

#[test]
fn recursion_and_unknown_functions_are_refused() {
    for (text, word) in [
        (".func f() { call f; ret; } .visible .entry k() { call f; ret; }", "recursion"),
        (".func f() { call g; ret; } .func g() { call f; ret; } .visible .entry k() { call f; ret; }", "recursion"),
        (".extern .func f(); .visible .entry k() { call f; ret; }", "no body"),
        (".visible .entry k() { call f; ret; }", "not declared"),
        (".visible .entry k(.param .b32 a) { .reg .b32 a; ret; }", "twice"),
        (".func f(.param .b32 a) { ret; } .visible .entry k() { call f; ret; }", "parameters"),
    ] {
        let e = Module::parse(text).expect_err(text);
        assert!(e.message.contains(word), "{e}");
    }
}

#[test]
fn variables_of_a_module_live_on() {
    let m = ptx(
        "sm_80",
        ".visible .global .align 4 .u32 counter = 7;
        .const .align 8 .u64 table[3] = {1, 0x10, 100};
        .visible .global .align 8 .u64 pointers[2] = {counter, generic(table)+8};
        .global .align 4 .f32 pi = 0f40490FDB;
        .visible .entry k(.param .u64 out) {
            .reg .b64 o, p, q, v; .reg .b32 c, f;
            ld.param.b64 o, [out];
            ld.global.b64 p, [pointers]; ld.global.b32 c, [p]; add.u32 c, c, 1; st.global.b32 [counter], c;
            ld.global.b64 q, [pointers+8]; ld.b64 v, [q];
            ld.const.b64 p, [table+16]; add.u64 v, v, p; st.global.b64 [o], v;
            ld.global.b32 f, [pi]; st.global.b32 [o+8], f; ret; }
        .visible .entry bad() { st.global.b64 [table], 1; ret; }",
    );
    let mut device = Device::new();
    let out = device.alloc(12);
    for round in 0..3 {
        run(&mut device, &m, "k", 1, 1, &params(&[out])).unwrap_or_else(|e| panic!("{e}"));
        let counter = device.symbol(&m, "counter").expect("a loaded variable");
        assert_eq!(download::<u32>(&device, counter, 1), [8 + round]);
    }
    assert_eq!(download::<u64>(&device, out, 1), [116]);
    assert_eq!(download::<f32>(&device, out + 8, 1), [std::f32::consts::PI]);
    assert_eq!(run(&mut device, &m, "bad", 1, 1, &[]).expect_err("constant memory").kind, FaultKind::OutOfBounds);
}

#[test]
fn printed_text() {
    let format = "%5d|%-4u|%x|%08.3f|%e|%g|%c|%s|%lld|%%\n";
    let bytes = |s: &str| s.bytes().chain([0]).map(|b| b.to_string()).collect::<Vec<_>>().join(", ");
    let text = format!(
        ".extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);
        .global .align 1 .b8 format[{}] = {{{}}}; .global .align 1 .b8 word[4] = {{{}}};
        .visible .entry k() {{
            .local .align 8 .b8 args[72]; .reg .b64 f, a, w;
            mov.b64 f, format; mov.b64 w, word; mov.b64 a, args; cvta.local.u64 a, a;
            st.local.b32 [args], -42; st.local.b32 [args+4], 7; st.local.b32 [args+8], 255;
            st.local.b64 [args+16], 0d400921FB54442D18; st.local.b64 [args+24], 0d40F86A0000000000; st.local.b64 [args+32], 0d3F50624DD2F1A9FC;
            st.local.b32 [args+40], 65; st.local.b64 [args+48], w; st.local.b64 [args+56], -5;
            {{ .param .b64 p; .param .b64 q; .param .b32 r; st.param.b64 [p], f; st.param.b64 [q], a; call (r), vprintf, (p, q); }}
            ret; }}",
        format.len() + 1,
        bytes(format),
        bytes("xyz")
    );
    let report = run(&mut Device::new(), &ptx("sm_80", &text), "k", 1, 2, &[]).unwrap_or_else(|e| panic!("{e}"));
    let line = "  -42|7   |ff|0003.142|1.000000e+05|0.001|A|xyz|-5|%\n";
    assert_eq!(report.printed, line.repeat(2));
}

#[test]
fn one_lane_is_elected() {
    let m = ptx(
        "sm_90a",
        ".visible .entry k(.param .u64 out) {
            .reg .b32 i, l; .reg .b64 o, t; .reg .pred p, q;
            ld.param.b64 o, [out]; mov.u32 i, %laneid; mul.wide.u32 t, i, 4; add.s64 o, o, t;
            setp.lt.u32 q, i, 8; @q bra LOW;
            elect.sync l|p, 0xffffff00; @p add.u32 l, l, 100; st.global.b32 [o], l; ret;
            LOW: elect.sync _|p, 0xff; selp.b32 l, 1, 2, p; st.global.b32 [o], l; ret; }",
    );
    let mut device = Device::new();
    let out = device.alloc(128);
    let report = run(&mut device, &m, "k", 1, 32, &params(&[out])).unwrap_or_else(|e| panic!("{e}"));
    let want: Vec<u32> = (0..32).map(|i| [1, 2, 2, 2, 2, 2, 2, 2, 108].get(i).copied().unwrap_or(8)).collect();
    assert_eq!(download::<u32>(&device, out, 32), want);
    assert_eq!(report.count(Class::Warp).warps, 2);
}

#[test]
fn pairs_of_halves() {
    let m = ptx(
        "sm_80",
        ".visible .entry k(.param .u64 in, .param .u64 out) {
            .reg .b64 a, o; .reg .b32 x, y, z; .reg .b16 l, h; .reg .pred p, q;
            ld.param.b64 a, [in]; ld.param.b64 o, [out]; ld.global.v2.b32 {x, y}, [a];
            fma.rn.f16x2 z, x, y, x; st.global.b32 [o], z;
            setp.lt.f16x2 p|q, x, y; selp.b32 z, 1, 0, p; @q or.b32 z, z, 2; st.global.b32 [o+4], z;
            mov.b32 {l, h}, x; max.f16 l, l, h; mov.b32 z, {h, l}; st.global.b32 [o+8], z;
            cvt.f32.f16 z, h; st.global.b32 [o+12], z; ret; }",
    );
    let half = half::f16::from_f32;
    let pair = |l: f32, h: f32| u32::from(half(l).to_bits()) | u32::from(half(h).to_bits()) << 16;
    let mut device = Device::new();
    let (a, o) = (upload(&mut device, &[pair(1.5, -2.0), pair(3.0, -4.0)]), device.alloc(16));
    run(&mut device, &m, "k", 1, 1, &params(&[a, o])).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(download::<u32>(&device, o, 4), [pair(6.0, 6.0), 1, pair(-2.0, 1.5), (-2f32).to_bits()]);
}

#[test]
fn directives_for_debuggers_are_passed_over() {
    let m = ptx(
        "sm_80, debug",
        ".file 1 \"kernel.cu\"
        .visible .entry k() .minnctapersm 2 {
            .loc 1 7 3
            .pragma \"nounroll\";
            ret;
        }
        .section .debug_abbrev { .b8 1, 2; $L__x: .b32 .debug_info+4; }",
    );
    run(&mut Device::new(), &m, "k", 2, 64, &[]).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn damaged_text_of_a_hopper_kernel() {
    let text = include_str!("ptx/hopper.sm_90a.ptx");
    let mut rng = common::Rng(5);
    for _ in 0..3000 {
        let mut words: Vec<&str> = text.split_inclusive([' ', ',', '\t', '.', ';']).collect();
        for _ in 0..1 + rng.bits() % 3 {
            let (i, j) = ((rng.bits() % words.len() as u64) as usize, (rng.bits() % words.len() as u64) as usize);
            match rng.bits() % 3 {
                0 => words.swap(i, j),
                1 => words[i] = words[j],
                _ => drop(words.remove(i)),
            }
        }
        if let Err(e) = Module::parse(&words.concat()) {
            assert!(!e.message.is_empty());
        }
    }
}

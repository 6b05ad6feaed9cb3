//! Whole kernels, made by LLVM from `ptx/*.ll` for two targets, and written by hand: control flow, calls, collectives,
//! atomics, printing.
//!
//! `llc-22 -mtriple=nvptx64-nvidia-cuda -mcpu=sm_80 mixed.ll -o mixed.sm_80.ptx` makes the texts.

mod common;

use common::{download, module, params, ptx, run, upload};
use helion_ptx_interp::{Class, Device, Module};

const MIXED: [&str; 2] = [include_str!("ptx/mixed.sm_80.ptx"), include_str!("ptx/mixed.sm_90a.ptx")];

/// A parameter block from pieces, each at a multiple of its size.
fn pack(pieces: &[&[u8]]) -> Vec<u8> {
    let mut block = Vec::new();
    for p in pieces {
        block.resize(block.len().next_multiple_of(p.len()), 0);
        block.extend_from_slice(p);
    }
    block
}

#[test]
fn a_kernel_with_a_bit_of_everything() {
    for text in MIXED {
        let m = module(text);
        let mut device = Device::new();
        let n = 200;
        let x: Vec<f32> = (0..256).map(|i| i as f32 / 64.0 - 2.0).collect();
        let (px, py) = (upload(&mut device, &x), device.alloc(256 * 4));
        let (s, v) = (1.5f32, [0f32, 0.0, 0.25, 0.0]);
        let v: Vec<u8> = v.iter().flat_map(|x| x.to_le_bytes()).collect();
        let block = pack(&[
            &px.to_le_bytes(),
            &py.to_le_bytes(),
            &256i32.to_le_bytes(),
            &s.to_le_bytes(),
            &[0],
            &7u64.to_le_bytes(),
            &v,
        ]);
        let report = device.launch(&m, "lanes", [2, 1, 1], [128, 1, 1], 16, &block).unwrap_or_else(|e| panic!("{e}"));
        // What each thread keeps before it exchanges with others.
        let h: Vec<f32> = x.iter().map(|a| a.exp2().max(s).max(0.5).sqrt()).collect();
        let sum: Vec<i32> = (0..256).map(|i| (i * 7 + 3) + i * 7).collect();
        let mut printed = String::new();
        let expected: Vec<f32> = (0..256)
            .map(|i| {
                let h3 = |i: usize| h[i ^ 1] / s;
                let fz = sum[i ^ 16] as f32 + h3(i & !31) + 3.0 + 0.25;
                printed += &format!("hello {i} {:.6} abc", fz);
                fz + 1.0
            })
            .collect();
        assert_eq!(download::<f32>(&device, py, 256), expected);
        assert_eq!(report.printed, printed);
        assert!(report.count(Class::Warp).warps == 16 && report.count(Class::Barrier).threads == 256);
        // A warp's loads of adjacent floats: 128 bytes in 4 sectors.
        let load = report.lines_with("ld.global.b32").next().expect("the load");
        assert_eq!((load.global.requests, load.global.sectors), (8, 32));
        // 200 elements in buffers for 200: nothing outside is touched.
        let (px, py) = (upload(&mut device, &x[..n]), device.alloc(n * 4));
        let mut block = block.clone();
        block[..8].copy_from_slice(&px.to_le_bytes());
        block[8..16].copy_from_slice(&py.to_le_bytes());
        let fault = device.launch(&m, "lanes", [2, 1, 1], [128, 1, 1], 16, &block).expect_err("too short buffers");
        assert_eq!(fault.thread, Some([200 - 128, 0, 0]), "{fault}");
        assert!(fault.text.contains("ld.global.b32"), "{fault}");
    }
}

#[test]
fn switches_divisions_and_conversions() {
    for text in MIXED {
        let m = module(text);
        let mut device = Device::new();
        let x: Vec<u32> = (0..64 * 4).map(|i| (i as u32).wrapping_mul(2654435761) >> (i % 7)).collect();
        let (px, py) = (upload(&mut device, &x), device.alloc(64 * 4));
        let n = 3i32;
        let block = pack(&[&px.to_le_bytes(), &py.to_le_bytes(), &n.to_le_bytes()]);
        run(&mut device, &m, "bits", 1, 64, &block).unwrap_or_else(|e| panic!("{e}"));
        let per_thread = |t: usize| {
            let e = &x[4 * t..];
            let (a, b, c, d) = (e[0].count_ones(), e[1].leading_zeros(), e[2].trailing_zeros(), e[3].reverse_bits());
            let funnel = ((u64::from(a) << 32 | u64::from(b)) << (c % 32) >> 32) as u32;
            let g = (d as i32).max(funnel as i32) / n;
            let h = g as u32 % 7;
            (a, h, -((u64::from(h) * u64::from(h)) as f32))
        };
        let ballot = |t: usize| {
            (0..32)
                .filter(|l| per_thread(t / 32 * 32 + l).1 < per_thread(t / 32 * 32 + l).0)
                .fold(0u32, |m, l| m | 1 << l)
        };
        let expected: Vec<u32> = (0..64)
            .map(|t| {
                let (_, h, f7) = per_thread(t);
                let hf = half::f16::from_f32(f7);
                let hg = half::f16::from_f32(hf.to_f32() * hf.to_f32());
                let hh = half::f16::from_f32(hg.to_f32() + hf.to_f32()).to_bits() as i16;
                let bf = half::bf16::from_f32(f7);
                let bg = half::bf16::from_f32(bf.to_f32() * bf.to_f32());
                let bh = half::bf16::from_f32(bg.to_f32() + bf.to_f32()).to_bits() as i16;
                match t & 7 {
                    0 => 11,
                    1 => i32::from(f7 as i32 as i8) as u32,
                    2 => i32::from(hh.max(bh)) as u32,
                    3 => ballot(t),
                    4 => h,
                    _ => 1,
                }
            })
            .collect();
        assert_eq!(download::<u32>(&device, py, 64), expected);
    }
}

#[test]
fn lanes_that_leave_a_loop_early_wait_for_the_others() {
    for text in MIXED {
        let m = module(text);
        let mut device = Device::new();
        let x: Vec<f64> = (0..64).map(f64::from).collect();
        let (px, py) = (upload(&mut device, &x), device.alloc(64 * 8));
        let block = pack(&[&px.to_le_bytes(), &py.to_le_bytes(), &0i32.to_le_bytes()]);
        let report = run(&mut device, &m, "prefix", 1, 64, &block).unwrap_or_else(|e| panic!("{e}"));
        let expected: Vec<f64> = (0..64).map(|t| f64::from(t * (t + 1) / 2)).collect();
        assert_eq!(download::<f64>(&device, py, 64), expected);
        let store = report.lines_with("st.global").next().expect("the store");
        assert_eq!(store.count.warps, 2, "all lanes store together");
        let x: Vec<f32> = (0..64).map(|i| ((i * 37) % 64) as f32).collect();
        let (px, py) = (upload(&mut device, &x), upload(&mut device, &[-1f32]));
        run(&mut device, &m, "fmax_all", 1, 64, &params(&[px, py])).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(download::<f32>(&device, py, 1), [63.0]);
    }
}

#[test]
fn shuffles_votes_and_reductions() {
    let m = ptx(
        "sm_80",
        ".visible .entry k(.param .u64 out) {
            .reg .b32 %r<20>; .reg .b64 %rd<4>; .reg .pred %p<4>;
            ld.param.b64 %rd1, [out]; mov.u32 %r1, %tid.x;
            mul.wide.u32 %rd2, %r1, 32; add.s64 %rd1, %rd1, %rd2;
            shfl.sync.up.b32 %r2|%p1, %r1, 3, 0, -1;
            shfl.sync.down.b32 %r3, %r1, 5, 31, -1;
            shfl.sync.bfly.b32 %r4, %r1, 7, 31, -1;
            shfl.sync.idx.b32 %r5, %r1, 2, 0x181f, -1;
            and.b32 %r6, %r1, 3; setp.eq.u32 %p2, %r6, 1;
            vote.sync.ballot.b32 %r7, %p2, -1;
            match.any.sync.b32 %r8, %r6, -1;
            redux.sync.add.s32 %r9, %r1, -1;
            st.global.v4.b32 [%rd1], {%r2, %r3, %r4, %r5};
            st.global.v4.b32 [%rd1+16], {%r7, %r8, %r9, %r9};
            // The upper half of the warp exchanges among itself.
            setp.lt.u32 %p3, %r1, 16; @%p3 bra DONE;
            shfl.sync.bfly.b32 %r10, %r1, 1, 31, 0xffff0000;
            st.global.b32 [%rd1+28], %r10;
            DONE: ret; }",
    );
    let mut device = Device::new();
    let out = device.alloc(32 * 32);
    run(&mut device, &m, "k", 1, 32, &params(&[out])).unwrap_or_else(|e| panic!("{e}"));
    let got = download::<u32>(&device, out, 256);
    for t in 0..32u32 {
        let same = (0..32).filter(|l| l & 3 == t & 3).fold(0u32, |m, l| m | 1 << l);
        let expected = [
            if t >= 3 { t - 3 } else { t },
            if t + 5 < 32 { t + 5 } else { t },
            t ^ 7,
            (t & 24) | 2,
            0x2222_2222,
            same,
            496,
            if t < 16 { 496 } else { t ^ 1 },
        ];
        assert_eq!(got[t as usize * 8..][..8], expected, "lane {t}");
    }
}

#[test]
fn atomics_of_all_kinds() {
    let cases: [(&str, &str, u64, u64); 12] = [
        ("add.u32", "b32", 5, 5 + 496),
        ("min.s32", "b32", 5, 0),
        ("max.u64", "b64", 5, 31),
        ("and.b32", "b32", 0xffff, 0),
        ("or.b32", "b32", 0, 31),
        ("xor.b32", "b32", 0, 0),
        ("inc.u32", "b32", 0, 3),
        ("exch.b64", "b64", 9, 31),
        ("add.f32", "f32", 0x3f80_0000, u64::from(33f32.to_bits())),
        ("add.f64", "f64", 0, 32f64.to_bits()),
        ("add.noftz.f16", "f16", 0, u64::from(half::f16::from_f32(32.0).to_bits())),
        ("add.noftz.bf16x2", "bf16x2", 0, 0x4200_4200),
    ];
    for space in ["global", "shared"] {
        for (op, ty, start, expected) in cases {
            let (reg, one) = match ty {
                "b32" => ("b32", "cvt.u32.u64 v, t"),
                "b64" => ("b64", "mov.b64 v, t"),
                "f32" => ("b32", "mov.b32 v, 0f3F800000"),
                "f64" => ("b64", "mov.b64 v, 0d3FF0000000000000"),
                "f16" => ("b16", "mov.b16 v, 0x3c00"),
                _ => ("b32", "mov.b32 v, 0x3f803f80"),
            };
            // The largest value before inc wraps is 3 here, so that 32 increments from 0 end at 0 again, and the result of
            // one more is seen in the test below.
            let one = if op == "inc.u32" { "mov.b32 v, 6" } else { one };
            let text = format!(
                ".visible .entry k(.param .u64 out) {{
                    .shared .align 8 .b8 s[8]; .reg .b64 p, t, a; .reg .b32 i; .reg .{reg} v; .reg .pred first;
                    ld.param.b64 p, [out]; mov.u32 i, %tid.x; cvt.u64.u32 t, i; {one};
                    mov.b64 a, {}; setp.eq.u32 first, i, 0;
                    @first ld.global.b64 t, [p]; @first st.{space}.b64 [a], t; bar.sync 0;
                    red.{space}.{op} [a], v; bar.sync 0;
                    @first ld.{space}.b64 t, [a]; @first st.global.b64 [p], t; ret; }}",
                if space == "shared" { "s" } else { "p" }
            );
            let m = ptx("sm_90", &text);
            let mut device = Device::new();
            let out = upload(&mut device, &[start]);
            run(&mut device, &m, "k", 1, 32, &params(&[out])).unwrap_or_else(|e| panic!("{op}: {e}"));
            let expected = if op == "inc.u32" { 32 % 7 } else { expected };
            assert_eq!(download::<u64>(&device, out, 1), [expected], "{space} {op}");
        }
    }
}

#[test]
fn a_lock_that_lanes_of_one_warp_contend_for() {
    // Lanes that hold the lock stand after those that spin; they get their turn all the same.
    let m = ptx(
        "sm_80",
        ".visible .entry k(.param .u64 lock) {
            .reg .b64 l; .reg .b32 r, v; .reg .pred p;
            ld.param.b64 l, [lock];
            SPIN: atom.acquire.gpu.global.cas.b32 r, [l], 0, 1;
            setp.ne.u32 p, r, 0; @p bra SPIN;
            ld.global.b32 v, [l+4]; add.u32 v, v, 1; st.global.b32 [l+4], v;
            atom.release.gpu.global.exch.b32 r, [l], 0;
            ret; }",
    );
    let mut device = Device::new();
    let lock = upload(&mut device, &[0u32, 0]);
    run(&mut device, &m, "k", 2, 64, &params(&[lock])).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(download::<u32>(&device, lock, 2), [0, 128]);
}

#[test]
fn barriers_that_count_and_name_warps() {
    let m = ptx(
        "sm_80",
        ".visible .entry k(.param .u64 out) {
            .shared .align 4 .b8 s[512]; .reg .b64 o, t; .reg .b32 i, v, w, a; .reg .pred p, q;
            ld.param.b64 o, [out]; mov.u32 i, %tid.x; and.b32 v, i, 1; setp.eq.u32 p, v, 1;
            barrier.cta.red.popc.aligned.u32 v, 0, p;
            mul.wide.u32 t, i, 4; add.s64 o, o, t; shl.b32 a, i, 2;
            setp.lt.u32 q, i, 64; @q bra CONSUME;
            st.shared.b32 [a], v; bar.arrive 1, 128; bra END;
            CONSUME: bar.sync 1, 128; ld.shared.b32 w, [a+256]; add.u32 w, w, i; st.global.b32 [o], w;
            END: ret; }",
    );
    let mut device = Device::new();
    let out = device.alloc(64 * 4);
    run(&mut device, &m, "k", 1, 128, &params(&[out])).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(download::<u32>(&device, out, 64), (0..64).map(|i| 64 + i).collect::<Vec<u32>>());
}

#[test]
fn text_that_is_not_ptx_gives_an_error_and_no_panic() {
    for text in MIXED {
        let mut rng = common::Rng(77);
        for _ in 0..3000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..1 + rng.bits() % 4 {
                let at = (rng.bits() % bytes.len() as u64) as usize;
                match rng.bits() % 4 {
                    0 => bytes[at] = (rng.bits() % 128) as u8,
                    1 => drop(bytes.remove(at)),
                    2 => bytes.truncate(at.max(1)),
                    _ => {
                        let end = (at + 40).min(bytes.len());
                        let piece = bytes[at..end].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            let text = String::from_utf8(bytes).expect("ASCII");
            if let Err(e) = Module::parse(&text) {
                assert!(e.line as usize <= text.lines().count() + 1 && !e.message.is_empty());
            }
        }
    }
}

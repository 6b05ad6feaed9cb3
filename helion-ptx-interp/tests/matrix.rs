//! `mma`, `ldmatrix`, `stmatrix` and `cp.async` against plain loops.
//!
//! The layout of fragments is written down here once more, element by element as the PTX manual lists it.

mod common;

use common::{Rng, download, params, ptx, run, upload};
use half::{bf16, f16};
use helion_ptx_interp::{Device, Fault, FaultKind};

/// What an element type is called, its bits, and how a small number is written in it.
struct Type {
    name: &'static str,
    bits: usize,
    encode: fn(f32) -> u64,
}

const F16: Type = Type { name: "f16", bits: 16, encode: |x| f16::from_f32(x).to_bits().into() };
const BF16: Type = Type { name: "bf16", bits: 16, encode: |x| bf16::from_f32(x).to_bits().into() };
const TF32: Type = Type { name: "tf32", bits: 32, encode: |x| x.to_bits().into() };
const F64: Type = Type { name: "f64", bits: 64, encode: |x| f64::from(x).to_bits() };
const S8: Type = Type { name: "s8", bits: 8, encode: |x| u64::from((x * 8.0) as i8 as u8) };
const U8: Type = Type { name: "u8", bits: 8, encode: |x| u64::from((x * 8.0 + 8.0) as u8) };
/// Multiples of 1/8 up to 1 have four significant bits at most.
const E4M3: Type = Type { name: "e4m3", bits: 8, encode: |x| encode8(x, 3, 7) };
const E5M2: Type = Type { name: "e5m2", bits: 8, encode: |x| encode8((x * 2.0).round() / 2.0, 2, 15) };

/// A number with few bits as an 8-bit float.
fn encode8(x: f32, mantissa: u32, bias: i32) -> u64 {
    if x == 0.0 {
        return 0;
    }
    let bits = x.abs().to_bits();
    let exponent = (bits >> 23) as i32 - 127 + bias;
    assert!(exponent > 0, "{x} is a normal number");
    u64::from(if x < 0.0 { 0x80 } else { 0 } | (exponent as u32) << mantissa | (bits & 0x7f_ffff) >> (23 - mantissa))
}

/// What an encoded number is worth.
fn worth(ty: &Type, bits: u64) -> f64 {
    match ty.name {
        "f16" => f16::from_bits(bits as u16).to_f64(),
        "bf16" => bf16::from_bits(bits as u16).to_f64(),
        "tf32" => f32::from_bits(bits as u32).into(),
        "f64" => f64::from_bits(bits),
        "s8" => f64::from(bits as u8 as i8),
        "u8" => f64::from(bits as u8),
        name => {
            let m = if name == "e4m3" { 3 } else { 2 };
            let bias = if m == 3 { 7 } else { 15 };
            if bits & 0x7f == 0 {
                return 0.0;
            }
            let (e, f) = ((bits >> m & ((1 << (7 - m)) - 1)) as i32, (bits & ((1 << m) - 1)) as f64);
            let x = (1.0 + f / f64::from(1 << m)) * f64::powi(2.0, e - bias);
            if bits & 0x80 != 0 { -x } else { x }
        }
    }
}

/// Row and depth of the `i`-th element of the first operand that a lane holds.
fn a_place(lane: usize, i: usize, per_register: usize, rows: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane & 3);
    let register = i / per_register;
    let (row, half) = if rows == 16 { (group + 8 * (register % 2), register / 2) } else { (group, register) };
    (row, thread * per_register + i % per_register + half * 4 * per_register)
}

/// Depth and column of the `i`-th element of the second operand.
fn b_place(lane: usize, i: usize, per_register: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane & 3);
    (thread * per_register + i % per_register + i / per_register * 4 * per_register, group)
}

/// Row and column of the `i`-th sum.
fn c_place(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane & 3);
    (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1))
}

fn product(shape: [usize; 3], a: &Type, b: &Type, sum: &str) {
    let [m, n, k] = shape;
    let mut rng = Rng(m as u64 * 31 + k as u64);
    let left: Vec<u64> = (0..m * k).map(|_| (a.encode)(rng.small())).collect();
    let right: Vec<u64> = (0..k * n).map(|_| (b.encode)(rng.small())).collect();
    let start: Vec<f64> = (0..m * n).map(|_| f64::from((rng.small() * 8.0) as i32)).collect();
    let per_register = (32 / a.bits).max(1);
    let (na, nb, nc) = (m * k / 32, k * n / 32, m * n / 32);
    let width = if a.bits == 64 { 64 } else { 32 };
    let mut words = Vec::new();
    for lane in 0..32 {
        let pack = |count: usize, at: &dyn Fn(usize) -> u64| -> Vec<u64> {
            (0..count / per_register)
                .map(|r| (0..per_register).fold(0, |w, j| w | at(r * per_register + j) << (j * a.bits % 64)))
                .collect()
        };
        words.extend(pack(na, &|i| {
            let (row, depth) = a_place(lane, i, per_register, m);
            left[row * k + depth]
        }));
        words.extend(pack(nb, &|i| {
            let (depth, column) = b_place(lane, i, per_register);
            right[depth * n + column]
        }));
        let c: Vec<f64> = (0..nc).map(|i| start[c_place(lane, i).0 * n + c_place(lane, i).1]).collect();
        match sum {
            "f16" => words
                .extend(c.chunks(2).map(|p| {
                    u64::from(f16::from_f64(p[0]).to_bits()) | u64::from(f16::from_f64(p[1]).to_bits()) << 16
                })),
            "f32" => words.extend(c.iter().map(|x| u64::from((*x as f32).to_bits()))),
            "s32" => words.extend(c.iter().map(|x| u64::from(*x as i32 as u32))),
            _ => words.extend(c.iter().map(|x| x.to_bits())),
        }
    }
    let (ra, rb) = (na / per_register, nb / per_register);
    let rc = if sum == "f16" { nc / 2 } else { nc };
    let per_lane = ra + rb + rc;
    let list = |letter: char, count: usize| (0..count).map(|i| format!("{letter}{i}")).collect::<Vec<_>>().join(", ");
    let load = |letter: char, count: usize, from: usize| -> String {
        (0..count)
            .map(|i| {
                format!("ld.global.b64 t, [p+{}]; cvt.u{width}.u64 {letter}{i}, t;\n", 8 * (from + i))
                    .replace("cvt.u64.u64", "mov.b64")
            })
            .collect()
    };
    let stores: String = (0..rc)
        .map(|i| {
            format!("cvt.u64.u{width} t, d{i}; st.global.b64 [q+{}], t;\n", 8 * i).replace("cvt.u64.u64", "mov.b64")
        })
        .collect();
    let text = format!(
        ".visible .entry k(.param .u64 input, .param .u64 output) {{
         .reg .b{width} a<8>, b<8>, c<8>, d<8>; .reg .b64 p, q, t; .reg .b32 i;
         mov.u32 i, %tid.x; ld.param.b64 p, [input]; ld.param.b64 q, [output];
         mul.wide.u32 t, i, {}; add.s64 p, p, t; mul.wide.u32 t, i, {}; add.s64 q, q, t;
         {}{}{}
         mma.sync.aligned.m{m}n{n}k{k}.row.col.{sum}.{}.{}.{sum} {{{}}}, {{{}}}, {{{}}}, {{{}}};
         {stores} ret; }}",
        8 * per_lane,
        8 * rc,
        load('a', ra, 0),
        load('b', rb, ra),
        load('c', rc, ra + rb),
        a.name,
        b.name,
        list('d', rc),
        list('a', ra),
        list('b', rb),
        list('c', rc),
    );
    let module = ptx("sm_90a", &text);
    let mut device = Device::new();
    let (from, to) = (upload(&mut device, &words), device.alloc(32 * rc * 8));
    run(&mut device, &module, "k", 1, 32, &params(&[from, to])).unwrap_or_else(|e| panic!("{e}"));
    let got = download::<u64>(&device, to, 32 * rc);
    for lane in 0..32 {
        for i in 0..nc {
            let (row, column) = c_place(lane, i);
            let want = (0..k).fold(start[row * n + column], |s, d| {
                s + worth(a, left[row * k + d]) * worth(b, right[d * n + column])
            });
            let bits =
                if sum == "f16" { got[lane * rc + i / 2] >> (16 * (i % 2)) & 0xffff } else { got[lane * rc + i] };
            let x = match sum {
                "f16" => f16::from_bits(bits as u16).to_f64(),
                "f32" => f32::from_bits(bits as u32).into(),
                "s32" => f64::from(bits as u32 as i32),
                _ => f64::from_bits(bits),
            };
            assert_eq!(x, want, "m{m}n{n}k{k} {} {} {sum}: row {row}, column {column}", a.name, b.name);
        }
    }
}

#[test]
fn products_of_all_types() {
    product([16, 8, 16], &F16, &F16, "f32");
    product([16, 8, 16], &F16, &F16, "f16");
    product([16, 8, 16], &BF16, &BF16, "f32");
    product([16, 8, 8], &F16, &F16, "f32");
    product([16, 8, 8], &TF32, &TF32, "f32");
    product([16, 8, 4], &TF32, &TF32, "f32");
    product([16, 8, 32], &S8, &S8, "s32");
    product([16, 8, 32], &U8, &S8, "s32");
    product([16, 8, 16], &S8, &U8, "s32");
    product([16, 8, 32], &E4M3, &E4M3, "f32");
    product([16, 8, 32], &E5M2, &E5M2, "f32");
    product([16, 8, 32], &E4M3, &E5M2, "f32");
    product([8, 8, 4], &F64, &F64, "f64");
    product([16, 8, 8], &F64, &F64, "f64");
}

/// A product of row-major matrices through shared memory, as a compiler writes it: copies in the background, `ldmatrix`,
/// with transposition for the second operand, `mma`.
fn through_shared(edit: impl Fn(String) -> String) -> Result<(Vec<f32>, Vec<f32>), Fault> {
    let text = "
        .visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pd) {
        .shared .align 16 .b8 sa[512]; .shared .align 16 .b8 sb[256];
        .reg .b64 a, b, d, t; .reg .b32 i, x, y, z, r<4>, s<2>; .reg .f32 f<4>; .reg .pred p;
        ld.param.b64 a, [pa]; ld.param.b64 b, [pb]; ld.param.b64 d, [pd]; mov.u32 i, %tid.x;
        shl.b32 x, i, 4; cvt.u64.u32 t, x; add.s64 a, a, t;
        mov.u32 y, sa; add.u32 y, y, x; cvt.u64.u32 t, y;
        cp.async.cg.shared.global [t], [a], 16;
        setp.lt.u32 p, i, 16; cvt.u64.u32 t, x; add.s64 b, b, t; mov.u32 y, sb; add.u32 y, y, x; cvt.u64.u32 t, y;
        @p cp.async.cg.shared.global.L2::128B [t], [b], 16;
        cp.async.commit_group;
        cp.async.wait_group 0;
        bar.sync 0;
        // Rows 0 to 15 of the first operand, their first and their second half.
        and.b32 x, i, 15; shl.b32 x, x, 5; shr.u32 y, i, 4; shl.b32 y, y, 4; add.u32 x, x, y; mov.u32 y, sa; add.u32 x, x, y;
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {r0, r1, r2, r3}, [x];
        and.b32 x, i, 15; shl.b32 x, x, 4; mov.u32 y, sb; add.u32 x, x, y;
        ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {s0, s1}, [x];
        mov.f32 f0, 0f00000000;
        mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {f0, f1, f2, f3}, {r0, r1, r2, r3}, {s0, s1}, {f0, f0, f0, f0};
        shr.u32 x, i, 2; shl.b32 x, x, 5; and.b32 y, i, 3; shl.b32 y, y, 3; add.u32 x, x, y; cvt.u64.u32 t, x; add.s64 d, d, t;
        st.global.v2.f32 [d], {f0, f1}; st.global.v2.f32 [d+256], {f2, f3};
        ret; }";
    let module = ptx("sm_80", &edit(text.to_string()));
    let mut rng = Rng(3);
    let a: Vec<f16> = (0..16 * 16).map(|_| f16::from_f32(rng.small())).collect();
    let b: Vec<f16> = (0..16 * 8).map(|_| f16::from_f32(rng.small())).collect();
    let mut device = Device::new();
    let (pa, pb, pd) = (upload(&mut device, &a), upload(&mut device, &b), device.alloc(16 * 8 * 4));
    run(&mut device, &module, "k", 1, 32, &params(&[pa, pb, pd]))?;
    let want =
        (0..128).map(|e| (0..16).map(|k| a[e / 8 * 16 + k].to_f32() * b[k * 8 + e % 8].to_f32()).sum()).collect();
    Ok((download(&device, pd, 128), want))
}

#[test]
fn a_product_through_shared_memory() {
    let (got, want) = through_shared(|t| t).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(got, want);
}

#[test]
fn copies_that_are_not_waited_for() {
    let kind = |from: &str, to: &str| {
        through_shared(|t| {
            assert!(t.contains(from));
            t.replace(from, to)
        })
        .expect_err(from)
        .kind
    };
    assert_eq!(kind("cp.async.wait_group 0;", ""), FaultKind::NotArrived);
    assert_eq!(kind("cp.async.wait_group 0;", "cp.async.wait_group 1;"), FaultKind::NotArrived);
    assert_eq!(kind("bar.sync 0;", ""), FaultKind::Race);
    assert_eq!(kind("cp.async.commit_group;", ""), FaultKind::NotArrived);
    assert_eq!(kind("[t], [a], 16;", "[t], [a], 16; st.shared.b32 [t], i;"), FaultKind::NotArrived);
    assert_eq!(kind("add.s64 a, a, t;", "add.s64 a, a, 8;"), FaultKind::Misaligned);
    assert!(through_shared(|t| t.replace("cp.async.wait_group 0;", "cp.async.wait_all;")).is_ok());
}

#[test]
fn copies_fill_with_zeros() {
    let m = ptx(
        "sm_80",
        ".visible .entry k(.param .u64 pa, .param .u64 pd) {
        .shared .align 16 .b8 s[512]; .reg .b64 a, d, t; .reg .b32 i, n; .reg .b32 r<4>;
        ld.param.b64 a, [pa]; ld.param.b64 d, [pd]; mov.u32 i, %tid.x;
        mul.wide.u32 t, i, 16; add.s64 d, d, t; min.u32 n, i, 16;
        cp.async.ca.shared.global [t], [a], 16, n;
        cp.async.wait_all;
        ld.shared.v4.b32 {r0, r1, r2, r3}, [t]; st.global.v4.b32 [d], {r0, r1, r2, r3}; ret; }",
    );
    let mut device = Device::new();
    let (a, d) = (upload(&mut device, &[0xffu8; 16]), device.alloc(512));
    run(&mut device, &m, "k", 1, 32, &params(&[a, d])).unwrap_or_else(|e| panic!("{e}"));
    let got = download::<u8>(&device, d, 512);
    for (i, row) in got.chunks(16).enumerate() {
        assert!(row.iter().enumerate().all(|(j, x)| *x == if j < i { 0xff } else { 0 }), "row {i}: {row:?}");
    }
}

#[test]
fn stored_matrices_are_loaded_back() {
    for trans in ["", ".trans"] {
        let m = ptx(
            "sm_90",
            &format!(
                ".visible .entry k(.param .u64 pd) {{
            .shared .align 16 .b8 s[512]; .reg .b64 d, t; .reg .b32 i, x, r<4>, q<4>;
            ld.param.b64 d, [pd]; mov.u32 i, %tid.x; mul.wide.u32 t, i, 16; add.s64 d, d, t; shl.b32 x, i, 4;
            mul.lo.u32 r0, i, 0x10003; add.u32 r1, r0, 0x1000100; add.u32 r2, r0, 0x2000200; add.u32 r3, r0, 0x3000300;
            stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 [x], {{r0, r1, r2, r3}};
            bar.warp.sync -1;
            ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{q0, q1, q2, q3}}, [x];
            st.global.v4.b32 [d], {{q0, q1, q2, q3}}; ret; }}"
            ),
        );
        let mut device = Device::new();
        let d = device.alloc(512);
        run(&mut device, &m, "k", 1, 32, &params(&[d])).unwrap_or_else(|e| panic!("{e}"));
        let want: Vec<u32> = (0..32u32).flat_map(|i| (0..4).map(move |r| i * 0x10003 + r * 0x100_0100)).collect();
        assert_eq!(download::<u32>(&device, d, 128), want);
    }
}

#[test]
fn a_lane_that_is_missing() {
    let text = |first: &str| {
        format!(
            ".visible .entry k() {{ .shared .align 16 .b8 s[512]; .reg .b32 i, x, r<4>; .reg .pred p;
             mov.u32 i, %tid.x; setp.eq.u32 p, i, 3; {first} shl.b32 x, i, 4;
             ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{r0, r1, r2, r3}}, [x]; E: bar.sync 0; ret; }}"
        )
    };
    for (first, kind) in [("@p exit;", FaultKind::Misuse), ("@p bra E;", FaultKind::Deadlock)] {
        let m = ptx("sm_80", &text(first));
        let fault = run(&mut Device::new(), &m, "k", 1, 32, &[]).expect_err(first);
        assert_eq!(fault.kind, kind, "{fault}");
    }
}

//! Arithmetic, logic, comparison and conversion against plain Rust, on many inputs with special values among them.

mod common;

use common::{Rng, apply};
use half::{bf16, f16};

const N: usize = 256;

fn inputs(width: u32, seed: u64) -> Vec<[u64; 3]> {
    let mut rng = Rng(seed | 1);
    (0..N).map(|_| std::array::from_fn(|_| rng.edgy(width))).collect()
}

fn check(input: &str, output: &str, code: &str, expected: impl Fn(u64, u64, u64) -> u64) {
    let width = input[1..].parse().expect("bits");
    let inputs = inputs(width, code.len() as u64 * 7919);
    for (got, [a, b, c]) in apply(input, output, code, &inputs).into_iter().zip(&inputs) {
        let want = expected(*a, *b, *c);
        assert_eq!(got, want, "`{code}` of {a:#x}, {b:#x}, {c:#x}: {got:#x} instead of {want:#x}");
    }
}

fn check32(code: &str, f: impl Fn(u32, u32, u32) -> u32) {
    check("b32", "b32", code, |a, b, c| u64::from(f(a as u32, b as u32, c as u32)));
}

fn check64(code: &str, f: impl Fn(u64, u64, u64) -> u64) {
    check("b64", "b64", code, f);
}

fn check16(code: &str, f: impl Fn(u16, u16, u16) -> u16) {
    check("b16", "b16", code, |a, b, c| u64::from(f(a as u16, b as u16, c as u16)));
}

#[test]
fn integer_arithmetic() {
    check32("add.s32 d, a, b;", |a, b, _| a.wrapping_add(b));
    check32("add.sat.s32 d, a, b;", |a, b, _| (a as i32).saturating_add(b as i32) as u32);
    check32("sub.u32 d, a, b;", |a, b, _| a.wrapping_sub(b));
    check32("mul.lo.s32 d, a, b;", |a, b, _| a.wrapping_mul(b));
    check32("mul.hi.u32 d, a, b;", |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    check32("mul.hi.s32 d, a, b;", |a, b, _| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32);
    check32("mad.lo.s32 d, a, b, c;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check32("mad.hi.u32 d, a, b, c;", |a, b, c| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c));
    check("b32", "b64", "mul.wide.s32 d, a, b;", |a, b, _| (i64::from(a as i32) * i64::from(b as i32)) as u64);
    check("b32", "b64", "mul.wide.u32 d, a, b;", |a, b, _| a * b);
    check("b16", "b32", "mul.wide.s16 d, a, b;", |a, b, _| {
        u64::from((i32::from(a as i16) * i32::from(b as i16)) as u32)
    });
    check32("div.s32 d, a, b;", |a, b, _| if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 });
    check32("rem.u32 d, a, b;", |a, b, _| if b == 0 { a } else { a % b });
    check32("min.s32 d, a, b;", |a, b, _| (a as i32).min(b as i32) as u32);
    check32("max.u32 d, a, b;", |a, b, _| a.max(b));
    check32("max.s32.relu d, a, b;", |a, b, _| (a as i32).max(b as i32).max(0) as u32);
    check32("abs.s32 d, a;", |a, _, _| (a as i32).wrapping_abs() as u32);
    check32("neg.s32 d, a;", |a, _, _| a.wrapping_neg());
    check32("sad.u32 d, a, b, c;", |a, b, c| a.abs_diff(b).wrapping_add(c));
    check32("mul24.lo.s32 d, a, b;", |a, b, _| ((a << 8) as i32 >> 8).wrapping_mul((b << 8) as i32 >> 8) as u32);
    check64("add.s64 d, a, b;", |a, b, _| a.wrapping_add(b));
    check64("mul.hi.s64 d, a, b;", |a, b, _| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64);
    check64("mad.lo.u64 d, a, b, c;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check64("div.u64 d, a, b;", |a, b, _| a.checked_div(b).unwrap_or(u64::MAX));
    check64("rem.s64 d, a, b;", |a, b, _| if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 });
    check16("mul.lo.s16 d, a, b;", |a, b, _| a.wrapping_mul(b));
    check16("min.u16 d, a, b;", |a, b, _| a.min(b));
    check32("add.u16x2 d, a, b;", |a, b, _| {
        u32::from((a as u16).wrapping_add(b as u16))
            | u32::from(((a >> 16) as u16).wrapping_add((b >> 16) as u16)) << 16
    });
}

#[test]
fn sums_with_carry() {
    let code = "{ .reg .b32 lo, hi, x, y, z, w;
        mov.b64 {x, y}, a; mov.b64 {z, w}, b;
        add.cc.u32 lo, x, z; addc.u32 hi, y, w; mov.b64 d, {lo, hi}; }";
    check64(code, |a, b, _| a.wrapping_add(b));
    check64(&code.replace("add", "sub"), |a, b, _| a.wrapping_sub(b));
    // The sum may overwrite its operand before the carry is used.
    check64("add.cc.u64 a, a, b; addc.u64 d, 0, 0;", |a, b, _| u64::from(a.checked_add(b).is_none()));
}

#[test]
fn bits() {
    check32("and.b32 d, a, b;", |a, b, _| a & b);
    check32("not.b32 d, a;", |a, _, _| !a);
    check32("cnot.b32 d, a;", |a, _, _| u32::from(a == 0));
    check32("shl.b32 d, a, b;", |a, b, _| a.checked_shl(b).unwrap_or(0));
    check32("shr.u32 d, a, b;", |a, b, _| a.checked_shr(b).unwrap_or(0));
    check32("shr.s32 d, a, b;", |a, b, _| ((a as i32) >> b.min(31)) as u32);
    check64("shr.s64 d, a, 70;", |a, _, _| ((a as i64) >> 63) as u64);
    let pair = |a: u32, b: u32| u64::from(b) << 32 | u64::from(a);
    check32("shf.l.wrap.b32 d, a, b, c;", |a, b, c| ((pair(a, b) << (c & 31)) >> 32) as u32);
    check32("shf.r.wrap.b32 d, a, b, c;", |a, b, c| (pair(a, b) >> (c & 31)) as u32);
    check32("shf.r.clamp.b32 d, a, b, c;", |a, b, c| (pair(a, b) >> c.min(32)) as u32);
    check32("popc.b32 d, a;", |a, _, _| a.count_ones());
    check("b64", "b32", "clz.b64 d, a;", |a, _, _| u64::from(a.leading_zeros()));
    check64("brev.b64 d, a;", |a, _, _| a.reverse_bits());
    check32("bfind.u32 d, a;", |a, _, _| if a == 0 { u32::MAX } else { 31 - a.leading_zeros() });
    check32("bfind.shiftamt.s32 d, a;", |a, _, _| {
        let x = if (a as i32) < 0 { !a } else { a };
        if x == 0 { u32::MAX } else { x.leading_zeros() }
    });
    check32("bfe.u32 d, a, 4, 8;", |a, _, _| a >> 4 & 255);
    check32("bfe.s32 d, a, 28, 8;", |a, _, _| ((a as i32) >> 28) as u32);
    check64("bfe.s64 d, a, 8, 16;", |a, _, _| i64::from((a >> 8) as i16) as u64);
    check32("bfi.b32 d, a, b, 12, 8;", |a, b, _| (b & !(255 << 12)) | (a & 255) << 12);
    check32("lop3.b32 d, a, b, c, 0x96;", |a, b, c| a ^ b ^ c);
    check32("lop3.b32 d, a, b, c, 0xca;", |a, b, c| (a & b) | (!a & c));
    check32("prmt.b32 d, a, b, 0x5410;", |a, b, _| (a & 0xffff) | b << 16);
    check32("prmt.b32 d, a, b, 0xb376;", |a, b, _| {
        let bytes = [(b >> 16) as u8, (b >> 24) as u8, (a >> 24) as u8, if (a as i32) < 0 { 255 } else { 0 }];
        u32::from_le_bytes(bytes)
    });
    check32("dp4a.s32.u32 d, a, b, c;", |a, b, c| {
        let (x, y) = (a.to_le_bytes(), b.to_le_bytes());
        (0..4).fold(c, |s, i| s.wrapping_add((i32::from(x[i] as i8) * i32::from(y[i])) as u32))
    });
    check32("{ .reg .b16 lo, hi; mov.b32 {lo, hi}, a; mov.b32 d, {hi, lo}; }", |a, _, _| a.rotate_left(16));
}

#[test]
fn comparisons_and_selections() {
    check32("setp.lt.s32 p, a, b; selp.b32 d, 1, 0, p;", |a, b, _| u32::from((a as i32) < b as i32));
    check32("setp.hi.u32 p, a, b; selp.b32 d, 1, 0, p;", |a, b, _| u32::from(a > b));
    check32("setp.ge.f32 p, a, b; selp.b32 d, 1, 0, p;", |a, b, _| u32::from(f32::from_bits(a) >= f32::from_bits(b)));
    check32("setp.neu.f32 p, a, b; selp.b32 d, 1, 0, p;", |a, b, _| u32::from(f32::from_bits(a) != f32::from_bits(b)));
    check32("setp.ne.f32 p, a, a; selp.b32 d, 1, 0, p;", |_, _, _| 0);
    check32("setp.nan.f32 p, a, b; selp.b32 d, 1, 0, p;", |a, b, _| {
        u32::from(f32::from_bits(a).is_nan() || f32::from_bits(b).is_nan())
    });
    check32(
        "setp.eq.u32 q, c, 0; setp.lt.and.u32 p|q, a, b, q; selp.b32 d, 1, 0, p; selp.b32 a, 2, 0, q; or.b32 d, d, a;",
        |a, b, c| {
            if c != 0 {
                0
            } else if a < b {
                1
            } else {
                2
            }
        },
    );
    check32("set.gt.u32.s32 d, a, b;", |a, b, _| if a as i32 > b as i32 { u32::MAX } else { 0 });
    check32("slct.b32.s32 d, a, b, c;", |a, b, c| if c as i32 >= 0 { a } else { b });
    check32("setp.lt.u32 p, a, b; mov.b32 d, 7; @p add.u32 d, a, 1; @!p add.u32 d, b, 2;", |a, b, _| {
        if a < b { a.wrapping_add(1) } else { b.wrapping_add(2) }
    });
    // The guard is overwritten by the instruction that it guards.
    check32("setp.lt.u32 p, a, b; @p setp.lt.u32 p|q, b, a; selp.b32 d, 1, 0, p;", |_, _, _| 0);
}

fn nan32(x: f32) -> u32 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
}

fn float(code: &str, f: impl Fn(f32, f32, f32) -> f32) {
    check32(code, |a, b, c| nan32(f(f32::from_bits(a), f32::from_bits(b), f32::from_bits(c))));
}

#[test]
fn float_arithmetic() {
    float("add.rn.f32 d, a, b;", |a, b, _| a + b);
    float("sub.f32 d, a, b;", |a, b, _| a - b);
    float("mul.rn.f32 d, a, b;", |a, b, _| a * b);
    float("fma.rn.f32 d, a, b, c;", |a, b, c| a.mul_add(b, c));
    float("div.rn.f32 d, a, b;", |a, b, _| a / b);
    float("sqrt.rn.f32 d, a;", |a, _, _| a.sqrt());
    float("rcp.rn.f32 d, a;", |a, _, _| 1.0 / a);
    float("abs.f32 d, a;", |a, _, _| a.abs());
    float("add.sat.f32 d, a, b;", |a, b, _| if (a + b).is_nan() { 0.0 } else { (a + b).clamp(0.0, 1.0) });
    let flush = |x: f32| if x.is_subnormal() { 0.0f32.copysign(x) } else { x };
    float("mul.rn.ftz.f32 d, a, b;", |a, b, _| flush(flush(a) * flush(b)));
    float("max.f32 d, a, b;", |a, b, _| {
        if a.is_nan() {
            b
        } else if b.is_nan() {
            a
        } else if a == b {
            if a.is_sign_negative() { b } else { a }
        } else {
            a.max(b)
        }
    });
    float("min.NaN.f32 d, a, b;", |a, b, _| {
        if a.is_nan() || b.is_nan() {
            f32::NAN
        } else if a == b {
            if a.is_sign_negative() { a } else { b }
        } else {
            a.min(b)
        }
    });
    float("ex2.approx.f32 d, a;", |a, _, _| f64::from(a).exp2() as f32);
    check64("fma.rn.f64 d, a, b, c;", |a, b, c| {
        let r = f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c));
        if r.is_nan() { f64::NAN.to_bits() } else { r.to_bits() }
    });
    check32("copysign.f32 d, a, b;", |a, b, _| (a & 1 << 31) | (b & !(1 << 31)));
}

#[test]
fn directed_rounding_encloses_the_exact_result() {
    let value = |x: u64| u64::from((((x % 100_000) as f32 - 50_000.0) / 7.0).to_bits());
    let inputs: Vec<[u64; 3]> = inputs(32, 5).into_iter().map(|v| v.map(value)).collect();
    for op in ["add", "mul", "sub"] {
        let [down, up, zero, near] =
            ["rm", "rp", "rz", "rn"].map(|r| apply("b32", "b32", &format!("{op}.{r}.f32 d, a, b;"), &inputs));
        for i in 0..inputs.len() {
            let [x, y] = [inputs[i][0], inputs[i][1]].map(|x| f64::from(f32::from_bits(x as u32)));
            let exact = match op {
                "add" => x + y,
                "sub" => x - y,
                _ => x * y,
            };
            let [d, u, z, n] = [down[i], up[i], zero[i], near[i]].map(|b| f64::from(f32::from_bits(b as u32)));
            assert!(d <= exact && exact <= u || exact.is_nan(), "{op} {x} {y}: {d} {u}");
            assert!(z.abs() <= exact.abs() || exact.is_nan());
            assert!(n == d || n == u || exact.is_nan());
        }
    }
}

#[test]
fn half_precision() {
    let h = |x: u16| f16::from_bits(x);
    let bits = |x: f16| if x.is_nan() { 0x7fff } else { x.to_bits() };
    check16("add.rn.f16 d, a, b;", |a, b, _| bits(f16::from_f32(h(a).to_f32() + h(b).to_f32())));
    check16("mul.rn.f16 d, a, b;", |a, b, _| bits(f16::from_f32(h(a).to_f32() * h(b).to_f32())));
    let b16 = |x: u16| bf16::from_bits(x).to_f32();
    let bits = |x: f32| if x.is_nan() { 0x7fff } else { bf16::from_f32(x).to_bits() };
    check16("mul.rn.bf16 d, a, b;", |a, b, _| bits(b16(a) * b16(b)));
    check16("neg.bf16 d, a;", |a, _, _| bits(-b16(a)));
    check32("add.rn.f16x2 d, a, b;", |a, b, _| {
        let one = |x: u32, y: u32| {
            let r = f16::from_f32(h(x as u16).to_f32() + h(y as u16).to_f32());
            u32::from(if r.is_nan() { 0x7fff } else { r.to_bits() })
        };
        one(a, b) | one(a >> 16, b >> 16) << 16
    });
    check16("fma.rn.f16 d, a, b, c;", |a, b, c| {
        // f64 holds the product; the sum is exact wherever the exponents are not far apart, which these inputs obey.
        let x = f64::from(h(a).to_f32()) * f64::from(h(b).to_f32()) + f64::from(h(c).to_f32());
        let r = f16::from_f64(x);
        if r.is_nan() { 0x7fff } else { r.to_bits() }
    });
}

#[test]
fn conversions() {
    check("b64", "b32", "cvt.u32.u64 d, a;", |a, _, _| a & 0xffff_ffff);
    check32("cvt.s32.s8 d, a;", |a, _, _| i32::from(a as i8) as u32);
    check("b32", "b64", "cvt.s64.s32 d, a;", |a, _, _| i64::from(a as i32) as u64);
    check32("cvt.sat.u8.s32 d, a;", |a, _, _| (a as i32).clamp(0, 255) as u32);
    check32("cvt.rn.f32.s32 d, a;", |a, _, _| (a as i32 as f32).to_bits());
    check("b64", "b32", "cvt.rn.f32.u64 d, a;", |a, _, _| u64::from((a as f32).to_bits()));
    check64("cvt.rn.f64.s64 d, a;", |a, _, _| (a as i64 as f64).to_bits());
    check32("cvt.rzi.s32.f32 d, a;", |a, _, _| f32::from_bits(a) as i32 as u32);
    check32("cvt.rni.u32.f32 d, a;", |a, _, _| f32::from_bits(a).round_ties_even() as u32);
    check("b32", "b64", "cvt.rmi.s64.f32 d, a;", |a, _, _| f32::from_bits(a as u32).floor() as i64 as u64);
    float("cvt.rpi.f32.f32 d, a;", |a, _, _| a.ceil());
    check("b32", "b16", "cvt.rn.f16.f32 d, a;", |a, _, _| {
        let x = f32::from_bits(a as u32);
        u64::from(if x.is_nan() { 0x7fff } else { f16::from_f32(x).to_bits() })
    });
    check("b32", "b64", "cvt.f64.f32 d, a;", |a, _, _| {
        let x = f32::from_bits(a as u32);
        if x.is_nan() { f64::NAN.to_bits() } else { f64::from(x).to_bits() }
    });
    check32("cvt.rn.bf16x2.f32 d, a, b;", |a, b, _| {
        let one = |x: u32| {
            let x = f32::from_bits(x);
            u32::from(if x.is_nan() { 0x7fff } else { bf16::from_f32(x).to_bits() })
        };
        one(a) << 16 | one(b)
    });
    check32("{ .reg .b16 h; cvt.rn.satfinite.e4m3x2.f32 h, 0f43E00000, 0fC0000000; cvt.u32.u16 d, h; }", |_, _, _| {
        0x7ec0
    });
    check32(
        "{ .reg .b16 h; cvt.rn.satfinite.e5m2x2.f32 h, 0f3F800000, 0fC0000000; cvt.rn.f16x2.e5m2x2 d, h; }",
        |_, _, _| 0x3c00_c000,
    );
    check32("{ .reg .b16 h; mov.b16 h, 0x7e08; cvt.rn.f16x2.e4m3x2 d, h; }", |_, _, _| {
        u32::from(f16::from_f32(448.0).to_bits()) << 16 | u32::from(f16::from_f32(0.015625).to_bits())
    });
    check32("cvt.rna.tf32.f32 d, 0f3F801000;", |_, _, _| 0x3f80_2000);
}

#[test]
fn what_is_not_supported_is_said() {
    for (code, word) in [
        ("add.foo.s32 d, a, b;", ".foo"),
        ("frobnicate.b32 d, a;", "frobnicate"),
        ("add.s32 d, a;", "operands"),
        ("add.s32 d, a, nothere;", "nothere"),
        ("bra nowhere;", "nowhere"),
        ("mul.s32 d, a, b;", ".lo"),
        ("cvt.s32.f32 d, a;", ".rni"),
    ] {
        let text = format!(".visible .entry k() {{ .reg .b32 a, b, d; {code} ret; }}");
        let e = helion_ptx_interp::Module::parse(&text).expect_err(code);
        assert!(e.message.contains(word), "`{code}`: {e}");
    }
}

//! Every operation on every type that its rule accepts: assembled, and run on all operands of up to 16 bits, on edges and
//! random ones of more, against `helion_ir::eval`.

use super::kernel::{ARCHS, Bench, Body, THREADS, assemble, bytes_of, map, report, run_map};
use super::samples::{Allow, Random, ones, pairs, wrong};
use crate::ptx::Arch;
use helion_ir::dtype::{DType, Literal};
use helion_ir::elementwise::Rule;
use helion_ir::{BinaryOp, UnaryOp, eval, philox};

/// One operation on one type.
struct Case<'a> {
    what: String,
    inputs: Vec<(DType, &'a [u64])>,
    out: DType,
    allow: Allow,
}

impl Case<'_> {
    /// Assembles the kernel for every architecture and runs it; keeps what goes wrong.
    fn check(&self, failures: &mut Vec<String>, body: &Body<'_>, meaning: &dyn Fn(&[Literal]) -> Literal) {
        for arch in ARCHS {
            if let Err(e) = self.check_for(arch, body, meaning) {
                failures.push(format!("{} for {arch}: {e}", self.what));
            }
        }
    }

    fn check_for(&self, arch: Arch, body: &Body<'_>, meaning: &dyn Fn(&[Literal]) -> Literal) -> Result<(), String> {
        let types: Vec<DType> = self.inputs.iter().map(|(d, _)| *d).collect();
        let ptx = map(arch, &types, self.out, body);
        assemble(&ptx, arch)?;
        let n = self.inputs[0].1.len();
        let got = run_map(&ptx, &self.inputs, self.out, n).map_err(|e| format!("{e}\n{ptx}"))?;
        let (mut bad, mut first) = (0, String::new());
        for (i, got) in got.into_iter().enumerate() {
            let operands: Vec<Literal> = self.inputs.iter().map(|(d, v)| Literal::from_bits(*d, v[i])).collect();
            let want = meaning(&operands);
            if wrong(got, want, self.allow) {
                bad += 1;
                if bad <= 3 {
                    let shown = |l: &Literal| format!("{:#x} ({:e})", l.bits, l.to_f64());
                    let of: Vec<String> = operands.iter().map(shown).collect();
                    first += &format!("\n  of {}: {}, not {}", of.join(", "), shown(&got), shown(&want));
                }
            }
        }
        if bad == 0 { Ok(()) } else { Err(format!("{bad} of {n} are wrong{first}")) }
    }
}

/// The types that an operation accepts.
fn accepted(rule: Rule) -> impl Iterator<Item = DType> {
    DType::ALL.iter().copied().filter(move |d| rule.accepts(*d))
}

/// How exact a function of a type is: functions of 16-bit floats are those of `f32`, rounded.
fn function(d: DType) -> Allow {
    Allow::Floats(if d.size() == 2 { 1 } else { 2 })
}

fn unary_cases(ops: &[UnaryOp]) {
    let mut failures = Vec::new();
    for op in ops {
        for d in accepted(op.rule()) {
            let allow = match op {
                UnaryOp::Neg
                | UnaryOp::Abs
                | UnaryOp::Not
                | UnaryOp::Floor
                | UnaryOp::Ceil
                | UnaryOp::Round
                | UnaryOp::Trunc
                | UnaryOp::Sqrt
                | UnaryOp::IsNan => Allow::Nothing,
                // The device's own unit.
                UnaryOp::Exp | UnaryOp::Exp2 if d.size() <= 4 => Allow::Flushed(if d.size() == 2 { 1 } else { 2 }),
                UnaryOp::Exp
                | UnaryOp::Exp2
                | UnaryOp::Log
                | UnaryOp::Log2
                | UnaryOp::Rsqrt
                | UnaryOp::Sin
                | UnaryOp::Cos
                | UnaryOp::Tanh
                | UnaryOp::Sigmoid
                | UnaryOp::Erf => function(d),
            };
            let x = ones(d);
            let case = Case { what: format!("{op} of {d}"), inputs: vec![(d, &x)], out: op.rule().result(d), allow };
            case.check(&mut failures, &|e, x| e.unary(*op, d, x[0]), &|x| eval::unary(*op, x[0]));
        }
    }
    report(&failures);
}

#[test]
fn unary_operations() {
    unary_cases(&UnaryOp::ALL[..UnaryOp::ALL.len() / 2]);
}

#[test]
fn more_unary_operations() {
    unary_cases(&UnaryOp::ALL[UnaryOp::ALL.len() / 2..]);
}

#[test]
fn binary_operations() {
    let mut failures = Vec::new();
    for op in BinaryOp::ALL {
        for d in accepted(op.rule()) {
            let allow = if matches!(op, BinaryOp::Min | BinaryOp::Max) {
                Allow::ZeroSign
            } else if *op == BinaryOp::Pow {
                function(d)
            } else {
                Allow::Nothing
            };
            let (a, b) = pairs(d);
            let inputs = vec![(d, &a[..]), (d, &b[..])];
            let case = Case { what: format!("{op} of {d}"), inputs, out: op.rule().result(d), allow };
            case.check(&mut failures, &|e, x| e.binary(*op, d, x[0], x[1]), &|x| eval::binary(*op, x[0], x[1]));
        }
    }
    report(&failures);
}

#[test]
fn fused_products() {
    let mut failures = Vec::new();
    for d in accepted(Rule::Num) {
        let (a, b) = pairs(d);
        let mut c = pairs(d).0;
        c.rotate_left(a.len() / 3);
        // The meaning of 16-bit floats is computed in `f64`, which may round before the last rounding.
        let allow = if d.is_float() && d.size() == 2 { Allow::Floats(1) } else { Allow::Nothing };
        let inputs = vec![(d, &a[..]), (d, &b[..]), (d, &c[..])];
        let case = Case { what: format!("fma of {d}"), inputs, out: d, allow };
        case.check(&mut failures, &|e, x| e.fma(d, x[0], x[1], x[2]), &|x| eval::fma(x[0], x[1], x[2]));
    }
    report(&failures);
}

#[test]
fn conversions() {
    let mut failures = Vec::new();
    for from in DType::ALL {
        let x = ones(*from);
        for to in DType::ALL {
            let case =
                Case { what: format!("{from} to {to}"), inputs: vec![(*from, &x)], out: *to, allow: Allow::Nothing };
            case.check(&mut failures, &|e, x| e.cast(x[0], *from, *to), &|x| eval::cast(x[0], *to));
            // Bytes other than 0 and 1 are not truths.
            if from.size() == to.size() && *to != DType::Bool {
                let case = Case { what: format!("bits of {from} as {to}"), ..case };
                case.check(&mut failures, &|e, x| e.bitcast(x[0], *from, *to), &|x| eval::bitcast(x[0], *to));
            }
        }
    }
    report(&failures);
}

#[test]
fn random_numbers() {
    let mut failures = Vec::new();
    let mut r = Random::new(5);
    let (seeds, counters): (Vec<u64>, Vec<u64>) = (0..500).map(|_| (r.next(), r.next())).unzip();
    for word in 0..5 {
        let inputs = vec![(DType::I64, &seeds[..]), (DType::I64, &counters[..])];
        let case = Case { what: format!("word {word}"), inputs, out: DType::U32, allow: Allow::Nothing };
        let body: &Body<'_> = &|e, x| Ok(e.random(x[0].into_int_value(), x[1].into_int_value(), word)?.into());
        let meaning =
            |x: &[Literal]| Literal::from_bits(DType::U32, u64::from(philox::word(x[0].bits, x[1].bits, word)));
        case.check(&mut failures, body, &meaning);
    }
    report(&failures);
}

#[test]
fn exchanges() {
    let mut failures = Vec::new();
    let mut check = |what: String, got: Result<Vec<Literal>, String>, want: Vec<Literal>| match got {
        Ok(got) if got == want => {}
        other => failures.push(format!("{what}: {other:x?}, not {want:x?}")),
    };
    let n = 2 * THREADS as usize;
    for arch in ARCHS {
        for d in DType::ALL {
            let mut r = Random::new(3);
            let kept: Vec<Literal> = (0..n).map(|_| Literal::from_bits(*d, r.next())).collect();
            let bits: Vec<u64> = kept.iter().map(|l| if *d == DType::Bool { l.bits & 1 } else { l.bits }).collect();
            let at = |i: usize| Literal::from_bits(*d, bits[i]);
            for lanes in [1, 5, 16, 31] {
                let ptx = map(arch, &[*d], *d, &|e, x| e.shuffle_xor(x[0], *d, lanes));
                let want = (0..n).map(|i| at(i ^ lanes as usize)).collect();
                check(format!("xor {lanes} of {d} for {arch}"), run_map(&ptx, &[(*d, &bits)], *d, n), want);
            }
            let lanes: Vec<u64> = (0..n as u64).map(|i| (7 * i + 3) % 32).collect();
            let ptx = map(arch, &[*d, DType::I32], *d, &|e, x| e.shuffle_from(x[0], *d, x[1].into_int_value()));
            let got = assemble(&ptx, arch).and_then(|()| run_map(&ptx, &[(*d, &bits), (DType::I32, &lanes)], *d, n));
            let want = (0..n).map(|i| at(i / 32 * 32 + lanes[i] as usize)).collect();
            check(format!("from of {d} for {arch}"), got, want);
        }
        let ptx = map(arch, &[], DType::I32, &|e, _| Ok(e.add(e.lane()?, e.mul(e.warp()?, e.i32(100))?)?.into()));
        let place = |i: usize| Literal::from_bits(DType::I32, (i % 32 + i % THREADS as usize / 32 * 100) as u64);
        check(format!("places for {arch}"), run_map(&ptx, &[], DType::I32, n), (0..n).map(place).collect());
    }
    report(&failures);
}

/// What a kernel prints for the elements of an array, each with its truth.
fn printed(arch: Arch, d: DType, label: &str, bits: &[u64], masks: &[u64]) -> Result<String, String> {
    let ptx = map(arch, &[d, DType::Bool], d, &|e, x| {
        e.print(label, &[e.i64(7), e.i64(-1)], x[0], d, Some(x[1].into_int_value()))?;
        e.print("none", &[], x[0], d, None)?;
        Ok(x[0])
    });
    assemble(&ptx, arch)?;
    let mut bench = Bench::new(&ptx);
    let (x, mask) = (bench.array(&bytes_of(d, bits)), bench.array(&bytes_of(DType::Bool, masks)));
    let out = bench.array(&bytes_of(d, bits));
    bench.launch(1, 0, &[x, mask, 0, out, bits.len() as u64])
}

#[test]
fn printing() {
    for arch in ARCHS {
        for d in DType::ALL {
            let shown = match d {
                DType::Bool => ["true", "false"],
                DType::F64 => ["1", "0"],
                _ => ["1", "0"],
            };
            let one = if *d == DType::Bool { 1 } else { Literal::from_f64(*d, 1.0).bits };
            let got = printed(arch, *d, "100% \0of", &[one, 0], &[0, 1]).unwrap();
            let mut lines: Vec<&str> = got.lines().collect();
            lines.sort_unstable();
            let [yes, no] = shown;
            let mut want = [format!("100% of[7, -1] = {no}"), format!("none[] = {no}"), format!("none[] = {yes}")];
            want.sort_unstable();
            assert_eq!(lines, want, "{d} for {arch}");
        }
    }
    let value = |d: DType, bits: u64| printed(Arch::Sm80, d, "x", &[bits], &[1]).unwrap();
    assert!(value(DType::I8, 0x80).starts_with("x[7, -1] = -128\n"));
    assert!(value(DType::U64, u64::MAX).starts_with("x[7, -1] = 18446744073709551615\n"));
    assert!(value(DType::F32, u64::from(0.1f32.to_bits())).starts_with("x[7, -1] = 0.100000001\n"));
    assert!(value(DType::F64, 0.1f64.to_bits()).starts_with("x[7, -1] = 0.10000000000000001\n"));
    assert!(value(DType::BF16, 0xff80).starts_with("x[7, -1] = -inf\n"));
}

//! Splitting reductions, as users see it: the same results under `split=…`, what is refused, what `explain` shows.

#[path = "../examples/attention.rs"]
#[allow(dead_code)]
mod attention;
#[path = "../examples/cross_entropy.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod cross_entropy;
#[path = "../examples/layer_norm.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod layer_norm;
#[path = "../examples/matmul.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod matmul;
#[path = "../examples/rms_norm.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod rms_norm;
#[path = "../examples/softmax.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod softmax;

use helion::prelude::*;
use helion::settings::Stage;
use matmul::support::Data;

/// The sum of a vector in one launch of one program instance.
#[kernel]
fn sum(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty([1]);
    for one in grid(1) {
        let mut sum = f32::zeros([1]);
        for t in tile(n) {
            sum += x[t].sum(0);
        }
        out[one] = sum.squeeze(0);
    }
    Ok(out)
}

/// Column sums, maxima, and how many elements are positive.
#[kernel]
fn columns(x: &Tensor<f32, 2>) -> Result<(Tensor<f32, 1>, Tensor<f32, 1>, Tensor<i32, 1>)> {
    let [m, n] = x.dims();
    let (mut sums, mut tops) = (x.empty([n]), x.empty([n]));
    let mut counts = x.empty_of::<i32, 1>([n]);
    for tn in tile(n) {
        let (mut sum, mut top) = (f32::zeros([tn]), full([tn], f32::NEG_INFINITY));
        let mut count = i32::zeros([tn]);
        for tm in tile(m) {
            let block = x[(tm, tn)];
            sum += block.sum(0).squeeze(0);
            top = top.maximum(block.max(0).squeeze(0));
            count += (block > 0.0).cast::<i32>().sum(0).squeeze(0);
        }
        sums[tn] = sum;
        tops[tn] = top;
        counts[tn] = count;
    }
    Ok((sums, tops, counts))
}

/// Running extremes: nothing associative.
#[kernel]
fn last(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty([1]);
    for one in grid(1) {
        let mut v = f32::zeros([1]);
        for t in tile(n) {
            v = v * 0.5 + x[t].sum(0);
        }
        out[one] = v.squeeze(0);
    }
    Ok(out)
}

fn parts(n: u64) -> Config {
    format!("split={n}").parse().expect("a config")
}

#[test]
fn sums_of_any_length() {
    for n in [0, 1, 2, 63, 257, 4099, 100_003] {
        let x = Tensor::from_fn([n], |[i]| (i % 7) as f32 - 2.0);
        let want = sum(&x).unwrap().to_vec().unwrap();
        for p in [2, 3, 4, 16, 64] {
            for threads in [1, 2, 5] {
                let got = helion::with_threads(threads, || helion::with_config(&parts(p), || sum(&x))).unwrap();
                assert_eq!(got.to_vec().unwrap(), want, "{n} elements, {p} parts, {threads} threads");
            }
        }
    }
}

#[test]
fn the_same_bits_each_time() {
    let x = Tensor::from_fn([100_003], |[i]| ((i * 7919) % 1000) as f32 * 0.37);
    let bits = || helion::with_config(&parts(5), || sum(&x)).unwrap().to_vec().unwrap()[0].to_bits();
    let first = bits();
    assert!((0..20).all(|_| helion::with_threads(1, bits) == first && bits() == first));
}

#[test]
fn several_carried_values() {
    for [m, n] in [[0, 3], [1, 1], [1000, 1], [257, 33], [5, 300]] {
        let x = Tensor::from_fn([m, n], |[i, j]| ((i * 31 + j * 17) % 23) as f32 - 11.0);
        let (sums, tops, counts) = columns(&x).unwrap();
        let (s, t, c) = helion::with_config(&parts(4), || columns(&x)).unwrap();
        assert_eq!(s.to_vec().unwrap(), sums.to_vec().unwrap());
        assert_eq!(t.to_vec().unwrap(), tops.to_vec().unwrap());
        assert_eq!(c.to_vec().unwrap(), counts.to_vec().unwrap());
    }
}

#[test]
fn nan_and_infinity_go_through() {
    let of = |odd: &[f32]| {
        let x = Tensor::from_fn([3001], |[i]| if i % 1000 == 500 { odd[i / 1000] } else { 1.0 });
        helion::with_config(&parts(8), || sum(&x)).unwrap().to_vec().unwrap()[0]
    };
    assert!(of(&[1.0, f32::NAN, 1.0]).is_nan());
    assert!(of(&[f32::INFINITY, 1.0, f32::NEG_INFINITY]).is_nan());
    assert_eq!(of(&[1.0, f32::NEG_INFINITY, 1.0]), f32::NEG_INFINITY);
    assert_eq!(of(&[1.0, 1.0, 1.0]), 3001.0);
}

#[test]
fn examples_split() {
    for data in [&mut Data::plain()] {
        for p in [2, 7, 16] {
            let config = &parts(p);
            helion::with_config(config, || {
                for dims in [[1, 1, 1], [3, 0, 5], [16, 1000, 16], [33, 65, 17], [1, 4099, 3]] {
                    matmul::check(dims, data)?;
                }
                for [m, n] in [[1, 300], [1, 4099], [3, 1009], [131, 127]] {
                    let data = &mut cross_entropy::support::Data::plain();
                    cross_entropy::check(m, n, data)?;
                    layer_norm::check(m, n, &mut layer_norm::support::Data::plain())?;
                    rms_norm::check(m, n, &mut rms_norm::support::Data::plain())?;
                    softmax::check(m, n, &mut softmax::support::Data::plain())?;
                }
                Ok::<_, Error>(())
            })
            .unwrap_or_else(|e| panic!("{p} parts: {e}"));
        }
    }
}

#[test]
fn what_cannot_be_split_is_refused() {
    let x = Tensor::from_fn([100], |[i]| i as f32);
    let e = helion::with_config(&parts(4), || last(&x)).unwrap_err().to_string();
    assert!(e.contains("`split=4`: kernel `last` has no reduction that can be split"), "{e}");
    helion::with_config(&parts(1), || last(&x)).unwrap();
    let e = "split=65".parse::<Config>().unwrap_err().to_string();
    assert!(e.contains("1 to 64"), "{e}");
}

#[test]
fn explain_shows_every_stage() {
    let x = Tensor::from_fn([1000], |[i]| i as f32);
    let text = helion::explain(|| helion::with_config(&parts(4), || sum(&x))).unwrap();
    let report = &text.reports[0];
    let of = |stage| report.stages.iter().filter(|(s, _)| *s == stage).count();
    assert_eq!((of(Stage::Tile), of(Stage::Loops), report.plans.len()), (3, 2, 2));
    assert_eq!((report.plans[0].0, report.plans[1].0), (4, 1));
}

/// Row sums, added up.
#[kernel]
fn total(x: &Tensor<f32, 2>, out: &mut Tensor<f32, 1>) -> Result<()> {
    let [m, n] = x.dims();
    for tm in tile(m) {
        let mut sums = f32::zeros([tm]);
        for tn in tile(n) {
            sums += x[(tm, tn)].sum(1).squeeze(1);
        }
        out.atomic_add(0, sums.sum(0).squeeze(0));
    }
    Ok(())
}

#[test]
fn workspaces_that_do_not_fit_are_an_error() {
    let row = Tensor::from_fn([1, 100], |_| 1.0f32);
    let run = |rows: usize, p: u64| {
        let mut out = Tensor::zeros([1]);
        let x = row.expand([rows, 100]).unwrap();
        helion::with_config(&parts(p), || total(&x, &mut out)).map(|()| out.to_vec().unwrap()[0])
    };
    assert_eq!(run(20, 4).unwrap(), 2000.0);
    for rows in [1 << 50, 1 << 61] {
        let e = run(rows, 4).unwrap_err().to_string();
        assert!(e.contains("a smaller `split` needs less"), "{e}");
    }
}

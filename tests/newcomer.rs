//! Kernels that are not among the examples, written from the README alone, compared with plain Rust.

use helion::prelude::*;

/// Values that look random and are exactly representable.
fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 257) as f32 / 32.0 - 4.0).collect()
}

fn matrix(m: usize, n: usize) -> Tensor<f32, 2> {
    Tensor::from_vec([m, n], values(m * n)).expect("a matrix")
}

#[track_caller]
fn close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= 1e-5 * (1.0 + w.abs());
        assert!(same, "element {i}: {g} for {w}");
    }
}

const SIZES: [(usize, usize); 6] = [(1, 1), (3, 5), (17, 31), (2, 257), (0, 3), (65, 16)];

/// 1. Logarithm of softmax.
#[kernel]
pub fn log_softmax(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let [m, _n] = x.dims();
    let mut out = x.empty_like();
    for tm in tile(m) {
        let row = x[(tm, ..)];
        let shifted = row - row.max(1);
        out[(tm, ..)] = shifted - shifted.exp().sum(1).ln();
    }
    Ok(out)
}

#[test]
fn log_softmax_of_rows() -> Result<()> {
    for (m, n) in SIZES {
        let x = matrix(m, n);
        let data = values(m * n);
        let want: Vec<f32> = data
            .chunks(n)
            .flat_map(|r| {
                let lse = r.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
                r.iter().map(move |v| (f64::from(*v) - lse) as f32)
            })
            .collect();
        close(&log_softmax(&x)?.to_vec()?, &want);
    }
    Ok(())
}

/// 2. Matrix times vector.
#[kernel]
pub fn matvec(a: &Tensor<f32, 2>, x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let ([m, n], [nx]) = (a.dims(), x.dims());
    ensure!(n == nx, "{n} columns and {nx} elements");
    let mut out = a.empty([m]);
    for tm in tile(m) {
        let mut acc = f32::zeros([tm]);
        for tn in tile(n) {
            acc += (a[(tm, tn)] * x[tn]).sum(1).squeeze(1);
        }
        out[tm] = acc;
    }
    Ok(out)
}

#[test]
fn matvec_in_blocks() -> Result<()> {
    for (m, n) in SIZES {
        let (a, x) = (values(m * n), values(n));
        let want: Vec<f32> = (0..m).map(|i| (0..n).map(|j| a[i * n + j] * x[j]).sum()).collect();
        let got = matvec(&matrix(m, n), &Tensor::from_vec([n], x)?)?;
        close(&got.to_vec()?, &want);
    }
    Ok(())
}

/// 3. A three-point stencil; beyond the ends there are zeros.
#[kernel]
pub fn blur(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t - 1] * 0.25 + x[t] * 0.5 + x[t + 1] * 0.25;
    }
    Ok(out)
}

#[test]
fn blur_reads_zeros_outside() -> Result<()> {
    for n in [0, 1, 2, 15, 16, 17, 1000] {
        let x = values(n);
        let at = |i: isize| if i < 0 || i as usize >= n { 0.0 } else { x[i as usize] };
        let want: Vec<f32> = (0..n as isize).map(|i| at(i - 1) * 0.25 + at(i) * 0.5 + at(i + 1) * 0.25).collect();
        close(&blur(&Tensor::from_vec([n], x.clone())?)?.to_vec()?, &want);
    }
    Ok(())
}

/// 4. Index and value of the largest element of each row.
#[kernel]
pub fn top1(x: &Tensor<f32, 2>) -> Result<(Tensor<f32, 1>, Tensor<i64, 1>)> {
    let [m, _n] = x.dims();
    let mut best = x.empty([m]);
    let mut place = Tensor::<i64, 1>::zeros([m]);
    for tm in tile(m) {
        let row = x[(tm, ..)];
        best[tm] = row.max(1).squeeze(1);
        place[tm] = row.argmax(1).squeeze(1);
    }
    Ok((best, place))
}

#[test]
fn top1_takes_the_first() -> Result<()> {
    for (m, n) in SIZES.into_iter().filter(|s| s.1 > 0) {
        let x = values(m * n);
        let (best, place) = top1(&matrix(m, n))?;
        for (i, row) in x.chunks(n).enumerate() {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(best.to_vec()?[i], top);
            assert_eq!(place.to_vec()?[i] as usize, row.iter().position(|v| *v == top).unwrap());
        }
    }
    Ok(())
}

/// 5. Running total along each row.
#[kernel]
pub fn running_total<T: Num>(x: &Tensor<T, 2>) -> Result<Tensor<T, 2>> {
    let [m, _n] = x.dims();
    let mut out = x.empty_like();
    for tm in tile(m) {
        out[(tm, ..)] = x[(tm, ..)].cumsum(1);
    }
    Ok(out)
}

#[test]
fn running_total_of_integers() -> Result<()> {
    let x = Tensor::from_vec([2, 5], vec![1i32, 2, 3, 4, 5, -1, -2, -3, -4, -5])?;
    assert_eq!(running_total(&x)?.to_vec()?, [1, 3, 6, 10, 15, -1, -3, -6, -10, -15]);
    Ok(())
}

/// 6. Outer product of two vectors, with a function applied.
#[kernel]
pub fn outer<F: TileFn<Tile<f32, 2>>>(x: &Tensor<f32, 1>, y: &Tensor<f32, 1>, f: F) -> Result<Tensor<f32, 2>> {
    let ([m], [n]) = (x.dims(), y.dims());
    let mut out = x.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        out[(tm, tn)] = f(x[tm].unsqueeze(1) * y[tn]);
    }
    Ok(out)
}

#[test]
fn outer_product_clamped() -> Result<()> {
    let (x, y) = (values(33), values(18));
    let limit = 2.5f32;
    let got = outer(
        &Tensor::from_vec([33], x.clone())?,
        &Tensor::from_vec([18], y.clone())?,
        tile_fn!(|t: Tile<f32, 2>| t.minimum(limit)),
    )?;
    let want: Vec<f32> = x.iter().flat_map(|a| y.iter().map(move |b| (a * b).min(limit))).collect();
    close(&got.to_vec()?, &want);
    Ok(())
}

/// 7. Counts how often each value occurs.
#[kernel]
pub fn histogram(bins: &Tensor<i32, 1>, counts: &mut Tensor<i32, 1>) -> Result<()> {
    let [n] = bins.dims();
    for t in tile(n) {
        counts.atomic_add(bins[t], full([t], 1i32));
    }
    Ok(())
}

#[test]
fn histogram_drops_what_is_outside() -> Result<()> {
    let bins: Vec<i32> = (0..5000).map(|i| (i * 31 % 13) - 2).collect();
    let mut counts = Tensor::<i32, 1>::zeros([8]);
    histogram(&Tensor::from_vec([bins.len()], bins.clone())?, &mut counts)?;
    let want: Vec<i32> = (0..8).map(|b| bins.iter().filter(|x| **x == b).count() as i32).collect();
    assert_eq!(counts.to_vec()?, want);
    Ok(())
}

/// 8. Cosine similarity of every pair of rows.
#[kernel]
pub fn cosine(a: &Tensor<f32, 2>, b: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let ([m, d], [n, db]) = (a.dims(), b.dims());
    ensure!(d == db, "rows of {d} and {db} elements");
    let mut out = a.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let (x, y) = (a[(tm, ..)], b[(tn, ..)]);
        let (lx, ly) = ((x * x).sum(1).sqrt(), (y * y).sum(1).sqrt());
        out[(tm, tn)] = dot(x, y.t()) / (lx * ly.t());
    }
    Ok(out)
}

#[test]
fn cosine_of_pairs() -> Result<()> {
    let (m, n, d) = (19, 33, 24);
    let (a, b) = (values(m * d), values((n + 1) * d)[d..].to_vec());
    let got = cosine(&matrix(m, d), &Tensor::from_vec([n, d], b.clone())?)?;
    let product = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(p, q)| f64::from(p * q)).sum::<f64>();
    let mut want = Vec::new();
    for x in a.chunks(d) {
        for y in b.chunks(d) {
            want.push((product(x, y) / (product(x, x) * product(y, y)).sqrt()) as f32);
        }
    }
    close(&got.to_vec()?, &want);
    Ok(())
}

/// 9. Newton's method for cube roots, in place, until every element of the tile has settled.
#[kernel]
pub fn cube_roots(x: &mut Tensor<f32, 1>) -> Result<()> {
    let [n] = x.dims();
    for t in tile(n) {
        let a = x[t];
        let mut r = a * 0.3 + 1.0;
        let mut change = r.abs().max(0).squeeze(0);
        let mut steps = 0;
        while change > 1e-6 && steps < 50 {
            let next = (r * 2.0 + a / (r * r)) / 3.0;
            change = ((next - r) / r).abs().max(0).squeeze(0);
            r = next;
            steps += 1;
        }
        x[t] = r;
    }
    Ok(())
}

#[test]
fn cube_roots_settle() -> Result<()> {
    let data: Vec<f32> = (1..200).map(|i| i as f32 / 3.0).collect();
    let mut x = Tensor::from_vec([data.len()], data.clone())?;
    cube_roots(&mut x)?;
    let want: Vec<f32> = data.iter().map(|v| v.cbrt()).collect();
    close(&x.to_vec()?, &want);
    Ok(())
}

/// 10. Group normalisation: the channels of each group share mean and variance; optional scale.
#[kernel]
pub fn group_norm(x: &Tensor<f32, 3>, scale: Option<&Tensor<f32, 1>>, eps: f32) -> Result<Tensor<f32, 3>> {
    let [b, g, c] = x.dims();
    if let Some(scale) = scale {
        ensure!(scale.dims() == [c], "{c} channels and {} scales", scale.dims()[0]);
    }
    let mut out = x.empty_like();
    for [tb, tg] in tile([b, g]) {
        let v = x[(tb, tg, ..)];
        let mean = v.mean(2);
        let centred = v - mean;
        let mut y = centred * ((centred * centred).mean(2) + eps).rsqrt();
        if let Some(scale) = scale {
            y *= scale[..];
        }
        out[(tb, tg, ..)] = y;
    }
    Ok(out)
}

#[test]
fn group_norm_with_and_without_scale() -> Result<()> {
    let [b, g, c] = [3, 4, 11];
    let data = values(b * g * c);
    let x = Tensor::from_vec([b, g, c], data.clone())?;
    let scale = values(c);
    let normal = |row: &[f32]| {
        let mean = row.iter().sum::<f32>() / c as f32;
        let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / c as f32;
        row.iter().map(|v| (v - mean) / (var + 1e-5).sqrt()).collect::<Vec<f32>>()
    };
    let plain: Vec<f32> = data.chunks(c).flat_map(normal).collect();
    close(&group_norm(&x, None, 1e-5)?.to_vec()?, &plain);
    let scaled: Vec<f32> = plain.chunks(c).flat_map(|r| r.iter().zip(&scale).map(|(a, s)| a * s)).collect();
    close(&group_norm(&x, Some(&Tensor::from_vec([c], scale.clone())?), 1e-5)?.to_vec()?, &scaled);
    Ok(())
}

/// 11. Every second element, and the others, of a vector of pairs.
#[kernel]
pub fn unzip(x: &Tensor<i64, 2>) -> Result<(Tensor<i64, 1>, Tensor<i64, 1>)> {
    let [n, two] = x.dims();
    ensure!(two == 2, "pairs expected, found rows of {two}");
    let (mut left, mut right) = (x.empty([n]), x.empty([n]));
    for t in tile(n) {
        left[t] = x[(t, 0)];
        right[t] = x[(t, 1)];
    }
    Ok((left, right))
}

#[test]
fn unzip_pairs() -> Result<()> {
    let x = Tensor::from_fn([300, 2], |[i, j]| (10 * i + j) as i64);
    let (left, right) = unzip(&x)?;
    assert_eq!(left.to_vec()?, (0..300).map(|i| 10 * i).collect::<Vec<i64>>());
    assert_eq!(right.to_vec()?, (0..300).map(|i| 10 * i + 1).collect::<Vec<i64>>());
    Ok(())
}

/// 12. Several launches in one function, and `f16` storage: the norm of all rows, then scaled rows.
#[kernel]
pub fn normalised<T: Float>(x: &Tensor<T, 2>) -> Result<Tensor<T, 2>> {
    let [m, n] = x.dims();
    let mut norms = Tensor::<f32, 1>::zeros([m]);
    for tm in tile(m) {
        let row = x[(tm, ..)].cast::<f32>();
        norms[tm] = (row * row).sum(1).sqrt().squeeze(1);
    }
    let mut out = x.empty_like();
    for [tm, tn] in tile([m, n]) {
        out[(tm, tn)] = (x[(tm, tn)].cast::<f32>() / norms[tm].unsqueeze(1)).cast();
    }
    Ok(out)
}

#[test]
fn normalised_half_rows() -> Result<()> {
    let x = Tensor::from_fn([7, 40], |[i, j]| f16::from_f32((i + j) as f32 / 8.0 + 0.5));
    let got = normalised(&x)?.to_vec()?;
    for row in got.chunks(40) {
        let norm: f32 = row.iter().map(|v| v.to_f32() * v.to_f32()).sum();
        assert!((norm - 1.0).abs() < 2e-3, "{norm}");
    }
    Ok(())
}

/// 13. Two halves written by one tile: rotary embedding, out of place.
#[kernel]
pub fn rotated(x: &Tensor<f32, 2>, base: f32) -> Result<Tensor<f32, 2>> {
    let [s, d] = x.dims();
    ensure!(d % 2 == 0, "{d} is odd");
    let half = d / 2;
    let mut out = x.empty_like();
    for [ts, th] in tile([s, half]) {
        let rate = (th.index().cast::<f32>() * (-2.0 / d.to::<f32>()) * base.ln()).exp();
        let angle = ts.index().cast::<f32>().unsqueeze(1) * rate;
        let (a, b) = (x[(ts, th)], x[(ts, th + half)]);
        out[(ts, th)] = a * angle.cos() - b * angle.sin();
        out[(ts, th + half)] = a * angle.sin() + b * angle.cos();
    }
    Ok(out)
}

/// The same in place.
#[kernel]
pub fn rotate(x: &mut Tensor<f32, 2>, base: f32) -> Result<()> {
    let [s, d] = x.dims();
    ensure!(d % 2 == 0, "{d} is odd");
    let half = d / 2;
    for [ts, th] in tile([s, half]) {
        let rate = (th.index().cast::<f32>() * (-2.0 / d.to::<f32>()) * base.ln()).exp();
        let angle = ts.index().cast::<f32>().unsqueeze(1) * rate;
        let (a, b) = (x[(ts, th)], x[(ts, th + half)]);
        x[(ts, th)] = a * angle.cos() - b * angle.sin();
        x[(ts, th + half)] = a * angle.sin() + b * angle.cos();
    }
    Ok(())
}

#[test]
fn rotated_by_position() -> Result<()> {
    for (s, half) in [(1, 1), (10, 8), (3, 0), (40, 65)] {
        let (x, d) = (values(s * 2 * half), 2 * half);
        let mut want = vec![0.0; s * d];
        for i in 0..s * half {
            let (row, j) = (i / half, i % half);
            let angle = row as f64 * 10_000f64.powf(-2.0 * j as f64 / d as f64);
            let (a, b) = (f64::from(x[row * d + j]), f64::from(x[row * d + half + j]));
            want[row * d + j] = (a * angle.cos() - b * angle.sin()) as f32;
            want[row * d + half + j] = (a * angle.sin() + b * angle.cos()) as f32;
        }
        let x = matrix(s, d);
        close(&rotated(&x, 10_000.0)?.to_vec()?, &want);
        // Configs go in by value or by reference, and parse with `?`.
        let small: Config = "block.ts=2 block.th=3".parse()?;
        for config in [&small, &Config::new(), &Config::new().block("th", 1)] {
            let mut y = x.copy();
            rotate::with(config).call(&mut y, 10_000.0)?;
            close(&y.to_vec()?, &want);
        }
        close(&rotated::with(small).call(&x, 10_000.0)?.to_vec()?, &want);
    }
    Ok(())
}

#[test]
fn bad_configs_are_explained() -> Result<()> {
    let said = |text: &str| text.parse::<Config>().map_err(Error::from).expect_err("not a config").to_string();
    assert_eq!(said("block.t=x"), "config: `block.t=x`: the values of `block` are 1 to 1048576");
    let e = rotated::with(Config::new().block("tx", 8)).call(&matrix(2, 2), 10.0).expect_err("no such variable");
    assert_eq!(
        e.to_string(),
        "config `block.tx=8` cannot be used here: kernel `rotated` has no tile variable `tx`; it has ts, th"
    );
    Ok(())
}

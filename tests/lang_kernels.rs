//! Kernels of every kind, recorded and verified.
#![allow(missing_docs)]
use helion::prelude::*;

#[kernel]
pub fn add<T: Num>(x: &Tensor<T, 1>, y: &Tensor<T, 1>) -> Result<Tensor<T, 1>> {
    let [n] = x.dims();
    ensure!(y.dims() == [n], "sizes differ");
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t] + y[t];
    }
    Ok(out)
}

/// Row-wise softmax over the last dimension.
#[kernel]
pub fn softmax<T: Float>(x: &Tensor<T, 2>) -> Result<Tensor<T, 2>> {
    let [m, _n] = x.dims();
    let mut out = x.empty_like();
    for tm in tile(m) {
        let row = x[(tm, ..)].cast::<f32>();
        let e = (row - row.max(1)).exp();
        out[(tm, ..)] = (e / e.sum(1)).cast();
    }
    Ok(out)
}

/// Several outputs: the normalised rows and the statistics.
#[kernel]
pub fn layer_norm<T: Float>(
    x: &Tensor<T, 2>,
    weight: &Tensor<T, 1>,
    bias: Option<&Tensor<T, 1>>,
    eps: f32,
) -> Result<(Tensor<T, 2>, Tensor<f32, 1>)> {
    let [m, n] = x.dims();
    let mut out = x.empty_like();
    ensure!(weight.dims() == [n] && bias.is_none_or(|b| b.dims() == [n]), "one weight and bias per column");
    let mut rstds = x.empty_of::<f32, 1>([m]);
    for tm in tile(m) {
        let row = x[(tm, ..)].cast::<f32>();
        let mean = row.sum(1) / n;
        let centered = row - mean;
        let rstd = ((centered * centered).sum(1) / n + eps).rsqrt();
        let mut y = centered * rstd * weight[..].cast::<f32>();
        if let Some(bias) = bias {
            y += bias[..].cast::<f32>();
        }
        out[(tm, ..)] = y.cast();
        rstds[tm] = rstd.squeeze(1);
    }
    Ok((out, rstds))
}

#[kernel]
pub fn matmul<T: Float, E: TileFn<Tile<f32, 2>>>(
    a: &Tensor<T, 2>,
    b: &Tensor<T, 2>,
    epilogue: E,
) -> Result<Tensor<T, 2>> {
    let ([m, k], [kb, n]) = (a.dims(), b.dims());
    ensure!(k == kb, "inner dimensions differ: {k} and {kb}");
    let mut out = a.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut acc = f32::zeros([tm, tn]);
        for tk in tile(k) {
            acc += dot(a[(tm, tk)], b[(tk, tn)]);
        }
        out[(tm, tn)] = epilogue(acc).cast();
    }
    Ok(out)
}
/// The same with an epilogue that also sees where its tile lies.
#[kernel]
pub fn matmul_at<T: Float, E: TileFn<(Tile<f32, 2>, TileIx, TileIx), Tile<f32, 2>>>(
    a: &Tensor<T, 2>,
    b: &Tensor<T, 2>,
    epilogue: E,
) -> Result<Tensor<T, 2>> {
    let ([m, k], [_, n]) = (a.dims(), b.dims());
    let mut out = a.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut acc = zeros([tm, tn]);
        for tk in tile(k) {
            acc += dot(a[(tm, tk)], b[(tk, tn)]);
        }
        out[(tm, tn)] = epilogue(acc, tm, tn).cast();
    }
    Ok(out)
}
fn relu<const R: usize>(x: Tile<f32, R>) -> Tile<f32, R> {
    x.maximum(0.0)
}

#[kernel]
pub fn bmm<T: Float>(a: &Tensor<T, 3>, b: &Tensor<T, 3>) -> Result<Tensor<T, 3>> {
    let ([bs, m, k], [_, _, n]) = (a.dims(), b.dims());
    let mut out = a.empty([bs, m, n]);
    for [tb, tm, tn] in tile([bs, m, n]) {
        let mut acc = f32::zeros([tb, tm, tn]);
        for tk in tile(k) {
            acc += dot(a[(tb, tm, tk)], b[(tb, tk, tn)]);
        }
        out[(tb, tm, tn)] = acc.cast();
    }
    Ok(out)
}

#[kernel]
pub fn attention<T: Float, const D: usize>(
    q: &Tensor<T, 2>,
    k: &Tensor<T, 2>,
    v: &Tensor<T, 2>,
    scale: f32,
    causal: bool,
) -> Result<Tensor<T, 2>> {
    let ([m, d], [n, _]) = (q.dims(), k.dims());
    ensure!(d == D && k.dims() == [n, d] && v.dims() == [n, d], "head size");
    let mut out = q.empty_like();
    for tm in tile(m) {
        let qt = q[(tm, ..)];
        let mut row_max = full([tm], f32::NEG_INFINITY).unsqueeze(1);
        let mut row_sum = f32::zeros([tm]).unsqueeze(1);
        let mut acc = f32::zeros((tm, d));
        let end = if causal { tm.end() } else { n };
        for tn in tile(0..end) {
            let mut s = dot(qt, k[(tn, ..)].t()) * scale;
            if causal {
                let keep = tm.index().unsqueeze(1) >= tn.index();
                s = select(keep, s, -f64::INFINITY);
            }
            let new_max = row_max.maximum(s.max(1));
            let p = (s - new_max).exp();
            let fix = (row_max - new_max).exp();
            row_sum = row_sum * fix + p.sum(1);
            acc = acc * fix + dot(p.cast::<T>(), v[(tn, ..)]);
            row_max = new_max;
        }
        out[(tm, ..)] = (acc / row_sum).cast();
    }
    Ok(out)
}

#[kernel]
pub fn cross_entropy(logits: &Tensor<f32, 2>, labels: &Tensor<i64, 1>) -> Result<Tensor<f32, 1>> {
    let [m, _] = logits.dims();
    let mut loss = logits.empty([m]);
    for tm in tile(m) {
        let row = logits[(tm, ..)];
        let top = row.max(1);
        let lse = (row - top).exp().sum(1).ln() + top;
        let picked = row.gather(1, labels[tm].unsqueeze(1));
        loss[tm] = (lse - picked).squeeze(1);
    }
    Ok(loss)
}

#[kernel]
pub fn segment_sum(x: &Tensor<f32, 2>, ids: &Tensor<i32, 1>, out: &mut Tensor<f32, 2>) -> Result<()> {
    let [m, n] = x.dims();
    for [tm, tn] in tile([m, n]) {
        out.atomic_add((ids[tm], tn), x[(tm, tn)]);
    }
    Ok(())
}

#[kernel]
pub fn rotary<T: Float>(x: &mut Tensor<T, 3>, cos: &Tensor<f32, 2>, sin: &Tensor<f32, 2>) -> Result<()> {
    let [s, h, d] = x.dims();
    let half = d / 2;
    ensure!(cos.dims() == [s, half] && sin.dims() == [s, half], "one angle per position and pair");
    for [ts, th] in tile([s, h]) {
        let lo = iota(half);
        let hi = lo + half;
        let (a, b) = (x[(ts, th, lo)].cast::<f32>(), x[(ts, th, hi)].cast::<f32>());
        let (c, s) = (cos[(ts, ..)].unsqueeze(1), sin[(ts, ..)].unsqueeze(1));
        x[(ts, th, lo)] = (a * c - b * s).cast();
        x[(ts, th, hi)] = (b * c + a * s).cast();
    }
    Ok(())
}

/// Device `if` and `while`, and a counter that starts as a host number.
#[kernel]
pub fn collatz(x: &Tensor<i32, 1>) -> Result<(Tensor<i32, 1>, Tensor<i32, 1>)> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    let mut first = x.empty_like();
    for t in tile(n) {
        let mut v = x[t];
        let mut steps = 0;
        while (v.max(0).squeeze(0) > 1) && steps < 1000 {
            let odd = v % 2 == 1;
            v = select(odd, v * 3 + 1, v / 2);
            steps += 1;
        }
        let big = if steps > 100 { constant(1) } else { steps };
        out[t] = v + big;
        first[t] = v;
    }
    Ok((out, first))
}

type Stat = (Scalar<f32>, Scalar<f32>, Scalar<f32>);
fn welford((ma, sa, na): Stat, (mb, sb, nb): Stat) -> Stat {
    let n = na + nb;
    let d = mb - ma;
    (ma + d * nb / n, sa + sb + d * d * na * nb / n, n)
}
#[kernel]
pub fn mean_var(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let [m, n] = x.dims();
    let mut out = x.empty([m, 2]);
    for tm in tile(m) {
        let (mut mean, mut m2, mut count) = (f32::zeros([tm]), f32::zeros([tm]), f32::zeros([tm]));
        for tn in tile(n) {
            let b = x[(tm, tn)];
            let (bm, bs, bc) = reduce_with((b, b * 0, b * 0 + 1), 1, welford);
            let (bm, bs, bc) = (bm.squeeze(1), bs.squeeze(1), bc.squeeze(1));
            let (delta, total) = (bm - mean, count + bc);
            (mean, m2, count) = (mean + delta * bc / total, m2 + bs + delta * delta * count * bc / total, total);
        }
        out[(tm, 0)] = mean;
        out[(tm, 1)] = m2 / count;
    }
    Ok(out)
}

#[kernel]
pub fn helion_dropout<T: Float>(x: &Tensor<T, 1>, p: f32, seed: i64) -> Result<Tensor<T, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let keep = rand(seed, [t]) >= p;
        let scaled = x[t].cast::<f32>() / (1.0 - p);
        out[t] = select(keep, scaled, 0.0).cast();
    }
    Ok(out)
}

/// A device function with the sugar, generic over the rank; host arrays and unrolled loops.
#[device]
fn horner<const R: usize>(x: Tile<f32, R>, c: [Scalar<f32>; 4]) -> Tile<f32, R> {
    let mut y = x * 0.0;
    for i in 0..4 {
        y = y * x + c[i];
    }
    y
}
#[kernel]
pub fn poly(x: &Tensor<f32, 1>, coeffs: [f32; 4]) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let mut accs = [x[t]; 2];
        for tk in tile(n) {
            for i in 0..2 {
                accs[i] = accs[i] + x[tk].sum(0);
            }
        }
        out[t] = horner(1.0 / x[t], coeffs) + accs[0] + accs[1];
    }
    for t in tile(n) {
        out[t] *= 2.0;
    }
    Ok(out)
}

/// Records a call; its launches verify and read back from their own text.
fn record<R>(name: &str, f: impl FnOnce() -> Result<R>) -> String {
    let all = helion::runtime::traced(f).unwrap_or_else(|e| panic!("{name}: {e}"));
    let texts: Vec<String> = all.iter().map(|v| v.function().to_string()).collect();
    assert!(!texts.is_empty(), "{name}: nothing was recorded");
    texts.join("\n")
}
#[test]
fn every_kernel_records_and_verifies() {
    let (x2, v1) = (Tensor::<f16, 2>::new([128, 512]), Tensor::<f32, 1>::new([128]));
    record("add", || add(&v1, &v1));
    record("softmax", || softmax(&x2));
    let w = Tensor::<f16, 1>::new([512]);
    record("layer_norm", || layer_norm(&x2, &w, Some(&w), 1e-5));
    let b2 = Tensor::<f16, 2>::new([512, 64]);
    record("matmul relu", || matmul(&x2, &b2, relu));
    record("matmul closure", || matmul(&x2, &b2, |t: Tile<f32, 2>| t * 2.0));
    let (bias, gain) = (Tensor::<f32, 1>::new([64]), 3.0f32);
    record("matmul tile_fn", || matmul(&x2, &b2, tile_fn!(|t: Tile<f32, 2>| t * gain + 1.0)));
    record("matmul_at tile_fn", || {
        matmul_at(&x2, &b2, tile_fn!(|(t, _tm, tn): (Tile<f32, 2>, TileIx, TileIx)| t * gain + bias[tn]))
    });
    let a3 = Tensor::<f16, 3>::new([8, 128, 32]);
    let b3 = Tensor::<f16, 3>::new([8, 32, 16]);
    record("bmm", || bmm(&a3, &b3));
    let (q, k) = (Tensor::<f16, 2>::new([300, 64]), Tensor::<f16, 2>::new([200, 64]));
    record("attention causal", || attention::<f16, 64>(&q, &k, &k, 0.125, true));
    record("attention full", || attention::<f16, 64>(&q, &k, &k, 0.125, false));
    let lg = Tensor::<f32, 2>::new([128, 1000]);
    record("cross_entropy", || cross_entropy(&lg, &Tensor::new([128])));
    let mut acc = Tensor::<f32, 2>::new([10, 1000]);
    record("segment_sum", || segment_sum(&lg, &Tensor::new([128]), &mut acc));
    let mut r = Tensor::<bf16, 3>::new([100, 8, 64]);
    record("rotary", || rotary(&mut r, &Tensor::new([100, 32]), &Tensor::new([100, 32])));
    record("collatz", || collatz(&Tensor::new([100])));
    record("mean_var", || mean_var(&lg));
    record("dropout", || helion_dropout(&v1, 0.1, 7));
    record("poly", || poly(&v1, [1.0, 2.0, 3.0, 4.0]));
}

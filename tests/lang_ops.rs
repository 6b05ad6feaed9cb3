//! Every operation and language feature, recorded and verified.
#![allow(missing_docs)]
use helion::prelude::*;

#[kernel]
pub fn math<T: Float>(x: &Tensor<T, 2>) -> Result<Tensor<T, 2>> {
    let [m, n] = x.dims();
    let mut out = x.empty_like();
    for [tm, tn] in tile([m, n]) {
        let a = x[(tm, tn)];
        let b = a.abs() + a.floor() - a.ceil() * a.round() / a.trunc();
        let c = a.exp() + a.exp2() + a.ln() + a.log() + a.log2() + a.sqrt() + a.rsqrt();
        let d = a.sin() + a.cos() + a.tanh() + a.sigmoid() + a.erf() + a.pow(2.0) + a.pow(b);
        let e = a.maximum(b).minimum(0.5).clamp(-1.0, 1.0) + a % 3.0 - (-a);
        let f = select(a.is_nan() | (a < 0.0), c, d) + 1.0 - 2 * a + 3.0 / a;
        out[(tm, tn)] = e + f + b.masked(a > 1.0);
    }
    Ok(out)
}

#[kernel]
pub fn integers<T: Int>(x: &Tensor<T, 1>) -> Result<(Tensor<T, 1>, Tensor<bool, 1>)> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    let mut flags = x.empty_of::<bool, 1>([n]);
    for t in tile(n) {
        let a = x[t];
        let b = (a << 2) ^ (a >> 1) & !a | 7;
        let flag = a == 3 || (a != b && a <= b) || a >= 100;
        out[t] = b.rem_euclid(5) + a.cast::<bool>().cast();
        flags[t] = flag & !(a > b);
    }
    Ok((out, flags))
}

#[kernel]
pub fn casts(x: &Tensor<F8E4M3, 1>, y: &Tensor<i32, 1>) -> Result<(Tensor<F8E5M2, 1>, Tensor<f32, 1>, Tensor<u8, 1>)> {
    let [n] = x.dims();
    ensure!(y.dims() == [n], "sizes differ");
    let mut a = x.empty_of::<F8E5M2, 1>([n]);
    let mut b = x.empty_of::<f32, 1>([n]);
    let mut c = x.empty_of::<u8, 1>([n]);
    for t in tile(n) {
        a[t] = x[t].cast::<f32>().cast();
        b[t] = y[t].bitcast();
        c[t] = ((y[t] >> 4) & 15).cast();
    }
    Ok((a, b, c))
}

#[kernel]
pub fn reductions(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let [m, _n] = x.dims();
    let mut out = x.empty([m, 16]);
    for tm in tile(m) {
        let row = x[(tm, ..)];
        out[(tm, 0)] = row.sum(1).squeeze(1);
        out[(tm, 1)] = row.mean(1).squeeze(1);
        out[(tm, 2)] = row.max(1).squeeze(1);
        out[(tm, 3)] = row.min(1).squeeze(1);
        out[(tm, 4)] = row.prod(1).squeeze(1);
        out[(tm, 5)] = row.argmax(1).squeeze(1).cast();
        out[(tm, 6)] = row.argmin(1).squeeze(1).cast();
        out[(tm, 7)] = (row > 0.0).any(1).squeeze(1).cast();
        out[(tm, 8)] = (row > 0.0).all(1).squeeze(1).cast();
        out[(tm, 9)] = (row > 0.0).count(1).squeeze(1).cast();
        out[(tm, 10)] = row.reduce(1, |a, b| a + b * 0.5).squeeze(1);
        let (total, top) = reduce_with((row, row), 1, |(a, b), (c, d)| (a + c, b.maximum(d)));
        out[(tm, 11)] = (total / top).squeeze(1);
        out[(tm, 12)] = 0.0;
        out[(tm, 13)] = row.mean(1).mean(0).squeeze(0).squeeze(0);
    }
    Ok(out)
}

#[kernel]
pub fn scans(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let [m, _n] = x.dims();
    let mut out = x.empty_like();
    for tm in tile(m) {
        let row = x[(tm, ..)];
        let a = row.cumsum(1) + row.cumprod(1) + row.cummax(1) + row.cummin(1);
        let b = row.cumsum_reverse(1) + row.cumprod_reverse(1);
        let c = row.scan(1, |a, b| a * 0.5 + b) + row.scan_reverse(1, |a, b| a.maximum(b));
        let (gate, state) = scan_with((row.sigmoid(), row), 1, |(a0, b0), (a1, b1)| (a0 * a1, b0 * a1 + b1));
        let (_, back) = scan_with_reverse((row, row), 1, |(a0, b0), (a1, b1)| (a0 * a1, b0 + b1));
        out[(tm, ..)] = a + b + c + gate * state + back;
    }
    Ok(out)
}

#[kernel]
pub fn shapes(x: &Tensor<f32, 3>, y: &Tensor<f32, 1>) -> Result<Tensor<f32, 3>> {
    let [b, m, n] = x.dims();
    ensure!(y.dims() == [n], "the last axis must have {n} elements");
    let mut out = x.empty_like();
    for [tb, tm] in tile([b, m]) {
        let a = x[(tb, tm, ..)];
        let p = a.permute([1, 0, 2]).transpose(0, 1).t().t();
        let r = a.reshape((tb, tm, n, 1)).reshape((tb, tm, n));
        let (low, high) = a.join(a * 2.0).split(3);
        let (low, high) = (low.squeeze(3), high.squeeze(3));
        let both = concat([low, high], 2).slice(2, 0, n);
        let wide = y[..].broadcast_to((tb, tm, n)) + y[..].unsqueeze(0).unsqueeze(0).expand((tb, tm, n));
        let counted = iota(n).cast::<f32>() + (tm.index() + 1).unsqueeze(1).cast::<f32>();
        let c = full([tb, tm], 2.0f32).unsqueeze(2) + zeros((tb, tm, 1)) + a.full_like(1.0f32) + a.zeros_like();
        out[(tb, tm, ..)] = p + r + both + wide + counted + c;
    }
    Ok(out)
}

#[kernel]
pub fn indices(x: &Tensor<f32, 2>, at: &Tensor<i32, 1>, shift: usize) -> Result<(Tensor<f32, 2>, Tensor<f32, 1>)> {
    let [m, n] = x.dims();
    let [k] = at.dims();
    let mut out = x.empty([k, n]);
    let mut sums = x.empty([m]);
    for [tk, tn] in tile([k, n]) {
        let rows = x[(at[tk], tn)];
        let shifted = x.load_masked((0, tn + shift), tn.index() < n - 1, 9.0);
        let left = x[(0, tn - 1)] + x[(0, tn + 2)] + x[(m - 1, tn)];
        out[(tk, tn)] = rows + shifted + left;
    }
    for i in grid(m) {
        let row = x[(i, ..)];
        sums[i] = row.sum(0).squeeze(0);
    }
    Ok((out, sums))
}

#[kernel]
pub fn atomics(x: &Tensor<i32, 1>, hits: &mut Tensor<i32, 1>) -> Result<()> {
    let [n] = x.dims();
    for t in tile(n) {
        let old = hits.atomic_add(x[t], 1);
        let _ = hits.atomic_max(x[t], old);
        let _ = hits.atomic_min(x[t], old);
        let _ = hits.atomic_exchange(x[t], old + 1);
        let _ = hits.atomic_compare_and_swap(x[t], 3, old);
    }
    Ok(())
}

#[kernel]
pub fn random(x: &Tensor<f32, 2>, seed: u64, p: f32) -> Result<Tensor<f32, 2>> {
    let [m, n] = x.dims();
    let mut out = x.empty_like();
    for [tm, tn] in tile([m, n]) {
        let u = rand(seed, [tm, tn]) + randn(1, [tm, tn]);
        let i = randint(seed, [tm, tn], 0, 10).cast::<f32>() + rand_bits(seed, [tm, tn]).cast::<f32>();
        out[(tm, tn)] = dropout(seed, x[(tm, tn)], p, [tm, tn]) + u + i;
    }
    Ok(out)
}

#[kernel]
pub fn loops(x: &Tensor<f32, 2>, lens: &Tensor<i64, 1>, causal: bool) -> Result<Tensor<f32, 2>> {
    let [m, n] = x.dims();
    ensure!(lens.dims() == [m], "one length per row");
    let mut out = x.empty_like();
    for i in grid(m) {
        let len = lens[i];
        let mut total = f32::zeros([1]);
        for t in tile(0..len) {
            total += x[(i, t)].sum(0);
        }
        let mut count = 0;
        let mut scale = 1.0;
        for j in grid(n) {
            if x[(i, j)] > 0.5 {
                count += 1;
            } else if causal {
                scale = scale * 0.5;
            }
        }
        while count > 10 {
            count /= 2;
        }
        for (a, t) in (grid(2), tile(n)) {
            debug_print("part", x[(i, t)]);
            out[(i, t)] = x[(i, t)] * scale + total + (count + a.cast::<i32>()).cast::<f32>();
        }
    }
    Ok(out)
}

#[kernel]
pub fn ranges(x: &Tensor<f32, 2>, from: usize) -> Result<Tensor<f32, 2>> {
    let [m, n] = x.dims();
    ensure!(from < m, "from is a row");
    let mut out = x.zeros_like();
    for (tm, tn) in tile((from..m, n)) {
        out[(tm, tn)] = x[(tm, tn)];
    }
    for tm in tile(from..m) {
        let mut acc = f32::zeros((tm, 1));
        for tn in tile(from..n / 2) {
            acc += x[(tm, tn)].sum(1);
        }
        for (tk, tn) in tile((from..m, n)) {
            acc += x[(tk, tn)].sum(1).sum(0);
        }
        out[(tm, 0)] = acc.squeeze(1);
    }
    Ok(out)
}

/// Several host things: shadowing, host vectors beside device variables of the same name, fields.
pub struct Layer {
    weight: Tensor<f32, 1>,
    eps: f32,
    acts: [f32; 3],
}
impl Layer {
    #[kernel]
    pub fn run(&self, x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
        let [n] = x.dims();
        ensure!(self.weight.dims() == [n], "sizes differ");
        let mut v: Vec<f32> = Vec::new();
        v.push(1.0);
        let mut out = x.empty_like();
        for t in tile(n) {
            let mut v = x[t];
            for i in 0..3 {
                v = v * self.acts[i];
            }
            for tk in tile(n) {
                let mut v = x[tk];
                v = v + 1.0;
                out.store_masked(t, v.sum(0).squeeze(0), x[t] > 0.0);
            }
            out[t] = v * self.weight[t] + self.eps;
        }
        Ok(out)
    }
}

/// A helper with the sugar of kernels, generic over the rank.
#[device]
fn clip<const R: usize>(x: Tile<f32, R>) -> Tile<f32, R> {
    let mut y = x;
    for i in 0..2 {
        if i != 1 {
            y = select(y > 1.0, 1.0, y);
        }
    }
    select(y < -1.0 && y > -9.0, -1.0, y)
}

#[kernel]
pub fn several<T: Float, E: TileFn<Tile<f32, 1>>>(
    x: &Tensor<T, 1>,
    bias: Option<&Tensor<T, 1>>,
    act: E,
) -> Result<(Tensor<T, 1>, Tensor<f32, 1>)> {
    let [n] = x.dims();
    ensure!(bias.is_none_or(|b| b.dims() == [n]), "sizes differ");
    let (mut a, mut b) = (x.empty_like(), x.empty_of::<f32, 1>([n]));
    for t in tile(n) {
        b[t] = clip(act(x[t].cast()));
    }
    if n > 3 {
        for t in tile(n) {
            let mut y = b[t];
            if let Some(bias) = bias {
                y += bias[t].cast();
            }
            y *= match bias {
                Some(w) => w[t].cast::<f32>(),
                None => f32::zeros(t) + 1.0,
            };
            a[t] = y.cast();
        }
    }
    Ok((a, b))
}

#[test]
fn tools_exist_for_generic_kernels() {
    let x = Tensor::<f32, 1>::zeros([12]);
    let config = Config::new().block("t", 4);
    let pinned = several::with(config);
    let text = helion::runtime::traced(|| pinned.call(&x, None, |t: Tile<f32, 1>| t.exp())).map(|v| v.len());
    assert_eq!(text.unwrap_or_else(|e| panic!("{e}")), 2);
    let _ = several::explain::<f32, fn(Tile<f32, 1>) -> Tile<f32, 1>>;
}

#[test]
fn methods_record() {
    let layer = Layer { weight: Tensor::zeros([12]), eps: 1.0, acts: [1.0, 2.0, 3.0] };
    let x = Tensor::<f32, 1>::zeros([12]);
    let all = helion::runtime::traced(|| layer.run(&x)).unwrap_or_else(|e| panic!("{e}"));
    let text = all[0].function().to_string();
    assert!(
        text.contains("param self.weight: tensor f32[$n]")
            && text.contains("param \"self.acts[2]\": scalar f32 @tests"),
        "{text}"
    );
}

#[test]
fn results_are_right() {
    let x = Tensor::<f32, 1>::from_fn([1000], |[i]| i as f32 / 100.0 - 5.0);
    let (a, b) = several(&x, Some(&x), |t: Tile<f32, 1>| t * 2.0).unwrap();
    for i in 0..1000 {
        let v = x.get([i]).unwrap();
        let clipped = (v * 2.0).min(1.0);
        let clipped = if clipped < -1.0 && clipped > -9.0 { -1.0 } else { clipped };
        assert_eq!(b.get([i]), Some(clipped));
        let y = (clipped + v) * v;
        assert!((a.get([i]).unwrap() - y).abs() <= 1e-6 * y.abs());
    }
}

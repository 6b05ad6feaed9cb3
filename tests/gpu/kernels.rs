//! The kernels of the examples for a GPU. Out: [`Case`]s, each a kernel with element types and the sizes that its code may
//! depend on, and [`lower`], which compiles one with a config as a launch would.

use helion::prelude::*;
use helion::{bf16, f16};
use helion_codegen::backend::Backend;
use helion_codegen::ptx::{self, Arch, Facts, PtxKernel, PtxOptions};
use helion_codegen::{passes, pipeline, schedule};
use helion_ir::config::ConfigSpace;
use helion_ir::loops;
use helion_ir::tile::Verified;

use crate::examples::{
    attention::attention, batched_matmul::batched_matmul, cross_entropy::cross_entropy, dropout::dropout,
    embedding::embedding, int4_matmul::int4_matmul, int8_matmul::int8_matmul, jagged_mean::jagged_mean,
    layer_norm::layer_norm, long_sum::long_sum, matmul, pointwise, rms_norm::rms_norm, rotary::rotary,
    segment_sum::segment_sum, softmax::softmax, swiglu, vector_add::add, welford::mean_variance,
};

/// One kernel.
pub struct Case {
    /// Its name, and what tells it from others of the same name: `attention bf16 128 causal`.
    pub name: String,
    /// What is computed.
    pub kernel: Verified,
    /// The sizes of launches, by the names of the symbols.
    sizes: Vec<(&'static str, u64)>,
}

/// Every example with every element type that it takes. All sizes of a call differ, since equal ones are one symbol.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    floats::<f32>(&mut all, "f32");
    floats::<f16>(&mut all, "f16");
    floats::<bf16>(&mut all, "bf16");
    floats::<f64>(&mut all, "f64");
    numbers::<f32>(&mut all, "f32");
    numbers::<bf16>(&mut all, "bf16");
    numbers::<i8>(&mut all, "i8");
    numbers::<i32>(&mut all, "i32");
    numbers::<u64>(&mut all, "u64");
    irregular(&mut all);
    all
}

/// Records the launches of a call.
fn record<R>(all: &mut Vec<Case>, name: &str, sizes: &[(&'static str, u64)], call: impl FnOnce() -> Result<R>) {
    let kernels = helion::runtime::traced(call).unwrap_or_else(|e| panic!("{name}: {e}"));
    let several = kernels.len() > 1;
    for (i, kernel) in kernels.into_iter().enumerate() {
        let name = if several { format!("{name} launch {}", i + 1) } else { name.to_owned() };
        all.push(Case { name, kernel, sizes: sizes.to_vec() });
    }
}

/// What takes floats.
fn floats<T: Float>(all: &mut Vec<Case>, dtype: &str) {
    let (a, b, bias) =
        (Tensor::<T, 2>::zeros([256, 64]), Tensor::<T, 2>::zeros([64, 128]), Tensor::<T, 1>::zeros([64]));
    let up = Tensor::<T, 2>::zeros([64, 128]);
    let (x, same) = (Tensor::<T, 1>::zeros([1000]), Tensor::<T, 2>::zeros([256, 64]));
    record(all, &format!("matmul {dtype}"), &[], || matmul::matmul(&a, &b, matmul::identity));
    record(all, &format!("matmul relu {dtype}"), &[], || matmul::matmul(&a, &b, matmul::relu));
    record(all, &format!("swiglu_layer {dtype}"), &[], || swiglu::swiglu_layer(&a, &b, &up));
    let (ba, bb) = (Tensor::<T, 3>::zeros([3, 256, 64]), Tensor::<T, 3>::zeros([3, 64, 128]));
    record(all, &format!("batched_matmul {dtype}"), &[], || batched_matmul(&ba, &bb));
    for d in [64, 128] {
        let q = Tensor::<T, 3>::zeros([2, 256, d]);
        let kv = Tensor::<T, 3>::zeros([2, 512, d]);
        let sizes = [("d", d as u64)];
        record(all, &format!("attention {dtype} {d}"), &sizes, || attention(&q, &kv, &kv, 0.125, false));
        record(all, &format!("attention {dtype} {d} causal"), &sizes, || attention(&q, &q, &q, 0.125, true));
    }
    record(all, &format!("softmax {dtype}"), &[], || softmax(&a));
    record(all, &format!("rms_norm {dtype}"), &[], || rms_norm(&a, &bias, 1e-5));
    record(all, &format!("layer_norm {dtype}"), &[], || layer_norm(&a, &bias, Some(&bias), 1e-5));
    // Rows that are kept in registers; the norms keep none.
    for n in [1000, 4096] {
        record(all, &format!("softmax {dtype} {n}"), &[("n", n)], || softmax(&a));
    }
    record(all, &format!("dropout {dtype}"), &[], || dropout(&x, 0.1, 42));
    record(all, &format!("swiglu {dtype}"), &[], || swiglu::swiglu(&a, &same));
    record(all, &format!("gelu {dtype}"), &[], || pointwise::map(&x, pointwise::gelu));
    record(all, &format!("gelu_tanh {dtype}"), &[], || pointwise::map(&x, pointwise::gelu_tanh));
    record(all, &format!("chain {dtype}"), &[], || pointwise::chain(&x, &x));
    let mut turned = Tensor::<T, 3>::zeros([16, 4, 64]);
    let (cos, sin) = (Tensor::<f32, 2>::zeros([16, 32]), Tensor::<f32, 2>::zeros([16, 32]));
    record(all, &format!("rotary {dtype}"), &[], || rotary(&mut turned, &cos, &sin));
}

/// What takes any numbers.
fn numbers<T: Num>(all: &mut Vec<Case>, dtype: &str) {
    let (x, y) = (Tensor::<T, 1>::zeros([1000]), Tensor::<T, 1>::zeros([1000]));
    record(all, &format!("add {dtype}"), &[], || add(&x, &y));
    let (table, ids) = (Tensor::<T, 2>::zeros([100, 64]), Tensor::<i64, 1>::zeros([33]));
    record(all, &format!("embedding {dtype}"), &[], || embedding(&table, &ids));
}

/// What has element types of its own.
fn irregular(all: &mut Vec<Case>) {
    let (a, b) = (Tensor::<i8, 2>::zeros([256, 64]), Tensor::<i8, 2>::zeros([64, 128]));
    let (sa, sb) = (Tensor::<f32, 1>::zeros([256]), Tensor::<f32, 1>::zeros([128]));
    record(all, "int8_matmul", &[], || int8_matmul(&a, &b, &sa, &sb));
    let (x, w) = (Tensor::<f32, 2>::zeros([64, 512]), Tensor::<i8, 3>::zeros([4, 64, 128]));
    let scale = Tensor::<f32, 2>::zeros([4, 128]);
    record(all, "int4_matmul", &[], || int4_matmul(&x, &w, &scale));
    let (x, labels) = (Tensor::<f32, 2>::zeros([100, 64]), Tensor::<i64, 1>::zeros([100]));
    record(all, "cross_entropy", &[], || cross_entropy(&x, &labels));
    record(all, "mean_variance", &[], || mean_variance(&x));
    let offsets = Tensor::<i64, 1>::zeros([11]);
    record(all, "jagged_mean", &[], || jagged_mean(&x, &offsets));
    let (segments, mut sums) = (Tensor::<i32, 1>::zeros([100]), Tensor::<f32, 2>::zeros([5, 64]));
    record(all, "segment_sum", &[], || segment_sum(&x, &segments, &mut sums));
    let long = Tensor::<f32, 1>::zeros([10_000]);
    record(all, "long_sum", &[], || long_sum(&long));
}

/// What a config can say about a kernel on an architecture.
///
/// # Errors
/// The default plan fails.
pub fn space(kernel: &Verified, arch: Arch) -> Result<ConfigSpace, String> {
    let target = ptx::target(arch);
    let mut space = schedule::config_space(kernel, &target);
    pipeline::add_knobs(kernel, &mut space);
    let plan = schedule::schedule(kernel, &Config::new(), &target).map_err(|d| d.to_string())?;
    PtxOptions::new(arch).add_knobs(&plan, &mut space, &target);
    Ok(space)
}

/// Compiles a case: one kernel, or several when the config splits reductions. Operands are aligned and smaller than
/// 2³¹ elements.
///
/// # Errors
/// The config is not for this kernel and architecture (`Ok(None)`), or a stage of the compiler fails.
pub fn compile(case: &Case, config: &Config, arch: Arch) -> Result<Option<Vec<PtxKernel>>, String> {
    let target = ptx::target(arch);
    if PtxOptions::new(arch).legal(config, &target).is_err() || schedule::legal(&case.kernel, config, &target).is_err()
    {
        return Ok(None);
    }
    match pipeline::stages(&case.kernel, config, &target).map_err(|e| format!("{e:?}"))? {
        None => Ok(Some(vec![stage(case, &case.kernel, config, arch)?])),
        Some((split, config)) => {
            let stages = split.stages.iter().enumerate();
            stages.map(|(n, s)| stage(case, s, &split.config(n, &config), arch)).collect::<Result<_, _>>().map(Some)
        }
    }
}

fn stage(case: &Case, kernel: &Verified, config: &Config, arch: Arch) -> Result<PtxKernel, String> {
    let target = ptx::target(arch);
    let mut f = schedule::schedule(kernel, config, &target).map_err(|d| format!("schedule: {d}"))?;
    passes::run(&mut f, &target);
    let mut options = PtxOptions::new(arch);
    options.settle(&mut f, &target);
    options.facts = facts(case, &f)?;
    ptx::compile(&f, &options).map_err(|e| e.to_string())
}

/// What a launch knows.
fn facts(case: &Case, f: &loops::Function) -> Result<Facts, String> {
    let size = |s: loops::SymbolId| {
        let name = &f.symbols[s.index()].name;
        case.sizes.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    };
    let wanted = ptx::Wanted::of(f);
    if let Some(s) = wanted.exact.iter().find(|s| size(**s).is_none()) {
        return Err(format!("a launch would fix `{}`, which this case does not give", f.symbols[s.index()].name));
    }
    Ok(wanted.facts(size, u64::MAX, true))
}

//! The cost model: more work is never cheaper, small grids get enough programs, nothing beats the bound, every kernel
//! and every size has a prediction.

#[path = "../../helion-ir/tests/common/case.rs"]
mod case;

use helion_codegen::{cost, passes, schedule};
use helion_ir::config::Config;
use helion_ir::target::{Speed, Target};
use helion_ir::tile::{self, Verified};

fn target() -> Target {
    Target {
        name: "test".into(),
        vector_bytes: 32,
        vector_registers: 16,
        l1_bytes: 32 << 10,
        l2_bytes: 1 << 20,
        l3_bytes: 32 << 20,
        cores: 4,
        warp: 1,
        speed: Speed::default(),
    }
}

fn kernel(text: &str) -> Verified {
    tile::verify(tile::parse(text).expect("tile IR")).expect("verified")
}

fn matmul() -> Verified {
    kernel(
        "tile matmul {
           symbol m
           symbol k
           symbol n
           grid tm in %0..%1
           grid tn in %0..%2
           loop tk in %0..%3
           param a: tensor f32[$m, $k] contiguous
           param b: tensor f32[$k, $n] contiguous
           param out: mut tensor f32[$m, $n] contiguous
           header {
             %0: i64 = const i64 0
             %1: i64 = extent $m
             %2: i64 = extent $n
             %3: i64 = extent $k
           }
           body {
             %4: f32 = const f32 0.0
             %5: f32[tm, tn] = broadcast %4 to [tm, tn]
             %6: f32[tm, tn] = for [tk] with %5 {
               take %7: f32[tm, tn]
               %8: f32[tm, tk] = load a[tm, tk]
               %9: f32[tk, tn] = load b[tk, tn]
               %10: f32[tm, tn] = dot f32 %8, %9
               %11: f32[tm, tn] = add %7, %10
               yield %11
             }
             store out[tm, tn], %6
           }
         }",
    )
}

/// `exp(x)`, by rows.
fn exponential() -> Verified {
    kernel(
        "tile exponential {
           symbol m
           symbol n
           grid tm in %0..%1
           grid tn in %0..%2
           param x: tensor f32[$m, $n] contiguous
           param out: mut tensor f32[$m, $n] contiguous
           header {
             %0: i64 = const i64 0
             %1: i64 = extent $m
             %2: i64 = extent $n
           }
           body {
             %3: f32[tm, tn] = load x[tm, tn]
             %4: f32[tm, tn] = exp %3
             store out[tm, tn], %4
           }
         }",
    )
}

fn predict(k: &Verified, c: &Config, sizes: &[u64], threads: u32) -> f64 {
    let t = target();
    let mut f = schedule::schedule(k, c, &t).expect("a schedule");
    passes::run(&mut f, &t);
    let p = cost::predict(&f, sizes, &t, threads).expect("a prediction");
    assert!(p >= 0.0 && p.is_finite(), "{sizes:?}: {p}");
    p
}

fn choose(k: &Verified, sizes: &[u64], threads: u32) -> Config {
    let t = target();
    cost::choose(k, &schedule::config_space(k, &t), sizes, &t, threads)
}

#[test]
fn more_work_is_not_cheaper() {
    for (k, rank) in [(matmul(), 3), (exponential(), 2)] {
        let c = schedule::config_space(&k, &target()).default_config();
        for axis in 0..rank {
            let mut before = 0.0;
            for n in [1, 16, 100, 256, 300, 1000, 4096] {
                let mut sizes = vec![64; rank];
                sizes[axis] = n;
                let t = predict(&k, &c, &sizes, 1);
                assert!(t >= before * 0.999, "{} {sizes:?}: {t} after {before}", k.function().name);
                before = t;
            }
        }
    }
}

#[test]
fn more_threads_are_not_slower() {
    for (k, sizes) in [(matmul(), vec![1000; 3]), (exponential(), vec![1000, 3000]), (exponential(), vec![1, 10])] {
        let c = choose(&k, &sizes, 1);
        let mut before = f64::INFINITY;
        for threads in [1, 2, 4] {
            let t = predict(&k, &c, &sizes, threads);
            assert!(t <= before * 1.001, "{sizes:?} on {threads}: {t} after {before}");
            before = t;
        }
    }
}

#[test]
fn small_grids_get_a_program_for_each_thread() {
    let k = matmul();
    let t = target();
    for sizes in [[256, 256, 256], [240, 512, 256], [512, 512, 512]] {
        let c = choose(&k, &sizes, 4);
        let f = schedule::schedule(&k, &c, &t).expect("a schedule");
        let block = |n: &str| c.iter().find(|(s, _)| s.of == n).expect("a block").1;
        let programs = sizes[0].div_ceil(block("tm")) * sizes[2].div_ceil(block("tn"));
        assert!(programs >= 4, "{sizes:?}: {programs} programs with `{c}`\n{f}");
    }
}

#[test]
fn the_choice_is_not_predicted_slower_than_the_default() {
    for (k, sizes) in
        [(matmul(), vec![129, 65, 33]), (matmul(), vec![1, 1000, 1000]), (exponential(), vec![7, 100_000])]
    {
        for threads in [1, 2, 4] {
            let (c, default) = (choose(&k, &sizes, threads), schedule::config_space(&k, &target()).default_config());
            assert_eq!(c, choose(&k, &sizes, threads), "the same every time");
            let (chosen, fixed) = (predict(&k, &c, &sizes, threads), predict(&k, &default, &sizes, threads));
            assert!(chosen <= fixed * 1.02, "{sizes:?}: {chosen} with `{c}`, {fixed} with `{default}`");
        }
    }
}

#[test]
fn nothing_is_predicted_below_the_bound() {
    let t = target();
    for k in [matmul(), exponential()] {
        for n in [1u64, 3, 64, 500, 2000] {
            let sizes: Vec<u64> = k.function().symbols.iter().enumerate().map(|(i, _)| n + i as u64).collect();
            for threads in [1, 4] {
                let bound = cost::bound(&k, &sizes, &t, threads);
                let p = predict(&k, &choose(&k, &sizes, threads), &sizes, threads);
                assert!(bound > 0.0 && bound <= p * 1.001, "{} {sizes:?}: bound {bound}, {p}", k.function().name);
            }
        }
    }
    // 2 m n k operations at 8 lanes, 2 instructions a cycle and 3 GHz are 0.18 s.
    let bound = cost::bound(&matmul(), &[2048, 2048, 2048], &t, 1);
    assert!((0.1..0.18).contains(&bound), "{bound}");
}

#[test]
fn sizes_of_all_magnitudes_have_predictions() {
    let k = matmul();
    let c = schedule::config_space(&k, &target()).default_config();
    for m in [0, 1, 1 << 20, u64::MAX >> 1, u64::MAX] {
        for n in [0, 1, 1 << 40, u64::MAX] {
            predict(&k, &c, &[m, 7, n], 2);
            choose(&k, &[m, 7, n], 2);
            assert!(cost::bound(&k, &[m, 7, n], &target(), 2).is_finite());
        }
    }
    let f = schedule::schedule(&k, &c, &target()).expect("a schedule");
    assert_eq!(cost::predict(&f, &[1, 2], &target(), 1), None, "a size is missing");
}

#[test]
fn every_kernel_of_the_file_tests_has_a_prediction() {
    let t = target();
    let mut count = 0;
    for path in case::paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "tile")) {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        for case in case::cases(&text).expect("cases").into_iter().filter(|c| c.kind == "interp") {
            let Ok(f) = tile::parse(&case.text) else { continue };
            let Ok(k) = tile::verify(f) else { continue };
            let space = schedule::config_space(&k, &t);
            if schedule::schedule(&k, &space.default_config(), &t).is_err() {
                continue;
            }
            for n in [0, 1, 100] {
                let sizes = vec![n; k.function().symbols.len()];
                predict(&k, &space.default_config(), &sizes, 2);
                let bound = cost::bound(&k, &sizes, &t, 2);
                assert!(bound >= 0.0 && bound.is_finite(), "{}:{}", path.display(), case.line);
                assert!(space.contains(&choose(&k, &sizes, 2)), "{}:{}", path.display(), case.line);
            }
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} kernels");
}

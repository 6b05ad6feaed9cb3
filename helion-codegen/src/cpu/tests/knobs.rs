//! The backend's part of the configuration space.

use super::nests::product;
use super::*;
use crate::cpu::{add_knobs, host_target, legal, settle};
use helion_ir::config::{Config, ConfigSpace, Knob, Slot};

const COPY: &str = "loops copy {
  symbol n
  param x: tensor f32[$n] contiguous
  param out: mut tensor f32[$n] contiguous
  header {
    %0: i64 = size $n
  }
  grid t for %1 in 0..%0
  body {
    nest {
      for %2 in 0..%0 (parallel)
      body {
        %3: f32 = load x[%2]
        store out[%2], %3
      }
    }
  }
}
";

fn function(text: &str) -> loops::Function {
    loops::parse(&renumber(text)).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn space(f: &loops::Function) -> ConfigSpace {
    let mut space = ConfigSpace::default();
    add_knobs(f, &mut space, &host_target());
    space
}

fn f32_product() -> loops::Function {
    function(&product(DType::F32, DType::F32, DType::F32, (false, false), ""))
}

#[test]
fn slots_exist_where_they_apply() {
    let has = |space: &ConfigSpace, knob| space.values(&Slot::kernel(knob)).is_some();
    let (copy, products) = (space(&function(COPY)), space(&f32_product()));
    for knob in [Knob::MicroRows, Knob::MicroVectors, Knob::Kc, Knob::Mc, Knob::Nc, Knob::Pack] {
        assert!(has(&products, knob) && !has(&copy, knob), "{knob:?}");
    }
    assert!(!has(&products, Knob::Stages));
    assert!(has(&copy, Knob::Unroll) && has(&copy, Knob::Stream));
    // Steps of the sum lie side by side in both operands, so that nothing has to be packed; or in neither.
    let transposed = |which| function(&product(DType::F32, DType::F32, DType::F32, which, ""));
    assert!(has(&space(&transposed((false, true))), Knob::Pack));
    assert!(!has(&space(&transposed((true, true))), Knob::Pack));
}

#[test]
fn defaults_are_the_same_as_nothing() {
    for f in [function(COPY), f32_product()] {
        let (mut settled, default) = (f.clone(), space(&f).default_config());
        default.check().unwrap();
        legal(&default, &host_target()).unwrap();
        settled.config = default;
        settle(&mut settled, &host_target());
        assert_eq!(settled, f);
    }
}

#[test]
fn what_changes_no_code_is_taken_out() {
    let settled = |mut f: loops::Function, config: &str| {
        f.config = config.parse::<Config>().unwrap();
        settle(&mut f, &host_target());
        f.config.to_string()
    };
    assert_eq!(settled(f32_product(), "threads=2 share=dynamic pack=left stages=3"), "pack=left");
    assert_eq!(settled(function(COPY), "micro_rows=3 kc=64 pack=left stages=3 unroll=2"), "unroll=2");
}

#[test]
fn register_tiles_must_fit() {
    let target = host_target();
    let fits = |text: &str| legal(&text.parse().unwrap(), &target);
    assert!(fits("micro_rows=4 micro_vectors=2").is_ok());
    let e = fits("micro_rows=31 micro_vectors=8").unwrap_err();
    assert!(e.contains("257 registers"), "{e}");
}

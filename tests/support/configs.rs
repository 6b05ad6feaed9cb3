//! Random configs of the whole space of a call's kernels.

use helion::prelude::*;
use helion::settings::Stage;
use helion_codegen::{cpu, schedule};
use helion_ir::config::ConfigSpace;
use helion_ir::tile;

/// Calls `f` under `count` random configs; each must succeed. Says how many configs there are, and that ran.
pub fn under_random_configs(name: &str, count: u64, mut f: impl FnMut() -> Result<()>) {
    let space = space(&mut f);
    let mut state = name.bytes().fold(7u64, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
    let mut random = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n.max(1)
    };
    let (mut ran, mut drawn) = (0, 0);
    while ran < count && drawn < 20 * count {
        drawn += 1;
        let mut config = Config::new();
        for (slot, values) in &space.slots {
            config.set(slot.clone(), values[random(values.len() as u64) as usize]);
        }
        // What the machine refuses is no config.
        if cpu::legal(&config, &cpu::host_target()).is_ok() {
            ran += 1;
            if let Err(error) = helion::runtime::with_config(&config, &mut f) {
                panic!("{name} with {config}: {error}");
            }
        }
    }
    println!("{name}: {} configs, {ran} ran, {drawn} drawn", space.len());
    assert!(ran == count, "{name}: most random configs are refused");
}

/// The slots that all kernels of a call have in common.
fn space(f: &mut impl FnMut() -> Result<()>) -> ConfigSpace {
    let target = cpu::host_target();
    let told = helion::runtime::explain(f).unwrap_or_else(|e| panic!("{e}"));
    let mut common: Option<ConfigSpace> = None;
    for report in told.reports {
        let text = report.stage(Stage::Tile).unwrap_or_default();
        let kernel = tile::verify(tile::parse(text).unwrap_or_else(|e| panic!("{e}"))).expect("verified before");
        let mut space = schedule::config_space(&kernel, &target);
        let plan = schedule::schedule(&kernel, &Config::new(), &target).expect("scheduled before");
        cpu::add_knobs(&plan, &mut space, &target);
        common = Some(match common {
            None => space,
            Some(mut c) => {
                c.slots.retain(|(slot, _)| space.values(slot).is_some());
                c
            }
        });
    }
    common.unwrap_or_default()
}

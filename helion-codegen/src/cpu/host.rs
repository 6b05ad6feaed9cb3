//! Facts about this machine, for the scheduler.

use helion_ir::target::{Speed, Target};
use std::sync::OnceLock;

/// What the scheduler needs to know of this machine. Cache sizes come from the system, with common sizes
/// where it does not say.
pub fn host_target() -> Target {
    let (name, vector_bytes, vector_registers) = vector_unit();
    let [l1_bytes, l2_bytes, l3_bytes] = caches();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let matrix = super::contract::has_matrix_unit();
    let name = if matrix { format!("{name} amx") } else { name.to_owned() };
    let speed = Speed { matrix_ops: if matrix { MATRIX_OPS } else { 0 }, ..Speed::default() };
    Target { name, vector_bytes, vector_registers, l1_bytes, l2_bytes, l3_bytes, cores, warp: 1, speed }
}

/// What AMX reaches of its 512, with operands from the second-level cache.
const MATRIX_OPS: u32 = 300;

/// Name, bytes and number of vector registers.
#[cfg(target_arch = "x86_64")]
fn vector_unit() -> (&'static str, u32, u32) {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
    {
        ("x86-64 avx512", 64, 32)
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        ("x86-64 avx2", 32, 16)
    } else {
        ("x86-64", 16, 16)
    }
}

/// Name, bytes and number of vector registers.
#[cfg(not(target_arch = "x86_64"))]
fn vector_unit() -> (&'static str, u32, u32) {
    (std::env::consts::ARCH, 16, 32)
}

/// Bytes of the data caches of level 1, 2 and 3.
pub(super) fn caches() -> [u64; 3] {
    static CACHES: OnceLock<[u64; 3]> = OnceLock::new();
    *CACHES.get_or_init(read_caches)
}

fn read_caches() -> [u64; 3] {
    let mut sizes = [32 << 10, 1 << 20, 16 << 20];
    for index in 0..8 {
        let read = |what: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}");
            std::fs::read_to_string(path).ok().map(|s| s.trim().to_owned())
        };
        let (Some(level), Some(kind), Some(size)) = (read("level"), read("type"), read("size")) else { continue };
        if kind == "Instruction" {
            continue;
        }
        if let (Ok(level @ 1..=3), Some(size)) = (level.parse::<usize>(), parse_size(&size)) {
            sizes[level - 1] = size;
        }
    }
    sizes
}

/// `32K`, `1M`, or a plain number of bytes.
fn parse_size(s: &str) -> Option<u64> {
    let (digits, unit) = s.split_at(s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len()));
    let scale = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok().filter(|n| *n > 0).map(|n| n * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse() {
        assert_eq!(parse_size("32K"), Some(32 << 10));
        assert_eq!(parse_size("1M"), Some(1 << 20));
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("what"), None);
    }

    #[test]
    fn host_is_plausible() {
        let t = host_target();
        assert!(t.l1_bytes <= t.l2_bytes && t.vector_bytes >= 16 && t.cores >= 1, "{t:?}");
    }
}

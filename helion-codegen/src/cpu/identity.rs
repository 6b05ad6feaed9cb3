//! Which processor this is: facts that tell one from another, for remembering what was measured on it.

/// Model, stepping and the features that compiled code may use. Cheap: asks the processor, reads no files where it can
/// be asked.
pub fn identity() -> Vec<(&'static str, String)> {
    let (model, stepping) = model();
    vec![("model", model), ("stepping", stepping), ("features", features().join(" "))]
}

/// The marketing name, and family, model and stepping as numbers.
#[cfg(target_arch = "x86_64")]
fn model() -> (String, String) {
    use std::arch::x86_64::__cpuid;
    let mut name = Vec::new();
    // Every processor with 64-bit registers has these leaves. In a virtual machine each costs microseconds, so those
    // after the end of the name are not asked for.
    for leaf in 0x8000_0002..=0x8000_0004 {
        let r = __cpuid(leaf);
        name.extend([r.eax, r.ebx, r.ecx, r.edx].iter().flat_map(|w| w.to_le_bytes()));
        if let Some(end) = name.iter().position(|b| *b == 0) {
            name.truncate(end);
            break;
        }
    }
    let name = String::from_utf8_lossy(&name).split_whitespace().collect::<Vec<_>>().join(" ");
    let id = __cpuid(1).eax;
    let (family, model) = ((id >> 8 & 15) + (id >> 20 & 255), (id >> 4 & 15) | (id >> 16 & 15) << 4);
    (name, format!("{family}-{model}-{}", id & 15))
}

/// What the system says: the first lines about a processor that name its parts.
#[cfg(not(target_arch = "x86_64"))]
fn model() -> (String, String) {
    use std::io::Read as _;
    // One processor's lines; the file has as many such parts as there are processors.
    let mut text = Vec::new();
    let _ = std::fs::File::open("/proc/cpuinfo").and_then(|f| f.take(4096).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text).into_owned();
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.split_once(':').filter(|(n, _)| n.trim() == name));
        line.map(|(_, v)| v.trim().to_owned())
    };
    let parts = ["CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision"];
    let stepping: Vec<String> = parts.iter().filter_map(|p| field(p)).collect();
    (field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()), stepping.join("-"))
}

/// Those of the instruction set extensions that matter here which the processor and the system have.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    macro_rules! have {
        ($($name:tt)*) => { [$(($name, is_x86_feature_detected!($name))),*] };
    }
    let all = have!("sse4.2" "avx" "avx2" "fma" "f16c" "bmi2" "avx512f" "avx512dq" "avx512bw" "avx512vl" "avx512vnni"
        "avx512vbmi" "avx512bf16" "avx512fp16" "avxvnni");
    all.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

/// The architecture decides; nothing is asked.
#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_processor_has_a_name() {
        let facts = identity();
        assert!(facts.iter().all(|(name, _)| !name.is_empty()) && !facts[0].1.is_empty(), "{facts:?}");
        assert_eq!(facts, identity());
    }
}

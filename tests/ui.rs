//! Mistakes in kernels and what the user reads: `tests/ui/*.rs` must fail to compile with exactly the
//! messages beside them. `TRYBUILD=overwrite cargo test --test ui` rewrites the expectations.
//!
//! What must compile is in the other tests of the language.

use std::fs;
use std::path::PathBuf;

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

/// Texts of the cases with extension `ext`.
fn cases(ext: &str) -> Vec<(PathBuf, String)> {
    let dir = fs::read_dir("tests/ui").unwrap_or_else(|e| panic!("tests/ui: {e}"));
    let paths = dir.filter_map(|e| e.ok().map(|e| e.path()));
    let paths = paths.filter(|p| p.extension().is_some_and(|e| e == ext));
    paths.map(|p| (p.clone(), fs::read_to_string(&p).unwrap_or_default())).collect()
}

/// Names of ours that mean nothing to a user.
const INTERNAL: &[&str] = &[
    "__m",
    "ValueId",
    "ParamId",
    "lang::",
    "IntoCarry",
    "AnyVar",
    "DeviceStore",
    "DeviceIndex",
    "ScalarOperand",
    "SizeOperand",
    "Stored<",
    "Operand<",
    "MaskFor",
    "ChosenBy",
    "Choice<",
    "Captured<",
    "TensorIndex",
    "AxisIndex",
    "HostDomain",
    "DeviceDomain",
    "ByDevice",
    "ByHost",
    "Decide",
    "src/lang",
    "src/runtime",
    "__launch",
];

/// A message does not talk about the library's insides. Lines that rustc adds on its own and that we
/// cannot influence are allowed, if the message itself, its label and our notes come first.
#[test]
fn messages_show_no_internals() {
    let mut found = Vec::new();
    for (path, text) in cases("stderr") {
        for line in text.lines().filter(|l| l.starts_with("error") || l.contains("= note: ") || l.contains('^')) {
            // rustc's own account of the bound that failed.
            if line.contains("required for `") || line.contains("expected fn pointer") || line.contains("required by") {
                continue;
            }
            for name in INTERNAL {
                if line.contains(name) {
                    found.push(format!("{}: `{name}` in: {line}", path.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_case_has_its_messages() {
    let count = cases("rs").len();
    assert!(count >= 60, "only {count} cases");
    assert_eq!(count, cases("stderr").len());
}

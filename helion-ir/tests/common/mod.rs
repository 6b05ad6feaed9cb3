//! A small deterministic generator of random choices.

use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::dtype::Literal;
use helion_ir::tile::{Dim, Param, ParamKind};

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `n` (which is not 0).
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    /// One of several.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// Changes a text at one to four places: characters, words and lines are dropped, doubled, swapped or replaced.
pub fn mutate(rng: &mut Rng, text: &str) -> String {
    const PIECES: &[&str] = &[
        "%",
        "%0",
        "%1",
        "%99999999999",
        "%7.x",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "=",
        "\"",
        "@",
        "@a:1:2",
        "..",
        "\\",
        ";",
        "$",
        "#",
        "&",
        "_",
        "-",
        "0x",
        "1e999",
        "18446744073709551615",
        "18446744073709551616",
        "nan",
        "inf",
        "true",
        "i64",
        "f32",
        "bool",
        "f8e4m3",
        "const i64 -1",
        "if %1 {",
        "for",
        "nest {",
        "contract",
        "where",
        "else",
        "take",
        "yield",
        "header {",
        "unused %3: f32",
        "é",
        "\u{0}",
        "\n",
        "reduce",
        "expr(0)",
        "min(",
        "(reduce)",
        "step",
    ];
    let mut chars: Vec<char> = text.chars().collect();
    if rng.one_in(2) {
        // One or two digits change: most such texts parse, and name other values, axes, types, sizes.
        let digits: Vec<usize> = (0..chars.len()).filter(|i| chars[*i].is_ascii_digit()).collect();
        for _ in 0..1 + rng.below(2) {
            if !digits.is_empty() {
                chars[rng.pick(&digits)] = rng.pick(&['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
            }
        }
        return chars.into_iter().collect();
    }
    for _ in 0..rng.pick(&[1, 1, 1, 2, 4]) {
        let at = rng.below(chars.len() + 1);
        let len = rng.pick(&[1, 1, 1, 2, 5, 20, 80]).min(chars.len() - at);
        let to = rng.below(chars.len() + 1);
        match rng.below(5) {
            0 => drop(chars.drain(at..at + len)),
            1 => {
                let copy: Vec<char> = chars[at..at + len].to_vec();
                chars.splice(to..to, copy);
            }
            2 => {
                let moved: Vec<char> = chars.drain(at..at + len).collect();
                let to = to.min(chars.len());
                chars.splice(to..to, moved);
            }
            3 => drop(chars.splice(at..at, rng.pick(PIECES).chars())),
            _ => drop(chars.splice(at..at + len, rng.pick(PIECES).chars())),
        }
    }
    chars.into_iter().collect()
}

/// The cases of the file tests with an extension.
pub fn cases(extension: &str) -> Vec<String> {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files")).unwrap();
    let mut paths: Vec<_> = folder.map(|f| f.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == extension));
    paths.sort();
    let texts = paths.iter().map(|p| std::fs::read_to_string(p).unwrap());
    texts
        .flat_map(|t| t.split("; test: ").map(str::to_owned).collect::<Vec<_>>())
        .filter(|c| c.contains('{'))
        .map(|c| format!("; {c}"))
        .collect()
}

/// Small arguments for parameters; `None` where their extents are not small.
pub fn arguments(of: &[Param], symbols: usize) -> Option<Args> {
    let symbols = vec![3; symbols];
    let mut params = Vec::new();
    for p in of {
        params.push(match &p.kind {
            ParamKind::Scalar { dtype } => Arg::Scalar(Literal::from_i64(*dtype, 2)),
            ParamKind::Tensor { dtype, dims, .. } => {
                let dims: Vec<u64> = dims.iter().map(|d| if let Dim::Const(n) = d { *n } else { 3 }).collect();
                dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| *n < 10_000)?;
                Arg::Tensor(TensorArg::zeros(*dtype, &dims))
            }
        });
    }
    Some(Args { params, symbols })
}

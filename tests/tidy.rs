//! Rules of the house that a compiler does not check, one test each.
//!
//! Every test walks the sources of the workspace and lists each place that breaks its rule, with what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use helion_ir::config::{Knob, Scope};

/// The longest a source file may be.
const MAX_LINES: usize = 900;

/// Names of instruction sets, code generators and vendors. They belong into a backend's folder.
const BACKEND_WORDS: &str = "avx avx2 avx512 sse sse2 neon x86 x86_64 aarch64 cranelift clif iced ptx nvptx llvm \
                             inkwell cuda zmm ymm xmm";

/// One text file of the repository.
struct File {
    /// Path from the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
    /// Inputs of tests whose first lines and words are part of the test.
    fn is_ui_case(&self) -> bool {
        self.path.starts_with("tests/ui/")
    }
    /// Lines of code with their numbers, comments and the contents of plain string literals blanked.
    fn code(&self) -> Vec<(usize, String)> {
        let mut in_block = false;
        let strip = |(i, line): (usize, &str)| (i + 1, strip_line(line, &mut in_block));
        self.text.lines().enumerate().map(strip).collect()
    }
}

/// The root of the workspace.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository, generated folders left out.
fn files() -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    assert!(found.len() > 20, "the walk found only {} files", found.len());
    found
}

fn walk(dir: &Path, found: &mut Vec<File>) {
    for entry in fs::read_dir(dir).expect("a readable folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".git") || name == ".gpu-tools" {
            continue;
        }
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".venv" | "models" | "__pycache__") {
                walk(&path, found);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
            found.push(File { path, text });
        }
    }
}

/// Removes comments, and what stands between double quotes, from one line.
fn strip_line(line: &str, in_block: &mut bool) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match (c, next) {
            ('*', Some('/')) if *in_block => {
                chars.next();
                *in_block = false;
            }
            _ if *in_block => {}
            ('\\', Some(_)) if in_string => {
                chars.next();
            }
            ('"', _) => in_string = !in_string,
            _ if in_string => {}
            ('\'', Some('"')) => {
                chars.next();
                chars.next();
            }
            ('/', Some('/')) => break,
            ('/', Some('*')) => {
                chars.next();
                *in_block = true;
            }
            _ => out.push(c),
        }
    }
    out
}

/// The words of a line: maximal runs of letters, digits and `_`.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty())
}

/// Whether a word names a backend, also as a part of a longer name (`Avx512Emitter`, `emit_avx2`).
fn names_backend(word: &str) -> bool {
    let mut parts = String::new();
    for (i, c) in word.char_indices() {
        if c.is_uppercase() && i > 0 {
            parts.push('_');
        }
        parts.extend(c.to_lowercase());
    }
    let banned = |w: &str| BACKEND_WORDS.split_whitespace().any(|b| b == w);
    parts.split('_').any(banned) || banned(&word.to_lowercase())
}

/// Fails with the list of places.
fn report(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{rule}:\n  {}\n", places.join("\n  "));
}

#[test]
fn every_source_file_opens_with_a_header() {
    let bad: Vec<_> = files()
        .iter()
        .filter(|f| f.is_rust() && !f.is_ui_case() && !f.text.trim_start().starts_with("//!"))
        .map(|f| f.path.clone())
        .collect();
    report("a file opens with `//!`: what comes in, what goes out, what then holds", &bad);
}

#[test]
fn no_source_file_is_too_long() {
    let bad: Vec<_> = files()
        .iter()
        .filter(|f| f.is_rust() && f.text.lines().count() > MAX_LINES)
        .map(|f| format!("{}: {} lines", f.path, f.text.lines().count()))
        .collect();
    report(&format!("a file has at most {MAX_LINES} lines; split it by subject"), &bad);
}

#[test]
fn backends_are_named_only_in_their_folders() {
    // Schedule, passes and both IRs may not even mention a backend in a comment.
    let silent =
        ["helion-codegen/src/schedule/", "helion-codegen/src/passes/", "helion-ir/src/loops/", "helion-ir/src/tile/"];
    // The rest of these crates, and the front end, may not in code.
    let code_only = ["helion-ir/src/", "helion-autotune/src/", "helion-macros/src/", "src/lang/"];
    let mut bad = Vec::new();
    for f in files().iter().filter(|f| f.is_rust()) {
        let is_silent = silent.iter().any(|p| f.path.starts_with(p));
        if is_silent {
            for (i, line) in f.text.lines().enumerate() {
                bad.extend(words(line).filter(|w| names_backend(w)).map(|w| format!("{}:{}: `{w}`", f.path, i + 1)));
            }
        } else if code_only.iter().any(|p| f.path.starts_with(p)) {
            for (i, line) in f.code() {
                bad.extend(words(&line).filter(|w| names_backend(w)).map(|w| format!("{}:{i}: `{w}`", f.path)));
            }
        }
    }
    report("only a backend's own folder names it; ask `Target` for facts instead", &bad);
}

#[test]
fn no_crate_edge_points_back() {
    let allowed: &[(&str, &[&str])] = &[
        ("helion-macros", &[]),
        ("helion-ir", &[]),
        ("helion-codegen", &["helion-ir"]),
        ("helion-autotune", &["helion-ir"]),
        ("helion-cli", &["helion", "helion-autotune"]),
        ("helion-ptx-interp", &[]),
        ("helion", &["helion-macros", "helion-ir", "helion-codegen", "helion-autotune"]),
    ];
    // Tools of tests: any crate's tests may use them, no crate itself.
    let tools = ["helion-ptx-interp"];
    let mut bad = Vec::new();
    for (krate, edges) in allowed {
        let path = if *krate == "helion" { "Cargo.toml".to_string() } else { format!("{krate}/Cargo.toml") };
        let text = fs::read_to_string(root().join(&path)).expect("a manifest");
        let mut section = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_string();
            }
            let is_edge = section.ends_with("dependencies") && !section.starts_with("workspace");
            let name = line.split(['.', '=', ' ']).next().unwrap_or("");
            if is_edge
                && name.starts_with("helion")
                && name != *krate
                && !edges.contains(&name)
                && !(section == "dev-dependencies" && tools.contains(&name))
            {
                bad.push(format!("{path}: {krate} depends on {name}"));
            }
        }
    }
    report("crates depend on each other only as ARCHITECTURE.md says", &bad);
}

#[test]
fn nothing_is_left_to_do() {
    // Built from halves so that this file does not contain them.
    let marks = [["to", "do!"], ["unimplemen", "ted!"], ["FIX", "ME"], ["XX", "X:"], ["dbg", "!("]].map(|h| h.concat());
    let mut bad = Vec::new();
    for f in files().iter().filter(|f| f.is_rust() && !f.is_ui_case()) {
        for (i, line) in f.text.lines().enumerate() {
            bad.extend(
                marks.iter().filter(|m| line.contains(m.as_str())).map(|m| format!("{}:{}: {m}", f.path, i + 1)),
            );
        }
    }
    report("write it or return an error", &bad);
}

#[test]
fn every_knob_says_what_it_does() {
    let mut bad = Vec::new();
    for knob in Knob::ALL {
        if knob.doc().len() < 60 || !knob.doc().contains('.') {
            bad.push(format!("{}: say what it means, when it applies, what it costs and buys", knob.key()));
        }
    }
    let keys: BTreeSet<_> = Knob::ALL.iter().map(|k| k.key()).collect();
    assert_eq!(keys.len(), Knob::ALL.len(), "two knobs share a key");
    report("knobs", &bad);
}

/// The page of settings and knobs is made from the tables in the sources; `HELION_BLESS=1` rewrites it.
#[test]
fn the_page_of_settings_and_knobs_is_current() {
    let mut page = String::from(
        "# Settings and knobs\n\nWritten by `HELION_BLESS=1 cargo test --test tidy` from the tables in the sources.\n\n\
         ## Settings\n\nRead once from the environment; `helion::settings` sets them from code.\n\n\
         | variable | default | meaning |\n|---|---|---|\n",
    );
    for (variable, default, doc) in helion::settings::ALL {
        page += &format!("| `{variable}` | {default} | {doc} |\n");
    }
    page += "\n## Knobs\n\nWhat a `Config` can pin, as in `block.tm=64 unroll=2`. What it does not mention is chosen for it.\n\n| key | values | meaning |\n|---|---|---|\n";
    for knob in Knob::ALL {
        let of = match knob.scope() {
            Scope::Kernel => "",
            Scope::Tile => ".tile",
            Scope::Tunable => ".name",
        };
        page += &format!("| `{}{of}` | {} | {} |\n", knob.key(), knob.domain(), knob.doc());
    }
    let path = root().join("docs/settings.md");
    if std::env::var_os("HELION_BLESS").is_some() {
        fs::create_dir_all(root().join("docs")).expect("a folder");
        fs::write(&path, &page).expect("a writable page");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == page, "docs/settings.md is out of date: HELION_BLESS=1 cargo test --test tidy");
}

/// Everything a user reads beside the reference of the crate.
fn documentation() -> String {
    files().iter().filter(|f| f.path.ends_with(".md")).map(|f| f.text.as_str()).collect()
}

#[test]
fn every_setting_is_documented() {
    let docs = documentation();
    let mut settings = BTreeSet::new();
    for f in files().iter().filter(|f| f.is_rust()) {
        for word in words(&f.text) {
            if word.starts_with("HELION_") && word.len() > 8 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            {
                settings.insert(word.trim_end_matches('_').to_string());
            }
        }
    }
    let bad: Vec<_> = settings.into_iter().filter(|s| !docs.contains(s.as_str())).collect();
    report("each environment variable that the sources read is explained in a page", &bad);
}

#[test]
fn pages_and_sources_speak_only_of_the_project() {
    // Built from halves so that this file does not contain them.
    let banned = [
        ["ses", "sion"],
        ["assis", "tant"],
        ["sub", "agent"],
        ["cla", "ude"],
        ["anthro", "pic"],
        ["chat", "gpt"],
        ["co", "pilot"],
        ["/wo", "rk/"],
        ["/ho", "me/"],
        ["/ro", "ot/"],
        ["/Us", "ers/"],
        ["CONT", "RACT.md"],
    ]
    .map(|h| h.concat().to_lowercase());
    // What onnxruntime calls a loaded model is part of its interface.
    let names = ["Inference{}", "{}Options", "add_{}_config_entry", "{}.force_spinning_stop"];
    let names = names.map(|n| n.replace("{}", &banned[0]).to_lowercase());
    let mut bad = Vec::new();
    for f in files().iter().filter(|f| !f.path.starts_with("tests/fixtures/") && f.path != "Cargo.lock") {
        for (i, line) in f.text.lines().enumerate() {
            let lower = names.iter().fold(line.to_lowercase(), |line, name| line.replace(name, ""));
            bad.extend(
                banned.iter().filter(|b| lower.contains(b.as_str())).map(|b| format!("{}:{}: {b}", f.path, i + 1)),
            );
        }
    }
    report("say it without these words, and without paths of one machine", &bad);
}

/// Matches that ask about a few operations (is it a load?) and may answer "no" for a new one. The number only
/// goes down.
const QUESTIONS: usize = 31;

#[test]
fn matches_on_operations_are_complete() {
    // Types whose new variant must show every place that has to decide.
    let enums = ["Op", "UnaryOp", "BinaryOp", "ReduceOp", "AtomicOp", "Stmt", "Index", "ParamKind", "Mem", "Knob"];
    let mut found = Vec::new();
    for f in files().iter().filter(|f| f.is_rust() && f.path.contains("src/") && !f.path.starts_with("helion-macros")) {
        let flat: String = f.code().iter().map(|(_, l)| format!("{l}\n")).collect();
        for at in wildcard_arms(&flat, &enums) {
            found.push(format!("{}:{}", f.path, flat[..at].matches('\n').count() + 1));
        }
    }
    if found.len() > QUESTIONS {
        report("a match on operations lists them all, without `_`, so that a new one shows this place", &found);
    }
}

/// Where a `_ =>` arm stands in a match whose other arms begin with one of the enums.
fn wildcard_arms(code: &str, enums: &[&str]) -> Vec<usize> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("match ") {
        let boundary = code[..start].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let Some(open) = code[start..].find('{').map(|o| start + o) else { continue };
        if !boundary {
            continue;
        }
        let arms = arms_of(code, open);
        let ours = |p: &str| enums.iter().any(|e| p.starts_with(&format!("{e}::")) || p.contains(&format!("::{e}::")));
        if arms.iter().filter(|(_, p)| ours(p.trim_start_matches('&'))).count() >= 2 {
            found.extend(arms.iter().filter(|(_, p)| p == "_").map(|(at, _)| *at));
        }
    }
    found
}

/// The patterns of the arms of the match whose body opens at `open`.
fn arms_of(code: &str, open: usize) -> Vec<(usize, String)> {
    let (mut depth, mut arms, mut start) = (0usize, Vec::new(), open + 1);
    let bytes = code.as_bytes();
    let mut in_pattern = true;
    for i in open..bytes.len() {
        match bytes[i] {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return arms;
                }
                if depth == 1 && bytes[i] == b'}' && !in_pattern {
                    (in_pattern, start) = (true, i + 1);
                }
            }
            b',' if depth == 1 && !in_pattern => (in_pattern, start) = (true, i + 1),
            b'=' if depth == 1 && in_pattern && bytes.get(i + 1) == Some(&b'>') => {
                let pattern = code[start..i].trim().trim_start_matches(',').trim();
                arms.push((start + code[start..i].find(pattern).unwrap_or(0), pattern.to_string()));
                in_pattern = false;
            }
            _ => {}
        }
    }
    arms
}

#[test]
fn the_wildcard_check_sees_wildcards() {
    let bad = "match op { Op::A => 1, Op::B { x } => { 2 } _ => 3, }";
    assert_eq!(wildcard_arms(bad, &["Op"]).len(), 1);
    let good = "match op { Op::A | Op::C => 1, Op::B(_) => match x { 1 => 2, _ => 3 }, Op::D => 4 }";
    assert_eq!(wildcard_arms(good, &["Op"]).len(), 0);
}

//! The `helion` command: what this machine has and lacks, and what tuning remembered.
//!
//! In: arguments. Out: text on standard output, complaints on standard error, and an exit code: 0 when all is well, 1
//! when something is wrong or was not found, 2 when the arguments make no sense.

mod cache;
mod doctor;

use lexopt::prelude::*;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Looks after helion on this machine.

Usage: helion <command> [options]

Commands:
  doctor          What this machine has: processor, threads, memory, the cache folder; what is missing
                  and how to get it. Compiles and checks a small kernel.
  cache list      Records of tuned kernels, one line each
  cache show      What records say: every tuned size with its config and times
  cache export    Records as one text that can be committed, and embedded with `include_str!`
  cache import    Adds the records of exported texts; of two points at the same sizes the later found stays
  cache verify    Reads every file and tells which are damaged
  cache clear     Removes records

`helion <command> --help` tells more.

Options:
  -h, --help      Print this
  -V, --version   Print the version

Exit codes: 0 all is well; 1 something is wrong, or was not found; 2 the arguments make no sense.
";

const CACHE_HELP: &str = "\
What tuning remembered.

Usage: helion cache list   [KERNEL…] [--here]
       helion cache show   [KERNEL…] [--here]
       helion cache export [KERNEL…] [--here] [-o FILE]
       helion cache import FILE…
       helion cache verify
       helion cache clear  [KERNEL…] [--here]

A KERNEL is a kernel's name, or the first digits of a record's key as `list` shows them. Without any, all
records are meant. `import -` reads standard input.

Options:
      --here        Only records of this device and this version of helion. The others are never used here.
      --dir FOLDER  The cache folder. Default: HELION_CACHE_DIR, or `helion` in the user's cache folder
  -o, --output FILE Write there instead of to standard output
  -h, --help        Print this
";

const DOCTOR_HELP: &str = "\
Tells what this machine has and what is missing.

Usage: helion doctor [--dir FOLDER]

Lines that begin with `problem:` say what keeps helion from working well, and what to do; with any, the exit
code is 1. Lines that begin with `hint:` say what could be better.

Options:
      --dir FOLDER  The cache folder. Default: HELION_CACHE_DIR, or `helion` in the user's cache folder
  -h, --help        Print this
";

/// What the arguments ask for.
#[derive(Debug, Default)]
struct Options {
    /// Words that are no options.
    words: Vec<String>,
    dir: Option<PathBuf>,
    output: Option<PathBuf>,
    here: bool,
    help: bool,
    version: bool,
}

/// Why a command did not do what was asked.
enum Failure {
    /// The arguments make no sense.
    Usage(String),
    /// Something is wrong.
    Wrong(String),
}

impl Failure {
    fn wrong(what: impl fmt::Display) -> Failure {
        Failure::Wrong(what.to_string())
    }
}

/// What a command prints, and whether all is well.
struct Done {
    text: String,
    well: bool,
}

impl From<String> for Done {
    fn from(text: String) -> Done {
        Done { text, well: true }
    }
}

fn main() -> ExitCode {
    // Programs that tune on a GPU start this command with a task; it does not come back from here then.
    #[cfg(unix)]
    helion::tuning::worker(["worker"]);
    match options().and_then(run) {
        Ok(done) => {
            // Who reads may have seen enough, as `head` does.
            let _ = std::io::stdout().write_all(done.text.as_bytes());
            if done.well { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(Failure::Wrong(text)) => {
            eprintln!("error: {text}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(text)) => {
            eprintln!("error: {text}\n`helion --help` tells what there is");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, Failure> {
    let mut o = Options::default();
    let mut parser = lexopt::Parser::from_env();
    let usage = |e: lexopt::Error| Failure::Usage(e.to_string());
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => o.help = true,
            Short('V') | Long("version") => o.version = true,
            Short('o') | Long("output") => o.output = Some(parser.value().map_err(usage)?.into()),
            Long("dir") => o.dir = Some(parser.value().map_err(usage)?.into()),
            Long("here") => o.here = true,
            Value(word) => o.words.push(word.string().map_err(usage)?),
            other @ (Short(_) | Long(_)) => return Err(usage(other.unexpected())),
        }
    }
    Ok(o)
}

fn run(o: Options) -> Result<Done, Failure> {
    let words: Vec<&str> = o.words.iter().map(String::as_str).collect();
    if o.version {
        return Ok(format!("helion {}\n", env!("CARGO_PKG_VERSION")).into());
    }
    if o.help {
        let text = match words.first() {
            Some(&"cache") => CACHE_HELP,
            Some(&"doctor") => DOCTOR_HELP,
            Some(_) | None => HELP,
        };
        return Ok(text.to_owned().into());
    }
    let allowed = |here: bool, output: bool| match (o.here && !here, o.output.is_some() && !output) {
        (true, _) => Err(Failure::Usage(format!("`{}` takes no `--here`", words.join(" ")))),
        (_, true) => Err(Failure::Usage(format!("`{}` takes no `--output`", words.join(" ")))),
        (false, false) => Ok(()),
    };
    match words[..] {
        [] => Err(Failure::Usage("a command is needed: `doctor` or `cache`".into())),
        ["doctor"] => allowed(false, false).map(|()| doctor::examine(o.dir.as_deref())),
        ["doctor", more, ..] => Err(Failure::Usage(format!("`doctor` takes no `{more}`"))),
        ["cache"] => Err(Failure::Usage("`cache` needs one of list, show, export, import, verify, clear".into())),
        ["cache", what, ref names @ ..] => {
            let folder = cache::folder(o.dir.as_deref())?;
            let chosen = cache::Chosen { names, here: o.here };
            match what {
                "list" => allowed(true, false).and_then(|()| cache::list(&folder, chosen)),
                "show" => allowed(true, false).and_then(|()| cache::show(&folder, chosen)),
                "export" => allowed(true, true).and_then(|()| cache::export(&folder, chosen, o.output.as_deref())),
                "clear" => allowed(true, false).and_then(|()| cache::clear(&folder, chosen)),
                "import" => allowed(false, false).and_then(|()| cache::import(&folder, names)),
                "verify" if names.is_empty() => allowed(false, false).and_then(|()| cache::verify(&folder)),
                "verify" => Err(Failure::Usage("`cache verify` reads all files; it takes no names".into())),
                other => Err(Failure::Usage(format!("`cache` has no `{other}`"))),
            }
        }
        ["worker", ..] => Err(Failure::Usage("`worker` is started by programs that tune on a GPU".into())),
        [other, ..] => Err(Failure::Usage(format!("`{other}` is not a command"))),
    }
}

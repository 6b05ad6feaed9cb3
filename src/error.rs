//! What can go wrong, as one type.
//!
//! Mistakes of the caller (sizes, ranks, views, files) and of a kernel (diagnostics) come out as an
//! [`Error`]; nothing in this crate panics on bad input. `Display` is the whole message, ready to print.

use helion_ir::Diagnostic;
use std::fmt;
use std::sync::Arc;

/// The result of a call into this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Cheap to clone; an error found while compiling is reported by every later call.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Arc<Kind>);

/// The kinds of errors, for callers that want to tell them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A condition of the kernel's own host code does not hold (`ensure!`).
    Check(String),
    /// Sizes, ranks, ranges or strides that make no sense.
    Shape(String),
    /// A tensor cannot be written by this launch.
    Access(String),
    /// Memory could not be had, on the host or on a device.
    Memory(String),
    /// A file could not be read or is not what it should be.
    File(String),
    /// A device is missing or not supported by this build, or a tensor is on the wrong one.
    Device(String),
    /// The driver of a device refused a call; others may work.
    Driver {
        /// The driver's code, as in `cuda.h`.
        code: u32,
        /// The call and what the code means.
        text: String,
    },
    /// What this process had on a device is lost, by an illegal access of a kernel for example. Everything else that
    /// uses the device fails with the same error.
    Lost {
        /// The driver's code, as in `cuda.h`.
        code: u32,
        /// The call and what the code means.
        text: String,
    },
    /// A setting or config has an illegal value.
    Setting(String),
    /// The kernel is wrong.
    Kernel {
        /// Its name.
        kernel: String,
        /// Every mistake found.
        diagnostics: Vec<Diagnostic>,
    },
    /// The compiler failed on a correct kernel: a bug of ours.
    Internal(String),
}

macro_rules! makers {
    ($($name:ident $kind:ident $doc:literal;)*) => {$(
        #[doc = $doc]
        pub fn $name(text: impl fmt::Display) -> Error { Error(Arc::new(Kind::$kind(text.to_string()))) }
    )*};
}

impl Error {
    makers! {
        check Check "A condition of the caller that does not hold; what `ensure!` returns.";
        shape Shape "Sizes, ranks, ranges or strides that make no sense.";
        access Access "A tensor that cannot be written here.";
        memory Memory "Memory that could not be had.";
        file File "A file that cannot be used.";
        device Device "A device that cannot be used.";
        setting Setting "A setting or config with an illegal value.";
        internal Internal "A bug of ours.";
    }
    /// A call that a device's driver refused.
    pub fn driver(code: u32, text: impl fmt::Display) -> Error {
        Error(Arc::new(Kind::Driver { code, text: text.to_string() }))
    }
    /// A device that this process cannot use any more.
    pub fn lost(code: u32, text: impl fmt::Display) -> Error {
        Error(Arc::new(Kind::Lost { code, text: text.to_string() }))
    }
    /// Mistakes in a kernel.
    pub fn kernel(kernel: &str, diagnostics: Vec<Diagnostic>) -> Error {
        Error(Arc::new(Kind::Kernel { kernel: kernel.to_owned(), diagnostics }))
    }
    /// What kind of error this is.
    pub fn kind(&self) -> &Kind {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Check(t)
            | Kind::Shape(t)
            | Kind::Access(t)
            | Kind::Memory(t)
            | Kind::File(t)
            | Kind::Device(t)
            | Kind::Driver { text: t, .. }
            | Kind::Lost { text: t, .. }
            | Kind::Setting(t) => f.write_str(t),
            Kind::Kernel { kernel, diagnostics } => {
                write!(f, "kernel `{kernel}` does not compile\n{}", helion_ir::diag::render(diagnostics))
            }
            Kind::Internal(t) => write!(f, "{t}\n  help: this is a bug in helion; please report it with the kernel"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<helion_ir::config::ParseError> for Error {
    fn from(e: helion_ir::config::ParseError) -> Error {
        Error::setting(format!("config: {e}"))
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        Error::file(e)
    }
}

/// Returns an [`Error`] from the enclosing function unless a condition holds.
///
/// ```
/// # fn f(k: usize, kb: usize) -> helion::Result<()> {
/// helion::ensure!(k == kb, "inner dimensions differ: {k} and {kb}");
/// # Ok(()) }
/// # assert_eq!(f(1, 2).unwrap_err().to_string(), "inner dimensions differ: 1 and 2");
/// ```
#[macro_export]
macro_rules! ensure {
    ($cond:expr $(,)?) => {
        if !$cond {
            return ::core::result::Result::Err(
                $crate::Error::check(::core::concat!("condition does not hold: ", ::core::stringify!($cond))).into(),
            );
        }
    };
    ($cond:expr, $($text:tt)+) => {
        if !$cond {
            return ::core::result::Result::Err($crate::Error::check(::core::format_args!($($text)+)).into());
        }
    };
}

//! What the pipeline asks of a backend.
//!
//! In: loop IR after the passes. Out: a kernel of the backend's own kind. A backend's options are the backend: a value
//! that implements [`Backend`] says how to compile, and for which device. Everything before it asks the
//! [`Target`] for facts.

use helion_ir::config::{Config, ConfigSpace};
use helion_ir::loops::Function;
use helion_ir::target::Target;
use std::fmt;

/// A code generator with its options.
pub trait Backend {
    /// What it makes.
    type Kernel: fmt::Debug;

    /// Whether the values of a config fit the device.
    ///
    /// # Errors
    /// What does not, in words.
    fn legal(&self, config: &Config, target: &Target) -> Result<(), String>;

    /// Adds the slots of the backend's own knobs that apply to a kernel scheduled with its default config.
    fn add_knobs(&self, f: &Function, space: &mut ConfigSpace, target: &Target);

    /// Takes out of a function's config what changes nothing in its code, so that functions that print alike have
    /// the same code.
    fn settle(&self, f: &mut Function, target: &Target);

    /// Makes code.
    ///
    /// # Errors
    /// The function breaks a rule of the loop IR, or there is no code generator, in words.
    fn compile(&self, f: &Function) -> Result<Self::Kernel, String>;
}

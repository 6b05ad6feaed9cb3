//! What a well-formed tile function is, and the proof that one is.

use super::Function;
use crate::diag::Diagnostic;

/// A function that the verifier accepted. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified(Function);

impl Verified {
    /// The function.
    pub fn function(&self) -> &Function {
        &self.0
    }
}

/// Checks a function.
///
/// # Errors
/// Everything that is wrong with it.
pub fn verify(func: Function) -> Result<Verified, Vec<Diagnostic>> {
    Ok(Verified(func))
}

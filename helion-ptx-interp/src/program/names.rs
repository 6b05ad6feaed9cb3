//! What names mean: nested scopes of registers, variables and labels.

use crate::program::inst::Reg;
use crate::syntax::ast::{Function, Space, Ty, Variable};
use std::collections::HashMap;

/// What a name in a body stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Binding {
    Reg(Reg, Ty),
    /// A place in the shared, local or parameter space.
    Place {
        space: Space,
        offset: u64,
    },
    /// Shared memory whose size a launch chooses.
    Dynamic,
}

/// One pair of braces.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    /// Which label table belongs to it.
    pub id: usize,
    pub names: HashMap<&'a str, Binding>,
    /// `%r<4>`: the registers whose name is a prefix and a number. They are made when first named.
    pub ranges: HashMap<&'a str, (u32, Ty)>,
}

impl<'a> Scope<'a> {
    pub fn new(id: usize) -> Scope<'a> {
        Scope { id, names: HashMap::new(), ranges: HashMap::new() }
    }

    /// The type of a register that a range declares.
    pub fn ranged(&self, name: &str) -> Option<Ty> {
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let (count, ty) = self.ranges.get(prefix)?;
        let index: u32 = name[prefix.len()..].parse().ok()?;
        (index < *count).then_some(*ty)
    }
}

/// Where labels of a scope stand, and the scope around it in the same body.
#[derive(Debug, Default)]
pub(crate) struct Labels<'a> {
    pub parent: Option<usize>,
    pub places: HashMap<&'a str, u32>,
    pub targets: HashMap<&'a str, Vec<&'a str>>,
}

/// The declarations of a module.
#[derive(Debug, Default)]
pub(crate) struct Globals<'m, 'a> {
    pub variables: HashMap<&'a str, &'m Variable<'a>>,
    pub functions: HashMap<&'a str, &'m Function<'a>>,
}

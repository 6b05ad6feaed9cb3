//! The functions of a kernel that Cranelift does not compile: vector programs and packing helpers.

use super::vector::ir::Program;

/// Called as `extern "C" fn(slots: *mut u64, n: u64)`.
#[derive(Debug, Default)]
pub(super) struct Programs {
    list: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    /// A precompiled function of this crate.
    Helper { name: &'static str, address: usize },
}

impl Programs {
    /// The index of a precompiled function.
    pub(super) fn helper(&mut self, name: &'static str, address: usize) -> u32 {
        let found = self.list.iter().position(|e| match e {
            Entry::Helper { address: a, .. } => *a == address,
        });
        found.unwrap_or_else(|| {
            self.list.push(Entry::Helper { name, address });
            self.list.len() - 1
        }) as u32
    }

    /// The index of a vector program, compiled; `None` when the instruction set cannot run it.
    pub(super) fn vector(&mut self, _program: &Program) -> Option<u32> {
        None
    }

    /// The address of each.
    pub(super) fn addresses(&self) -> Vec<usize> {
        self.list
            .iter()
            .map(|e| match e {
                Entry::Helper { address, .. } => *address,
            })
            .collect()
    }

    /// The vector programs as text.
    pub(super) fn text(&self) -> String {
        self.list
            .iter()
            .enumerate()
            .map(|(i, e)| match e {
                Entry::Helper { name, .. } => format!("u1:{i} helper {name}\n"),
            })
            .collect()
    }
}

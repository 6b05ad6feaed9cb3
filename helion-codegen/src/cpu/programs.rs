//! The functions of a kernel that Cranelift does not compile: vector programs and packing helpers.

use super::jit;
use super::vector::ir::Program;
use super::vector::{self, CompiledProgram, Isa};

/// Called as `extern "C" fn(slots: *mut u64, n: u64)`.
#[derive(Debug, Default)]
pub(super) struct Programs {
    list: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    /// A precompiled function of this crate.
    Helper { name: &'static str, address: usize },
    /// A vector program with its code.
    Vector { program: Program, code: CompiledProgram },
}

impl Programs {
    /// The index of a precompiled function.
    pub(super) fn helper(&mut self, name: &'static str, address: usize) -> u32 {
        let found = self.list.iter().position(|e| match e {
            Entry::Helper { address: a, .. } => *a == address,
            Entry::Vector { .. } => false,
        });
        found.unwrap_or_else(|| {
            self.list.push(Entry::Helper { name, address });
            self.list.len() - 1
        }) as u32
    }

    /// The index of a vector program, compiled; `None` when the instruction set cannot run it.
    pub(super) fn vector(&mut self, program: &Program, isa: Isa) -> Option<u32> {
        let same = |e: &Entry| matches!(e, Entry::Vector { program: p, code } if p == program && code.isa() == isa);
        if let Some(found) = self.list.iter().position(same) {
            return Some(found as u32);
        }
        let code = jit::with_arena(|arena| vector::compile(program, isa, arena)).ok()?;
        self.list.push(Entry::Vector { program: program.clone(), code });
        Some(self.list.len() as u32 - 1)
    }

    /// The address of each.
    pub(super) fn addresses(&self) -> Vec<usize> {
        let address = |e: &Entry| match e {
            Entry::Helper { address, .. } => *address,
            Entry::Vector { code, .. } => code.entry() as usize,
        };
        self.list.iter().map(address).collect()
    }

    /// The vector programs as text.
    pub(super) fn text(&self) -> String {
        let text = |(i, e): (usize, &Entry)| match e {
            Entry::Helper { name, .. } => format!("; u1:{i} helper {name}\n"),
            Entry::Vector { program, .. } => format!("; u1:{i}\n{program}\n"),
        };
        self.list.iter().enumerate().map(text).collect()
    }

    /// The machine code of the vector programs, disassembled.
    pub(super) fn asm(&self) -> String {
        let text = |(i, e): (usize, &Entry)| match e {
            Entry::Helper { .. } => String::new(),
            Entry::Vector { program, code } => {
                format!("\n; u1:{i} {} ({}, {} lanes)\n{}", program.name, code.isa(), code.lanes(), code.disassemble())
            }
        };
        self.list.iter().enumerate().map(text).collect()
    }
}

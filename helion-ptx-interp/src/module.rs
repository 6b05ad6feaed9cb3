//! A parsed module: its entries, and the memory that it declares.

use crate::program::Program;
use crate::program::build::{align_up, build};
use crate::program::names::Globals;
use crate::syntax::ast::{Bounds, Init, Space, Variable};
use crate::syntax::{ParseError, Read, parse};
use std::sync::atomic::{AtomicU64, Ordering};

/// A parameter of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name in the text.
    pub name: String,
    /// Where it lies in the parameter block.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
    /// Its alignment.
    pub align: u32,
}

/// A kernel of a module.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its parameters, in order.
    pub params: Vec<Param>,
    pub(crate) bounds: Bounds,
    pub(crate) program: Program,
}

impl Entry {
    /// Bytes of the packed parameter block.
    pub fn param_bytes(&self) -> usize {
        self.params.last().map_or(0, |p| (p.offset + p.size) as usize)
    }

    /// Bytes of shared memory that the kernel declares, not counting what a launch adds.
    pub fn static_shared_bytes(&self) -> u32 {
        self.program.static_shared
    }

    /// Whether the kernel uses shared memory whose size the launch says.
    pub fn uses_dynamic_shared(&self) -> bool {
        self.program.uses_dynamic
    }

    /// The most threads that a block may have (`.maxntid`), or exactly the extents it must have (`.reqntid`).
    pub fn max_threads(&self) -> Option<u32> {
        self.bounds.required_threads.or(self.bounds.max_threads).map(|e| e.iter().product())
    }

    /// Instructions of the kernel, calls included.
    pub fn instructions(&self) -> usize {
        self.program.steps.len()
    }
}

/// Memory that a module declares.
#[derive(Debug)]
pub(crate) struct Data {
    pub name: String,
    pub bytes: Vec<u8>,
    pub writable: bool,
    /// Addresses in it: offset, variable, what is added.
    pub addresses: Vec<(usize, String, i64)>,
}

/// A module.
#[derive(Debug)]
pub struct Module {
    pub(crate) id: u64,
    target: String,
    entries: Vec<Entry>,
    pub(crate) data: Vec<Data>,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Module {
    /// Reads PTX. Every instruction of every entry is understood when this returns.
    ///
    /// # Errors
    /// The first thing that is not PTX, or that is not supported, with its line.
    pub fn parse(text: &str) -> Result<Module, ParseError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let source = parse(text)?;
        let mut globals = Globals::default();
        for v in &source.variables {
            globals.variables.insert(v.name, v);
        }
        for f in &source.functions {
            // A declaration does not replace a body.
            if f.body.is_some() || !globals.functions.contains_key(f.name) {
                globals.functions.insert(f.name, f);
            }
        }
        let mut entries = Vec::new();
        for f in source.functions.iter().filter(|f| f.is_entry && f.body.is_some()) {
            let mut params = Vec::new();
            let mut offset = 0;
            for p in &f.params {
                offset = align_up(offset, u64::from(p.align));
                let param = Param { name: p.name.into(), offset: offset as u32, size: p.size as u32, align: p.align };
                params.push(param);
                offset += p.size;
            }
            if offset > 1 << 15 {
                return Err(ParseError::new(f.line, format!("`{}` has {offset} bytes of parameters", f.name)));
            }
            entries.push(Entry { name: f.name.into(), params, bounds: f.bounds, program: build(&globals, f)? });
        }
        let data = source
            .variables
            .iter()
            .filter(|v| matches!(v.space, Space::Global | Space::Const))
            .map(|v| data(v, &globals))
            .collect::<Read<_>>()?;
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Module { id, target: source.target.into(), entries, data, text: text.into(), lines })
    }

    /// The target that the text names, such as `sm_80`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// All kernels.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A kernel by its name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.name == name)
    }

    /// A line of the text, from 1.
    pub(crate) fn line(&self, number: u32) -> &str {
        let Some(start) = (number as usize).checked_sub(1).and_then(|i| self.lines.get(i)) else { return "" };
        self.text[*start..].lines().next().unwrap_or("")
    }
}

fn data(v: &Variable<'_>, globals: &Globals<'_, '_>) -> Read<Data> {
    let mut data = Data {
        name: v.name.into(),
        bytes: vec![0; v.size as usize],
        writable: v.space == Space::Global,
        addresses: Vec::new(),
    };
    if v.is_extern {
        return Err(ParseError::new(
            v.line,
            format!("`{}` is defined in another module, which is not supported", v.name),
        ));
    }
    for piece in &v.init {
        match piece {
            Init::Bytes(at, bytes) => {
                let at = *at as usize;
                match data.bytes.get_mut(at..at + bytes.len()) {
                    Some(to) => to.copy_from_slice(bytes),
                    None => {
                        return Err(ParseError::new(v.line, format!("the initialiser of `{}` is too long", v.name)));
                    }
                }
            }
            Init::Address(at, name, add) => {
                if !globals.variables.get(name).is_some_and(|v| matches!(v.space, Space::Global | Space::Const)) {
                    return Err(ParseError::new(v.line, format!("`{name}` is not a variable in global memory")));
                }
                data.addresses.push((*at as usize, name.to_string(), *add));
            }
        }
    }
    Ok(data)
}

//! Tensors and buffers of the interpreter, with what is known of every element's readers and writers.

use crate::args::{Arg, Args};
use crate::dtype::Literal;
use crate::loops::types::{Function, Mem, ParamId, ParamKind, Val};

/// Stands for several different readers.
pub(super) const MANY: u32 = u32::MAX;

/// The largest buffer the interpreter allocates, in elements.
const MAX_BUFFER: u64 = 1 << 24;

/// Who read and wrote an element last.
#[derive(Clone, Copy, Default)]
pub(super) struct Shadow {
    /// Program instance + 1; 0 for none.
    pub writer: u32,
    /// The parallel point that wrote, 0 outside nests.
    pub write_point: u32,
    /// Program instance + 1, 0 for none, [`MANY`] for several.
    pub reader: u32,
    /// The parallel point that read last, 0 outside nests.
    pub read_point: u32,
    /// The first point that read, of the nest that read last.
    pub read_first: u32,
}

/// The shadow of one element while it is accessed.
pub(super) struct Cell<'s> {
    pub shadow: &'s mut Shadow,
    /// The program instance that is running, + 1.
    pub program: u32,
    /// Whether other program instances see the element.
    pub shared: bool,
}

/// An array private to a program instance. An element is undefined until the running instance writes it.
struct Buffer {
    dims: Vec<u64>,
    data: Vec<u64>,
    shadow: Vec<Shadow>,
}

/// All memory of a launch.
pub(super) struct Memory<'a> {
    func: &'a Function,
    pub args: &'a mut Args,
    /// Of the mutable tensors; empty for the others.
    shadows: Vec<Vec<Shadow>>,
    buffers: Vec<Buffer>,
    program: u32,
}

impl<'a> Memory<'a> {
    pub fn new(func: &'a Function, args: &'a mut Args) -> Result<Self, String> {
        let mut shadows = Vec::new();
        for (p, arg) in func.params.iter().zip(&args.params) {
            shadows.push(match (&p.kind, arg) {
                (ParamKind::Tensor { mutable: true, dtype, .. }, Arg::Tensor(t)) => {
                    vec![Shadow::default(); t.data().len() / dtype.size()]
                }
                (ParamKind::Tensor { .. } | ParamKind::Scalar { .. }, Arg::Tensor(_) | Arg::Scalar(_)) => Vec::new(),
            });
        }
        Ok(Memory { func, args, shadows, buffers: Vec::new(), program: 0 })
    }

    /// Makes the buffers once the header has run.
    pub fn allocate(&mut self, int: &dyn Fn(Val) -> i64) -> Result<(), String> {
        for b in &self.func.buffers {
            let mut dims = Vec::with_capacity(b.dims.len());
            for d in &b.dims {
                let n = u64::try_from(int(*d));
                dims.push(n.map_err(|_| format!("an extent of buffer `{}` is {}", b.name, int(*d)))?);
            }
            let n = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_BUFFER);
            let n = n.ok_or_else(|| format!("buffer `{}` is too large to interpret", b.name))? as usize;
            self.buffers.push(Buffer { dims, data: vec![0; n], shadow: vec![Shadow::default(); n] });
        }
        Ok(())
    }

    /// How many elements the buffers have.
    pub fn elements(&self) -> u64 {
        self.buffers.iter().map(|b| b.data.len() as u64).sum()
    }

    /// Starts a program instance; every buffer becomes undefined.
    pub fn begin(&mut self, program: u32) {
        self.program = program;
    }

    /// A name as printed.
    pub fn name(&self, mem: Mem) -> String {
        match mem {
            Mem::Tensor(p) => self.func.params[p.index()].name.clone(),
            Mem::Buffer(b) => format!("&{}", self.func.buffers[b.index()].name),
        }
    }

    /// The extent of an axis of a tensor.
    pub fn extent(&self, p: ParamId, axis: u32) -> u64 {
        self.args.tensor(p.index()).and_then(|t| t.dims().get(axis as usize).copied()).unwrap_or(0)
    }

    /// Where an element is in the storage of its tensor or buffer.
    pub fn locate(&self, mem: Mem, index: &[i64]) -> Result<usize, String> {
        let outside = |dims: &[u64]| Err(format!("outside its extents {dims:?}"));
        match mem {
            Mem::Tensor(p) => {
                let Some(t) = self.args.tensor(p.index()) else { return Err("not a tensor".to_owned()) };
                t.position(index).map_or_else(|| outside(t.dims()), Ok)
            }
            Mem::Buffer(b) => {
                let b = &self.buffers[b.index()];
                let mut at = 0u64;
                for (&i, &d) in index.iter().zip(&b.dims) {
                    if i < 0 || i as u64 >= d {
                        return outside(&b.dims);
                    }
                    at = at * d + i as u64;
                }
                Ok(at as usize)
            }
        }
    }

    /// The shadow of an element, for memory that is ever written.
    pub fn cell(&mut self, mem: Mem, at: usize) -> Option<Cell<'_>> {
        let (shadow, shared) = match mem {
            Mem::Tensor(p) => (self.shadows[p.index()].get_mut(at), true),
            Mem::Buffer(b) => (self.buffers[b.index()].shadow.get_mut(at), false),
        };
        shadow.map(|shadow| Cell { shadow, program: self.program, shared })
    }

    /// Whether an element is defined and has these bits.
    pub fn holds(&self, mem: Mem, at: usize, bits: u64) -> bool {
        match mem {
            Mem::Tensor(p) => self.args.tensor(p.index()).and_then(|t| t.get_at(at)).is_some_and(|l| l.bits == bits),
            Mem::Buffer(b) => {
                let b = &self.buffers[b.index()];
                b.shadow[at].writer == self.program && b.data[at] == bits
            }
        }
    }

    /// The bits of an element.
    pub fn get(&self, mem: Mem, at: usize) -> Result<u64, String> {
        match mem {
            Mem::Tensor(p) => {
                let l = self.args.tensor(p.index()).and_then(|t| t.get_at(at));
                l.map(|l| l.bits).ok_or_else(|| "outside the storage".to_owned())
            }
            Mem::Buffer(b) => {
                let b = &self.buffers[b.index()];
                if b.shadow[at].writer != self.program {
                    return Err("the element is undefined: nothing was stored there".to_owned());
                }
                Ok(b.data[at])
            }
        }
    }

    /// Writes an element.
    pub fn set(&mut self, mem: Mem, at: usize, value: Literal) -> Result<(), String> {
        match mem {
            Mem::Tensor(p) => {
                let written = self.args.tensor_mut(p.index()).is_some_and(|t| t.set_at(at, value));
                if written { Ok(()) } else { Err("outside the storage".to_owned()) }
            }
            Mem::Buffer(b) => {
                let b = &mut self.buffers[b.index()];
                b.data[at] = value.bits;
                Ok(())
            }
        }
    }
}

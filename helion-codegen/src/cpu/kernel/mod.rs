//! Loop IR to CLIF: the whole kernel as one Cranelift function.
//!
//! In: a loop function. Out: a CLIF function
//! `extern "C" fn(args: *const u64, scratch: *mut u8, first: u64, last: u64, plan: *mut u64)`, the vector
//! programs it calls, and the labels it prints. With `plan` set it writes the number of program
//! instances, the bytes of scratch memory and an estimate of work per instance there and returns;
//! otherwise it runs instances `first..last`.
//!
//! Every op and element type has a scalar lowering here, so compiling never depends on what the
//! vectoriser can do. Values map one to one to Cranelift values: loop IR is structured, so definitions
//! dominate uses. Buffers without axes become Cranelift variables, other buffers lie in scratch memory
//! one after the other, each 64-byte aligned.

mod access;
mod arith;
mod cast;
mod contract;
mod emit;
mod flow;
mod inst;
mod plan;
mod stream;
mod vector;

use super::jit::{PROGRAM, RUNTIME};
use super::knobs::Knobs;
use super::runtime::Runtime;
use super::{CpuOptions, Error};
use crate::cpu::programs::Programs;
use crate::cpu::vectorise::Facts;
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Signature, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use helion_ir::dtype::DType;
use helion_ir::loops::{self, ParamKind, Val};
use helion_ir::tile::{Dim, Layout};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// What lowering a function gives.
pub(super) struct Lowered {
    /// The CLIF function.
    pub func: ir::Function,
    /// Vector programs it calls.
    pub programs: Programs,
    /// Labels whose addresses it holds.
    pub labels: Vec<Box<str>>,
}

/// Where a tensor's elements are.
#[derive(Clone, Debug)]
struct Tensor {
    base: ir::Value,
    /// Elements per step of each axis.
    strides: Vec<Stride>,
    dtype: DType,
}

/// A distance in elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stride {
    /// Known when compiling.
    Const(i64),
    /// Known at launch.
    Value(ir::Value),
}

/// Where a buffer's elements are.
#[derive(Clone, Debug)]
enum Buffer {
    Scalar(Variable),
    Memory(Tensor),
}

/// Bytes before each buffer. Rows of tensors often begin where pages do; a store to a buffer at the same place
/// in another page delays the loads of a row behind it, so buffers begin elsewhere, each at another place.
const PHASE: i64 = 1088;

/// The state of lowering one function.
pub(super) struct Lower<'a> {
    source: &'a loops::Function,
    options: &'a CpuOptions,
    knobs: Knobs,
    b: FunctionBuilder<'a>,
    values: Vec<Option<ir::Value>>,
    tensors: Vec<Option<Tensor>>,
    buffers: Vec<Buffer>,
    /// First argument word of each parameter, then of the symbols.
    words: Vec<usize>,
    args: ir::Value,
    runtime: HashMap<u32, ir::FuncRef>,
    program_refs: HashMap<u32, ir::FuncRef>,
    programs: Programs,
    labels: Vec<Box<str>>,
    conv: CallConv,
    facts: Rc<Facts<'a>>,
    /// Scratch beyond the buffers, for packed panels: its address.
    spare: Option<ir::Value>,
    /// How many lanes the programs of nests and products have, by the statement's address; scalar ones are not here.
    lanes: HashMap<usize, usize>,
    /// Whether a tensor is so large that stores to it go around the caches; and whether a program asked.
    large: Vec<(Option<ir::Value>, bool)>,
}

thread_local! {
    static BUILDER: RefCell<FunctionBuilderContext> = RefCell::new(FunctionBuilderContext::new());
}

/// The Cranelift type that holds an element.
pub(super) fn clif_type(d: DType) -> ir::Type {
    match d {
        DType::Bool | DType::I8 | DType::U8 | DType::F8E4M3 | DType::F8E5M2 => types::I8,
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => types::I16,
        DType::I32 | DType::U32 => types::I32,
        DType::I64 | DType::U64 => types::I64,
        DType::F32 => types::F32,
        DType::F64 => types::F64,
    }
}

/// Number of argument words of each parameter, summed up: the first word of each, and of the symbols.
pub(super) fn word_offsets(f: &loops::Function) -> Vec<usize> {
    let mut at = 0;
    let mut words = Vec::with_capacity(f.params.len() + 1);
    for p in &f.params {
        words.push(at);
        at += match &p.kind {
            ParamKind::Tensor { dims, .. } => 1 + 2 * dims.len(),
            ParamKind::Scalar { .. } => 1,
        };
    }
    words.push(at);
    words
}

/// Lowers a function.
pub(super) fn lower(f: &loops::Function, options: &CpuOptions, conv: CallConv) -> Result<Lowered, Error> {
    BUILDER.with_borrow_mut(|ctx| {
        *ctx = FunctionBuilderContext::new();
        let mut sig = Signature::new(conv);
        sig.params.extend([AbiParam::new(types::I64); 5]);
        let mut func = ir::Function::with_name_signature(ir::UserFuncName::user(0, 0), sig);
        let mut b = FunctionBuilder::new(&mut func, ctx);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let args = b.block_params(entry)[0];
        let mut lower = Lower {
            source: f,
            options,
            knobs: Knobs::of(&f.config),
            b,
            values: vec![None; f.values.len()],
            tensors: vec![None; f.params.len()],
            buffers: Vec::new(),
            words: word_offsets(f),
            args,
            runtime: HashMap::new(),
            program_refs: HashMap::new(),
            programs: Programs::default(),
            labels: Vec::new(),
            conv,
            facts: Rc::new(Facts::new(f)),
            spare: None,
            lanes: HashMap::new(),
            large: vec![(None, false); f.params.len()],
        };
        lower.function(entry)?;
        let Lower { b, programs, labels, .. } = lower;
        b.finalize(super::jit::target(options.effort)?.frontend_config());
        Ok(Lowered { func, programs, labels })
    })
}

impl Lower<'_> {
    /// The whole function, into the entry block.
    fn function(&mut self, entry: ir::Block) -> Result<(), Error> {
        let source = self.source;
        let params = self.b.block_params(entry).to_vec();
        let (scratch, first, last, plan_out) = (params[1], params[2], params[3], params[4]);
        for inst in &source.header {
            self.inst(inst)?;
        }
        let zero = self.iconst(types::I64, 0);
        let mut counts = Vec::with_capacity(source.grid.len());
        for axis in &source.grid {
            let count = self.value(axis.count)?;
            counts.push(self.b.ins().smax(count, zero));
        }
        let sizes = self.buffer_sizes()?;
        let (plan, run) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(plan_out, plan, &[], run, &[]);
        self.b.seal_block(plan);
        self.b.seal_block(run);
        // First the body, because the estimate of its work depends on what became vectors.
        let header = self.values.clone();
        self.b.switch_to_block(run);
        self.load_tensors()?;
        self.find_large_tensors();
        self.place_buffers(scratch, &sizes)?;
        self.grid_loop(first, last, &counts)?;
        self.fence()?;
        self.b.ins().return_(&[]);
        self.values = header;
        self.b.switch_to_block(plan);
        self.write_plan(plan_out, &counts, &sizes)?;
        self.b.ins().return_(&[]);
        Ok(())
    }

    /// Program instances `first..last`, each number decoded row-major into the grid's indices.
    fn grid_loop(&mut self, first: ir::Value, last: ir::Value, counts: &[ir::Value]) -> Result<(), Error> {
        let source = self.source;
        let one = self.iconst(types::I64, 1);
        self.counted(first, last, one, &[], |s, number, _| {
            let mut rest = number;
            for (i, axis) in source.grid.iter().enumerate().rev() {
                if i == 0 {
                    s.set(axis.index, rest);
                } else {
                    let q = s.b.ins().udiv(rest, counts[i]);
                    let whole = s.b.ins().imul(q, counts[i]);
                    let index = s.b.ins().isub(rest, whole);
                    s.set(axis.index, index);
                    rest = q;
                }
            }
            s.stmts(&source.body)?;
            Ok(Vec::new())
        })?;
        Ok(())
    }

    /// Loads base addresses and strides of all tensors.
    fn load_tensors(&mut self) -> Result<(), Error> {
        let source = self.source;
        for (i, p) in source.params.iter().enumerate() {
            let ParamKind::Tensor { dtype, dims, layout, .. } = &p.kind else { continue };
            let word = self.words[i];
            let base = self.word(word);
            let rank = dims.len();
            let mut strides = Vec::with_capacity(rank);
            let mut known = matches!(layout, Layout::Contiguous | Layout::LastUnit).then_some(1i64);
            for d in (0..rank).rev() {
                strides.push(match known {
                    Some(s) => Stride::Const(s),
                    None => Stride::Value(self.word(word + 1 + rank + d)),
                });
                known = match (layout, known, dims[d]) {
                    (Layout::Contiguous, Some(s), Dim::Const(n)) => Some(s.saturating_mul(n as i64)),
                    _ => None,
                };
            }
            strides.reverse();
            self.tensors[i] = Some(Tensor { base, strides, dtype: *dtype });
        }
        Ok(())
    }

    /// Bytes of each buffer in scratch memory, rounded up to the alignment; none for scalars.
    fn buffer_sizes(&mut self) -> Result<Vec<Option<ir::Value>>, Error> {
        let source = self.source;
        let mut sizes = Vec::with_capacity(source.buffers.len());
        for buffer in &source.buffers {
            if buffer.dims.is_empty() {
                sizes.push(None);
                continue;
            }
            let zero = self.iconst(types::I64, 0);
            let mut bytes = self.iconst(types::I64, buffer.dtype.size() as i64);
            for d in &buffer.dims {
                let n = self.value(*d)?;
                let n = self.b.ins().smax(n, zero);
                bytes = self.b.ins().imul(bytes, n);
            }
            // One vector of slack, so that packing code may round a row up; and the gap before the buffer.
            let up = self.add_const(bytes, 63 + PHASE);
            let mask = self.iconst(types::I64, !63);
            sizes.push(Some(self.b.ins().band(up, mask)));
        }
        Ok(sizes)
    }

    /// Gives every buffer its address and strides.
    fn place_buffers(&mut self, scratch: ir::Value, sizes: &[Option<ir::Value>]) -> Result<(), Error> {
        let source = self.source;
        let mut at = scratch;
        for (buffer, size) in source.buffers.iter().zip(sizes) {
            let Some(size) = size else {
                let var = self.b.declare_var(clif_type(buffer.dtype));
                let zero = self.zero(buffer.dtype);
                self.b.def_var(var, zero);
                self.buffers.push(Buffer::Scalar(var));
                continue;
            };
            let mut strides = vec![Stride::Const(1)];
            for d in buffer.dims.iter().skip(1).rev() {
                let n = self.value(*d)?;
                let inner = strides.last().copied().unwrap_or(Stride::Const(1));
                let next = match (inner, self.const_of(n)) {
                    (Stride::Const(s), Some(n)) => Stride::Const(s.saturating_mul(n)),
                    (Stride::Const(1), None) => Stride::Value(n),
                    (s, _) => {
                        let s = self.stride_value(s);
                        Stride::Value(self.b.ins().imul(s, n))
                    }
                };
                strides.push(next);
            }
            strides.reverse();
            let base = self.add_const(at, PHASE);
            self.buffers.push(Buffer::Memory(Tensor { base, strides, dtype: buffer.dtype }));
            at = self.b.ins().iadd(at, *size);
        }
        self.spare = Some(at);
        Ok(())
    }

    /// An argument word.
    fn word(&mut self, index: usize) -> ir::Value {
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        self.b.ins().load(types::I64, flags, self.args, (index * 8) as i32)
    }

    /// The Cranelift value of a loop IR value.
    fn value(&self, v: Val) -> Result<ir::Value, Error> {
        self.values.get(v.index()).copied().flatten().ok_or_else(|| {
            let name = self.source.values.get(v.index()).and_then(|x| x.name.clone()).unwrap_or_default();
            Error::Malformed(format!("value {}{name} is used before it is defined", v.0))
        })
    }

    /// Binds a loop IR value.
    fn set(&mut self, v: Val, to: ir::Value) {
        if let Some(slot) = self.values.get_mut(v.index()) {
            *slot = Some(to);
        }
    }

    /// The element type of a value.
    fn dtype(&self, v: Val) -> DType {
        self.source.dtype(v)
    }

    /// A reference to a runtime function.
    fn runtime_ref(&mut self, f: Runtime) -> ir::FuncRef {
        let index = f as u32;
        if let Some(r) = self.runtime.get(&index) {
            return *r;
        }
        let (params, result) = f.signature();
        let mut sig = Signature::new(self.conv);
        sig.params.extend(params.iter().map(|t| AbiParam::new(*t)));
        sig.returns.extend(result.map(AbiParam::new));
        let r = self.import(RUNTIME, index, sig);
        self.runtime.insert(index, r);
        r
    }

    /// A reference to a vector program or packing helper: `fn(slots, n)`.
    fn program_ref(&mut self, index: u32) -> ir::FuncRef {
        if let Some(r) = self.program_refs.get(&index) {
            return *r;
        }
        let mut sig = Signature::new(self.conv);
        sig.params.extend([AbiParam::new(types::I64); 2]);
        let r = self.import(PROGRAM, index, sig);
        self.program_refs.insert(index, r);
        r
    }

    fn import(&mut self, namespace: u32, index: u32, sig: Signature) -> ir::FuncRef {
        let signature = self.b.import_signature(sig);
        let user = ir::UserExternalName { namespace, index };
        let name = ir::ExternalName::user(self.b.func.declare_imported_user_function(user));
        self.b.import_function(ir::ExtFuncData { name, signature, colocated: false, patchable: false })
    }

    /// Calls a runtime function that returns a value.
    fn call(&mut self, f: Runtime, args: &[ir::Value]) -> ir::Value {
        let r = self.runtime_ref(f);
        let call = self.b.ins().call(r, args);
        self.b.inst_results(call)[0]
    }
}

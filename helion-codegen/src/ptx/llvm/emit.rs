//! A thin layer over LLVM's builder: what every other file of this folder writes instructions with.
//!
//! In: an LLVM context, the name of a kernel. Out: a module with one kernel under construction. Values of element
//! types live in registers in one form each ([`Emit::register_type`]): `bool` as `i1`, integers as themselves, `f16`
//! and `bf16` as LLVM's `half` and `bfloat`, 8-bit floats as `i8`.

use super::super::Arch;
use helion_ir::dtype::{DType, Literal};
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::builder::{Builder, BuilderError};
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::types::{BasicMetadataTypeEnum, BasicType, BasicTypeEnum, IntType};
use inkwell::values::{
    BasicMetadataValueEnum, BasicValue, BasicValueEnum, FloatValue, FunctionValue, IntValue, PointerValue,
};
use inkwell::{AddressSpace, IntPredicate};
use std::cell::Cell;

/// A value in a register.
pub(super) type V<'c> = BasicValueEnum<'c>;
/// An integer.
pub(super) type I<'c> = IntValue<'c>;
/// A float.
pub(super) type F<'c> = FloatValue<'c>;
/// An address.
pub(super) type P<'c> = PointerValue<'c>;

/// What emitting gives: LLVM's builder refuses operands of the wrong type, which is a mistake of ours.
pub(super) type Done<T = ()> = Result<T, super::super::Error>;

impl From<BuilderError> for super::super::Error {
    fn from(e: BuilderError) -> Self {
        super::super::Error::Llvm(e.to_string())
    }
}

/// A mistake of ours, in words.
pub(super) fn mistake<T>(text: impl Into<String>) -> Done<T> {
    Err(super::super::Error::Llvm(text.into()))
}

/// The address spaces of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Space {
    /// Any of the others.
    Generic,
    /// Memory of the device.
    Global,
    /// Memory of the block.
    Shared,
    /// Tables of the module.
    Constant,
}

impl Space {
    /// LLVM's number.
    pub(super) fn number(self) -> AddressSpace {
        AddressSpace::from(match self {
            Space::Generic => 0u16,
            Space::Global => 1,
            Space::Shared => 3,
            Space::Constant => 4,
        })
    }
}

/// A module with one kernel under construction.
pub(super) struct Emit<'c> {
    pub(super) context: &'c Context,
    pub(super) module: Module<'c>,
    pub(super) builder: Builder<'c>,
    pub(super) function: FunctionValue<'c>,
    pub(super) arch: Arch,
    /// How many parameters come before the words: descriptions for the copy engine.
    maps: u32,
    /// The threads that barriers are for, when those are not all of the block.
    pub(super) crew: Cell<Option<u32>>,
    /// Whether groups of them take turns, and so must not wait for all others.
    pub(super) apart: Cell<bool>,
}

/// The calling convention of kernels.
const PTX_KERNEL: u32 = 71;

impl<'c> Emit<'c> {
    /// A kernel that takes so many 64-bit words, after so many descriptions for the copy engine, and runs with so many
    /// threads in a block.
    pub(super) fn new(
        context: &'c Context,
        entry: &str,
        (maps, words): (usize, usize),
        threads: u32,
        arch: Arch,
    ) -> Emit<'c> {
        let module = context.create_module(entry);
        let generic = context.ptr_type(Space::Generic.number());
        let mut params: Vec<BasicMetadataTypeEnum<'c>> = vec![generic.into(); maps];
        params.resize(maps + words, context.i64_type().into());
        let function = module.add_function(entry, context.void_type().fn_type(&params, false), None);
        function.set_call_conventions(PTX_KERNEL);
        let block = context.create_string_attribute("nvvm.reqntid", &threads.to_string());
        function.add_attribute(AttributeLoc::Function, block);
        let builder = context.create_builder();
        builder.position_at_end(context.append_basic_block(function, "entry"));
        let (maps, crew, apart) = (maps as u32, Cell::new(None), Cell::new(false));
        let e = Emit { context, module, builder, function, arch, maps, crew, apart };
        for k in 0..maps {
            e.describe_map(k);
        }
        function.add_attribute(AttributeLoc::Function, e.flag("nounwind"));
        e
    }

    /// Threads use so many registers at most.
    pub(super) fn cap_registers(&self, most: u32) {
        let cap = self.context.create_string_attribute("nvvm.maxnreg", &most.to_string());
        self.function.add_attribute(AttributeLoc::Function, cap);
    }

    pub(super) fn flag(&self, name: &str) -> Attribute {
        self.context.create_enum_attribute(Attribute::get_named_enum_kind_id(name), 0)
    }

    /// An argument word of the kernel.
    pub(super) fn word(&self, index: usize) -> Done<I<'c>> {
        match self.function.get_nth_param(self.maps + index as u32) {
            Some(BasicValueEnum::IntValue(v)) => Ok(v),
            _ => mistake(format!("the kernel has no argument word {index}")),
        }
    }
}

/// Types and constants.
impl<'c> Emit<'c> {
    /// The type that holds an element in a register.
    pub(super) fn register_type(&self, d: DType) -> BasicTypeEnum<'c> {
        match d {
            DType::Bool => self.context.bool_type().into(),
            DType::F16 => self.context.f16_type().into(),
            DType::BF16 => self.context.bf16_type().into(),
            DType::F32 => self.context.f32_type().into(),
            DType::F64 => self.context.f64_type().into(),
            _ => self.int_type(8 * d.size() as u32).into(),
        }
    }
    /// The integer type of that many bits.
    pub(super) fn int_type(&self, bits: u32) -> IntType<'c> {
        match bits {
            1 => self.context.bool_type(),
            8 => self.context.i8_type(),
            16 => self.context.i16_type(),
            32 => self.context.i32_type(),
            _ => self.context.i64_type(),
        }
    }
    /// A constant element.
    pub(super) fn literal(&self, l: Literal) -> Done<V<'c>> {
        let bits = self.int_type(if l.dtype == DType::Bool { 1 } else { 8 * l.dtype.size() as u32 });
        self.bits_to(bits.const_int(l.bits, false).into(), self.register_type(l.dtype))
    }
    pub(super) fn i32(&self, v: i64) -> I<'c> {
        self.context.i32_type().const_int(v as u64, true)
    }
    pub(super) fn i64(&self, v: i64) -> I<'c> {
        self.context.i64_type().const_int(v as u64, true)
    }
    pub(super) fn bool(&self, v: bool) -> I<'c> {
        self.context.bool_type().const_int(u64::from(v), false)
    }
    pub(super) fn f32(&self, v: f32) -> F<'c> {
        self.context.f32_type().const_float(f64::from(v))
    }
    /// The same bits as another type of equal size.
    pub(super) fn bits_to(&self, v: V<'c>, to: BasicTypeEnum<'c>) -> Done<V<'c>> {
        if v.get_type() == to {
            return Ok(v);
        }
        Ok(self.builder.build_bit_cast(v, to, "")?)
    }
}

/// Integer arithmetic of addresses and counters.
impl<'c> Emit<'c> {
    pub(super) fn add(&self, a: I<'c>, b: I<'c>) -> Done<I<'c>> {
        Ok(self.builder.build_int_add(a, b, "")?)
    }
    pub(super) fn sub(&self, a: I<'c>, b: I<'c>) -> Done<I<'c>> {
        Ok(self.builder.build_int_sub(a, b, "")?)
    }
    pub(super) fn mul(&self, a: I<'c>, b: I<'c>) -> Done<I<'c>> {
        Ok(self.builder.build_int_mul(a, b, "")?)
    }
    pub(super) fn and(&self, a: I<'c>, b: I<'c>) -> Done<I<'c>> {
        Ok(self.builder.build_and(a, b, "")?)
    }
    pub(super) fn or(&self, a: I<'c>, b: I<'c>) -> Done<I<'c>> {
        Ok(self.builder.build_or(a, b, "")?)
    }
    pub(super) fn xor(&self, a: I<'c>, b: I<'c>) -> Done<I<'c>> {
        Ok(self.builder.build_xor(a, b, "")?)
    }
    pub(super) fn not(&self, a: I<'c>) -> Done<I<'c>> {
        Ok(self.builder.build_not(a, "")?)
    }
    pub(super) fn shl(&self, a: I<'c>, by: u64) -> Done<I<'c>> {
        Ok(self.builder.build_left_shift(a, a.get_type().const_int(by, false), "")?)
    }
    /// A logical shift.
    pub(super) fn shr(&self, a: I<'c>, by: u64) -> Done<I<'c>> {
        Ok(self.builder.build_right_shift(a, a.get_type().const_int(by, false), false, "")?)
    }
    pub(super) fn compare(&self, p: IntPredicate, a: I<'c>, b: I<'c>) -> Done<I<'c>> {
        Ok(self.builder.build_int_compare(p, a, b, "")?)
    }
    pub(super) fn select(&self, mask: I<'c>, a: V<'c>, b: V<'c>) -> Done<V<'c>> {
        Ok(self.builder.build_select(mask, a, b, "")?)
    }
    /// Zero-extended to 64 bits.
    pub(super) fn to_i64(&self, a: I<'c>) -> Done<I<'c>> {
        if a.get_type().get_bit_width() == 64 {
            return Ok(a);
        }
        Ok(self.builder.build_int_z_extend(a, self.context.i64_type(), "")?)
    }
    /// The low 32 bits.
    pub(super) fn to_i32(&self, a: I<'c>) -> Done<I<'c>> {
        match a.get_type().get_bit_width() {
            32 => Ok(a),
            64 => Ok(self.builder.build_int_truncate(a, self.context.i32_type(), "")?),
            _ => Ok(self.builder.build_int_z_extend(a, self.context.i32_type(), "")?),
        }
    }
}

/// Calls.
impl<'c> Emit<'c> {
    /// Calls an intrinsic. `overloads` are the types in its name that it does not fix.
    pub(super) fn intrinsic(&self, name: &str, overloads: &[BasicTypeEnum<'c>], args: &[V<'c>]) -> Done<Option<V<'c>>> {
        let found = Intrinsic::find(name).and_then(|i| i.get_declaration(&self.module, overloads));
        let Some(f) = found else { return mistake(format!("LLVM has no intrinsic `{name}`")) };
        let args: Vec<BasicMetadataValueEnum<'c>> = args.iter().map(|v| (*v).into()).collect();
        Ok(self.builder.build_call(f, &args, "")?.try_as_basic_value().basic())
    }

    /// Calls an intrinsic that has a result.
    pub(super) fn value_of(&self, name: &str, overloads: &[BasicTypeEnum<'c>], args: &[V<'c>]) -> Done<V<'c>> {
        match self.intrinsic(name, overloads, args)? {
            Some(v) => Ok(v),
            None => mistake(format!("the intrinsic `{name}` has no result")),
        }
    }

    /// A line of PTX. What has `effects` is neither moved nor dropped.
    pub(super) fn asm(
        &self,
        result: Option<BasicTypeEnum<'c>>,
        text: &str,
        constraints: &str,
        args: &[V<'c>],
        effects: bool,
    ) -> Done<Option<V<'c>>> {
        let types: Vec<BasicMetadataTypeEnum<'c>> = args.iter().map(|v| v.get_type().into()).collect();
        let signature = match result {
            Some(r) => r.fn_type(&types, false),
            None => self.context.void_type().fn_type(&types, false),
        };
        let line =
            self.context.create_inline_asm(signature, text.into(), constraints.into(), effects, false, None, false);
        let args: Vec<BasicMetadataValueEnum<'c>> = args.iter().map(|v| (*v).into()).collect();
        let call = self.builder.build_indirect_call(signature, line, &args, "")?;
        call.add_attribute(AttributeLoc::Function, self.flag("nounwind"));
        if effects {
            call.add_attribute(AttributeLoc::Function, self.flag("convergent"));
        }
        Ok(call.try_as_basic_value().basic())
    }

    /// A special register of 32 bits, such as `tid.x`.
    pub(super) fn special(&self, name: &str) -> Done<I<'c>> {
        Ok(self.value_of(&format!("llvm.nvvm.read.ptx.sreg.{name}"), &[], &[])?.into_int_value())
    }

    /// All threads of the block wait for each other; what they wrote before is seen after.
    pub(super) fn barrier(&self) -> Done {
        if self.apart.get() {
            return mistake("a barrier for all where warpgroups take turns");
        }
        match self.crew.get() {
            None => self.intrinsic("llvm.nvvm.barrier.cta.sync.aligned.all", &[], &[self.i32(0).into()]).map(drop),
            Some(threads) => {
                let args = [self.i32(1).into(), self.i32(i64::from(threads)).into()];
                self.intrinsic("llvm.nvvm.barrier.cta.sync.aligned.count", &[], &args).map(drop)
            }
        }
    }

    /// Waits at a barrier of the block until so many threads have come there, those that only arrive included.
    pub(super) fn wait_at(&self, barrier: I<'c>, threads: u32) -> Done {
        self.asm(None, &format!("bar.sync $0, {threads};"), "r,~{memory}", &[barrier.into()], true).map(drop)
    }

    /// Arrives at a barrier of the block, without waiting.
    pub(super) fn arrive_at(&self, barrier: I<'c>, threads: u32) -> Done {
        self.asm(None, &format!("bar.arrive $0, {threads};"), "r,~{memory}", &[barrier.into()], true).map(drop)
    }

    /// An element of a struct or a vector.
    pub(super) fn part(&self, v: V<'c>, n: u32) -> Done<V<'c>> {
        match v {
            BasicValueEnum::StructValue(s) => Ok(self.builder.build_extract_value(s, n, "")?),
            BasicValueEnum::VectorValue(s) => Ok(self.builder.build_extract_element(s, self.i32(i64::from(n)), "")?),
            _ => mistake("a value without parts"),
        }
    }
}

/// Memory of known place.
impl<'c> Emit<'c> {
    /// An address so many bytes on.
    pub(super) fn offset(&self, p: P<'c>, bytes: I<'c>) -> Done<P<'c>> {
        // SAFETY: `getelementptr` computes an address in the emitted program; nothing is accessed here, and it has no
        // `inbounds`.
        Ok(unsafe { self.builder.build_gep(self.context.i8_type(), p, &[bytes], "")? })
    }
    /// The pointer that an address is.
    pub(super) fn pointer(&self, address: I<'c>, space: Space) -> Done<P<'c>> {
        Ok(self.builder.build_int_to_ptr(address, self.context.ptr_type(space.number()), "")?)
    }
    /// A plain load.
    pub(super) fn load(&self, t: impl BasicType<'c>, p: P<'c>, align: u32) -> Done<V<'c>> {
        let v = self.builder.build_load(t, p, "")?;
        if let Some(i) = v.as_instruction_value() {
            let _ = i.set_alignment(align);
        }
        Ok(v)
    }
    /// A plain store.
    pub(super) fn store(&self, v: V<'c>, p: P<'c>, align: u32) -> Done {
        let i = self.builder.build_store(p, v)?;
        let _ = i.set_alignment(align);
        Ok(())
    }
    /// A variable of the thread, made in the entry block so that LLVM turns it into registers.
    pub(super) fn variable(&self, t: BasicTypeEnum<'c>) -> Done<P<'c>> {
        let here = self.here()?;
        let Some(entry) = self.function.get_first_basic_block() else { return mistake("a function without blocks") };
        match entry.get_first_instruction() {
            Some(first) => self.builder.position_before(&first),
            None => self.builder.position_at_end(entry),
        }
        let p = self.builder.build_alloca(t, "")?;
        self.builder.position_at_end(here);
        Ok(p)
    }
}

/// Blocks.
impl<'c> Emit<'c> {
    /// The block that instructions go to.
    pub(super) fn here(&self) -> Done<BasicBlock<'c>> {
        self.builder.get_insert_block().map_or_else(|| mistake("no block to write to"), Ok)
    }
    /// A new block.
    pub(super) fn block(&self, name: &str) -> BasicBlock<'c> {
        self.context.append_basic_block(self.function, name)
    }
    /// Instructions go to a block from here on.
    pub(super) fn at(&self, block: BasicBlock<'c>) {
        self.builder.position_at_end(block);
    }
    pub(super) fn jump(&self, to: BasicBlock<'c>) -> Done {
        self.builder.build_unconditional_branch(to)?;
        Ok(())
    }
    pub(super) fn branch(&self, on: I<'c>, yes: BasicBlock<'c>, no: BasicBlock<'c>) -> Done {
        self.builder.build_conditional_branch(on, yes, no)?;
        Ok(())
    }
}

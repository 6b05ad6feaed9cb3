//! Two floats of 16 bits in one register.
//!
//! The device rounds two numbers of `f32` to such a pair in one instruction, and slowly each by itself. Where a pair is
//! made, its halves are variables; where they come from is visible when variables have become values. So
//! [`Emit::pair`] emits a call of a function that does not exist, and [`resolve`] puts instructions in its place.

use super::emit::{Done, Emit, V, mistake};
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::builder::Builder;
use inkwell::context::ContextRef;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::values::{BasicValueEnum, FloatValue, FunctionValue, InstructionOpcode, InstructionValue, IntValue};

/// The functions that do not exist, by element type, and the instruction that rounds two numbers.
const PAIRS: [(&str, &str); 2] =
    [("helion.pair.bf16", "llvm.nvvm.ff2bf16x2.rn"), ("helion.pair.f16", "llvm.nvvm.ff2f16x2.rn")];

impl<'c> Emit<'c> {
    /// Two elements of 16 bits in one register, the first one low.
    pub(super) fn pair(&self, low: V<'c>, high: V<'c>) -> Done<V<'c>> {
        let V::FloatValue(first) = low else {
            let word = |v: V<'c>| self.to_i32(v.into_int_value());
            return Ok(self.or(word(low)?, self.shl(word(high)?, 16)?)?.into());
        };
        let t = first.get_type();
        let name = PAIRS[usize::from(t == self.context.f16_type())].0;
        let function = self.module.get_function(name).unwrap_or_else(|| {
            let function =
                self.module.add_function(name, self.context.i32_type().fn_type(&[t.into(), t.into()], false), None);
            let none = Attribute::get_named_enum_kind_id("memory");
            function.add_attribute(AttributeLoc::Function, self.context.create_enum_attribute(none, 0));
            for flag in ["nounwind", "willreturn"] {
                function.add_attribute(AttributeLoc::Function, self.flag(flag));
            }
            function
        });
        let made = self.builder.build_call(function, &[low.into(), high.into()], "")?;
        made.try_as_basic_value().basic().map_or_else(|| mistake("a pair without a value"), Ok)
    }
}

/// Puts instructions in the place of all pairs of a module.
pub(super) fn resolve(module: &Module<'_>) -> Done {
    let context = module.get_context();
    let builder = context.create_builder();
    for (name, rounds) in PAIRS {
        let Some(pair) = module.get_function(name) else { continue };
        let calls: Vec<InstructionValue<'_>> = calls_of(module, pair);
        for call in calls {
            builder.position_before(&call);
            let halves = [0, 1].map(|k| call.get_operand(k).and_then(|o| o.value()));
            let [Some(BasicValueEnum::FloatValue(low)), Some(BasicValueEnum::FloatValue(high))] = halves else {
                return mistake("a pair of something else");
            };
            let word = match (rounded(low), rounded(high)) {
                (Some(low), Some(high)) => round_two(module, &context, &builder, rounds, low, high)?,
                _ => put_together(&context, &builder, low, high)?,
            };
            let Ok(old) = IntValue::try_from(call) else { return mistake("a pair that is not a word") };
            old.replace_all_uses_with(word.into_int_value());
            call.erase_from_basic_block();
        }
    }
    Ok(())
}

fn calls_of<'c>(module: &Module<'c>, callee: FunctionValue<'c>) -> Vec<InstructionValue<'c>> {
    let all = module.get_functions().flat_map(|f| f.get_basic_blocks()).flat_map(|b| b.get_instructions());
    let callee = callee.as_global_value().as_pointer_value();
    let calls = |i: &InstructionValue<'c>| {
        let last = i.get_num_operands().checked_sub(1).and_then(|k| i.get_operand(k)).and_then(|o| o.value());
        i.get_opcode() == InstructionOpcode::Call && last == Some(callee.into())
    };
    all.filter(calls).collect()
}

/// The number of `f32` that was rounded to a value.
fn rounded(v: FloatValue<'_>) -> Option<FloatValue<'_>> {
    let made = v.as_instruction().filter(|i| i.get_opcode() == InstructionOpcode::FPTrunc)?;
    let BasicValueEnum::FloatValue(from) = made.get_operand(0)?.value()? else { return None };
    (from.get_type() == from.get_type().get_context().f32_type()).then_some(from)
}

fn round_two<'c>(
    module: &Module<'c>,
    context: &ContextRef<'c>,
    builder: &Builder<'c>,
    name: &str,
    low: FloatValue<'c>,
    high: FloatValue<'c>,
) -> Done<BasicValueEnum<'c>> {
    let found = Intrinsic::find(name).and_then(|i| i.get_declaration(module, &[]));
    let Some(function) = found else { return mistake(format!("LLVM has no `{name}`")) };
    let both = builder.build_call(function, &[high.into(), low.into()], "")?;
    let Some(both) = both.try_as_basic_value().basic() else { return mistake("a pair without a value") };
    Ok(builder.build_bit_cast(both, context.i32_type(), "")?)
}

fn put_together<'c>(
    context: &ContextRef<'c>,
    builder: &Builder<'c>,
    low: FloatValue<'c>,
    high: FloatValue<'c>,
) -> Done<BasicValueEnum<'c>> {
    let two = low.get_type().vec_type(2).get_undef();
    let place = |k: u64| context.i32_type().const_int(k, false);
    let two = builder.build_insert_element(two, low, place(0), "")?;
    let two = builder.build_insert_element(two, high, place(1), "")?;
    Ok(builder.build_bit_cast(two, context.i32_type(), "")?)
}

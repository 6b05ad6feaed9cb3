//! The copy engine, and barriers in shared memory that it arrives at.
//!
//! A barrier counts arrivals and bytes; when both are complete its phase turns. Waiting for a phase is waiting until the
//! barrier's own is another one.

use super::emit::{Done, Emit, I, P, V, mistake};
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::values::BasicValueEnum;

/// Bytes of a tensor's description.
const MAP: u32 = 128;

impl<'c> Emit<'c> {
    /// Says of a parameter that it is a description, which stays where it is.
    pub(super) fn describe_map(&self, k: u32) {
        let bytes = self.context.i8_type().array_type(MAP);
        let kind = Attribute::get_named_enum_kind_id;
        let at = AttributeLoc::Param(k);
        let attributes = [
            self.context.create_type_attribute(kind("byval"), bytes.into()),
            self.context.create_enum_attribute(kind("align"), 64),
            self.context.create_enum_attribute(kind("readonly"), 0),
            self.context.create_string_attribute("nvvm.grid_constant", ""),
        ];
        attributes.into_iter().for_each(|a| self.function.add_attribute(at, a));
    }

    /// From here on a warpgroup has so many registers for each thread: more than before, or fewer.
    pub(super) fn change_registers(&self, count: u32, more: bool) -> Done {
        let way = if more { "inc" } else { "dec" };
        self.asm(None, &format!("setmaxnreg.{way}.sync.aligned.u32 {count};"), "~{memory}", &[], true).map(drop)
    }

    fn address_of(&self, p: P<'c>) -> Done<V<'c>> {
        Ok(self.builder.build_ptr_to_int(p, self.context.i32_type(), "")?.into())
    }

    /// Makes a barrier for so many arrivals.
    pub(super) fn make_barrier(&self, at: P<'c>, arrivals: u32) -> Done {
        let args = [self.address_of(at)?, self.i32(i64::from(arrivals)).into()];
        self.asm(None, "mbarrier.init.shared::cta.b64 [$0], $1;", "r,r,~{memory}", &args, true).map(drop)
    }

    /// What was made is seen by the copy engine, and, after a barrier, by other threads.
    pub(super) fn show_barriers(&self) -> Done {
        self.asm(None, "fence.mbarrier_init.release.cluster;", "~{memory}", &[], true)?;
        self.show_to_warpgroups()
    }

    /// Waits for a phase to end.
    pub(super) fn await_barrier(&self, at: P<'c>, phase: I<'c>) -> Done {
        let (again, after) = (self.block("await"), self.block("there"));
        self.jump(again)?;
        self.at(again);
        let over = self.is_over(at, phase)?;
        self.branch(over, after, again)?;
        self.at(after);
        Ok(())
    }

    /// Whether a phase has ended, asked with some patience.
    pub(super) fn is_over(&self, at: P<'c>, phase: I<'c>) -> Done<I<'c>> {
        let at = self.address_of(at)?;
        let text = "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [$1], $2; selp.b32 $0, 1, 0, p; }";
        let word = self.context.i32_type();
        let made = self.asm(Some(word.into()), text, "=r,r,r,~{memory}", &[at, phase.into()], true)?;
        let Some(BasicValueEnum::IntValue(done)) = made else { return mistake("a wait without an answer") };
        self.compare(inkwell::IntPredicate::NE, done, self.i32(0))
    }

    /// Arrives at a barrier, if `really`.
    pub(super) fn arrive_if(&self, at: P<'c>, really: I<'c>) -> Done {
        let text = "@$1 mbarrier.arrive.shared::cta.b64 _, [$0];";
        self.asm(None, text, "r,b,~{memory}", &[self.address_of(at)?, really.into()], true).map(drop)
    }

    /// Arrives at a barrier that then also waits for so many bytes.
    pub(super) fn expect_bytes(&self, at: P<'c>, bytes: u32) -> Done {
        let args = [self.address_of(at)?, self.i32(i64::from(bytes)).into()];
        let text = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;";
        self.asm(None, text, "r,r,~{memory}", &args, true).map(drop)
    }

    /// True in one thread of the warp, always the same.
    pub(super) fn elect(&self) -> Done<I<'c>> {
        let text = "{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.b32 $0, 1, 0, p; }";
        let word = self.context.i32_type();
        let made = self.asm(Some(word.into()), text, "=r", &[], true)?;
        let Some(BasicValueEnum::IntValue(one)) = made else { return mistake("an election without an answer") };
        self.compare(inkwell::IntPredicate::NE, one, self.i32(0))
    }

    /// Has the copy engine bring a box of the tensor that a parameter describes, its first element at these coordinates, the
    /// innermost first; what lies outside the tensor is zeros. The bytes arrive at a barrier.
    pub(super) fn copy_box(&self, to: P<'c>, map: u32, coordinates: &[I<'c>], barrier: P<'c>) -> Done {
        let Some(BasicValueEnum::PointerValue(map)) = self.function.get_nth_param(map) else {
            return mistake("a kernel without the description of a tensor");
        };
        let map = self.builder.build_ptr_to_int(map, self.context.i64_type(), "")?;
        let rank = coordinates.len();
        let list: Vec<String> = (0..rank).map(|k| format!("${}", k + 3)).collect();
        let text = format!(
            "cp.async.bulk.tensor.{rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [$0], [$1, {{{}}}], [$2];",
            list.join(", ")
        );
        let mut args: Vec<V<'c>> = vec![self.address_of(to)?, map.into(), self.address_of(barrier)?];
        args.extend(coordinates.iter().map(|c| V::from(*c)));
        let constraints = format!("r,l,r{},~{{memory}}", ",r".repeat(rank));
        self.asm(None, &text, &constraints, &args, true).map(drop)
    }
}

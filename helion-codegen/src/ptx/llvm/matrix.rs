//! Matrix instructions, and the copies that feed them.
//!
//! All threads of a warp take part in each; LLVM does not know that of the intrinsics, so every call says it.

use super::emit::{Done, Emit, I, P, V, mistake};
use helion_ir::dtype::DType;
use inkwell::types::BasicType;

impl<'c> Emit<'c> {
    /// Loads four 8 × 8 matrices of 16-bit elements from shared memory, each row at the address that one lane gives;
    /// transposed if asked. Every thread gets two elements of each.
    pub(super) fn load_matrices(&self, row: P<'c>, transposed: bool) -> Done<[V<'c>; 4]> {
        let kind = if transposed { ".trans" } else { "" };
        let line = format!("ldmatrix.sync.aligned.m8n8.x4{kind}.shared.b16 {{$0, $1, $2, $3}}, [$4];");
        let word = self.context.i32_type();
        let four = self.context.struct_type(&[word.into(); 4], false);
        let at = self.builder.build_ptr_to_int(row, word, "")?;
        let made = self.asm(Some(four.into()), &line, "=r,=r,=r,=r,r,~{memory}", &[at.into()], true)?;
        let Some(all) = made else { return mistake("matrices without registers") };
        Ok([self.part(all, 0)?, self.part(all, 1)?, self.part(all, 2)?, self.part(all, 3)?])
    }

    /// `d + a · b` of 16 × 16 by 16 × 8 elements, in fragments.
    pub(super) fn multiply(&self, dtype: DType, d: [V<'c>; 4], a: [V<'c>; 4], b: [V<'c>; 2]) -> Done<[V<'c>; 4]> {
        let t = match dtype {
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            other => return mistake(format!("a matrix instruction for {other}")),
        };
        let line = format!(
            "mma.sync.aligned.m16n8k16.row.col.f32.{t}.{t}.f32 {{$0, $1, $2, $3}}, {{$4, $5, $6, $7}}, {{$8, $9}}, {{$10, $11, $12, $13}};"
        );
        let four = self.context.struct_type(&[self.context.f32_type().as_basic_type_enum(); 4], false);
        let args: Vec<V<'c>> = a.into_iter().chain(b).chain(d).collect();
        let made = self.asm(Some(four.into()), &line, "=f,=f,=f,=f,r,r,r,r,r,r,0,1,2,3", &args, true)?;
        let Some(all) = made else { return mistake("a product without registers") };
        Ok([self.part(all, 0)?, self.part(all, 1)?, self.part(all, 2)?, self.part(all, 3)?])
    }

    /// Copies 16 bytes from global to shared memory without waiting; what is missing of them, when only so many `bytes` are
    /// there, is zeros.
    pub(super) fn copy_chunk(&self, to: P<'c>, from: P<'c>, bytes: Option<I<'c>>) -> Done {
        let to = self.builder.build_ptr_to_int(to, self.context.i32_type(), "")?;
        let from = self.builder.build_ptr_to_int(from, self.context.i64_type(), "")?;
        match bytes {
            None => {
                let line = "cp.async.cg.shared.global [$0], [$1], 16;";
                self.asm(None, line, "r,l,~{memory}", &[to.into(), from.into()], true).map(drop)
            }
            Some(bytes) => {
                let line = "cp.async.cg.shared.global [$0], [$1], 16, $2;";
                self.asm(None, line, "r,l,r,~{memory}", &[to.into(), from.into(), bytes.into()], true).map(drop)
            }
        }
    }

    /// Ends a group of copies.
    pub(super) fn end_copies(&self) -> Done {
        self.asm(None, "cp.async.commit_group;", "~{memory}", &[], true).map(drop)
    }

    /// Waits until no more than so many groups of this thread's copies are under way.
    pub(super) fn wait_copies(&self, groups: u32) -> Done {
        self.asm(None, &format!("cp.async.wait_group {groups};"), "~{memory}", &[], true).map(drop)
    }

    /// Two elements of 16 bits in one register, the first one low.
    pub(super) fn pair(&self, low: V<'c>, high: V<'c>) -> Done<V<'c>> {
        let half = self.context.i16_type();
        let word = |v: V<'c>| -> Done<I<'c>> {
            let bits = self.bits_to(v, half.into())?.into_int_value();
            self.to_i32(bits)
        };
        Ok(self.or(word(low)?, self.shl(word(high)?, 16)?)?.into())
    }
}

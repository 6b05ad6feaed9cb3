//! Matrix instructions, and the copies that feed them.
//!
//! All threads of a warp take part in each; LLVM does not know that of the intrinsics, so every call says it.

use super::emit::{Done, Emit, I, P, V, mistake};
use helion_ir::dtype::DType;
use inkwell::types::{BasicType, BasicTypeEnum};

/// The left operand of a warpgroup instruction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left<'c> {
    /// A descriptor of shared memory.
    Shared(I<'c>),
    /// A fragment.
    Registers([V<'c>; 4]),
}

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

    /// `d + a · b` of 16 rows by 8 columns, 32 bytes of the summed axis, in fragments.
    pub(super) fn multiply(&self, dtype: DType, d: [V<'c>; 4], a: [V<'c>; 4], b: [V<'c>; 2]) -> Done<[V<'c>; 4]> {
        let (k, t, sum) = match dtype {
            DType::F16 => (16, "f16", "f32"),
            DType::BF16 => (16, "bf16", "f32"),
            DType::F8E4M3 => (32, "e4m3", "f32"),
            DType::F8E5M2 => (32, "e5m2", "f32"),
            DType::I8 => (32, "s8", "s32"),
            DType::U8 => (32, "u8", "s32"),
            other => return mistake(format!("a matrix instruction for {other}")),
        };
        let line = format!(
            "mma.sync.aligned.m16n8k{k}.row.col.{sum}.{t}.{t}.{sum} {{$0, $1, $2, $3}}, {{$4, $5, $6, $7}}, {{$8, $9}}, {{$10, $11, $12, $13}};"
        );
        let four = self.context.struct_type(&[d[0].get_type(); 4], false);
        let args: Vec<V<'c>> = a.into_iter().chain(b).chain(d).collect();
        let class = if sum == "f32" { "=f,=f,=f,=f" } else { "=r,=r,=r,=r" };
        let made = self.asm(Some(four.into()), &line, &format!("{class},r,r,r,r,r,r,0,1,2,3"), &args, true)?;
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

    /// What this thread wrote to shared memory is seen by warpgroup instructions that follow a barrier.
    pub(super) fn show_to_warpgroups(&self) -> Done {
        self.asm(None, "fence.proxy.async.shared::cta;", "~{memory}", &[], true).map(drop)
    }

    /// What warpgroup instructions will use of registers, sums and fragments, is written from here on and not later.
    pub(super) fn begin_warpgroup(&self, sums: &[V<'c>], words: &[V<'c>]) -> Done<(Vec<V<'c>>, Vec<V<'c>>)> {
        let all: Vec<V<'c>> = sums.iter().chain(words).copied().collect();
        let types: Vec<BasicTypeEnum<'c>> = all.iter().map(|v| v.get_type()).collect();
        let result = self.context.struct_type(&types, false);
        let class = |v: &V<'c>| if v.is_float_value() { "=f" } else { "=r" }.to_owned();
        let tied = (0..all.len()).map(|k| k.to_string());
        let constraints: Vec<String> = all.iter().map(class).chain(tied).chain(["~{memory}".to_owned()]).collect();
        let line = "wgmma.fence.sync.aligned;";
        let Some(made) = self.asm(Some(result.into()), line, &constraints.join(","), &all, true)? else {
            return mistake("registers that went nowhere");
        };
        let part = |k: usize| self.part(made, k as u32);
        let first = (0..sums.len()).map(part).collect::<Done<_>>()?;
        Ok((first, (sums.len()..all.len()).map(part).collect::<Done<_>>()?))
    }

    /// Ends a group of warpgroup instructions.
    pub(super) fn end_warpgroup(&self) -> Done {
        self.asm(None, "wgmma.commit_group.sync.aligned;", "~{memory}", &[], true).map(drop)
    }

    /// Waits until no more than so many groups of warpgroup instructions are under way; with 0 the sums are there
    /// afterwards, and not before.
    pub(super) fn wait_warpgroup(&self, sums: &[V<'c>], groups: u32) -> Done<Vec<V<'c>>> {
        self.on_sums(&format!("wgmma.wait_group.sync.aligned {groups};"), sums, &[], ",~{memory}")
    }

    /// `sums += a · b` of 64 rows, 16 elements of the summed axis and as many columns as `sums` has twice, where `b` is a
    /// descriptor of shared memory. `across` says of `a` and `b` whether their rows run across the summed axis.
    pub(super) fn multiply_warpgroup(
        &self,
        dtype: DType,
        sums: &[V<'c>],
        a: Left<'c>,
        b: I<'c>,
        across: [bool; 2],
    ) -> Done<Vec<V<'c>>> {
        let t = match dtype {
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            other => return mistake(format!("a warpgroup instruction for {other}")),
        };
        let n = sums.len();
        let list: Vec<String> = (0..n).map(|k| format!("${k}")).collect();
        let [ta, tb] = across.map(u8::from);
        let (left, turned, args) = match a {
            Left::Shared(d) => (format!("${}", 2 * n), format!("{ta}, {tb}"), vec![V::from(d), b.into()]),
            Left::Registers(r) => {
                let names: Vec<String> = (0..4).map(|k| format!("${}", 2 * n + k)).collect();
                (format!("{{{}}}", names.join(", ")), format!("{tb}"), r.into_iter().chain([b.into()]).collect())
            }
        };
        let line = format!(
            "wgmma.mma_async.sync.aligned.m64n{}k16.f32.{t}.{t} {{{}}}, {left}, ${}, 1, 1, 1, {turned};",
            n * 2,
            list.join(", "),
            2 * n + args.len() - 1
        );
        self.on_sums(&line, sums, &args, "")
    }

    /// A line that changes sums in place.
    fn on_sums(&self, line: &str, sums: &[V<'c>], args: &[V<'c>], clobber: &str) -> Done<Vec<V<'c>>> {
        let f32 = self.context.f32_type().as_basic_type_enum();
        let result = self.context.struct_type(&vec![f32; sums.len()], false);
        let mut constraints = vec!["=f".to_owned(); sums.len()];
        constraints.extend((0..sums.len()).map(|k| k.to_string()));
        constraints.extend(args.iter().map(|a| {
            let wide = matches!(a, V::IntValue(i) if i.get_type().get_bit_width() == 64);
            if wide { "l" } else { "r" }.to_owned()
        }));
        let all: Vec<V<'c>> = sums.iter().chain(args).copied().collect();
        let made = self.asm(Some(result.into()), line, &format!("{}{clobber}", constraints.join(",")), &all, true)?;
        let Some(made) = made else { return mistake("sums without registers") };
        (0..sums.len()).map(|k| self.part(made, k as u32)).collect()
    }
}

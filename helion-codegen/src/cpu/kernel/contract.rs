//! Matrix products through packed panels and micro-kernels: the block of words and the calls.

use super::flow::Window;
use super::{Lower, Stride, Tensor};
use crate::cpu::Error;
use crate::cpu::contract::driver::{self, Word};
use crate::cpu::contract::{Form, Kernels, TilePrograms, along, form, sweeps};
use crate::cpu::vector::Isa;
use cranelift_codegen::ir::{self, InstBuilder, StackSlotData, StackSlotKind, types};
use helion_ir::dtype::DType;
use helion_ir::loops::{Contract, Mem};

/// What runs for each batch, at the addresses of both operands and the result.
type Walker<'a, S> = dyn FnMut(&mut S, [ir::Value; 3]) -> Result<(), Error> + 'a;

impl Lower<'_> {
    /// How a product would be computed; `None` for scalar loops.
    pub(super) fn contract_form(&self, c: &Contract) -> Result<Option<Form>, Error> {
        if !self.options.vectorise {
            return Ok(None);
        }
        let acc = self.memory_type(Mem::Buffer(c.acc))?;
        let (lhs, rhs) = (self.memory_type(c.lhs.mem)?, self.memory_type(c.rhs.mem)?);
        let isa = self.options.isa.unwrap_or_else(Isa::best);
        Ok(form(c, acc, lhs, rhs, isa, &self.knobs))
    }

    /// The element type of a memory, also before memories have places.
    fn memory_type(&self, mem: Mem) -> Result<DType, Error> {
        self.source.memory_dtype(mem).ok_or_else(|| Error::Malformed("a matrix operand does not exist".into()))
    }

    /// Scratch memory for the packed panels, from the accumulator's capacity.
    pub(super) fn contract_bytes(&mut self, c: &Contract, form: &Form) -> Result<ir::Value, Error> {
        let source = self.source;
        let dims = source.buffers.get(c.acc.index()).map(|b| b.dims.as_slice()).unwrap_or_default();
        let [.., m, n] = dims else { return Err(Error::Malformed("a matrix product into a vector".into())) };
        let (m, n) = (self.value(*m)?, self.value(*n)?);
        let (most_rows, most_columns) = (form.blocks.mc as i64, form.blocks.nc as i64);
        let (most_rows, most_columns) = (self.iconst(types::I64, most_rows), self.iconst(types::I64, most_columns));
        let (m, n) = (self.b.ins().smin(m, most_rows), self.b.ins().smin(n, most_columns));
        let (fixed, per_row, per_column) = form.spare();
        let (m, n) = (self.mul_const(m, per_row), self.mul_const(n, per_column));
        let sum = self.b.ins().iadd(m, n);
        Ok(self.add_const(sum, fixed))
    }

    /// Emits the product through micro-kernels; false (and nothing emitted) when it must be scalar.
    pub(super) fn micro_contract(
        &mut self,
        c: &Contract,
        lhs: &Window,
        rhs: &Window,
        acc: &Tensor,
    ) -> Result<bool, Error> {
        let Some(form) = self.contract_form(c)? else { return Ok(false) };
        let Some(scratch) = self.spare else { return Ok(false) };
        let Some(mut kernels) = self.product_kernels(c, &form) else { return Ok(false) };
        let few = self.sweeps(c, rhs, acc.dtype, &mut kernels);
        let along = self.along([lhs, rhs], acc.dtype, &mut kernels);
        let Some((name, address)) = driver::entry(acc.dtype) else { return Ok(false) };
        let driver = self.programs.helper(name, address);
        let block = StackSlotData::new(StackSlotKind::ExplicitSlot, (Word::COUNT * 8) as u32, 3);
        let block = self.b.create_sized_stack_slot(block);
        for (word, v) in form.words(lhs.dtype, rhs.dtype, c.accumulate) {
            let v = self.iconst(types::I64, v);
            self.put(block, word, v);
        }
        let few = self.iconst(types::I64, few);
        self.put(block, Word::Few, few);
        for (word, v) in [Word::FewAlong, Word::LongAlong, Word::AlongColumns].into_iter().zip(along) {
            let v = self.iconst(types::I64, v);
            self.put(block, word, v);
        }
        for (word, index) in kernels {
            let f = self.program_ref(index);
            let at = self.b.ins().func_addr(types::I64, f);
            self.put(block, word, at);
        }
        for (word, v) in [(Word::M, c.m.extent), (Word::N, c.n.extent), (Word::K, c.k.extent)] {
            let v = self.value(v)?;
            self.put(block, word, v);
        }
        let rank = c.batch.len();
        let size = acc.dtype.size() as i64;
        let acc_bytes: Vec<Stride> = acc
            .strides
            .iter()
            .map(|s| match s {
                Stride::Const(s) => Stride::Const(s * size),
                Stride::Value(v) => Stride::Value(self.mul_const(*v, size)),
            })
            .collect();
        let Some(acc_row) = acc_bytes.get(rank).copied() else {
            return Err(Error::Malformed("the accumulator has too few axes".into()));
        };
        let strides = [
            (Word::LhsRow, lhs.row),
            (Word::LhsCol, lhs.col),
            (Word::RhsRow, rhs.row),
            (Word::RhsCol, rhs.col),
            (Word::AccRow, acc_row),
        ];
        for (word, s) in strides {
            let v = self.stride_value(s);
            self.put(block, word, v);
        }
        self.put(block, Word::Scratch, scratch);
        let bases = [lhs.base, rhs.base, acc.base];
        let steps = [&lhs.batch[..], &rhs.batch[..], &acc_bytes[..rank]];
        let extents = c.batch.iter().map(|e| self.value(e.extent)).collect::<Result<Vec<_>, _>>()?;
        self.batches(&extents, bases, &steps, &mut |s, [l, r, a]| {
            for (word, v) in [(Word::Lhs, l), (Word::Rhs, r), (Word::Acc, a)] {
                s.put(block, word, v);
            }
            let f = s.program_ref(driver);
            let (at, zero) = (s.b.ins().stack_addr(types::I64, block, 0), s.iconst(types::I64, 0));
            s.b.ins().call(f, &[at, zero]);
            Ok(())
        })?;
        Ok(true)
    }

    /// The kernels of packed panels, compiled where they have to be; `None` when they cannot be.
    fn product_kernels(&mut self, c: &Contract, form: &Form) -> Option<Vec<(Word, u32)>> {
        let isa = self.options.isa.unwrap_or_else(Isa::best);
        let (mut kernels, lanes) = (Vec::new(), &mut self.lanes);
        match &form.kernels {
            Kernels::Programs(programs) => {
                let TilePrograms { add, store, edges } = &**programs;
                kernels.push((Word::Add, self.programs.vector(add, isa)?));
                kernels.push((Word::Store, self.programs.vector(store, isa)?));
                for ((_, program), (_, place)) in edges.iter().zip(driver::EDGES) {
                    kernels.push((place, self.programs.vector(program, isa)?));
                }
                lanes.insert(std::ptr::from_ref(c).addr(), isa.lanes_of(store));
            }
            Kernels::Matrix(matrix) => {
                for (word, add) in [(Word::Add, true), (Word::Store, false)] {
                    let (name, address) = matrix.helper(add);
                    kernels.push((word, self.programs.helper(name, address)));
                }
                lanes.insert(std::ptr::from_ref(c).addr(), matrix.products_at_once());
            }
        }
        Some(kernels)
    }

    /// Compiles the kernels that read the right operand in place; the most rows they are for.
    fn sweeps(&mut self, c: &Contract, rhs: &Window, acc: DType, kernels: &mut Vec<(Word, u32)>) -> i64 {
        if rhs.col != Stride::Const(rhs.dtype.size() as i64) {
            return 0;
        }
        let isa = self.options.isa.unwrap_or_else(Isa::best);
        let Some((most, list)) = sweeps(c, acc, rhs.dtype, isa, &self.knobs) else { return 0 };
        let compiled: Option<Vec<u32>> = list.iter().map(|p| self.programs.vector(p, isa)).collect();
        let Some(compiled) = compiled else { return 0 };
        kernels.extend(driver::SWEEP_KERNELS.into_iter().zip(compiled));
        most as i64
    }

    /// Compiles the kernels that sum along `k`; the most rows and the fewest steps they are for, and the columns that
    /// several rows share.
    fn along(&mut self, operands: [&Window; 2], acc: DType, kernels: &mut Vec<(Word, u32)>) -> [i64; 3] {
        let [lhs, rhs] = operands;
        let adjacent = |stride: Stride, w: &Window| stride == Stride::Const(w.dtype.size() as i64);
        if !adjacent(lhs.col, lhs) || !adjacent(rhs.row, rhs) {
            return [0; 3];
        }
        let isa = self.options.isa.unwrap_or_else(Isa::best);
        let Some(plan) = along::plan(acc, operands.map(|w| w.dtype), isa, &self.knobs) else { return [0; 3] };
        let compiled: Option<Vec<u32>> = plan.kernels.iter().map(|p| self.programs.vector(p, isa)).collect();
        let Some(compiled) = compiled else { return [0; 3] };
        kernels.extend(along::KERNELS.into_iter().zip(compiled));
        [plan.most_rows as i64, plan.least_steps as i64, i64::from(plan.columns)]
    }

    fn put(&mut self, block: ir::StackSlot, word: Word, v: ir::Value) {
        self.b.ins().stack_store(types::I64, v, block, (word as usize * 8) as i32);
    }

    /// Loops over batch axes, walking three addresses along.
    fn batches(
        &mut self,
        extents: &[ir::Value],
        bases: [ir::Value; 3],
        steps: &[&[Stride]; 3],
        body: &mut Walker<'_, Self>,
    ) -> Result<(), Error> {
        let Some((end, rest)) = extents.split_first() else { return body(self, bases) };
        let (zero, one) = (self.iconst(types::I64, 0), self.iconst(types::I64, 1));
        let inner = steps.map(|s| s.get(1..).unwrap_or_default());
        self.counted(zero, *end, one, &[], |s, i, _| {
            let mut at = bases;
            for (a, axis) in at.iter_mut().zip(steps) {
                *a = s.walk(*a, &[(i, axis.first().copied().unwrap_or(Stride::Const(0)))]);
            }
            s.batches(rest, at, &inner, body)?;
            Ok(Vec::new())
        })?;
        Ok(())
    }
}

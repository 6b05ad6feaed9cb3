//! Operands of products on their way to shared memory.
//!
//! In: an operand's window, and which step of the summed axis. Out: the step's part of it in shared memory, as [`Tile`]
//! describes, zeros where the window ends. Each thread copies chunks of eight elements: 16 bytes at a time and without
//! waiting where the tensor allows it, element by element elsewhere.

use super::super::product::Tile;
use super::access::Place;
use super::emit::{Done, I, P, Space, V};
use super::lower::{Held, Lower};
use helion_ir::loops::{Mem, Operand};
use inkwell::IntPredicate;

/// An operand being staged.
pub(super) struct Source<'c, 'o> {
    pub operand: &'o Operand,
    pub tile: Tile,
    /// The axes of the memory that rows and columns of the tile walk.
    pub row_axis: Option<u32>,
    pub col_axis: Option<u32>,
    /// The window's extent along the axis that is not summed, and along the summed one.
    pub other: I<'c>,
    pub summed: I<'c>,
}

/// A thread's copies of one step, prepared.
pub(super) struct Ahead<'c> {
    /// Where each comes from.
    pub copies: Vec<I<'c>>,
    /// Where the first goes within a stage; the others lie `apart` bytes on.
    place: I<'c>,
    apart: u32,
    /// Bytes from one step to the next.
    pub by: I<'c>,
}

impl<'c, 'a> Lower<'c, 'a> {
    /// Where a chunk of a row lies in a tile, in bytes.
    pub(super) fn chunk_offset(&self, tile: Tile, row: I<'c>, chunk: I<'c>) -> Done<I<'c>> {
        let e = &self.e;
        let in_row = tile.width() / tile.chunk();
        let (shift, mask) = tile.swizzle();
        let swap = e.and(e.shr(row, u64::from(shift))?, e.i32(i64::from(mask)))?;
        let column = e.shr(chunk, u64::from(in_row.trailing_zeros()))?;
        let place = e.xor(e.and(chunk, e.i32(i64::from(in_row) - 1))?, swap)?;
        let line = e.add(e.mul(column, e.i32(i64::from(tile.rows)))?, row)?;
        let line = e.mul(line, e.i32(i64::from(tile.line())))?;
        e.add(line, e.shl(place, 4)?)
    }

    /// The row and the chunk of a thread's first copy, and how many rows lie between its copies.
    fn own_chunk(&self, tile: Tile) -> Done<(I<'c>, I<'c>, u32)> {
        let threads = 32u32 << self.plan.warps;
        let in_row = tile.cols / tile.chunk();
        let thread = self.e.or(self.e.shl(self.warp, 5)?, self.lane)?;
        let row = self.e.shr(thread, u64::from(in_row.trailing_zeros()))?;
        let chunk = self.e.and(thread, self.e.i32(i64::from(in_row) - 1))?;
        Ok((row, chunk, threads / in_row))
    }

    /// Whether every thread copies as often as the others, with rows between that swap chunks alike.
    fn is_even(&self, tile: Tile) -> bool {
        let threads = 32u32 << self.plan.warps;
        let in_row = tile.cols / tile.chunk();
        (tile.rows * in_row).is_multiple_of(threads) && (threads / in_row).is_multiple_of(8) && in_row <= threads
    }

    /// Starts copying the part of an operand from `first` on along the summed axis to shared memory at `to`.
    pub(super) fn stage(&mut self, s: &Source<'c, '_>, first: I<'c>, to: P<'c>) -> Done {
        if !s.tile.chunks || !self.is_even(s.tile) {
            return self.stage_with_care(s, first, to);
        }
        let (whole, cut, after) = (self.e.block("whole"), self.e.block("cut"), self.e.block("staged"));
        let (rows, cols) = if s.tile.along { (s.tile.rows, s.tile.cols) } else { (s.tile.cols, s.tile.rows) };
        let end = self.e.add(first, self.e.i64(i64::from(cols)))?;
        let all = self.e.compare(IntPredicate::SLE, end, s.summed)?;
        let every = self.e.compare(IntPredicate::SGE, s.other, self.e.i64(i64::from(rows)))?;
        let inside = self.e.and(all, every)?;
        self.e.branch(inside, whole, cut)?;
        self.e.at(whole);
        let mut ahead = self.ahead(s, first)?;
        self.copy_ahead(s, &mut ahead, to)?;
        self.e.jump(after)?;
        self.e.at(cut);
        self.stage_with_care(s, first, to)?;
        self.e.jump(after)?;
        self.e.at(after);
        Ok(())
    }

    /// The copies of a thread from `first` on along the summed axis, all of it being inside there. The window has at least
    /// one row and column.
    pub(super) fn ahead(&mut self, s: &Source<'c, '_>, first: I<'c>) -> Done<Ahead<'c>> {
        let (row, chunk, apart) = self.own_chunk(s.tile)?;
        let place = self.chunk_offset(s.tile, row, chunk)?;
        let (row, col) =
            (self.e.to_i64(row)?, self.e.to_i64(self.e.shl(chunk, u64::from(s.tile.chunk().trailing_zeros()))?)?);
        let mut copies = Vec::new();
        for turn in 0..s.tile.rows / apart {
            let row = self.e.add(row, self.e.i64(i64::from(turn * apart)))?;
            // Rows and columns that the window does not have may hold anything: what is made of them is in rows and
            // columns that the result does not have. They are copies of the first.
            let (row, col) = if s.tile.along {
                let inside = self.e.compare(IntPredicate::SLT, row, s.other)?;
                let row = self.e.select(inside, row.into(), self.e.i64(0).into())?.into_int_value();
                (row, self.e.add(col, first)?)
            } else {
                let end = self.e.add(col, self.e.i64(i64::from(s.tile.chunk())))?;
                let inside = self.e.compare(IntPredicate::SLE, end, s.other)?;
                let col = self.e.select(inside, col.into(), self.e.i64(0).into())?.into_int_value();
                (self.e.add(row, first)?, col)
            };
            let from = self.window(s, row, col)?.base;
            copies.push(self.e.builder.build_ptr_to_int(from, self.e.context.i64_type(), "")?);
        }
        // How far the window moves with each step.
        let zero = self.e.i64(0);
        let step = self.e.i64(i64::from(if s.tile.along { s.tile.cols } else { s.tile.rows }));
        let [here, there] = [zero, step].map(|k| if s.tile.along { (zero, k) } else { (k, zero) });
        let (here, there) = (self.window(s, here.0, here.1)?.base, self.window(s, there.0, there.1)?.base);
        let t = self.e.context.i64_type();
        let here = self.e.builder.build_ptr_to_int(here, t, "")?;
        let there = self.e.builder.build_ptr_to_int(there, t, "")?;
        let by = self.e.sub(there, here)?;
        Ok(Ahead { copies, place, apart: apart * s.tile.line(), by })
    }

    /// Whether copies can be prepared: they come in whole chunks, also where the window ends.
    pub(super) fn can_prepare(&self, s: &Source<'c, '_>) -> bool {
        s.tile.chunks && self.is_even(s.tile)
    }

    /// Starts a thread's prepared copies, to shared memory at `to`.
    pub(super) fn copy_ahead(&mut self, s: &Source<'c, '_>, ahead: &mut Ahead<'c>, to: P<'c>) -> Done {
        let to = self.e.offset(to, ahead.place)?;
        let space = self.array_of(s.operand.mem)?.space;
        for (turn, address) in ahead.copies.iter().enumerate() {
            let to = self.e.offset(to, self.e.i32(turn as i64 * i64::from(ahead.apart)))?;
            let from = self.e.pointer(*address, space)?;
            self.e.copy_chunk(to, from, None)?;
        }
        Ok(())
    }

    /// The same element by element or chunk by chunk, each looked at by itself.
    fn stage_with_care(&mut self, s: &Source<'c, '_>, first: I<'c>, to: P<'c>) -> Done {
        let threads = 32u32 << self.plan.warps;
        let in_row = s.tile.cols / s.tile.chunk();
        let chunks = s.tile.rows * in_row;
        let thread = self.e.or(self.e.shl(self.warp, 5)?, self.lane)?;
        // A loop, not written out: this is for the ends of windows and for operands that come in single elements.
        let (end, by) = (self.e.i32(i64::from(chunks)), self.e.i32(i64::from(threads)));
        self.counted(thread, end, by, |this, number| {
            let row = this.e.shr(number, u64::from(in_row.trailing_zeros()))?;
            let chunk = this.e.and(number, this.e.i32(i64::from(in_row) - 1))?;
            let at = this.e.offset(to, this.chunk_offset(s.tile, row, chunk)?)?;
            this.stage_chunk(s, first, row, chunk, at)
        })
    }

    /// One chunk of a row.
    fn stage_chunk(&mut self, s: &Source<'c, '_>, first: I<'c>, row: I<'c>, chunk: I<'c>, at: P<'c>) -> Done {
        let row = self.e.to_i64(row)?;
        let col = self.e.to_i64(self.e.shl(chunk, u64::from(s.tile.chunk().trailing_zeros()))?)?;
        let (row, col, rows, cols) = if s.tile.along {
            (row, self.e.add(col, first)?, s.other, s.summed)
        } else {
            (self.e.add(row, first)?, col, s.summed, s.other)
        };
        let inside = self.e.compare(IntPredicate::SLT, row, rows)?;
        let left = self.e.sub(cols, col)?;
        if s.tile.chunks {
            let left = self.clamped(left, 0, i64::from(s.tile.chunk()))?;
            let bytes = self.e.mul(left, self.e.i64(i64::from(s.tile.size)))?;
            let bytes = self.e.select(inside, bytes.into(), self.e.i64(0).into())?.into_int_value();
            // Also where nothing is copied the address must be a multiple of 16, which only rows inside promise.
            let row = self.e.select(inside, row.into(), self.e.i64(0).into())?.into_int_value();
            let from = self.window(s, row, col)?;
            return self.e.copy_chunk(at, from.base, Some(self.e.to_i32(bytes)?));
        }
        let mut all: Vec<V<'c>> = Vec::with_capacity(s.tile.chunk() as usize);
        for k in 0..i64::from(s.tile.chunk()) {
            let here = self.e.add(col, self.e.i64(k))?;
            let more = self.e.compare(IntPredicate::SGT, left, self.e.i64(k))?;
            let mask = self.e.and(inside, more)?;
            let from = self.window(s, row, here)?;
            all.push(self.e.load_elements(from.space, from.base, from.dtype, 1, Some(mask), from.constant)?[0]);
        }
        let dtype = self.array_of(s.operand.mem)?.dtype;
        self.e.store_elements(Space::Shared, at, dtype, &all, None)
    }

    fn clamped(&self, v: I<'c>, low: i64, high: i64) -> Done<I<'c>> {
        let over = self.e.compare(IntPredicate::SGT, v, self.e.i64(high))?;
        let v = self.e.select(over, self.e.i64(high).into(), v.into())?.into_int_value();
        let under = self.e.compare(IntPredicate::SLT, v, self.e.i64(low))?;
        Ok(self.e.select(under, self.e.i64(low).into(), v.into())?.into_int_value())
    }

    /// The element of an operand's window at a row and column of the tile.
    fn window(&self, s: &Source<'c, '_>, row: I<'c>, col: I<'c>) -> Done<Place<'c>> {
        let array = self.array_of(s.operand.mem)?;
        let mut index = Vec::with_capacity(s.operand.origin.len());
        for (axis, origin) in s.operand.origin.iter().enumerate() {
            let mut at = self.int(*origin)?;
            for (walks, by) in [(s.row_axis, row), (s.col_axis, col)] {
                if walks == Some(axis as u32) {
                    at = self.e.add(at, by)?;
                }
            }
            index.push(V::IntValue(at));
        }
        let offset = self.offset_of(array, &index)?;
        self.place(array, offset)
    }

    /// Whether an operand is a buffer in registers.
    pub(super) fn in_registers(&self, o: &Operand) -> Option<&Held<'c>> {
        match o.mem {
            Mem::Buffer(b) => Some(&self.buffers[b.index()]).filter(|h| matches!(h, Held::Registers(..))),
            Mem::Tensor(_) => None,
        }
    }
}

//! Elements of tensors and buffers, one at a time and in runs.
//!
//! In: what is accessed and the indices, as values. Out: addresses. Within a nest the address of a thread's first element
//! is computed once; the others are some steps on, by the factors of the indices.

use super::emit::{Done, I, P, Space, V, mistake};
use super::lower::{Array, Held, Lower, Stride};
use helion_ir::dtype::DType;
use helion_ir::loops::Mem;

/// An element in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'c> {
    pub base: P<'c>,
    pub space: Space,
    pub dtype: DType,
    pub constant: bool,
}

impl<'c, 'a> Lower<'c, 'a> {
    /// What is accessed, when it is in memory.
    pub(super) fn array_of(&self, mem: Mem) -> Done<&Array<'c>> {
        let found = match mem {
            Mem::Tensor(p) => self.tensors[p.index()].as_ref(),
            Mem::Buffer(b) => match &self.buffers[b.index()] {
                Held::Memory(a) => Some(a),
                Held::Scalar(_) | Held::Registers(..) => None,
            },
        };
        found.map_or_else(|| mistake("an access to memory of something that is not there"), Ok)
    }

    /// The address of an element.
    pub(super) fn element(&self, mem: Mem, index: &[V<'c>]) -> Done<Place<'c>> {
        let array = self.array_of(mem)?;
        let offset = self.offset_of(array, index)?;
        self.place(array, offset)
    }

    /// The place of an element so many elements from the first.
    pub(super) fn place(&self, array: &Array<'c>, offset: I<'c>) -> Done<Place<'c>> {
        let bytes = self.e.mul(offset, offset.get_type().const_int(array.dtype.size() as u64, false))?;
        let base = self.e.offset(array.base, bytes)?;
        Ok(Place { base, space: array.space, dtype: array.dtype, constant: array.constant })
    }

    /// How many elements from the first.
    pub(super) fn offset_of(&self, array: &Array<'c>, index: &[V<'c>]) -> Done<I<'c>> {
        let mut sum = self.narrowed(array, self.e.i64(0))?;
        for (i, s) in index.iter().zip(&array.strides) {
            let V::IntValue(i) = i else { return mistake("an index that is no integer") };
            let term = self.times(array, self.narrowed(array, *i)?, *s)?;
            sum = self.e.add(sum, term)?;
        }
        Ok(sum)
    }

    /// An index in the width in which offsets into an array are computed.
    pub(super) fn narrowed(&self, array: &Array<'c>, i: I<'c>) -> Done<I<'c>> {
        let narrow = match array.space {
            Space::Shared => true,
            Space::Global => self.options.facts.narrow,
            Space::Generic | Space::Constant => false,
        };
        if narrow { self.e.to_i32(i) } else { Ok(i) }
    }

    /// An index times a stride.
    pub(super) fn times(&self, array: &Array<'c>, i: I<'c>, s: Stride<'c>) -> Done<I<'c>> {
        match s {
            Stride::Const(1) => Ok(i),
            Stride::Const(n) => self.e.mul(i, i.get_type().const_int(n as u64, true)),
            Stride::Value(v) => self.e.mul(i, self.narrowed(array, v)?),
        }
    }

    /// Loads outside nests; all threads get the element.
    pub(super) fn load_one(&self, mem: Mem, args: &[V<'c>], masked: bool) -> Done<V<'c>> {
        if let Mem::Buffer(b) = mem
            && let Held::Scalar(p) = &self.buffers[b.index()]
        {
            let value = self.e.load(self.e.register_type(self.f.buffers[b.index()].dtype), *p, 1)?;
            return self.or_other(value, args, masked);
        }
        let index = &args[..args.len() - if masked { 2 } else { 0 }];
        let place = self.element(mem, index)?;
        let mask = masked.then(|| args[index.len()].into_int_value());
        let value = self.e.load_elements(place.space, place.base, place.dtype, 1, mask, place.constant)?[0];
        self.or_other(value, args, masked)
    }

    /// `other` where a mask is false.
    fn or_other(&self, value: V<'c>, args: &[V<'c>], masked: bool) -> Done<V<'c>> {
        match args {
            [.., mask, other] if masked => self.e.select(mask.into_int_value(), value, *other),
            _ => Ok(value),
        }
    }

    /// Stores outside nests: the first thread does it.
    pub(super) fn store_one(&self, mem: Mem, args: &[V<'c>], masked: bool) -> Done {
        let index = &args[1..args.len() - usize::from(masked)];
        let mask = args.last().filter(|_| masked).map(|m| m.into_int_value());
        if let Mem::Buffer(b) = mem
            && let Held::Scalar(p) = &self.buffers[b.index()]
        {
            let value = match mask {
                None => args[0],
                Some(m) => self.e.select(m, args[0], self.e.load(args[0].get_type(), *p, 1)?)?,
            };
            return self.e.store(value, *p, 1);
        }
        let place = self.element(mem, index)?;
        let mask = match mask {
            Some(m) => self.e.and(m, self.first_thread)?,
            None => self.first_thread,
        };
        self.e.store_elements(place.space, place.base, place.dtype, &args[..1], Some(mask))
    }
}

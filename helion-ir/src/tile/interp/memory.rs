//! Loads, stores and atomics of one program instance.

use super::Machine;
use super::value::{Extents, Tile, broadcast_strides, count, walk};
use crate::dtype::Literal;
use crate::elementwise::BinaryOp;
use crate::eval;
use crate::tile::types::{AtomicOp, Index, ParamId, ValueId};

/// What an index selects.
struct Selection {
    /// Extents of the axes that stay.
    dims: Extents,
    /// For each point in row-major order, where it is in the tensor's storage; `None` outside the tensor.
    positions: Vec<Option<usize>>,
}

impl Machine<'_> {
    pub(super) fn load(&self, tensor: ParamId, index: &[Index], args: &[ValueId]) -> Result<Tile, String> {
        let s = self.selection(tensor, index)?;
        let t = self.args.tensor(tensor.index()).ok_or("a tensor was expected")?;
        let mask = self.mask(args.first(), &s)?;
        let other = match args.get(1) {
            Some(v) => self.get(*v)?.item().bits,
            None => 0,
        };
        let mut data = Vec::with_capacity(s.positions.len());
        for (i, p) in s.positions.iter().enumerate() {
            let inside = p.and_then(|p| t.get_at(p)).map_or(0, |l| l.bits);
            data.push(if mask.as_ref().is_none_or(|m| m[i]) { inside } else { other });
        }
        Ok(Tile::new(t.dtype(), s.dims, data))
    }

    pub(super) fn store(&mut self, tensor: ParamId, index: &[Index], args: &[ValueId]) -> Result<(), String> {
        let s = self.selection(tensor, index)?;
        let value = self.spread(args[0], &s)?;
        let mask = self.mask(args.get(1), &s)?;
        let t = self.args.tensor_mut(tensor.index()).ok_or("a tensor was expected")?;
        for (i, p) in s.positions.iter().enumerate() {
            if let Some(p) = p
                && mask.as_ref().is_none_or(|m| m[i])
                && !t.set_at(*p, value[i])
            {
                return Err("a store left the storage of its tensor".to_owned());
            }
        }
        Ok(())
    }

    pub(super) fn atomic(
        &mut self,
        op: AtomicOp,
        tensor: ParamId,
        index: &[Index],
        args: &[ValueId],
    ) -> Result<Tile, String> {
        let s = self.selection(tensor, index)?;
        let value = self.spread(args[0], &s)?;
        let (expected, mask) = match op {
            AtomicOp::CompareSwap => (self.spread(args[1], &s)?, self.mask(args.get(2), &s)?),
            AtomicOp::Add | AtomicOp::Max | AtomicOp::Min | AtomicOp::Exchange => {
                (Vec::new(), self.mask(args.get(1), &s)?)
            }
        };
        let t = self.args.tensor_mut(tensor.index()).ok_or("a tensor was expected")?;
        let mut data = vec![0; s.positions.len()];
        for (i, p) in s.positions.iter().enumerate() {
            let (Some(p), true) = (*p, mask.as_ref().is_none_or(|m| m[i])) else { continue };
            let old = t.get_at(p).ok_or("an atomic left the storage of its tensor")?;
            let new = match op {
                AtomicOp::Add => eval::binary(BinaryOp::Add, old, value[i]),
                AtomicOp::Max => eval::binary(BinaryOp::Max, old, value[i]),
                AtomicOp::Min => eval::binary(BinaryOp::Min, old, value[i]),
                AtomicOp::Exchange => value[i],
                AtomicOp::CompareSwap if old == expected[i] => value[i],
                AtomicOp::CompareSwap => old,
            };
            t.set_at(p, new);
            data[i] = old.bits;
        }
        Ok(Tile::new(t.dtype(), s.dims, data))
    }

    /// A mask at every selected point; `None` when there is none.
    fn mask(&self, v: Option<&ValueId>, s: &Selection) -> Result<Option<Vec<bool>>, String> {
        v.map(|v| Ok(self.spread(*v, s)?.into_iter().map(Literal::is_true).collect())).transpose()
    }

    /// A value at every selected point.
    fn spread(&self, v: ValueId, s: &Selection) -> Result<Vec<Literal>, String> {
        let t = self.get(v)?;
        let strides = broadcast_strides(&t.dims, &s.dims)?;
        let mut all = Vec::with_capacity(s.positions.len());
        walk(&s.dims, [&strides], |[i]| all.push(t.get(i)));
        Ok(all)
    }

    fn selection(&self, tensor: ParamId, index: &[Index]) -> Result<Selection, String> {
        let t = self.args.tensor(tensor.index()).ok_or("a tensor was expected")?;
        let mut dims = Extents::new();
        let mut positions = vec![Some(t.offset() as i64)];
        for ((entry, &extent), &stride) in index.iter().zip(t.dims()).zip(t.strides()) {
            let (indices, keeps) = self.indices(entry, extent)?;
            if keeps {
                dims.push(indices.len());
            }
            count(&[positions.len(), indices.len()])?;
            let steps: Vec<Option<i64>> =
                indices.into_iter().map(|i| (0..extent as i64).contains(&i).then(|| i * stride)).collect();
            positions = positions.iter().flat_map(|p| steps.iter().map(move |s| Some((*p)? + (*s)?))).collect();
        }
        let positions = positions.into_iter().map(|p| p.and_then(|p| usize::try_from(p).ok())).collect();
        Ok(Selection { dims, positions })
    }

    /// The indices of one entry, and whether its axis stays.
    fn indices(&self, entry: &Index, extent: u64) -> Result<(Vec<i64>, bool), String> {
        Ok(match entry {
            Index::Full => {
                count(&[extent as usize])?;
                ((0..extent as i64).collect(), true)
            }
            Index::Tile(t, offset) => {
                let offset = match offset {
                    Some(v) => self.get(*v)?.item().to_i64(),
                    None => 0,
                };
                let (begin, end) = self.block(*t)?;
                count(&[(end - begin) as usize])?;
                ((begin..end).map(|i| i.wrapping_add(offset)).collect(), true)
            }
            Index::Scalar(v) => (vec![self.get(*v)?.item().to_i64()], false),
            Index::Gather(v) => (self.get(*v)?.elements().map(Literal::to_i64).collect(), true),
        })
    }
}

//! Tensors from safetensors files (feature `safetensors`).
//!
//! A file is read into aligned memory, or mapped; every tensor taken from it is a view of that memory.
//! Only data that is not aligned for its element type is copied. Whatever a file contains, the worst
//! outcome is an [`Error`] that names the problem.

use super::Device;
use super::alloc::Block;
use super::extent::{count, row_major};
use super::storage::Storage;
use super::tensor::Tensor;
use crate::error::{Error, Result};
use crate::lang::Elem;
use ::safetensors::Dtype;
use helion_ir::dtype::DType;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

/// A safetensors file whose tensors can be taken by name.
pub struct SafeTensors {
    /// What errors call it.
    origin: String,
    /// Keeps the bytes alive.
    storage: Arc<Storage>,
    tensors: BTreeMap<String, Entry>,
}

/// One tensor of a file.
struct Entry {
    dtype: Dtype,
    dims: Vec<usize>,
    /// The first byte; `bytes` bytes are within the file's.
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pointers lead into `storage`, whose bytes are not written while it is shared.
unsafe impl Send for SafeTensors {}
// SAFETY: as above.
unsafe impl Sync for SafeTensors {}

impl SafeTensors {
    /// Reads a file into memory.
    ///
    /// # Errors
    /// When it cannot be read, or is not a valid safetensors file.
    pub fn read(path: impl AsRef<Path>) -> Result<SafeTensors> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let failed = |e: std::io::Error| Error::file(format!("{origin}: {e}"));
        let mut file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let len = usize::try_from(len).map_err(|_| Error::file(format!("{origin}: too large for memory")))?;
        Self::fill(origin.clone(), len, |bytes| file.read_exact(bytes).map_err(failed))
    }

    /// Copies a file's bytes.
    ///
    /// # Errors
    /// When they are not a valid safetensors file.
    pub fn from_bytes(bytes: &[u8]) -> Result<SafeTensors> {
        let mut rest = bytes;
        Self::fill("safetensors data".into(), bytes.len(), |to| {
            let (now, later) = rest.split_at(to.len().min(rest.len()));
            to[..now.len()].copy_from_slice(now);
            rest = later;
            Ok(())
        })
    }

    /// Maps a file into memory: nothing is read until it is used.
    ///
    /// # Errors
    /// When it cannot be mapped, or is not a valid safetensors file.
    ///
    /// # Safety
    /// The file must not be changed or truncated, by any process, while a tensor of it lives.
    pub unsafe fn map(path: impl AsRef<Path>) -> Result<SafeTensors> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let failed = |e: std::io::Error| Error::file(format!("{origin}: {e}"));
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the caller promises that the file does not change.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
        let (start, len) = (NonNull::from(&map[..]).cast::<u8>(), map.len());
        // SAFETY: the map is moved into the owner and its memory stays; it is never written.
        let storage = unsafe { Storage::foreign(Device::Cpu, start, false, Box::new(map)) };
        Self::parse(origin, Arc::new(storage), start, len)
    }

    /// `read` is called twice: for the 8 bytes of the header's length, then for the rest.
    fn fill(origin: String, len: usize, mut read: impl FnMut(&mut [u8]) -> Result<()>) -> Result<SafeTensors> {
        let mut head = [0u8; 8];
        if len < head.len() {
            return Err(Error::file(format!("{origin}: truncated: {len} bytes are too few for a safetensors file")));
        }
        read(&mut head)?;
        // Put the data, which follows the header, on a cache line.
        let header = 8 + (u64::from_le_bytes(head) % 64) as usize;
        let pad = (64 - header % 64) % 64;
        let total = len.checked_add(pad).ok_or_else(|| Error::file(format!("{origin}: too large for memory")))?;
        let block = Block::new(total)?;
        // SAFETY: the block has `pad + len` bytes.
        let start = unsafe { block.ptr().add(pad) };
        // SAFETY: these bytes are in the block, initialised, and nobody else's yet.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) };
        bytes[..8].copy_from_slice(&head);
        read(&mut bytes[8..])?;
        Self::parse(origin, Arc::new(Storage::block(block)), start, len)
    }

    /// `len` bytes at `start` must be in `storage`.
    fn parse(origin: String, storage: Arc<Storage>, start: NonNull<u8>, len: usize) -> Result<SafeTensors> {
        // SAFETY: in the storage, initialised, and not written: the storage is shared from here on.
        let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), len) };
        let file = ::safetensors::SafeTensors::deserialize(bytes)
            .map_err(|e| Error::file(format!("{origin}: not a valid safetensors file: {e}")))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let data = view.data();
            // From `start` rather than from `data`: a sole owner may write through it later.
            let offset = data.as_ptr() as usize - bytes.as_ptr() as usize;
            // SAFETY: `data` is a part of `bytes`.
            let start = unsafe { start.add(offset) };
            tensors.insert(name, Entry { dtype: view.dtype(), dims: view.shape().to_vec(), start, bytes: data.len() });
        }
        Ok(SafeTensors { origin, storage, tensors })
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|e| &e.dims[..])
    }

    /// The element type of a tensor; `None` also for types that have no counterpart here.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.tensors.get(name).and_then(|e| dtype(e.dtype))
    }

    /// A tensor by name: a view of the file's memory, or a copy if the file did not align it.
    ///
    /// # Errors
    /// When there is no such tensor, or it has another element type or number of axes.
    pub fn tensor<T: Elem, const R: usize>(&self, name: &str) -> Result<Tensor<T, R>> {
        let refuse = |what: String| Error::file(format!("{}: tensor `{name}`: {what}", self.origin));
        let entry = self.tensors.get(name).ok_or_else(|| refuse("there is none of this name".into()))?;
        if dtype(entry.dtype) != Some(T::DTYPE) {
            return Err(refuse(format!("its element type is {:?}, not {}", entry.dtype, T::DTYPE)));
        }
        let dims: [usize; R] = entry.dims[..]
            .try_into()
            .map_err(|_| refuse(format!("its shape {:?} has {} axes, not {R}", entry.dims, entry.dims.len())))?;
        let n = count(&dims, size_of::<T>()).map_err(|e| refuse(e.to_string()))?;
        if n * size_of::<T>() != entry.bytes {
            return Err(refuse(format!("shape {dims:?} does not fit {} bytes", entry.bytes)));
        }
        // SAFETY: in the storage, initialised, and not written while shared.
        let bytes = unsafe { std::slice::from_raw_parts(entry.start.as_ptr(), entry.bytes) };
        if T::DTYPE == DType::Bool && bytes.iter().any(|b| *b > 1) {
            return Err(refuse("it holds bytes other than 0 and 1, which are not of type bool".into()));
        }
        let ptr = entry.start.cast::<T>();
        if ptr.is_aligned() {
            let (strides, storage) = (row_major(&dims), Arc::clone(&self.storage));
            return Ok(Tensor { ptr, dims, strides, storage, element: PhantomData });
        }
        let mut copy = Tensor::<T, R>::new_on(Device::Cpu, dims);
        let to = copy.as_mut_slice()?;
        // SAFETY: `to` has exactly so many bytes, checked above, and every pattern in them is a `T`.
        unsafe { to.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(copy)
    }
}

/// The element type as we name it; safetensors may know types that we do not.
fn dtype(d: Dtype) -> Option<DType> {
    Some(match d {
        Dtype::BOOL => DType::Bool,
        Dtype::I8 => DType::I8,
        Dtype::I16 => DType::I16,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        Dtype::U8 => DType::U8,
        Dtype::U16 => DType::U16,
        Dtype::U32 => DType::U32,
        Dtype::U64 => DType::U64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F8_E4M3 => DType::F8E4M3,
        Dtype::F8_E5M2 => DType::F8E5M2,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// A file from a header and data, with the header padded by `pad` spaces.
    fn file(header: &str, pad: usize, data: &[u8]) -> Vec<u8> {
        let header = format!("{header}{}", " ".repeat(pad));
        let mut out = (header.len() as u64).to_le_bytes().to_vec();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(data);
        out
    }

    fn floats(pad: usize) -> Vec<u8> {
        let data: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        file(r#"{"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#, pad, &data)
    }

    #[test]
    fn tensors_are_read_whatever_their_alignment() {
        let dir = std::env::temp_dir().join(format!("helion-safetensors-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for pad in 0..9 {
            let bytes = floats(pad);
            let path = dir.join(format!("{pad}.safetensors"));
            std::fs::write(&path, &bytes).unwrap();
            // SAFETY: nobody changes the file.
            let mapped = unsafe { SafeTensors::map(&path) }.unwrap();
            for f in [SafeTensors::from_bytes(&bytes).unwrap(), SafeTensors::read(&path).unwrap(), mapped] {
                let mut x = f.tensor::<f32, 2>("x").unwrap();
                drop(f);
                assert_eq!(x.to_vec().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
                x.set([0, 0], 9.0).unwrap();
                assert_eq!(x.get([0, 0]), Some(9.0));
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn reading_aligns_data() {
        let f = SafeTensors::from_bytes(&floats(3)).unwrap();
        let (x, y) = (f.tensor::<f32, 2>("x").unwrap(), f.tensor::<f32, 2>("x").unwrap());
        assert_eq!(x.as_ptr() as usize % 64, 0);
        assert_eq!(x.as_ptr(), y.as_ptr());
        assert_eq!((f.dtype("x"), f.dims("x")), (Some(DType::F32), Some(&[2, 3][..])));
        assert_eq!(f.names().collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn wrong_requests_name_the_problem() {
        let f = SafeTensors::from_bytes(&floats(0)).unwrap();
        let text = |r: Result<()>| r.unwrap_err().to_string();
        assert!(text(f.tensor::<f32, 2>("y").map(drop)).contains("`y`: there is none"));
        assert!(text(f.tensor::<f64, 2>("x").map(drop)).contains("F32, not f64"));
        assert!(text(f.tensor::<f32, 3>("x").map(drop)).contains("2 axes, not 3"));
    }

    #[test]
    fn hostile_files_are_errors() {
        let h = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let good = floats(0);
        let mut corpus = vec![
            vec![],
            vec![0; 7],
            vec![0; 8],
            vec![0xff; 64],
            u64::MAX.to_le_bytes().to_vec(),
            file("{", 0, &[]),
            file("[]", 0, &[]),
            file("{}", 0, &[1]),
            file("\u{0}{}", 0, &[]),
            file(&h("F32", "[2,3]", "[0,20]"), 0, &[0; 20]),
            file(&h("F32", "[2,3]", "[0,24]"), 0, &[0; 20]),
            file(&h("F32", "[2,3]", "[24,0]"), 0, &[0; 24]),
            file(&h("F32", "[2,3]", "[4,28]"), 0, &[0; 28]),
            file(&h("F32", "[18446744073709551615,2]", "[0,8]"), 0, &[0; 8]),
            file(&h("F32", "[4611686018427387904,4]", "[0,0]"), 0, &[]),
            file(&h("F32", "[-1]", "[0,4]"), 0, &[0; 4]),
            file(&h("F99", "[1]", "[0,4]"), 0, &[0; 4]),
            file(&h("F32", "[1]", "[0,18446744073709551615]"), 0, &[0; 4]),
            file(
                r#"{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
                0,
                &[0; 3],
            ),
        ];
        corpus.extend((0..good.len()).map(|n| good[..n].to_vec()));
        for bytes in corpus {
            match SafeTensors::from_bytes(&bytes).and_then(|f| f.tensor::<f32, 2>("x").map(drop)) {
                Ok(()) => panic!("accepted {bytes:?}"),
                Err(e) => assert!(matches!(e.kind(), Kind::File(t) if !t.is_empty()), "{e}"),
            }
        }
        let bools = file(&h("BOOL", "[3]", "[0,3]"), 0, &[0, 1, 2]);
        let e = SafeTensors::from_bytes(&bools).unwrap().tensor::<bool, 1>("x").unwrap_err();
        assert!(e.to_string().contains("0 and 1"), "{e}");
        assert!(SafeTensors::read("/nonexistent/file").is_err());
    }

    #[test]
    fn flipped_bytes_never_do_worse_than_an_error() {
        let good = floats(0);
        for i in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[i] ^= 1 << bit;
                if let Ok(x) = SafeTensors::from_bytes(&bytes).and_then(|f| f.tensor::<f32, 2>("x")) {
                    assert_eq!(x.to_vec().unwrap().len(), x.len());
                }
            }
        }
    }
}

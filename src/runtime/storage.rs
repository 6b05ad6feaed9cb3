//! The memory behind tensors, shared by all views of it.
//!
//! A [`Storage`] is never written while more than one tensor refers to it: `Tensor` goes through
//! [`std::sync::Arc::get_mut`] first and copies when that fails. That single rule is why safe code
//! cannot make two tensors that write, or write and read, the same memory.

use super::alloc::Block;
use super::{Device, cuda};
use crate::error::Error;
use std::any::Any;
use std::ptr::NonNull;

/// Memory with an owner.
pub struct Storage {
    ptr: NonNull<u8>,
    writable: bool,
    device: Device,
    owner: Owner,
}

/// Who keeps the memory alive.
enum Owner {
    /// Ours on the host; freed with the storage.
    Block(#[allow(dead_code, reason = "held for its destructor")] Block),
    /// Ours on a GPU; freed with the storage.
    Gpu(#[allow(dead_code, reason = "held for its destructor")] cuda::Block),
    /// Somebody else's value, dropped with the storage.
    Foreign(#[allow(dead_code, reason = "held for its destructor")] Box<dyn Any + Send + Sync>),
    /// No memory: the tensor could not be made, and this is why.
    Failed(Error),
}

// SAFETY: the memory is owned by `owner`, which is `Send + Sync`; it is written only through an
// exclusive reference to the storage, and read through shared ones.
unsafe impl Send for Storage {}
// SAFETY: as above.
unsafe impl Sync for Storage {}

/// What a tensor that could not be made points to: zeros, large enough for any element.
static NOTHING: [u64; 2] = [0; 2];

impl Storage {
    /// Memory of ours.
    pub fn block(block: Block) -> Storage {
        Storage { ptr: block.ptr(), writable: true, device: Device::Cpu, owner: Owner::Block(block) }
    }

    /// Memory of ours on the GPU of this number. Its address is no place of the host: nothing reads or writes there
    /// unless the device is asked first.
    pub fn gpu(index: usize, block: cuda::Block) -> Storage {
        let address = std::ptr::without_provenance_mut(block.address().0 as usize);
        // The driver gives no memory at 0.
        let ptr = NonNull::new(address).unwrap_or(NonNull::dangling());
        Storage { ptr, writable: true, device: Device::Cuda(index), owner: Owner::Gpu(block) }
    }

    /// Memory of someone else, on a device.
    ///
    /// # Safety
    /// What tensors on it reach must stay readable, initialised, and unchanged by others while `owner`
    /// lives; if `writable`, they must be writable and nobody else may read them either.
    pub unsafe fn foreign(device: Device, ptr: NonNull<u8>, writable: bool, owner: Box<dyn Any + Send + Sync>) -> Self {
        Storage { ptr, writable, device, owner: Owner::Foreign(owner) }
    }

    /// The storage of a tensor that could not be made.
    pub fn failed(error: Error) -> Storage {
        let ptr = NonNull::from(&NOTHING).cast();
        Storage { ptr, writable: false, device: Device::Cpu, owner: Owner::Failed(error) }
    }

    /// First byte.
    pub fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }
    /// Where it is.
    pub fn device(&self) -> Device {
        self.device
    }
    /// Whether a sole owner may write.
    pub fn writable(&self) -> bool {
        self.writable
    }
    /// Why there is no memory.
    pub fn error(&self) -> Option<&Error> {
        match &self.owner {
            Owner::Failed(e) => Some(e),
            Owner::Block(_) | Owner::Gpu(_) | Owner::Foreign(_) => None,
        }
    }
}

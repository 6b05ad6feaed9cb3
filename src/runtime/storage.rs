//! The memory behind tensors, shared by all views of it.
//!
//! A [`Storage`] is never written while more than one tensor refers to it: `Tensor` goes through
//! [`std::sync::Arc::get_mut`] first and copies when that fails. That single rule is why safe code
//! cannot make two tensors that write, or write and read, the same memory.

use super::alloc::Block;
use crate::error::Error;
use std::any::Any;
use std::ptr::NonNull;

/// Memory with an owner.
pub struct Storage {
    ptr: NonNull<u8>,
    writable: bool,
    owner: Owner,
}

/// Who keeps the memory alive.
enum Owner {
    /// Ours; freed with the storage.
    Block(#[allow(dead_code, reason = "held for its destructor")] Block),
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
        Storage { ptr: block.ptr(), writable: true, owner: Owner::Block(block) }
    }

    /// Memory of someone else.
    ///
    /// # Safety
    /// What tensors on it reach must stay readable, initialised, and unchanged by others while `owner`
    /// lives; if `writable`, they must be writable and nobody else may read them either.
    pub unsafe fn foreign(ptr: NonNull<u8>, writable: bool, owner: Box<dyn Any + Send + Sync>) -> Self {
        Storage { ptr, writable, owner: Owner::Foreign(owner) }
    }

    /// The storage of a tensor that could not be made.
    pub fn failed(error: Error) -> Storage {
        let ptr = NonNull::from(&NOTHING).cast();
        Storage { ptr, writable: false, owner: Owner::Failed(error) }
    }

    /// First byte.
    pub fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }
    /// Whether a sole owner may write.
    pub fn writable(&self) -> bool {
        self.writable
    }
    /// Why there is no memory.
    pub fn error(&self) -> Option<&Error> {
        match &self.owner {
            Owner::Failed(e) => Some(e),
            Owner::Block(_) | Owner::Foreign(_) => None,
        }
    }
}

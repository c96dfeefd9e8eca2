//! FUSE over io_uring: requests come to the processor that they are made on, in memory that the kernel fills.
//!
//! Each processor that there may ever be has a queue of entries. One thread has a [`FuseRing`] for one or more of
//! them: it hands all entries to the kernel, waits for requests, and commits each entry with the answer in it, which
//! makes it wait for the next request.

use super::ffi::uring::Uring;

pub use super::ffi::fuse_ring::{ARGUMENT_BYTES, Entry, Event, FuseRing, Remote};

/// `Y` where the administrator allows it.
pub const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";

/// Can requests come so? The administrator must allow it, as io_uring itself. Whoever agrees with the kernel on it has
/// to hand it the entries of all queues: no request gets through before.
pub fn is_offered() -> bool {
    let parameter = std::fs::read(PARAMETER);
    parameter.is_ok_and(|value| value.starts_with(b"Y")) && Uring::new(1).is_ok()
}

//! Running a verb.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sys::errno::{Errno, Result};

/// Runs a verb; a panic in it is a bug of ours and an I/O error for the caller.
pub fn run<T>(verb: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(verb)).unwrap_or_else(|_| {
        log::error!("a request failed by a bug in plyfs; see the panic message above");
        Err(Errno::EIO)
    })
}

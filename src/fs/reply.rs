//! Running a verb and sending its result.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuser::{ReplyEmpty, ReplyWrite, ReplyXattr};

use super::convert;
use crate::sys::errno::{Errno, Result};

/// Runs a verb; a panic in it is a bug of ours and an I/O error for the caller.
pub fn run<T>(verb: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(verb)).unwrap_or_else(|_| {
        log::error!("a request failed by a bug in plyfs; see the panic message above");
        Err(Errno::EIO)
    })
}

/// Answers a verb that gives nothing but success.
pub fn empty(result: Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

/// Answers a verb that moves bytes.
pub fn written(result: Result<usize>, reply: ReplyWrite) {
    match result {
        Ok(len) => reply.written(u32::try_from(len).unwrap_or(u32::MAX)),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

/// Answers a list or value of attributes: its size, or the bytes if they fit.
pub fn xattr(result: Result<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match result {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(fuser::Errno::ERANGE),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

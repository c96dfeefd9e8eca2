//! Sending results by rings.

use std::time::Duration;

use super::engine::Job;
use super::wire;
use crate::fs::passthrough::{Backing, Fh, Mode};
use crate::fs::server::{Named, Told};
use crate::sys::errno::{Errno, Result};

const FOPEN_KEEP_CACHE: u32 = 1 << 1;
const FOPEN_PASSTHROUGH: u32 = 1 << 7;

/// Answers with what the result becomes.
pub fn with<T, const N: usize>(job: Job, result: Result<T>, encode: impl FnOnce(T) -> [u8; N]) {
    match result {
        Ok(value) => job.done_with(&encode(value)),
        Err(errno) => job.done(Err(errno)),
    }
}

/// Answers a verb that gives nothing but success.
pub fn empty(job: Job, result: Result<()>) {
    job.done(result.map(|()| 0));
}

/// Answers with attributes.
pub fn attr(job: Job, result: Result<Told>) {
    with(job, result, |told| wire::attributes(told.ttl, &told.attr));
}

/// Answers with an entry.
pub fn entry(job: Job, result: Result<Named>) {
    with(job, result, |named| wire::entry(of(&named)));
}

/// Answers a lookup: the kernel remembers, too, that there is nothing.
pub fn looked_up(job: Job, result: Result<Named>, ttl: Duration) {
    match result {
        Err(Errno::ENOENT) => job.done_with(&wire::negative(ttl)),
        result => entry(job, result),
    }
}

/// Answers a verb that moves bytes.
pub fn written(job: Job, result: Result<usize>) {
    with(job, result, |len| {
        wire::written(u32::try_from(len).unwrap_or(u32::MAX))
    });
}

/// Answers a list or value of attributes: its size if that is all there is room for, or the bytes if they fit.
pub fn xattr(job: Job, result: Result<Vec<u8>>, size: u32) {
    match result {
        Ok(value) if size == 0 => xattr_size(job, value.len()),
        Ok(value) if value.len() <= size as usize => job.done_with(&value),
        Ok(_) => job.done(Err(Errno::ERANGE)),
        Err(errno) => job.done(Err(errno)),
    }
}

/// Answers how long a list or value is.
pub fn xattr_size(job: Job, len: usize) {
    job.done_with(&wire::xattr_size(u32::try_from(len).unwrap_or(u32::MAX)));
}

/// Answers an ioctl.
pub fn ioctl(mut job: Job, result: Result<Vec<u8>>) {
    let sent = result.and_then(|out| {
        let head = wire::ioctl(0);
        let len = head.len() + out.len();
        let room = job.room().get_mut(..len).ok_or(Errno::EIO)?;
        room[..head.len()].copy_from_slice(&head);
        room[head.len()..].copy_from_slice(&out);
        Ok(len)
    });
    job.done(sent);
}

/// Answers an open.
pub fn opened(job: Job, result: Result<(Fh, Mode)>) {
    with(job, result, |(fh, mode)| {
        let (flags, backing) = served(&mode);
        wire::opened(fh.0, flags, backing)
    });
}

/// Answers a creation.
pub fn created(job: Job, result: Result<(Named, Fh, Mode)>) {
    with(job, result, |(named, fh, mode)| {
        let (flags, backing) = served(&mode);
        wire::created(of(&named), fh.0, flags, backing)
    });
}

/// What a name leads to, as the kernel reads it.
pub fn of(named: &Named) -> wire::Entry<'_> {
    wire::Entry {
        node: named.id.0,
        entry_ttl: named.ttl,
        attr_ttl: named.told.ttl,
        attr: &named.told.attr,
    }
}

/// What the kernel is told of the mode beside the handle: flags, and the file that it serves by itself.
fn served(mode: &Mode) -> (u32, u32) {
    match mode {
        // All changes come through this mount, so what the kernel has cached stays true.
        Mode::Cached { keep: true } => (FOPEN_KEEP_CACHE, 0),
        Mode::Passthrough(backing) => match &**backing {
            Backing::Rings(backing) => (FOPEN_PASSTHROUGH, backing.id()),
            // A mount has its requests one way or the other.
            Backing::Fuser(_) => (0, 0),
        },
        Mode::Cached { keep: false } => (0, 0),
    }
}

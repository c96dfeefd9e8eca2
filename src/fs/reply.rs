//! Sending results with fuser.

use std::time::Duration;

use fuser::{
    FopenFlags, Generation, ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, ReplyXattr,
};

use super::convert;
use super::passthrough::{Backing, Fh, Mode};
use super::server::{Named, Told};
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::FileType;

/// Nothing is reused while the kernel knows it, so generations tell nothing.
pub const GENERATION: Generation = Generation(0);

/// Answers a verb that gives nothing but success.
pub fn empty(result: Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

/// Answers with attributes.
pub fn attr(result: Result<Told>, reply: ReplyAttr) {
    match result {
        Ok(told) => reply.attr(&told.ttl, &convert::attr(&told.attr)),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

/// Answers with an entry.
pub fn entry(result: Result<Named>, reply: ReplyEntry) {
    match result {
        Ok(named) => {
            let attr = convert::entry_attr(named.id, &named.told.attr);
            reply.entry_with_ttls(&named.told.ttl, &named.ttl, &attr, GENERATION);
        }
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

/// Answers a lookup: the kernel remembers, too, that there is nothing.
pub fn looked_up(result: Result<Named>, ttl: Duration, reply: ReplyEntry) {
    match result {
        // Node 0 with a time to live.
        Err(Errno::ENOENT) => {
            let nothing = convert::bare_attr(0, FileType::File);
            reply.entry(&ttl, &nothing, GENERATION);
        }
        result => entry(result, reply),
    }
}

/// Answers with bytes.
pub fn data(result: Result<&[u8]>, reply: ReplyData) {
    match result {
        Ok(data) => reply.data(data),
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

/// Answers an open.
pub fn opened(result: Result<(Fh, Mode)>, reply: ReplyOpen) {
    let (fh, mode) = match result {
        Ok(opened) => opened,
        Err(errno) => return reply.error(convert::errno(errno)),
    };
    let (fh, flags) = (fuser::FileHandle(fh.0), open_flags(&mode));
    match backing(&mode) {
        Ok(None) => reply.opened(fh, flags),
        Ok(Some(backing)) => reply.opened_passthrough(fh, flags, backing),
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

/// Answers a creation.
pub fn created(result: Result<(Named, Fh, Mode)>, reply: ReplyCreate) {
    let (named, fh, mode) = match result {
        Ok(created) => created,
        Err(errno) => return reply.error(convert::errno(errno)),
    };
    let (fh, flags) = (fuser::FileHandle(fh.0), open_flags(&mode));
    let (attr, ttl) = (
        convert::entry_attr(named.id, &named.told.attr),
        named.told.ttl,
    );
    match backing(&mode) {
        Ok(None) => reply.created(&ttl, &attr, GENERATION, fh, flags),
        Ok(Some(backing)) => {
            reply.created_passthrough(&ttl, &attr, GENERATION, fh, flags, backing);
        }
        Err(errno) => reply.error(convert::errno(errno)),
    }
}

/// The file that the kernel serves by itself, if it does.
fn backing(mode: &Mode) -> Result<Option<&fuser::BackingId>> {
    match mode {
        Mode::Cached { .. } => Ok(None),
        Mode::Passthrough(backing) => match &**backing {
            Backing::Fuser(id) => Ok(Some(id)),
            // A mount has its requests one way or the other.
            Backing::Rings(_) => Err(Errno::EIO),
        },
    }
}

/// What the kernel is told of the mode beside the handle.
fn open_flags(mode: &Mode) -> FopenFlags {
    match mode {
        // All changes come through this mount, so what the kernel has cached stays true.
        Mode::Cached { keep: true } => FopenFlags::FOPEN_KEEP_CACHE,
        _ => FopenFlags::empty(),
    }
}

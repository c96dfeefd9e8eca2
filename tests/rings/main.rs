//! FUSE over io_uring: its engine alone, with a toy for a filesystem, and then what the tests of mounts and of requests
//! do, with all mounts by rings (`rings=on`). Needs root, and a kernel that has it.
//!
//! Not `long`: a lower layer that hangs keeps the processor waiting from which it was asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod engine;
mod option;
mod toy;

#[path = "../requests/roundtrips.rs"]
mod roundtrips;
#[allow(dead_code)] // It counts system calls, too.
#[path = "../requests/trace.rs"]
mod trace;

#[path = "../mount/attributes.rs"]
mod attributes;
#[path = "../mount/copyup.rs"]
mod copyup;
#[path = "../mount/crash.rs"]
mod crash;
#[path = "../mount/create.rs"]
mod create;
#[path = "../mount/data_only.rs"]
mod data_only;
#[path = "../mount/filesystems.rs"]
mod filesystems;
#[path = "../mount/firstopen.rs"]
mod firstopen;
#[path = "../mount/flags.rs"]
mod flags;
#[path = "../mount/identity.rs"]
mod identity;
#[path = "../mount/idle.rs"]
mod idle;
#[path = "../mount/index.rs"]
mod index;
#[path = "../mount/index_mount.rs"]
mod index_mount;
#[path = "../mount/io.rs"]
mod io;
#[path = "../mount/killed.rs"]
mod killed;
#[path = "../mount/lesser.rs"]
mod lesser;
#[path = "../mount/live.rs"]
mod live;
#[path = "../mount/lowerpass.rs"]
mod lowerpass;
#[path = "../mount/merge.rs"]
mod merge;
#[path = "../mount/metacopy.rs"]
mod metacopy;
#[path = "../mount/nested.rs"]
mod nested;
#[path = "../mount/noopen.rs"]
mod noopen;
#[path = "../mount/older.rs"]
mod older;
#[path = "../mount/oneuser.rs"]
mod oneuser;
#[path = "../mount/openfiles.rs"]
mod openfiles;
#[path = "../mount/owners.rs"]
mod owners;
#[path = "../mount/permissions.rs"]
mod permissions;
#[path = "../mount/readdir.rs"]
mod readdir;
#[path = "../mount/redirect.rs"]
mod redirect;
#[path = "../mount/remove.rs"]
mod remove;
#[path = "../mount/rename.rs"]
mod rename;
#[path = "../mount/sharing.rs"]
mod sharing;
#[path = "../mount/stress.rs"]
mod stress;
#[path = "../mount/userns.rs"]
mod userns;
#[path = "../mount/volatile.rs"]
mod volatile;
#[path = "../mount/whole.rs"]
mod whole;

//! The library in process, without FUSE: verb by verb, as any user. As root every test runs twice, with `user.` and
//! with `trusted.` marks. What holds after every test stands in `inprocess/rig.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../inprocess/mod.rs"]
mod inprocess;
#[path = "../support/mod.rs"]
mod support;

mod changes;
mod copyup;
mod create;
mod deep;
mod fds;
mod files;
mod forget;
mod index;
mod link;
mod merge;
mod metacopy;
mod oci;
mod readdir;
mod readonly;
mod remove;
mod rename;
mod setattr;
mod threads;
mod unlinked;
mod whiteout;
mod xattr;

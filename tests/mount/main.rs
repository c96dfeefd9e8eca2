//! Mounted conformance: real FUSE mounts, row by row of the specification, judged by kernel overlayfs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod copyup;
mod crash;
mod create;
mod data_only;
mod filesystems;
mod firstopen;
mod flags;
mod identity;
mod idle;
mod index;
mod index_mount;
mod io;
mod killed;
mod lesser;
mod live;
mod long;
mod lowerpass;
mod merge;
mod metacopy;
mod nested;
mod noopen;
mod older;
mod oneuser;
mod openfiles;
mod owners;
mod permissions;
mod readdir;
mod redirect;
mod remove;
mod rename;
mod sharing;
mod stress;
mod userns;
mod volatile;
mod whole;

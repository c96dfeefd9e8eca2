//! Suites that nobody here wrote, and the ways of mount(8), on mounts of plyfs: T129, T139.
//!
//! A suite is only as good as its judge: what it says of kernel overlayfs (or of ext4) over the same kind of
//! filesystem is what plyfs is held to. Where the programs come from is in `tools`; `docs/conformance.md` has the
//! results, and the suites that are run by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod fsx;
mod helper;
mod peer;
mod pjdfstest;
mod stress;
mod tools;

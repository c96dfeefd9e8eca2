//! The engine for FUSE over io_uring alone, with a toy for a filesystem: needs root, and a kernel that has it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod engine;
mod toy;

//! The store through the program: every verb on both drivers, as root and as a plain user; what kill -9 leaves; what
//! the same layers show through plyfs and through the kernel.
//!
//! Read `rig` first, then one file per subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;
#[path = "../cli/tool.rs"]
#[allow(dead_code)] // A part of it is used here.
mod tool;

mod answers;
mod archives;
mod bad_input;
mod btrfs;
mod containers;
mod contract;
mod crash;
mod dedup;
mod drivers;
mod images;
mod interop;
mod killed_images;
mod layers;
mod options;
mod progress;
mod rig;
mod shared;
mod snapshots;
mod whole;

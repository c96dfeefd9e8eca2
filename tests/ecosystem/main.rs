//! plynet under engines and runtimes that nobody here wrote: podman with plynet as its `netavark`, and CNI as its
//! specification has it, beside plugins from Debian.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod cni;
mod netavark;
mod podman;

//! plynet through the program, each test on a host of its own: a network and a mount namespace, in which the machine's
//! own network is not to be seen.
//!
//! Read `rig` first, then one file per subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod crash;
mod iptables;
mod isolation;
mod leases;
mod life;
mod names;
mod ports;
mod rig;
mod rootless;
mod way_out;

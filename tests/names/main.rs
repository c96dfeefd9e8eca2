//! The DNS responder over the wire: what containers see of names, in a network namespace of its own with bridges of its
//! own. The files that attach writes are written by the tests, so nothing else of plynet is needed here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod hostile;
mod life;
mod rig;
mod upstream;

//! What every mounted test shares: scratch space, layers, mounts that clean up after themselves, snapshots, and the
//! scenario harness in which kernel overlayfs is the judge.
//!
//! Include it with `#[path = "../support/mod.rs"] mod support;`. Read in this order: `scenario` (how a test reads),
//! `steps` (the verbs), `layers` (what a test is given), `mount` (plyfs and the judge), `snapshot` (what is compared).
//!
//! Invariants: a test works in a mount namespace of its own, so no mount outlives it; a mount's daemon never outlives
//! the value that stands for it; a daemon that hangs is killed and its connection aborted, so a bug cannot hang the
//! suite; the lower layers are compared before and after, always.
#![allow(dead_code)] // Each test binary uses a part of this.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

pub mod dice;
pub mod env;
pub mod ffi;
pub mod layers;
pub mod mount;
pub mod rings;
pub mod scenario;
pub mod snapshot;
pub mod steps;
pub mod uml;
pub mod userns;
pub mod words;

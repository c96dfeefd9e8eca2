//! What the tests of the library share: an [`Overlay`](plyfs::overlay::Overlay) without FUSE over layers in a plain
//! temporary directory, and a client that plays the FUSE kernel.
//!
//! Needs no privilege. Include it beside `tests/support` (whose layers and snapshots it uses):
//! `#[path = "../inprocess/mod.rs"] mod inprocess;`.
#![allow(dead_code)] // Each test binary uses a part of this.

pub mod client;
pub mod rig;
pub mod tree;

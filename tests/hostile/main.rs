//! Layers made by an enemy: the daemon never reads or writes outside its layers, never panics, never hangs, and the
//! mount goes on serving.
//!
//! `siege` is the frame of every test here: an outside with canaries, layers full of traps, a client that cannot be
//! lured outside itself. What hostile names, marks and objects must look like, kernel overlayfs says (`Scenario`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod siege;

mod data;
mod deep;
mod extremes;
mod farm;
mod links;
mod marks;
mod names;
mod nodes;
mod race;

//! The program as people and engines call it: words, exit codes, daemons, namespaces.
//!
//! Read `tool` first (how a test calls the program and what it insists on each time), then one file per subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod engines;
mod life;
mod limits;
mod people;
mod run;
mod tool;

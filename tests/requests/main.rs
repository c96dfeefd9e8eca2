//! What operations cost, counted and not timed: the requests that cross to the daemon, and the system calls that the
//! library makes for one. The figures are exact, so a regression is seen without a clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../inprocess/mod.rs"]
mod inprocess;
#[path = "../support/mod.rs"]
mod support;

mod roundtrips;
mod syscalls;
mod trace;

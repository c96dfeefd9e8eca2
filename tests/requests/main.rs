//! What operations cost, counted and not timed: the requests that cross to the daemon. The figures are exact, so a
//! regression is seen without a clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod roundtrips;
mod trace;

//! The library without FUSE: what a verb costs once a request has arrived.
//!
//! ```sh
//! cargo bench --bench core                 # all of it; no privileges needed
//! cargo bench --bench core -- lookup       # some
//! ```
//!
//! Layers are in the temporary directory (`TMPDIR`): put it where no disk is measured, such as on a tmpfs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // What goes wrong here is told by the panic.

mod change;
mod merge;
mod rig;
mod view;

fn main() {
    divan::main();
}

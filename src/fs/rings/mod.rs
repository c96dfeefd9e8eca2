//! Requests by rings (FUSE over io_uring) instead of by /dev/fuse: each is answered on the processor it is made on.
//!
//! What does not live here: what a request means. [`engine`] gives each to a [`engine::Handler`] as a
//! [`engine::Job`]; [`wire`] reads the arguments and writes the answers; `desk` is the handler of a mount.

mod calm;
pub(super) mod desk;
pub mod engine;
mod send;
pub mod wire;

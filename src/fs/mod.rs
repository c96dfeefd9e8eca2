//! FUSE: the only room that knows of it.
//!
//! What does not live here: any decision about the tree. Read [`adapter`] (one method per request, each
//! calls one verb of [`crate::overlay`]), then [`session`] (a mount from start to end).

pub mod adapter;
mod convert;
mod handshake;
mod notify;
mod passthrough;
mod pool;
mod reply;
mod server;
pub mod session;

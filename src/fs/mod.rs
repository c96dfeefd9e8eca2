//! FUSE: the only room that knows of it.
//!
//! What does not live here: any decision about the tree. Read `server` (the verbs, with plain arguments and results
//! by value), [`adapter`] (one method per request of fuser), then [`session`] (a mount from start to end).

pub mod adapter;
mod asker;
mod convert;
mod handshake;
mod notify;
mod passthrough;
mod pool;
mod reply;
pub mod rings;
mod run;
mod server;
mod service;
pub mod session;
pub mod settings;

//! Names: one small DNS responder for all networks of a host.
//!
//! Read [`zone`] first (PURE: what a network knows by name), then [`message`] (PURE: bytes in, bytes out), then
//! [`server`], the one thread that does it all: [`catalog`] tells it who is there, `streams` are its clients by TCP,
//! `upstream` asks other servers. [`life`] is when it runs.

pub mod catalog;
pub mod client;
mod frame;
pub mod life;
pub mod message;
pub mod resolv;
pub mod server;
mod slots;
mod streams;
mod upstream;
pub mod zone;

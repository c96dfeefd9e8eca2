//! Room `fs`.

pub mod adapter;
mod convert;
mod passthrough;
pub mod session;

//! Room `fs`.

pub mod adapter;
mod convert;
pub mod session;

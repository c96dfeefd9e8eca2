//! Room `fs`.

pub mod session;
pub mod stub;

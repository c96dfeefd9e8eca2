//! The drivers of the store, one file each; see [`super::driver::Driver`].

pub mod overlay;
pub mod vfs;

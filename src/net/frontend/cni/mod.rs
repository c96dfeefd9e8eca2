//! The Container Network Interface: what a runtime says by environment and standard input, and what it wants to hear.
//!
//! [`call`] is the environment, [`config`] the configuration, [`result`] the answers, [`failure`] the refusals.

pub mod call;
pub mod config;
pub mod failure;
mod ipam;
pub mod result;

/// Versions that are spoken, oldest first.
pub const VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// The newest.
pub const NEWEST: &str = VERSIONS[VERSIONS.len() - 1];

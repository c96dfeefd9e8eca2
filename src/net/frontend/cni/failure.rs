//! Refusals with their numbers: those below 100 are the specification's.

use std::fmt;

use crate::net::error::{Error, Kind};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its number.
    pub code: u32,
    /// What went wrong.
    pub words: String,
}

/// The version of the configuration is not spoken here.
pub const VERSION: u32 = 1;
/// Nobody knows that container.
pub const UNKNOWN_CONTAINER: u32 = 3;
/// A variable of the environment is missing or makes no sense.
pub const ENVIRONMENT: u32 = 4;
/// Input or output.
pub const IO: u32 = 5;
/// What was read is not JSON, or not such JSON.
pub const DECODE: u32 = 6;
/// The configuration makes no sense.
pub const CONFIG: u32 = 7;
/// The plugin cannot serve ADD.
pub const NOT_AVAILABLE: u32 = 50;
/// Something else uses it.
pub const CONFLICT: u32 = 101;
/// Not allowed.
pub const PERMISSION: u32 = 102;
/// The kernel cannot do that.
pub const UNSUPPORTED: u32 = 103;
/// Anything else.
pub const OTHER: u32 = 999;

impl Failure {
    /// A refusal in words.
    pub fn new(code: u32, words: impl fmt::Display) -> Failure {
        Failure {
            code,
            words: words.to_string(),
        }
    }

    /// What is printed.
    pub fn text(&self, version: &str) -> String {
        let Failure { code, words } = self;
        serde_json::json!({ "cniVersion": version, "code": code, "msg": words }).to_string()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match error.kind {
            Kind::Other => OTHER,
            Kind::Usage => CONFIG,
            Kind::NotFound => UNKNOWN_CONTAINER,
            Kind::Conflict => CONFLICT,
            Kind::Permission => PERMISSION,
            Kind::Unsupported => UNSUPPORTED,
        };
        Failure::new(code, error)
    }
}

//! `plynet`: the verbs of a container's network as words on a terminal.
//!
//! Invariant: stdout carries what was asked for and nothing else; remarks go to stderr; the exit code is that of
//! [`crate::net::error::Kind`]. Read [`args`] first, then one file per noun.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use super::failure::Failure;
use crate::net::error::Error;

pub mod args;
pub mod dns;
pub mod place;

use args::{Order, Verb};

/// The program: `args` with its own name first. By that name, or by the environment, it is something else: see the
/// front ends.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let outcome = match Order::try_parse_from(args) {
        Ok(order) => run(order),
        Err(error) => {
            // Help and version are no failure; clap knows which stream is meant.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("plynet: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(order: Order) -> Result<u8, Failure> {
    match order.verb {
        Verb::Dns(verb) => dns::run(&order.globals, verb),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(error.kind.code(), error)
    }
}

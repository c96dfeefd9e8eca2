//! `plynet`: the verbs of a container's network as words on a terminal.
//!
//! Invariant: stdout carries what was asked for and nothing else; remarks go to stderr; the exit code is that of
//! [`crate::net::error::Kind`]. Read [`args`] first, then one file per noun.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

use super::failure::{Failure, reason};
use super::logging::{self, Sink};
use super::remark::complain;
use crate::net::error::Error;

pub mod args;
pub mod attach;
pub mod batch;
pub mod demo;
pub mod dns;
pub mod frontend;
pub mod network;
pub mod place;
pub mod repair;
pub mod rootless;
pub mod run;

use args::{Globals, Order, PortVerb, Verb};

/// The program: `args` with its own name first. By that name, or by the environment, it is something else: see the
/// front ends.
pub fn main(args: Vec<OsString>) -> ExitCode {
    if let Some(code) = frontend::called(&args) {
        return code;
    }
    let outcome = match Order::try_parse_from(args) {
        Ok(order) => run(order),
        Err(error) if error.exit_code() == 0 => {
            // Who reads no more, as `head`, has what he wants.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(Failure::usage(first_lines(&error.to_string()))),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.code)
        }
    }
}

/// What clap says, without the usage that follows.
fn first_lines(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.split("\n\n").next().unwrap_or(text).to_string()
}

fn run(order: Order) -> Result<u8, Failure> {
    // A daemon has another place for its words.
    if !matches!(order.verb, Verb::Dns(dns::Verb::Serve { .. })) {
        logging::start(Sink::Stderr, false);
    }
    let globals = order.globals;
    match &order.verb {
        Verb::Demo => return demo::run(),
        Verb::Halt => return rootless::halt(&globals),
        Verb::Attach(args) => rootless::enter(&globals, &args.wishes.ports)?,
        Verb::Run(args) => rootless::enter(&globals, &args.wishes.ports)?,
        _ => rootless::enter(&globals, &[])?,
    }
    match order.verb {
        Verb::Demo | Verb::Halt => Ok(0),
        Verb::Enter(args) => run::enter(&args.command),
        Verb::Network(verb) => network::run(&globals, verb),
        Verb::Attach(args) => attach::attach(&globals, args),
        Verb::Detach(args) => attach::detach(&globals, args),
        Verb::Check(args) => attach::check(&globals, args),
        Verb::Dns(verb) => dns::run(&globals, verb),
        Verb::Ls => attach::list(&globals),
        Verb::Port(PortVerb::Ls { name }) => attach::ports(&globals, name.as_deref()),
        Verb::Link(args) => attach::link(&globals, &args),
        Verb::Unlink(args) => attach::unlink(&globals, &args),
        Verb::Run(args) => run::run(&globals, args),
        Verb::Up(args) => batch::up(&globals, &args.file),
        Verb::Down(args) => batch::down(&globals, &args.file),
        Verb::Reconcile(args) => repair::reconcile(&globals, args.dry_run),
        Verb::Doctor => repair::doctor(&globals),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(error.kind.code(), error)
    }
}

/// Says one value: as JSON if that was asked for, else in these words, of which there may be none.
fn say(
    globals: &Globals,
    value: &impl Serialize,
    words: impl FnOnce() -> String,
) -> Result<u8, Failure> {
    let text = match globals.json {
        true => serde_json::to_string_pretty(value).map_err(Failure::failed)?,
        false => words(),
    };
    if text.is_empty() {
        return Ok(0);
    }
    match writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n')) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::failed(format!(
            "standard output: {}",
            reason(&error)
        ))),
        _ => Ok(0),
    }
}

//! `plynet run`: a command in a network namespace of its own. Nothing but the command and this process holds the
//! namespace, so nothing is left of it, however they end.

use std::process::ExitStatus;

use super::args::{Globals, RunArgs};
use super::attach::wished;
use crate::cli::failure::{Failure, reason};
use crate::net::error::Error;
use crate::net::intent::Intent;
use crate::sys::netns::Netns;
use crate::sys::process::{self, SignalSet, signal};

/// Runs the command; its exit code is ours.
///
/// # Errors
/// One line and the code of its kind.
pub fn run(globals: &Globals, args: RunArgs) -> Result<u8, Failure> {
    let host = globals.host()?;
    let netns = Netns::create().map_err(|errno| Error::kernel("network namespace", errno))?;
    let own = std::process::id();
    let path = format!("/proc/{own}/fd/{}", netns.number());
    let name = args.name.unwrap_or_else(|| format!("run-{own}"));
    let intent = wished(Intent::new(&args.network, &name, path), args.wishes);
    let asked = [
        signal::SIGINT,
        signal::SIGTERM,
        signal::SIGHUP,
        signal::SIGQUIT,
    ];
    let signals =
        SignalSet::block(&asked).map_err(|errno| Failure::failed(format!("signals: {errno}")))?;
    host.attach(std::slice::from_ref(&intent))?;
    let outcome = command(&args.command, &netns, signals);
    drop(netns);
    let detached = host.detach(&intent.key);
    let code = outcome?;
    detached?;
    Ok(code)
}

/// Runs a command right here; its exit code is ours.
///
/// # Errors
/// One line and the code of its kind.
pub fn enter(words: &[std::ffi::OsString]) -> Result<u8, Failure> {
    let asked = [
        signal::SIGINT,
        signal::SIGTERM,
        signal::SIGHUP,
        signal::SIGQUIT,
    ];
    let signals =
        SignalSet::block(&asked).map_err(|errno| Failure::failed(format!("signals: {errno}")))?;
    let here = Netns::current().map_err(|errno| Error::kernel("network namespace", errno))?;
    command(words, &here, signals)
}

fn command(words: &[std::ffi::OsString], netns: &Netns, signals: SignalSet) -> Result<u8, Failure> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::usage("no command"));
    };
    let mut command = process::program(program);
    command.args(arguments);
    let spawned = netns
        .within(|| command.spawn())
        .map_err(|errno| Error::kernel("network namespace", errno))?;
    let mut child = spawned.map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound {
            127
        } else {
            126
        };
        Failure::new(
            code,
            format!("{}: {}", program.to_string_lossy(), reason(&error)),
        )
    })?;
    let pid = child.id();
    std::thread::spawn(move || {
        while let Ok(caught) = signals.wait() {
            // Keys on the terminal reach the command anyway; it may have ended meanwhile.
            if !caught.from_kernel {
                // As above.
                let _ = process::send_signal(pid, caught.signal);
            }
        }
    });
    let status = child
        .wait()
        .map_err(|error| Failure::failed(reason(&error)))?;
    Ok(code(status))
}

/// As shells say it.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

//! `plynet run`: a command in a network namespace of its own, and, where the network has names, in a mount namespace
//! whose resolv.conf leads to them. Nothing but the command and this process holds them, so nothing is left of them,
//! however they end.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use super::args::{Globals, RunArgs};
use super::attach::wished;
use crate::cli::failure::{Failure, reason};
use crate::net::dns::resolv;
use crate::net::error::Error;
use crate::net::intent::Intent;
use crate::sys::mount;
use crate::sys::netns::Netns;
use crate::sys::process::{self, SignalSet, signal};

/// What a command is to find in its resolv.conf, and a directory in which that may be written down for a moment.
struct Names<'a> {
    resolv: String,
    scratch: &'a Path,
}

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
    let signals = hold_signals()?;
    let reports = host.attach(std::slice::from_ref(&intent))?;
    let with_names = reports.iter().find(|one| !one.dns_servers.is_empty());
    let names = with_names.map(|one| Names {
        resolv: resolv::for_container(&one.network, &one.dns_servers),
        scratch: host.book.layout.run(),
    });
    let outcome = command(&args.command, &netns, names.as_ref(), signals);
    drop(netns);
    let detached = host.detach(&intent.key);
    let code = outcome?;
    detached?;
    Ok(code)
}

/// What asks to end is for the command: this process waits for it, and cleans up.
fn hold_signals() -> Result<SignalSet, Failure> {
    let asked = [
        signal::SIGINT,
        signal::SIGTERM,
        signal::SIGHUP,
        signal::SIGQUIT,
    ];
    SignalSet::block(&asked).map_err(|errno| Failure::failed(format!("signals: {errno}")))
}

/// Runs a command right here; its exit code is ours.
///
/// # Errors
/// One line and the code of its kind.
pub fn enter(words: &[OsString]) -> Result<u8, Failure> {
    let signals = hold_signals()?;
    let here = Netns::current().map_err(|errno| Error::kernel("network namespace", errno))?;
    command(words, &here, None, signals)
}

fn command(
    words: &[OsString],
    netns: &Netns,
    names: Option<&Names>,
    signals: SignalSet,
) -> Result<u8, Failure> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::usage("no command"));
    };
    let mut command = process::program(program);
    command.args(arguments);
    let spawn = || spawn(&mut command, names);
    let spawned = netns
        .within(spawn)
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

/// Starts the command, which finds `names` in its resolv.conf; none: the host's.
fn spawn(command: &mut Command, names: Option<&Names>) -> std::io::Result<Child> {
    let Some(names) = names else {
        return command.spawn();
    };
    // A thread of its own: it does not come back from the mount namespace that the command is born in.
    let own = || {
        if let Err(why) = show(names) {
            log::warn!("names are for plynet dns query only, not for the command: {why}");
        }
        command.spawn()
    };
    let spawned = std::thread::scope(|scope| scope.spawn(own).join());
    spawned.unwrap_or_else(|_| Err(std::io::Error::other("the thread that starts it panicked")))
}

/// Moves this thread into a mount namespace of its own, whose [`resolv::PATH`] has this text.
fn show(names: &Names) -> Result<(), String> {
    let failed = |what: &str, why: &dyn std::fmt::Display| format!("{what}: {why}");
    // Whoever the command becomes may read it. Unlinked, it lives as long as it is mounted.
    let mut file = tempfile::NamedTempFile::new_in(names.scratch)
        .map_err(|why| failed("temporary file", &why))?;
    let written = file.write_all(names.resolv.as_bytes());
    written
        .and_then(|()| {
            file.as_file()
                .set_permissions(Permissions::from_mode(0o644))
        })
        .map_err(|why| failed("temporary file", &why))?;
    process::enter_private_mounts().map_err(|why| failed("mount namespace", &why))?;
    mount::bind(file.path().as_os_str(), OsStr::new(resolv::PATH))
        .map_err(|why| failed(resolv::PATH, &why))
}

/// As shells say it.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

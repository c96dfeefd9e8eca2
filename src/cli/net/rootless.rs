//! A plain user's networks: in a user and network namespace of his own, which a process that does nothing keeps alive.
//!
//! Every verb goes in there first, and is root there; the rest of plynet knows nothing of it. Bridges, names and
//! published ports work inside; the way out of it is pasta's or slirp4netns's, where one of them can be started.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::args::Globals;
use crate::cli::failure::{Failure, reason, shown};
use crate::net::error::Error;
use crate::sys::errno::Errno;
use crate::sys::flock;
use crate::sys::process::{self, Daemon, Outcome};

/// What pasta and slirp4netns need.
const TUN: &str = "/dev/net/tun";

/// Goes to where this user's networks are; for root, and inside already, that is here.
///
/// # Errors
/// One line that says what is missing.
pub fn enter(globals: &Globals) -> Result<(), Failure> {
    if process::may_configure_networks() || process::effective_ids().0 == 0 {
        return Ok(());
    }
    let dir = globals.run_dir()?;
    let at = |path: &Path, error: &std::io::Error| Failure::at("directory", path, reason(error));
    fs::create_dir_all(&dir).map_err(|error| at(&dir, &error))?;
    let path = dir.join("holder.lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let lock = lock.map_err(|error| at(&path, &error))?;
    flock::lock(&lock).map_err(|errno| Failure::at("lock", &path, errno))?;
    let holder = dir.join("holder");
    let pid = match living(&holder) {
        Some(pid) => pid,
        None => start(&holder)?,
    };
    process::enter_namespaces_of(pid)
        .map_err(|errno| failed("entering the namespaces of this user's networks", errno))
}

/// Ends the namespaces, and all that is in them.
///
/// # Errors
/// One line.
pub fn halt(globals: &Globals) -> Result<u8, Failure> {
    let dir = globals.run_dir()?;
    if let Some(pid) = living(&dir.join("holder")) {
        process::send_signal(pid, process::signal::SIGTERM)
            .map_err(|errno| failed("ending the holder", errno))?;
    }
    if let Some(pid) = living(&dir.join("way-out")) {
        process::send_signal(pid, process::signal::SIGTERM)
            .map_err(|errno| failed("ending the way out", errno))?;
    }
    Ok(0)
}

fn failed(what: &str, errno: Errno) -> Failure {
    Error::kernel(what, errno).into()
}

/// The process that a file names, if it is still that one: `PID START`, the start as proc(5) has it.
fn living(file: &Path) -> Option<u32> {
    let text = fs::read_to_string(file).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    (process::start_time(pid)?.to_string() == start).then_some(pid)
}

fn note(file: &Path, pid: u32) -> Result<(), Failure> {
    let start = process::start_time(pid).unwrap_or_default();
    fs::write(file, format!("{pid} {start}\n"))
        .map_err(|error| Failure::at("file", file, reason(&error)))
}

/// Starts the process that keeps the namespaces, and the way out.
fn start(holder: &Path) -> Result<u32, Failure> {
    let holder =
        std::path::absolute(holder).map_err(|error| Failure::at("file", holder, reason(&error)))?;
    let forked = process::fork_daemon().map_err(|errno| failed("starting the holder", errno))?;
    match forked {
        Daemon::Child(reporter) => {
            let ready = process::enter_own_network()
                .map_err(|errno| {
                    let hint = "user namespaces may be switched off: see user.max_user_namespaces";
                    Failure::new(
                        5,
                        format!("cannot make a user and network namespace: {errno} ({hint})"),
                    )
                })
                .and_then(|()| note(&holder, std::process::id()));
            match ready {
                Ok(()) => reporter.ready(),
                Err(failure) => {
                    reporter.failed(failure.code, &failure.to_string());
                    std::process::exit(i32::from(failure.code));
                }
            }
            process::wait_for_the_end()
        }
        Daemon::Parent(waiter) => match waiter.wait() {
            Outcome::Ready => {
                let pid = living(&holder)
                    .ok_or_else(|| Failure::failed("the holder of the namespaces ended at once"))?;
                if let Err(why) = way_out(pid, &holder.with_file_name("way-out")) {
                    log::warn!(
                        "containers reach each other and this user's namespace, but nothing outside: {why}"
                    );
                }
                Ok(pid)
            }
            Outcome::Failed(code, text) => Err(Failure::new(code, text)),
            Outcome::Died(how) => Err(Failure::failed(format!(
                "the holder of the namespaces ended {how}"
            ))),
        },
    }
}

/// Starts pasta, or else slirp4netns, for the namespaces of a process; or says what is missing.
fn way_out(pid: u32, noted: &Path) -> Result<(), String> {
    let open = OpenOptions::new().read(true).write(true).open(TUN);
    open.map(|file: File| drop(file))
        .map_err(|error| format!("{TUN}: {}", reason(&error)))?;
    let target = pid.to_string();
    if let Some(pasta) = find("pasta") {
        let mut command = process::program(&pasta);
        command.args([
            "--config-net",
            "--quiet",
            "-t",
            "none",
            "-u",
            "none",
            "-T",
            "none",
            "-U",
            "none",
            &target,
        ]);
        let done = command.stdin(std::process::Stdio::null()).output();
        match done {
            // It goes on in the background, and ends with the namespace.
            Ok(out) if out.status.success() => return Ok(()),
            Ok(out) => log::info!("pasta: {}", String::from_utf8_lossy(&out.stderr)),
            Err(error) => log::info!("pasta: {}", reason(&error)),
        }
    }
    let slirp =
        find("slirp4netns").ok_or("neither pasta (package passt) nor slirp4netns works here")?;
    let null = std::process::Stdio::null;
    let mut command = process::program(&slirp);
    command.args(["--configure", "--disable-host-loopback", &target, "tap0"]);
    let child = command.stdin(null()).stdout(null()).stderr(null()).spawn();
    let child = child.map_err(|error| format!("{}: {}", shown(&slirp), reason(&error)))?;
    note(noted, child.id()).map_err(|failure| failure.to_string())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

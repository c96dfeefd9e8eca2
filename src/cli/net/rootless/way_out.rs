//! The way out of a plain user's namespaces, and the way in to what is published: pasta, or else slirp4netns.
//!
//! Both end with `plynet halt`; if one ends earlier, the next verb starts it again.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use super::{Place, living, note};
use crate::cli::failure::{reason, shown};
use crate::sys::process;

/// What both need.
const TUN: &str = "/dev/net/tun";

const PASTA: &str = "pasta";
const SLIRP: &str = "slirp4netns";

/// Where pasta passes questions of DNS on to the machine's own resolver: a link-local address that nobody has.
const PASTA_RESOLVER: &str = "169.254.1.1";

/// The same of slirp4netns, which has it by itself.
const SLIRP_RESOLVER: &str = "10.0.2.3";

/// Sees to it that there is a way out of the namespaces of the process `holder`.
///
/// # Errors
/// What is missing.
pub(super) fn ensure(place: &Place, holder: u32) -> Result<(), String> {
    let of = fs::read_to_string(place.at("way-out.holder")).unwrap_or_default();
    if let Some(pid) = living(&place.way_out()) {
        if of.trim() == holder.to_string() {
            return Ok(());
        }
        // It leads to namespaces that are gone.
        process::send_signal(pid, process::signal::SIGTERM).map_err(|errno| errno.to_string())?;
    }
    let tun = OpenOptions::new().read(true).write(true).open(TUN);
    tun.map(drop)
        .map_err(|error| format!("{TUN}: {} (pasta and slirp4netns need it)", reason(&error)))?;
    let resolver = start(place, holder)?;
    let wrote = |path: &Path, text: &str| {
        fs::write(path, text).map_err(|error| format!("{}: {}", shown(path), reason(&error)))
    };
    wrote(&place.at("way-out.holder"), &holder.to_string())?;
    wrote(&place.layout().resolver(), resolver)
}

/// Starts the first that can be; says where it passes on questions of DNS.
fn start(place: &Place, holder: u32) -> Result<&'static str, String> {
    let mut complaints = Vec::new();
    for (name, program) in programs() {
        let (started, resolver) = match name {
            PASTA => (start_pasta(place, holder, &program), PASTA_RESOLVER),
            _ => (start_slirp(place, holder, &program), SLIRP_RESOLVER),
        };
        match started {
            Ok(()) => return Ok(resolver),
            Err(why) => complaints.push(format!("{name}: {why}")),
        }
    }
    Err(match complaints.as_slice() {
        [] => "neither pasta (package passt) nor slirp4netns is installed".to_string(),
        _ => complaints.join("; "),
    })
}

/// What is installed, the better first.
fn programs() -> Vec<(&'static str, PathBuf)> {
    let found = [PASTA, SLIRP]
        .into_iter()
        .filter_map(|name| Some((name, find(name)?)));
    let mut found: Vec<_> = found.collect();
    // An early pasta leaves a connection from outside hanging until the client says something.
    if found.len() > 1 && is_early(&found[0].1) {
        found.reverse();
    }
    found
}

/// Is this a pasta of the time when it did not know its own version, such as that of Debian 12?
fn is_early(pasta: &Path) -> bool {
    let told = process::program(pasta)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).contains("unknown version"))
}

/// Starts pasta, which goes into the background when all is there, and follows the ports that are listened on inside.
fn start_pasta(place: &Place, holder: u32, program: &Path) -> Result<(), String> {
    let number = place.at("pasta.pid");
    let mut command = process::program(program);
    command
        .args(["--config-net", "--quiet", "--no-map-gw"])
        .args(["--dns-forward", PASTA_RESOLVER])
        // Early ones follow ports of the one direction only with those of the other. What listens on the machine's
        // loopback is then also on that of the namespace, where only this user's own programs are.
        .args(["-t", "auto", "-T", "auto", "-u", "auto", "-U", "none"])
        .arg("--pid")
        .arg(&number)
        .arg(holder.to_string());
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|error| reason(&error))?;
    if !done.status.success() {
        return Err(last_words(&done));
    }
    let pid = fs::read_to_string(&number).map_err(|error| reason(&error))?;
    let pid = pid
        .trim()
        .parse()
        .map_err(|_| "no process id".to_string())?;
    note(&place.way_out(), pid).map_err(|failure| failure.to_string())
}

/// Starts slirp4netns, which is told of ports by a socket.
fn start_slirp(place: &Place, holder: u32, program: &Path) -> Result<(), String> {
    let words = place.at("slirp.log");
    let log = fs::File::create(&words).map_err(|error| reason(&error))?;
    // One that is dead has left it.
    drop(fs::remove_file(place.slirp()));
    let mut command = process::program(program);
    command
        .args(["--configure", "--disable-host-loopback", "--api-socket"])
        .arg(place.slirp());
    // Keys on the terminal are not for it.
    command.process_group(0);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let arguments = [holder.to_string(), "tap0".to_string()];
    let started = process::start_until_ready(&mut command, "--ready-fd", &arguments);
    let (child, ready) = started.map_err(|error| reason(&error))?;
    if !ready {
        let said = fs::read_to_string(&words).unwrap_or_default();
        return Err(said
            .lines()
            .next_back()
            .unwrap_or("it ended without a word")
            .to_string());
    }
    note(&place.way_out(), child.id()).map_err(|failure| failure.to_string())
}

fn last_words(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(
        || format!("it ended with {}", output.status),
        str::to_string,
    )
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

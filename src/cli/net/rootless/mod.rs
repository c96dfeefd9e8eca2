//! A plain user's networks: in a user and network namespace of his own, which one process, the holder, keeps alive.
//!
//! Every verb goes in there first, and is root there; the rest of plynet knows nothing of it. Bridges, names and
//! published ports work inside; the way out, and the way in to published ports, is pasta's or slirp4netns's, where one
//! of them can be started (`way_out`). The holder shows them which ports are published (`published`).

use std::fs::{self, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::args::Globals;
use crate::cli::failure::{Failure, reason};
use crate::net::dns::life;
use crate::net::error::Error;
use crate::net::layout::Layout;
use crate::net::port::PortMapping;
use crate::sys::errno::Errno;
use crate::sys::flock;
use crate::sys::netns::Netns;
use crate::sys::process::{self, Daemon, Outcome};

mod published;
mod slirp;
mod way_out;

/// So long halt waits for what it ends.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);

/// What belongs to the namespaces, in the run directory: nothing else may be named so there.
#[derive(Clone, Debug)]
struct Place(PathBuf);

impl Place {
    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Which process keeps the namespaces.
    fn holder(&self) -> PathBuf {
        self.at("holder")
    }

    /// Which process is the way out.
    fn way_out(&self) -> PathBuf {
        self.at("way-out")
    }

    /// Where slirp4netns is told about ports.
    fn slirp(&self) -> PathBuf {
        self.at("slirp.socket")
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.0, &self.0)
    }
}

/// Goes to where this user's networks are; for root, and inside already, that is here. `ports` will be published there.
///
/// # Errors
/// One line that says what is missing, or that this machine does not let the user have one of the ports.
pub fn enter(globals: &Globals, ports: &[PortMapping]) -> Result<(), Failure> {
    if is_inside() {
        return Ok(());
    }
    let dir = globals.run_dir()?;
    let at = |path: &Path, error: &std::io::Error| Failure::at("directory", path, reason(error));
    // Whoever writes here says which processes are this user's.
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir);
    made.map_err(|error| at(&dir, &error))?;
    let dir = std::path::absolute(&dir).map_err(|error| at(&dir, &error))?;
    let place = Place(dir);
    let path = place.at("holder.lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let lock = lock.map_err(|error| at(&path, &error))?;
    flock::lock(&lock).map_err(|errno| Failure::at("lock", &path, errno))?;
    let living = living(&place.holder());
    let pid = match living {
        Some(pid) => pid,
        None => start(&place)?,
    };
    if let Err(why) = way_out::ensure(&place, pid) {
        // Said once: it was not different when the others were attached.
        let level = if living.is_none() {
            log::Level::Warn
        } else {
            log::Level::Info
        };
        log::log!(
            level,
            "containers reach each other and this user's namespace, but nothing outside: {why}"
        );
    }
    published::check(&place, ports)?;
    process::enter_namespaces_of(pid)
        .map_err(|errno| failed("entering the namespaces of this user's networks", errno))
}

/// Nothing is to be entered: root's networks are the machine's, and who is root in a namespace is where he belongs.
pub fn is_inside() -> bool {
    process::may_configure_networks() || process::effective_ids().0 == 0
}

/// Is this thread in the namespace that the holder of this run directory keeps?
pub fn is_of(run: &Path) -> bool {
    let inode = |path: &str| {
        let netns = Netns::open(path.as_ref()).and_then(|netns| netns.inode());
        netns.ok()
    };
    let Some(pid) = living(&Place(run.to_path_buf()).holder()) else {
        return false;
    };
    let own = inode("/proc/thread-self/ns/net");
    own.is_some() && inode(&format!("/proc/{pid}/ns/net")) == own
}

/// Are published ports of this run directory listened on by a holder?
pub fn shows_ports(run: &Path) -> bool {
    living(&Place(run.to_path_buf()).holder()).is_some()
}

/// Ends the namespaces, and all of plynet that is in them.
///
/// # Errors
/// One line.
pub fn halt(globals: &Globals) -> Result<u8, Failure> {
    let place = Place(globals.run_dir()?);
    if !place.holder().exists() {
        return Ok(0);
    }
    life::end(&place.layout())?;
    let ended = [living(&place.holder()), living(&place.way_out())];
    let ended: Vec<u32> = ended.into_iter().flatten().collect();
    for pid in &ended {
        match process::send_signal(*pid, process::signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(failed(&format!("ending process {pid}"), errno)),
        }
    }
    let until = Instant::now() + PATIENCE;
    while ended.iter().any(|pid| process::start_time(*pid).is_some()) && Instant::now() < until {
        std::thread::sleep(PAUSE);
    }
    forget(&place)
}

/// Removes what was true of the namespaces that are gone.
fn forget(place: &Place) -> Result<u8, Failure> {
    let layout = place.layout();
    let files = [
        place.way_out(),
        place.slirp(),
        layout.resolver(),
        layout.host(),
    ];
    let dirs = [layout.live(), layout.ports()];
    let removed = files.iter().map(|path| (path, fs::remove_file(path)));
    let removed = removed.chain(dirs.iter().map(|path| (path, fs::remove_dir_all(path))));
    for (path, outcome) in removed {
        match outcome {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::at("file", path, reason(&error)));
            }
            _ => {}
        }
    }
    // Last, for whoever repeats a halt that failed.
    match fs::remove_file(place.holder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::at("file", &place.holder(), reason(&error)))
        }
        _ => Ok(0),
    }
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

/// Starts the process that keeps the namespaces.
fn start(place: &Place) -> Result<u32, Failure> {
    let forked = process::fork_daemon().map_err(|errno| failed("starting the holder", errno))?;
    match forked {
        Daemon::Child(reporter) => {
            process::keep_files_private();
            let ready = process::enter_own_network()
                .map_err(|errno| {
                    let hint = "user namespaces may be switched off: see user.max_user_namespaces";
                    Failure::new(
                        5,
                        format!("cannot make a user and network namespace: {errno} ({hint})"),
                    )
                })
                .and_then(|()| note(&place.holder(), std::process::id()));
            match ready {
                Ok(()) => reporter.ready(),
                Err(failure) => {
                    reporter.failed(failure.code, &failure.to_string());
                    std::process::exit(i32::from(failure.code));
                }
            }
            published::keep(place)
        }
        Daemon::Parent(waiter) => match waiter.wait() {
            Outcome::Ready => living(&place.holder())
                .ok_or_else(|| Failure::failed("the holder of the namespaces ended at once")),
            Outcome::Failed(code, text) => Err(Failure::new(code, text)),
            Outcome::Died(how) => Err(Failure::failed(format!(
                "the holder of the namespaces ended {how}"
            ))),
        },
    }
}

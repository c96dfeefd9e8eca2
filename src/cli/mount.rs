//! `plyfs mount`, and the same for engines: check, open, mount, agree with the kernel, become a daemon, serve.
//!
//! Order matters: everything that can be refused is refused before anything is created, and the command that was
//! started does all of it itself, so that it can tell what failed. It ends with 0 when nothing is left but to serve.
//! That is enough: the kernel has its answer to FUSE_INIT, so requests wait for the daemon, which has the device from
//! the moment it exists; were it to die, they would fail, not hang. To wait for its threads would take a tenth of a
//! mount. Where there is no room for them, and only then, it unmounts and logs why.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::call::MountOrder;
use super::failure::{Failure, reason, shown};
use super::logging::{self, Sink};
use super::remark::warn;
use super::{stats, view};
use crate::fs::session::{self, Prepared};
use crate::overlay::options::{self, Mode, MountFlags, OptionError, Options, Parsed};
use crate::sys::errno::Errno;
use crate::sys::mount;
use crate::sys::mountinfo::Table;
use crate::sys::process::{self, Side};

/// All that is needed to mount, checked as far as words go.
struct Job {
    options: Options,
    flags: MountFlags,
    source: OsString,
    target: OsString,
    debug: bool,
}

/// Mounts as ordered. Returns in the command that was started, and in the daemon when it ends.
///
/// # Errors
/// One line that names the option or the path.
pub fn mount(order: MountOrder) -> Result<u8, Failure> {
    if let Some(flags) = options::remount(&order.options) {
        return remount(&order, &flags);
    }
    let mode = order.mode;
    let parsed = parse(mode, &order.options)?;
    let target = mount_point(mode, &order.target)?;
    if order.dry_run {
        return Ok(0);
    }
    let foreground = order.foreground || parsed.foreground;
    let job = Job {
        options: parsed.options,
        flags: parsed.flags,
        source: order.source,
        target,
        debug: order.debug || parsed.debug,
    };
    let sink = match foreground {
        true => Sink::Stderr,
        false => Sink::Syslog,
    };
    logging::start(sink, job.debug);
    serve(&job, foreground).map(|()| 0)
}

/// `mount -o remount,ro MERGED`, as mount(8) hands it to its helper.
fn remount(order: &MountOrder, flags: &MountFlags) -> Result<u8, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::at("mount point", &order.target, why);
    let place = std::fs::canonicalize(&order.target).map_err(|error| wrong(&reason(&error)))?;
    let place = OsString::from(place);
    let table = Table::read().map_err(|errno| Failure::failed(format!("/proc: {errno}")))?;
    let top = table.top_at(&place);
    if top.is_none_or(|entry| entry.fstype != mount::FSTYPE) {
        return Err(wrong(&"no plyfs is mounted there"));
    }
    if !order.dry_run {
        session::remount(&place, flags).map_err(|errno| wrong(&errno))?;
    }
    Ok(0)
}

/// Parses `-o` values, prints warnings, makes paths absolute.
pub(super) fn parse(mode: Mode, words: &[OsString]) -> Result<Parsed, Failure> {
    let code = |error: OptionError| match mode {
        Mode::Native => Failure::usage(error),
        // What engines know from fuse-overlayfs.
        Mode::Compatible => Failure::failed(error),
    };
    let mut parsed = options::parse(mode, words).map_err(code)?;
    for text in &parsed.warnings {
        warn(text);
    }
    let here = std::env::current_dir()
        .map_err(|error| Failure::failed(format!("working directory: {}", reason(&error))))?;
    parsed.options.anchor(&here);
    Ok(parsed)
}

/// The mount point without symlinks, if one can mount there.
fn mount_point(mode: Mode, path: &Path) -> Result<OsString, Failure> {
    let wrong = |why: &str| Failure::at("mount point", path, why);
    let found = std::fs::metadata(path).map_err(|error| match error.kind() {
        // The second, if its daemon is ending at this moment.
        ErrorKind::NotConnected | ErrorKind::ConnectionAborted => {
            let hint = format!("a dead mount is there (plyfs umount {})", shown(path));
            wrong(&hint)
        }
        _ => wrong(&reason(&error)),
    })?;
    if !found.is_dir() {
        return Err(wrong("Not a directory"));
    }
    let place = std::fs::canonicalize(path).map_err(|error| wrong(&reason(&error)))?;
    let place = OsString::from(place);
    // Engines mount over what they find, and know why.
    if mode == Mode::Native && mount::is_mount_point(&place) {
        let table = Table::read().map_err(|errno| Failure::failed(format!("/proc: {errno}")))?;
        let top = table.top_at(&place);
        if top.is_some_and(|entry| entry.fstype == mount::FSTYPE) {
            return Err(wrong("busy: plyfs is mounted there already"));
        }
    }
    Ok(place)
}

/// Opens the layers, mounts, serves to the end: here, or in a daemon, whose command ends in here.
fn serve(job: &Job, foreground: bool) -> Result<(), Failure> {
    if !foreground {
        let kept = |errno| Failure::failed(format!("inherited files: {errno}"));
        process::close_inherited().map_err(kept)?;
    }
    process::share_heap();
    process::raise_file_limit().unwrap_or_else(|errno| log::warn!("file limit: {errno}"));
    process::keep_within_quotas().unwrap_or_else(|errno| log::warn!("quotas: {errno}"));
    let prepared = Prepared::new(&job.target, &job.source, &job.flags).map_err(Failure::failed)?;
    let overlay = view::open(&job.options)?;
    let filesystem = view::filesystem(&overlay, &job.options, &job.flags);
    // From here on no signal may end this process and leave a mount that nobody serves.
    let no_signals = |errno: Errno| Failure::failed(format!("signals: {errno}"));
    let signals = session::block_signals().map_err(no_signals)?;
    process::ignore_hangup();
    let mounted = prepared.mount().map_err(Failure::failed)?;
    let session = mounted.serve(filesystem).map_err(Failure::failed)?;
    let point = session.point();
    let served = become_daemon(foreground).and_then(|()| {
        let (place, asked) = (job.target.clone(), Arc::clone(&overlay));
        session::serve_signals(signals, session.point(), move || {
            stats::tell(&place, &asked);
        })
        .map_err(|error| Failure::failed(format!("signal thread: {}", reason(&error))))?;
        session.run().map_err(Failure::failed)
    });
    if let Err(failure) = &served {
        // Nobody will answer any more. This finds the mount by its identity, not by its path.
        if let Err(errno) = point.unmount() {
            log::error!("cannot unmount: {errno}");
        }
        if !foreground {
            log::error!("{failure}");
        }
    }
    // This process ends now. The kernel closes and frees what is left faster than it could be done piece by piece,
    // and somebody may be waiting for it.
    std::mem::forget(overlay);
    served
}

/// Goes on in a daemon, unless in the foreground; the command ends.
fn become_daemon(foreground: bool) -> Result<(), Failure> {
    if foreground {
        // One that is forked has none of it.
        process::forget_code();
        return Ok(());
    }
    let side = process::detach();
    match side.map_err(|errno| Failure::failed(format!("cannot start a daemon: {errno}")))? {
        Side::Daemon => Ok(()),
        Side::Command => process::end_now(0),
    }
}

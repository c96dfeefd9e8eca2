//! `plyfs run`: a command in an ephemeral view, and what it changed.
//!
//! The mount lives in a namespace of its own, so nobody else ever sees it and nothing of it survives this process,
//! however it ends. The view is served by threads of this process; the command is its child.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::call::RunOrder;
use super::failure::{Failure, reason, shown};
use super::logging::{self, Sink};
use super::mount::parse;
use super::remark::{complain, note, warn};
use super::scratch::Scratch;
use super::{changes, view};
use crate::fs::session::Prepared;
use crate::overlay::options::{Mode, Parsed};
use crate::sys::errno::Errno;
use crate::sys::mount::Unmounted;
use crate::sys::process::{self, SignalSet, signal};

/// Runs as ordered; the exit code is the command's.
///
/// # Errors
/// One line; nothing is left behind.
pub fn run(order: RunOrder) -> Result<u8, Failure> {
    logging::start(Sink::Stderr, false);
    check_layers(&order)?;
    process::share_heap();
    process::raise_file_limit().unwrap_or_else(|errno| log::warn!("file limit: {errno}"));
    process::keep_within_quotas().unwrap_or_else(|errno| log::warn!("quotas: {errno}"));
    process::enter_private_namespace().map_err(no_namespace)?;
    let scratch = Scratch::new()?;
    let outcome = in_scratch(&order, &scratch);
    if let Err(failure) = scratch.remove() {
        complain(&failure);
    }
    outcome
}

fn no_namespace(errno: Errno) -> Failure {
    Failure::failed(format!(
        "cannot make a mount namespace: {errno} (user namespaces may be switched off: see \
         user.max_user_namespaces; in a container: --cap-add SYS_ADMIN)"
    ))
}

/// Said with the words of this subcommand, before anything is made.
fn check_layers(order: &RunOrder) -> Result<(), Failure> {
    let lower = order.lower.iter().map(|dir| ("--lower", dir));
    let upper = order.upper.iter().map(|dir| ("--upper", dir));
    let work = order.work.iter().map(|dir| ("--work", dir));
    for (flag, dir) in lower.chain(upper).chain(work) {
        match std::fs::metadata(dir) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(Failure::at(flag, dir, "Not a directory")),
            Err(error) => return Err(Failure::at(flag, dir, reason(&error))),
        }
    }
    Ok(())
}

fn in_scratch(order: &RunOrder, scratch: &Scratch) -> Result<u8, Failure> {
    let (upper, work) = match (&order.upper, &order.work) {
        (Some(upper), Some(work)) => (upper.clone(), work.clone()),
        _ => (scratch.upper(), scratch.work()),
    };
    // Layers that people try things on are often unpacked images or kept in git (§26.2b); `-o` may say otherwise.
    let mut words = vec![OsString::from("oci=on")];
    if order.upper.is_none() {
        // What is thrown away in the end need not reach the disk.
        words.push(OsString::from("volatile"));
    }
    words.extend_from_slice(&order.options);
    words.extend(directories(&order.lower, Some((&upper, &work))));
    let parsed = parse(Mode::Native, &words)?;
    if order.upper.is_none() {
        dress_root(&upper, &parsed.options.lower[0]);
    }
    let merged = scratch.merged();
    let (changed, outcome) = in_view(order, &parsed, &merged)?;
    if outcome.is_ok() {
        let kept = order.upper.as_deref();
        report(changed, kept);
    }
    outcome
}

/// The view's root looks like its upper's (§7.7); a fresh one should look like the top-most lower's.
fn dress_root(upper: &Path, lower: &Path) {
    let dressed = std::fs::metadata(lower).and_then(|like| {
        if process::effective_ids().0 == 0 {
            std::os::unix::fs::chown(upper, Some(like.uid()), Some(like.gid()))?;
        }
        let mode = std::fs::Permissions::from_mode(like.mode() & 0o7777);
        std::fs::set_permissions(upper, mode)
    });
    if let Err(error) = dressed {
        log::info!("the root of the view has a mode of its own: {error}");
    }
}

/// `lowerdir=..`, `upperdir=..`, `workdir=..` with everything escaped; upper and work directory if there are any.
pub(super) fn directories(lower: &[PathBuf], changes: Option<(&Path, &Path)>) -> Vec<OsString> {
    let mut lowers = b"lowerdir=".to_vec();
    for (i, dir) in lower.iter().enumerate() {
        if i > 0 {
            lowers.push(b':');
        }
        push_escaped(&mut lowers, dir.as_os_str());
    }
    let mut words = vec![OsString::from_vec(lowers)];
    let changes = changes.map(|(upper, work)| [("upperdir", upper), ("workdir", work)]);
    for (word, dir) in changes.into_iter().flatten() {
        let mut option = format!("{word}=").into_bytes();
        push_escaped(&mut option, dir.as_os_str());
        words.push(OsString::from_vec(option));
    }
    words
}

fn push_escaped(words: &mut Vec<u8>, path: &OsStr) {
    for byte in path.as_bytes() {
        if matches!(byte, b'\\' | b',' | b':' | b'"') {
            words.push(b'\\');
        }
        words.push(*byte);
    }
}

type Changed = Result<Vec<changes::Change>, Failure>;

/// Mounts, runs the command, unmounts.
fn in_view(
    order: &RunOrder,
    parsed: &Parsed,
    merged: &Path,
) -> Result<(Changed, Result<u8, Failure>), Failure> {
    let no_signals = |errno: Errno| Failure::failed(format!("signals: {errno}"));
    // Before any thread: all of them must leave these to the one that waits for them.
    let signals = SignalSet::block(&[
        signal::SIGINT,
        signal::SIGQUIT,
        signal::SIGTERM,
        signal::SIGHUP,
    ])
    .map_err(no_signals)?;
    let prepared = Prepared::new(merged.as_os_str(), OsStr::new("plyfs"), &parsed.flags)
        .map_err(Failure::failed)?;
    let overlay = view::open(&parsed.options)?;
    let filesystem = view::filesystem(&overlay, &parsed.options, &parsed.flags);
    let mounted = prepared.mount().map_err(Failure::failed)?;
    let session = mounted.serve(filesystem).map_err(Failure::failed)?;
    let point = session.point();
    let serving = std::thread::spawn(move || session.run());
    let outcome = command(order, merged, signals);
    match point.unmount() {
        Ok(Unmounted::Done) => match serving.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn(&error.to_string()),
            Err(_) => warn("the thread that served the view panicked"),
        },
        // The end of this process ends the view for everybody.
        Ok(Unmounted::Detached | Unmounted::NotOurs) => {
            warn("processes of the command still run; the view ends for them now");
        }
        Err(errno) => warn(&format!("cannot unmount: {errno}")),
    }
    Ok((view::changes(&overlay), outcome))
}

/// Starts the command, passes signals on to it, waits for its end.
fn command(order: &RunOrder, merged: &Path, signals: SignalSet) -> Result<u8, Failure> {
    let shell = || std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let (program, arguments) = match order.command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => (shell(), [].as_slice()),
    };
    let mut command = process::program(&program);
    command.args(arguments);
    if order.chroot {
        process::start_in_root(&mut command, merged.as_os_str())
            .map_err(|errno| Failure::at("view", merged, errno))?;
        command.env("PWD", "/");
    } else {
        command.current_dir(merged).env("PWD", merged);
    }
    let mut child = command
        .spawn()
        .map_err(|error| cannot_start(&program, &error))?;
    let pid = Arc::new(AtomicU32::new(child.id()));
    pass_on(signals, &pid);
    let status = child.wait();
    pid.store(0, Ordering::SeqCst);
    let status = status.map_err(|error| Failure::failed(reason(&error)))?;
    Ok(code(status))
}

/// As shells say it: 127 not found, 126 not executable.
fn cannot_start(program: &OsStr, error: &std::io::Error) -> Failure {
    let code = if error.kind() == ErrorKind::NotFound {
        127
    } else {
        126
    };
    let text = format!("{}: {}", shown(Path::new(program)), reason(error));
    Failure::new(code, text)
}

/// Keys on the terminal reach the command anyway; what other processes send us is meant for it.
fn pass_on(signals: SignalSet, pid: &Arc<AtomicU32>) {
    let pid = Arc::clone(pid);
    std::thread::spawn(move || {
        while let Ok(caught) = signals.wait() {
            let keys = matches!(caught.signal, signal::SIGINT | signal::SIGQUIT);
            let pid = pid.load(Ordering::SeqCst);
            if pid != 0 && !(keys && caught.from_kernel) {
                // It may have ended meanwhile.
                let _ = process::send_signal(pid, caught.signal);
            }
        }
    });
}

fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}

fn report(changed: Changed, kept: Option<&Path>) {
    let lines = match changed {
        Ok(changed) => changes::lines(changed),
        Err(failure) => return complain(&failure),
    };
    match kept {
        _ if lines.is_empty() => note("nothing was changed"),
        Some(upper) => note(format_args!("changes, kept in {}:", shown(upper))),
        None => note("changes, thrown away with the view:"),
    }
    for line in lines {
        eprintln!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_directory_names_survive_the_option_string() {
        let odd = [r"/a,b:c\d", "/\"q\"", r"/e\,f"].map(PathBuf::from);
        let words = directories(&odd, Some((&odd[0], &odd[1])));
        let parsed = parse(Mode::Native, &words).unwrap();
        assert_eq!(parsed.options.lower, odd);
        let dirs = parsed.options.upper.unwrap();
        assert_eq!([dirs.upper, dirs.work], [odd[0].clone(), odd[1].clone()]);
    }

    #[test]
    fn statuses_are_those_of_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
        let missing = cannot_start(OsStr::new("x"), &std::io::Error::from_raw_os_error(2));
        assert_eq!(missing.code, 127);
    }
}

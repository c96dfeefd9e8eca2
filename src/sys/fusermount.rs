//! `fusermount3`, the setuid helper that mounts FUSE for a plain user.
//!
//! It opens /dev/fuse with the user's rights, mounts, and passes the fd over a socket whose number it finds in
//! `_FUSE_COMMFD`. What it complains about on stderr is what the user has to read.

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

use super::{ffi, process};

/// Names by PATH first; then where distributions put them, for callers with an empty PATH (mount(8)).
const PROGRAMS: [&str; 4] = [
    "fusermount3",
    "/usr/bin/fusermount3",
    "fusermount",
    "/usr/bin/fusermount",
];

/// Why the helper did not help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelperError {
    /// There is none.
    Missing,
    /// It refused, with these words.
    Refused(String),
}

/// Mounts at `target` with `-o options`; returns the fd of the new connection.
///
/// # Errors
/// As the helper says.
pub fn mount(target: &OsStr, options: &OsStr) -> Result<OwnedFd, HelperError> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|e| HelperError::Refused(e.to_string()))?;
    let number = theirs.as_raw_fd().to_string();
    let child = start(|command| {
        command.arg("-o").arg(options).arg("--").arg(target);
        command.env("_FUSE_COMMFD", &number);
        ffi::inherit_fd(command, &theirs);
    })?;
    drop(theirs);
    let received = receive(&ours);
    let said = finish(child);
    match (received, said) {
        (Some(fd), Ok(())) => Ok(fd),
        (_, Err(error)) => Err(error),
        (None, Ok(())) => Err(HelperError::Refused("it sent no file descriptor".into())),
    }
}

/// Unmounts `target`; `lazy` as `umount -l`.
///
/// # Errors
/// As the helper says.
pub fn unmount(target: &OsStr, lazy: bool) -> Result<(), HelperError> {
    let how = if lazy { "-uz" } else { "-u" };
    let child = start(|command| {
        command.arg(how).arg("--").arg(target);
    })?;
    finish(child)
}

fn start(prepare: impl Fn(&mut Command)) -> Result<Child, HelperError> {
    for program in PROGRAMS {
        let mut command = process::program(program);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).env("LC_ALL", "C");
        prepare(&mut command);
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(HelperError::Refused(format!("{program}: {error}"))),
        }
    }
    Err(HelperError::Missing)
}

fn finish(child: Child) -> Result<(), HelperError> {
    match child.wait_with_output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            let words = words.trim().replace('\n', "; ");
            Err(HelperError::Refused(words))
        }
        Err(error) => Err(HelperError::Refused(error.to_string())),
    }
}

fn receive(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut byte = [0u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(&mut byte)];
        rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}

/// The `-o` string of the helper: commas and backslashes in values need a backslash.
pub(super) fn escape(value: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::with_capacity(value.len());
    for byte in value.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(*byte);
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        assert_eq!(escape(OsStr::new(r"a,b\c")), OsString::from(r"a\,b\\c"));
    }

    #[test]
    fn refusals_carry_the_words_of_the_helper() {
        if start(|command| {
            command.arg("-h");
        })
        .is_err()
        {
            assert_eq!(unmount(OsStr::new("/"), false), Err(HelperError::Missing));
            return;
        }
        match unmount(OsStr::new("/proc/self/no-such-place"), false) {
            Err(HelperError::Refused(words)) => assert!(words.contains("fusermount"), "{words}"),
            other => panic!("{other:?}"),
        }
    }
}

//! Who serves a FUSE mount? Found through `/proc/PID/fdinfo`, which names the connection on recent kernels (seen
//! on 6.18).
//!
//! A plain FUSE unmount does not wait for the daemon, so whoever wants the layers back (to unmount *their*
//! filesystem) has to wait for the process. Where the kernel does not tell, there is nobody to wait for.

use std::cmp::Reverse;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};

use super::mountinfo::read_whole;

/// The processes that serve one mount.
#[derive(Debug)]
pub struct Serving(Vec<OwnedFd>);

impl Serving {
    /// Those that hold the connection of the mount with this device number and may be looked at.
    pub fn of(device: (u32, u32)) -> Serving {
        let connection = connection_of_device(device);
        let own = program("self");
        let mut all: Vec<u32> = numbers_in(c"/proc").collect();
        // The eldest are the kernel's threads and what the system started.
        all.sort_unstable_by_key(|pid| Reverse(*pid));
        // Most often this program serves, one view in each process, and nobody else need be asked.
        let ours = |pid: u32| own.is_some() && program(&pid.to_string()) == own;
        let serves = |pid: &u32| ours(*pid) && connections(*pid).next() == Some(connection);
        let holders = match all.iter().copied().find(serves) {
            Some(pid) => vec![pid],
            None => {
                let holds = |pid: &u32| connections(*pid).any(|other| other == connection);
                all.into_iter().filter(holds).collect()
            }
        };
        let fds = holders.into_iter().filter_map(|pid| {
            let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
        });
        Serving(fds.collect())
    }

    /// Waits until all have ended; false when they have not after so many seconds.
    pub fn wait(&self, seconds: u32) -> bool {
        let patience = Timespec {
            tv_sec: seconds.into(),
            tv_nsec: 0,
        };
        self.0.iter().all(|process| {
            let mut polled = [PollFd::new(process, PollFlags::IN)];
            matches!(rustix::event::poll(&mut polled, Some(&patience)), Ok(1..))
        })
    }
}

/// The kernel's own dev_t, by which a connection is known: 12 bits major, 20 bits minor.
fn connection_of_device(device: (u32, u32)) -> u32 {
    (device.0 << 20) | (device.1 & 0xf_ffff)
}

/// The file name of the program that a process runs.
fn program(process: &str) -> Option<Vec<u8>> {
    let link = CString::new(format!("/proc/{process}/exe")).ok()?;
    let path = rustix::fs::readlink(&link, Vec::new()).ok()?.into_bytes();
    // Replaced by a newer one since it was started.
    let path = path.strip_suffix(b" (deleted)").unwrap_or(&path);
    path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec)
}

/// The FUSE connections that a process serves.
fn connections(pid: u32) -> impl Iterator<Item = u32> {
    let dir = CString::new(format!("/proc/{pid}/fd")).unwrap_or_default();
    numbers_in(&dir).filter_map(move |fd| {
        let link = CString::new(format!("/proc/{pid}/fd/{fd}")).ok()?;
        let target = rustix::fs::readlink(&link, Vec::new()).ok()?;
        (target.as_bytes() == b"/dev/fuse").then(|| connection(&pid.to_string(), fd))?
    })
}

/// The connection behind an fd of `/dev/fuse`, where the kernel tells.
fn connection(process: &str, fd: u32) -> Option<u32> {
    let info = CString::new(format!("/proc/{process}/fdinfo/{fd}")).ok()?;
    connection_of(&read_whole(&info).ok()?)
}

/// Is `fd` the connection of the mount with this device number? False where the kernel does not tell.
pub(super) fn is_connection(fd: &OwnedFd, device: (u32, u32)) -> bool {
    let fd = u32::try_from(fd.as_raw_fd()).ok();
    fd.and_then(|fd| connection("self", fd)) == Some(connection_of_device(device))
}

fn connection_of(fdinfo: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(fdinfo).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("fuse_connection:"))?;
    line.trim().parse().ok()
}

/// The names in a directory that are numbers; none where it cannot be read.
fn numbers_in(path: &CStr) -> impl Iterator<Item = u32> + use<> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).and_then(Dir::new);
    let entries = dir.into_iter().flatten().filter_map(|entry| entry.ok());
    entries.filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_is_read_from_fdinfo() {
        let text = b"pos:\t0\nflags:\t02100002\nmnt_id:\t24\nino:\t90\nfuse_connection:\t57\n";
        assert_eq!(connection_of(text), Some(57));
        assert_eq!(connection_of(b"pos:\t0\n"), None);
    }

    #[test]
    fn nobody_serves_what_does_not_exist() {
        assert!(Serving::of((0, 0xf_ffff)).wait(0));
        assert_eq!(connections(std::process::id()).next(), None);
        assert_eq!(numbers_in(c"/no/such").next(), None);
    }

    #[test]
    fn a_program_is_known_by_its_file() {
        let own = std::env::current_exe().unwrap();
        let name = own.file_name().map(|name| name.as_encoded_bytes().to_vec());
        assert_eq!(program("self"), name);
        assert_eq!(program("no-such"), None);
    }
}

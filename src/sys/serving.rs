//! Who serves a FUSE mount? Found through `/proc/PID/fdinfo`, which names the connection on recent kernels (seen
//! on 6.18).
//!
//! A plain FUSE unmount does not wait for the daemon, so whoever wants the layers back (to unmount *their*
//! filesystem) has to wait for the process. Where the kernel does not tell, there is nobody to wait for.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};

use super::errno::Result;
use super::mountinfo::read_whole;

/// The processes that serve one mount.
#[derive(Debug)]
pub struct Serving(Vec<OwnedFd>);

impl Serving {
    /// Those that hold the connection of the mount with this device number and may be looked at.
    pub fn of(device: (u32, u32)) -> Serving {
        // The kernel's own dev_t: 12 bits major, 20 bits minor.
        let connection = (device.0 << 20) | (device.1 & 0xf_ffff);
        let pids = numbers_in(c"/proc").unwrap_or_default();
        let holders = pids.into_iter().filter(|pid| holds(*pid, connection));
        let fds = holders.filter_map(|pid| {
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

fn holds(pid: u32, connection: u32) -> bool {
    let Ok(dir) = CString::new(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let fds = numbers_in(&dir).unwrap_or_default();
    fds.into_iter().any(|fd| {
        let link = CString::new(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
        let is_device = rustix::fs::readlink(&link, Vec::new())
            .is_ok_and(|target| target.as_bytes() == b"/dev/fuse");
        let info = CString::new(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
        is_device && read_whole(&info).is_ok_and(|text| connection_of(&text) == Some(connection))
    })
}

fn connection_of(fdinfo: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(fdinfo).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("fuse_connection:"))?;
    line.trim().parse().ok()
}

/// The names in a directory that are numbers.
fn numbers_in(path: &CStr) -> Result<Vec<u32>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let names = Dir::read_from(fd)?.filter_map(|entry| entry.ok());
    let numbers = names.filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok());
    Ok(numbers.collect())
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
        assert!(!holds(std::process::id(), 1));
    }
}

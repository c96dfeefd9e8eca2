//! Sysctls of this thread's network namespace, such as `net/ipv4/ip_forward`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::errno::Result;

/// A way to them.
#[derive(Debug)]
pub struct Sysctls(OwnedFd);

impl Sysctls {
    /// By `/proc`.
    ///
    /// # Errors
    /// As open(2) says.
    pub fn usual() -> Result<Sysctls> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Sysctls(rustix::fs::openat(
            CWD,
            "/proc",
            flags,
            Mode::empty(),
        )?))
    }

    /// By a procfs that nobody else sees, for a namespace that is new. Of `/proc` the kernel remembers where somebody
    /// was in each namespace, all under one name, and has to go through all of them to find that a new one is not
    /// there: a microsecond for each namespace, where a procfs of one's own costs forty. Who may not have one takes the
    /// usual way.
    ///
    /// # Errors
    /// As [`Sysctls::usual`].
    pub fn fresh() -> Result<Sysctls> {
        fresh_proc().map(Sysctls).or_else(|_| Sysctls::usual())
    }

    /// Writes one, unless it has that value; says what it was.
    ///
    /// # Errors
    /// As open(2), write(2) say: ENOENT where the kernel does not know it, EROFS in containers.
    pub fn set(&self, name: &str, value: &str) -> Result<String> {
        let mut before = String::new();
        self.open(name, OFlags::RDONLY)?
            .read_to_string(&mut before)?;
        before.truncate(before.trim_end().len());
        if before != value {
            self.write(name, value)?;
        }
        Ok(before)
    }

    /// Writes one, whatever it is: for one that nearly always is something else.
    ///
    /// # Errors
    /// As [`Sysctls::set`].
    pub fn write(&self, name: &str, value: &str) -> Result<()> {
        let mut file = self.open(name, OFlags::WRONLY)?;
        Ok(file.write_all(value.as_bytes())?)
    }

    fn open(&self, name: &str, flags: OFlags) -> Result<File> {
        let name = format!("sys/{name}");
        let file = rustix::fs::openat(&self.0, name, flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(file.into())
    }
}

fn fresh_proc() -> Result<OwnedFd> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(rustix::mount::fsmount(
        &context,
        flags,
        MountAttrFlags::empty(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::errno::Errno;

    #[test]
    fn both_ways_lead_to_the_same() {
        let name = "net/ipv4/ip_default_ttl";
        let usual = std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap();
        for sysctls in [Sysctls::usual().unwrap(), Sysctls::fresh().unwrap()] {
            assert_eq!(sysctls.set(name, usual.trim()).unwrap(), usual.trim());
            let unknown = sysctls.write("net/ipv4/no_such_thing", "1");
            assert_eq!(unknown, Err(Errno::ENOENT));
        }
    }
}

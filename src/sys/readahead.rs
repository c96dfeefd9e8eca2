//! How far the kernel reads ahead on a filesystem: it keeps that beside each filesystem's device, in sysfs.

use std::ffi::CString;

use rustix::fs::{Mode, OFlags};

use super::errno::Result;

/// Sets it for all files of the filesystem with this device number.
///
/// # Errors
/// EACCES for anyone but the superuser of the first user namespace; ENOENT without sysfs, EROFS in most containers.
pub fn set((major, minor): (u32, u32), kib: u32) -> Result<()> {
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    let path = CString::new(path).unwrap_or_default();
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty())?;
    rustix::io::write(&file, kib.to_string().as_bytes())?;
    Ok(())
}

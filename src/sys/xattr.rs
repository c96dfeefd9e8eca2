//! Extended attributes of an [`At`]: by the *xattrat calls of Linux 6.13, and by a path below
//! `/proc/self/fd` before. None follows a symbolic link.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::XattrFlags;

use super::at::{At, Target};
use super::errno::{Errno, Result};
use super::file::FileFd;
use super::{ffi, proc_fd};

/// Largest value and largest list the kernel hands out (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX_BYTES: usize = 65536;
/// Values up to this size are read by one call.
const GUESS_BYTES: usize = 256;

/// Set once the kernel said ENOSYS.
static WITHOUT_XATTRAT: AtomicBool = AtomicBool::new(false);

/// What setting an attribute demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    Any,
    /// EEXIST when it is there.
    Create,
    /// ENODATA when it is not there.
    Replace,
}

impl XattrMode {
    /// From the flags of setxattr(2).
    ///
    /// # Errors
    /// EINVAL for unknown bits or both at once.
    pub fn from_raw(flags: i32) -> Result<XattrMode> {
        match flags {
            0 => Ok(XattrMode::Any),
            libc::XATTR_CREATE => Ok(XattrMode::Create),
            libc::XATTR_REPLACE => Ok(XattrMode::Replace),
            _ => Err(Errno::EINVAL),
        }
    }

    fn to_flags(self) -> XattrFlags {
        match self {
            XattrMode::Any => XattrFlags::empty(),
            XattrMode::Create => XattrFlags::CREATE,
            XattrMode::Replace => XattrFlags::REPLACE,
        }
    }
}

/// Runs the *xattrat form unless the kernel is known to lack it, else the form by path.
fn either<T>(at: impl FnOnce() -> Result<T>, by_path: impl FnOnce() -> Result<T>) -> Result<T> {
    if !WITHOUT_XATTRAT.load(Ordering::Relaxed) {
        match at() {
            Err(Errno::ENOSYS) => WITHOUT_XATTRAT.store(true, Ordering::Relaxed),
            result => return result,
        }
    }
    by_path()
}

/// Directory fd, path and flags of an *xattrat call.
struct Parts<'a>(BorrowedFd<'a>, Cow<'a, CStr>, c_int);

impl<'a> At<'a> {
    /// `AT_EMPTY_PATH` refuses an O_PATH fd here, so a directory is its own `.` and anything else is
    /// reached by its magic link, the one link that is followed.
    fn xattr_parts(self) -> Result<Parts<'a>> {
        Ok(match self.0 {
            Target::Child(dir, name) => Parts(dir, name.into(), libc::AT_SYMLINK_NOFOLLOW),
            Target::Dir(dir) => Parts(dir, c".".into(), 0),
            Target::Fd(fd) => Parts(proc_fd::dir()?, proc_fd::entry(fd).into(), 0),
        })
    }

    /// For kernels without *xattrat: a path to this object, and whether its last component is a link
    /// to be followed.
    fn proc_path(self) -> Result<(CString, bool)> {
        proc_fd::init()?;
        let (fd, rest, follow) = match self.0 {
            Target::Child(dir, name) => (dir, [b"/", name.to_bytes()].concat(), false),
            Target::Dir(fd) | Target::Fd(fd) => (fd, Vec::new(), true),
        };
        let path = [b"/proc/self/fd/", proc_fd::entry(fd).as_bytes(), &rest].concat();
        Ok((CString::new(path).map_err(|_| Errno::EINVAL)?, follow))
    }

    /// Reads an attribute into `value`; an empty buffer asks for the size.
    ///
    /// # Errors
    /// ENODATA, ERANGE, EOPNOTSUPP.
    pub fn get_xattr_into(self, name: &CStr, value: &mut [u8]) -> Result<usize> {
        if !WITHOUT_XATTRAT.load(Ordering::Relaxed) {
            let Parts(dir, path, flags) = self.xattr_parts()?;
            match ffi::getxattrat(dir, &path, flags, name, value) {
                Err(Errno::ENOSYS) => WITHOUT_XATTRAT.store(true, Ordering::Relaxed),
                result => return result,
            }
        }
        let (path, follow) = self.proc_path()?;
        Ok(if follow {
            rustix::fs::getxattr(&*path, name, value)?
        } else {
            rustix::fs::lgetxattr(&*path, name, value)?
        })
    }

    /// The whole value of an attribute, `None` when it is not there or the filesystem has none.
    ///
    /// # Errors
    /// Other errors of getxattr.
    pub fn get_xattr(self, name: &CStr) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; GUESS_BYTES];
        loop {
            match self.get_xattr_into(name, &mut value) {
                Ok(len) => {
                    value.truncate(len);
                    return Ok(Some(value));
                }
                Err(Errno::ENODATA | Errno::EOPNOTSUPP) => return Ok(None),
                Err(Errno::ERANGE) if value.len() < XATTR_MAX_BYTES => {
                    value.resize(XATTR_MAX_BYTES, 0)
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// Those of setxattr.
    pub fn set_xattr(self, name: &CStr, value: &[u8], mode: XattrMode) -> Result<()> {
        let Parts(dir, path, at_flags) = self.xattr_parts()?;
        let flags = mode.to_flags();
        either(
            || ffi::setxattrat(dir, &path, at_flags, name, value, flags.bits()),
            || {
                let (path, follow) = self.proc_path()?;
                if follow {
                    rustix::fs::setxattr(&*path, name, value, flags)?;
                } else {
                    rustix::fs::lsetxattr(&*path, name, value, flags)?;
                }
                Ok(())
            },
        )
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// ENODATA, and those of removexattr.
    pub fn remove_xattr(self, name: &CStr) -> Result<()> {
        let Parts(dir, path, at_flags) = self.xattr_parts()?;
        either(
            || ffi::removexattrat(dir, &path, at_flags, name),
            || {
                let (path, follow) = self.proc_path()?;
                if follow {
                    rustix::fs::removexattr(&*path, name)?;
                } else {
                    rustix::fs::lremovexattr(&*path, name)?;
                }
                Ok(())
            },
        )
    }

    /// All attribute names; empty where the filesystem has no attributes.
    ///
    /// # Errors
    /// Those of listxattr.
    pub fn list_xattrs(self) -> Result<XattrNames> {
        // Most objects have none, and nothing is allocated then.
        let mut few = [0; GUESS_BYTES];
        match self.list_xattrs_into(&mut few) {
            Ok(len) => Ok(XattrNames(few[..len].to_vec())),
            Err(Errno::EOPNOTSUPP) => Ok(XattrNames(Vec::new())),
            Err(Errno::ERANGE) => {
                let mut list = vec![0; XATTR_MAX_BYTES];
                let len = self.list_xattrs_into(&mut list)?;
                list.truncate(len);
                Ok(XattrNames(list))
            }
            Err(errno) => Err(errno),
        }
    }

    fn list_xattrs_into(self, list: &mut [u8]) -> Result<usize> {
        if !WITHOUT_XATTRAT.load(Ordering::Relaxed) {
            let Parts(dir, path, flags) = self.xattr_parts()?;
            match ffi::listxattrat(dir, &path, flags, list) {
                Err(Errno::ENOSYS) => WITHOUT_XATTRAT.store(true, Ordering::Relaxed),
                result => return result,
            }
        }
        let (path, follow) = self.proc_path()?;
        Ok(if follow {
            rustix::fs::listxattr(&*path, list)?
        } else {
            rustix::fs::llistxattr(&*path, list)?
        })
    }
}

impl FileFd {
    /// Has the file attributes at all? Asks the open file itself, which is the quickest way.
    ///
    /// # Errors
    /// Those of flistxattr.
    pub fn has_xattrs(&self) -> Result<bool> {
        match rustix::fs::flistxattr_query(self) {
            Ok(bytes) => Ok(bytes > 0),
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The names of an object's attributes, in the kernel's form: each ended by a NUL.
#[derive(Clone, Debug, Default)]
pub struct XattrNames(Vec<u8>);

impl XattrNames {
    /// Each name.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.0
            .split_inclusive(|&b| b == 0)
            .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

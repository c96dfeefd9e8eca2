//! FUSE mounts: make one, find it again, take it away.
//!
//! Invariant: **nothing is unmounted by path alone**. A [`Point`] remembers which mount it made (id and device);
//! before it unmounts, the mount table must show that very mount as the top-most one at its place. The path may
//! long belong to somebody else: engines unmount and mount again within milliseconds.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::UnmountFlags;

use super::errno::{Errno, Result};
use super::fusermount::{self, HelperError};
use super::mountinfo::{Identity, Table};
use super::process;
use super::serving::is_connection;

pub use rustix::mount::MountFlags as Bits;

/// `MS_NOSYMFOLLOW`, which not every backend of rustix names.
pub const NOSYMFOLLOW: Bits = Bits::from_bits_retain(256);

/// Filesystem type of our mounts in the mount table.
pub const FSTYPE: &str = "fuse.plyfs";

/// What to mount where.
#[derive(Debug, Clone)]
pub struct Request {
    /// The mount point: absolute, without symlinks.
    pub target: OsString,
    /// First column of the mount table.
    pub source: OsString,
    /// Flags of mount(2).
    pub bits: Bits,
    /// `None`: if we mount ourselves.
    pub allow_other: Option<bool>,
    /// Largest read request.
    pub max_read: Option<u32>,
    /// SELinux contexts: option and value.
    pub context: Vec<(String, OsString)>,
}

/// Why there is no mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// /dev/fuse cannot be opened.
    Device(Errno),
    /// mount(2) refused.
    Mount(Errno),
    /// The setuid helper refused, or there is none.
    Helper(HelperError),
}

/// Who mounted, and so who can unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Helper,
}

/// Permission to mount, tried before anything else is done: /dev/fuse can be opened.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
    way: Way,
}

/// A mount that was made here.
#[derive(Debug, Clone)]
pub struct Point {
    target: OsString,
    way: Way,
    identity: Option<Identity>,
}

/// What became of a request to unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// Gone; nobody uses it any more.
    Done,
    /// Out of the tree; it ends when its last user does.
    Detached,
    /// It is not at its place any more, or something is mounted over it. Nothing was done.
    NotOurs,
}

impl Device {
    /// Opens /dev/fuse.
    ///
    /// # Errors
    /// [`Failure::Device`].
    pub fn open() -> Result<Device, Failure> {
        let way = if process::may_mount() {
            Way::Direct
        } else {
            Way::Helper
        };
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(c"/dev/fuse", flags, Mode::empty()) {
            Ok(fd) => Ok(Device { fd, way }),
            Err(errno) => Err(Failure::Device(errno.into())),
        }
    }

    /// Mounts. The fd is the new connection; the kernel has its first request ready on it.
    ///
    /// # Errors
    /// As mount(2) or the helper says.
    pub fn mount(self, request: &Request) -> Result<(OwnedFd, Point), Failure> {
        let fd = match self.way {
            Way::Direct => mount_directly(self.fd, request)?,
            // The helper opens the device anew; ours has told that it can be opened.
            Way::Helper => fusermount::mount(&request.target, &helper_options(request))
                .map_err(Failure::Helper)?,
        };
        let identity = made_at(&request.target, &fd).or_else(|| ours_at(&request.target));
        let point = Point {
            target: request.target.clone(),
            way: self.way,
            identity,
        };
        Ok((fd, point))
    }
}

/// The mount just made, if the kernel tells that it is the one behind `connection`. Nobody answers requests yet, so
/// none is made: what is asked for is not of the filesystem.
fn made_at(target: &OsStr, connection: &OwnedFd) -> Option<Identity> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(CWD, target, flags, StatxFlags::MNT_ID).ok()?;
    let device = (found.stx_dev_major, found.stx_dev_minor);
    let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
    (told && is_connection(connection, device)).then_some(Identity {
        id: u32::try_from(found.stx_mnt_id).ok()?,
        device,
    })
}

/// The mount just made, if the mount table can be read.
fn ours_at(target: &OsStr) -> Option<Identity> {
    let table = Table::read().ok()?;
    let entry = table.top_at(target)?;
    (entry.fstype == FSTYPE).then_some(entry.identity)
}

fn mount_directly(fd: OwnedFd, request: &Request) -> Result<OwnedFd, Failure> {
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        fd.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if request.allow_other.unwrap_or(true) {
        data.push_str(",allow_other");
    }
    if let Some(bytes) = request.max_read {
        data.push_str(&format!(",max_read={bytes}"));
    }
    let mut data = data.into_bytes();
    if selinux_is_active() {
        for (option, value) in &request.context {
            data.extend_from_slice(format!(",{option}=\"").as_bytes());
            data.extend_from_slice(value.as_bytes());
            data.push(b'"');
        }
    }
    let data = CString::new(data).map_err(|_| Failure::Mount(Errno::EINVAL))?;
    rustix::mount::mount(
        request.source.as_os_str(),
        request.target.as_os_str(),
        FSTYPE,
        request.bits,
        data.as_c_str(),
    )
    .map_err(|errno| Failure::Mount(errno.into()))?;
    Ok(fd)
}

fn selinux_is_active() -> bool {
    rustix::fs::stat(c"/sys/fs/selinux/enforce").is_ok()
}

/// Words of the helper for what it lets a user choose. It adds nosuid and nodev itself for plain users.
const HELPER_WORDS: [(Bits, &str); 7] = [
    (Bits::RDONLY, "ro"),
    (Bits::NOSUID, "nosuid"),
    (Bits::NODEV, "nodev"),
    (Bits::NOEXEC, "noexec"),
    (Bits::NOATIME, "noatime"),
    (Bits::SYNCHRONOUS, "sync"),
    (Bits::DIRSYNC, "dirsync"),
];

fn helper_options(request: &Request) -> OsString {
    let mut options = OsString::from("subtype=plyfs,fsname=");
    options.push(fusermount::escape(&request.source));
    options.push(",default_permissions");
    if request.allow_other == Some(true) {
        options.push(",allow_other");
    }
    if let Some(bytes) = request.max_read {
        options.push(format!(",max_read={bytes}"));
    }
    let set = HELPER_WORDS
        .iter()
        .filter(|(bit, _)| request.bits.contains(*bit));
    for (_, word) in set {
        options.push(",");
        options.push(word);
    }
    options
}

impl Point {
    /// Where it was mounted.
    pub fn target(&self) -> &OsStr {
        &self.target
    }

    /// Unmounts it, if it is still there and on top: plainly, else lazily.
    ///
    /// # Errors
    /// As umount2(2) says; EPERM when the helper refused.
    pub fn unmount(&self) -> Result<Unmounted> {
        let table = Table::read()?;
        let entry = self.identity.and_then(|identity| table.find(identity));
        match entry {
            Some(entry) if table.is_top(entry) => take_away(&entry.point, self.way),
            _ => Ok(Unmounted::NotOurs),
        }
    }
}

fn take_away(point: &OsStr, way: Way) -> Result<Unmounted> {
    let unmount = |lazy: bool| match way {
        Way::Direct => unmount_directly(point, lazy),
        Way::Helper => fusermount::unmount(point, lazy).map_err(|_| Errno::EPERM),
    };
    match unmount(false) {
        Ok(()) => Ok(Unmounted::Done),
        Err(_) => unmount(true).map(|()| Unmounted::Detached),
    }
}

fn unmount_directly(point: &OsStr, lazy: bool) -> Result<()> {
    let flags = if lazy {
        UnmountFlags::NOFOLLOW | UnmountFlags::DETACH
    } else {
        UnmountFlags::NOFOLLOW
    };
    Ok(rustix::mount::unmount(point, flags)?)
}

/// Unmounts what is at `point` for a user who asked for it by that path.
///
/// # Errors
/// [`Failure::Mount`] or [`Failure::Helper`].
pub fn unmount_at(point: &OsStr, lazy: bool) -> Result<(), Failure> {
    if process::may_mount() {
        unmount_directly(point, lazy).map_err(Failure::Mount)
    } else {
        fusermount::unmount(point, lazy).map_err(Failure::Helper)
    }
}

/// Changes the flags of the mount at `point`, and whether its filesystem may be written to.
///
/// # Errors
/// As mount(2) says: EBUSY while files are open for writing and `bits` forbid that.
pub fn remount(point: &OsStr, bits: Bits) -> Result<()> {
    Ok(rustix::mount::mount_remount(point, bits, c"")?)
}

/// Whether something is mounted at `path`; true also where the kernel does not tell (before 5.8).
pub fn is_mount_point(path: &OsStr) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let Ok(found) = rustix::fs::statx(CWD, path, flags, StatxFlags::empty()) else {
        return true;
    };
    let (known, set) = (found.stx_attributes_mask, found.stx_attributes);
    !known.contains(StatxAttributes::MOUNT_ROOT) || set.contains(StatxAttributes::MOUNT_ROOT)
}

/// Mounts an empty tmpfs at `target`, which has to be in a namespace of our own.
///
/// # Errors
/// As mount(2) says.
pub fn private_tmpfs(target: &OsStr) -> Result<()> {
    rustix::mount::mount("plyfs-run", target, "tmpfs", Bits::empty(), c"mode=0700")?;
    Ok(())
}

/// Shows the file or directory `source` at `target`, too; to be called in a namespace of our own.
///
/// # Errors
/// As mount(2) says.
pub fn bind(source: &OsStr, target: &OsStr) -> Result<()> {
    Ok(rustix::mount::mount_bind(source, target)?)
}

/// Takes [`private_tmpfs`] away, whoever uses it.
///
/// # Errors
/// As umount2(2) says.
pub fn drop_tmpfs(target: &OsStr) -> Result<()> {
    unmount_directly(target, true)
}

/// Whether an upper layer can live on the filesystem of `path`: it is no overlayfs itself.
pub fn may_hold_upper(path: &OsStr) -> bool {
    const OVERLAYFS: u64 = 0x794c_7630;
    rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type as u64 != OVERLAYFS)
}

/// Whether `path` is a directory in which this user may create things.
pub fn is_writable(path: &OsStr) -> bool {
    use rustix::fs::{Access, FileType};
    let is_dir = rustix::fs::stat(path)
        .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory);
    is_dir && rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            target: "/m".into(),
            source: "a,b".into(),
            bits: Bits::RDONLY | Bits::NOATIME,
            allow_other: None,
            max_read: Some(4096),
            context: Vec::new(),
        }
    }

    #[test]
    fn the_helper_is_told_in_its_words() {
        let options = helper_options(&request());
        let expected = r"subtype=plyfs,fsname=a\,b,default_permissions,max_read=4096,ro,noatime";
        assert_eq!(options, OsString::from(expected));
        let mut open = request();
        open.allow_other = Some(true);
        let options = helper_options(&open);
        assert!(options.to_string_lossy().contains("allow_other"));
    }

    #[test]
    fn what_was_not_recognised_is_not_unmounted() {
        let point = Point {
            target: "/proc".into(),
            way: Way::Direct,
            identity: None,
        };
        assert_eq!(point.unmount(), Ok(Unmounted::NotOurs));
        let gone = Identity {
            id: u32::MAX,
            device: (0, 0),
        };
        let point = Point {
            identity: Some(gone),
            ..point
        };
        assert_eq!(point.unmount(), Ok(Unmounted::NotOurs));
    }
}

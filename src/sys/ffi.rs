//! Raw system calls that rustix lacks: the only module of the crate with `unsafe`.
//!
//! Each function is one system call with the same meaning as its man page, made safe by taking
//! borrowed fds, C strings and slices. Policy lives elsewhere.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::UnshareFlags;

use super::errno::{Errno, Result};

pub mod datagrams;
pub mod extents;
pub mod fuse_ring;
pub mod mapping;
pub mod memory;
pub mod sched;
pub mod uring;

fn check(ret: c_long) -> Result<usize> {
    usize::try_from(ret).map_err(|_| Errno::last())
}

// ---- metadata by (directory fd, name) -------------------------------------------------------

/// fchmodat2(2), Linux 6.6: the only chmod that takes `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH`.
pub fn fchmodat2(dir: BorrowedFd<'_>, path: &CStr, mode: u32, flags: c_int) -> Result<()> {
    // SAFETY: `path` is NUL-terminated and outlives the call; the kernel writes nothing.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_fchmodat2,
            dir.as_raw_fd(),
            path.as_ptr(),
            mode,
            flags,
        )
    };
    check(ret).map(drop)
}

/// `struct xattr_args` of the *xattrat system calls.
#[repr(C, align(8))]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

const SYS_SETXATTRAT: c_long = 463;
const SYS_GETXATTRAT: c_long = 464;
const SYS_LISTXATTRAT: c_long = 465;
const SYS_REMOVEXATTRAT: c_long = 466;

/// setxattrat(2), Linux 6.13.
pub fn setxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    at_flags: c_int,
    name: &CStr,
    value: &[u8],
    flags: u32,
) -> Result<()> {
    let size = u32::try_from(value.len()).map_err(|_| Errno::E2BIG)?;
    let args = XattrArgs {
        value: value.as_ptr() as u64,
        size,
        flags,
    };
    // SAFETY: the pointers are valid for the lengths given for the whole call; the kernel only reads.
    let ret = unsafe {
        libc::syscall(
            SYS_SETXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            at_flags,
            name.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    };
    check(ret).map(drop)
}

/// getxattrat(2), Linux 6.13. An empty buffer asks for the size.
pub fn getxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    at_flags: c_int,
    name: &CStr,
    value: &mut [u8],
) -> Result<usize> {
    let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
    let args = XattrArgs {
        value: value.as_mut_ptr() as u64,
        size,
        flags: 0,
    };
    // SAFETY: the kernel writes at most `size` bytes to `value`, which is exclusively borrowed.
    let ret = unsafe {
        libc::syscall(
            SYS_GETXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            at_flags,
            name.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    };
    check(ret)
}

/// listxattrat(2), Linux 6.13. An empty buffer asks for the size.
pub fn listxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    at_flags: c_int,
    list: &mut [u8],
) -> Result<usize> {
    // SAFETY: the kernel writes at most `list.len()` bytes to `list`, which is exclusively borrowed.
    let ret = unsafe {
        libc::syscall(
            SYS_LISTXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            at_flags,
            list.as_mut_ptr(),
            list.len(),
        )
    };
    check(ret)
}

/// removexattrat(2), Linux 6.13.
pub fn removexattrat(dir: BorrowedFd<'_>, path: &CStr, at_flags: c_int, name: &CStr) -> Result<()> {
    // SAFETY: both strings are NUL-terminated and outlive the call; the kernel writes nothing.
    let ret = unsafe {
        libc::syscall(
            SYS_REMOVEXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            at_flags,
            name.as_ptr(),
        )
    };
    check(ret).map(drop)
}

// ---- credentials of the calling thread --------------------------------------------------------

/// setfsuid(2) of the calling thread only; returns the fsuid from before.
pub fn set_fsuid(uid: u32) -> u32 {
    // SAFETY: takes and returns plain integers.
    unsafe { libc::setfsuid(uid) as u32 }
}

/// setfsgid(2) of the calling thread only; returns the fsgid from before.
pub fn set_fsgid(gid: u32) -> u32 {
    // SAFETY: takes and returns plain integers.
    unsafe { libc::setfsgid(gid) as u32 }
}

// ---- file handles -------------------------------------------------------------------------------

/// Largest handle body the kernel gives out (`MAX_HANDLE_SZ`).
pub const MAX_HANDLE_BYTES: usize = 128;

#[repr(C)]
struct RawHandle {
    bytes: u32,
    kind: c_int,
    body: [u8; MAX_HANDLE_BYTES],
}

/// name_to_handle_at(2): the type and body of the handle of `path` under `dir`.
pub fn name_to_handle(dir: BorrowedFd<'_>, path: &CStr, flags: c_int) -> Result<(i32, Vec<u8>)> {
    let mut handle = RawHandle {
        bytes: MAX_HANDLE_BYTES as u32,
        kind: 0,
        body: [0; MAX_HANDLE_BYTES],
    };
    let mut mount_id: c_int = 0;
    // SAFETY: `handle` has the layout of struct file_handle and room for the bytes it announces.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            dir.as_raw_fd(),
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount_id,
            flags,
        )
    };
    check(ret)?;
    let len = (handle.bytes as usize).min(MAX_HANDLE_BYTES);
    Ok((handle.kind, handle.body[..len].to_vec()))
}

/// open_by_handle_at(2): the object of a handle on the filesystem that `mount` is open on.
pub fn open_by_handle(
    mount: BorrowedFd<'_>,
    kind: i32,
    body: &[u8],
    flags: c_int,
) -> Result<OwnedFd> {
    let mut handle = RawHandle {
        bytes: 0,
        kind,
        body: [0; MAX_HANDLE_BYTES],
    };
    let room = handle.body.get_mut(..body.len()).ok_or(Errno::EINVAL)?;
    room.copy_from_slice(body);
    handle.bytes = body.len() as u32;
    // SAFETY: `handle` has the layout of struct file_handle and holds as many bytes as it announces.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            &raw mut handle,
            flags,
        )
    };
    let fd = check(ret)? as RawFd;
    // SAFETY: the call just made this fd, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// sync_file_range(2). Only with `SYNC_FILE_RANGE_WAIT_BEFORE`, which starts no writing.
pub fn wait_for_writing(fd: BorrowedFd<'_>, offset: i64, len: i64) -> Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE;
    // SAFETY: the call takes numbers only.
    let ret = unsafe { libc::sync_file_range(fd.as_raw_fd(), offset, len, flags) };
    check(ret.into()).map(drop)
}

/// Size of `struct fsxattr` in bytes.
pub const FSXATTR_BYTES: usize = 28;
/// `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, struct fsxattr)`
const FS_IOC_FSGETXATTR: u64 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;

/// `struct if_dqblk` of quotactl(2) in words: limits and use of blocks and inodes, and in the last one
/// which of them are meant.
pub const DQBLK_WORDS: usize = 9;
/// Quotas of projects, not of users or groups.
const PRJQUOTA: c_int = 2;

/// quotactl_fd(2), Linux 5.14, about the quota of a project on the filesystem that `fd` is on.
pub fn project_quota(
    fd: BorrowedFd<'_>,
    command: c_int,
    project: u32,
    quota: &mut [u64; DQBLK_WORDS],
) -> Result<()> {
    // SAFETY: the commands in use read or write one struct if_dqblk, nine words, through the pointer.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            fd.as_raw_fd(),
            (command << 8) | PRJQUOTA,
            project,
            quota.as_mut_ptr(),
        )
    };
    check(ret).map(drop)
}

/// FS_IOC_FSGETXATTR (ioctl_xfs_fsgetxattr(2)): extended inode flags, project id, extent sizes.
pub fn get_fsxattr(fd: BorrowedFd<'_>) -> Result<[u8; FSXATTR_BYTES]> {
    let mut out = [0u32; FSXATTR_BYTES / 4];
    // SAFETY: the ioctl writes one struct fsxattr, seven words, through the pointer.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSGETXATTR as _, out.as_mut_ptr()) };
    check(ret.into())?;
    let mut bytes = [0; FSXATTR_BYTES];
    for (to, word) in bytes.chunks_exact_mut(4).zip(out) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    Ok(bytes)
}

/// FS_IOC_FSSETXATTR.
pub fn set_fsxattr(fd: BorrowedFd<'_>, value: &[u8; FSXATTR_BYTES]) -> Result<()> {
    let mut words = [0u32; FSXATTR_BYTES / 4];
    for (word, from) in words.iter_mut().zip(value.chunks_exact(4)) {
        *word = u32::from_ne_bytes([from[0], from[1], from[2], from[3]]);
    }
    // SAFETY: the ioctl reads one struct fsxattr, seven words, through the pointer.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSSETXATTR as _, words.as_ptr()) };
    check(ret.into()).map(drop)
}

/// `struct fsuuid2` of FS_IOC_GETFSUUID.
#[repr(C)]
struct FsUuid {
    len: u8,
    uuid: [u8; 16],
}

/// `_IOR(0x15, 0, struct fsuuid2)`
const FS_IOC_GETFSUUID: u64 = 0x8011_1500;

/// FS_IOC_GETFSUUID, Linux 6.9: the UUID of the filesystem of an open file or directory.
pub fn fs_uuid(fd: BorrowedFd<'_>) -> Result<[u8; 16]> {
    let mut out = FsUuid {
        len: 0,
        uuid: [0; 16],
    };
    // SAFETY: the ioctl writes one struct fsuuid2 through the pointer.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_GETFSUUID as _, &raw mut out) };
    check(ret.into())?;
    if out.len == 16 {
        Ok(out.uuid)
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

/// `struct btrfs_ioctl_vol_args_v2`, of the same size as that of `BTRFS_IOC_GET_SUBVOL_ROOTREF`.
#[repr(C)]
struct BtrfsVolume {
    fd: i64,
    unused: [u64; 6],
    name: [u8; 4040],
}

/// What is done to a subvolume.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum BtrfsVerb {
    /// `_IOW(0x94, 23, struct btrfs_ioctl_vol_args_v2)`: a snapshot of the directory in the argument.
    Snapshot = 0x5000_9417,
    /// The same with 24: an empty one.
    Create = 0x5000_9418,
    /// The same with 63: it and all that is in it goes at once.
    Destroy = 0x5000_943f,
}

/// BTRFS_IOC_SUBVOL_CREATE_V2 and its kin: makes or destroys the subvolume `name` of the directory `dir`.
pub fn btrfs_subvolume(
    dir: BorrowedFd<'_>,
    verb: BtrfsVerb,
    name: &[u8],
    source: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut volume = BtrfsVolume {
        fd: source.map_or(0, |fd| i64::from(fd.as_raw_fd())),
        unused: [0; 6],
        name: [0; 4040],
    };
    let room = volume.name.get_mut(..name.len());
    room.ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(name);
    // SAFETY: each of the three ioctls reads one struct of this layout through the pointer; the name is shorter than
    // its room, so it ends with a NUL.
    let ret = unsafe { libc::ioctl(dir.as_raw_fd(), verb as u64 as _, &raw const volume) };
    check(ret.into()).map(drop)
}

/// `_IOWR(0x94, 61, struct btrfs_ioctl_get_subvol_rootref_args)`, and the size of the struct in words; the low byte of
/// the last one is a count.
const BTRFS_IOC_GET_SUBVOL_ROOTREF: u64 = 0xd000_943d;
const BTRFS_ROOTREF_WORDS: usize = 512;

/// BTRFS_IOC_GET_SUBVOL_ROOTREF, Linux 4.18: are there subvolumes in the subvolume of `fd`?
pub fn btrfs_has_subvolumes(fd: BorrowedFd<'_>) -> Result<bool> {
    let mut out = [0u64; BTRFS_ROOTREF_WORDS];
    let request = BTRFS_IOC_GET_SUBVOL_ROOTREF;
    // SAFETY: the ioctl reads and writes one struct of this size through the pointer.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, out.as_mut_ptr()) };
    match check(ret.into()) {
        Err(Errno::EOVERFLOW) => Ok(true),
        result => result.map(|_| out[BTRFS_ROOTREF_WORDS - 1].to_ne_bytes()[0] > 0),
    }
}

/// `_IOR(0x94, 31, struct btrfs_ioctl_fs_info_args)`, and the size of the struct in words.
const BTRFS_IOC_FS_INFO: u64 = 0x8400_941f;
const BTRFS_INFO_WORDS: usize = 128;

/// BTRFS_IOC_FS_INFO: the UUID of a btrfs, which does not know FS_IOC_GETFSUUID.
pub fn btrfs_uuid(fd: BorrowedFd<'_>) -> Result<[u8; 16]> {
    let mut out = [0u64; BTRFS_INFO_WORDS];
    // SAFETY: the ioctl reads and writes one struct of this size through the pointer.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), BTRFS_IOC_FS_INFO as _, out.as_mut_ptr()) };
    check(ret.into())?;
    // Two numbers come first.
    Ok((u128::from(out[2].to_be()) << 64 | u128::from(out[3].to_be())).to_be_bytes())
}

// ---- mounts --------------------------------------------------------------------------------------

/// mount_setattr(2) on a mount fd itself (`AT_EMPTY_PATH`): sets the given `MOUNT_ATTR_*` bits, and lets no
/// mount or unmount of others reach it; `flags` may add `AT_RECURSIVE`.
pub fn make_mount_private(mount: BorrowedFd<'_>, set: u64, flags: c_int) -> Result<()> {
    let attr = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: `attr` is a valid struct mount_attr of the size given; the kernel only reads it.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            (&raw const attr).cast::<c_void>(),
            size,
        )
    };
    check(ret).map(drop)
}

// ---- processes ------------------------------------------------------------------------------

/// Which side of a [`fork`] this is.
pub enum Fork {
    /// The process that called; the child's pid.
    Parent(rustix::process::Pid),
    /// The new process.
    Child,
}

/// `fork(2)`, refused with EBUSY while other threads run: only a single-threaded process may go on using the
/// allocator and locks in the child.
pub fn fork() -> Result<Fork> {
    require_single_thread()?;
    // SAFETY: no other thread exists, so no lock can be held by a thread that is missing in the child.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(Errno::last()),
        0 => Ok(Fork::Child),
        pid => match rustix::process::Pid::from_raw(pid) {
            Some(pid) => Ok(Fork::Parent(pid)),
            None => Err(Errno::EIO),
        },
    }
}

/// `_exit(2)`: ends this process as it is.
pub fn exit_now(code: c_int) -> ! {
    // SAFETY: nothing of this process is run or looked at any more.
    unsafe { libc::_exit(code) }
}

/// `unshare(2)` for namespaces; EBUSY while other threads run, as they would stay outside.
pub fn unshare(flags: UnshareFlags) -> Result<()> {
    require_single_thread()?;
    // SAFETY: CLONE_FILES, the dangerous flag, splits fd tables between threads; there is one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// `unshare(2)` of the network namespace, for the calling thread alone.
pub fn unshare_network() -> Result<()> {
    // SAFETY: a thread's network namespace has no part in memory or in its table of fds.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// `unshare(2)` of the mount namespace, and with it of working directory and umask, for the calling thread alone.
pub fn unshare_mounts() -> Result<()> {
    // SAFETY: a thread's mount namespace has no part in memory or in its table of fds.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    Ok(())
}

/// `_IO(0xb7, 3)`
const NS_GET_NSTYPE: u64 = 0xb703;

/// NS_GET_NSTYPE (ioctl_ns(2)): which `CLONE_NEW*` made the namespace; ENOTTY for other files.
pub fn namespace_type(fd: BorrowedFd<'_>) -> Result<c_int> {
    // SAFETY: the ioctl takes no argument.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    check(ret.into()).map(|kind| kind as c_int)
}

/// SIOCGSKNS (`linux/sockios.h`): the network namespace of a socket.
pub fn namespace_of_socket(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: the ioctl takes no argument.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGSKNS as _) };
    let fresh = check(ret.into())? as c_int;
    // SAFETY: the kernel has just made this fd, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fresh) })
}

fn require_single_thread() -> Result<()> {
    let tasks = rustix::fs::stat(c"/proc/self/task").map_err(|_| Errno::ENOSYS)?;
    // "." and ".." and one directory per thread.
    if tasks.st_nlink == 3 {
        Ok(())
    } else {
        Err(Errno::EBUSY)
    }
}

/// Closes every fd from 3 up except `keep`, for a process that is or becomes a daemon. The caller promises that it owns
/// no fd object in that range besides `keep`; fds that were merely inherited are what this is for.
pub fn close_inherited(keep: Option<&OwnedFd>) -> Result<()> {
    let keep = keep.map_or(2, |fd| fd.as_raw_fd().unsigned_abs());
    for (first, last) in [(3, keep.saturating_sub(1)), (keep + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: no pointers; closing an fd that no Rust object owns breaks nothing.
        let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if done < 0 {
            return Err(Errno::last());
        }
    }
    Ok(())
}

/// `dup3(2)`: `old` becomes one more fd of what `new` has open, close-on-exec.
pub fn replace_fd(old: BorrowedFd<'_>, new: &OwnedFd) -> Result<()> {
    // SAFETY: no pointers; the number stays an open fd, and who owns it still does.
    let ret = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) };
    check(ret.into()).map(drop)
}

// ---- starting programs ----------------------------------------------------------------------

/// Lets the program that `command` starts inherit `fd` under its number.
pub fn inherit_fd(command: &mut Command, fd: impl AsFd) -> &mut Command {
    let raw: RawFd = fd.as_fd().as_raw_fd();
    let clear = move || {
        // SAFETY: fcntl without pointers, async-signal-safe; a closed fd would merely give EBADF.
        match unsafe { libc::fcntl(raw, libc::F_SETFD, 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: the closure makes one async-signal-safe call and allocates nothing.
    unsafe { command.pre_exec(clear) }
}

/// Starts the program of `command` with no signal blocked (the mask of this thread would be inherited) and with this
/// soft limit of open files, and with this umask if not with ours.
pub fn exec_as_called(command: &mut Command, files: Option<u64>, umask: Option<rustix::fs::Mode>) {
    let set = move || {
        let _ours = umask.map(rustix::process::umask);
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = files;
        setrlimit(Resource::Nofile, limit)?;
        // SAFETY: sigset_t is plain bits, of which zeroes are the empty set.
        let none: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `none` is valid for reading; the old mask is not asked for.
        match unsafe { libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes plain system calls on its own stack and allocates nothing.
    unsafe { command.pre_exec(set) };
}

/// Makes `root` the root directory of the program that `command` starts, and `/` its working directory.
pub fn exec_in_root(command: &mut Command, root: OwnedFd) {
    let enter = move || {
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(c".")?;
        rustix::process::chdir(c"/")?;
        Ok(())
    };
    // SAFETY: the closure makes plain syscalls on static strings and an open fd; it allocates nothing.
    unsafe { command.pre_exec(enter) };
}

// ---- signals --------------------------------------------------------------------------------

/// A set of signals that are blocked and taken with [`SignalSet::wait`].
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

/// A signal taken from a [`SignalSet`].
pub struct Caught {
    /// Its number.
    pub signal: i32,
    /// The kernel sent it (a key on the terminal), not another process.
    pub from_kernel: bool,
}

impl SignalSet {
    /// Blocks `signals` in this thread, and so in all threads it starts from now on.
    pub fn block(signals: &[i32]) -> Result<SignalSet> {
        // SAFETY: sigset_t is plain bits; sigemptyset initialises it before any use.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a valid, exclusively borrowed sigset_t.
        unsafe { libc::sigemptyset(&mut set) };
        for signal in signals {
            // SAFETY: as above; an invalid number is answered with -1.
            if unsafe { libc::sigaddset(&mut set, *signal) } != 0 {
                return Err(Errno::EINVAL);
            }
        }
        // SAFETY: `set` is valid for reading; the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } {
            0 => Ok(SignalSet(set)),
            code => Err(Errno::from_raw(code)),
        }
    }

    /// Waits for one of the signals.
    pub fn wait(&self) -> Result<Caught> {
        loop {
            // SAFETY: siginfo_t is plain data, filled in by the call.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            // SAFETY: both pointers are valid for the duration of the call.
            let signal = unsafe { libc::sigwaitinfo(&self.0, &mut info) };
            if signal > 0 {
                let from_kernel = info.si_code == libc::SI_KERNEL;
                return Ok(Caught {
                    signal,
                    from_kernel,
                });
            }
            let errno = Errno::last();
            if errno != Errno::EINTR {
                return Err(errno);
            }
        }
    }
}

/// Ignores a signal in this process; programs started later inherit that.
pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is a valid disposition; for a signal that cannot be ignored the call fails harmlessly.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test harness runs tests on threads of their own.
        assert_eq!(fork().err(), Some(Errno::EBUSY));
        assert_eq!(unshare(UnshareFlags::NEWNS).err(), Some(Errno::EBUSY));
    }

    #[test]
    fn a_blocked_signal_is_taken() {
        let set = SignalSet::block(&[libc::SIGUSR2]).unwrap();
        let me = rustix::thread::gettid();
        // SAFETY: tgkill takes numbers only.
        unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                libc::getpid(),
                me.as_raw_nonzero().get(),
                libc::SIGUSR2,
            )
        };
        let caught = set.wait().unwrap();
        assert_eq!((caught.signal, caught.from_kernel), (libc::SIGUSR2, false));
    }
}

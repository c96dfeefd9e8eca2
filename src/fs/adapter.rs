//! `impl fuser::Filesystem`: decode, call one verb of the [`Overlay`], reply. A panic below is logged
//! and answered with EIO; the mount lives on.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags,
    PollNotifier, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::convert::{self, caller, kills_set_id};
use super::notify::Notify;
use super::passthrough::{Mode, Passthrough, file_handle, handle, is_passthrough, open_flags};
use super::reply::{empty, run, written, xattr};
use crate::layer::idmap::ShownId;
use crate::overlay::Overlay;
use crate::overlay::change::rename::Rename;
use crate::overlay::change::setattr::SetAttr;
use crate::overlay::node::NodeId;
use crate::overlay::node::handle::OpenFile;
use crate::overlay::view::attr::Attr;
use crate::overlay::view::io::Seek;
use crate::overlay::view::lookup::Entry;
use crate::sys::at::OpenMode;
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::FileType;
use crate::sys::xattr::XattrMode;

/// How long names and attributes stay valid when nobody else changes the layers: for ever, in the
/// kernel's arithmetic.
const FOREVER: Duration = Duration::from_secs(1 << 32);
/// Largest write and read the kernel sends in one request (its own limit on a stock system).
const MAX_WRITE_BYTES: u32 = 1 << 20;
/// Requests the kernel may keep in flight in the background: readahead, releases, forgets.
const MAX_BACKGROUND: u16 = 64;
/// Nothing is reused while the kernel knows it, so generations tell nothing.
const GENERATION: Generation = Generation(0);

const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// What the FUSE side of a mount may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long the kernel may keep names and attributes; `None` is for ever.
    pub timeout: Option<Duration>,
    /// POSIX ACLs are kept and enforced.
    pub acl: bool,
    /// Let the kernel read and write layer files by itself where it may and where it pays.
    pub passthrough: bool,
    /// The kernel opens and closes files without telling.
    pub noopen: bool,
}

/// The FUSE side of a mount.
#[derive(Debug)]
pub struct Adapter {
    overlay: Arc<Overlay>,
    ttl: Duration,
    acl: bool,
    want_passthrough: bool,
    noopen: bool,
    passthrough: Passthrough,
    notify: Notify,
}

impl Adapter {
    /// Serves `overlay`.
    pub fn new(overlay: Arc<Overlay>, settings: Settings) -> Adapter {
        Adapter {
            passthrough: Passthrough::new(overlay.is_read_only()),
            overlay,
            ttl: settings.timeout.unwrap_or(FOREVER),
            acl: settings.acl,
            want_passthrough: settings.passthrough,
            noopen: settings.noopen,
            notify: Notify::default(),
        }
    }

    /// To be connected when there is a session.
    pub fn notify(&self) -> Notify {
        self.notify.clone()
    }

    /// How long attributes may be kept. Those of a node that shares its number with another are asked for
    /// each time: only that answer carries the true number.
    fn attr_ttl(&self, attr: &Attr) -> Duration {
        if attr.cacheable {
            self.ttl
        } else {
            Duration::ZERO
        }
    }

    /// Set-id bits go before the change of data is tried; the kernel expects that only of a success.
    fn tried<T>(&self, ino: INodeNo, kill_set_id: bool, result: Result<T>) -> Result<T> {
        if kill_set_id && result.is_err() {
            self.notify.forget_attributes(ino);
        }
        result
    }

    /// How long a name may be kept.
    fn entry_ttl(&self, entry: &Entry) -> Duration {
        if entry.lasting {
            self.ttl
        } else {
            Duration::ZERO
        }
    }

    fn entry(&self, result: Result<Entry>, reply: ReplyEntry) {
        match result {
            Ok(entry) => {
                let attr = convert::entry_attr(entry.id, &entry.attr);
                let ttls = (self.attr_ttl(&entry.attr), self.entry_ttl(&entry));
                reply.entry_with_ttls(&ttls.0, &ttls.1, &attr, GENERATION);
            }
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    /// A file that nobody will tell the end of.
    fn created_unopened(&self, result: Result<Entry>, reply: ReplyCreate) {
        match result {
            Ok(entry) => reply.created(
                &self.attr_ttl(&entry.attr),
                &convert::entry_attr(entry.id, &entry.attr),
                GENERATION,
                UNOPENED,
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn attr(&self, result: Result<Attr>, reply: ReplyAttr) {
        match result {
            Ok(attr) => reply.attr(&self.attr_ttl(&attr), &convert::attr(&attr)),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }
}

fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

/// The handle of files whose opens and closes are not told.
const UNOPENED: FileHandle = FileHandle(0);

/// The open file that a request means.
fn file(ino: INodeNo, fh: FileHandle) -> OpenFile {
    const O_RDWR: i32 = 2;
    file_with(ino, fh, O_RDWR)
}

/// The same, with the flags that it is open with.
fn file_with(ino: INodeNo, fh: FileHandle, flags: i32) -> OpenFile {
    match fh {
        UNOPENED => OpenFile::Node(node(ino), flags),
        fh => handle(fh).into(),
    }
}

thread_local! {
    /// The buffer of this thread's reads.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

const ACCESS_ACL: &str = "system.posix_acl_access";

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let mut wanted = InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_BIG_WRITES
            | InitFlags::FUSE_DONT_MASK
            | InitFlags::FUSE_HAS_IOCTL_DIR
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_NO_EXPORT_SUPPORT;
        wanted.set(InitFlags::FUSE_POSIX_ACL, self.acl);
        // An open that is not told cannot cut: the kernel sends SETATTR then.
        wanted.set(InitFlags::FUSE_ATOMIC_O_TRUNC, !self.noopen);
        // What an older kernel lacks costs speed or exactness, not the mount.
        if let Err(missing) = config.add_capabilities(wanted & config.capabilities()) {
            log::warn!("the kernel refuses {missing:?}");
        }
        if let Err(nearest) = config.set_max_write(MAX_WRITE_BYTES) {
            log::debug!("largest write is {nearest} bytes");
        }
        // One level: another overlay may still be stacked on this mount.
        let passthrough = InitFlags::FUSE_PASSTHROUGH;
        if self.want_passthrough
            && !self.noopen
            && config.capabilities().contains(passthrough)
            && config.add_capabilities(passthrough).is_ok()
            && config.set_max_stack_depth(1).is_ok()
        {
            self.passthrough.enable();
        }
        if let Err(nearest) = config.set_max_background(MAX_BACKGROUND) {
            log::debug!("background requests limited to {nearest}");
        }
        Ok(())
    }

    fn destroy(&mut self) {
        if let Err(errno) = run(|| self.overlay.sync()) {
            log::error!("the upper layer may not be all on disk: {errno}");
        }
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match run(|| self.overlay.lookup(node(parent), name)) {
            // Node 0 with a time to live: the kernel remembers that there is nothing.
            Err(Errno::ENOENT) => {
                let nothing = convert::bare_attr(0, FileType::File);
                reply.entry(&self.ttl, &nothing, GENERATION);
            }
            result => self.entry(result, reply),
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        // Nobody waits for an answer.
        if let Err(errno) = run(|| {
            if self.overlay.forget(node(ino), nlookup) {
                self.passthrough.forget(node(ino));
            }
            Ok(())
        }) {
            log::error!("forget: {errno}");
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        self.attr(
            run(|| {
                let file = fh.map(|fh| file(ino, fh));
                self.overlay.getattr(node(ino), file)
            }),
            reply,
        );
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttr {
            perm: mode.map(|mode| mode & 0o7777),
            uid: uid.map(ShownId),
            gid: gid.map(ShownId),
            size,
            atime: convert::set_time(atime),
            mtime: convert::set_time(mtime),
            kill_set_id: kills_set_id(req),
            caller: req.uid(),
        };
        self.attr(
            run(|| {
                // With `noopen` the kernel names no file, though one may be open.
                let fh = fh.or(self.noopen.then_some(UNOPENED));
                let file = fh.map(|fh| file(ino, fh));
                self.overlay.setattr(node(ino), set, file)
            }),
            reply,
        );
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match run(|| self.overlay.readlink(node(ino))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let caller = caller(req, umask);
        self.entry(
            run(|| self.overlay.mknod(node(parent), name, mode, rdev, caller)),
            reply,
        );
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let caller = caller(req, umask);
        self.entry(
            run(|| self.overlay.mkdir(node(parent), name, mode, caller)),
            reply,
        );
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(run(|| self.overlay.unlink(node(parent), name)), reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(run(|| self.overlay.rmdir(node(parent), name)), reply);
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &std::path::Path,
        reply: ReplyEntry,
    ) {
        let (caller, target) = (caller(req, 0), target.as_os_str().as_bytes());
        self.entry(
            run(|| {
                self.overlay
                    .symlink(node(parent), link_name, target, caller)
            }),
            reply,
        );
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let result = run(|| {
            let how = Rename::from_raw(flags.bits())?;
            self.overlay
                .rename(node(parent), name, node(newparent), newname, how)
        });
        empty(result, reply);
    }

    fn link(
        &self,
        _req: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.entry(
            run(|| self.overlay.link(node(ino), node(newparent), newname)),
            reply,
        );
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.noopen {
            // The kernel goes on without asking again.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let opened = match run(|| self.overlay.open(node(ino), flags.0, kills_set_id(req))) {
            Ok(opened) => opened,
            Err(errno) => return reply.error(convert::errno(errno)),
        };
        if opened.modified {
            self.notify.forget_attributes(ino);
        }
        let write = OpenMode::from_raw(flags.0).write;
        let register = || reply.open_backing(&*opened.backing.file);
        let mode = self.passthrough.open(node(ino), &opened, write, register);
        let (fh, flags) = (file_handle(opened.handle, &mode), open_flags(&mode));
        match mode {
            Mode::Cached { .. } => reply.opened(fh, flags),
            Mode::Passthrough(backing) => reply.opened_passthrough(fh, flags, &backing),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let caller = caller(req, umask);
        if self.noopen {
            let create = || {
                self.overlay
                    .create_unopened(node(parent), name, mode, caller)
            };
            return self.created_unopened(run(create), reply);
        }
        let created = run(|| self.overlay.create(node(parent), name, mode, flags, caller));
        let (entry, opened) = match created {
            Ok(created) => created,
            Err(errno) => return reply.error(convert::errno(errno)),
        };
        let write = OpenMode::from_raw(flags).write;
        let register = || reply.open_backing(&*opened.backing.file);
        let mode = self.passthrough.open(entry.id, &opened, write, register);
        let attr = convert::entry_attr(entry.id, &entry.attr);
        let ttl = self.attr_ttl(&entry.attr);
        let (fh, flags) = (file_handle(opened.handle, &mode), open_flags(&mode));
        match mode {
            Mode::Cached { .. } => reply.created(&ttl, &attr, GENERATION, fh, flags),
            Mode::Passthrough(backing) => {
                reply.created_passthrough(&ttl, &attr, GENERATION, fh, flags, &backing);
            }
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match run(|| {
                self.overlay
                    .read(file(ino, fh), &mut buffer[..size], offset)
            }) {
                Ok(len) => reply.data(&buffer[..len]),
                Err(errno) => reply.error(convert::errno(errno)),
            }
        });
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kill = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let to = file_with(ino, fh, flags.0);
        let result = run(|| self.overlay.write(to, data, offset, kill));
        written(self.tried(ino, kill, result), reply);
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Writes went through when they were made: the kernel need not ask again.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let result = run(|| {
            self.overlay.release(handle(fh));
            self.passthrough.release(node(ino), is_passthrough(fh));
            Ok(())
        });
        empty(result, reply);
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        empty(run(|| self.overlay.fsync(file(ino, fh), datasync)), reply);
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // The kernel goes on without asking again: opens of directories cost nothing, and its copy of a listing is
        // shared by all until a name changes.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let result = run(|| {
            self.overlay.readdir(node(ino), offset, |entry| {
                let name = OsStr::from_bytes(entry.name);
                !reply.add(
                    INodeNo(entry.ino),
                    entry.next,
                    convert::kind(entry.kind),
                    name,
                )
            })
        });
        match result {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let result = run(|| {
            self.overlay
                .readdirplus(node(ino), offset, |dirent, entry| {
                    let (attr, ttl) = match entry {
                        Some(entry) => (
                            convert::entry_attr(entry.id, &entry.attr),
                            self.attr_ttl(&entry.attr).min(self.entry_ttl(&entry)),
                        ),
                        None if dirent.is_dot() => {
                            (convert::bare_attr(dirent.ino, dirent.kind), Duration::ZERO)
                        }
                        // Listed, but whoever looks it up gets an error: under an id that means nothing.
                        None => {
                            let id = self.overlay.unused_id();
                            (convert::bare_attr(id.0, dirent.kind), Duration::ZERO)
                        }
                    };
                    let name = OsStr::from_bytes(dirent.name);
                    !reply.add(attr.ino, dirent.next, name, &ttl, &attr, GENERATION)
                })
        });
        match result {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        empty(run(|| self.overlay.fsyncdir(node(ino), datasync)), reply);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        match run(|| self.overlay.statfs()) {
            Ok(s) => reply.statfs(
                s.blocks,
                s.bfree,
                s.bavail,
                s.files,
                s.ffree,
                small(s.bsize),
                small(s.namelen),
                small(s.frsize),
            ),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let result = run(|| {
            let mode = XattrMode::from_raw(flags)?;
            self.overlay.setxattr(node(ino), name, value, mode)?;
            // The kernel knows whether this takes the set-group-id bit, but fuser 0.18 does not pass it on.
            if name == ACCESS_ACL && req.uid() != 0 {
                let is_member = |group| convert::is_member(req, group);
                self.overlay.after_set_acl(node(ino), is_member)?;
            }
            Ok(())
        });
        empty(result, reply);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let mut value = vec![0; size as usize];
        match run(|| self.overlay.getxattr(node(ino), name, &mut value)) {
            Ok(len) if size == 0 => reply.size(u32::try_from(len).unwrap_or(u32::MAX)),
            Ok(len) => reply.data(&value[..len]),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        xattr(
            run(|| self.overlay.listxattr(node(ino), req.uid() == 0)),
            size,
            reply,
        );
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(run(|| self.overlay.removexattr(node(ino), name)), reply);
    }

    fn access(&self, _req: &Request, ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // With default_permissions, which every mount has, the kernel decides and does not ask.
        empty(
            run(|| self.overlay.getattr(node(ino), None).map(drop)),
            reply,
        );
    }

    fn ioctl(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        cmd: u32,
        in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        let node = node(ino);
        let result = run(|| match cmd {
            FS_IOC_GETFLAGS => Ok(self.overlay.inode_flags(node)?.to_ne_bytes().to_vec()),
            FS_IOC_FSGETXATTR => Ok(self.overlay.fsxattr(node)?.to_vec()),
            FS_IOC_SETFLAGS => {
                let flags = u32::from_ne_bytes(*in_data.first_chunk().ok_or(Errno::EINVAL)?);
                self.overlay
                    .set_inode_flags(node, flags)
                    .map(|()| Vec::new())
            }
            FS_IOC_FSSETXATTR => {
                let value = in_data.first_chunk().ok_or(Errno::EINVAL)?;
                self.overlay.set_fsxattr(node, value).map(|()| Vec::new())
            }
            _ => Err(Errno::ENOTTY),
        });
        match result {
            Ok(out) => reply.ioctl(0, &out),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    /// Files are always ready: told so once, the kernel does not ask again.
    fn poll(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _ph: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (mode, range, kill) = (mode.cast_unsigned(), (offset, length), kills_set_id(req));
        let result = run(|| self.overlay.fallocate(file(ino, fh), mode, range, kill));
        empty(self.tried(ino, kill, result), reply);
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let result = run(|| {
            let whence = match whence {
                SEEK_DATA => Seek::Data,
                SEEK_HOLE => Seek::Hole,
                _ => return Err(Errno::EINVAL),
            };
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            self.overlay.lseek(file(ino, fh), offset, whence)
        });
        match result {
            Ok(offset) => reply.offset(offset.cast_signed()),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn copy_file_range(
        &self,
        req: &Request,
        ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = (
            (file(ino_in, fh_in), offset_in),
            (file(ino_out, fh_out), offset_out),
        );
        let kill = kills_set_id(req);
        let result = run(|| self.overlay.copy_file_range(from, to, len, kill));
        written(self.tried(ino_out, kill, result), reply);
    }
}

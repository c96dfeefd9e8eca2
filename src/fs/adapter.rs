//! `impl fuser::Filesystem`: decode, call one verb of the [`Overlay`], reply. What may take long is done by the
//! workers. A panic below is logged and answered with EIO; the mount lives on.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

use super::convert::{self, Member, caller, kills_set_id};
use super::handshake::{self, Wishes};
use super::notify::Notify;
use super::passthrough::{handle, is_passthrough};
use super::pool::Pool;
use super::reply::{empty, run, written, xattr};
use super::server::{BUFFER, Server, UNOPENED, file, file_with, node};
use crate::layer::idmap::ShownId;
use crate::overlay::Overlay;
use crate::overlay::change::long::Takes;
use crate::overlay::change::rename::Rename;
use crate::overlay::change::setattr::SetAttr;
use crate::overlay::node::handle::room;
use crate::overlay::view::io::Seek;
use crate::sys::errno::Errno;
use crate::sys::xattr::XattrMode;

const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

const ACCESS_ACL: &str = "system.posix_acl_access";

/// What the FUSE side of a mount may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long the kernel may keep names and attributes; `None` is for ever.
    pub timeout: Option<Duration>,
    /// POSIX ACLs are kept and enforced.
    pub acl: bool,
    /// Let the kernel read and write layer files by itself where it may and where it pays.
    pub passthrough: bool,
    /// Lower files as well, where they may be copied up while they are open.
    pub lower_passthrough: bool,
    /// The kernel opens and closes files without telling.
    pub noopen: bool,
}

/// The FUSE side of a mount.
#[derive(Debug)]
pub struct Adapter {
    fs: Arc<Server>,
    pool: Pool,
    wishes: Wishes,
}

impl Adapter {
    /// Serves `overlay`.
    pub fn new(overlay: Arc<Overlay>, settings: Settings) -> Adapter {
        Adapter {
            fs: Arc::new(Server::new(overlay, &settings)),
            pool: Pool::default(),
            wishes: Wishes {
                acl: settings.acl,
                passthrough: settings.passthrough,
                noopen: settings.noopen,
            },
        }
    }

    /// To be connected when there is a session.
    pub fn notify(&self) -> Notify {
        self.fs.notify.clone()
    }

    /// How many threads will read requests.
    pub fn set_readers(&mut self, readers: usize) {
        self.pool.set_readers(readers);
    }

    /// Answers a request: here, or on a worker if that may take long.
    fn answer(&self, takes: Takes, job: impl FnOnce(&Server) + Send + 'static) {
        if takes == Takes::NoTime {
            return job(&self.fs);
        }
        let fs = self.fs.clone();
        let job = move || job(&fs);
        match takes {
            Takes::Long => self.pool.run(job),
            _ => self.pool.run_moment(job),
        }
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if handshake::agree(self.wishes, config) {
            self.fs.passthrough.enable();
        }
        Ok(())
    }

    fn destroy(&mut self) {
        self.pool.drain();
        if let Err(errno) = run(|| self.fs.overlay.sync()) {
            log::error!("the upper layer may not be all on disk: {errno}");
        }
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = run(|| self.fs.overlay.lookup(node(parent), name));
        self.fs.looked_up(found, reply);
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        // Nobody waits for an answer.
        if let Err(errno) = run(|| {
            if self.fs.overlay.forget(node(ino), nlookup) {
                self.fs.passthrough.forget(node(ino));
            }
            Ok(())
        }) {
            log::error!("forget: {errno}");
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        self.fs.attr(
            run(|| {
                let file = fh.map(|fh| file(ino, fh));
                self.fs.overlay.getattr(node(ino), file)
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
        // With `noopen` the kernel names no file, though one may be open.
        let fh = fh.or(self.wishes.noopen.then_some(UNOPENED));
        let takes = self.fs.overlay.setattr_takes(node(ino), size);
        self.answer(takes, move |fs| {
            let set = || {
                // Of what is cached under another id the kernel must know.
                if size.is_some() {
                    fs.check_told(ino)?;
                }
                let file = fh.map(|fh| file(ino, fh));
                fs.overlay.setattr(node(ino), set, file)
            };
            let result = run(set);
            if size.is_some() {
                fs.passthrough.changed(node(ino));
            }
            fs.attr(result, reply);
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match run(|| self.fs.overlay.readlink(node(ino))) {
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
        self.fs.entry(
            run(|| {
                self.fs
                    .overlay
                    .mknod(node(parent), name, mode, rdev, caller)
            }),
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
        self.fs.entry(
            run(|| self.fs.overlay.mkdir(node(parent), name, mode, caller)),
            reply,
        );
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let takes = self.fs.overlay.unlink_takes(node(parent), name);
        let name = name.to_os_string();
        self.answer(takes, move |fs| {
            empty(run(|| fs.overlay.unlink(node(parent), &name)), reply);
        });
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(run(|| self.fs.overlay.rmdir(node(parent), name)), reply);
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
        self.fs.entry(
            run(|| {
                self.fs
                    .overlay
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
        let how = match Rename::from_raw(flags.bits()) {
            Ok(how) => how,
            Err(errno) => return reply.error(convert::errno(errno)),
        };
        let (from, to) = (node(parent), node(newparent));
        let overlay = &self.fs.overlay;
        let takes = overlay.rename_takes((from, name), (to, newname), how);
        let (name, newname) = (name.to_os_string(), newname.to_os_string());
        self.answer(takes, move |fs| {
            let renamed = run(|| fs.overlay.rename(from, &name, to, &newname, how));
            empty(renamed, reply);
        });
    }

    fn link(
        &self,
        _req: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let takes = self.fs.overlay.change_takes(node(ino));
        let newname = newname.to_os_string();
        self.answer(takes, move |fs| {
            let linked = run(|| fs.overlay.link(node(ino), node(newparent), &newname));
            fs.entry(linked, reply);
        });
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.wishes.noopen {
            // The kernel goes on without asking again.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let kill = kills_set_id(req);
        let takes = self.fs.overlay.open_takes(node(ino), flags.0);
        self.answer(takes, move |fs| fs.open(ino, flags, kill, reply));
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
        self.fs.create((parent, name), mode, flags, caller, reply);
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
            let buffer = room(buffer, size as usize);
            match run(|| self.fs.overlay.read(file(ino, fh), buffer, offset)) {
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
        let write = move |fs: &Server, data: &[u8], reply: ReplyWrite| {
            let result = run(|| fs.overlay.write(to, data, offset, kill));
            written(fs.tried(ino, kill, result), reply);
        };
        match self.fs.overlay.write_takes(to) {
            Takes::NoTime => write(&self.fs, data, reply),
            takes => {
                let data = data.to_vec();
                self.answer(takes, move |fs| write(fs, &data, reply));
            }
        }
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
            self.fs.overlay.release(handle(fh));
            self.fs.passthrough.release(node(ino), is_passthrough(fh));
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
        self.answer(self.fs.overlay.sync_takes(), move |fs| {
            empty(run(|| fs.overlay.fsync(file(ino, fh), datasync)), reply);
        });
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
        reply: ReplyDirectory,
    ) {
        self.fs.readdir(ino, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.fs.readdirplus(ino, offset, reply);
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.answer(self.fs.overlay.sync_takes(), move |fs| {
            empty(run(|| fs.overlay.fsyncdir(node(ino), datasync)), reply);
        });
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        match run(|| self.fs.overlay.statfs()) {
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
        let mode = match XattrMode::from_raw(flags) {
            Ok(mode) => mode,
            Err(errno) => return reply.error(convert::errno(errno)),
        };
        // The kernel knows whether this takes the set-group-id bit, but fuser 0.18 does not pass it on.
        let limited = name == ACCESS_ACL && req.uid() != 0;
        let member = limited.then(|| Member::of(req));
        let (name, value) = (name.to_os_string(), value.to_vec());
        let takes = self.fs.overlay.attributes_take(node(ino));
        self.answer(takes, move |fs| {
            let set = || {
                fs.overlay.setxattr(node(ino), &name, &value, mode)?;
                match member {
                    Some(member) => fs
                        .overlay
                        .after_set_acl(node(ino), |group| member.is_in(group)),
                    None => Ok(()),
                }
            };
            empty(run(set), reply);
        });
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let mut value = vec![0; size as usize];
        match run(|| self.fs.overlay.getxattr(node(ino), name, &mut value)) {
            Ok(len) if size == 0 => reply.size(u32::try_from(len).unwrap_or(u32::MAX)),
            Ok(len) => reply.data(&value[..len]),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        xattr(
            run(|| self.fs.overlay.listxattr(node(ino), req.uid() == 0)),
            size,
            reply,
        );
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let takes = self.fs.overlay.attributes_take(node(ino));
        let name = name.to_os_string();
        self.answer(takes, move |fs| {
            empty(run(|| fs.overlay.removexattr(node(ino), &name)), reply);
        });
    }

    fn access(&self, _req: &Request, ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // With default_permissions, which every mount has, the kernel decides and does not ask.
        empty(
            run(|| self.fs.overlay.getattr(node(ino), None).map(drop)),
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
        let takes = match cmd {
            FS_IOC_SETFLAGS | FS_IOC_FSSETXATTR => self.fs.overlay.attributes_take(node),
            _ => Takes::NoTime,
        };
        let data = in_data.to_vec();
        self.answer(takes, move |fs| {
            let result = run(|| match cmd {
                FS_IOC_GETFLAGS => Ok(fs.overlay.inode_flags(node)?.to_ne_bytes().to_vec()),
                FS_IOC_FSGETXATTR => Ok(fs.overlay.fsxattr(node)?.to_vec()),
                FS_IOC_SETFLAGS => {
                    let flags = u32::from_ne_bytes(*data.first_chunk().ok_or(Errno::EINVAL)?);
                    fs.overlay.set_inode_flags(node, flags).map(|()| Vec::new())
                }
                FS_IOC_FSSETXATTR => {
                    let value = data.first_chunk().ok_or(Errno::EINVAL)?;
                    fs.overlay.set_fsxattr(node, value).map(|()| Vec::new())
                }
                _ => Err(Errno::ENOTTY),
            });
            match result {
                Ok(out) => reply.ioctl(0, &out),
                Err(errno) => reply.error(convert::errno(errno)),
            }
        });
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
        let file = file(ino, fh);
        self.answer(self.fs.overlay.write_takes(file), move |fs| {
            let result = run(|| fs.overlay.fallocate(file, mode, range, kill));
            empty(fs.tried(ino, kill, result), reply);
        });
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
            self.fs.overlay.lseek(file(ino, fh), offset, whence)
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
        // It may be much, and much that is on disk.
        self.answer(Takes::Long, move |fs| {
            let result = run(|| fs.overlay.copy_file_range(from, to, len, kill));
            written(fs.tried(ino_out, kill, result), reply);
        });
    }
}

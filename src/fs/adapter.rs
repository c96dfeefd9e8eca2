//! `impl fuser::Filesystem`: decode, call one verb of the `Server`, encode the answer. What may take long is done by
//! the workers.

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

use super::convert::{self, asker};
use super::handshake;
use super::passthrough::{Backing, Fh};
use super::reply::{self, GENERATION, empty, written};
use super::run::run;
use super::server::{BUFFER, Plus, Server};
use super::service::Service;
use super::settings::Settings;
use crate::layer::idmap::ShownId;
use crate::overlay::Overlay;
use crate::overlay::change::long::Takes;
use crate::overlay::change::rename::Rename;
use crate::overlay::change::setattr::SetAttr;
use crate::overlay::node::NodeId;
use crate::overlay::node::handle::room;
use crate::overlay::options::Rings;

/// Requests as fuser reads them from /dev/fuse.
#[derive(Debug)]
pub struct Adapter {
    service: Arc<Service>,
    fs: Arc<Server>,
}

impl Adapter {
    /// Serves `overlay`.
    pub fn new(overlay: Arc<Overlay>, settings: Settings) -> Adapter {
        let service = Arc::new(Service::new(overlay, settings));
        let fs = service.fs.clone();
        Adapter { service, fs }
    }

    /// What is served, for other front ends.
    pub(super) fn service(&self) -> Arc<Service> {
        self.service.clone()
    }
}

/// The node that a request means.
fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

/// What it calls an open file.
fn open_file(fh: FileHandle) -> Fh {
    Fh(fh.0)
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let agreed = handshake::agree(&self.service.settings, config);
        if self.service.settings.rings == Rings::On && !agreed.rings {
            return Err(io::Error::other("rings=on, and the kernel has none"));
        }
        self.service.agreed(agreed);
        Ok(())
    }

    fn destroy(&mut self) {
        self.service.end();
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.fs.entry(|overlay| overlay.lookup(node(parent), name));
        reply::looked_up(found, self.fs.ttl, reply);
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.fs.forget(node(ino), nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        reply::attr(self.fs.getattr(node(ino), fh.map(open_file)), reply);
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
            kill_set_id: asker(req).kills_set_id(),
            caller: req.uid(),
        };
        let takes = self.fs.overlay.setattr_takes(node(ino), size);
        self.service.answer(takes, move |fs| {
            reply::attr(fs.setattr(node(ino), set, fh.map(open_file)), reply);
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let target = run(|| self.fs.overlay.readlink(node(ino)));
        reply::data(target.as_deref().map_err(|errno| *errno), reply);
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
        let caller = asker(req).caller(umask);
        let made = self
            .fs
            .entry(|overlay| overlay.mknod(node(parent), name, mode, rdev, caller));
        reply::entry(made, reply);
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
        let caller = asker(req).caller(umask);
        let made = self
            .fs
            .entry(|overlay| overlay.mkdir(node(parent), name, mode, caller));
        reply::entry(made, reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let takes = self.fs.overlay.unlink_takes(node(parent), name);
        let name = name.to_os_string();
        self.service.answer(takes, move |fs| {
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
        let (caller, target) = (asker(req).caller(0), target.as_os_str().as_bytes());
        let made = self
            .fs
            .entry(|overlay| overlay.symlink(node(parent), link_name, target, caller));
        reply::entry(made, reply);
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
        self.service.answer(takes, move |fs| {
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
        self.service.answer(takes, move |fs| {
            let linked = fs.entry(|overlay| overlay.link(node(ino), node(newparent), &newname));
            reply::entry(linked, reply);
        });
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.service.settings.noopen {
            // The kernel goes on without asking again.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let (ino, kill) = (node(ino), asker(req).kills_set_id());
        let takes = self.fs.overlay.open_takes(ino, flags.0);
        self.service.answer(takes, move |fs| {
            let opened = fs.open(ino, flags.0, kill, |file| {
                reply.open_backing(file).map(Backing::Fuser)
            });
            reply::opened(opened, reply);
        });
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
        let at = (node(parent), name);
        let created = self
            .fs
            .create(at, (mode, flags), asker(req).caller(umask), |file| {
                reply.open_backing(file).map(Backing::Fuser)
            });
        reply::created(created, reply);
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
            let file = open_file(fh).file(node(ino));
            let read = run(|| self.fs.overlay.read(file, buffer, offset));
            reply::data(read.map(|len| &buffer[..len]), reply);
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
        let to = open_file(fh).file_with(node(ino), flags.0);
        let at = (node(ino), to);
        match self.fs.overlay.write_takes(to) {
            Takes::NoTime => written(self.fs.write(at, data, offset, kill), reply),
            takes => {
                let data = data.to_vec();
                self.service.answer(takes, move |fs| {
                    written(fs.write(at, &data, offset, kill), reply);
                });
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
        empty(self.fs.release(node(ino), open_file(fh)), reply);
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.service
            .answer(self.fs.overlay.sync_takes(), move |fs| {
                let file = open_file(fh).file(node(ino));
                empty(run(|| fs.overlay.fsync(file, datasync)), reply);
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
        mut reply: ReplyDirectory,
    ) {
        let listed = run(|| {
            self.fs.overlay.readdir(node(ino), offset, |entry| {
                let (name, kind) = (OsStr::from_bytes(entry.name), convert::kind(entry.kind));
                !reply.add(INodeNo(entry.ino), entry.next, kind, name)
            })
        });
        match listed {
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
        let listed = self
            .fs
            .readdirplus(node(ino), offset, |Plus { dirent, found }| {
                let (attr, ttl) = match found {
                    // fuser has one time for both.
                    Ok(named) => (
                        convert::entry_attr(named.id, &named.told.attr),
                        named.ttl.min(named.told.ttl),
                    ),
                    Err(number) => (convert::bare_attr(number, dirent.kind), Duration::ZERO),
                };
                let name = OsStr::from_bytes(dirent.name);
                !reply.add(attr.ino, dirent.next, name, &ttl, &attr, GENERATION)
            });
        match listed {
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
        self.service
            .answer(self.fs.overlay.sync_takes(), move |fs| {
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
        let (node, asker) = (node(ino), asker(req));
        let (name, value) = (name.to_os_string(), value.to_vec());
        let takes = self.fs.overlay.attributes_take(node);
        self.service.answer(takes, move |fs| {
            empty(fs.setxattr(node, &name, &value, flags, asker), reply);
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
        let names = run(|| self.fs.overlay.listxattr(node(ino), req.uid() == 0));
        reply::xattr(names, size, reply);
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let takes = self.fs.overlay.attributes_take(node(ino));
        let name = name.to_os_string();
        self.service.answer(takes, move |fs| {
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
        let (node, data) = (node(ino), in_data.to_vec());
        self.service
            .answer(self.fs.ioctl_takes(node, cmd), move |fs| {
                match fs.ioctl(node, cmd, &data) {
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
        let (mode, range) = (mode.cast_unsigned(), (offset, length));
        let (file, kill) = ((node(ino), open_file(fh)), asker(req).kills_set_id());
        let takes = self.fs.overlay.write_takes(file.1.file(file.0));
        self.service.answer(takes, move |fs| {
            empty(fs.fallocate(file, mode, range, kill), reply);
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
        let (node, fh) = (node(ino), open_file(fh));
        let result = self.fs.lseek(node, fh, offset, whence.cast_unsigned());
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
        let files = (
            (node(ino_in), open_file(fh_in)),
            (node(ino_out), open_file(fh_out)),
        );
        let (offsets, kill) = ((offset_in, offset_out), asker(req).kills_set_id());
        // It may be much, and much that is on disk.
        self.service.answer(Takes::Long, move |fs| {
            written(fs.copy_file_range(files, offsets, len, kill), reply);
        });
    }
}

//! [`Desk`]: decode, call one verb of the server, encode the answer. What may take long is done by the workers.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::engine::{Handler, Job};
use super::send;
use super::wire::{self, Listing, Open, Request, Setattr, Span};
use crate::fs::asker::Asker;
use crate::fs::passthrough::{Backing, Fh};
use crate::fs::run::run;
use crate::fs::server::{Plus, Server};
use crate::fs::service::Service;
use crate::layer::idmap::ShownId;
use crate::overlay::change::long::Takes;
use crate::overlay::change::rename::Rename;
use crate::overlay::change::setattr::SetAttr;
use crate::overlay::node::NodeId;
use crate::sys::at::SetTime;
use crate::sys::backing;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::stat::Time;

/// Answers the requests of one mount.
pub struct Desk {
    service: Arc<Service>,
    device: Arc<OwnedFd>,
}

/// The node that a request is about, and who asks.
#[derive(Clone, Copy)]
struct About {
    node: NodeId,
    asker: Asker,
}

impl Handler for Desk {
    fn handle(&self, job: Job) {
        let header = job.header();
        let about = About {
            node: NodeId(header.node),
            asker: Asker {
                uid: header.uid,
                gid: header.gid,
                thread: header.pid,
            },
        };
        match Request::decode(header, job.argument(), job.payload()) {
            Ok(request) => self.name(about, request, job),
            Err(errno) => job.done(Err(errno)),
        }
    }
}

impl Desk {
    /// For the mount whose requests come from `device`.
    pub fn new(service: Arc<Service>, device: Arc<OwnedFd>) -> Desk {
        Desk { service, device }
    }

    fn answer(&self, takes: Takes, job: Job, verb: impl FnOnce(&Server, Job) + Send + 'static) {
        self.service.answer(takes, move |fs| verb(fs, job));
    }

    /// The kernel serves a file by itself from now on.
    fn register(device: &Arc<OwnedFd>, file: &FileFd) -> io::Result<Backing> {
        let registered = backing::Backing::new(device.clone(), file);
        Ok(Backing::Rings(registered?))
    }

    /// Requests that make or find what a name leads to. The node is its directory.
    fn name(&self, about: About, request: Request, job: Job) {
        let (fs, About { node, asker }) = (&*self.service.fs, about);
        match request {
            Request::Lookup(name) => {
                let found = fs.entry(|overlay| overlay.lookup(node, os(&job, name)));
                send::looked_up(job, found, fs.ttl);
            }
            Request::Symlink(name, target) => {
                let caller = asker.caller(0);
                let made = fs.entry(|overlay| {
                    overlay.symlink(node, os(&job, name), target.of(job.payload()), caller)
                });
                send::entry(job, made);
            }
            Request::Mknod(new, name) => {
                let (mode, rdev, caller) = (new.mode, new.rdev, asker.caller(new.umask));
                let made =
                    fs.entry(|overlay| overlay.mknod(node, os(&job, name), mode, rdev, caller));
                send::entry(job, made);
            }
            Request::Mkdir(new, name) => {
                let caller = asker.caller(new.umask);
                let made =
                    fs.entry(|overlay| overlay.mkdir(node, os(&job, name), new.mode, caller));
                send::entry(job, made);
            }
            Request::Create(new, name) => {
                let (how, caller) = ((new.mode, new.flags.cast_signed()), asker.caller(new.umask));
                let created = fs.create((node, os(&job, name)), how, caller, |file| {
                    Desk::register(&self.device, file)
                });
                send::created(job, created);
            }
            _ => self.renaming(about, request, job),
        }
    }

    /// Requests that change what a name leads to.
    fn renaming(&self, about: About, request: Request, job: Job) {
        let (overlay, node) = (&self.service.fs.overlay, about.node);
        match request {
            Request::Link(to, name) => {
                let (file, name) = (NodeId(to.node), owned(&job, name));
                self.answer(overlay.change_takes(file), job, move |fs, job| {
                    let linked = fs.entry(|overlay| overlay.link(file, node, &name));
                    send::entry(job, linked);
                });
            }
            Request::Unlink(name) => {
                let takes = overlay.unlink_takes(node, os(&job, name));
                let name = owned(&job, name);
                self.answer(takes, job, move |fs, job| {
                    send::empty(job, run(|| fs.overlay.unlink(node, &name)));
                });
            }
            Request::Rmdir(name) => {
                let removed = run(|| overlay.rmdir(node, os(&job, name)));
                send::empty(job, removed);
            }
            Request::Rename(to, name, new_name) => {
                let how = match Rename::from_raw(to.flags) {
                    Ok(how) => how,
                    Err(errno) => return job.done(Err(errno)),
                };
                let (name, new_name) = (owned(&job, name), owned(&job, new_name));
                let to = NodeId(to.parent);
                let takes = overlay.rename_takes((node, &name), (to, &new_name), how);
                self.answer(takes, job, move |fs, job| {
                    let renamed = run(|| fs.overlay.rename(node, &name, to, &new_name, how));
                    send::empty(job, renamed);
                });
            }
            _ => self.attributes(about, request, job),
        }
    }

    /// Requests about attributes of the node, and its own.
    fn attributes(&self, about: About, request: Request, mut job: Job) {
        let (fs, About { node, asker }) = (&*self.service.fs, about);
        let overlay = &fs.overlay;
        match request {
            Request::Getattr(of) => {
                let fh = (of.flags & wire::Getattr::FH != 0).then_some(Fh(of.fh));
                send::attr(job, fs.getattr(node, fh));
            }
            Request::Setattr(to) => {
                let (set, fh) = change(&to, asker);
                let takes = overlay.setattr_takes(node, set.size);
                self.answer(takes, job, move |fs, job| {
                    send::attr(job, fs.setattr(node, set, fh));
                });
            }
            Request::Setxattr(set, name, value) => {
                let (name, value) = (owned(&job, name), value.of(job.payload()).to_vec());
                let flags = set.flags.cast_signed();
                self.answer(overlay.attributes_take(node), job, move |fs, job| {
                    send::empty(job, fs.setxattr(node, &name, &value, flags, asker));
                });
            }
            Request::Getxattr(of, name) => {
                // The value comes to where the name is.
                let name = owned(&job, name);
                let room = job.room().get_mut(..of.size as usize);
                let room = room.unwrap_or_default();
                match run(|| overlay.getxattr(node, &name, room)) {
                    Ok(len) if of.size == 0 => send::xattr_size(job, len),
                    result => job.done(result),
                }
            }
            Request::Listxattr(of) => {
                let names = run(|| overlay.listxattr(node, asker.uid == 0));
                send::xattr(job, names, of.size);
            }
            Request::Removexattr(name) => {
                let name = owned(&job, name);
                self.answer(overlay.attributes_take(node), job, move |fs, job| {
                    send::empty(job, run(|| fs.overlay.removexattr(node, &name)));
                });
            }
            Request::Ioctl(of, data) => {
                let (command, data) = (of.command, data.of(job.payload()).to_vec());
                self.answer(fs.ioctl_takes(node, command), job, move |fs, job| {
                    send::ioctl(job, fs.ioctl(node, command, &data));
                });
            }
            Request::Readlink => match run(|| overlay.readlink(node)) {
                Ok(target) => job.done_with(&target),
                Err(errno) => job.done(Err(errno)),
            },
            // With default_permissions, which every mount has, the kernel decides and does not ask.
            Request::Access(_) => send::empty(job, fs.getattr(node, None).map(drop)),
            Request::Statfs => {
                let sizes = run(|| overlay.statfs());
                send::with(job, sizes, |sizes| wire::statfs(&sizes));
            }
            _ => self.opening(about, request, job),
        }
    }

    /// Requests that open, close and list.
    fn opening(&self, about: About, request: Request, mut job: Job) {
        let (fs, node) = (&*self.service.fs, about.node);
        match request {
            // The kernel goes on without asking again.
            Request::Open(_) if self.service.settings.noopen => job.done(Err(Errno::ENOSYS)),
            Request::Open(how) => {
                let (flags, kill) = (
                    how.flags.cast_signed(),
                    how.open_flags & Open::KILL_SUIDGID != 0,
                );
                let device = self.device.clone();
                self.answer(fs.overlay.open_takes(node, flags), job, move |fs, job| {
                    let opened = fs.open(node, flags, kill, |file| Desk::register(&device, file));
                    send::opened(job, opened);
                });
            }
            Request::Release(of) => send::empty(job, fs.release(node, Fh(of.fh))),
            Request::Readdir(of) => {
                let mut listing = Listing::new(job.room(), of.size);
                let listed = run(|| {
                    fs.overlay
                        .readdir(node, of.offset, |dirent| listing.add(dirent))
                });
                let len = listing.len();
                job.done(listed.map(|()| len));
            }
            Request::Readdirplus(of) => {
                let mut listing = Listing::new(job.room(), of.size);
                let listed = fs.readdirplus(node, of.offset, |Plus { dirent, found }| {
                    let named = found.as_ref().ok();
                    listing.add_plus(dirent, named.map(send::of))
                });
                let len = listing.len();
                job.done(listed.map(|()| len));
            }
            // Writes went through when they were made, directories are read without being opened, and files are always
            // ready: the kernel need not ask again.
            Request::Flush(_) | Request::Opendir(_) | Request::Poll(_) => {
                job.done(Err(Errno::ENOSYS));
            }
            Request::Releasedir(_) => job.done(Ok(0)),
            _ => self.data(about, request, job),
        }
    }

    /// Requests about the data of an open file.
    fn data(&self, About { node, asker }: About, request: Request, mut job: Job) {
        let fs = &*self.service.fs;
        let overlay = &fs.overlay;
        match request {
            Request::Read(of) => {
                let file = Fh(of.fh).file(node);
                let room = job.room().get_mut(..of.size as usize);
                let room = room.unwrap_or_default();
                let read = run(|| overlay.read(file, room, of.offset));
                job.done(read);
            }
            Request::Write(to, data) => {
                let file = Fh(to.fh).file_with(node, to.flags.cast_signed());
                let kill = to.write_flags & wire::Write::KILL_SUIDGID != 0;
                self.answer(overlay.write_takes(file), job, move |fs, job| {
                    let data = data.of(job.payload());
                    let written = fs.write((node, file), data, to.offset, kill);
                    send::written(job, written);
                });
            }
            Request::Fsync(of) => {
                let (file, data) = (Fh(of.fh).file(node), of.flags & wire::Fsync::DATA != 0);
                self.answer(overlay.sync_takes(), job, move |fs, job| {
                    send::empty(job, run(|| fs.overlay.fsync(file, data)));
                });
            }
            Request::Fsyncdir(of) => {
                let data = of.flags & wire::Fsync::DATA != 0;
                self.answer(overlay.sync_takes(), job, move |fs, job| {
                    send::empty(job, run(|| fs.overlay.fsyncdir(node, data)));
                });
            }
            Request::Fallocate(of) => {
                let (file, range) = ((node, Fh(of.fh)), (of.offset, of.length));
                let takes = overlay.write_takes(file.1.file(node));
                self.answer(takes, job, move |fs, job| {
                    let done = fs.fallocate(file, of.mode, range, asker.kills_set_id());
                    send::empty(job, done);
                });
            }
            Request::Lseek(to) => {
                let offset = to.offset.cast_signed();
                let found = fs.lseek(node, Fh(to.fh), offset, to.whence);
                send::with(job, found, wire::lseek);
            }
            Request::CopyFileRange(of) => self.copy(node, of, asker, move |copied| {
                send::written(job, copied);
            }),
            Request::CopyFileRange64(of) => self.copy(node, of, asker, move |copied| {
                send::with(job, copied, |len| wire::lseek(len as u64));
            }),
            _ => job.done(Err(Errno::ENOSYS)),
        }
    }

    fn copy(
        &self,
        node: NodeId,
        of: wire::CopyFileRange,
        asker: Asker,
        send: impl FnOnce(Result<usize>) + Send + 'static,
    ) {
        let files = ((node, Fh(of.fh_in)), (NodeId(of.node_out), Fh(of.fh_out)));
        let offsets = (of.offset_in, of.offset_out);
        // It may be much, and much that is on disk.
        self.service.answer(Takes::Long, move |fs| {
            send(fs.copy_file_range(files, offsets, of.length, asker.kills_set_id()));
        });
    }
}

fn os(job: &Job, name: Span) -> &OsStr {
    OsStr::from_bytes(name.of(job.payload()))
}

/// For a worker, or where the name is overwritten by the answer.
fn owned(job: &Job, name: Span) -> OsString {
    os(job, name).to_os_string()
}

/// The change of attributes that is meant, and the open file if one is named.
fn change(to: &Setattr, asker: Asker) -> (SetAttr, Option<Fh>) {
    let time = |is, is_now, sec, nsec| match (to.has(is), to.has(is_now)) {
        (_, true) => SetTime::Now,
        (true, false) => SetTime::At(Time { sec, nsec }),
        (false, false) => SetTime::Omit,
    };
    let set = SetAttr {
        perm: to.has(Setattr::MODE).then_some(to.mode & 0o7777),
        uid: to.has(Setattr::UID).then_some(ShownId(to.uid)),
        gid: to.has(Setattr::GID).then_some(ShownId(to.gid)),
        size: to.has(Setattr::SIZE).then_some(to.size),
        atime: time(Setattr::ATIME, Setattr::ATIME_NOW, to.atime, to.atime_nsec),
        mtime: time(Setattr::MTIME, Setattr::MTIME_NOW, to.mtime, to.mtime_nsec),
        kill_set_id: to.has(Setattr::KILL_SUIDGID),
        caller: asker.uid,
    };
    (set, to.has(Setattr::FH).then_some(Fh(to.fh)))
}

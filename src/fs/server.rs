//! [`Server`]: the verbs of the overlay as the kernel asks for them. Plain arguments, results by value; front ends
//! decode requests before and encode answers after. A panic below is logged and gives EIO; the mount lives on.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::asker::Asker;
use super::notify::Notify;
use super::passthrough::{Backing, Fh, Mode, Passthrough};
use super::run::run;
use super::settings::Settings;
use crate::overlay::Overlay;
use crate::overlay::change::create::Caller;
use crate::overlay::change::long::Takes;
use crate::overlay::change::setattr::SetAttr;
use crate::overlay::node::NodeId;
use crate::overlay::node::handle::OpenFile;
use crate::overlay::view::attr::Attr;
use crate::overlay::view::io::Seek;
use crate::overlay::view::list::Dirent;
use crate::overlay::view::lookup::Entry;
use crate::sys::at::OpenMode;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::xattr::XattrMode;

/// How long names and attributes stay valid when nobody else changes the layers: for ever, in the
/// kernel's arithmetic.
const FOREVER: Duration = Duration::from_secs(1 << 32);

/// Files up to this size come with their first open. Who does not read them has waited for two copies of so much,
/// which takes no longer than the request that is spared who does.
const SMALL_BYTES: u64 = 64 * 1024;

const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

const ACCESS_ACL: &str = "system.posix_acl_access";

thread_local! {
    /// The buffer of this thread's reads.
    pub static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Attributes, and how long the kernel may keep them.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The attributes.
    pub attr: Attr,
    /// Until they are asked for again.
    pub ttl: Duration,
}

/// What a name leads to, and how long the kernel may keep that.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The node.
    pub id: NodeId,
    /// Its attributes.
    pub told: Told,
    /// Until the name is asked for again.
    pub ttl: Duration,
}

/// One entry of a listing with attributes.
#[derive(Clone, Copy, Debug)]
pub struct Plus<'a> {
    /// The entry.
    pub dirent: Dirent<'a>,
    /// What the kernel may remember of it. Without it the entry has a type and this number only.
    pub found: std::result::Result<Named, u64>,
}

/// What all requests share.
#[derive(Debug)]
pub struct Server {
    /// What is served.
    pub overlay: Arc<Overlay>,
    /// The way to the kernel.
    pub notify: Notify,
    /// How long names and attributes may be kept.
    pub ttl: Duration,
    noopen: bool,
    passthrough: Passthrough,
}

impl Server {
    /// Serves `overlay`.
    pub fn new(overlay: Arc<Overlay>, settings: &Settings) -> Server {
        Server {
            passthrough: Passthrough::new(settings.lower_passthrough || overlay.is_read_only()),
            overlay,
            noopen: settings.noopen,
            notify: Notify::default(),
            ttl: settings.timeout.unwrap_or(FOREVER),
        }
    }

    /// The kernel may serve files by itself.
    pub fn enable_passthrough(&self) {
        self.passthrough.enable();
    }

    /// Nothing comes any more: what was written goes to the disk.
    pub fn end(&self) {
        if let Err(errno) = run(|| self.overlay.sync()) {
            log::error!("the upper layer may not be all on disk: {errno}");
        }
    }

    /// How long attributes may be kept. Those of a node that shares its number with another are asked for
    /// each time: only that answer carries the true number.
    fn told(&self, attr: Attr) -> Told {
        let ttl = if attr.cacheable {
            self.ttl
        } else {
            Duration::ZERO
        };
        Told { attr, ttl }
    }

    fn named(&self, entry: &Entry) -> Named {
        Named {
            id: entry.id,
            told: self.told(entry.attr),
            ttl: if entry.lasting {
                self.ttl
            } else {
                Duration::ZERO
            },
        }
    }

    /// Runs a verb that looks a name up or makes one.
    pub fn entry(&self, verb: impl FnOnce(&Overlay) -> Result<Entry>) -> Result<Named> {
        run(|| verb(&self.overlay)).map(|entry| self.named(&entry))
    }

    /// The kernel has forgotten a node. Nobody waits for an answer.
    pub fn forget(&self, id: NodeId, lookups: u64) {
        let forget = || {
            if self.overlay.forget(id, lookups) {
                self.passthrough.forget(id);
            }
            Ok(())
        };
        if let Err(errno) = run(forget) {
            log::error!("forget: {errno}");
        }
    }

    /// Attributes, of an open file if one is named.
    pub fn getattr(&self, id: NodeId, fh: Option<Fh>) -> Result<Told> {
        let file = fh.map(|fh| fh.file(id));
        run(|| self.overlay.getattr(id, file)).map(|attr| self.told(attr))
    }

    /// Changes attributes. With `noopen` the kernel names no file, though one may be open.
    pub fn setattr(&self, id: NodeId, set: SetAttr, fh: Option<Fh>) -> Result<Told> {
        let fh = fh.or(self.noopen.then_some(Fh::UNOPENED));
        let cuts = set.size.is_some();
        let result = run(|| {
            // Of what is cached under another id the kernel must know.
            if cuts {
                self.check_told(id)?;
            }
            self.overlay.setattr(id, set, fh.map(|fh| fh.file(id)))
        });
        if cuts {
            self.passthrough.changed(id);
        }
        result.map(|attr| self.told(attr))
    }

    /// Set-id bits go before the change of data is tried; the kernel expects that only of a success.
    fn tried<T>(&self, id: NodeId, kill_set_id: bool, result: Result<T>) -> Result<T> {
        if kill_set_id && result.is_err() {
            self.notify.forget_attributes(id);
        }
        result
    }

    /// Writes. `file` is one of node `id`; `kill_set_id`: set-id bits go.
    pub fn write(
        &self,
        (id, file): (NodeId, OpenFile),
        data: &[u8],
        offset: u64,
        kill_set_id: bool,
    ) -> Result<usize> {
        let result = run(|| self.overlay.write(file, data, offset, kill_set_id));
        self.tried(id, kill_set_id, result)
    }

    /// Makes room, or a hole, as fallocate(2) with `mode`.
    pub fn fallocate(
        &self,
        (id, fh): (NodeId, Fh),
        mode: u32,
        range: (u64, u64),
        kill_set_id: bool,
    ) -> Result<()> {
        let file = fh.file(id);
        let result = run(|| self.overlay.fallocate(file, mode, range, kill_set_id));
        self.tried(id, kill_set_id, result)
    }

    /// Copies `len` bytes from an offset of one file to that of another.
    pub fn copy_file_range(
        &self,
        (from, to): ((NodeId, Fh), (NodeId, Fh)),
        offsets: (u64, u64),
        len: u64,
        kill_set_id: bool,
    ) -> Result<usize> {
        let source = (from.1.file(from.0), offsets.0);
        let target = (to.1.file(to.0), offsets.1);
        let copy = || {
            self.overlay
                .copy_file_range(source, target, len, kill_set_id)
        };
        self.tried(to.0, kill_set_id, run(copy))
    }

    /// The next data or hole, as lseek(2) has it.
    pub fn lseek(&self, id: NodeId, fh: Fh, offset: i64, whence: u32) -> Result<u64> {
        run(|| {
            let whence = match whence {
                SEEK_DATA => Seek::Data,
                SEEK_HOLE => Seek::Hole,
                _ => return Err(Errno::EINVAL),
            };
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            self.overlay.lseek(fh.file(id), offset, whence)
        })
    }

    /// Opens a file. `flags` are those of open(2); `register` hands the layer's file to the kernel; `kill_set_id`: if
    /// the file is cut, set-id bits go.
    ///
    /// # Errors
    /// ESTALE where it is to be looked up again, under another id.
    pub fn open(
        &self,
        id: NodeId,
        flags: i32,
        kill_set_id: bool,
        register: impl FnOnce(&FileFd) -> io::Result<Backing>,
    ) -> Result<(Fh, Mode)> {
        let opened = run(|| {
            self.check_told(id)?;
            self.overlay.open(id, flags, kill_set_id)
        })?;
        if opened.modified {
            self.notify.forget_attributes(id);
        }
        let write = OpenMode::from_raw(flags).write;
        let register = || register(&opened.backing.file);
        let fill = || {
            BUFFER.with_borrow_mut(|buffer| {
                if let Some(data) = opened.first_data(buffer, SMALL_BYTES) {
                    self.notify.fill(id, data);
                }
            });
        };
        let Some(mode) = self.passthrough.open(id, &opened, write, register, fill) else {
            self.overlay.release(opened.handle);
            self.overlay.rebind(id);
            // What is open goes on under the old id, and asks for its attributes each time.
            self.notify.forget_attributes(id);
            // The kernel looks the path up again, and finds the new id.
            return Err(Errno::ESTALE);
        };
        Ok((Fh::new(opened.handle, &mode), mode))
    }

    /// Where a lower file was passed through, a file may have another id by now.
    ///
    /// # Errors
    /// ESTALE: whoever came by a path is led to the new one.
    fn check_told(&self, id: NodeId) -> Result<()> {
        match self.overlay.is_rebound(id) {
            true => Err(Errno::ESTALE),
            false => Ok(()),
        }
    }

    /// Creates a file and opens it. `mode` and `flags` are those of open(2); `register` as for [`Server::open`].
    pub fn create(
        &self,
        (parent, name): (NodeId, &OsStr),
        (mode, flags): (u32, i32),
        caller: Caller,
        register: impl FnOnce(&FileFd) -> io::Result<Backing>,
    ) -> Result<(Named, Fh, Mode)> {
        if self.noopen {
            // Nobody will tell the end of it.
            let entry =
                self.entry(|overlay| overlay.create_unopened(parent, name, mode, caller))?;
            return Ok((entry, Fh::UNOPENED, Mode::Cached { keep: true }));
        }
        let created = run(|| self.overlay.create(parent, name, mode, flags, caller));
        let (entry, opened) = created?;
        let write = OpenMode::from_raw(flags).write;
        let register = || register(&opened.backing.file);
        let mode = self
            .passthrough
            .open(entry.id, &opened, write, register, || {})
            // A new file is in no lower layer.
            .ok_or(Errno::ESTALE)?;
        Ok((self.named(&entry), Fh::new(opened.handle, &mode), mode))
    }

    /// Closes a file.
    pub fn release(&self, id: NodeId, fh: Fh) -> Result<()> {
        run(|| {
            self.overlay.release(fh.handle());
            self.passthrough.release(id, fh.is_passthrough());
            Ok(())
        })
    }

    /// Lists a directory with the attributes of its entries, as long as `emit` takes them.
    pub fn readdirplus(
        &self,
        id: NodeId,
        offset: u64,
        mut emit: impl FnMut(Plus<'_>) -> bool,
    ) -> Result<()> {
        run(|| {
            self.overlay.readdirplus(id, offset, |dirent, entry| {
                let found = match entry {
                    Some(entry) => Ok(self.named(&entry)),
                    None if dirent.is_dot() => Err(dirent.ino),
                    // Listed, but whoever looks it up gets an error: under an id that means nothing.
                    None => Err(self.overlay.unused_id().0),
                };
                emit(Plus { dirent, found })
            })
        })
    }

    /// Sets an extended attribute, with the flags of setxattr(2).
    pub fn setxattr(
        &self,
        id: NodeId,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        asker: Asker,
    ) -> Result<()> {
        run(|| {
            let mode = XattrMode::from_raw(flags)?;
            self.overlay.setxattr(id, name, value, mode)?;
            // The kernel knows whether this takes the set-group-id bit, but tells only who asks for SETXATTR_EXT,
            // which fuser 0.18 cannot read.
            if name != ACCESS_ACL || asker.uid == 0 {
                return Ok(());
            }
            self.overlay.after_set_acl(id, |group| asker.is_in(group))
        })
    }

    /// How long an ioctl takes.
    pub fn ioctl_takes(&self, id: NodeId, command: u32) -> Takes {
        match command {
            FS_IOC_SETFLAGS | FS_IOC_FSSETXATTR => self.overlay.attributes_take(id),
            _ => Takes::NoTime,
        }
    }

    /// The ioctls for attributes of inodes (ioctl_iflags(2)).
    pub fn ioctl(&self, id: NodeId, command: u32, data: &[u8]) -> Result<Vec<u8>> {
        let overlay = &self.overlay;
        run(|| match command {
            FS_IOC_GETFLAGS => Ok(overlay.inode_flags(id)?.to_ne_bytes().to_vec()),
            FS_IOC_FSGETXATTR => Ok(overlay.fsxattr(id)?.to_vec()),
            FS_IOC_SETFLAGS => {
                let flags = u32::from_ne_bytes(*data.first_chunk().ok_or(Errno::EINVAL)?);
                overlay.set_inode_flags(id, flags).map(|()| Vec::new())
            }
            FS_IOC_FSSETXATTR => {
                let value = data.first_chunk().ok_or(Errno::EINVAL)?;
                overlay.set_fsxattr(id, value).map(|()| Vec::new())
            }
            _ => Err(Errno::ENOTTY),
        })
    }
}

//! [`Server`]: what all requests share, and the answers that take more than one line.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    FileHandle, FopenFlags, Generation, INodeNo, OpenFlags, ReplyAttr, ReplyCreate, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEntry, ReplyOpen,
};

use super::adapter::Settings;
use super::convert;
use super::notify::Notify;
use super::passthrough::{Mode, Passthrough, file_handle, handle, open_flags};
use super::reply::run;
use crate::overlay::Overlay;
use crate::overlay::change::create::Caller;
use crate::overlay::node::NodeId;
use crate::overlay::node::handle::OpenFile;
use crate::overlay::view::attr::Attr;
use crate::overlay::view::lookup::Entry;
use crate::sys::at::OpenMode;
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::FileType;

/// How long names and attributes stay valid when nobody else changes the layers: for ever, in the
/// kernel's arithmetic.
const FOREVER: Duration = Duration::from_secs(1 << 32);
/// Nothing is reused while the kernel knows it, so generations tell nothing.
const GENERATION: Generation = Generation(0);

/// Files up to this size come with their first open. Who does not read them has waited for two copies of so much,
/// which takes no longer than the request that is spared who does.
const SMALL_BYTES: u64 = 64 * 1024;

thread_local! {
    /// The buffer of this thread's reads.
    pub static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What all requests share.
#[derive(Debug)]
pub struct Server {
    /// What is served.
    pub overlay: Arc<Overlay>,
    /// The kernel opens and closes files without telling.
    pub noopen: bool,
    /// Which files the kernel serves by itself.
    pub passthrough: Passthrough,
    /// The way to the kernel.
    pub notify: Notify,
    ttl: Duration,
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
    pub fn tried<T>(&self, ino: INodeNo, kill_set_id: bool, result: Result<T>) -> Result<T> {
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

    /// Answers with an entry.
    pub fn entry(&self, result: Result<Entry>, reply: ReplyEntry) {
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

    /// Answers with attributes.
    pub fn attr(&self, result: Result<Attr>, reply: ReplyAttr) {
        match result {
            Ok(attr) => reply.attr(&self.attr_ttl(&attr), &convert::attr(&attr)),
            Err(errno) => reply.error(convert::errno(errno)),
        }
    }

    /// Answers a lookup: the kernel remembers, too, that there is nothing.
    pub fn looked_up(&self, result: Result<Entry>, reply: ReplyEntry) {
        match result {
            // Node 0 with a time to live.
            Err(Errno::ENOENT) => {
                let nothing = convert::bare_attr(0, FileType::File);
                reply.entry(&self.ttl, &nothing, GENERATION);
            }
            result => self.entry(result, reply),
        }
    }

    /// Opens a file and answers. `kill_set_id`: if it is cut, set-id bits go.
    pub fn open(&self, ino: INodeNo, flags: OpenFlags, kill_set_id: bool, reply: ReplyOpen) {
        let open = || {
            self.check_told(ino)?;
            self.overlay.open(node(ino), flags.0, kill_set_id)
        };
        let opened = match run(open) {
            Ok(opened) => opened,
            Err(errno) => return reply.error(convert::errno(errno)),
        };
        if opened.modified {
            self.notify.forget_attributes(ino);
        }
        let write = OpenMode::from_raw(flags.0).write;
        let register = || reply.open_backing(&*opened.backing.file);
        let fill = || {
            BUFFER.with_borrow_mut(|buffer| {
                if let Some(data) = opened.first_data(buffer, SMALL_BYTES) {
                    self.notify.fill(ino, data);
                }
            });
        };
        let mode = self
            .passthrough
            .open(node(ino), &opened, write, register, fill);
        let (fh, flags) = (file_handle(opened.handle, &mode), open_flags(&mode));
        match mode {
            Mode::Cached { .. } => reply.opened(fh, flags),
            Mode::Passthrough(backing) => reply.opened_passthrough(fh, flags, &backing),
            Mode::Elsewhere => {
                self.overlay.release(opened.handle);
                self.overlay.rebind(node(ino));
                // What is open goes on under the old id, and asks for its attributes each time.
                self.notify.forget_attributes(ino);
                // The kernel looks the path up again, and finds the new id.
                reply.error(fuser::Errno::ESTALE);
            }
        }
    }

    /// Where a lower file was passed through, a file may have another id by now.
    ///
    /// # Errors
    /// ESTALE: whoever came by a path is led to the new one.
    pub fn check_told(&self, ino: INodeNo) -> Result<()> {
        match self.overlay.is_rebound(node(ino)) {
            true => Err(Errno::ESTALE),
            false => Ok(()),
        }
    }

    /// Creates a file and answers. `mode` and `flags` are those of open(2).
    pub fn create(
        &self,
        (parent, name): (INodeNo, &OsStr),
        mode: u32,
        flags: i32,
        caller: Caller,
        reply: ReplyCreate,
    ) {
        let parent = node(parent);
        if self.noopen {
            let created = run(|| self.overlay.create_unopened(parent, name, mode, caller));
            return self.created_unopened(created, reply);
        }
        let created = run(|| self.overlay.create(parent, name, mode, flags, caller));
        let (entry, opened) = match created {
            Ok(created) => created,
            Err(errno) => return reply.error(convert::errno(errno)),
        };
        let write = OpenMode::from_raw(flags).write;
        let register = || reply.open_backing(&*opened.backing.file);
        let mode = self
            .passthrough
            .open(entry.id, &opened, write, register, || {});
        let attr = convert::entry_attr(entry.id, &entry.attr);
        let ttl = self.attr_ttl(&entry.attr);
        let (fh, flags) = (file_handle(opened.handle, &mode), open_flags(&mode));
        match mode {
            Mode::Cached { .. } => reply.created(&ttl, &attr, GENERATION, fh, flags),
            Mode::Passthrough(backing) => {
                reply.created_passthrough(&ttl, &attr, GENERATION, fh, flags, &backing);
            }
            // A new file is in no lower layer.
            Mode::Elsewhere => reply.error(fuser::Errno::ESTALE),
        }
    }

    /// Lists a directory.
    pub fn readdir(&self, ino: INodeNo, offset: u64, mut reply: ReplyDirectory) {
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

    /// Lists a directory with the attributes of its entries.
    pub fn readdirplus(&self, ino: INodeNo, offset: u64, mut reply: ReplyDirectoryPlus) {
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
}

/// The node that a request means.
pub fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

/// The handle of files whose opens and closes are not told.
pub const UNOPENED: FileHandle = FileHandle(0);

/// The open file that a request means.
pub fn file(ino: INodeNo, fh: FileHandle) -> OpenFile {
    const O_RDWR: i32 = 2;
    file_with(ino, fh, O_RDWR)
}

/// The same, with the flags that it is open with.
pub fn file_with(ino: INodeNo, fh: FileHandle, flags: i32) -> OpenFile {
    match fh {
        UNOPENED => OpenFile::Node(node(ino), flags),
        fh => handle(fh).into(),
    }
}

//! Opening files, and changes of their data. Opening for writing copies up; the verbs after that go
//! straight to the upper file.

use std::ffi::OsStr;
use std::sync::Arc;

use super::copyup::Data;
use super::create::Caller;
use crate::overlay::Overlay;
use crate::overlay::node::handle::{Backing, FileHandle, OpenFile, Opened, Running};
use crate::overlay::node::{Node, NodeId};
use crate::overlay::view::io::check_regular;
use crate::overlay::view::lookup::Entry;
use crate::sync::RwLock;
use crate::sys::at::{OpenMode, SetTime, Sync};
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::stat::Stat;

/// Most that one copy_file_range moves, so that its answer fits 32 bits.
const COPY_RANGE_MAX: usize = 1 << 30;

/// How a file that is written without being opened is open.
pub(super) const READ_WRITE: OpenMode = OpenMode {
    write: true,
    ..OpenMode::READ
};

/// Can an open with these flags only add to the file?
fn appends(flags: i32) -> bool {
    const O_TRUNC: i32 = 0o1000;
    const O_APPEND: i32 = 0o2000;
    flags & O_APPEND != 0 && flags & O_TRUNC == 0
}

/// `FMODE_EXEC` of the kernel: the file is opened to be run.
const TO_RUN: i32 = 0x20;

impl Overlay {
    /// Opens a file. `flags` are those of open(2). `kill_set_id`: if the file is cut, set-id bits go.
    ///
    /// # Errors
    /// EISDIR, EROFS, EACCES, ETXTBSY, those of copying up.
    pub fn open(&self, id: NodeId, flags: i32, kill_set_id: bool) -> Result<Opened> {
        let node = self.table.get(id)?;
        let mode = self.open_mode(flags);
        let mut modified = false;
        check_regular(&node)?;
        if mode.write || mode.truncate {
            self.work()?;
            self.check_writable(&node, appends(flags))?;
            // With O_RDONLY | O_TRUNC the kernel above looks for itself only after we have cut the file.
            if mode.truncate && node.is_running() {
                return Err(Errno::ETXTBSY);
            }
            if mode.truncate {
                self.ensure_upper(&node, Data::UpTo(0))?;
            } else {
                modified = self.ensure_data(&node)?;
            }
        }
        let (backing, stat) = self.open_backing(&node, mode)?;
        if mode.truncate && kill_set_id {
            self.kill_set_id(&node)?;
        }
        // Whether the kernel may write by itself depends on the mode that is meant.
        let stat = self.meant_by(&node, backing.file.at(), stat)?;
        let mode = OpenMode {
            truncate: false,
            ..mode
        };
        let running = (flags & TO_RUN != 0).then(|| Running::new(&node));
        Ok(Opened {
            modified,
            ..self.opened(node, running, mode, backing, stat)
        })
    }

    /// Makes sure that a file has its data in the upper layer. Was it a metacopy there? Then the arrival of
    /// data, if there is any, counts as a write, as in the kernel (6.1).
    fn ensure_data(&self, node: &Arc<Node>) -> Result<bool> {
        let arrives = node.is_upper_metacopy() && self.lower_data(node)?.0.at().stat()?.blocks > 0;
        self.ensure_upper(node, Data::Full)?;
        if arrives {
            self.on_upper(node, |at, _| at.set_times(SetTime::Omit, SetTime::Now))?;
        }
        Ok(arrives)
    }

    /// Creates and opens a regular file. `flags` are those of open(2).
    ///
    /// # Errors
    /// EEXIST, EROFS, those of the upper layer.
    pub fn create(
        &self,
        parent: NodeId,
        name: &OsStr,
        perm: u32,
        flags: i32,
        caller: Caller,
    ) -> Result<(Entry, Opened)> {
        let mode = OpenMode {
            truncate: false,
            ..self.open_mode(flags)
        };
        let (entry, backing) = self.create_file(parent, name, perm, mode, caller)?;
        let node = self.table.get(entry.id)?;
        Ok((
            entry,
            self.opened(node, None, mode, backing, entry.attr.stat),
        ))
    }

    /// Creates a regular file for somebody who does not tell of opens and closes.
    ///
    /// # Errors
    /// EEXIST, EROFS, those of the upper layer.
    pub fn create_unopened(
        &self,
        parent: NodeId,
        name: &OsStr,
        perm: u32,
        caller: Caller,
    ) -> Result<Entry> {
        let (entry, backing) = self.create_file(parent, name, perm, READ_WRITE, caller)?;
        let node = self.table.get(entry.id)?;
        self.table.files.put(node.fd_key(), backing);
        Ok(entry)
    }

    /// Keeps a file that was just opened.
    pub(in crate::overlay) fn opened(
        &self,
        node: Arc<Node>,
        running: Option<Running>,
        mode: OpenMode,
        backing: Backing,
        stat: Stat,
    ) -> Opened {
        let handle = self.handles.insert(FileHandle {
            node: node.clone(),
            running,
            mode,
            backing: RwLock::new(backing.clone()),
        });
        Opened {
            handle,
            backing,
            stat,
            modified: false,
            node,
        }
    }

    /// What an open file writes to, after set-id bits have gone where they must. A file that was not opened is
    /// copied up here.
    pub(super) fn sink(&self, file: OpenFile, kill_set_id: bool) -> Result<Arc<FileFd>> {
        let (node, file) = match file {
            OpenFile::Handle(id) => {
                let handle = self.handles.get(id)?;
                (handle.node.clone(), self.backing(&handle)?.file)
            }
            OpenFile::Node(id, flags) => {
                let node = self.table.get(id)?;
                let file = self.node_sink(&node, appends(flags))?;
                (node, file)
            }
        };
        if kill_set_id {
            self.kill_set_id(&node)?;
        }
        Ok(file)
    }

    /// As [`Overlay::upper_file`], with all checks and the copy-up of an open for writing.
    fn node_sink(&self, node: &Arc<Node>, appends: bool) -> Result<Arc<FileFd>> {
        check_regular(node)?;
        self.work()?;
        self.check_writable(node, appends)?;
        if !node.has_upper_data() || node.indexed().is_some() {
            self.ensure_data(node)?;
        }
        self.upper_file(node)
    }

    /// The file of a node that has its data in the upper layer, open for reading and writing, and kept so for those who
    /// ask next.
    pub(super) fn upper_file(&self, node: &Arc<Node>) -> Result<Arc<FileFd>> {
        let files = &self.table.files;
        if let Some(backing) = files.get(node.fd_key())
            && backing.writable
        {
            return Ok(backing.file);
        }
        let (backing, _) = self.open_backing(node, READ_WRITE)?;
        files.put(node.fd_key(), backing.clone());
        Ok(backing.file)
    }

    /// Writes at an offset; returns the bytes written.
    ///
    /// # Errors
    /// EBADF, ENOSPC, EFBIG, EIO; for a file that was not opened, also what opening it for writing says.
    pub fn write(
        &self,
        file: impl Into<OpenFile>,
        data: &[u8],
        offset: u64,
        kill_set_id: bool,
    ) -> Result<usize> {
        let file = file.into();
        let fd = self.sink(file, kill_set_id)?;
        let written = fd.write_at(data, offset)?;
        // What was opened with such flags sees to it by itself.
        if let OpenFile::Node(_, flags) = file {
            match self.open_mode(flags).sync {
                Sync::No => {}
                Sync::Data => fd.sync(true)?,
                Sync::All => fd.sync(false)?,
            }
        }
        Ok(written)
    }

    /// fallocate(2) with its raw mode bits.
    ///
    /// # Errors
    /// EBADF, EOPNOTSUPP, ENOSPC.
    pub fn fallocate(
        &self,
        file: impl Into<OpenFile>,
        mode: u32,
        (offset, len): (u64, u64),
        kill_set_id: bool,
    ) -> Result<()> {
        self.sink(file.into(), kill_set_id)?
            .allocate(mode, offset, len)
    }

    /// copy_file_range(2) between two open files; returns the bytes copied.
    ///
    /// # Errors
    /// EBADF; EXDEV and EOPNOTSUPP tell the kernel to copy by itself.
    pub fn copy_file_range(
        &self,
        (from, from_offset): (impl Into<OpenFile>, u64),
        (to, to_offset): (impl Into<OpenFile>, u64),
        len: u64,
        kill_set_id: bool,
    ) -> Result<usize> {
        let (from, to) = (from.into(), to.into());
        if let OpenFile::Handle(id) = to
            && !self.handles.get(id)?.mode.write
        {
            return Err(Errno::EBADF);
        }
        let len = usize::try_from(len)
            .unwrap_or(COPY_RANGE_MAX)
            .min(COPY_RANGE_MAX);
        let to = self.sink(to, kill_set_id)?;
        let from = self.source(from)?.file;
        from.copy_range_to(from_offset, &to, to_offset, len)
    }
}

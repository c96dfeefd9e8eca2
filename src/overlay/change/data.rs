//! Opening files, and changes of their data. Opening for writing copies up; the verbs after that go
//! straight to the upper file.

use std::sync::Arc;

use super::copyup::Data;
use crate::overlay::Overlay;
use crate::overlay::node::handle::{Backing, FileHandle, HandleId, Opened, Running};
use crate::overlay::node::{Node, NodeId};
use crate::overlay::view::io::check_regular;
use crate::sync::RwLock;
use crate::sys::at::{OpenMode, SetTime};
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::Stat;

/// Most that one copy_file_range moves, so that its answer fits 32 bits.
const COPY_RANGE_MAX: usize = 1 << 30;

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
            node,
            running,
            mode,
            backing: RwLock::new(backing.clone()),
        });
        Opened {
            handle,
            backing,
            stat,
            modified: false,
        }
    }

    /// Writes at an offset; returns the bytes written.
    ///
    /// # Errors
    /// EBADF, ENOSPC, EFBIG, EIO.
    pub fn write(
        &self,
        handle: HandleId,
        data: &[u8],
        offset: u64,
        kill_set_id: bool,
    ) -> Result<usize> {
        let handle = self.handles.get(handle)?;
        let file = self.backing(&handle)?;
        if kill_set_id {
            self.kill_set_id(&handle.node)?;
        }
        file.write_at(data, offset)
    }

    /// fallocate(2) with its raw mode bits.
    ///
    /// # Errors
    /// EBADF, EOPNOTSUPP, ENOSPC.
    pub fn fallocate(
        &self,
        handle: HandleId,
        mode: u32,
        (offset, len): (u64, u64),
        kill_set_id: bool,
    ) -> Result<()> {
        let handle = self.handles.get(handle)?;
        let file = self.backing(&handle)?;
        if kill_set_id {
            self.kill_set_id(&handle.node)?;
        }
        file.allocate(mode, offset, len)
    }

    /// copy_file_range(2) between two open files; returns the bytes copied.
    ///
    /// # Errors
    /// EBADF; EXDEV and EOPNOTSUPP tell the kernel to copy by itself.
    pub fn copy_file_range(
        &self,
        (from, from_offset): (HandleId, u64),
        (to, to_offset): (HandleId, u64),
        len: u64,
        kill_set_id: bool,
    ) -> Result<usize> {
        let (from, to) = (self.handles.get(from)?, self.handles.get(to)?);
        if !to.mode.write {
            return Err(Errno::EBADF);
        }
        let len = usize::try_from(len)
            .unwrap_or(COPY_RANGE_MAX)
            .min(COPY_RANGE_MAX);
        if kill_set_id {
            self.kill_set_id(&to.node)?;
        }
        self.backing(&from)?
            .copy_range_to(from_offset, &*self.backing(&to)?, to_offset, len)
    }
}

//! Open files: read, seek, sync, and whatever else goes straight to the file of a layer.

use std::sync::Arc;

use crate::overlay::Overlay;
use crate::overlay::node::handle::{Backing, FileHandle, HandleId, OpenFile};
use crate::overlay::node::{Node, NodeId};
use crate::overlay::options::SyncMode;
use crate::sys::at::{OpenMode, Sync};
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::stat::{FileType, Stat};

/// Where lseek(2) shall go; the other forms never reach a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next data.
    Data,
    /// The next hole.
    Hole,
}

impl Overlay {
    /// How the file of a layer is opened for flags of open(2): a volatile mount ignores O_SYNC (18.2).
    pub(in crate::overlay) fn open_mode(&self, flags: i32) -> OpenMode {
        let mode = OpenMode::from_raw(flags);
        match self.sync {
            SyncMode::Volatile => OpenMode {
                sync: Sync::No,
                ..mode
            },
            _ => mode,
        }
    }

    /// Opens the object that a node shows now and proves it to be the right one: a regular file that
    /// was not replaced behind our back. A lower file is read without touching its access time.
    pub(in crate::overlay) fn open_backing(
        &self,
        node: &Arc<Node>,
        mode: OpenMode,
    ) -> Result<(Backing, Stat)> {
        check_regular(node)?;
        if !node.has_upper_data() {
            return self.open_lower(node, mode);
        }
        let (file, stat) = self.on_real(node, |at| {
            let file = at.open_file(mode)?;
            let stat = file.stat()?;
            Ok(((file, stat), stat))
        })?;
        let backing = Backing {
            file: Arc::new(file),
            lower: false,
            writable: mode.write,
        };
        Ok((backing, stat))
    }

    /// Opens the lower file that has the data.
    fn open_lower(&self, node: &Arc<Node>, mode: OpenMode) -> Result<(Backing, Stat)> {
        if mode.write || mode.truncate {
            return Err(Errno::EROFS);
        }
        let (real, object) = self.lower_data(node)?;
        let noatime = OpenMode {
            noatime: true,
            ..mode
        };
        let file = match real.at().open_file(noatime) {
            // Only the owner may ask for no access time.
            Err(Errno::EPERM) => real.at().open_file(mode)?,
            result => result?,
        };
        let stat = file.stat()?;
        if !object.is(&stat) {
            return Err(Errno::ESTALE);
        }
        let backing = Backing {
            file: Arc::new(file),
            lower: true,
            writable: false,
        };
        Ok((backing, stat))
    }

    /// The file behind a handle: after a copy-up, an fd opened before reads the upper file (15.1).
    pub(in crate::overlay) fn backing(&self, handle: &FileHandle) -> Result<Backing> {
        let backing = handle.backing.read().clone();
        if backing.is_current(&handle.node) {
            return Ok(backing);
        }
        let (fresh, _) = self.open_backing(&handle.node, handle.mode)?;
        let old = std::mem::replace(&mut *handle.backing.write(), fresh.clone());
        drop(old);
        Ok(fresh)
    }

    /// What an open file reads.
    pub(in crate::overlay) fn source(&self, file: OpenFile) -> Result<Backing> {
        match file {
            OpenFile::Handle(id) => self.backing(&*self.handles.get(id)?),
            OpenFile::Node(id, _) => self.node_backing(&self.table.get(id)?),
        }
    }

    /// The file of a node, open for reading, and kept so for those who ask next.
    fn node_backing(&self, node: &Arc<Node>) -> Result<Backing> {
        if let Some(backing) = self.table.files.get(node.fd_key())
            && backing.is_current(node)
        {
            return Ok(backing);
        }
        let (backing, _) = self.open_backing(node, OpenMode::READ)?;
        self.table.files.put(node.fd_key(), backing.clone());
        Ok(backing)
    }

    /// Reads into `buf`; short only at the end of the file.
    ///
    /// # Errors
    /// EBADF; those of pread.
    pub fn read(&self, file: impl Into<OpenFile>, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.source(file.into())?.file.read_at(buf, offset)
    }

    /// lseek(2) to data or a hole.
    ///
    /// # Errors
    /// ENXIO beyond the end; EBADF.
    pub fn lseek(&self, file: impl Into<OpenFile>, offset: u64, whence: Seek) -> Result<u64> {
        let file = self.source(file.into())?.file;
        match whence {
            Seek::Data => file.seek_data(offset),
            Seek::Hole => file.seek_hole(offset),
        }
    }

    /// Forces a file to disk. On a lower file there is nothing to do (18.1), and a volatile mount never
    /// does (18.2).
    ///
    /// # Errors
    /// EBADF; those of fsync; on a volatile mount for ever that of the first write that was seen to fail.
    pub fn fsync(&self, file: impl Into<OpenFile>, data_only: bool) -> Result<()> {
        let Backing { file, lower, .. } = self.source(file.into())?;
        if self.sync == SyncMode::Volatile {
            return self.check_nothing_lost((!lower).then_some(&*file));
        }
        match lower {
            true => Ok(()),
            false => file.sync(data_only),
        }
    }

    /// On a volatile mount a caller is not told of the disk, but that data was lost. The kernel knows of every
    /// file of the filesystem; without syncing all of it, the file in question is what can be asked.
    fn check_nothing_lost(&self, file: Option<&FileFd>) -> Result<()> {
        if let Some(Err(errno)) = file.map(FileFd::check_written)
            && self.lost.set(errno).is_ok()
        {
            log::error!("the upper filesystem lost data, no sync succeeds from now on: {errno}");
        }
        self.lost.get().map_or(Ok(()), |errno| Err(*errno))
    }

    /// Forces a directory to disk.
    ///
    /// # Errors
    /// ENOTDIR; those of fsync.
    pub fn fsyncdir(&self, id: NodeId, data_only: bool) -> Result<()> {
        let node = self.dir_node(id)?;
        if self.sync == SyncMode::Volatile {
            return self.check_nothing_lost(None);
        }
        if node.is_orphan() {
            return Ok(());
        }
        match self.upper_dir(&node)? {
            Some(dir) => dir.at().open_dir_file()?.sync(data_only),
            None => Ok(()),
        }
    }

    /// Forces the whole upper filesystem to disk, as the kernel does at unmount (22.6); not so for a volatile
    /// mount.
    ///
    /// # Errors
    /// Those of syncfs.
    pub fn sync(&self) -> Result<()> {
        match &self.stack.upper {
            Some(upper) if self.sync != SyncMode::Volatile => {
                upper.layer.root.at().open_dir_file()?.sync_filesystem()
            }
            _ => Ok(()),
        }
    }

    /// Closes a file.
    pub fn release(&self, handle: HandleId) {
        self.handles.remove(handle);
    }
}

/// Only regular files are opened by a filesystem: the kernel opens devices, fifos and sockets itself.
pub(in crate::overlay) fn check_regular(node: &Node) -> Result<()> {
    match node.kind {
        FileType::File => Ok(()),
        FileType::Dir => Err(Errno::EISDIR),
        _ => Err(Errno::ENXIO),
    }
}

//! From changes to an archive. The same changes give the same bytes, whenever and wherever.
//!
//! Rules: a directory before what is in it, in a directory first the whiteouts, then the rest by name. PAX records
//! where a header has no room. Times in whole seconds, no times of access, no names of users, no marks of the overlay.
//! Names of one file that are all told become hard links of the first; `nlink` is not asked who they are, since files
//! may be shared with other layers.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use super::changes::{Change, ChangeKind, Visit, xattrs};
use super::error::{Error, Kind, OrAt, Result};
use super::merged::Found;
use super::recipe::cannot_write;
use super::remarks::Remarks;
use super::tar::read::shown;
use super::tar::write::TarWriter;
use super::tar::{Entry, EntryKind};
use super::watch::{Watch, tell};
use crate::layer::mark::OCI_PREFIX;
use crate::sys::at::At;
use crate::sys::errno::Errno;
use crate::sys::stat::{FileType, Rdev, Stat, Time};

/// Bytes read and written at a time.
const PIECE_BYTES: usize = 64 << 10;
/// The name in a directory that begins anew.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Writes what it is told as an archive.
pub struct TarExport<'a, W: Write> {
    archive: TarWriter<W>,
    watch: &'a dyn Watch,
    /// What could not be said in an archive.
    pub remarks: Remarks,
    /// First names of files that may have more.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<'a, W: Write> TarExport<'a, W> {
    /// An archive from its first byte.
    pub fn new(sink: W, watch: &'a dyn Watch) -> TarExport<'a, W> {
        TarExport {
            archive: TarWriter::new(sink),
            watch,
            remarks: Remarks::default(),
            linked: HashMap::new(),
            buffer: vec![0; PIECE_BYTES],
        }
    }

    /// Ends the archive; gives the sink back.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(self) -> Result<(W, Remarks)> {
        let sink = self.archive.finish().map_err(cannot_write)?;
        Ok((sink, self.remarks))
    }

    fn whiteout(&mut self, path: Vec<u8>) -> Result<()> {
        let entry = Entry {
            path,
            kind: EntryKind::File,
            perm: 0,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 0,
            link: Vec::new(),
            rdev: Rdev::default(),
            xattrs: Vec::new(),
        };
        self.archive.entry(&entry).map_err(cannot_write)
    }

    fn object(&mut self, path: &[u8], found: &Found) -> Result<()> {
        let Some(kind) = kind(found.stat.kind) else {
            self.remarks.note("socket skipped", path);
            return Ok(());
        };
        let mut entry = describe(path, kind, &found.stat, found.at())?;
        if kind == EntryKind::Symlink {
            entry.link = found.at().read_link().map_err(|e| failed(path, e))?;
        }
        if kind != EntryKind::Dir && found.stat.nlink > 1 {
            let identity = (found.stat.dev, found.stat.ino);
            if let Some(first) = self.linked.get(&identity) {
                entry.kind = EntryKind::HardLink;
                entry.link.clone_from(first);
                entry.size = 0;
                entry.xattrs.clear();
                return self.archive.entry(&entry).map_err(cannot_write);
            }
            self.linked.insert(identity, path.to_vec());
        }
        self.archive.entry(&entry).map_err(cannot_write)?;
        if entry.size > 0 {
            self.data(path, found, entry.size)?;
        }
        Ok(())
    }

    fn data(&mut self, path: &[u8], found: &Found, size: u64) -> Result<()> {
        let file = found.open().map_err(|e| failed(path, e))?;
        let mut offset = 0;
        while offset < size {
            let want = self
                .buffer
                .len()
                .min(usize::try_from(size - offset).unwrap_or(usize::MAX));
            let got = file.read_at(&mut self.buffer[..want], offset);
            let got = got.map_err(|e| failed(path, e))?;
            if got == 0 {
                let text = format!("{}: it became shorter while it was read", shown(path));
                return Err(Error::new(Kind::Busy, text));
            }
            self.archive
                .data(&self.buffer[..got])
                .map_err(cannot_write)?;
            tell(self.watch, got as u64, 0)?;
            offset += got as u64;
        }
        Ok(())
    }
}

impl<W: Write> Visit for TarExport<'_, W> {
    fn change(&mut self, change: &Change<'_>) -> Result<()> {
        tell(self.watch, 0, 1)?;
        let path = change.path;
        if let Some(root) = change.root {
            let top = root.top().map(|(_, top)| top.at());
            let (stat, at) = (root.stat(), top);
            let entry = describe(
                b".",
                EntryKind::Dir,
                &stat.or_at("cannot read", Path::new("/"))?,
                at.or_at("cannot read", Path::new("/"))?,
            )?;
            return self.archive.entry(&entry).map_err(cannot_write);
        }
        let (dir, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&path[..=slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        if path
            .split(|&b| b == b'/')
            .any(|part| part.starts_with(OCI_PREFIX))
        {
            self.remarks.note(
                "skipped, an archive would take the name for a whiteout",
                path,
            );
            return Ok(());
        }
        match (change.kind, change.now) {
            (ChangeKind::Deleted, _) if change.implied => Ok(()),
            (ChangeKind::Deleted, _) | (_, None) => self.whiteout([dir, OCI_PREFIX, name].concat()),
            (_, Some(found)) => {
                self.object(path, found)?;
                if change.opaque {
                    self.whiteout([path, b"/", OPAQUE].concat())?;
                }
                Ok(())
            }
        }
    }
}

fn describe(path: &[u8], kind: EntryKind, stat: &Stat, at: At<'_>) -> Result<Entry> {
    let mut path = path.to_vec();
    let attributes = xattrs(at).map_err(|e| failed(&path, e))?;
    if kind == EntryKind::Dir {
        path.push(b'/');
    }
    let is_device = matches!(kind, EntryKind::Char | EntryKind::Block);
    Ok(Entry {
        path,
        kind,
        perm: stat.perm,
        uid: stat.uid,
        gid: stat.gid,
        mtime: Time {
            sec: stat.mtime.sec,
            nsec: 0,
        },
        size: if kind == EntryKind::File {
            stat.size
        } else {
            0
        },
        link: Vec::new(),
        rdev: if is_device {
            stat.rdev
        } else {
            Rdev::default()
        },
        xattrs: attributes,
    })
}

fn kind(kind: FileType) -> Option<EntryKind> {
    Some(match kind {
        FileType::File => EntryKind::File,
        FileType::Dir => EntryKind::Dir,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Char => EntryKind::Char,
        FileType::Block => EntryKind::Block,
        FileType::Socket => return None,
    })
}

fn failed(path: &[u8], errno: Errno) -> Error {
    Error::new(
        Kind::Other,
        format!("cannot read {} of the tree: {errno}", shown(path)),
    )
}

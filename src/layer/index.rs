//! The index: a directory beside the work directory with one entry for each lower file of several names that was
//! copied up. The entry is one more link of the upper inode, and its name is the file handle of the lower file: so
//! every lower name leads to the copy, whether or not the upper layer has that name (overlay-semantics 14.2).
//!
//! Invariant: the index belongs to one upper layer over one top-most lower. Marks on the roots say which, and
//! [`IndexDir::claim`] refuses others: handles would mean other files there (14.3).

use std::fmt::Write;
use std::sync::Arc;

use super::keys::{Key, Namespace};
use super::layer::{Layer, LayerError, Problem, UpperLayer};
use super::mark::is_whiteout_device;
use super::nlink::Names;
use super::origin::{self, Handle, Uuid};
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::remove::remove_tree;
use crate::sys::stat::Stat;
use crate::sys::xattr::XattrMode;

/// The `index` directory inside the user's `workdir`.
#[derive(Debug)]
pub struct IndexDir {
    /// The directory.
    pub dir: Arc<DirFd>,
    marks: Namespace,
}

/// What a look at an entry says of it.
enum Verdict {
    Good,
    /// What it stood for is gone.
    Dead(&'static str),
}

impl IndexDir {
    /// Opens the index, made if there is none, for the layers it belongs to, and removes what is dead in it.
    ///
    /// # Errors
    /// Layers that it does not belong to (ESTALE in the kernel); an entry that is none (18.5); those of the disk.
    pub fn claim(
        upper: &UpperLayer,
        lowers: &[Layer],
        marks: Namespace,
    ) -> std::result::Result<IndexDir, LayerError> {
        let fail = |layer: &Layer, errno| layer.error(Problem::Errno(errno));
        let top = lowers
            .first()
            .ok_or_else(|| fail(&upper.layer, Errno::EINVAL))?;
        let (root, below) = (upper.layer.root.at(), top.root.at());
        match belongs(
            root,
            marks.name(Key::Origin),
            &origin::encode(below, top.uuid),
        ) {
            Err(Errno::ESTALE) => return Err(upper.layer.error(Problem::Text(OTHER_LOWER))),
            result => result.map_err(|errno| fail(&upper.layer, errno))?,
        }
        let dir = open_or_make(&upper.work.root).map_err(|errno| fail(&upper.work, errno))?;
        let owner = origin::encode_upper(root, upper.layer.uuid);
        match belongs(dir.at(), marks.name(Key::Upper), &owner) {
            Err(Errno::ESTALE) => return Err(upper.work.error(Problem::Text(OTHER_UPPER))),
            result => result.map_err(|errno| fail(&upper.work, errno))?,
        }
        let index = IndexDir {
            dir: Arc::new(dir),
            marks,
        };
        index
            .clean(lowers)
            .map_err(|(entry, errno)| upper.work.error(Problem::Entry(entry, errno)))?;
        Ok(index)
    }

    /// The index of layers that are only looked at: as it is, and only if it belongs to them.
    ///
    /// # Errors
    /// As [`IndexDir::claim`].
    pub fn open_read_only(
        work: &Layer,
        upper: &Layer,
        lower: &Layer,
        marks: Namespace,
    ) -> std::result::Result<Option<IndexDir>, LayerError> {
        let fail = |errno| work.error(Problem::Errno(errno));
        let dir = match Name::new(INDEX).and_then(|name| work.root.open_dir(&name)) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(fail(errno)),
        };
        let value = |at: At<'_>, key| at.get_xattr(marks.name(key)).map_err(fail);
        let origin = value(upper.root.at(), Key::Origin)?;
        if origin != Some(origin::encode(lower.root.at(), lower.uuid)) {
            return Err(upper.error(Problem::Text(OTHER_LOWER)));
        }
        let owner = value(dir.at(), Key::Upper)?;
        if owner != Some(origin::encode_upper(upper.root.at(), upper.uuid)) {
            return Err(work.error(Problem::Text(OTHER_UPPER)));
        }
        let dir = Arc::new(dir);
        Ok(Some(IndexDir { dir, marks }))
    }

    /// What the index has under a name.
    ///
    /// # Errors
    /// EIO for a directory or a whiteout, which no file with several names can have; those of statx.
    pub fn find(&self, entry: &Name) -> Result<Option<Stat>> {
        match At::child(&self.dir, entry).stat() {
            Ok(stat) if stat.is_dir() || is_whiteout_device(&stat) => Err(Errno::EIO),
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The `origin` mark of an upper object.
    ///
    /// # Errors
    /// Those of getxattr.
    pub fn origin(&self, at: At<'_>) -> Result<Option<Vec<u8>>> {
        at.get_xattr(self.marks.name(Key::Origin))
    }

    /// The entry that an upper object is a link of: `origin` is its mark.
    ///
    /// # Errors
    /// As [`IndexDir::find`].
    pub fn entry_of_copy(&self, origin: &[u8], stat: &Stat) -> Result<Option<Name>> {
        let Some(entry) = entry_of_origin(origin) else {
            return Ok(None);
        };
        let found = self.find(&entry)?;
        let same = found.is_some_and(|found| (found.dev, found.ino) == (stat.dev, stat.ino));
        Ok(same.then_some(entry))
    }

    /// How many names an indexed file has; the links of the entry's inode where the mark says nothing (14.2).
    /// `lower` is asked for the links of the lower inode where the count is relative to those.
    ///
    /// # Errors
    /// Those of reading the mark.
    pub fn names(
        &self,
        entry: &Name,
        stat: &Stat,
        lower: impl FnOnce() -> Option<u32>,
    ) -> Result<u32> {
        let mark = self.mark(entry)?;
        let lower = match mark {
            Some(Names::ThanLower(_)) => lower(),
            _ => None,
        };
        let count = mark.and_then(|names| names.count(stat.nlink, lower));
        Ok(count.filter(|count| *count > 0).unwrap_or_else(|| {
            log::warn!("index entry {entry:?}: no count of names");
            stat.nlink
        }))
    }

    /// The mark with the count of names.
    ///
    /// # Errors
    /// Those of getxattr.
    pub fn mark(&self, entry: &Name) -> Result<Option<Names>> {
        let value = At::child(&self.dir, entry).get_xattr(self.marks.name(Key::Nlink))?;
        Ok(value.as_deref().and_then(Names::from_mark))
    }

    /// Writes the count of names on an upper inode.
    ///
    /// # Errors
    /// Those of setxattr.
    pub fn set_mark(&self, at: At<'_>, names: Names) -> Result<()> {
        let value = names.to_mark();
        at.set_xattr(
            self.marks.name(Key::Nlink),
            value.as_bytes(),
            XattrMode::Any,
        )
    }

    /// Removes what a crash or a change behind our back left. The error names the entry that stands in the way.
    fn clean(&self, lowers: &[Layer]) -> std::result::Result<(), (Vec<u8>, Errno)> {
        let list = self.entries().map_err(|errno| (Vec::new(), errno))?;
        for entry in list {
            let fail = |errno| (entry.as_bytes().to_vec(), errno);
            // What the kernel was making here.
            let verdict = match entry.as_bytes().starts_with(b"#") {
                true => Ok(Verdict::Dead("unfinished")),
                false => self.judge(&entry, lowers),
            };
            if let Verdict::Dead(why) = verdict.map_err(fail)? {
                log::debug!("index entry {entry:?} removed: {why}");
                remove_tree(&self.dir, &entry).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Name>> {
        let mut entries = Vec::new();
        self.dir.at().open_dir_file()?.for_each_entry(|entry| {
            entries.push(Name::new(entry.name)?);
            Ok(())
        })?;
        Ok(entries)
    }

    /// Does an entry still stand for something? As the kernel, in the same order.
    fn judge(&self, entry: &Name, lowers: &[Layer]) -> Result<Verdict> {
        let value = from_hex(entry.as_bytes()).ok_or(Errno::EINVAL)?;
        Handle::parse(&value)?;
        let at = At::child(&self.dir, entry);
        let stat = at.stat()?;
        // Those of `nfs_export=on`: whiteouts stand for what was removed, directories are expensive to verify.
        if is_whiteout_device(&stat) || stat.is_dir() {
            return Ok(Verdict::Good);
        }
        match self.origin(at)? {
            None => return Err(Errno::ENODATA),
            Some(origin) if origin != value => return Ok(Verdict::Dead("of another file")),
            Some(_) => {}
        }
        if stat.nlink > 1 {
            return Ok(Verdict::Good);
        }
        // Nothing in the upper has it: do the layers below?
        let Some(lower) = open_origin(lowers, &value)? else {
            return Ok(Verdict::Dead("of a file that is gone"));
        };
        if lower.kind != stat.kind {
            return Err(Errno::EIO);
        }
        let mark = self.mark(entry)?.filter(|_| lower.nlink > 1);
        let names = mark.and_then(|names| names.count(stat.nlink, Some(lower.nlink)));
        Ok(match names {
            None | Some(0) => Verdict::Dead("no name is left"),
            Some(_) => Verdict::Good,
        })
    }
}

const INDEX: &[u8] = b"index";
const OTHER_LOWER: &str = "was made over another lower layer (Stale file handle); \
    index=off does without the index";
const OTHER_UPPER: &str = "the index in it belongs to another upper layer (Stale file handle); \
    remove index/ in it, or mount with index=off";

/// Why these layers cannot have an index; `None` if they can. As the kernel, the mount goes on without one then.
pub fn unsupported(upper: &UpperLayer, lowers: &[Layer]) -> Option<&'static str> {
    let handle = match upper.layer.root.at().handle() {
        Ok(handle) => handle,
        Err(_) => return Some("the upper filesystem has no file handles"),
    };
    if upper.layer.root.open_handle(handle.0, &handle.1).is_err() {
        return Some("opening file handles needs CAP_DAC_READ_SEARCH in the first user namespace");
    }
    for (at, lower) in lowers.iter().enumerate() {
        if lower.root.at().handle().is_err() {
            return Some("the filesystem of a lower layer has no file handles");
        }
        let (Some(_), Some(_)) = (lower.uuid, upper.layer.uuid) else {
            return Some("the UUID of a layer's filesystem is unknown");
        };
        let clash = |other: &Layer| other.uuid == lower.uuid && other.stat.dev != lower.stat.dev;
        if lowers.iter().take(at).any(clash) {
            return Some("filesystems of lower layers share one UUID");
        }
    }
    None
}

/// The entry of a lower file.
///
/// # Errors
/// EOPNOTSUPP where the filesystem gives no handle for it.
pub fn entry_of(lower: At<'_>, uuid: Option<Uuid>) -> Result<Name> {
    entry_of_origin(&origin::encode(lower, uuid)).ok_or(Errno::EOPNOTSUPP)
}

/// The entry of the lower file that an `origin` mark names; `None` for one that names none.
fn entry_of_origin(origin: &[u8]) -> Option<Name> {
    Handle::parse(origin).ok()?;
    let mut hex = String::with_capacity(2 * origin.len());
    for byte in origin {
        write!(hex, "{byte:02x}").ok()?;
    }
    Name::new(hex.as_bytes()).ok()
}

/// The lower file that an entry stands for; `None` when it is gone.
///
/// # Errors
/// Those of opening it.
pub fn origin_of(lowers: &[Layer], entry: &Name) -> Result<Option<Stat>> {
    match from_hex(entry.as_bytes()) {
        Some(value) => open_origin(lowers, &value),
        None => Ok(None),
    }
}

fn open_origin(lowers: &[Layer], value: &[u8]) -> Result<Option<Stat>> {
    let handle = Handle::parse(value)?;
    for lower in lowers.iter().filter(|l| l.uuid == Some(handle.uuid)) {
        match lower.root.open_handle(handle.kind, handle.body) {
            Ok(object) => return object.at().stat().map(Some),
            Err(Errno::ESTALE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (pairs, rest) = text.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// Does a mark say `value`? One that is missing, or says nothing, is written.
fn belongs(at: At<'_>, name: &std::ffi::CStr, value: &[u8]) -> Result<()> {
    match at.get_xattr(name)? {
        Some(old) if Handle::parse(&old).is_ok() && old != value => Err(Errno::ESTALE),
        Some(old) if old == value => Ok(()),
        _ => at.set_xattr(name, value, XattrMode::Any),
    }
}

fn open_or_make(work: &DirFd) -> Result<DirFd> {
    let name = Name::new(INDEX)?;
    match work.mkdir(&name, 0) {
        Ok(()) | Err(Errno::EEXIST) => work.open_dir(&name),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t081_entries_are_named_by_lower_case_hex() {
        let origin = [
            &[0, 0xfb, 29, 0, 1][..],
            &[0xab; 16],
            &[7, 0, 0, 0, 9, 9, 9, 9],
        ]
        .concat();
        let entry = entry_of_origin(&origin).unwrap();
        let text = std::str::from_utf8(entry.as_bytes()).unwrap();
        assert!(text.starts_with("00fb1d0001abab") && text.ends_with("0700000009090909"));
        assert_eq!(from_hex(entry.as_bytes()), Some(origin));
        assert_eq!(entry_of_origin(b"garbage"), None);
        for bad in [&b"0"[..], b"0g", b"#1a"] {
            assert_eq!(from_hex(bad), None);
        }
    }
}

//! Are two objects the same, to whoever looks at them?

use crate::layer::{keys, stat_override};
use crate::store::merged::Found;
use crate::sys::at::At;
use crate::sys::errno::Result as SysResult;
use crate::sys::stat::FileType;

/// Nobody can tell two objects apart, but for the times of directories: what changes these is told anyway. Times that
/// an archive cut to seconds prove nothing, so then the data is compared.
pub(super) fn is_same(old: &Found, new: &Found) -> SysResult<bool> {
    let (a, b) = (&old.stat, &new.stat);
    if (a.dev, a.ino) == (b.dev, b.ino) {
        return Ok(true);
    }
    if (a.kind, a.perm, a.uid, a.gid, a.rdev) != (b.kind, b.perm, b.uid, b.gid, b.rdev) {
        return Ok(false);
    }
    if a.kind != FileType::Dir {
        let exact = a.mtime.nsec != 0 && b.mtime.nsec != 0;
        if a.mtime.sec != b.mtime.sec || (exact && a.mtime != b.mtime) || a.size != b.size {
            return Ok(false);
        }
        if a.kind == FileType::Symlink && old.at().read_link()? != new.at().read_link()? {
            return Ok(false);
        }
        if a.kind == FileType::File && !exact && !same_data(old, new)? {
            return Ok(false);
        }
    }
    Ok(xattrs(old.at())? == xattrs(new.at())?)
}

fn same_data(old: &Found, new: &Found) -> SysResult<bool> {
    const PIECE_BYTES: usize = 128 << 10;
    if old.stat.size == 0 {
        return Ok(true);
    }
    let (old, new) = (old.open()?, new.open()?);
    let (mut a, mut b) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut offset = 0;
    loop {
        let (left, right) = (old.read_at(&mut a, offset)?, new.read_at(&mut b, offset)?);
        if a[..left] != b[..right] {
            return Ok(false);
        }
        if left == 0 {
            return Ok(true);
        }
        offset += left as u64;
    }
}

/// The attributes of an object that belong to it, by the names that users know, sorted.
///
/// # Errors
/// Those of reading attributes.
pub fn xattrs(at: At<'_>) -> SysResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in at.list_xattrs()?.iter() {
        let Some(shown) = keys::shown(name) else {
            continue;
        };
        // What the system made for itself (labels) is none of the object's.
        if stat_override::is_name(name) || name == c"security.selinux" {
            continue;
        }
        if let Some(value) = at.get_xattr(name)? {
            found.push((shown.to_bytes().to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

//! Equal files share their blocks, where the filesystem can: they stay files of their own, so path, attributes and who
//! stands on the layer do not matter, and the kernel compares the bytes.

use std::collections::BTreeMap;

use super::{DedupOptions, Deduped, Part};
use crate::store::error::{Error, Kind, Result};
use crate::store::index::{Hash, open_quietly};
use crate::store::watch::{Phase, Watch, tell};
use crate::sys::at::At;
use crate::sys::errno::{self, Errno};
use crate::sys::file::FileFd;
use crate::sys::resolve::split_last;
use crate::sys::stat::{FileType, Stat};

/// Less than a block cannot be shared.
const SIZE_MIN: u64 = 4096;

/// Where a file is: number of the layer, path.
type Place<'a> = (usize, &'a [u8]);

/// Makes equal files of all these layers share their blocks.
///
/// # Errors
/// Those that are no reason to leave a file alone.
pub(super) fn share_equal(
    parts: &[Part],
    options: &DedupOptions,
    watch: &dyn Watch,
) -> Result<Deduped> {
    let mut equal: BTreeMap<(u64, Hash), Vec<Place<'_>>> = BTreeMap::new();
    let smallest = options.min_size.max(SIZE_MIN);
    for (number, part) in parts.iter().enumerate() {
        let records = part.index.records();
        for record in
            records.filter(|record| record.kind == FileType::File && record.size >= smallest)
        {
            if let Some(content) = record.content {
                let places = equal.entry((record.size, content)).or_default();
                places.push((number, record.path));
            }
        }
    }
    watch.begin(Phase::Dedup, None);
    let mut report = Deduped::default();
    for ((size, _), places) in equal.iter().filter(|(_, places)| places.len() > 1) {
        let mut first: Option<(FileFd, Stat)> = None;
        for &(number, path) in places {
            tell(watch, *size, 1)?;
            let done = open(&parts[number], path, *size).and_then(|file| match &first {
                None => {
                    first = Some(file);
                    Ok(None)
                }
                Some(first) => share(first, &file, options.dry_run).map(Some),
            });
            match done {
                Ok(None | Some(Shared::Already)) => {}
                Ok(Some(Shared::Now)) => report.shared.add(*size),
                Ok(Some(Shared::NotEqual)) => report.skip("not equal to what its index says"),
                Err(Errno::EPERM | Errno::EACCES | Errno::EROFS) => report.skip("not permitted"),
                Err(Errno::EXDEV | Errno::EINVAL | Errno::EOPNOTSUPP) => {
                    report.skip("blocks cannot be shared");
                }
                Err(errno) => {
                    let path = path.escape_ascii();
                    let text = format!("cannot share blocks of {path} of a layer: {errno}");
                    return Err(Error::new(Kind::Other, text));
                }
            }
        }
    }
    Ok(report)
}

enum Shared {
    Already,
    Now,
    NotEqual,
}

fn open(part: &Part, path: &[u8], size: u64) -> errno::Result<(FileFd, Stat)> {
    let (dir, name) = split_last(path)?;
    let dir = part.root.open_beneath(dir)?;
    let file = open_quietly(At::child(&dir, &name))?;
    let stat = file.stat()?;
    match stat.kind == FileType::File && stat.size == size {
        true => Ok((file, stat)),
        false => Err(Errno::EINVAL),
    }
}

fn share(from: &(FileFd, Stat), to: &(FileFd, Stat), dry_run: bool) -> errno::Result<Shared> {
    let identity = |stat: &Stat| (stat.dev, stat.ino);
    if identity(&from.1) == identity(&to.1) || from.0.shares_blocks_with(&to.0) {
        return Ok(Shared::Already);
    }
    match dry_run || from.0.dedupe_to(&to.0, from.1.size)? {
        true => Ok(Shared::Now),
        false => Ok(Shared::NotEqual),
    }
}

//! A directory of ours as an archive: an OCI layout becomes an `oci-archive`. Equal directories give equal archives.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use crate::store::error::{OrAt, Result};
use crate::store::files::write_file;
use crate::store::recipe::cannot_write;
use crate::store::remarks::Remarks;
use crate::store::tar::write::TarWriter;
use crate::store::tar::{Entry, EntryKind};
use crate::sys::stat::{Rdev, Time};

/// Bytes read and written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Packs a directory of ours into an archive that says nothing of when and by whom.
pub(super) fn pack(dir: &Path, file: &Path) -> Result<()> {
    write_file(file, |sink| {
        let mut archive = TarWriter::new(sink);
        pack_dir(dir, "", &mut archive)?;
        let sink = archive.finish().map_err(cannot_write)?;
        sink.flush().map_err(cannot_write)?;
        Ok(Remarks::default())
    })
    .map(drop)
}

fn pack_dir(
    dir: &Path,
    prefix: &str,
    archive: &mut TarWriter<&mut (dyn Write + Send)>,
) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).or_at("cannot read", dir)? {
        names.push(entry.or_at("cannot read", dir)?.file_name());
    }
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let is_dir = path.is_dir();
        let shown = format!("{prefix}{}", name.to_string_lossy());
        let size = fs::metadata(&path).or_at("cannot read", &path)?.len();
        let entry = Entry {
            path: if is_dir {
                format!("{shown}/")
            } else {
                shown.clone()
            }
            .into_bytes(),
            kind: if is_dir {
                EntryKind::Dir
            } else {
                EntryKind::File
            },
            perm: if is_dir { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: if is_dir { 0 } else { size },
            link: Vec::new(),
            rdev: Rdev::default(),
            xattrs: Vec::new(),
        };
        archive.entry(&entry).map_err(cannot_write)?;
        if is_dir {
            pack_dir(&path, &format!("{shown}/"), archive)?;
            continue;
        }
        let file = fs::File::open(&path).or_at("cannot read", &path)?;
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer).or_at("cannot read", &path)? {
                0 => break,
                got => archive.data(&buffer[..got]).map_err(cannot_write)?,
            }
        }
    }
    Ok(())
}

//! Files outside of the store: archives that come and go.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

use super::error::{Error, Kind, OrAt, Result};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// A file to read an archive from; `-` is standard input.
///
/// # Errors
/// [`Kind::NotFound`], and those of open.
pub fn source(path: &Path) -> Result<Box<dyn Read + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::at(
            Kind::NotFound,
            "no file",
            path,
            "it is not there",
        )),
        result => Ok(Box::new(result.or_at("cannot read", path)?)),
    }
}

/// Writes a file as a whole: if that fails it is not there.
///
/// # Errors
/// Those of writing.
pub fn write_file<T>(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T>,
) -> Result<T> {
    let is_other = path.symlink_metadata().is_ok_and(|there| !there.is_file());
    if is_other {
        // A pipe, a device, a link: written to, never replaced.
        let file = File::create(path).or_at("cannot write", path)?;
        let mut sink = BufWriter::with_capacity(BUFFER_BYTES, file);
        let written = write(&mut sink)?;
        sink.flush().or_at("cannot write", path)?;
        return Ok(written);
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(dir).or_at("cannot write to", dir)?;
    let mut sink = BufWriter::with_capacity(BUFFER_BYTES, file.as_file_mut());
    let written = write(&mut sink)?;
    sink.flush().or_at("cannot write", path)?;
    drop(sink);
    keep(file, path)?;
    Ok(written)
}

/// Gives a complete file its name, and the usual mode.
///
/// # Errors
/// Those of renaming.
pub(super) fn keep(file: NamedTempFile, path: &Path) -> Result<()> {
    let mode = Permissions::from_mode(0o644);
    file.as_file()
        .set_permissions(mode)
        .or_at("cannot write", path)?;
    file.persist(path)
        .map_err(|e| e.error)
        .or_at("cannot write", path)?;
    Ok(())
}

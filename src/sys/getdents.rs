//! Reading a directory with one buffer.

use rustix::fs::RawDir;

use super::errno::Result;
use super::file::FileFd;
use super::stat::FileType;

/// Bytes asked for at a time.
const BUFFER_BYTES: usize = 32 * 1024;

/// One entry as getdents64(2) gives it.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// The name; never `.` or `..`.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// Type, `None` where the filesystem does not tell (DT_UNKNOWN).
    pub kind: Option<FileType>,
}

impl FileFd {
    /// Calls `each` for every entry from the fd's position on, without `.` and `..`.
    ///
    /// # Errors
    /// Those of getdents64, and what `each` returns.
    pub fn for_each_entry(&self, mut each: impl FnMut(DirEntry<'_>) -> Result<()>) -> Result<()> {
        let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER_BYTES);
        let mut entries = RawDir::new(self, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                let kind = FileType::from_mode(entry.file_type().as_raw_mode());
                each(DirEntry {
                    name,
                    ino: entry.ino(),
                    kind,
                })?;
            }
        }
        Ok(())
    }
}

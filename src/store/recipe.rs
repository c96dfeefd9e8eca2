//! The tar recipe of a layer that came as an archive: all of the archive but the data of its files, which the layer
//! has. With it the archive is put together again, byte for byte.
//!
//! Two things in the meta of a layer: `tar.recipe`, a zstd stream of records, and, if an archive has an entry more
//! than once, `tar.lost/N`: the data of file number N of the archive, which a later entry replaced.
//!
//! | record | meaning |
//! |---|---|
//! | `R` length bytes | these bytes |
//! | `F` size length path | the data of the next file, which is so big and is there in the layer |
//! | `S` size count (offset length)... length path | the same of a file with holes: only these stretches are in the archive |
//! | `E` | the end |
//!
//! Lengths and sizes are eight bytes, little endian.

use std::fs;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::error::{Error, Kind, OrAt, Result};
use super::tar::read::shown;
use super::tar::sparse::{Sparse, Stretch};
use super::watch::{Watch, tell};
use crate::sys::at::{At, OpenMode};
use crate::sys::dir::{DirFd, RenameMode};
use crate::sys::errno::Errno;
use crate::sys::file::FileFd;
use crate::sys::name::Name;
use crate::sys::resolve::split_last;

const FILE: &str = "tar.recipe";
const LOST: &str = "tar.lost";
/// How hard zstd tries.
const LEVEL: i32 = 3;
/// Raw bytes gathered before they become a record.
const RAW_BYTES_MAX: usize = 64 << 10;
/// Longest stretch of one record: longer is no recipe of ours.
const RECORD_BYTES_MAX: u64 = 4 << 20;
const PIECE_BYTES: usize = 256 << 10;

/// Writes a recipe.
pub struct Recorder {
    dir: PathBuf,
    out: zstd::Encoder<'static, BufWriter<fs::File>>,
    raw: Vec<u8>,
    files: u64,
    lost: Option<DirFd>,
}

impl Recorder {
    /// Into a directory that exists: the meta of a layer in the making.
    ///
    /// # Errors
    /// Those of making files.
    pub fn create(dir: &Path) -> Result<Recorder> {
        let path = dir.join(FILE);
        let file = fs::File::create_new(&path).or_at("cannot make", &path)?;
        let out = zstd::Encoder::new(BufWriter::new(file), LEVEL).or_at("cannot write", &path)?;
        Ok(Recorder {
            dir: dir.to_path_buf(),
            out,
            raw: Vec::new(),
            files: 0,
            lost: None,
        })
    }

    /// Bytes of the archive that are no file's data.
    ///
    /// # Errors
    /// Those of writing.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.raw.extend_from_slice(bytes);
        if self.raw.len() >= RAW_BYTES_MAX {
            self.flush_raw()?;
        }
        Ok(())
    }

    /// The data of a file comes now, and is at `path` of the layer. Gives its number.
    ///
    /// # Errors
    /// Those of writing.
    pub fn file(&mut self, path: &[u8], size: u64) -> Result<u64> {
        self.flush_raw()?;
        let record = [
            &b"F"[..],
            &size.to_le_bytes(),
            &(path.len() as u64).to_le_bytes(),
            path,
        ];
        self.write(&record.concat())?;
        self.files += 1;
        Ok(self.files - 1)
    }

    /// Keeps the data of a file that is about to be removed, here.
    ///
    /// # Errors
    /// Those of renaming.
    pub fn rescue(&mut self, number: u64, dir: &DirFd, name: &Name) -> Result<()> {
        let path = self.dir.join(LOST);
        let place = match &self.lost {
            Some(place) => place,
            None => {
                fs::create_dir(&path).or_at("cannot make", &path)?;
                self.lost
                    .insert(DirFd::open(&path).or_at("cannot open", &path)?)
            }
        };
        let to = Name::new(number.to_string().as_bytes()).or_at("cannot keep", &path)?;
        let kept = match dir.rename(name, place, &to, RenameMode::NoReplace) {
            // The tree is a subvolume: who calls removes what is there.
            Err(Errno::EXDEV) => copy_aside(dir, name, place, &to),
            result => result,
        };
        kept.or_at("cannot keep a replaced file in", &path)
    }

    /// The archive is complete.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<()> {
        self.flush_raw()?;
        self.write(b"E")?;
        let path = self.dir.join(FILE);
        let finished = self.out.finish().and_then(|mut file| file.flush());
        finished.or_at("cannot write", &path)
    }

    /// The same of a file with holes.
    ///
    /// # Errors
    /// Those of writing.
    pub fn sparse_file(&mut self, path: &[u8], sparse: &Sparse) -> Result<u64> {
        self.flush_raw()?;
        let mut record = b"S".to_vec();
        let mut put = |number: u64| record.extend_from_slice(&number.to_le_bytes());
        put(sparse.size);
        put(sparse.stretches.len() as u64);
        for stretch in &sparse.stretches {
            put(stretch.offset);
            put(stretch.len);
        }
        put(path.len() as u64);
        record.extend_from_slice(path);
        self.write(&record)?;
        self.files += 1;
        Ok(self.files - 1)
    }

    fn flush_raw(&mut self) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let raw = std::mem::take(&mut self.raw);
        for piece in raw.chunks(RECORD_BYTES_MAX as usize) {
            self.write(&[&b"R"[..], &(piece.len() as u64).to_le_bytes()].concat())?;
            self.write(piece)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join(FILE);
        self.out.write_all(bytes).or_at("cannot write", &path)
    }
}

/// Is there a recipe in the meta of a layer?
///
/// # Errors
/// Those of looking.
pub fn exists(meta: &Path) -> Result<bool> {
    super::staging::is_there(&meta.join(FILE))
}

/// Writes the archive again. `meta` has the recipe, `tree` the files.
///
/// # Errors
/// [`Kind::Corrupt`] when either is damaged; those of writing.
pub fn replay(meta: &Path, tree: &DirFd, sink: &mut dyn Write, watch: &dyn Watch) -> Result<()> {
    let path = meta.join(FILE);
    let damaged = |why: &dyn std::fmt::Display| Error::at(Kind::Corrupt, "damaged:", &path, why);
    let file = fs::File::open(&path).or_at("cannot read", &path)?;
    let mut recipe = zstd::Decoder::new(file)
        .map(BufReader::new)
        .or_at("cannot read", &path)?;
    let mut number = 0_u64;
    loop {
        let mut tag = [0];
        recipe.read_exact(&mut tag).map_err(|e| damaged(&e))?;
        match tag {
            [b'R'] => {
                let bytes = sized(&mut recipe).map_err(|e| damaged(&e))?;
                sink.write_all(&bytes).map_err(cannot_write)?;
            }
            [b'F'] => {
                let size = length(&mut recipe).map_err(|e| damaged(&e))?;
                let place = sized(&mut recipe).map_err(|e| damaged(&e))?;
                let lost = meta.join(LOST).join(number.to_string());
                tell(watch, size, 1)?;
                let all = Stretch {
                    offset: 0,
                    len: size,
                };
                copy_file(&lost, tree, &place, size, &[all], sink)?;
                number += 1;
            }
            [b'S'] => {
                let size = length(&mut recipe).map_err(|e| damaged(&e))?;
                let stretches = stretches(&mut recipe).map_err(|e| damaged(&e))?;
                let place = sized(&mut recipe).map_err(|e| damaged(&e))?;
                let lost = meta.join(LOST).join(number.to_string());
                tell(watch, stretches.iter().map(|s| s.len).sum(), 1)?;
                copy_file(&lost, tree, &place, size, &stretches, sink)?;
                number += 1;
            }
            [b'E'] => return Ok(()),
            _ => return Err(damaged(&"an unknown record")),
        }
    }
}

fn length(recipe: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    recipe.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn stretches(recipe: &mut impl Read) -> io::Result<Vec<Stretch>> {
    let mut stretches = Vec::new();
    for _ in 0..length(recipe)? {
        let (offset, len) = (length(recipe)?, length(recipe)?);
        stretches.push(Stretch { offset, len });
    }
    Ok(stretches)
}

fn sized(recipe: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = length(recipe)?;
    if length > RECORD_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Checked above to be small.
    let mut bytes = vec![0; length as usize];
    recipe.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes these stretches of one file, which is exactly `size` bytes.
fn copy_file(
    lost: &Path,
    tree: &DirFd,
    path: &[u8],
    size: u64,
    stretches: &[Stretch],
    sink: &mut dyn Write,
) -> Result<()> {
    let damaged = |why: &dyn std::fmt::Display| {
        Error::new(
            Kind::Corrupt,
            format!("damaged layer: {}: {why}", shown(path)),
        )
    };
    let file = match open_lost(lost) {
        Err(Errno::ENOENT) => open(tree, path),
        result => result,
    };
    let file = file.map_err(|errno| damaged(&errno))?;
    let resized = || damaged(&"its size is not what it was");
    if file.stat().map_err(|e| damaged(&e))?.size != size {
        return Err(resized());
    }
    let mut buffer = vec![0; PIECE_BYTES];
    for &Stretch { offset, len } in stretches {
        let mut done = 0;
        while done < len {
            let most = usize::try_from(len - done).unwrap_or(usize::MAX);
            let piece = &mut buffer[..most.min(PIECE_BYTES)];
            let got = file.read_at(piece, offset.saturating_add(done));
            let got = got.map_err(|e| damaged(&e))?;
            if got == 0 {
                return Err(resized());
            }
            sink.write_all(&buffer[..got]).map_err(cannot_write)?;
            done += got as u64;
        }
    }
    Ok(())
}

fn copy_aside(dir: &DirFd, name: &Name, place: &DirFd, to: &Name) -> Result<(), Errno> {
    let from = At::child(dir, name).open_file(OpenMode::READ)?;
    let to = place.create_file(to, OpenMode::WRITE, 0o600)?;
    from.copy_data_to(&to, from.stat()?.size)
}

fn open_lost(path: &Path) -> Result<FileFd, Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::ENOENT);
    };
    let dir = DirFd::open(parent)?;
    At::child(&dir, &Name::from_os(name)?).open_file(OpenMode::READ)
}

fn open(tree: &DirFd, path: &[u8]) -> Result<FileFd, Errno> {
    let (parent, name) = split_last(path)?;
    At::child(&tree.open_beneath(parent)?, &name).open_file(OpenMode::READ)
}

/// Of what went wrong at the two ends of a pipe, the reason: a writer whose reader is gone has none of his own.
pub fn of_pipe<A, B>(written: Result<A>, read: Result<B>) -> Result<(A, B)> {
    let gone = cannot_write(io::Error::from_raw_os_error(Errno::EPIPE.raw()));
    match (written, read) {
        (Err(error), Err(reason)) if error == gone => Err(reason),
        (written, read) => Ok((written?, read?)),
    }
}

/// Writing an archive failed.
pub fn cannot_write(error: io::Error) -> Error {
    let why = Errno::from(error);
    Error::new(Kind::Other, format!("cannot write the archive: {why}"))
}

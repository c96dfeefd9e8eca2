//! From an archive to a tree: [`apply`].
//!
//! The archive is an enemy's. Whatever it says, nothing outside the tree is touched: each name is resolved to a
//! directory beneath the root first, links followed as if the root were `/`, then one component is worked on that is
//! never followed. An archive that makes no sense is refused as a whole, and who called throws the tree away.
//!
//! Rules: `.wh.NAME` removes what the layers below have of that name, `.wh..wh..opq` all that they have in its
//! directory, and neither touches what this archive brings, wherever in it. Of two entries of one name the later one
//! counts. A directory entry over a directory only sets its attributes. Owners, modes, times, attributes are those of
//! the archive, whatever the umask.
//!
//! Read this file, then `place` (where an entry goes), `object` (what is made there), `attributes`, `marks`, `limits`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use super::blob::{BlobInfo, BlobReader};
use super::digest::Digest;
use super::error::{Error, Kind, OrAt, Result};
use super::index::Known;
use super::merged::MergedDir;
use super::recipe::Recorder;
use super::remarks::Remarks;
use super::tar::Entry;
use super::tar::read::{End, TarReader, shown};
use super::watch::{Phase, Watch, interrupted, tell};
use crate::layer::keys::Namespace;
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::process::effective_ids;
use crate::sys::stat::Time;

mod attributes;
mod limits;
mod marks;
mod object;
mod place;

pub use limits::Limits;
use limits::Meter;
use place::Place;

/// Bytes read and written at a time.
const PIECE_BYTES: usize = 256 << 10;

/// What the tree is.
#[derive(Clone, Debug)]
pub enum TreeForm {
    /// The difference to the layers below: what is removed gets a mark.
    Difference {
        /// In which attributes.
        marks: Namespace,
        /// The layers below, seen together.
        below: Option<MergedDir>,
    },
    /// A copy of all that is below, to be changed.
    Whole,
}

/// What to do with a device where none may be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    /// Keep it as an attribute of an empty file, as container engines do.
    #[default]
    Record,
    /// Leave it out.
    Skip,
    /// Refuse the archive.
    Refuse,
}

/// How to unpack.
pub struct ApplyOptions<'a> {
    /// What may be unpacked.
    pub limits: Limits,
    /// What to do with devices.
    pub devices: Devices,
    /// An attribute that cannot be set is an error.
    pub strict_xattrs: bool,
    /// What the digests must be.
    pub expected: Expected,
    /// Where to write the recipe to: the meta of the layer.
    pub recipe: Option<&'a Path>,
    /// Hash what is written, for an index.
    pub hashes: bool,
    /// Who looks on.
    pub watch: &'a dyn Watch,
}

/// Digests known before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// Of the blob.
    pub blob: Option<Digest>,
    /// Bytes of the blob.
    pub size: Option<u64>,
    /// Of what is packed in it.
    pub diff_id: Option<Digest>,
}

/// What was unpacked.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The digests.
    pub blob: BlobInfo,
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of data in it.
    pub bytes: u64,
    /// What could not be as the archive has it.
    pub remarks: Remarks,
    /// Hashes of the files.
    pub known: Known,
}

/// Unpacks a blob over the directory `root`.
///
/// # Errors
/// [`Kind::Corrupt`] for an archive that is damaged, lies, or tries to get out; [`Kind::Other`] when the machine does
/// not play along. The tree is of no use then.
pub fn apply(
    root: &DirFd,
    form: TreeForm,
    source: Box<dyn Read + Send>,
    options: &ApplyOptions<'_>,
) -> Result<Applied> {
    options.watch.begin(Phase::Unpack, None);
    let mut archive = TarReader::new(BlobReader::new(source, options.watch));
    let mut unpacker = Unpacker::new(root, form, options)?;
    let unpacked = unpacker.run(&mut archive);
    let blob = match unpacked {
        Ok(()) => archive.source().info()?,
        // Why it stopped is why the archive seemed to end.
        Err(_) if options.watch.is_stopped() => return Err(interrupted()),
        Err(error) => return Err(error),
    };
    check(options.expected, &blob, archive.end())?;
    if let Some(recipe) = unpacker.recipe.take() {
        recipe.finish()?;
    }
    Ok(Applied {
        blob,
        entries: unpacker.meter.entries,
        bytes: unpacker.meter.bytes,
        remarks: unpacker.remarks,
        known: unpacker.known,
    })
}

fn check(expected: Expected, blob: &BlobInfo, end: Option<End>) -> Result<()> {
    let corrupt = |text: String| Err(Error::new(Kind::Corrupt, text));
    let digests = [
        ("digest", expected.blob, blob.digest),
        ("diffID", expected.diff_id, blob.diff_id),
    ];
    for (what, wanted, is) in digests {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != is) {
            return corrupt(format!("the {what} of the layer is {is}, not {wanted}"));
        }
    }
    if let Some(wanted) = expected.size.filter(|wanted| *wanted != blob.size) {
        return corrupt(format!("the layer has {} bytes, not {wanted}", blob.size));
    }
    // Some archives never had an end mark. Only a digest tells these from ones that were cut off.
    let known = expected.blob.is_some() || expected.diff_id.is_some();
    if end == Some(End::Unmarked) && !known {
        return corrupt("the archive has no end mark: it was cut off".to_string());
    }
    Ok(())
}

/// What this archive made at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// A regular file with data, the so-manieth of the recipe.
    File(u64),
    /// Anything else.
    Object,
    /// A whiteout.
    Whiteout,
}

struct Unpacker<'a> {
    root: &'a DirFd,
    form: TreeForm,
    options: &'a ApplyOptions<'a>,
    meter: Meter,
    recipe: Option<Recorder>,
    remarks: Remarks,
    known: Known,
    /// By the path without links that leads there.
    made: BTreeMap<Vec<u8>, Made>,
    /// Times that directories get back when all is done.
    dir_times: BTreeMap<Vec<u8>, Time>,
    /// Directories that begin anew.
    opaque: BTreeSet<Vec<u8>>,
    /// The directory of the last entry.
    last: Option<Place>,
    /// Set once an owner could not be set: this process may not, so it records them.
    records_owners: bool,
    recorded_any: bool,
    ids: (u32, u32),
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    fn new(root: &'a DirFd, form: TreeForm, options: &'a ApplyOptions<'a>) -> Result<Unpacker<'a>> {
        let recipe = options.recipe.map(Recorder::create).transpose()?;
        Ok(Unpacker {
            root,
            form,
            options,
            meter: Meter::new(root, options.limits)?,
            recipe,
            remarks: Remarks::default(),
            known: Known::default(),
            made: BTreeMap::new(),
            dir_times: BTreeMap::new(),
            opaque: BTreeSet::new(),
            last: None,
            records_owners: false,
            recorded_any: false,
            ids: effective_ids(),
            buffer: vec![0; PIECE_BYTES],
        })
    }

    fn run(&mut self, archive: &mut TarReader<BlobReader<'_>>) -> Result<()> {
        self.dress_root()?;
        while let Some(entry) = archive.next_entry()? {
            self.meter.entry(&entry.path)?;
            tell(self.options.watch, 0, 1)?;
            self.record(archive)?;
            self.entry(&entry, archive)?;
            self.drop_data(archive)?;
        }
        self.record(archive)?;
        let recipe = &mut self.recipe;
        archive.drain(|bytes| recipe.as_mut().map_or(Ok(()), |recipe| recipe.raw(bytes)))?;
        self.restore_times()?;
        self.mark_recorded()
    }

    /// Notes for the recipe what the reader took that is no data.
    fn record(&mut self, archive: &mut TarReader<BlobReader<'_>>) -> Result<()> {
        let raw = archive.take_raw();
        self.recipe
            .as_mut()
            .map_or(Ok(()), |recipe| recipe.raw(&raw))
    }

    /// Data that went into no file.
    fn drop_data(&mut self, archive: &mut TarReader<BlobReader<'_>>) -> Result<()> {
        loop {
            let got = archive.read_data(&mut self.buffer)?;
            if got == 0 {
                return Ok(());
            }
            self.meter.data(got, archive.source().packed_bytes())?;
            tell(self.options.watch, got as u64, 0)?;
            if let Some(recipe) = &mut self.recipe {
                recipe.raw(&self.buffer[..got])?;
            }
        }
    }

    fn entry(&mut self, entry: &Entry, archive: &mut TarReader<BlobReader<'_>>) -> Result<()> {
        let path = place::clean(&entry.path)?;
        let Some(path) = path else {
            return self.root_entry(entry);
        };
        match marks::meaning(&path) {
            marks::Meaning::Object => self.object(entry, &path, archive),
            marks::Meaning::Whiteout(target) => self.whiteout(entry, &target),
            marks::Meaning::Opaque(dir) => self.opaque(entry, dir),
            marks::Meaning::Reserved => {
                self.remarks.note("reserved name skipped", &entry.path);
                Ok(())
            }
            marks::Meaning::Nonsense => Err(refused(entry, "a whiteout of no proper name")),
        }
    }

    fn restore_times(&mut self) -> Result<()> {
        for (path, time) in std::mem::take(&mut self.dir_times) {
            let dir = match self.root.open_beneath(&path) {
                // Replaced by something else meanwhile.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                result => result.or_at("cannot set times of", Path::new(&shown(&path)))?,
            };
            let time = crate::sys::at::SetTime::At(time);
            dir.at()
                .set_times(time, time)
                .or_at("cannot set times of", Path::new(&shown(&path)))?;
        }
        Ok(())
    }
}

/// An entry that makes no sense, or would do harm.
fn refused(entry: &Entry, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Corrupt, format!("{}: {why}", shown(&entry.path)))
}

/// What a failed system call says of the archive and of the machine.
fn failed(path: &[u8], errno: Errno) -> Error {
    let kind = match errno {
        // Only the names in the archive can lead to these.
        Errno::ENAMETOOLONG
        | Errno::ELOOP
        | Errno::ENOTDIR
        | Errno::EXDEV
        | Errno::EINVAL
        | Errno::ENOENT
        | Errno::EISDIR => Kind::Corrupt,
        _ => Kind::Other,
    };
    Error::new(kind, format!("{}: {errno}", shown(path)))
}

#[cfg(test)]
mod tests;

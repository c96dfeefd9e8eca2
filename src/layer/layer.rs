//! [`Layer`]: the root of one tree on disk. A lower layer is reached through a private read-only
//! mount where that is allowed, so that it cannot be written even by mistake; only [`UpperLayer`]
//! carries the directories that may change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::filesystem::Filesystems;
use super::origin::Uuid;
use super::shared;
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::file::{FileFd, LockMode};
use crate::sys::stat::Stat;

/// Why a directory cannot be a layer: names the option and the path.
#[derive(Debug)]
pub struct LayerError {
    /// The mount option that named the path.
    pub option: &'static str,
    /// The path as the user wrote it.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a layer.
#[derive(Debug)]
pub enum Problem {
    /// A system call failed.
    Errno(Errno),
    /// It is the same directory as another layer.
    SameAs(&'static str, PathBuf),
    /// It lies inside another layer.
    Inside(&'static str, PathBuf),
    /// Upper and work directory are on different mounts, so nothing can be renamed between them.
    OtherMount(PathBuf),
    /// Another mount uses it.
    InUse,
    /// An entry of the index in it cannot be used, and may be worth a look before it goes.
    Entry(Vec<u8>, Errno),
    /// Anything else, in words.
    Text(&'static str),
}

impl LayerError {
    /// An error of `option=path`.
    pub fn new(option: &'static str, path: &Path, problem: Problem) -> LayerError {
        LayerError {
            option,
            path: path.to_path_buf(),
            problem,
        }
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}: ", self.option, self.path.display())?;
        match &self.problem {
            Problem::Errno(errno) => write!(f, "{errno}"),
            Problem::SameAs(option, path) => {
                write!(f, "is the same directory as {option}={}", path.display())
            }
            Problem::Inside(option, path) => write!(f, "lies inside {option}={}", path.display()),
            Problem::OtherMount(upper) => {
                write!(
                    f,
                    "must be on the same mount as upperdir={}",
                    upper.display()
                )
            }
            Problem::InUse => f.write_str("in use by another mount (Device or resource busy)"),
            Problem::Entry(entry, errno) => write!(
                f,
                "index/{}: {errno}; remove index/ in it, or mount with index=off",
                entry.escape_ascii()
            ),
            Problem::Text(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for LayerError {}

/// The root of one layer.
#[derive(Debug)]
pub struct Layer {
    /// The root directory.
    pub root: Arc<DirFd>,
    /// Attributes of the root when it was opened: the layer's filesystem and identity.
    pub stat: Stat,
    /// UUID of its filesystem where it has one.
    pub uuid: Option<Uuid>,
    /// Immutable means what chattr(1) says. erofs calls everything immutable and has no such flags.
    pub has_flags: bool,
    /// Extended attributes take next to nothing of the blocks of a file here.
    pub blocks_are_data: bool,
    /// The longest name in bytes, where the filesystem tells.
    pub name_max: Option<u64>,
    /// Its files may be links to those of other layers.
    pub shares_files: bool,
    pub(super) option: &'static str,
    pub(super) path: PathBuf,
}

impl Layer {
    /// Opens `path` as it is, following links: it is the user who names it.
    ///
    /// # Errors
    /// A missing path, or one that is not a directory.
    pub fn open(
        option: &'static str,
        path: &Path,
        known: &mut Filesystems,
    ) -> Result<Layer, LayerError> {
        let fail = |errno| LayerError::new(option, path, Problem::Errno(errno));
        let root = DirFd::open(path).map_err(fail)?;
        let stat = root.stat().map_err(fail)?;
        let filesystem = known.of(&root, stat.dev);
        Ok(Layer {
            shares_files: shared::is_marked(root.at()),
            root: Arc::new(root),
            stat,
            uuid: filesystem.uuid,
            has_flags: filesystem.has_flags || !stat.immutable,
            blocks_are_data: filesystem.blocks_are_data,
            name_max: filesystem.name_max,
            option,
            path: path.to_path_buf(),
        })
    }

    /// Goes on through a private read-only mount of the same directory, if this process may make one. In a user
    /// namespace mounts inside that may not be stripped off stay, as they are now.
    pub(super) fn make_private(&mut self) {
        let clone = match self.root.clone_read_only() {
            Err(Errno::EINVAL) => self.root.clone_read_only_whole(),
            result => result,
        };
        match clone {
            Ok(root) => self.root = Arc::new(root),
            Err(errno) => log::debug!("no private mount of {}: {errno}", self.path.display()),
        }
    }

    /// Refuses an index of files with several names over a layer where their links do not tell which these are.
    ///
    /// # Errors
    /// It is such a layer.
    pub fn check_indexable(&self) -> Result<(), LayerError> {
        match self.shares_files {
            false => Ok(()),
            true => Err(self.error(Problem::Text(
                "index=on: `plyfs store dedup` made files of this layer links to those of other layers, so links \
                 do not tell which names are of one file; mount with index=off",
            ))),
        }
    }

    pub(super) fn error(&self, problem: Problem) -> LayerError {
        LayerError::new(self.option, &self.path, problem)
    }
}

/// The writable layer and its work directory, claimed for this mount alone.
#[derive(Debug)]
pub struct UpperLayer {
    /// The upper directory.
    pub layer: Layer,
    /// The directory the user gave as `workdir`.
    pub work: Layer,
    /// flock(2)s on both, held as long as the mount lives (overlay-semantics 26.4).
    _claims: [FileFd; 2],
}

impl UpperLayer {
    /// Opens and claims both directories.
    ///
    /// # Errors
    /// Missing, not a directory, not writable, on different mounts, or in use.
    pub fn open(
        upper: &Path,
        work: &Path,
        known: &mut Filesystems,
    ) -> Result<UpperLayer, LayerError> {
        let upper = Layer::open("upperdir", upper, known)?;
        let work = Layer::open("workdir", work, known)?;
        for layer in [&upper, &work] {
            layer
                .root
                .check_writable()
                .map_err(|errno| layer.error(Problem::Errno(errno)))?;
        }
        if (upper.stat.dev, upper.stat.mount_id) != (work.stat.dev, work.stat.mount_id) {
            return Err(work.error(Problem::OtherMount(upper.path)));
        }
        let claims = [claim(&upper)?, claim(&work)?];
        Ok(UpperLayer {
            layer: upper,
            work,
            _claims: claims,
        })
    }
}

fn claim(layer: &Layer) -> Result<FileFd, LayerError> {
    let dir = layer
        .root
        .at()
        .open_dir_file()
        .map_err(|errno| layer.error(Problem::Errno(errno)))?;
    match dir.try_lock(LockMode::Exclusive) {
        Ok(()) => Ok(dir),
        Err(Errno::EAGAIN) => Err(layer.error(Problem::InUse)),
        Err(errno) => Err(layer.error(Problem::Errno(errno))),
    }
}

//! Mount options: from the words of `-o` to typed, checked [`Options`]. No I/O.
//!
//! Invariant: an [`Options`] names at least one lower layer, and an upper directory only together with its work
//! directory. Conflicting or unsupported modes end as an [`OptionError`] that names the option; nothing is silently
//! dropped in native mode. Rules: §20, §21 and §26 of the specification.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

mod accepted;
mod conflicts;
mod grammar;
mod value;
mod words;

use words::Collected;

pub use crate::layer::idmap::{IdMap, Owners};
pub use crate::layer::mark::{Redirects, WhiteoutForm};
pub use crate::layer::stat_override::Form;

/// What to merge and how: all that [`crate::overlay`] needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Lower layers, top-most first; never empty.
    pub lower: Vec<PathBuf>,
    /// Data-only layers: never merged, they only hold the data of metacopies (§6.3).
    pub data_only: Vec<PathBuf>,
    /// Where changes go. `None`: the view is read-only.
    pub upper: Option<UpperDirs>,
    /// Which xattr namespace marks are written in (§26.1).
    pub xattr: XattrMode,
    /// When data is forced to disk (§18).
    pub sync: SyncMode,
    /// Read `.wh.NAME` files as whiteouts (§3.2, §26.2b).
    pub oci: bool,
    /// The form whiteouts are written in; `None`: the first that the upper filesystem can have (§26.2).
    pub whiteout: Option<WhiteoutForm>,
    /// How inode numbers of several filesystems are told apart (§7.4).
    pub xino: Xino,
    /// How long the kernel may keep names and attributes; `None`: for ever, as nobody else changes the layers.
    pub timeout: Option<Duration>,
    /// What to do with a directory that has another name below, or a file that has its data there (§5, §6).
    pub redirects: Redirects,
    /// Names of one lower file stay one file when it changes (§14.2).
    pub index: bool,
    /// File handles in marks name no filesystem (`uuid=off`).
    pub null_uuid: bool,
    /// Rename directories that have a lower part, by writing redirects (§5.4).
    pub redirect_dir: bool,
    /// Copy files up without their data as long as only metadata changes (§6.1).
    pub metacopy: bool,
    /// Rename directories that have a lower part by copying at most this many bytes up (§24.1).
    pub rename_copy_limit: Option<u64>,
    /// How owners are shown and stored (§21).
    pub owners: Owners,
    /// Owner, mode and type of upper objects are kept in this attribute, and read from lower ones (§21). No ACLs then.
    pub xattr_permissions: Option<Form>,
    /// Report one link for every directory.
    pub static_nlink: bool,
    /// Do not offer POSIX ACLs.
    pub noacl: bool,
    /// Refuse every change: asked for with `ro`, or there is no upper.
    pub read_only: bool,
}

/// The writable side of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpperDirs {
    /// Holds the changes.
    pub upper: PathBuf,
    /// Where objects are prepared; same filesystem as `upper`.
    pub work: PathBuf,
}

/// `xattr=`: the namespace of written marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrMode {
    /// Trusted where allowed, else user.
    #[default]
    Auto,
    /// `trusted.overlay.`
    Trusted,
    /// `user.overlay.`
    User,
}

/// `fsync=`: when data is forced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// File data at copy-up.
    #[default]
    Auto,
    /// Metadata and directories as well.
    Strict,
    /// Never.
    Volatile,
}

/// `xino=`: layer number in the high bits of inode numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Xino {
    /// Never.
    Off,
    /// Where the layers are on several filesystems.
    #[default]
    Auto,
    /// Always.
    On,
}

/// Options of the mount itself, not of the merge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // each is the mount(8) word of that name
pub struct MountFlags {
    pub read_only: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    pub nosymfollow: bool,
    pub atime: Atime,
    pub nodiratime: bool,
    pub sync: bool,
    pub dirsync: bool,
    /// `None`: where the kernel lets us without asking an administrator.
    pub allow_other: Option<bool>,
    pub max_read: Option<u32>,
    pub max_write: Option<u32>,
    /// `false`: the kernel never reads or writes layer files by itself. `None`: where it may and where it pays.
    pub passthrough: Option<bool>,
    /// The kernel reads lower files by itself also where they can be copied up; a descriptor from before that keeps the
    /// old data.
    pub lower_passthrough: bool,
    /// `true`: the kernel opens and closes files without telling. `None`: where it cannot pass files through.
    pub noopen: Option<bool>,
    /// Threads that answer requests.
    pub threads: Option<usize>,
    pub rings: Rings,
    /// What the first column of the mount table says.
    pub fsname: Option<OsString>,
    /// SELinux contexts: `context`, `fscontext`, `defcontext`, `rootcontext` and their values.
    pub context: Vec<(String, OsString)>,
}

/// `rings=`: requests come by FUSE over io_uring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rings {
    /// By /dev/fuse.
    #[default]
    Off,
    /// Where the kernel has it.
    Auto,
    /// Or not at all.
    On,
}

/// When reading counts as access. FUSE leaves atime to us, so this mostly shows in the mount table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Atime {
    #[default]
    Noatime,
    Relatime,
    Strictatime,
}

/// Who is calling, and so how strict to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `plyfs mount`: every word means something.
    Native,
    /// A container engine: words we do not know are ignored with a warning, `.wh.` files are whiteouts.
    Compatible,
}

/// The outcome of [`parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// For the merge.
    pub options: Options,
    /// For the mount.
    pub flags: MountFlags,
    /// One line each.
    pub warnings: Vec<String>,
    /// `debug` was given.
    pub debug: bool,
    /// `foreground` was given.
    pub foreground: bool,
}

/// An option that cannot be honoured. Displays as one line that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionError {
    /// The option as written.
    pub option: String,
    /// What is wrong with it.
    pub reason: String,
}

impl OptionError {
    fn new(option: impl Into<String>, reason: impl Into<String>) -> OptionError {
        OptionError {
            option: option.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option `{}`: {}", self.option, self.reason)
    }
}

impl std::error::Error for OptionError {}

/// Parses the values of all `-o` arguments, in order.
pub fn parse(mode: Mode, arguments: &[OsString]) -> Result<Parsed, OptionError> {
    let mut collected = Collected::default();
    for argument in arguments {
        let items = grammar::items(argument.as_bytes()).map_err(|bad| {
            OptionError::new(shown(bad.0), "the quote does not end where it should")
        })?;
        for item in items {
            collected.take(mode, &item)?;
        }
    }
    collected.check_conflicts(mode)?;
    collected.finish(mode)
}

/// The flags of a `remount`, if that is what is asked for. As with the kernel's overlayfs, only flags can change:
/// mount(8) repeats all other options of the mount and of fstab, and they mean nothing here.
pub fn remount(arguments: &[OsString]) -> Option<MountFlags> {
    let mut collected = Collected::default();
    let mut asked = false;
    for argument in arguments {
        for item in grammar::items(argument.as_bytes()).ok()? {
            asked |= item.word == b"remount";
            let word = String::from_utf8_lossy(item.word);
            let value = item.value;
            collected.take_flag(&value::Said { word: &word, value });
        }
    }
    asked.then_some(collected.flags)
}

impl Options {
    /// Makes relative paths absolute, as seen from `here`. A daemon's working directory is not its caller's.
    pub fn anchor(&mut self, here: &Path) {
        for path in self.lower.iter_mut().chain(&mut self.data_only) {
            *path = here.join(&path);
        }
        if let Some(dirs) = &mut self.upper {
            dirs.upper = here.join(&dirs.upper);
            dirs.work = here.join(&dirs.work);
        }
    }

    /// Plain defaults over these directories, as [`parse`] would make them in native mode.
    pub fn new(lower: Vec<PathBuf>, upper: Option<UpperDirs>) -> Result<Options, OptionError> {
        let collected = Collected::of(lower, upper);
        Ok(collected.finish(Mode::Native)?.options)
    }
}

/// Bytes for a message: one line, whatever they are.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests;

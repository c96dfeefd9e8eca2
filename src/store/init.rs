//! Making a store, and what is found out about its filesystem then.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{Error, Kind, OrAt, Result, shown};
use super::layout::{FORMAT, Layout};
use super::meta::{DriverKind, now, write_json, writer};
use super::staging::{is_there, sync_parent};
use super::{Store, trash};
use crate::layer::keys::Namespace;
use crate::sys::at::{At, OpenMode};
use crate::sys::btrfs;
use crate::sys::dir::DirFd;
use crate::sys::errno::{self, Errno};
use crate::sys::name::Name;
use crate::sys::remove::remove_tree;
use crate::sys::stat::{FileType, Rdev};
use crate::sys::xattr::XattrMode;

/// `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Number of the format.
    pub format: u32,
    /// How layers are kept when nothing else is said.
    pub driver: DriverKind,
    /// New layers share equal files with those that are there.
    #[serde(default)]
    pub dedup: bool,
    /// When the store was made, RFC 3339.
    pub created: String,
    /// The program that made it.
    pub writer: String,
    /// What its filesystem can, for the user who made it.
    pub features: Features,
}

/// What the filesystem of a store can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Files can share blocks (FICLONE).
    pub reflink: bool,
    /// Files are copied inside the kernel (copy_file_range).
    pub copy_file_range: bool,
    /// Whose attributes carry the marks of layers.
    pub xattr: Option<Marks>,
    /// Device nodes 0:0 can be made: whiteouts as the kernel makes them.
    pub whiteout_device: bool,
    /// Trees can be subvolumes, of which a snapshot can be taken (btrfs).
    #[serde(default)]
    pub subvolumes: bool,
}

impl Features {
    /// How a whole tree is copied here, in words: the best that the filesystem can.
    pub fn copies(&self) -> &'static str {
        match self {
            Features {
                subvolumes: true, ..
            } => "btrfs-snapshot",
            Features { reflink: true, .. } => "reflink",
            Features {
                copy_file_range: true,
                ..
            } => "copy-file-range",
            _ => "read-write",
        }
    }
}

/// Namespace of attributes that carry marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Marks {
    /// `trusted.overlay.*`.
    Trusted,
    /// `user.overlay.*`.
    User,
}

impl Marks {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Marks::Trusted => "trusted",
            Marks::User => "user",
        }
    }

    /// As the layer room has it.
    pub fn namespace(self) -> Namespace {
        match self {
            Marks::Trusted => Namespace::Trusted,
            Marks::User => Namespace::User,
        }
    }
}

impl Store {
    /// Makes a store at `root`, which is a directory that does not exist or is empty.
    ///
    /// # Errors
    /// [`Kind::Exists`] when there is a store; [`Kind::Precondition`] when there is something else;
    /// [`Kind::Unsupported`] when driver overlay cannot work there.
    pub fn init(root: &Path, run: &Path, driver: DriverKind) -> Result<Store> {
        Store::init_with(root, run, driver, false)
    }

    /// As [`Store::init`]. `dedup`: new layers share equal files with those that are there, when nothing else is said.
    ///
    /// # Errors
    /// As [`Store::init`].
    pub fn init_with(root: &Path, run: &Path, driver: DriverKind, dedup: bool) -> Result<Store> {
        let layout = Layout::new(root, run);
        if is_there(&layout.version())? {
            let text = format!("there is a store at {} already", shown(root));
            return Err(Error::new(Kind::Exists, text));
        }
        // Layers hold set-id programs of other systems: nobody else gets near them.
        make_dir(root)?;
        check_empty(&layout)?;
        for dir in layout.skeleton() {
            make_dir(&dir)?;
        }
        make_file(&layout.lock(), b"")?;
        let features = probe(&layout.tmp())?;
        if driver == DriverKind::Overlay && features.xattr.is_none() {
            let why = "its filesystem has no extended attributes (driver vfs needs none)";
            return Err(Error::at(
                Kind::Unsupported,
                "driver overlay cannot work at",
                root,
                why,
            ));
        }
        let config = Config {
            format: FORMAT,
            driver,
            dedup,
            created: now(),
            writer: writer(),
            features,
        };
        // An attempt before this one may have got that far.
        trash::remove(&layout.config())?;
        write_json(&layout.config(), &config)?;
        // With this file it is a store.
        let staged = layout.tmp().join("VERSION");
        trash::remove(&staged)?;
        make_file(&staged, format!("{FORMAT}\n").as_bytes())?;
        fs::rename(&staged, layout.version()).or_at("cannot make", &layout.version())?;
        sync_parent(&layout.version())?;
        Store::open(root, run)
    }
}

/// Only what an earlier attempt made may be there.
fn check_empty(layout: &Layout) -> Result<()> {
    let root = layout.root();
    let ours = |name: &str| {
        [
            "config.json",
            "lock",
            "tmp",
            "trash",
            "meta",
            "overlay",
            "vfs",
        ]
        .contains(&name)
    };
    for entry in fs::read_dir(root).or_at("cannot read", root)? {
        let name = entry.or_at("cannot read", root)?.file_name();
        if !name.to_str().is_some_and(ours) {
            let text = format!("{} is not empty and no store", shown(root));
            return Err(Error::new(Kind::Precondition, text));
        }
    }
    Ok(())
}

fn make_dir(dir: &Path) -> Result<()> {
    let made = fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(dir);
    made.or_at("cannot make", dir)?;
    // What is made in the store looks as it is told to, and not as its surroundings have it.
    let plain = DirFd::open(dir).and_then(|dir| dir.at().remove_xattr(c"system.posix_acl_default"));
    match plain {
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(()),
        result => result.or_at("cannot make", dir),
    }
}

fn make_file(path: &Path, text: &[u8]) -> Result<()> {
    match fs::File::create_new(path) {
        Ok(mut file) => {
            file.write_all(text).or_at("cannot write", path)?;
            let mode = fs::Permissions::from_mode(0o600);
            file.set_permissions(mode).or_at("cannot write", path)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).or_at("cannot make", path),
    }
}

/// Tries things in a directory that exists.
///
/// # Errors
/// When not even a file can be made there.
fn probe(dir: &Path) -> Result<Features> {
    let place = tempfile::tempdir_in(dir).or_at("cannot make a directory in", dir)?;
    let tried = try_features(place.path()).or_at("cannot make files in", dir);
    place.close().or_at("cannot remove", dir)?;
    tried
}

fn try_features(dir: &Path) -> errno::Result<Features> {
    let dir = DirFd::open(dir)?;
    let mode = OpenMode {
        write: true,
        ..OpenMode::READ
    };
    let names = [b"a", b"b", b"c", b"d", b"e"].map(|name| Name::new(name));
    let [Ok(a), Ok(b), Ok(c), Ok(d), Ok(e)] = names else {
        return Err(Errno::EINVAL);
    };
    let from = dir.create_file(&a, mode, 0o600)?;
    let to = dir.create_file(&b, mode, 0o600)?;
    // More than a block: some filesystems share whole blocks only.
    let data = vec![7; 64 << 10];
    from.write_all_at(&data, 0)?;
    let marks = |marks: &Marks| {
        let name = marks.namespace().name(crate::layer::keys::Key::Opaque);
        dir.at().set_xattr(name, b"y", XattrMode::Any).is_ok()
    };
    let whiteout = dir.mknod(&c, FileType::Char, 0, Rdev::default());
    Ok(Features {
        reflink: from.clone_to(&to).is_ok(),
        copy_file_range: from.copy_range_to(0, &to, 0, data.len()).is_ok(),
        xattr: [Marks::Trusted, Marks::User].into_iter().find(marks),
        whiteout_device: whiteout.is_ok() && At::child(&dir, &c).stat().is_ok(),
        subvolumes: can_snapshot(&dir, &d, &e),
    })
}

/// Both are removed again here: some who remove a tree may not remove subvolumes.
fn can_snapshot(dir: &DirFd, of: &Name, to: &Name) -> bool {
    let tried = btrfs::create(dir, of)
        .and_then(|()| dir.open_dir(of))
        .and_then(|of| btrfs::snapshot(&of, dir, to));
    [of, to].map(|name| remove_tree(dir, name).is_ok()) == [true; 2] && tried.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_made_once_and_only_where_nothing_is() {
        let temp = tempfile::tempdir().unwrap();
        let (root, run) = (temp.path().join("a/store"), temp.path().join("run"));
        assert_eq!(Store::open(&root, &run).unwrap_err().kind, Kind::NotFound);
        let store = Store::init(&root, &run, DriverKind::Vfs).unwrap();
        assert_eq!(store.config().driver, DriverKind::Vfs);
        let again = Store::init(&root, &run, DriverKind::Vfs).unwrap_err();
        assert_eq!(again.kind, Kind::Exists);
        let other = temp.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "").unwrap();
        let refused = Store::init(&other, &run, DriverKind::Vfs).unwrap_err();
        assert_eq!(refused.kind, Kind::Precondition);
        // A crash before VERSION leaves no store, and nothing in the way of the next attempt.
        fs::remove_file(store.layout().version()).unwrap();
        assert_eq!(Store::open(&root, &run).unwrap_err().kind, Kind::NotFound);
        Store::init(&root, &run, DriverKind::Overlay).unwrap();
        fs::write(store.layout().version(), "99\n").unwrap();
        let newer = Store::open(&root, &run).unwrap_err();
        assert_eq!(newer.kind, Kind::Unsupported);
    }
}

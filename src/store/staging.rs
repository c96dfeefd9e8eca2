//! [`Staging`]: an object in the making, and the one way to publish it.
//!
//! The crash rule: everything is written below `tmp/`, reaches the disk, then the content is renamed to its place, then
//! what is known of it. An object exists exactly if what is known of it is in its place. So a crash leaves the store as
//! it was, plus at most a staging directory that nobody holds a lock on, or a content that nobody knows: garbage both.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Store;
use super::error::{Error, Kind, OrAt, Result};
use super::id::random_hex;
use super::lock::{Lock, LockMode};
use super::meta::write_json;
use super::trash;
use super::watch::{Phase, Watch};
use crate::sys::dir::DirFd;

/// A directory of one process below `tmp/`, gone when this is dropped.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    /// Says that the maker lives.
    _alive: Lock,
    /// No garbage is collected meanwhile.
    _store: Option<Lock>,
}

impl Staging {
    pub(super) fn new(store: &Store) -> Result<Staging> {
        let shared = store.lock(LockMode::Shared)?;
        let mut staging = Staging::in_locked(store)?;
        staging._store = Some(shared);
        Ok(staging)
    }

    /// For a caller who has locked the store.
    pub(super) fn in_locked(store: &Store) -> Result<Staging> {
        let name = format!("{}-{}", std::process::id(), random_hex(8)?);
        let dir = store.layout().tmp().join(name);
        let lock = dir.join("lock");
        fs::create_dir(&dir).or_at("cannot make", &dir)?;
        fs::File::create_new(&lock).or_at("cannot make", &lock)?;
        Ok(Staging {
            _alive: Lock::take(&lock, LockMode::Exclusive)?,
            _store: None,
            dir,
        })
    }

    /// Where the content is put together: make this directory, and in it `root` (a layer) or what else belongs there.
    pub fn content(&self) -> PathBuf {
        self.dir.join("content")
    }

    /// The tree of a layer in the making. Makes it, for its owner alone, when it is not there.
    ///
    /// # Errors
    /// Those of making it.
    pub fn tree(&self) -> Result<PathBuf> {
        let tree = self.content().join("root");
        fs::create_dir_all(&tree).or_at("cannot make", &tree)?;
        Ok(tree)
    }

    /// Where what is known of the object is put together: a directory, or a file.
    pub fn meta(&self) -> PathBuf {
        self.dir.join("meta")
    }

    /// Writes one JSON file into the directory [`Staging::meta`], which it makes.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write_meta(&self, file: &str, value: &impl Serialize) -> Result<()> {
        self.make_meta()?;
        write_json(&self.meta().join(file), value)
    }

    /// Makes the directory [`Staging::meta`] where it is not there.
    ///
    /// # Errors
    /// Those of making it.
    pub fn make_meta(&self) -> Result<()> {
        let dir = self.meta();
        fs::create_dir_all(&dir).or_at("cannot make", &dir)
    }

    /// Any other path in here, for what is not to be published.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Publishes: [`Staging::content`] (if there is one) becomes `content`, then [`Staging::meta`] becomes `meta`.
    /// `durable`: it is on disk when this returns.
    ///
    /// # Errors
    /// [`Kind::Exists`] when the object exists, and nothing has changed then; [`Kind::Busy`] while somebody else
    /// publishes it.
    pub fn publish(
        &self,
        store: &Store,
        content: Option<&Path>,
        meta: &Path,
        durable: bool,
    ) -> Result<()> {
        if durable {
            store.begin(Phase::Sync, None);
            sync_filesystem(&self.dir)?;
        }
        // Held until the object exists: who finds the content without meta waits for this, and knows it for garbage
        // once it is free.
        let _publishing = match content {
            Some(place) => Some(self.place_content(store, place, meta)?),
            None => None,
        };
        if let (Some(place), true) = (content, durable) {
            sync_parent(place)?;
        }
        match fs::rename(self.meta(), meta) {
            Err(error) if is_taken(&error) => return Err(exists(meta)),
            result => result.or_at("cannot publish", meta)?,
        }
        if durable {
            sync_parent(meta)?;
        }
        Ok(())
    }

    /// The first half of [`Staging::publish`]. As long as the lock is held, nobody else publishes that object.
    ///
    /// # Errors
    /// As [`Staging::publish`].
    pub(super) fn place_content(&self, store: &Store, place: &Path, meta: &Path) -> Result<Lock> {
        let ours = Lock::take(&self.content(), LockMode::Exclusive)?;
        loop {
            if is_there(meta)? {
                return Err(exists(meta));
            }
            match fs::rename(self.content(), place) {
                Ok(()) => return Ok(ours),
                Err(error) if is_taken(&error) => {}
                result => result.or_at("cannot publish", place)?,
            }
            match Lock::take(place, LockMode::Exclusive) {
                Ok(theirs) if theirs.still_at(place) => {
                    // A layer has the id that a container shall have, or the other way round.
                    if store.knows_content(place)? {
                        return Err(exists(meta));
                    }
                    // Free, and nobody finished it: a crash left it.
                    if !store.settle_onto(place)? {
                        trash::discard(store, place)?;
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = trash::remove(&self.dir) {
            log::warn!("{error}; `store gc` removes it");
        }
    }
}

fn exists(meta: &Path) -> Error {
    let name = meta.file_name().unwrap_or_default().to_string_lossy();
    Error::new(
        Kind::Exists,
        format!("{} exists already", name.trim_end_matches(".json")),
    )
}

/// A rename onto something that is in use as a name.
fn is_taken(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
    )
}

/// Is there anything of that name?
///
/// # Errors
/// Anything but its absence.
pub fn is_there(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error).or_at("cannot look at", path),
    }
}

/// Everything of the filesystem of `dir` is on disk when this returns.
///
/// # Errors
/// Those of writing.
pub fn sync_filesystem(dir: &Path) -> Result<()> {
    DirFd::open(dir)
        .and_then(|dir| dir.at().open_dir_file())
        .and_then(|dir| dir.sync_filesystem())
        .or_at("cannot sync the filesystem of", dir)
}

/// The name `path` is on disk when this returns.
///
/// # Errors
/// Those of writing.
pub fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    DirFd::open(parent)
        .and_then(|dir| dir.at().open_dir_file())
        .and_then(|dir| dir.sync(false))
        .or_at("cannot sync", parent)
}

#[cfg(test)]
mod tests {
    use super::super::id::Id;
    use super::super::meta::{DriverKind, LayerMeta};
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let (root, run) = (temp.path().join("s"), temp.path().join("run"));
        (temp, Store::init(&root, &run, DriverKind::Vfs).unwrap())
    }

    fn publish(store: &Store, id: &Id, text: &str) -> Result<LayerMeta> {
        let staging = store.stage()?;
        fs::write(staging.tree()?.join("file"), text).unwrap();
        store.publish_layer(&staging, LayerMeta::new(id.clone(), DriverKind::Vfs, None))
    }

    fn text(store: &Store, id: &Id) -> String {
        fs::read_to_string(store.tree(DriverKind::Vfs, id).join("file")).unwrap()
    }

    #[test]
    fn what_a_crash_left_is_replaced_and_what_exists_is_not() {
        let (_temp, store) = store();
        let id = Id::random().unwrap();
        let left = store.tree(DriverKind::Vfs, &id);
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("half"), "").unwrap();
        publish(&store, &id, "first").unwrap();
        assert_eq!(fs::read_dir(&left).unwrap().count(), 1);
        let again = publish(&store, &id, "second").unwrap_err();
        assert_eq!(
            (again.kind, text(&store, &id)),
            (Kind::Exists, "first".into())
        );
        assert_eq!(store.check(false).unwrap(), Default::default());
    }

    #[test]
    fn of_many_who_publish_one_id_one_succeeds() {
        let (_temp, mut store) = store();
        store.sync = super::super::meta::SyncPolicy::None;
        for _ in 0..20 {
            let id = Id::random().unwrap();
            let results: Vec<Result<LayerMeta>> = std::thread::scope(|scope| {
                let (store, id) = (&store, &id);
                let all =
                    ["a", "b", "c", "d"].map(|text| scope.spawn(move || publish(store, id, text)));
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            let won = results.iter().filter(|result| result.is_ok()).count();
            let lost = |result: &&Result<LayerMeta>| matches!(result, Err(error) if error.kind == Kind::Exists);
            assert_eq!(
                (won, results.iter().filter(lost).count()),
                (1, 3),
                "{results:?}"
            );
            assert!("abcd".contains(&text(&store, &id)));
        }
        assert_eq!(store.check(false).unwrap(), Default::default());
    }
}

//! [`Book`]: what is at rest, read and written. Networks that were created, networks in the kernel, attachments.
//!
//! Invariant: a file is whole or not there (written beside its place and renamed). What lasts reaches the disk before
//! the verb returns; what is gone after a boot anyway is not synced.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Kind, OrAt, Result};
use super::intent::{Attachment, Key};
use super::layout::Layout;
use super::network::Network;
use crate::sys::{flock, process};

/// Reader and writer of a [`Layout`].
#[derive(Clone, Debug)]
pub struct Book {
    /// Where everything is.
    pub layout: Layout,
}

/// The lock on claims; dropped, it is open to others.
#[derive(Debug)]
pub struct Claiming(File);

impl Claiming {
    /// The program of this command holds the lock, too, until it ends.
    pub fn share(&self, command: &mut Command) {
        process::inherit(command, &self.0);
    }
}

/// An attachment that somebody works on. Others see that it is in flight for as long as this lives.
#[derive(Debug)]
pub struct InFlight {
    file: File,
    path: PathBuf,
}

impl Book {
    /// Makes the directories where they are missing.
    ///
    /// # Errors
    /// Permission or other.
    pub fn open(layout: Layout) -> Result<Book> {
        for dir in [layout.live(), layout.ports(), layout.cursors()] {
            make_dir(&dir)?;
        }
        Ok(Book { layout })
    }

    /// Waits for everybody else who claims addresses or ports.
    ///
    /// # Errors
    /// Permission or other.
    pub fn claim(&self) -> Result<Claiming> {
        self.locked(&self.layout.lock()).map(Claiming)
    }

    /// Waits for everybody else who writes chains of iptables.
    ///
    /// # Errors
    /// Permission or other.
    pub fn write_firewall(&self) -> Result<Claiming> {
        self.locked(&self.layout.firewall_lock()).map(Claiming)
    }

    fn locked(&self, path: &Path) -> Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path);
        let file = file.or_at("lock", path)?;
        flock::lock(&file).or_at("lock", path)?;
        Ok(file)
    }

    // --- networks ----------------------------------------------------------------------------------------------------

    /// The network of this name: as it is in the kernel, else as it was created.
    ///
    /// # Errors
    /// Not found, or a file that cannot be read.
    pub fn network(&self, name: &str) -> Result<Network> {
        let found = self.find_network(name)?;
        found.ok_or_else(|| {
            Error::not_found(format!("no network {name} (plynet network ls lists them)"))
        })
    }

    /// As [`Book::network`]; none if there is none.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn find_network(&self, name: &str) -> Result<Option<Network>> {
        for path in [
            self.layout.live_network(name),
            self.layout.adopted(name),
            self.layout.network(name),
        ] {
            if let Some(network) = read(&path)? {
                return Ok(Some(network));
            }
        }
        Ok(None)
    }

    /// Uses a network that somebody else keeps.
    ///
    /// # Errors
    /// Permission or other.
    pub fn adopt(&self, _: &Claiming, network: &Network) -> Result<()> {
        let dir = self.layout.live_dir(&network.name);
        make_dir(&dir)?;
        write(&self.layout.adopted(&network.name), network, false)
    }

    /// Forgets all that does not outlive a boot of a network.
    ///
    /// # Errors
    /// Permission or other.
    pub fn forget_live(&self, _: &Claiming, name: &str) -> Result<()> {
        let dir = self.layout.live_dir(name);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.or_at("directory", &dir),
        }
    }

    /// All networks that were created, or are in the kernel, by name.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let mut names = self.live()?;
        for file in listing(&self.layout.networks())? {
            names.extend(file.strip_suffix(".json").map(str::to_string));
        }
        names.sort();
        names.dedup();
        let found = names.iter().map(|name| match self.network(name) {
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            found => found.map(Some),
        });
        let found: Result<Vec<_>> = found.collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// Names of the networks that are in the kernel.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn live(&self) -> Result<Vec<String>> {
        listing(&self.layout.live())
    }

    /// Keeps a network for good.
    ///
    /// # Errors
    /// Permission or other.
    pub fn keep_network(&self, network: &Network) -> Result<()> {
        let dir = self.layout.networks();
        make_dir(&dir)?;
        write(&self.layout.network(&network.name), network, true)
    }

    // --- attachments -------------------------------------------------------------------------------------------------

    /// All attachments of a network, those in flight included, by file name.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn attachments(&self, network: &str) -> Result<Vec<Attachment>> {
        let dir = self.layout.attachments(network);
        let mut files = listing(&dir)?;
        files.retain(|file| file.ends_with(".json"));
        files.sort();
        // One may be detached between the two calls.
        let found: Result<Vec<_>> = files.iter().map(|file| read(&dir.join(file))).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// One attachment.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn attachment(&self, key: &Key) -> Result<Option<Attachment>> {
        read(&self.layout.attachment(key))
    }

    /// Writes down what is going to be done. Nobody else touches it until the value is dropped.
    ///
    /// # Errors
    /// Permission or other.
    pub fn begin(&self, attachment: &Attachment) -> Result<InFlight> {
        let path = self.layout.attachment(&attachment.key);
        let file = publish(&path, attachment, false, |file| {
            flock::lock(file).or_at("lock", &path)
        })?;
        Ok(InFlight { file, path })
    }

    /// Says that everything is there. Nobody holds it after that.
    ///
    /// # Errors
    /// Permission or other.
    pub fn done(&self, attachment: &Attachment) -> Result<()> {
        write(&self.layout.attachment(&attachment.key), attachment, false)
    }

    /// Waits until nobody works on an attachment, and keeps others away; none: it is not there (any more).
    ///
    /// # Errors
    /// Permission or other.
    pub fn hold(&self, key: &Key) -> Result<Option<InFlight>> {
        loop {
            let Some(held) = self.open_attachment(key)? else {
                return Ok(None);
            };
            flock::lock(&held.file).or_at("lock", &held.path)?;
            if held.is_current() {
                return Ok(Some(held));
            }
        }
    }

    /// As [`Book::hold`], but does not wait: none if somebody works on it, or it is not there.
    ///
    /// # Errors
    /// Permission or other.
    pub fn try_hold(&self, key: &Key) -> Result<Option<InFlight>> {
        let Some(held) = self.open_attachment(key)? else {
            return Ok(None);
        };
        let locked = flock::try_lock(&held.file).or_at("lock", &held.path)?;
        Ok((locked && held.is_current()).then_some(held))
    }

    fn open_attachment(&self, key: &Key) -> Result<Option<InFlight>> {
        let path = self.layout.attachment(key);
        match File::open(&path) {
            Ok(file) => Ok(Some(InFlight { file, path })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).or_at("attachment", &path),
        }
    }
}

impl InFlight {
    /// Is the locked file still the one at its path?
    fn is_current(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let identity = |m: fs::Metadata| (m.dev(), m.ino());
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(held), Ok(there)) => identity(held) == identity(there),
            _ => false,
        }
    }

    /// Forgets the attachment: the last step of a detach.
    ///
    /// # Errors
    /// Permission or other.
    pub fn forget(self) -> Result<()> {
        remove(&self.path)
    }
}

/// Makes a directory, and those above it, where it is not there yet.
///
/// # Errors
/// As mkdir(2) says.
pub fn make_dir(dir: &Path) -> Result<()> {
    let made = match fs::create_dir(dir) {
        // The usual answer.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir_all(dir),
        other => other,
    };
    made.or_at("directory", dir)
}

/// Names in a directory; none if it is not there. Files in the making (`.x`) are not seen.
///
/// # Errors
/// As readdir(3) says.
pub fn listing(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.or_at("directory", dir)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.or_at("directory", dir)?.file_name();
        names.extend(
            name.into_string()
                .ok()
                .filter(|name| !name.starts_with('.')),
        );
    }
    Ok(names)
}

/// A value at rest; none if there is no such file.
///
/// # Errors
/// When it cannot be read, or is not such a value: with line and column.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other.or_at("file", path)?,
    };
    let value = serde_json::from_slice(&text);
    value
        .map(Some)
        .map_err(|error| Error::new(Kind::Other, format!("{}: {error}", path.display())))
}

/// Puts a value at rest.
///
/// # Errors
/// Permission or other.
pub fn write(path: &Path, value: &impl Serialize, durable: bool) -> Result<()> {
    publish(path, value, durable, |_| Ok(())).map(drop)
}

/// Removes a file, if it is there.
///
/// # Errors
/// Permission or other.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(())
        }
        other => other.or_at("file", path),
    }
}

fn publish(
    path: &Path,
    value: &impl Serialize,
    durable: bool,
    before: impl FnOnce(&File) -> Result<()>,
) -> Result<File> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let text = serde_json::to_vec(value).map_err(|error| Error::new(Kind::Other, error))?;
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        if durable {
            file.sync_all()?;
        }
        Ok(file)
    })();
    let file = written.map_err(|error: std::io::Error| Error::at("file", path, error.into()))?;
    before(&file)?;
    fs::rename(&beside, path).or_at("file", path)?;
    if let (true, Some(dir)) = (durable, path.parent()) {
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .or_at("directory", dir)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::intent::Mac;

    fn book() -> (tempfile::TempDir, Book) {
        let temp = tempfile::tempdir().unwrap();
        let layout = Layout::new(&temp.path().join("root"), &temp.path().join("run"));
        let book = Book::open(layout).unwrap();
        fs::create_dir_all(book.layout.attachments("n")).unwrap();
        (temp, book)
    }

    fn attachment() -> Attachment {
        Attachment {
            key: Key::new("n", "c1"),
            name: "c1".into(),
            aliases: Vec::new(),
            netns: "/x".into(),
            netns_inode: 1,
            host_interface: "veth1".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: Vec::new(),
            ports: vec!["80:80".parse().unwrap()],
            firewall: Default::default(),
            no_route: false,
            labels: Default::default(),
            links: Vec::new(),
            linked_by: Vec::new(),
            leaving: false,
            done: false,
        }
    }

    #[test]
    fn an_attachment_in_flight_is_left_alone() {
        let (_temp, book) = book();
        let mut one = attachment();
        let flying = book.begin(&one).unwrap();
        assert_eq!(book.attachments("n").unwrap(), [one.clone()]);
        assert!(book.try_hold(&one.key).unwrap().is_none());
        one.done = true;
        book.done(&one).unwrap();
        drop(flying);
        let held = book.hold(&one.key).unwrap().unwrap();
        assert!(book.try_hold(&one.key).unwrap().is_none());
        held.forget().unwrap();
        assert_eq!(book.attachment(&one.key), Ok(None));
        assert!(book.hold(&one.key).unwrap().is_none());
    }

    #[test]
    fn damaged_files_are_named_with_the_place() {
        let (_temp, book) = book();
        fs::create_dir_all(book.layout.networks()).unwrap();
        fs::write(book.layout.network("n"), "{\n  \"name\": 3 }").unwrap();
        let error = book.network("n").unwrap_err().to_string();
        assert!(
            error.contains("n.json") && error.contains("line 2 column"),
            "{error}"
        );
        assert_eq!(book.network("other").unwrap_err().kind, Kind::NotFound);
    }
}

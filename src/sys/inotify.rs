//! inotify(7): notices files that are renamed into a directory, and what is made or removed in it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// Watches directories; readable when something happened in one of them.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

/// A directory that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watch(i32);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something of this name was renamed into the directory, made in it or removed from it.
    Entry(Watch, String),
    /// The directory is gone, and its watch with it.
    Gone(Watch),
    /// More than the kernel can remember.
    Lost,
}

impl Inotify {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// As inotify_init1(2) says.
    pub fn new() -> io::Result<Inotify> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        Ok(Inotify(inotify::init(flags)?))
    }

    /// Watches a directory. Who lists it afterwards misses nothing.
    ///
    /// # Errors
    /// As inotify_add_watch(2) says.
    pub fn watch(&self, directory: &Path) -> io::Result<Watch> {
        let what = WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        Ok(Watch(inotify::add_watch(&self.0, directory, what)?))
    }

    /// Takes what has happened since the last time.
    pub fn take(&self, mut each: impl FnMut(Change)) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        // Ends with EAGAIN. Any other failure repeats itself at the next readiness and loses nothing.
        while let Ok(event) = reader.next() {
            let watch = Watch(event.wd());
            let name = event.file_name().and_then(|name| name.to_str().ok());
            match name {
                _ if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => each(Change::Lost),
                _ if event.events().contains(ReadFlags::IGNORED) => each(Change::Gone(watch)),
                Some(name) => each(Change::Entry(watch, name.to_string())),
                None => {}
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_in_a_directory_is_told_once() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("dir");
        std::fs::create_dir(&dir).unwrap();
        let inotify = Inotify::new().unwrap();
        let watch = inotify.watch(&dir).unwrap();
        let told = || {
            let mut changes = Vec::new();
            inotify.take(|change| changes.push(change));
            changes
        };
        assert_eq!(told(), []);
        std::fs::write(place.path().join("a"), "").unwrap();
        std::fs::rename(place.path().join("a"), dir.join("b")).unwrap();
        assert_eq!(told(), [Change::Entry(watch, "b".into())]);
        assert_eq!(told(), []);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            told(),
            [Change::Entry(watch, "b".into()), Change::Gone(watch)]
        );
    }
}

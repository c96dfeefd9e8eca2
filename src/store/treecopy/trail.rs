//! Where in the tree something is, and why it was not copied.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::store::error::{Error, Kind};
use crate::sys::errno::Errno;
use crate::sys::name::Name;

/// The way to a directory, for messages and for links to what is in it. Holds no fd.
pub(super) struct Trail {
    above: Option<(Arc<Trail>, Name)>,
}

impl Trail {
    pub(super) fn top() -> Arc<Trail> {
        Arc::new(Trail { above: None })
    }

    pub(super) fn below(dir: &Arc<Trail>, name: &Name) -> Arc<Trail> {
        let above = Some((Arc::clone(dir), name.clone()));
        Arc::new(Trail { above })
    }

    pub(super) fn names(&self) -> Vec<&Name> {
        let mut names = Vec::new();
        let mut at = self;
        while let Some((above, name)) = &at.above {
            names.push(name);
            at = above;
        }
        names.reverse();
        names
    }
}

impl Drop for Trail {
    /// Without recursion: trees may be deeper than a thread's stack.
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some((above, _)) = next {
            next = Arc::into_inner(above).and_then(|mut trail| trail.above.take());
        }
    }
}

/// Why one object was not copied.
pub(super) enum Failure {
    Errno(Errno),
    Words(Kind, &'static str),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure::Errno(errno)
    }
}

impl Failure {
    pub(super) fn named(self, dir: &Arc<Trail>, name: &Name) -> Error {
        let trail = Trail::below(dir, name);
        match self {
            Failure::Errno(errno) => failed(&trail, errno),
            Failure::Words(kind, words) => Error::at(kind, "cannot copy", &path(&trail), words),
        }
    }
}

pub(super) fn failed(trail: &Trail, errno: Errno) -> Error {
    Error::at(Kind::Other, "cannot copy", &path(trail), errno)
}

fn path(trail: &Trail) -> PathBuf {
    let names = trail.names();
    let bytes: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    match bytes.is_empty() {
        true => PathBuf::from("."),
        false => OsString::from_vec(bytes.join(&b'/')).into(),
    }
}

//! An overlay over fresh layers, and what is asked of it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use plyfs::overlay::Overlay;
use plyfs::overlay::change::create::Caller;
use plyfs::overlay::node::{NodeId, ROOT};
use plyfs::overlay::options::{Options, UpperDirs, XattrMode};

/// The overlay and its layers, which go with it.
pub struct Rig {
    pub overlay: Overlay,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// Over so many lower layers, each filled by `build`, which is told its number (1 is the top-most).
    pub fn new(lowers: usize, build: impl Fn(usize, &Path)) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: String| -> PathBuf {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let lowers: Vec<_> = (1..=lowers).map(|n| at(format!("l{n}"))).collect();
        for (i, lower) in lowers.iter().enumerate() {
            build(i + 1, lower);
        }
        let dirs = UpperDirs {
            upper: at("upper".into()),
            work: at("work".into()),
        };
        let mut options = Options::new(lowers, Some(dirs)).unwrap();
        options.xattr = XattrMode::User;
        Rig {
            overlay: Overlay::new(&options).unwrap(),
            _dir: dir,
        }
    }

    /// The node of a name in the root, known from now on.
    pub fn id(&self, name: &str) -> NodeId {
        self.overlay.lookup(ROOT, OsStr::new(name)).unwrap().id
    }

    /// As the kernel does for a name it does not keep: looks it up, and forgets it if there is something.
    pub fn look(&self, dir: NodeId, name: &str) -> bool {
        match self.overlay.lookup(dir, OsStr::new(name)) {
            Ok(entry) => {
                self.overlay.forget(entry.id, 1);
                true
            }
            Err(_) => false,
        }
    }
}

/// Whoever runs the bench.
pub fn me() -> Caller {
    use plyfs::layer::idmap::ShownId;
    Caller {
        uid: ShownId(rustix::process::geteuid().as_raw()),
        gid: ShownId(rustix::process::getegid().as_raw()),
        umask: 0o022,
    }
}

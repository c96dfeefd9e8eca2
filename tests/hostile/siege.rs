//! The frame: an outside that must stay untouched, hostile layers, an attack through the mount.
//!
//! The client opens everything by `openat2` without following symlinks. So whatever comes from outside came through the
//! daemon. Invariant checked at the end: nothing outside was read (access times), written or created; no secret is in
//! the upper layer; the mount still works; the daemon did not panic and ends by itself.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use crate::support::env::{Scratch, cannot_run, isolated, mounted_tests_impossible};
use crate::support::layers::Layers;
use crate::support::mount::{Mounted, Server};
use crate::support::snapshot::{Compare, Snapshot};

/// What stands in every file outside.
pub const SECRET: &str = "SECRET";
/// Names of files outside, `f0` and so on; layers that are swapped for the outside have files of the same names.
pub const FILES_OUTSIDE: usize = 300;
/// A call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// A time that any reading of a relatime filesystem would change.
const LONG_AGO: Timespec = Timespec {
    tv_sec: 1_000_000_000,
    tv_nsec: 0,
};

/// One attack.
pub struct Siege<'a> {
    about: &'a str,
    lowers: usize,
    data_only: usize,
    lowers_change: bool,
    may_refuse: bool,
    options: &'a str,
}

/// What the attack is given.
pub struct Field<'a> {
    /// The layers on disk, siblings of the outside: `../outside` leads there from each root.
    pub layers: &'a Layers,
    /// The directory with the canaries.
    pub outside: &'a Path,
    /// The mounted view.
    pub inside: Inside,
}

impl<'a> Siege<'a> {
    /// An attack with this many lower layers.
    pub fn new(about: &'a str, lowers: usize) -> Self {
        Siege {
            about,
            lowers,
            data_only: 0,
            lowers_change: false,
            may_refuse: false,
            options: "",
        }
    }

    /// How many lowers, the last ones, are data-only.
    pub fn data_only(mut self, n: usize) -> Self {
        self.data_only = n;
        self
    }

    /// The attacker changes lower layers himself, so they are not compared.
    pub fn lowers_change(mut self) -> Self {
        self.lowers_change = true;
        self
    }

    /// Mount options beside the layers.
    pub fn options(mut self, options: &'a str) -> Self {
        self.options = options;
        self
    }

    /// Refusing the mount is an answer as well.
    pub fn may_refuse(mut self) -> Self {
        self.may_refuse = true;
        self
    }

    /// Builds, mounts, attacks, and looks at what is left.
    pub fn run(
        self,
        build: impl Fn(&Layers, &Path) + Send + Sync,
        attack: impl FnOnce(&Field) + Send,
    ) {
        if let Some(why) = mounted_tests_impossible() {
            return cannot_run(self.about, &why);
        }
        isolated(|| {
            let scratch = Scratch::new();
            let outside = make_outside(scratch.path());
            let mut layers = Layers::new(scratch.path(), self.lowers, true);
            layers.data_only = self.data_only;
            build(&layers, &outside);
            let before = Snapshot::take(&outside).expect("read the outside");
            let lowers = self.snapshots(&layers);
            match Mounted::new(Server::Plyfs, &layers, self.options) {
                Ok(mounted) => {
                    let inside = Inside::open(mounted.path());
                    let field = Field {
                        layers: &layers,
                        outside: &outside,
                        inside,
                    };
                    attack(&field);
                    field.inside.still_works();
                    drop(field);
                    mounted.unmount().expect("unmount");
                }
                Err(why) => assert!(self.may_refuse, "cannot mount: {why}"),
            }
            let after = Snapshot::take(&outside).expect("read the outside");
            unchanged("OUTSIDE WAS TOUCHED", &before, &after);
            for (before, after) in lowers.iter().zip(self.snapshots(&layers)) {
                unchanged("A LOWER LAYER CHANGED", before, &after);
            }
            no_secrets(&layers.upper);
        });
    }

    fn snapshots(&self, layers: &Layers) -> Vec<Snapshot> {
        let lowers = if self.lowers_change {
            &[][..]
        } else {
            &layers.lowers
        };
        lowers
            .iter()
            .map(|layer| Snapshot::take(layer).expect("read a lower layer"))
            .collect()
    }
}

/// The mounted view, by a client that follows no symlink.
pub struct Inside {
    root: OwnedFd,
}

impl Inside {
    /// One more of the same, for a thread.
    pub fn another(&self) -> Inside {
        Inside {
            root: self.root.try_clone().expect("duplicate an fd"),
        }
    }

    fn open(root: &Path) -> Inside {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Inside {
            root: rustix::fs::open(root, flags, Mode::empty()).expect("open the mount"),
        }
    }

    /// Opens; a symlink anywhere is ELOOP.
    pub fn fd(&self, path: impl AsRef<OsStr>, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mode = if flags.contains(OFlags::CREATE) {
            Mode::from_raw_mode(0o644)
        } else {
            Mode::empty()
        };
        // A fifo must not hold the client up. `O_PATH` opens nothing, and openat2 refuses the two together.
        let patience = if flags.contains(OFlags::PATH) {
            OFlags::empty()
        } else {
            OFlags::NONBLOCK
        };
        let flags = flags | OFlags::CLOEXEC | patience;
        Ok(rustix::fs::openat2(
            &self.root,
            path.as_ref().as_bytes(),
            flags,
            mode,
            resolve,
        )?)
    }

    /// The whole content.
    pub fn read(&self, path: impl AsRef<OsStr>) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        fs::File::from(self.fd(path, OFlags::RDONLY)?).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Creates or overwrites.
    pub fn write(&self, path: impl AsRef<OsStr>, data: &[u8]) -> io::Result<()> {
        let fd = self.fd(path, OFlags::WRONLY | OFlags::CREATE)?;
        rustix::io::write(&fd, data)?;
        Ok(())
    }

    /// Names, sorted.
    pub fn list(&self, path: impl AsRef<OsStr>) -> io::Result<Vec<Vec<u8>>> {
        let fd = self.fd(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&fd)? {
            names.push(entry?.file_name().to_bytes().to_vec());
        }
        names.retain(|name| name != b"." && name != b"..");
        names.sort();
        Ok(names)
    }

    /// The directory that holds `path`, and the last name.
    pub fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
        Ok((self.fd(dir, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    /// chmod, not following; on a symlink an error.
    pub fn chmod(&self, path: &str, mode: u32) -> io::Result<()> {
        let fd = self.fd(path, OFlags::RDONLY)?;
        Ok(rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?)
    }

    /// Every call that acts on a name and copies up or removes; errors are fine, the traps are what matters.
    /// False if there was no way to the name.
    pub fn batter(&self, path: &str) -> bool {
        let Ok((dir, name)) = self.parent(path) else {
            return false;
        };
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let times = Timestamps {
            last_access: LONG_AGO,
            last_modification: LONG_AGO,
        };
        let (moved, linked) = (format!("{name}.moved"), format!("{name}.linked"));
        let results = [
            rustix::fs::statat(&dir, name, nofollow).map(drop),
            rustix::fs::readlinkat(&dir, name, Vec::new()).map(drop),
            rustix::fs::utimensat(&dir, name, &times, nofollow),
            rustix::fs::chownat(
                &dir,
                name,
                Some(rustix::fs::Uid::from_raw(7)),
                None,
                nofollow,
            ),
            rustix::fs::linkat(&dir, name, &dir, &linked, AtFlags::empty()),
            rustix::fs::renameat(&dir, name, &dir, &moved),
            rustix::fs::renameat(&dir, &moved, &dir, name),
            rustix::fs::unlinkat(&dir, &linked, AtFlags::empty()),
        ];
        let said: Vec<String> = results.iter().map(|r| format!("{r:?}")).collect();
        assert!(
            !said
                .iter()
                .any(|r| r.contains("NOTCONN") || r.contains("CONNABORTED")),
            "{path}: {said:?}"
        );
        for secret in [
            self.read(path),
            self.read(format!("{path}/secret")),
            self.read(format!("{path}/f0")),
        ] {
            not_secret(path, secret);
        }
        if let Ok(names) = self.list(path) {
            assert!(
                !names.contains(&b"canary".to_vec()),
                "{path} lists the outside"
            );
        }
        for below in ["new", "secret", "dir/new"] {
            // Whether it can be created depends on the trap; where it lands is what is checked.
            drop(self.write(format!("{path}/{below}"), b"from inside"));
        }
        true
    }

    /// Creates, reads, lists and removes a file.
    pub fn still_works(&self) {
        let name = "still-alive";
        self.write(name, b"yes")
            .expect("create a file after the attack");
        assert_eq!(
            self.read(name).expect("read a file after the attack"),
            b"yes"
        );
        assert!(
            self.list(".")
                .expect("list the root after the attack")
                .contains(&name.into())
        );
        rustix::fs::unlinkat(&self.root, name, AtFlags::empty())
            .expect("remove a file after the attack");
    }
}

/// Fails if a read brought what stands outside.
pub fn not_secret(path: &str, read: io::Result<Vec<u8>>) {
    let leaked = read.is_ok_and(|content| content.starts_with(SECRET.as_bytes()));
    assert!(!leaked, "{path}: THE OUTSIDE WAS READ THROUGH THE MOUNT");
}

/// Runs a call that must return, whatever it returns.
pub fn bounded<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = channel();
    std::thread::spawn(move || {
        // Nobody listens when the wait was given up.
        drop(done.send(call()));
    });
    wait.recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("HANGS: {what}"))
}

fn make_outside(scratch: &Path) -> PathBuf {
    let outside = scratch.join("outside");
    fs::create_dir_all(outside.join("dir")).expect("create the outside");
    fs::create_dir(outside.join("empty")).expect("create the outside");
    let names = (0..FILES_OUTSIDE).map(|n| format!("f{n}"));
    for name in names.chain(["secret", "canary", "dir/secret"].map(String::from)) {
        fs::write(outside.join(&name), SECRET).expect("create a canary");
        old(&outside.join(&name));
    }
    for dir in ["dir", "empty", "."] {
        old(&outside.join(dir));
    }
    outside
}

fn old(path: &Path) {
    let times = Timestamps {
        last_access: LONG_AGO,
        last_modification: LONG_AGO,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("set times");
}

fn unchanged(what: &str, before: &Snapshot, after: &Snapshot) {
    let differences = before.differences(after, Compare::Untouched);
    assert!(
        differences.is_empty(),
        "{what}:\n{}",
        differences.join("\n")
    );
}

/// A secret in the upper layer was copied up from outside.
fn no_secrets(dir: &Path) {
    let entries = match fs::read_dir(dir) {
        // Deeper than a path reaches; the test that digs there looks itself.
        Err(e) if e.raw_os_error() == Some(libc::ENAMETOOLONG) => return,
        entries => entries.expect("read the upper layer"),
    };
    for entry in entries {
        let entry = entry.expect("read the upper layer");
        let kind = entry.file_type().expect("read the upper layer");
        if kind.is_dir() {
            no_secrets(&entry.path());
        } else if kind.is_file() {
            not_secret(&entry.path().to_string_lossy(), fs::read(entry.path()));
        }
    }
}

/// The frame itself: reading, listing, writing and creating outside are all noticed.
#[test]
fn the_frame_notices_every_touch() {
    let name = "the frame of the siege";
    if let Some(why) = mounted_tests_impossible() {
        return cannot_run(name, &why);
    }
    isolated(|| {
        let scratch = Scratch::new();
        let outside = make_outside(scratch.path());
        type Touch = fn(&Path);
        let touches: [(&str, Touch); 5] = [
            ("read", |o| drop(fs::read(o.join("secret")))),
            ("list", |o| {
                drop(fs::read_dir(o.join("dir")).map(Iterator::count))
            }),
            ("write", |o| drop(fs::write(o.join("dir/secret"), SECRET))),
            ("create", |o| drop(fs::write(o.join("empty/new"), "x"))),
            ("open", |o| {
                drop(
                    fs::File::options()
                        .append(true)
                        .create(true)
                        .open(o.join("created")),
                )
            }),
        ];
        for (what, touch) in touches {
            let before = Snapshot::take(&outside).expect("read the outside");
            assert!(
                before
                    .differences(&before.clone(), Compare::Untouched)
                    .is_empty()
            );
            touch(&outside);
            let after = Snapshot::take(&outside).expect("read the outside");
            assert!(
                !before.differences(&after, Compare::Untouched).is_empty(),
                "{what} is not noticed"
            );
        }
    });
}

//! [`Case`]: layers, an overlay over them, a test, and what must hold after every test whatever it did:
//! the caller can give everything back, the lower layers and the work directory are clean, and a fresh overlay over
//! the same directories shows the same tree.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use plyfs::layer::filesystem::Filesystems;
use plyfs::layer::keys::Namespace;
use plyfs::layer::layer::{Layer, Problem};
use plyfs::overlay::options::{Options, UpperDirs, XattrMode};
use plyfs::overlay::{MountError, Overlay};
use plyfs::sys::errno::Errno;
use tempfile::TempDir;

use super::client::Client;
use super::tree::{Numbers, differences};
use crate::support::env::cannot_run;
use crate::support::layers::{Layers, Tree as LayerTree};
use crate::support::snapshot::{Compare, Entry, Snapshot, xattrs};

/// A directory for layers: below `PLYFS_TEST_DIR`, else where cargo keeps the files of tests, else (another user runs
/// the binary) the temporary directory.
pub fn scratch() -> TempDir {
    // What the library is asked to make gets the modes it is asked for: its caller has no umask.
    static UMASK: Once = Once::new();
    UMASK.call_once(|| {
        rustix::process::umask(rustix::fs::Mode::empty());
    });
    if let Some(dir) = std::env::var_os("PLYFS_TEST_DIR") {
        return tempfile::tempdir_in(dir).unwrap();
    }
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// The namespaces that marks can be written in here: `user` for everybody, `trusted` for root.
pub fn namespaces() -> Vec<Namespace> {
    let dir = scratch();
    let can_write = |name: &str| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(dir.path(), name, b"y", flags).is_ok()
    };
    assert!(
        can_write("user.plyfs.probe"),
        "{:?} takes no attributes, set PLYFS_TEST_DIR",
        dir.path()
    );
    if can_write("trusted.plyfs.probe") {
        return vec![Namespace::User, Namespace::Trusted];
    }
    static TOLD: Once = Once::new();
    TOLD.call_once(|| cannot_run("trusted.* marks", "needs root; user.* marks are tested"));
    vec![Namespace::User]
}

/// Is this process root? Device nodes and foreign owners need it.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The attribute name of a mark.
pub fn mark(namespace: Namespace, name: &str) -> String {
    match namespace {
        Namespace::Trusted => format!("trusted.overlay.{name}"),
        Namespace::User => format!("user.overlay.{name}"),
    }
}

/// Layers under construction, with the namespace of the marks.
pub struct Build {
    pub layers: Layers,
    pub namespace: Namespace,
}

impl Build {
    /// Lower layer `n`; 1 is the top-most.
    pub fn lower(&self, n: usize) -> LayerTree<'_> {
        self.layers.lower(n)
    }

    /// The upper layer.
    pub fn upper(&self) -> LayerTree<'_> {
        self.layers.upper()
    }

    /// The name of a mark in the namespace in use.
    pub fn mark(&self, name: &str) -> String {
        mark(self.namespace, name)
    }

    /// Makes a directory of a layer opaque.
    pub fn opaque(&self, layer: LayerTree<'_>, path: &str) {
        layer.dir(path).xattr(path, &self.mark("opaque"), "y");
    }
}

type Prepare = Box<dyn Fn(&Build)>;
type Tweak = Box<dyn Fn(&mut Options)>;

/// A test to be.
pub struct Case {
    lowers: usize,
    writable: bool,
    durable: bool,
    build: Prepare,
    tweak: Tweak,
}

/// A test over one lower layer, made by `build`.
pub fn over(build: impl Fn(LayerTree<'_>) + 'static) -> Case {
    stack(1, move |b| build(b.lower(1)))
}

/// A test over several lower layers.
pub fn stack(lowers: usize, build: impl Fn(&Build) + 'static) -> Case {
    Case {
        lowers,
        writable: true,
        durable: true,
        build: Box::new(build),
        tweak: Box::new(|_| {}),
    }
}

impl Case {
    /// Without an upper layer.
    pub fn read_only(mut self) -> Case {
        self.writable = false;
        self
    }

    /// With other options.
    pub fn options(mut self, tweak: impl Fn(&mut Options) + 'static) -> Case {
        self.tweak = Box::new(tweak);
        self
    }

    /// The end does not mount again: the test left the directories so that nobody can.
    pub fn ends_here(mut self) -> Case {
        self.durable = false;
        self
    }

    /// Runs the test, once for each namespace of marks.
    pub fn test(self, test: impl Fn(&mut View)) {
        for namespace in namespaces() {
            let mut view = self.view(namespace);
            test(&mut view);
            view.finish(self.durable);
        }
    }

    /// Runs a test in one namespace that says what went wrong instead of panicking.
    pub fn try_in<E>(
        self,
        namespace: Namespace,
        test: impl FnOnce(&mut View) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut view = self.view(namespace);
        test(&mut view)?;
        view.finish(self.durable);
        Ok(())
    }

    fn view(&self, namespace: Namespace) -> View {
        let dir = scratch();
        let layers = Layers::new(dir.path(), self.lowers, self.writable);
        let build = Build { layers, namespace };
        (self.build)(&build);
        build.layers.settle();
        let layers = build.layers;
        let upper = self.writable.then(|| UpperDirs {
            upper: layers.upper.clone(),
            work: layers.work.clone(),
        });
        let mut options = Options::new(layers.lowers.clone(), upper).unwrap();
        options.xattr = match namespace {
            Namespace::Trusted => XattrMode::Trusted,
            Namespace::User => XattrMode::User,
        };
        (self.tweak)(&mut options);
        View {
            lowers: snapshots(&layers.lowers),
            client: Some(mount(&options).unwrap()),
            dir,
            layers,
            namespace,
            options,
        }
    }
}

/// A client of an overlay on layers that another one has just let go. A test beside this one may be starting a program,
/// which has the lock on the upper layer, too, between fork(2) and exec(2).
fn mount_again(options: &Options) -> Client {
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        match mount(options) {
            Err(MountError::Layer(error))
                if matches!(error.problem, Problem::InUse) && Instant::now() < give_up =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result.unwrap(),
        }
    }
}

/// A client of a new overlay.
pub fn mount(options: &Options) -> Result<Client, MountError> {
    let marks_are_few = options.xattr != XattrMode::Trusted;
    Overlay::new(options).map(|overlay| Client::new(overlay, marks_are_few))
}

fn snapshots(dirs: &[PathBuf]) -> Vec<Snapshot> {
    dirs.iter()
        .map(|dir| Snapshot::take(dir).unwrap())
        .collect()
}

/// The lower layers did not change in any way.
pub fn assert_untouched(dirs: &[PathBuf], before: &[Snapshot]) {
    for (dir, before) in dirs.iter().zip(before) {
        let now = Snapshot::take(dir).unwrap();
        let changes = before.differences(&now, Compare::Untouched);
        assert!(
            changes.is_empty(),
            "a lower layer changed:\n{}",
            changes.join("\n")
        );
    }
}

/// Nothing is left in the work directory but the shared whiteout, in whichever form.
pub fn assert_work_clean(work: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let inner = work.join("work");
    // Mode 0 keeps everybody out who is not root.
    std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o700)).unwrap();
    let left = Snapshot::take(&inner).unwrap();
    let odd: Vec<_> = left
        .entries
        .iter()
        .filter(|(path, entry)| *path != "." && !entry.as_ref().is_ok_and(may_stay))
        .map(|(path, _)| path)
        .collect();
    assert!(odd.is_empty(), "left in the work directory: {odd:?}");
    assert!(
        left.entries.len() <= 2,
        "more than one whiteout in the work directory"
    );
}

fn may_stay(entry: &Entry) -> bool {
    entry.is_whiteout() || entry.may_be_marker()
}

/// The overlay of a test, its client and its directories.
pub struct View {
    client: Option<Client>,
    dir: TempDir,
    lowers: Vec<Snapshot>,
    pub layers: Layers,
    pub namespace: Namespace,
    pub options: Options,
}

impl Deref for View {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().unwrap()
    }
}

impl DerefMut for View {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().unwrap()
    }
}

impl View {
    /// Ends the overlay and starts another over the same directories.
    pub fn remount(&mut self) {
        self.client = None;
        self.client = Some(mount_again(&self.options));
    }

    /// A path in the upper layer on disk.
    pub fn up(&self, path: &str) -> PathBuf {
        self.layers.upper.join(path)
    }

    /// All paths of the upper layer, with a word on what is special: `a/f whiteout`.
    pub fn upper_paths(&self) -> Vec<String> {
        let upper = Snapshot::take(&self.layers.upper).unwrap();
        let words = |(path, entry): (String, Result<Entry, String>)| {
            let entry = entry.unwrap();
            let mut words = path.strip_prefix("./").unwrap_or(&path).to_string();
            if entry.is_whiteout() {
                words += " whiteout";
            }
            if entry.xattrs.contains_key(&self.mark("opaque")) {
                words += " opaque";
            }
            words
        };
        upper
            .entries
            .into_iter()
            .filter(|(path, _)| path != ".")
            .map(words)
            .collect()
    }

    /// The name of a mark in the namespace in use.
    pub fn mark(&self, name: &str) -> String {
        mark(self.namespace, name)
    }

    /// A mark of an object of the upper layer.
    pub fn upper_mark(&self, path: &str, name: &str) -> Option<Vec<u8>> {
        xattrs(&self.up(path)).unwrap().remove(&self.mark(name))
    }

    /// Do inode numbers survive a remount here (7.2)? Only where the filesystem tells its UUID.
    pub fn has_stable_numbers(&self) -> bool {
        let layer = Layer::open(
            "lowerdir",
            &self.layers.lowers[0],
            &mut Filesystems::default(),
        )
        .unwrap();
        layer.uuid.is_some()
    }

    fn finish(mut self, durable: bool) {
        let numbers = match self.has_stable_numbers() {
            true => Numbers::FilesAndDirs,
            false => Numbers::No,
        };
        let before = durable.then(|| self.tree(numbers));
        self.forget_all();
        self.client = None;
        if let Some(before) = before {
            if self.layers.writable && !self.options.read_only {
                assert_work_clean(&self.layers.work);
            }
            let fresh = mount_again(&self.options);
            let difference = differences(&before, &fresh.tree(numbers));
            assert!(difference.is_empty(), "after a remount:{difference}");
        }
        assert_untouched(&self.layers.lowers, &self.lowers);
    }
}

/// The code of a failure, for results whose value has no equality.
pub fn code<T: std::fmt::Debug>(result: Result<T, Errno>) -> Errno {
    match result {
        Ok(value) => panic!("should fail: {value:?}"),
        Err(errno) => errno,
    }
}

//! Where layers live: an ext4 image in memory, mounted in a namespace of this program's own.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;

use crate::scenario::{Scenario, Site};

/// Set in the process that has a namespace of its own.
const INSIDE: &str = "PLYFS_COMPARE_INSIDE";

/// Is this that process?
pub fn in_own_namespace() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Becomes it.
pub fn enter_own_namespace() {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command.arg(std::env::current_exe().unwrap());
    command.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    panic!("unshare: {} (this needs root)", command.exec());
}

/// Says so when something else is running.
pub fn warn_if_busy() {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = load.split(' ').next().and_then(|load| load.parse().ok());
    if busy.is_some_and(|load: f64| load > 0.5) {
        eprintln!("the load is {load}: figures are only worth something on an idle machine");
    }
}

/// The image and its mount point; gone at the end.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Makes the image in this directory. It is sparse.
    pub fn new(within: &Path) -> Place {
        let place = Place {
            dir: tempfile::tempdir_in(within).unwrap(),
        };
        fs::create_dir(place.mount_point()).unwrap();
        let image = fs::File::create(place.image()).unwrap();
        image.set_len(12 << 30).unwrap();
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args([
            "-q",
            "-F",
            "-N",
            "1500000",
            "-E",
            "lazy_itable_init=0,nodiscard",
        ]);
        must(mkfs.arg(place.image()));
        place.mount();
        place
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount_point(&self) -> PathBuf {
        self.dir.path().join("at")
    }

    fn mount(&self) {
        let mut mount = Command::new("mount");
        // What is removed gives its memory back.
        mount.args(["-t", "ext4", "-o", "loop,discard"]);
        must(mount.arg(self.image()).arg(self.mount_point()));
    }

    /// Takes all that is cached of the layers out of memory, and of nothing else on this machine.
    pub fn cool(&self) {
        self.unmount();
        self.mount();
    }

    fn unmount(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(errno) = rustix::mount::unmount(self.mount_point(), UnmountFlags::empty()) {
            // The namespace of a process that has just ended may hold it for a moment more.
            assert!(Instant::now() < deadline, "unmount the image: {errno}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The directories of the scenario.
    pub fn site(&self, size: u64) -> Site {
        Site {
            root: self.mount_point().join("site"),
            size,
        }
    }

    /// Makes the lower layers of a scenario, in place of those of the last one.
    pub fn build(&self, scenario: &Scenario, size: u64) {
        let site = self.site(size);
        remove(&site.root);
        fs::create_dir(&site.root).unwrap();
        fs::create_dir(site.root.join("m")).unwrap();
        (scenario.build)(&site);
    }

    /// An empty upper layer and work directory.
    pub fn refresh(&self) {
        for name in ["u", "w"] {
            let at = self.site(100).root.join(name);
            remove(&at);
            fs::create_dir(&at).unwrap();
        }
        // What was removed is not to be written by whoever runs next.
        rustix::fs::syncfs(fs::File::open(self.mount_point()).unwrap()).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left to the namespace if it is busy; the image is removed anyway.
        let _busy = rustix::mount::unmount(self.mount_point(), UnmountFlags::DETACH);
    }
}

fn remove(at: &Path) {
    if at.exists() {
        fs::remove_dir_all(at).unwrap_or_else(|e| panic!("{}: {e}", at.display()));
    }
}

/// Runs a command that must succeed.
pub fn must(command: &mut Command) {
    let status = command
        .status()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}

//! A place to call the program in, and what is asked of every call.
//!
//! A [`Place`] is a scratch directory with a few layers in a mount namespace of its own. Dropped, it ends the daemons
//! that were started in it, known by its unique path in their command lines.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

use crate::support::env::{Scratch, cannot_run, isolated, mounted_tests_impossible};

/// Longer waits mean that it will never happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// A user without any privilege.
pub const NOBODY: u32 = 65534;

/// Runs `test` in a fresh place, or says why it cannot.
pub fn in_place(name: &str, test: impl FnOnce(&Place) + Send) {
    if let Some(why) = mounted_tests_impossible() {
        return cannot_run(name, &why);
    }
    isolated(|| test(&Place::new()));
}

/// What a call said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Layers `l1` (file `top`, `both`) and `l2` (file `low`, `both`), empty `u`, `w`, `m`.
pub struct Place {
    scratch: Scratch,
    pub root: PathBuf,
}

impl Place {
    fn new() -> Place {
        let scratch = Scratch::new();
        let root = scratch.path().to_path_buf();
        let place = Place { scratch, root };
        for dir in ["l1", "l2", "u", "w", "m"] {
            fs::create_dir(place.at(dir)).unwrap();
        }
        for (file, text) in [
            ("l1/top", "top"),
            ("l1/both", "upper one"),
            ("l2/low", "low"),
            ("l2/both", "lower one"),
        ] {
            fs::write(place.at(file), text).unwrap();
        }
        place
    }

    /// A path in the place.
    pub fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A fresh tmpfs in the place.
    pub fn tmpfs(&self, name: &str) -> PathBuf {
        let at = self.at(name);
        fs::create_dir_all(&at).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", &at, "tmpfs", flags, c"mode=0755").unwrap();
        at
    }

    /// `lowerdir=..,upperdir=..,workdir=..` of the place's layers.
    pub fn options(&self) -> String {
        let r = self.root.display();
        format!("lowerdir={r}/l1:{r}/l2,upperdir={r}/u,workdir={r}/w")
    }

    /// Calls the program in the place.
    pub fn plyfs<S: AsRef<OsStr>>(&self, args: &[S]) -> Said {
        self.program(env!("CARGO_BIN_EXE_plyfs"), args)
    }

    /// Calls the program by another name.
    pub fn plyfs_as<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Said {
        let link = self.at(name);
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_plyfs"), &link).unwrap();
        }
        let said = self.program(&link, args);
        fs::remove_file(link).unwrap();
        said
    }

    /// Calls any program in the place, and waits for the end of its pipes.
    pub fn program<S: AsRef<OsStr>>(&self, program: impl AsRef<OsStr>, args: &[S]) -> Said {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.root);
        said(&mut command)
    }

    /// A copy of the program that every user may run.
    pub fn public_binary(&self) -> PathBuf {
        let copy = self.at("plyfs");
        if !copy.exists() {
            // By a process of its own: what another thread forks just now would hold the copy open for writing.
            let mut cp = Command::new("cp");
            let status = cp.arg(env!("CARGO_BIN_EXE_plyfs")).arg(&copy).status();
            assert!(status.unwrap().success());
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        }
        copy
    }

    /// Runs a shell script as a user without privileges; `$P` is the program.
    pub fn as_nobody(&self, script: &str) -> Said {
        let id = NOBODY.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .args(["env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"])
            .arg(format!("P={}", self.public_binary().display()))
            .args(["sh", "-c", script])
            .current_dir(&self.root);
        said(&mut command)
    }

    /// Gives everything in the place to the user without privileges.
    pub fn give_to_nobody(&self) {
        let id = format!("{NOBODY}:{NOBODY}");
        let mut chown = Command::new("chown");
        let status = chown.args(["-R", &id]).arg(&self.root).status();
        assert!(status.unwrap().success());
    }

    /// Makes /dev/fuse what distributions make it, for all users, in this namespace.
    pub fn open_device(&self) {
        self.replace_device(0o666);
    }

    /// A /dev/fuse with this mode, in this namespace.
    pub fn replace_device(&self, mode: u32) {
        let dev = self.tmpfs("dev");
        let node = dev.join("fuse");
        let kind = rustix::fs::FileType::CharacterDevice;
        let number = rustix::fs::makedev(10, 229);
        let open = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &node, kind, open, number).unwrap();
        fs::set_permissions(&node, fs::Permissions::from_mode(mode)).unwrap();
        rustix::mount::mount_bind(&node, "/dev/fuse").unwrap();
    }

    /// Mounts the place's layers at `m` and insists on success.
    pub fn mount(&self) {
        let said = self.plyfs(&["mount", "-o", &self.options(), "m"]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    }

    /// What the mount table says of `m`: filesystem types, lowest first.
    pub fn mounts_at(&self, name: &str) -> Vec<String> {
        mounts()
            .into_iter()
            .filter(|(point, _)| *point == self.at(name))
            .map(|(_, fstype)| fstype)
            .collect()
    }

    /// Running processes of the program that have the place in their command line.
    pub fn daemons(&self) -> Vec<u32> {
        let place = self.root.as_os_str().as_encoded_bytes();
        let holds = |text: &[u8]| text.windows(place.len()).any(|w| w == place);
        processes()
            .filter(|pid| {
                let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                let state = String::from_utf8_lossy(&file("stat")).into_owned();
                let dead = state
                    .rsplit(") ")
                    .next()
                    .is_some_and(|s| s.starts_with(['Z', 'X']));
                let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
                let ours = holds(&file("cmdline")) || holds(cwd.as_os_str().as_encoded_bytes());
                let comm = file("comm");
                ours && !dead && (comm.starts_with(b"plyfs") || comm.starts_with(b"fuse-overlayfs"))
            })
            .collect()
    }

    /// The one daemon.
    pub fn daemon(&self) -> u32 {
        match self.daemons().as_slice() {
            [one] => *one,
            other => panic!("daemons: {other:?}"),
        }
    }

    /// Waits until no daemon is left.
    pub fn daemons_end(&self) {
        wait_until("the daemon's end", || self.daemons().is_empty());
    }

    /// Every name below the place, what is mounted not included.
    pub fn names(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut todo = vec![self.root.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    todo.push(entry.path());
                }
                found.insert(entry.path());
            }
        }
        found
    }

    /// `plyfs umount`, as often as it takes: a test on another thread that starts a program holds copies of this
    /// test's open files for a moment.
    pub fn unmount(&self, name: &str) {
        wait_until("plyfs umount", || {
            let said = self.plyfs(&["umount", name]);
            let busy = said.err.contains("busy");
            assert!(
                busy || (said.code, said.err.as_str()) == (Some(0), ""),
                "{said:?}"
            );
            !busy
        });
    }

    /// umount(2), as fast as it gets: does not wait for the daemon. As often as it takes, see `unmount`.
    pub fn umount_now(&self, name: &str) {
        wait_until("umount", || match self.umount(&self.at(name)) {
            Err(rustix::io::Errno::BUSY) => false,
            other => {
                other.unwrap();
                true
            }
        });
    }

    /// A tmpfs the test is done with; an error if somebody still uses it.
    pub fn umount(&self, at: &Path) -> rustix::io::Result<()> {
        rustix::mount::unmount(at, UnmountFlags::NOFOLLOW)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.daemons() {
            signal(pid, Signal::KILL);
        }
        for (point, _) in mounts().iter().rev() {
            if point.starts_with(self.scratch.path()) || point == Path::new("/dev/fuse") {
                // Whatever is left goes with the namespace.
                let _gone = rustix::mount::unmount(point, UnmountFlags::DETACH);
            }
        }
    }
}

impl Said {
    /// Insists on a failure that is one line and says all of `wanted`.
    pub fn failed(&self, code: i32, wanted: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with("plyfs: "), "{self:?}");
        for text in wanted {
            assert!(self.err.contains(text), "no {text:?} in {self:?}");
        }
    }

    /// Insists on success.
    pub fn worked(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }
}

fn said(command: &mut Command) -> Said {
    command.stdin(Stdio::null());
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn mounts() -> Vec<(PathBuf, String)> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let point = head.split(' ').nth(4)?;
        Some((PathBuf::from(point), tail.split(' ').next()?.to_string()))
    };
    table.lines().filter_map(line).collect()
}

/// Sends a signal to a process that may have ended.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended.
    let _gone = rustix::process::kill_process(pid, signal);
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Words of a command line.
pub fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

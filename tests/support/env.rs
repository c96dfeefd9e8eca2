//! Where a test runs: a private mount namespace, scratch space on a filesystem that can be an upper layer, and the loud
//! refusal when the machine cannot run the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::ffi;

/// `f_type` of ext2, ext3 and ext4.
const EXT4_MAGIC: i64 = 0xef53;

/// Runs `test` on a thread that has a mount namespace of its own, and passes a panic on.
///
/// A thread, because a mount namespace may belong to a single thread, and because the thread also gets its own working
/// directory and umask; the daemons it starts inherit the namespace.
pub fn isolated<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let body = || {
        ffi::unshare_mounts().expect("unshare the mount namespace");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).expect("make mounts private");
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        test()
    };
    std::thread::scope(|scope| match scope.spawn(body).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Says, in words nobody overlooks, that a test did not run; in CI that is a failure.
pub fn cannot_run(test: &str, why: &str) {
    // Past the capture of libtest, which swallows what a passing test prints.
    let words = format!("\n*** CANNOT RUN HERE: {test}: {why}\n");
    std::io::Write::write_all(&mut std::io::stderr(), words.as_bytes()).expect("write to stderr");
    let ci = std::env::var("CI").is_ok_and(|v| v == "true" || v == "1");
    assert!(
        !ci,
        "CI=true: a test that cannot run is a failure: {test}: {why}"
    );
}

/// Why mounted tests cannot run here at all, if they cannot.
pub fn mounted_tests_impossible() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root (mounts, trusted.* xattrs, device nodes)".into());
    }
    if !Path::new("/dev/fuse").exists() {
        return Some("/dev/fuse is missing".into());
    }
    None
}

/// Why kernel overlayfs cannot judge here, if it cannot.
pub fn kernel_overlay_impossible() -> Option<String> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|l| l.ends_with("\toverlay")) {
        return None;
    }
    // The module may exist and not be loaded yet; it loads at the first mount.
    match Command::new("modprobe").arg("overlay").status() {
        Ok(status) if status.success() => None,
        _ => Some("this kernel has no overlay filesystem".into()),
    }
}

/// A directory for one test, gone at the end; on a filesystem that can hold an upper layer.
pub struct Scratch {
    root: PathBuf,
    mounts: Vec<PathBuf>,
}

impl Scratch {
    /// A fresh directory below `PLYFS_TEST_DIR` or the temporary directory. Where that filesystem cannot be an upper
    /// layer (a container's own overlay), a tmpfs is mounted on it.
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let base =
            std::env::var_os("PLYFS_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        // Four digits, so that no name is the beginning of another: tests look for theirs in command lines.
        let name = format!(
            "plyfs-test-{}-{:04}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let root = base.join(name);
        fs::create_dir(&root).expect("create the scratch directory");
        // Tests act as other users too, so the way down must be open.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("chmod scratch");
        let mut scratch = Scratch {
            root,
            mounts: Vec::new(),
        };
        if !can_be_upper(&scratch.root) {
            let root = scratch.root.clone();
            scratch.mount_tmpfs(&root, "2g");
        }
        scratch
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Mounts a fresh tmpfs of a size such as `8m` at `name` and returns its root.
    pub fn tmpfs(&mut self, name: &str, size: &str) -> PathBuf {
        let at = self.root.join(name);
        fs::create_dir_all(&at).expect("create a mount point");
        self.mount_tmpfs(&at, size);
        at
    }

    /// A directory on ext4: a plain one where the scratch space is ext4, else the root of a loop-mounted image.
    pub fn ext4(&mut self, name: &str) -> Result<PathBuf, String> {
        let at = self.root.join(name);
        fs::create_dir_all(&at).expect("create a directory");
        if rustix::fs::statfs(&at).is_ok_and(|s| s.f_type == EXT4_MAGIC) {
            return Ok(at);
        }
        let image = self.image(&format!("{name}.img"), 512 << 20);
        let image = image.to_string_lossy();
        run("mkfs.ext4", &["-q", "-F", "-N", "200000", &image])?;
        self.mounted(name, &["mount", "-o", "loop", &image])
    }

    /// Mounts at `name` by this command, to which the mount point is added; unmounted at the end.
    pub fn mounted(&mut self, name: &str, command: &[&str]) -> Result<PathBuf, String> {
        let at = self.root.join(name);
        fs::create_dir_all(&at).expect("create a mount point");
        let (program, args) = command.split_first().expect("a command");
        let target = at.to_string_lossy().into_owned();
        run(program, &[args, &[&target]].concat())?;
        self.mounts.push(at.clone());
        Ok(at)
    }

    /// Mounts a fresh filesystem of this type at `name`; `ntfs` is one that ignores case.
    pub fn filesystem(&mut self, name: &str, kind: &str) -> Result<PathBuf, String> {
        let image = self.image(&format!("{}.img", name.replace('/', "-")), 512 << 20);
        let image = image.to_string_lossy();
        if kind == "ntfs" {
            run("mkfs.ntfs", &["-q", "-F", &image])?;
            let ignore_case = ["lowntfs-3g", "-o", "ignore_case,noatime", &image];
            return self.mounted(name, &ignore_case);
        }
        run(&format!("mkfs.{kind}"), &["-q", &image])?;
        self.mounted(name, &["mount", "-t", kind, "-o", "loop", &image])
    }

    /// Mounts over `name` a filesystem of this type that holds what is there, and cannot be written.
    pub fn packed(&mut self, name: &str, kind: &str) -> Result<PathBuf, String> {
        let from = self.root.join(name);
        let from = from.to_string_lossy();
        if kind == "overlay" {
            let empty = self.root.join("empty");
            fs::create_dir_all(&empty).expect("create a directory");
            let layers = format!("lowerdir={from}:{}", empty.display());
            return self.mounted(name, &["mount", "-t", kind, "-o", &layers, "none"]);
        }
        let image = self.root.join(format!("{}.{kind}", name.replace('/', "-")));
        let image = image.to_string_lossy();
        match kind {
            "squashfs" => run("mksquashfs", &[&from, &image, "-quiet", "-no-progress"])?,
            _ => run(&format!("mkfs.{kind}"), &["--quiet", &image, &from])?,
        }
        self.mounted(name, &["mount", "-t", kind, "-o", "loop,ro", &image])
    }

    /// Gives what is at `name` to a user without privileges, and in this mount namespace /dev/fuse to everybody.
    pub fn give(&mut self, name: &str, user: u32) {
        let at = self.root.join(name).to_string_lossy().into_owned();
        run("chown", &["-R", &format!("{user}:{user}"), &at]).expect("give the place away");
        let node = self.tmpfs("dev", "1m").join("fuse");
        let made = ["-m", "666", &node.to_string_lossy(), "c", "10", "229"];
        run("mknod", &made).expect("make the device");
        rustix::mount::mount_bind(&node, "/dev/fuse").expect("mount the device");
    }

    /// A file of zeros of this size, to hold a filesystem.
    pub fn image(&self, name: &str, bytes: u64) -> PathBuf {
        let image = self.root.join(name);
        let file = fs::File::create(&image).expect("create the image");
        file.set_len(bytes).expect("size the image");
        image
    }

    fn mount_tmpfs(&mut self, at: &Path, size: &str) {
        let options =
            std::ffi::CString::new(format!("mode=0755,size={size}")).expect("no NUL in options");
        rustix::mount::mount(
            "tmpfs",
            at,
            "tmpfs",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .expect("mount a tmpfs");
        self.mounts.push(at.to_path_buf());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for at in self.mounts.iter().rev() {
            // Whatever was in use is released with the namespace; the directory below must not be removed then.
            if rustix::mount::unmount(at, UnmountFlags::DETACH).is_err() {
                return;
            }
        }
        // A leftover directory is not worth hiding the failure that caused it.
        if let Err(error) = remove_tree(&self.root) {
            eprintln!("scratch directory {}: {error}", self.root.display());
        }
    }
}

/// Removes a tree, taking away immutable and append-only flags where a test left them. Does not cross mounts: the
/// removal of a mount point fails with EBUSY.
fn remove_tree(root: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(root) {
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            // It also fails, having done the rest, where a device node is on the way.
            let _partly = run("chattr", &["-R", "-f", "-ia", &root.to_string_lossy()]);
            fs::remove_dir_all(root)
        }
        other => other,
    }
}

/// Can a directory of this filesystem be an upper layer of kernel overlayfs, with all its marks?
fn can_be_upper(dir: &Path) -> bool {
    const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
    let kind = rustix::fs::statfs(dir).map(|s| s.f_type);
    if kind == Ok(OVERLAYFS_MAGIC) {
        return false;
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(dir, "trusted.plyfs.probe", b"y", flags).is_ok()
        && rustix::fs::lremovexattr(dir, "trusted.plyfs.probe").is_ok()
}

/// Runs a program of the system; the error names it and what it said.
pub fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let out = Command::new(program)
        .args(args)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!(
        "{program} {args:?}: {}: {}",
        out.status,
        String::from_utf8_lossy(&out.stderr).trim()
    ))
}

/// Starts a program that was written a moment ago. Between fork and exec, the child of another test's thread holds a
/// copy of every descriptor, so the program may count as open for writing for a moment more.
pub fn spawn_fresh(command: &mut Command) -> std::io::Result<Child> {
    let mut result = command.spawn();
    for _ in 0..1000 {
        match &result {
            Err(e) if e.raw_os_error() == Some(libc::ETXTBSY) => {}
            _ => break,
        }
        std::thread::sleep(Duration::from_millis(1));
        result = command.spawn();
    }
    result
}

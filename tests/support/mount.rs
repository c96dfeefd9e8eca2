//! A mounted merged view, by plyfs or by the judge, that never outlives its value.
//!
//! plyfs runs in the foreground as a child, so its pid is known and its stderr kept. A watchdog kills it and aborts its
//! FUSE connection when a test takes too long: blocked calls then fail and the test ends with a message.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal};

use super::layers::Layers;
use super::{rings, userns};

/// A mount that lives longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a start, an unmount or the daemon's end may take.
const STEP_PATIENCE: Duration = Duration::from_secs(20);
/// Options under which the kernel does what plyfs does by default.
pub const KERNEL_DEFAULTS: &str = "index=off,redirect_dir=off,metacopy=off,xino=off";

/// The test program of this name tests by rings what others test by /dev/fuse.
pub const BY_RINGS: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"rings");

/// Who serves a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Plyfs,
    Kernel,
}

/// A mounted merged view.
pub struct Mounted {
    pub server: Server,
    at: PathBuf,
    daemon: Option<Daemon>,
    mounted: bool,
}

struct Daemon {
    child: Child,
    stderr: PathBuf,
    hung: Arc<AtomicBool>,
    /// Dropping it tells the watchdog that all is well.
    watched: Option<Sender<()>>,
    watchdog: Option<JoinHandle<()>>,
}

impl Mounted {
    /// Mounts `layers` at their mount point; `extra` options are appended. The error is what the server said.
    pub fn new(server: Server, layers: &Layers, extra: &str) -> Result<Mounted, String> {
        match server {
            Server::Kernel => Self::kernel(layers, extra),
            Server::Plyfs => Self::plyfs_without(&[], layers, extra),
        }
    }

    fn kernel(layers: &Layers, extra: &str) -> Result<Mounted, String> {
        let extra = if extra.is_empty() {
            KERNEL_DEFAULTS
        } else {
            extra
        };
        let options = format!("{},{extra}", layers.options());
        let data = std::ffi::CString::new(options.clone()).expect("no NUL in options");
        rustix::mount::mount(
            "overlay",
            &layers.merged,
            "overlay",
            MountFlags::empty(),
            Some(data.as_c_str()),
        )
        .map_err(|e| {
            format!(
                "kernel overlayfs: {}: {options}",
                super::words::errno_name(&e.into())
            )
        })?;
        Ok(Mounted {
            server: Server::Kernel,
            at: layers.merged.clone(),
            daemon: None,
            mounted: true,
        })
    }

    /// As `new` plyfs, on a kernel that lacks these system calls.
    pub fn plyfs_without(
        syscalls: &[libc::c_long],
        layers: &Layers,
        extra: &str,
    ) -> Result<Mounted, String> {
        let mut options = layers.options();
        if !extra.is_empty() {
            options = format!("{options},{extra}");
        }
        if BY_RINGS {
            options += ",rings=on";
        }
        let by_rings = options.contains("rings=on");
        let _offered = by_rings.then(rings::Offered::new).transpose()?;
        let mut command = Command::new(userns::program());
        command
            .args(["mount", "-f", "-o", &options])
            .arg(&layers.merged);
        if !syscalls.is_empty() {
            super::ffi::without_syscalls(&mut command, syscalls);
        }
        Self::plyfs_by(command, &layers.merged)
    }

    /// As `new`, by a command of the caller's own (a tracer, another spelling) that stays in the foreground.
    pub fn plyfs_by(mut command: Command, at: &Path) -> Result<Mounted, String> {
        let before = mount_id(at);
        let stderr = at.with_file_name(format!("daemon-{}.log", unique()));
        let log = fs::File::create(&stderr).map_err(|e| e.to_string())?;
        command
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().map_err(|e| format!("start plyfs: {e}"))?;
        let hung = Arc::new(AtomicBool::new(false));
        let (watched, released) = channel();
        let pid = Pid::from_child(&child);
        let (place, flag) = (at.to_path_buf(), hung.clone());
        // Of the same namespace, as threads inherit it: the watchdog sees the mount.
        let watchdog = Some(std::thread::spawn(move || {
            watch(&released, pid, &place, &flag)
        }));
        let daemon = Daemon {
            child,
            stderr,
            hung,
            watched: Some(watched),
            watchdog,
        };
        let mut this = Mounted {
            server: Server::Plyfs,
            at: at.to_path_buf(),
            daemon: Some(daemon),
            mounted: false,
        };
        let deadline = Instant::now() + STEP_PATIENCE;
        loop {
            if mount_id(at) != before {
                this.mounted = true;
                // Answered only after FUSE_INIT; a daemon that never answers is the watchdog's.
                rustix::fs::statvfs(at).map_err(|e| {
                    format!("plyfs mounted and does not answer: {e}: {}", this.said())
                })?;
                return Ok(this);
            }
            if let Some(status) = this.exited() {
                return Err(format!("plyfs: {status}: {}", this.said()));
            }
            if Instant::now() > deadline {
                return Err(format!("plyfs neither mounted nor failed: {}", this.said()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// The daemon's pid.
    pub fn pid(&self) -> Option<Pid> {
        self.daemon.as_ref().map(|d| Pid::from_child(&d.child))
    }

    /// What the daemon wrote to stderr.
    pub fn said(&self) -> String {
        self.daemon.as_ref().map_or_else(String::new, |d| {
            fs::read_to_string(&d.stderr).unwrap_or_default()
        })
    }

    /// `kill -9` and the mount taken away, as after a crash; what is on disk stays as it was.
    pub fn crash(mut self) {
        self.tear_down();
    }

    /// Unmounts as a user would, and insists that the mount is gone, the daemon ended by itself with success, and that
    /// it neither panicked nor hung on the way.
    pub fn unmount(mut self) -> Result<(), String> {
        let deadline = Instant::now() + STEP_PATIENCE;
        while let Err(why) = self.try_unmount() {
            // Between fork and exec, the child of another test's thread holds copies of our descriptors.
            if !why.to_lowercase().contains("busy") || Instant::now() > deadline {
                return Err(format!("{why}{}", self.verdict().unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.mounted = false;
        if self.server == Server::Plyfs {
            let deadline = Instant::now() + STEP_PATIENCE;
            let status = loop {
                match self.exited() {
                    Some(status) => break status,
                    None if Instant::now() > deadline => {
                        return Err("the daemon outlives its mount".into());
                    }
                    None => std::thread::sleep(Duration::from_millis(2)),
                }
            };
            if !status.success() {
                return Err(format!("the daemon ended with {status}: {}", self.said()));
            }
        }
        self.verdict().map_or(Ok(()), Err)
    }

    fn try_unmount(&self) -> Result<(), String> {
        if self.server == Server::Kernel {
            return rustix::mount::unmount(&self.at, UnmountFlags::empty())
                .map_err(|e| format!("umount: {e}"));
        }
        let out = Command::new(userns::program())
            .arg("umount")
            .arg(&self.at)
            .output();
        let out = out.map_err(|e| format!("start plyfs umount: {e}"))?;
        if out.status.success() {
            return Ok(());
        }
        Err(format!(
            "plyfs umount: {}: {}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        ))
    }

    /// What is wrong with the daemon, if anything.
    pub fn verdict(&self) -> Option<String> {
        let daemon = self.daemon.as_ref()?;
        if daemon.hung.load(Ordering::SeqCst) {
            return Some(format!("HUNG: killed after {PATIENCE:?}: {}", self.said()));
        }
        let said = self.said();
        said.contains("panicked")
            .then(|| format!("the daemon panicked: {said}"))
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.daemon
            .as_mut()
            .and_then(|d| d.child.try_wait().ok().flatten())
    }

    fn tear_down(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            daemon.watched = None;
            if let Some(watchdog) = daemon.watchdog.take() {
                let _panicked = watchdog.join();
            }
            if matches!(daemon.child.try_wait(), Ok(None)) {
                // It may have ended in between.
                let _gone = daemon.child.kill();
                abort_connection(&self.at);
                let _reaped = daemon.child.wait();
            }
        }
        if self.mounted {
            // May be gone already; the namespace takes the rest.
            let _gone = rustix::mount::unmount(&self.at, UnmountFlags::DETACH);
            self.mounted = false;
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.tear_down();
    }
}

fn watch(released: &Receiver<()>, pid: Pid, at: &Path, hung: &AtomicBool) {
    if released.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
        return;
    }
    hung.store(true, Ordering::SeqCst);
    abort_connection(at);
    // Not reaped yet (the owner still waits for us), so the pid is still its.
    let _gone = rustix::process::kill_process(pid, Signal::KILL);
}

/// Ends a FUSE connection from outside: every blocked call on it fails. Only for FUSE mounts.
pub fn abort_connection(at: &Path) {
    if let Some(control) = control(at)
        && let Err(error) = fs::write(control.join("abort"), "1")
    {
        eprintln!("{}: {error}", control.display());
    }
}

/// How many requests of a FUSE mount are not answered yet.
pub fn waiting(at: &Path) -> u64 {
    let count = control(at).and_then(|control| fs::read_to_string(control.join("waiting")).ok());
    count.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Where the kernel lets a FUSE connection be watched and ended.
fn control(at: &Path) -> Option<PathBuf> {
    let (_, device, fs_type) = mount_of(at)?;
    let minor = device.strip_prefix("0:")?;
    if !fs_type.starts_with("fuse") {
        return None;
    }
    let all = Path::new("/sys/fs/fuse/connections");
    let control = all.join(minor);
    if !control.exists() {
        // In our own namespace. Without it, killing the daemon ends the connection as well, unless it blocks itself.
        let _busy = rustix::mount::mount("fusectl", all, "fusectl", MountFlags::empty(), None);
    }
    Some(control)
}

/// Identity of what is mounted at exactly this path, if anything is.
fn mount_id(at: &Path) -> Option<String> {
    mount_of(at).map(|(id, _, _)| id)
}

/// (id, device, filesystem type) of the last mount at a path, without touching the mount.
pub fn mount_of(at: &Path) -> Option<(String, String, String)> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
    let wanted = at.to_str()?;
    let mut found = None;
    for line in table.lines() {
        let (head, tail) = line.split_once(" - ")?;
        let fields: Vec<_> = head.split(' ').collect();
        if fields.get(4) == Some(&wanted) {
            let fs_type = tail.split(' ').next().unwrap_or_default();
            found = Some((fields[0].into(), fields[2].into(), fs_type.into()));
        }
    }
    found
}

fn unique() -> u32 {
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

//! Who serves a merged view: mounting, and the end of it.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags};

/// Whoever serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Server {
    /// The kernel's overlayfs
    Kernel,
    /// plyfs, by the superuser
    Plyfs,
    /// The same, with FUSE over io_uring
    Rings,
    /// plyfs, by root of a user namespace
    Rootless,
    /// fuse-overlayfs 2.0, by the superuser
    Peer,
}

/// The version that the table names.
const PEER: &str = "fuse-overlayfs@2.0.0";
/// Longer than any start or end takes.
const PATIENCE: Duration = Duration::from_secs(20);

impl Server {
    pub const ALL: [Server; 5] = [
        Server::Kernel,
        Server::Plyfs,
        Server::Rings,
        Server::Rootless,
        Server::Peer,
    ];

    /// Its name in the table and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Server::Kernel => "kernel",
            Server::Plyfs => "plyfs",
            Server::Rings => "plyfs rings",
            Server::Rootless => "plyfs rootless",
            Server::Peer => "fuse-overlayfs 2.0",
        }
    }

    /// By that name.
    pub fn named(name: &str) -> Server {
        let found = Server::ALL.into_iter().find(|server| server.name() == name);
        found.unwrap_or_else(|| panic!("no server {name}"))
    }

    /// Is it plyfs, in whatever way?
    pub fn is_plyfs(self) -> bool {
        matches!(self, Server::Plyfs | Server::Rings | Server::Rootless)
    }

    /// The command that mounts and returns. The kernel's is mount(8): that is what stands beside a daemon's start.
    pub fn mount_command(self, options: &str) -> Command {
        let mut command = match self {
            Server::Kernel => {
                let mut command = Command::new("mount");
                command.args(["-t", "overlay", "overlay"]);
                command
            }
            Server::Plyfs | Server::Rings | Server::Rootless => {
                let mut command = Command::new(plyfs());
                command.arg("mount");
                command
            }
            Server::Peer => Command::new(peer()),
        };
        command.args(["-o", options]).arg("m");
        command
    }

    /// The command that unmounts.
    pub fn unmount_command(self) -> Command {
        let mut command = match self {
            Server::Plyfs | Server::Rings | Server::Rootless => {
                let mut command = Command::new(plyfs());
                command.arg("umount");
                command
            }
            Server::Kernel | Server::Peer => Command::new("umount"),
        };
        command.arg("m");
        command
    }
}

fn plyfs() -> &'static str {
    env!("CARGO_BIN_EXE_plyfs")
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}

fn peer() -> PathBuf {
    tools().join("bin/fuse-overlayfs")
}

/// Installs fuse-overlayfs 2.0 below `target/`; cargo leaves alone what is there.
pub fn install_peer() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["install", "--quiet", "--locked", "--root"]);
    command.arg(tools()).arg(PEER);
    let status = command.status().expect("start cargo");
    assert!(status.success(), "cargo install {PEER}: {status}");
}

/// The layers as mount options, with paths as seen from the site's root: 500 of them must fit into one page.
pub fn options(server: Server, lowers: usize, extra: &str) -> String {
    let mut text = String::from("lowerdir=");
    for n in 1..=lowers {
        write!(text, "{}l{n}", if n > 1 { ":" } else { "" }).unwrap();
    }
    text += ",upperdir=u,workdir=w";
    text += match server {
        // What the others do unasked.
        Server::Kernel => ",index=off,redirect_dir=off,metacopy=off",
        Server::Rings => ",rings=on",
        Server::Plyfs | Server::Rootless => ",rings=off",
        Server::Peer => "",
    };
    if !extra.is_empty() {
        text += ",";
        text += extra;
    }
    text
}

/// A mounted view.
pub struct Mounted {
    server: Server,
    at: PathBuf,
    daemon: Option<Child>,
}

impl Mounted {
    /// Mounts `lowers` layers of the site at `root`, and waits until it answers. The working directory changes.
    pub fn new(server: Server, root: &Path, lowers: usize, extra: &str) -> Mounted {
        std::env::set_current_dir(root).unwrap();
        let options = options(server, lowers, extra);
        let at = root.join("m");
        let daemon = match server {
            Server::Kernel => {
                let data = std::ffi::CString::new(options).unwrap();
                let none = MountFlags::empty();
                rustix::mount::mount("overlay", &at, "overlay", none, Some(data.as_c_str()))
                    .expect("mount the kernel's overlayfs");
                None
            }
            _ => Some(serve(server, &options, &at)),
        };
        Mounted { server, at, daemon }
    }

    /// The daemon's process.
    pub fn daemon(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Unmounts, and waits for the daemon.
    pub fn unmount(mut self) {
        let deadline = Instant::now() + PATIENCE;
        std::env::set_current_dir("/").unwrap();
        while let Err(errno) = rustix::mount::unmount(&self.at, UnmountFlags::empty()) {
            assert!(
                Instant::now() < deadline,
                "unmount {:?}: {errno}",
                self.server
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(daemon) = &mut self.daemon {
            let status = daemon.wait().unwrap();
            // fuse-overlayfs ends on an error when its device goes away.
            assert!(
                status.success() || self.server == Server::Peer,
                "the daemon: {status}"
            );
        }
        self.daemon = None;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Only left in this state by a panic: the run has failed, and its namespace takes the mount along.
        if let Some(daemon) = &mut self.daemon {
            let _gone = daemon.kill();
            let _reaped = daemon.wait();
        }
    }
}

fn serve(server: Server, options: &str, at: &Path) -> Child {
    let before = fs::metadata(at).unwrap().dev();
    let mut command = match server {
        Server::Peer => Command::new(peer()),
        _ => {
            let mut command = Command::new(plyfs());
            command.arg("mount");
            command
        }
    };
    command.args(["-f", "-o", options]).arg(at);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut daemon = command.spawn().expect("start the daemon");
    let deadline = Instant::now() + PATIENCE;
    while fs::metadata(at).map_or(before, |m| m.dev()) == before {
        assert!(Instant::now() < deadline, "{server:?} does not mount");
        if let Some(status) = daemon.try_wait().unwrap() {
            panic!("{server:?}: {status}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    daemon
}

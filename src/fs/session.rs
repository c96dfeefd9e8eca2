//! The life of a mount: device, mount, handshake, serving, end.
//!
//! Each step consumes the one before, so none can be left out: [`Prepared`] has permission to mount, [`Mounted`] is
//! in the tree but not answering, [`Session`] has answered FUSE_INIT and serves once [`Session::run`] is called.
//! Invariants: a step that fails leaves no mount behind; the end of a session never unmounts anything (containers
//! mount again at the same path within milliseconds): whoever unmounts ends the session, never the reverse.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::adapter::Adapter;
use super::service::Service;
use crate::overlay::options::{Atime, MountFlags, Rings};
use crate::sys::errno::Errno;
use crate::sys::fuse_ring;
use crate::sys::fusermount::HelperError;
use crate::sys::mount::{self, Bits, Device, Failure, Point, Unmounted};
use crate::sys::process::{SignalSet, signal};

/// Threads that answer requests, unless told otherwise: more were slower in every measurement.
const THREADS_DEFAULT: usize = 2;

/// Why there is no mount: one line, with a hint where there is one.
#[derive(Debug)]
pub struct SessionError(String);

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SessionError {}

/// Permission to mount. Nothing has changed yet.
pub struct Prepared {
    device: Device,
    request: mount::Request,
    threads: usize,
}

/// In the tree; whoever looks at it waits for the handshake.
pub struct Mounted {
    device: OwnedFd,
    point: Point,
    threads: usize,
}

/// Answers requests once [`Session::run`] is called.
pub struct Session<F: fuser::Filesystem> {
    inner: fuser::Session<F>,
    point: Point,
    /// The device and who answers, where requests come by rings.
    rings: Option<(OwnedFd, Arc<Service>)>,
}

impl Prepared {
    /// Checks that /dev/fuse may be used. `target` is absolute and without symlinks; `source` is shown in the mount
    /// table unless the flags name something else.
    ///
    /// # Errors
    /// With a hint, when /dev/fuse is missing or forbidden, or the kernel has no rings that were asked for.
    pub fn new(
        target: &OsStr,
        source: &OsStr,
        flags: &MountFlags,
    ) -> Result<Prepared, SessionError> {
        if flags.rings == Rings::On && !fuse_ring::is_offered() {
            return Err(SessionError(format!(
                "rings=on: the kernel offers no FUSE over io_uring (Linux 6.14 or newer; as root: echo Y > {})",
                fuse_ring::PARAMETER
            )));
        }
        let device = Device::open().map_err(|failure| explain(&failure, target))?;
        let request = mount::Request {
            target: target.into(),
            source: flags.fsname.clone().unwrap_or_else(|| source.into()),
            bits: bits(flags),
            allow_other: flags.allow_other,
            max_read: flags.max_read,
            context: flags.context.clone(),
        };
        Ok(Prepared {
            device,
            request,
            threads: flags.threads.unwrap_or(THREADS_DEFAULT),
        })
    }

    /// Mounts.
    ///
    /// # Errors
    /// With a hint, when the kernel or the helper refuses.
    pub fn mount(self) -> Result<Mounted, SessionError> {
        let (device, point) = self
            .device
            .mount(&self.request)
            .map_err(|failure| explain(&failure, &self.request.target))?;
        Ok(Mounted {
            device,
            point,
            threads: self.threads,
        })
    }
}

impl Mounted {
    /// Answers FUSE_INIT with `filesystem`.
    ///
    /// # Errors
    /// When the kernel and the filesystem do not agree; the mount is gone then.
    pub fn serve(self, filesystem: Adapter) -> Result<Session<Adapter>, SessionError> {
        let point = self.point.clone();
        self.agree(filesystem).map_err(|error| {
            if let Err(errno) = point.unmount() {
                log::error!("cannot take the mount away again: {errno}");
            }
            SessionError(format!(
                "mount point {}: no agreement with the kernel's FUSE: {error}",
                shown(point.target())
            ))
        })
    }

    fn agree(self, filesystem: Adapter) -> io::Result<Session<Adapter>> {
        let service = filesystem.service();
        service.set_readers(self.threads);
        let may_have_rings = service.settings.rings != Rings::Off;
        let device = may_have_rings
            .then(|| self.device.try_clone())
            .transpose()?;
        let mut config = fuser::Config::default();
        config.n_threads = Some(self.threads);
        // Who may enter was decided by the mount (allow_other) and by default_permissions, which know user
        // namespaces; fuser's own check compares plain uids and would answer EACCES in them.
        config.acl = fuser::SessionACL::All;
        let inner =
            fuser::Session::from_fd(filesystem, self.device, fuser::SessionACL::All, config)?;
        service.fs.notify.connect(inner.notifier());
        Ok(Session {
            inner,
            point: self.point,
            rings: device
                .filter(|_| service.is_by_rings())
                .map(|device| (device, service)),
        })
    }
}

impl<F: fuser::Filesystem> Session<F> {
    /// The mount, for whoever will unmount it.
    pub fn point(&self) -> Point {
        self.point.clone()
    }

    /// Serves until the mount is gone, then drops the filesystem.
    ///
    /// # Errors
    /// What the kernel answered to a read of /dev/fuse, unless it means "gone". Where there is no room for rings.
    pub fn run(self) -> Result<(), SessionError> {
        if let Some((device, service)) = self.rings {
            let started = service.start_rings(device);
            started.map_err(|error| SessionError(format!("rings: {error}")))?;
        }
        match self.inner.run() {
            Ok(()) => Ok(()),
            // An administrator aborted the connection; ENODEV, the usual end, fuser takes for an end itself.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => Ok(()),
            Err(error) => Err(SessionError(format!("the session broke: {error}"))),
        }
    }
}

/// Unmounts on SIGTERM and SIGINT, calls `on_usr1` on SIGUSR1. To be called after [`block_signals`].
///
/// # Errors
/// When no thread can be started.
pub fn serve_signals(
    signals: SignalSet,
    point: Point,
    on_usr1: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("plyfs-signals".into());
    thread.spawn(move || {
        while let Ok(caught) = signals.wait() {
            if caught.signal == signal::SIGUSR1 {
                on_usr1();
                continue;
            }
            let place = shown(point.target());
            match point.unmount() {
                Ok(Unmounted::Done) => log::info!("{place}: unmounted on a signal"),
                Ok(Unmounted::Detached) => {
                    log::warn!(
                        "{place}: in use; unmounted, and serving until the last user is gone"
                    );
                }
                Ok(Unmounted::NotOurs) => {
                    log::warn!("{place}: something else is mounted there; serving until unmounted");
                }
                Err(errno) => log::error!("{place}: cannot unmount: {errno}"),
            }
        }
    })?;
    Ok(())
}

/// Blocks the signals of [`serve_signals`]. To be called before any thread is started.
///
/// # Errors
/// As pthread_sigmask(3) says.
pub fn block_signals() -> Result<SignalSet, Errno> {
    SignalSet::block(&[signal::SIGTERM, signal::SIGINT, signal::SIGUSR1])
}

/// Changes the flags of a mount that is there already. Its daemon is not asked: the kernel keeps them.
///
/// # Errors
/// As mount(2) says.
pub fn remount(target: &OsStr, flags: &MountFlags) -> Result<(), Errno> {
    mount::remount(target, bits(flags))
}

fn bits(flags: &MountFlags) -> Bits {
    let table = [
        (flags.read_only, Bits::RDONLY),
        (flags.nosuid, Bits::NOSUID),
        (flags.nodev, Bits::NODEV),
        (flags.noexec, Bits::NOEXEC),
        (flags.nosymfollow, mount::NOSYMFOLLOW),
        (flags.nodiratime, Bits::NODIRATIME),
        (flags.sync, Bits::SYNCHRONOUS),
        (flags.dirsync, Bits::DIRSYNC),
        (flags.atime == Atime::Noatime, Bits::NOATIME),
        (flags.atime == Atime::Relatime, Bits::RELATIME),
        (flags.atime == Atime::Strictatime, Bits::STRICTATIME),
    ];
    let set = table.iter().filter(|(wanted, _)| *wanted);
    set.fold(Bits::empty(), |all, (_, bit)| all | *bit)
}

fn shown(path: &OsStr) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

fn explain(failure: &Failure, target: &OsStr) -> SessionError {
    let target = shown(target);
    SessionError(match failure {
        Failure::Device(errno) => format!("/dev/fuse: {errno}{}", device_hint(*errno)),
        Failure::Mount(errno @ Errno::EPERM) => format!(
            "mount point {target}: {errno} (in a user namespace this needs a mount namespace too: unshare -Urm)"
        ),
        Failure::Mount(errno) => format!("mount point {target}: {errno}"),
        Failure::Helper(HelperError::Missing) => format!(
            "mount point {target}: fusermount3 not found (install fuse3, run as root or in a user namespace)"
        ),
        Failure::Helper(HelperError::Refused(words)) => {
            format!("mount point {target}: {words}{}", helper_hint(words))
        }
    })
}

fn device_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => {
            " (load the module: modprobe fuse; in a container: --device /dev/fuse)"
        }
        Errno::EACCES | Errno::EPERM => {
            " (it must be readable and writable for you: chmod 0666 /dev/fuse; in a container: --device /dev/fuse)"
        }
        _ => "",
    }
}

fn helper_hint(words: &str) -> &'static str {
    if words.contains("user_allow_other") {
        " (leave out allow_other, or add a line user_allow_other to /etc/fuse.conf)"
    } else {
        ""
    }
}

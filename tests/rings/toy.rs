//! A filesystem of one file, served by rings from within the process of the test.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use fuser::{Config, Filesystem, InitFlags, KernelConfig, Session, SessionACL};
use plyfs::fs::rings::engine::{Handler, Job, Rings};
use plyfs::fs::rings::wire::{self, Entry, Listing, Request};
use plyfs::layer::idmap::ShownId;
use plyfs::overlay::view::attr::Attr;
use plyfs::overlay::view::list::Dirent;
use plyfs::sys::errno::{Errno, Result};
use plyfs::sys::fuse_ring;
use plyfs::sys::mount::{self, Bits, Device};
use plyfs::sys::stat::{FileType, Rdev, Stat, Time};
use rustix::mount::UnmountFlags;

use super::support::env::{Scratch, cannot_run, mounted_tests_impossible};
use super::support::rings;

/// Largest request, and answer.
pub const PAYLOAD: usize = 1 << 20;
const DEPTH: u16 = 4;
const ROOT: u64 = 1;
const FILE: u64 = 2;
/// Past the kernel's cache: every read and write comes as it is made.
const DIRECT_IO: u32 = 1 << 0;

/// The kernel offers rings while this lives. One test at a time has it.
pub struct Offered {
    _offered: rings::Offered,
    _turn: MutexGuard<'static, ()>,
}

impl Offered {
    /// `None`, loudly, where there can be no rings.
    pub fn new(test: &str) -> Option<Offered> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = |why: &str| {
            cannot_run(test, why);
            None
        };
        if let Some(why) = mounted_tests_impossible() {
            return refused(&why);
        }
        match rings::Offered::new() {
            Ok(_) if !fuse_ring::is_offered() => refused("io_uring is forbidden"),
            Ok(offered) => Some(Offered {
                _offered: offered,
                _turn: turn,
            }),
            Err(why) => refused(&why),
        }
    }
}

/// Takes what only /dev/fuse brings; whatever else comes there gets ENOSYS.
struct Handshake;

impl Filesystem for Handshake {
    fn init(
        &mut self,
        _: &fuser::Request,
        config: &mut KernelConfig,
    ) -> std::result::Result<(), std::io::Error> {
        config
            .add_capabilities(InitFlags::FUSE_OVER_IO_URING | InitFlags::FUSE_PARALLEL_DIROPS)
            .expect("rings are offered");
        config.set_max_write(PAYLOAD as u32).expect("a large write");
        Ok(())
    }
}

/// Answers requests. Nothing is kept by the kernel.
struct Toy {
    data: Mutex<Vec<u8>>,
    slow: Sender<Job>,
}

impl Handler for Toy {
    fn handle(&self, mut job: Job) {
        let (header, argument) = (job.header(), *job.argument());
        let request = Request::decode(header, &argument, job.payload());
        let zero = Duration::ZERO;
        match request {
            Ok(Request::Lookup(name)) => match name.of(job.payload()) {
                b"slow" => self.slow.send(job).unwrap(),
                b"lost" => drop(job),
                b"panic" => panic!("as asked"),
                name => match self.lookup(name) {
                    Ok(attr) => job.done_with(&wire::entry(Entry {
                        node: FILE,
                        entry_ttl: zero,
                        attr_ttl: zero,
                        attr: &attr,
                    })),
                    Err(errno) => job.done(Err(errno)),
                },
            },
            Ok(Request::Getattr(_)) => {
                job.done_with(&wire::attributes(zero, &self.attr(header.node)));
            }
            Ok(Request::Open(_)) => job.done_with(&wire::opened(7, DIRECT_IO, 0)),
            Ok(Request::Opendir(_)) => job.done_with(&wire::opened(0, 0, 0)),
            Ok(Request::Readdir(read)) => {
                let mut listing = Listing::new(job.room(), read.size);
                let file = Dirent {
                    ino: FILE,
                    next: 1,
                    kind: FileType::File,
                    name: b"file",
                };
                assert!(read.offset > 0 || listing.add(file));
                let len = listing.len();
                job.done(Ok(len));
            }
            Ok(Request::Read(read)) => {
                let data = self.data.lock().unwrap();
                let from = data.len().min(read.offset as usize);
                let part = &data[from..data.len().min(from + read.size as usize)];
                job.room()[..part.len()].copy_from_slice(part);
                job.done(Ok(part.len()));
            }
            Ok(Request::Write(write, bytes)) => {
                let bytes = bytes.of(job.payload());
                let mut data = self.data.lock().unwrap();
                let end = write.offset as usize + bytes.len();
                let len = data.len().max(end);
                data.resize(len, 0);
                data[write.offset as usize..end].copy_from_slice(bytes);
                job.done_with(&wire::written(write.size));
            }
            Ok(Request::Release(_) | Request::Releasedir(_) | Request::Flush(_)) => {
                job.done(Ok(0));
            }
            Ok(_) => job.done(Err(Errno::EOPNOTSUPP)),
            Err(errno) => job.done(Err(errno)),
        }
    }
}

impl Toy {
    fn lookup(&self, name: &[u8]) -> Result<Attr> {
        let cpu = rustix::thread::sched_getcpu();
        match name {
            b"file" => Ok(self.attr(FILE)),
            // Is this served where it is asked?
            name if name == format!("cpu-{cpu}").as_bytes() => Err(Errno::ENOENT),
            name if name.starts_with(b"cpu-") => Err(Errno::EXDEV),
            _ => Err(Errno::ENOENT),
        }
    }

    fn attr(&self, node: u64) -> Attr {
        let kind = if node == ROOT {
            FileType::Dir
        } else {
            FileType::File
        };
        let size = self.data.lock().unwrap().len() as u64;
        let stat = Stat {
            dev: 0,
            ino: 0,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: Rdev::default(),
            size,
            blocks: 8,
            blksize: 4096,
            atime: Time::default(),
            mtime: Time { sec: -5, nsec: 6 },
            ctime: Time::default(),
            immutable: false,
            append_only: false,
            mount_id: 0,
            btime: Time::default(),
        };
        Attr {
            // Another number than the node's.
            ino: node + 100,
            nlink: 3,
            uid: ShownId(12),
            gid: ShownId(34),
            cacheable: true,
            stat,
        }
    }
}

/// The toy, mounted.
pub struct Mounted {
    pub at: PathBuf,
    /// Requests for the name `slow`, to be answered by the test.
    pub slow: Receiver<Job>,
    rings: Option<Rings>,
    session: Option<JoinHandle<()>>,
}

/// A mount that waits for its rings: where, the connection, and the thread that reads /dev/fuse.
pub fn connected(scratch: &Scratch) -> (PathBuf, Arc<OwnedFd>, JoinHandle<()>) {
    let at = scratch.path().join("mnt");
    fs::create_dir(&at).unwrap();
    let request = mount::Request {
        target: at.clone().into_os_string(),
        source: OsString::from("toy"),
        bits: Bits::empty(),
        allow_other: None,
        max_read: None,
        context: Vec::new(),
    };
    let (fd, _point) = Device::open().unwrap().mount(&request).unwrap();
    let device: Arc<OwnedFd> = Arc::new(fd.try_clone().unwrap());
    let config = Config::default();
    let session = Session::from_fd(Handshake, fd, SessionACL::All, config).unwrap();
    let session = std::thread::spawn(move || session.run().unwrap());
    (at, device, session)
}

/// Starts the rings of a mount; also gives the requests for the name `slow`.
pub fn rings(device: Arc<OwnedFd>, payload: usize) -> (std::io::Result<Rings>, Receiver<Job>) {
    let (send, slow) = unbounded();
    let toy = Arc::new(Toy {
        data: Mutex::default(),
        slow: send,
    });
    (Rings::start(device, DEPTH, payload, toy), slow)
}

impl Mounted {
    pub fn new(scratch: &Scratch) -> Mounted {
        let (at, device, session) = connected(scratch);
        let (rings, slow) = rings(device, PAYLOAD);
        Mounted {
            at,
            slow,
            rings: Some(rings.unwrap()),
            session: Some(session),
        }
    }

    /// The error of looking a name up.
    pub fn missing(&self, name: &str) -> Errno {
        missing(&self.at.join(name))
    }

    /// Unmounts, with `flags`.
    pub fn unmount(&self, flags: UnmountFlags) {
        rustix::mount::unmount(&self.at, flags).unwrap();
    }

    /// Waits until all threads have ended.
    pub fn join(mut self) {
        self.rings.take().unwrap().join();
        self.session.take().unwrap().join().unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The failed test shows what is wrong.
            let _ = rustix::mount::unmount(&self.at, UnmountFlags::FORCE | UnmountFlags::DETACH);
        }
    }
}

/// The error of looking a path up.
pub fn missing(path: &Path) -> Errno {
    fs::symlink_metadata(path).unwrap_err().into()
}

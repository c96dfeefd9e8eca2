//! The verbs of a scenario: each acts on the mounted view (or looks at a layer on disk), states what must come out of
//! it, and adds a line to the transcript that is compared with the judge's.
//!
//! `s.unlink("d/f").ok(); s.read("d/f").fails(Errno::NOENT); s.upper("d/f").is("whiteout 0000 0:0");`

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
pub use rustix::fs::{FileType, RenameFlags};
pub use rustix::io::Errno;
use rustix::process::Pid;

use super::layers::Layers;
use super::mount::Server;
use super::snapshot::{self, Snapshot};
use super::words::{brief, copy, describe, entries, index_entries, list, lstat, on_disk, residue};
pub use super::words::{errno_name, open};

/// One run of a scenario on one mount.
pub struct Steps<'a> {
    pub server: Server,
    pub layers: &'a Layers,
    /// The plyfs daemon.
    pub pid: Option<Pid>,
    /// What happened, in words that are the same on every mount.
    pub transcript: Vec<String>,
    /// Steps that did not do what the scenario says.
    pub failures: Vec<String>,
}

/// What a verb did. State what it must be.
#[must_use = "say what must come out: ok, is, fails, differs, or noted where the judge's word is enough"]
pub struct Outcome<'s> {
    what: String,
    got: String,
    transcript: &'s mut Vec<String>,
    failures: &'s mut Vec<String>,
    server: Server,
}

impl Outcome<'_> {
    /// It succeeds, and has nothing to say.
    pub fn ok(self) {
        self.is("ok");
    }

    /// Exactly this.
    pub fn is(self, wanted: &str) {
        if self.got != wanted {
            self.failures
                .push(format!("{}: {} instead of {wanted}", self.what, self.got));
        }
        self.noted();
    }

    /// It fails with this error.
    pub fn fails(self, errno: Errno) {
        self.is(&errno_name(&errno.into()));
    }

    /// A statement that must hold.
    pub fn holds(self) {
        self.is("true");
    }

    /// plyfs differs from the kernel on purpose; the section of the specification says why.
    pub fn differs(mut self, section: &str, kernel: &str, plyfs: &str) {
        let wanted = if self.server == Server::Kernel {
            kernel
        } else {
            plyfs
        };
        if self.got != wanted {
            self.failures.push(format!(
                "{}: {} instead of {wanted} ({section})",
                self.what, self.got
            ));
        }
        self.got = format!("as {section} says");
        self.noted();
    }

    /// Whatever comes out; the judge says what it must be.
    pub fn noted(self) {
        self.transcript
            .push(format!("{} -> {}", self.what, self.got));
    }

    /// Not compared: it may differ from run to run.
    pub fn ignored(self) {}
}

/// An open file of the mounted view; a failed open makes every use of it fail.
pub struct Fd {
    name: String,
    file: io::Result<File>,
}

impl Fd {
    pub fn get(&self) -> io::Result<&File> {
        self.file
            .as_ref()
            .map_err(|_| io::Error::from_raw_os_error(libc::EBADF))
    }

    /// The descriptor of an open file.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().expect("the file is open").as_fd()
    }
}

impl<'a> Steps<'a> {
    pub fn new(server: Server, layers: &'a Layers, pid: Option<Pid>) -> Steps<'a> {
        Steps {
            server,
            layers,
            pid,
            transcript: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// A path in the mounted view.
    pub fn at(&self, path: &str) -> PathBuf {
        if path == "." {
            self.layers.merged.clone()
        } else {
            self.layers.merged.join(path)
        }
    }

    /// Any step: `what` goes to the transcript with the result.
    pub fn act<T: Into<Said>>(
        &mut self,
        what: impl Into<String>,
        result: io::Result<T>,
    ) -> Outcome<'_> {
        let got = match result {
            Ok(value) => value.into().0,
            Err(error) => errno_name(&error),
        };
        let Steps {
            server,
            transcript,
            failures,
            ..
        } = self;
        Outcome {
            what: what.into(),
            got,
            transcript,
            failures,
            server: *server,
        }
    }

    /// A statement about the run.
    pub fn check(&mut self, what: &str, holds: bool) -> Outcome<'_> {
        self.act(what, Ok(holds.to_string()))
    }

    // Files.

    pub fn read(&mut self, path: &str) -> Outcome<'_> {
        let result = fs::read(self.at(path)).map(brief);
        self.act(format!("read {path}"), result)
    }

    /// Opens without creating, writes at the start, closes.
    pub fn write(&mut self, path: &str, data: &str) -> Outcome<'_> {
        let result = open(&self.at(path), "w").and_then(|mut f| f.write_all(data.as_bytes()));
        self.act(format!("write {path}"), result)
    }

    /// O_CREAT|O_EXCL, 0644.
    pub fn create(&mut self, path: &str, data: &str) -> Outcome<'_> {
        let result =
            open(&self.at(path), "w,creat,excl").and_then(|mut f| f.write_all(data.as_bytes()));
        self.act(format!("create {path}"), result)
    }

    /// Opens with these flags and closes: `r w rw path` and `creat excl trunc append direct sync noatime dir tmpfile`.
    pub fn open(&mut self, path: &str, flags: &str) -> Outcome<'_> {
        let result = open(&self.at(path), flags).map(drop);
        self.act(format!("open {path} {flags}"), result)
    }

    /// Punches the whole file out by fallocate(2), or reserves its first bytes.
    pub fn allocate(&mut self, path: &str, punch: bool) -> Outcome<'_> {
        use rustix::fs::FallocateFlags;
        let how = match punch {
            true => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            false => FallocateFlags::empty(),
        };
        let result = open(&self.at(path), "rw")
            .and_then(|file| Ok(rustix::fs::fallocate(file, how, 0, 4096)?));
        self.act(format!("fallocate {path} {how:?}"), result)
    }

    /// copy_file_range(2) of a few bytes from the start of one file to that of another.
    pub fn copy_range(&mut self, from: &str, to: &str) -> Outcome<'_> {
        let copied = open(&self.at(from), "r").and_then(|from| {
            let to = open(&self.at(to), "rw")?;
            let n = rustix::fs::copy_file_range(from, Some(&mut 0), to, Some(&mut 0), 3)?;
            Ok(n.to_string())
        });
        self.act(format!("copy_file_range {from} {to}"), copied)
    }

    /// Opens and keeps it open; must succeed.
    pub fn opened(&mut self, path: &str, flags: &str) -> Fd {
        let file = open(&self.at(path), flags);
        let said = file.as_ref().map(|_| ()).map_err(copy);
        self.act(format!("open {path} {flags}"), said).ok();
        Fd {
            name: path.into(),
            file,
        }
    }

    pub fn truncate(&mut self, path: &str, len: u64) -> Outcome<'_> {
        // truncate(2) itself: an open for write would copy up before.
        let target = std::ffi::CString::new(self.at(path).into_os_string().into_encoded_bytes())
            .expect("no NUL");
        let result = super::ffi::truncate(&target, len);
        self.act(format!("truncate {path} {len}"), result)
    }

    // Open files.

    pub fn fread(&mut self, fd: &Fd) -> Outcome<'_> {
        let result = fd.get().and_then(|f| {
            let mut data = vec![0; 1 << 20];
            let n = f.read_at(&mut data, 0)?;
            data.truncate(n);
            Ok(brief(data))
        });
        self.act(format!("pread fd of {}", fd.name), result)
    }

    pub fn fwrite(&mut self, fd: &Fd, offset: u64, data: &str) -> Outcome<'_> {
        let result = fd
            .get()
            .and_then(|f| f.write_all_at(data.as_bytes(), offset));
        self.act(format!("pwrite fd of {} at {offset}", fd.name), result)
    }

    pub fn fstat(&mut self, fd: &Fd) -> Outcome<'_> {
        let result = fd
            .get()
            .and_then(|f| Ok(rustix::fs::fstat(f)?))
            .map(|s| describe(&s));
        self.act(format!("fstat fd of {}", fd.name), result)
    }

    pub fn fnlink(&mut self, fd: &Fd) -> Outcome<'_> {
        let result = fd
            .get()
            .and_then(File::metadata)
            .map(|m| m.nlink().to_string());
        self.act(format!("nlink by fd of {}", fd.name), result)
    }

    pub fn ftruncate(&mut self, fd: &Fd, len: u64) -> Outcome<'_> {
        let result = fd.get().and_then(|f| f.set_len(len));
        self.act(format!("ftruncate fd of {} {len}", fd.name), result)
    }

    pub fn fchmod(&mut self, fd: &Fd, mode: u32) -> Outcome<'_> {
        let result = fd
            .get()
            .and_then(|f| Ok(rustix::fs::fchmod(f, Mode::from_raw_mode(mode))?));
        self.act(format!("fchmod fd of {} {mode:04o}", fd.name), result)
    }

    pub fn fsync(&mut self, fd: &Fd) -> Outcome<'_> {
        let result = fd.get().and_then(File::sync_all);
        self.act(format!("fsync fd of {}", fd.name), result)
    }

    pub fn fdatasync(&mut self, fd: &Fd) -> Outcome<'_> {
        let result = fd.get().and_then(File::sync_data);
        self.act(format!("fdatasync fd of {}", fd.name), result)
    }

    // Names.

    pub fn unlink(&mut self, path: &str) -> Outcome<'_> {
        let result = rustix::fs::unlinkat(CWD, self.at(path), AtFlags::empty()).map_err(Into::into);
        self.act(format!("unlink {path}"), result)
    }

    pub fn rmdir(&mut self, path: &str) -> Outcome<'_> {
        let result =
            rustix::fs::unlinkat(CWD, self.at(path), AtFlags::REMOVEDIR).map_err(Into::into);
        self.act(format!("rmdir {path}"), result)
    }

    pub fn mkdir(&mut self, path: &str) -> Outcome<'_> {
        self.mkdir_mode(path, 0o755)
    }

    pub fn mkdir_mode(&mut self, path: &str, mode: u32) -> Outcome<'_> {
        let result =
            rustix::fs::mkdirat(CWD, self.at(path), Mode::from_raw_mode(mode)).map_err(Into::into);
        self.act(format!("mkdir {path} {mode:04o}"), result)
    }

    pub fn symlink(&mut self, path: &str, target: &str) -> Outcome<'_> {
        let result = rustix::fs::symlinkat(target, CWD, self.at(path)).map_err(Into::into);
        self.act(format!("symlink {path} to {target}"), result)
    }

    pub fn readlink(&mut self, path: &str) -> Outcome<'_> {
        let result = fs::read_link(self.at(path)).map(|t| t.to_string_lossy().into_owned());
        self.act(format!("readlink {path}"), result)
    }

    pub fn link(&mut self, from: &str, to: &str) -> Outcome<'_> {
        let result = fs::hard_link(self.at(from), self.at(to));
        self.act(format!("link {from} {to}"), result)
    }

    pub fn mknod(&mut self, path: &str, kind: FileType, (major, minor): (u32, u32)) -> Outcome<'_> {
        let (mode, dev) = (
            Mode::from_raw_mode(0o644),
            rustix::fs::makedev(major, minor),
        );
        let result = rustix::fs::mknodat(CWD, self.at(path), kind, mode, dev).map_err(Into::into);
        self.act(
            format!("mknod {path} {} {major}:{minor}", snapshot::kind_name(kind)),
            result,
        )
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Outcome<'_> {
        let result = fs::rename(self.at(from), self.at(to));
        self.act(format!("rename {from} {to}"), result)
    }

    pub fn rename2(&mut self, from: &str, to: &str, flags: RenameFlags) -> Outcome<'_> {
        let result = rustix::fs::renameat_with(CWD, self.at(from), CWD, self.at(to), flags)
            .map_err(Into::into);
        self.act(format!("rename {from} {to} {flags:?}"), result)
    }

    // Attributes.

    pub fn chmod(&mut self, path: &str, mode: u32) -> Outcome<'_> {
        let mode_bits = Mode::from_raw_mode(mode);
        let result = rustix::fs::chmodat(CWD, self.at(path), mode_bits, AtFlags::empty())
            .map_err(Into::into);
        self.act(format!("chmod {path} {mode:04o}"), result)
    }

    /// `None` leaves an id alone, as -1 does.
    pub fn chown(&mut self, path: &str, uid: Option<u32>, gid: Option<u32>) -> Outcome<'_> {
        let ids = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        let result =
            rustix::fs::chownat(CWD, self.at(path), ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW);
        self.act(
            format!("chown {path} {uid:?} {gid:?}"),
            result.map_err(Into::into),
        )
    }

    /// Both times to `seconds`; `None` is UTIME_OMIT twice.
    pub fn utimens(&mut self, path: &str, seconds: Option<i64>) -> Outcome<'_> {
        let omit = Timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_OMIT as _,
        };
        let time = seconds.map_or(omit, |tv_sec| Timespec { tv_sec, tv_nsec: 7 });
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let result = rustix::fs::utimensat(CWD, self.at(path), &times, AtFlags::SYMLINK_NOFOLLOW);
        self.act(
            format!("utimens {path} {seconds:?}"),
            result.map_err(Into::into),
        )
    }

    /// Kind, mode, owner, and size (of files).
    pub fn stat(&mut self, path: &str) -> Outcome<'_> {
        let result = lstat(&self.at(path)).map(|s| describe(&s));
        self.act(format!("stat {path}"), result)
    }

    /// What it takes on disk, in blocks of 512 bytes.
    pub fn blocks(&mut self, path: &str) -> Outcome<'_> {
        let result = self
            .at(path)
            .symlink_metadata()
            .map(|m| m.blocks().to_string());
        self.act(format!("blocks {path}"), result)
    }

    pub fn nlink(&mut self, path: &str) -> Outcome<'_> {
        let result = self
            .at(path)
            .symlink_metadata()
            .map(|m| m.nlink().to_string());
        self.act(format!("nlink {path}"), result)
    }

    /// Modification time, or "now" for one that is not a fixed one of the test.
    pub fn mtime(&mut self, path: &str) -> Outcome<'_> {
        let result = self.at(path).symlink_metadata().map(|m| {
            let fixed = m.mtime() < super::layers::RECENT;
            if fixed {
                format!("{}.{:09}", m.mtime(), m.mtime_nsec())
            } else {
                "now".into()
            }
        });
        self.act(format!("mtime {path}"), result)
    }

    /// Access and modification time as they are, for comparisons inside a run.
    pub fn times(&self, path: &str) -> [i64; 4] {
        let m = self.at(path).symlink_metadata().expect("stat");
        [m.atime(), m.atime_nsec(), m.mtime(), m.mtime_nsec()]
    }

    /// The object is in the upper layer now, and its times are what they were.
    pub fn mode_and_times_kept(&mut self, path: &str, before: &[i64; 4]) {
        let after = self.times(path);
        self.check(&format!("{path} keeps its times"), after == *before)
            .holds();
        let upper = self.layers.upper.join(path).symlink_metadata().is_ok();
        self.check(&format!("{path} is in the upper layer"), upper)
            .holds();
    }

    /// Compares each entry's d_ino, `.` and `..` included, with st_ino of what it names.
    pub fn entry_numbers(&mut self, dir: &str) -> Outcome<'_> {
        let at = self.at(dir);
        let result = entries(&at).map(|all| {
            let differs = |(name, d_ino): &&(String, u64)| {
                // `..` of the root belongs to the outer filesystem (7.7).
                !(dir == "." && name == "..")
                    && at.join(name).symlink_metadata().map_or(0, |m| m.ino()) != *d_ino
            };
            let wrong: Vec<_> = all
                .iter()
                .filter(differs)
                .map(|(name, _)| name.as_str())
                .collect();
            if wrong.is_empty() {
                "all equal st_ino".to_string()
            } else {
                format!("not st_ino: {}", wrong.join(" "))
            }
        });
        self.act(format!("d_ino in {dir}"), result)
    }

    /// (st_dev, st_ino), for comparisons inside a run.
    pub fn identity(&self, path: &str) -> (u64, u64) {
        self.at(path)
            .symlink_metadata()
            .map_or((0, 0), |m| (m.dev(), m.ino()))
    }

    // xattrs.

    pub fn setx(&mut self, path: &str, name: &str, value: &str) -> Outcome<'_> {
        self.setx_flags(path, name, value, XattrFlags::empty())
    }

    pub fn setx_flags(
        &mut self,
        path: &str,
        name: &str,
        value: &str,
        flags: XattrFlags,
    ) -> Outcome<'_> {
        let result =
            rustix::fs::lsetxattr(self.at(path), name, value.as_bytes(), flags).map_err(Into::into);
        self.act(format!("setxattr {path} {name} {flags:?}"), result)
    }

    pub fn setx_bytes(&mut self, path: &str, name: &str, value: &[u8]) -> Outcome<'_> {
        let result = rustix::fs::lsetxattr(self.at(path), name, value, XattrFlags::empty())
            .map_err(Into::into);
        self.act(format!("setxattr {path} {name}"), result)
    }

    pub fn getx(&mut self, path: &str, name: &str) -> Outcome<'_> {
        let mut value = vec![0; 4096];
        let result =
            rustix::fs::lgetxattr(self.at(path), name, &mut value).map_err(io::Error::from);
        self.act(
            format!("getxattr {path} {name}"),
            result.map(|n| value[..n].escape_ascii().to_string()),
        )
    }

    /// The names, sorted.
    pub fn listx(&mut self, path: &str) -> Outcome<'_> {
        let result = snapshot::xattrs(&self.at(path))
            .map(|all| all.into_keys().collect::<Vec<_>>().join(" "));
        self.act(format!("listxattr {path}"), result)
    }

    pub fn delx(&mut self, path: &str, name: &str) -> Outcome<'_> {
        let result = rustix::fs::lremovexattr(self.at(path), name).map_err(Into::into);
        self.act(format!("removexattr {path} {name}"), result)
    }

    // Listings and layers on disk.

    /// Names with `/` after directories, sorted; a name that cannot be looked up has its error in parentheses.
    pub fn ls(&mut self, path: &str) -> Outcome<'_> {
        let result = list(&self.at(path));
        self.act(format!("ls {path}"), result)
    }

    /// What the upper layer holds at this name: `absent`, `whiteout MODE OWNER`, or as `stat`, with `opaque`.
    pub fn upper(&mut self, path: &str) -> Outcome<'_> {
        let at = self.layers.upper.join(path);
        self.act(format!("upper {path}"), on_disk(&at))
    }

    /// The names in a directory of the upper layer.
    pub fn ls_upper(&mut self, path: &str) -> Outcome<'_> {
        let result = list(&self.layers.upper.join(path));
        self.act(format!("ls upper {path}"), result)
    }

    /// An overlay xattr of an upper object, by its suffix; "absent" when it has none. Handles show as "handle".
    pub fn mark(&mut self, path: &str, suffix: &str) -> Outcome<'_> {
        let all = snapshot::xattrs(&self.layers.upper.join(path));
        let result = all.map(|all| match all.get(&format!("trusted.overlay.{suffix}")) {
            None => "absent".to_string(),
            Some(v) if v.first() == Some(&0) => "handle".to_string(),
            Some(v) => v.escape_ascii().to_string(),
        });
        self.act(format!("mark {suffix} of upper {path}"), result)
    }

    /// The index: kind, links and count of names of each entry, sorted; "none" without an index.
    pub fn index(&mut self) -> Outcome<'_> {
        let result = index_entries(&self.layers.work);
        self.act("index", result)
    }

    /// What is left in the work directory, without whiteouts kept for sharing.
    pub fn work_residue(&mut self) -> Outcome<'_> {
        let result = residue(&self.layers.work).map(|names| names.join(" "));
        self.act("residue in work", result)
    }

    /// The upper's objects and what they cost, to see that an operation copied nothing.
    pub fn upper_usage(&self) -> (usize, u64) {
        let tree = Snapshot::take(&self.layers.upper).expect("read the upper");
        let blocks = |path: &String| {
            let at = self.layers.upper.join(path);
            at.symlink_metadata()
                .map_or(0, |m| if m.is_file() { m.blocks() } else { 0 })
        };
        (
            tree.entries.len() - 1,
            tree.entries.keys().map(blocks).sum(),
        )
    }

    /// Bytes the plyfs daemon has written so far, by any means but a reflink; 0 on the kernel, where nobody counts.
    pub fn written_by_daemon(&self) -> u64 {
        let Some(pid) = self.pid else { return 0 };
        let io = fs::read_to_string(format!("/proc/{}/io", pid.as_raw_nonzero()))
            .expect("the daemon lives");
        let line = io
            .lines()
            .find_map(|l| l.strip_prefix("wchar: "))
            .expect("wchar in /proc/PID/io");
        line.parse().expect("a number")
    }

    /// Runs `action` with the identity of another user: no capabilities, no groups but the given.
    pub fn as_user<T: Send>(
        &mut self,
        uid: u32,
        gid: u32,
        action: impl FnOnce(&mut Self) -> T + Send,
    ) -> T {
        let this = &mut *self;
        std::thread::scope(|scope| {
            let acting = scope.spawn(move || {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                rustix::thread::set_thread_groups(&[]).expect("setgroups");
                rustix::thread::set_thread_res_gid(gid, gid, gid).expect("setresgid");
                rustix::thread::set_thread_res_uid(uid, uid, uid).expect("setresuid");
                action(this)
            });
            acting
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// What a step says.
pub struct Said(String);

impl From<()> for Said {
    fn from((): ()) -> Said {
        Said("ok".into())
    }
}

impl From<String> for Said {
    fn from(text: String) -> Said {
        Said(text)
    }
}

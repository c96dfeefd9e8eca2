//! One operation on one side, and what it came to. Both sides run this same code.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    Access, AtFlags, FallocateFlags, FileType, FlockOperation, Gid, Mode, OFlags, RawDir,
    RenameFlags, SeekFrom, Timespec, Timestamps, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;

use super::op::{How, MapKind, Op, Place, Time, Whence};
use super::side::{Dir, Mapped, Outcome, Side, Slot, errno, stamp};
use super::support::ffi::{self, Map, Mapping};
use super::support::mount::Server;
use super::support::words::brief;

/// Where plyfs takes the numbers of nodes that share an inode number with another node.
const RESERVED: u64 = 0xc000_0000_0000_0000;

/// Runs `op` with the rights of `uid`; 0 is the caller itself.
pub fn act(side: &mut Side, op: &Op, uid: u32) -> Outcome {
    let outcome = if uid == 0 {
        perform(side, op)
    } else {
        as_user(side, op, uid)
    };
    match op {
        Op::Open { slot, .. } | Op::Reopen { slot, .. } if is_late(side, op) => {
            outcome.and_then(|text| copied_up(side, *slot, text))
        }
        _ => outcome,
    }
}

fn as_user(side: &mut Side, op: &Op, uid: u32) -> Outcome {
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            rustix::thread::set_thread_groups(&[]).expect("setgroups");
            rustix::thread::set_thread_res_gid(group, group, group).expect("setresgid");
            rustix::thread::set_thread_res_uid(user, user, user).expect("setresuid");
            perform(side, op)
        });
        acting
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Does an open for writing copy up on the kernel's side only, where opens are not told (22.20)?
fn is_late(side: &Side, op: &Op) -> bool {
    match op {
        Op::Open { flags, .. } | Op::Reopen { flags, .. } => {
            side.noopen && flags & libc::O_ACCMODE != libc::O_RDONLY
        }
        _ => false,
    }
}

/// Makes a change that changes nothing else on either side, and looks at the file then.
fn copied_up(side: &mut Side, slot: usize, text: String) -> Outcome {
    let Some(held) = &side.slots[slot] else {
        return Ok(text);
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&held.file)?.st_mode & 0o7777);
    // A file without a name takes no changes on the kernel (15.2).
    let _refused = rustix::fs::fchmod(&held.file, mode);
    let stat = rustix::fs::fstat(&held.file)?;
    Ok(side.describe(&stat))
}

fn perform(side: &mut Side, op: &Op) -> Outcome {
    match op {
        Op::Open { .. }
        | Op::Reopen { .. }
        | Op::Dup { .. }
        | Op::Close { .. }
        | Op::Pread { .. }
        | Op::Pwrite { .. }
        | Op::Read { .. }
        | Op::Write { .. }
        | Op::Seek { .. }
        | Op::Truncate { .. }
        | Op::Ftruncate { .. }
        | Op::Fallocate { .. }
        | Op::CopyRange { .. }
        | Op::Fsync { .. }
        | Op::Flock { .. }
        | Op::Fstat { .. } => on_file(side, op),
        Op::Map { .. } | Op::MapRead { .. } | Op::MapWrite { .. } | Op::Unmap { .. } => {
            on_map(side, op)
        }
        Op::Stat { .. }
        | Op::Access { .. }
        | Op::Readlink { .. }
        | Op::Cat { .. }
        | Op::Chmod { .. }
        | Op::Chown { .. }
        | Op::Utimens { .. }
        | Op::Statfs { .. }
        | Op::Umask { .. } => on_attributes(side, op),
        Op::Setxattr { .. }
        | Op::Getxattr { .. }
        | Op::Removexattr { .. }
        | Op::Listxattr { .. } => on_xattrs(side, op),
        Op::List { .. }
        | Op::DirOpen { .. }
        | Op::DirRead { .. }
        | Op::DirSeek { .. }
        | Op::DirRewind { .. }
        | Op::DirFinish { .. } => on_dir(side, op),
        _ => on_name(side, op),
    }
}

fn is_file(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn done(result: Result<(), Errno>) -> Outcome {
    result.map(|()| "ok".into())
}

fn file(side: &Side, slot: usize) -> Result<&File, Errno> {
    side.slots[slot]
        .as_ref()
        .map(|s| &s.file)
        .ok_or(Errno::BADF)
}

fn pattern(fill: u8, len: usize) -> Vec<u8> {
    vec![b'A' + fill; len]
}

fn on_file(side: &mut Side, op: &Op) -> Outcome {
    match op {
        Op::Open {
            slot,
            path,
            flags,
            mode,
        } => open(side, *slot, path, *flags, *mode),
        Op::Reopen { slot, from, flags } => reopen(side, *slot, *from, *flags),
        Op::Dup { slot, from } => {
            let held = side.slots[*from].as_ref().ok_or(Errno::BADF)?;
            let copy = Slot {
                file: held.file.try_clone().map_err(errno)?,
                lower: held.lower,
            };
            side.slots[*slot] = Some(copy);
            Ok("ok".into())
        }
        Op::Close { slot } => {
            side.slots[*slot] = None;
            Ok("ok".into())
        }
        Op::Pread { slot, offset, len } => {
            let mut data = vec![0; *len];
            let n = file(side, *slot)?
                .read_at(&mut data, *offset)
                .map_err(errno)?;
            data.truncate(n);
            Ok(brief(data))
        }
        Op::Pwrite {
            slot,
            offset,
            len,
            fill,
        } => {
            let n = file(side, *slot)?
                .write_at(&pattern(*fill, *len), *offset)
                .map_err(errno)?;
            Ok(n.to_string())
        }
        Op::Read { slot, len } => {
            let mut data = vec![0; *len];
            let n = file(side, *slot)?.read(&mut data).map_err(errno)?;
            data.truncate(n);
            Ok(brief(data))
        }
        Op::Write { slot, len, fill } => Ok(file(side, *slot)?
            .write(&pattern(*fill, *len))
            .map_err(errno)?
            .to_string()),
        Op::Seek { slot, whence } => seek(file(side, *slot)?, *whence),
        // Whether a cut to the size that is counts as a change is the business of each filesystem.
        Op::Truncate { path, len }
            if side
                .stat(path, true)
                .is_ok_and(|s| is_file(&s) && s.st_size as u64 == *len) =>
        {
            Ok("it is".into())
        }
        Op::Truncate { path, len } => {
            let at = std::ffi::CString::new(side.at(path)).expect("no NUL");
            // A fifo or device is refused before it is opened.
            done(ffi::truncate(&at, *len).map_err(errno))
        }
        Op::Ftruncate { slot, len } => done(rustix::fs::ftruncate(file(side, *slot)?, *len)),
        Op::Fallocate {
            slot,
            flags,
            offset,
            len,
        } => {
            let flags = FallocateFlags::from_bits_retain(*flags);
            done(rustix::fs::fallocate(
                file(side, *slot)?,
                flags,
                *offset,
                *len,
            ))
        }
        Op::CopyRange {
            from,
            to,
            offset,
            at,
            len,
        } => {
            let (mut offset, mut at) = (*offset, *at);
            let (from, to) = (file(side, *from)?, file(side, *to)?);
            let n = rustix::fs::copy_file_range(from, Some(&mut offset), to, Some(&mut at), *len)?;
            Ok(n.to_string())
        }
        Op::Fsync {
            slot,
            data_only: true,
        } => done(rustix::fs::fdatasync(file(side, *slot)?)),
        Op::Fsync { slot, .. } => done(rustix::fs::fsync(file(side, *slot)?)),
        Op::Flock {
            slot,
            exclusive,
            unlock,
        } => {
            let how = match (unlock, exclusive) {
                (true, _) => FlockOperation::NonBlockingUnlock,
                (_, true) => FlockOperation::NonBlockingLockExclusive,
                (_, false) => FlockOperation::NonBlockingLockShared,
            };
            done(rustix::fs::flock(file(side, *slot)?, how))
        }
        Op::Fstat { slot } => {
            let stat = rustix::fs::fstat(file(side, *slot)?)?;
            Ok(side.describe(&stat))
        }
        other => panic!("not an operation on a file: {other:?}"),
    }
}

/// Opens; only regular files stay open, of others the outcome counts.
fn open(side: &mut Side, slot: usize, path: &str, flags: i32, mode: u32) -> Outcome {
    let reads = flags & libc::O_ACCMODE == libc::O_RDONLY || flags & libc::O_PATH != 0;
    let lower = reads && !side.in_upper(path);
    let flags = OFlags::from_bits_retain(
        (flags | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY) as u32,
    );
    side.slots[slot] = None;
    let fd = rustix::fs::openat(side.root(), path, flags, Mode::from_raw_mode(mode))?;
    keep(side, slot, fd, (lower, reads))
}

fn reopen(side: &mut Side, slot: usize, from: usize, flags: i32) -> Outcome {
    let reads = flags & libc::O_ACCMODE == libc::O_RDONLY || flags & libc::O_PATH != 0;
    let lower = side.slots[from].as_ref().is_some_and(|s| s.lower) && reads;
    let path = format!("/proc/self/fd/{}", file(side, from)?.as_raw_fd());
    let flags = (flags | libc::O_CLOEXEC | libc::O_NONBLOCK) & !(libc::O_CREAT | libc::O_EXCL);
    let fd = rustix::fs::open(path, OFlags::from_bits_retain(flags as u32), Mode::empty())?;
    keep(side, slot, fd, (lower, reads))
}

fn keep(side: &mut Side, slot: usize, fd: OwnedFd, (lower, reads): (bool, bool)) -> Outcome {
    let stat = rustix::fs::fstat(&fd)?;
    let text = match side.noopen && !reads {
        // See `copied_up`.
        true => "ok".into(),
        false => side.describe(&stat),
    };
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    side.slots[slot] = regular.then(|| Slot {
        file: File::from(fd),
        lower,
    });
    Ok(text)
}

/// Positions must be equal, but for holes: their layout may change in a copy-up (10.6), so those are checked against
/// the content.
fn seek(file: &File, whence: Whence) -> Outcome {
    let (from, data) = match whence {
        Whence::Start(n) => return Ok(rustix::fs::seek(file, SeekFrom::Start(n))?.to_string()),
        Whence::End(n) => return Ok(rustix::fs::seek(file, SeekFrom::End(n))?.to_string()),
        Whence::Current(n) => return Ok(rustix::fs::seek(file, SeekFrom::Current(n))?.to_string()),
        Whence::Data(n) => (n, true),
        Whence::Hole(n) => (n, false),
    };
    let before = rustix::fs::seek(file, SeekFrom::Current(0))?;
    let found = rustix::fs::seek(
        file,
        if data {
            SeekFrom::Data(from)
        } else {
            SeekFrom::Hole(from)
        },
    );
    rustix::fs::seek(file, SeekFrom::Start(before))?;
    let size = rustix::fs::fstat(file)?.st_size as u64;
    let to = match found {
        Ok(to) => to,
        // No data up to the end.
        Err(Errno::NXIO) if data && from < size => size,
        Err(e) => return Err(e),
    };
    if to < from || to > size {
        return Ok(format!("{to} is out of {from}..{size}"));
    }
    if data {
        let mut skipped = vec![0; (to - from) as usize];
        match file.read_exact_at(&mut skipped, from) {
            Ok(()) if skipped.iter().any(|b| *b != 0) => return Ok("skips data".into()),
            // Not open for reading.
            _ => {}
        }
    }
    Ok("right".into())
}

fn on_map(side: &mut Side, op: &Op) -> Outcome {
    const LEN: usize = 4096;
    match op {
        Op::Map { map, slot, kind } => {
            let held = side.slots[*slot].as_ref().ok_or(Errno::BADF)?;
            let how = match kind {
                MapKind::SharedRead => Mapping::SharedRead,
                MapKind::SharedWrite => Mapping::SharedWrite,
                MapKind::Private => Mapping::PrivateWrite,
            };
            let mapped = Mapped {
                map: Map::new(&held.file, LEN, how).map_err(errno)?,
                file: held.file.try_clone().map_err(errno)?,
                lower: held.lower,
            };
            side.maps[*map] = Some(mapped);
            Ok("ok".into())
        }
        Op::MapRead { map } => {
            let mapped = side.maps[*map].as_ref().ok_or(Errno::BADF)?;
            Ok(brief(mapped.map.peek().map_err(errno)?))
        }
        Op::MapWrite { map, fill } => {
            let mapped = side.maps[*map].as_mut().ok_or(Errno::BADF)?;
            // What lies beyond the end shows on some filesystems when the file grows.
            let size = rustix::fs::fstat(&mapped.file)?.st_size;
            let within = pattern(*fill, size.clamp(0, 5) as usize);
            mapped.map.poke(&within).map_err(errno)?;
            // Which later write counts as the first one to a page is the business of each page cache, so the
            // modification time is made equal.
            mapped.map.sync().map_err(errno)?;
            let time = Timespec {
                tv_sec: 1_200_000_000,
                tv_nsec: 1,
            };
            done(rustix::fs::futimens(
                &mapped.file,
                &Timestamps {
                    last_access: time,
                    last_modification: time,
                },
            ))
        }
        Op::Unmap { map } => {
            side.maps[*map] = None;
            Ok("ok".into())
        }
        other => panic!("not an operation on a map: {other:?}"),
    }
}

fn timespec(time: Time) -> Timespec {
    match time {
        Time::At(tv_sec, nanos) => Timespec {
            tv_sec,
            tv_nsec: nanos as _,
        },
        Time::Now => Timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_NOW as _,
        },
        Time::Omit => Timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_OMIT as _,
        },
    }
}

fn on_attributes(side: &mut Side, op: &Op) -> Outcome {
    const NOFOLLOW: AtFlags = AtFlags::SYMLINK_NOFOLLOW;
    match op {
        Op::Stat { path, follow } => {
            let stat = side.stat(path, *follow)?;
            Ok(side.describe(&stat))
        }
        Op::Access { path, mode } => {
            let access = Access::from_bits_retain(*mode);
            done(rustix::fs::accessat(
                side.root(),
                path.as_str(),
                access,
                AtFlags::EACCESS,
            ))
        }
        Op::Readlink { path } => Ok(format!(
            "{:?}",
            rustix::fs::readlinkat(side.root(), path.as_str(), Vec::new())?
        )),
        Op::Cat { path } => match FileType::from_raw_mode(side.stat(path, true)?.st_mode) {
            FileType::RegularFile => side.content(path),
            other => Ok(format!("{other:?}")),
        },
        Op::Chmod { place, mode } => {
            let mode = Mode::from_raw_mode(*mode);
            done(match place {
                Place::Name(path) => {
                    rustix::fs::chmodat(side.root(), path.as_str(), mode, AtFlags::empty())
                }
                Place::Slot(slot) => rustix::fs::fchmod(file(side, *slot)?, mode),
            })
        }
        Op::Chown { place, uid, gid } => {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            done(match place {
                Place::Name(path) => {
                    rustix::fs::chownat(side.root(), path.as_str(), uid, gid, NOFOLLOW)
                }
                Place::Slot(slot) => rustix::fs::fchown(file(side, *slot)?, uid, gid),
            })
        }
        Op::Utimens {
            place,
            atime,
            mtime,
        } => {
            let times = Timestamps {
                last_access: timespec(*atime),
                last_modification: timespec(*mtime),
            };
            // Access times are seen here alone: when a look counts as access is decided by each mount.
            let stat = match place {
                Place::Name(path) => {
                    rustix::fs::utimensat(side.root(), path.as_str(), &times, NOFOLLOW)?;
                    side.stat(path, false)?
                }
                Place::Slot(slot) => {
                    rustix::fs::futimens(file(side, *slot)?, &times)?;
                    rustix::fs::fstat(file(side, *slot)?)?
                }
            };
            match atime {
                _ if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => Ok("ok".into()),
                Time::Omit => Ok("ok".into()),
                _ => Ok(format!(
                    "atime={}",
                    stamp(stat.st_atime, stat.st_atime_nsec)
                )),
            }
        }
        Op::Statfs { path } => {
            let fd = rustix::fs::openat(
                side.root(),
                path.as_str(),
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            Ok(format!(
                "names up to {}",
                rustix::fs::fstatvfs(fd)?.f_namemax
            ))
        }
        Op::Umask { mask } => {
            rustix::process::umask(Mode::from_raw_mode(*mask));
            Ok("ok".into())
        }
        other => panic!("not an operation on attributes: {other:?}"),
    }
}

fn on_xattrs(side: &mut Side, op: &Op) -> Outcome {
    let mut buffer = vec![0; 8192];
    match op {
        Op::Setxattr {
            place,
            name,
            value,
            flags,
        } => {
            let flags = XattrFlags::from_bits_retain(*flags);
            done(match place {
                Place::Name(path) => {
                    rustix::fs::lsetxattr(side.at(path), name.as_str(), &value.0, flags)
                }
                Place::Slot(slot) => {
                    rustix::fs::fsetxattr(file(side, *slot)?, name.as_str(), &value.0, flags)
                }
            })
        }
        Op::Getxattr { place, name } => {
            let n = match place {
                Place::Name(path) => {
                    rustix::fs::lgetxattr(side.at(path), name.as_str(), &mut buffer)
                }
                Place::Slot(slot) => {
                    rustix::fs::fgetxattr(file(side, *slot)?, name.as_str(), &mut buffer)
                }
            }?;
            Ok(buffer[..n].escape_ascii().to_string())
        }
        Op::Removexattr { place, name } => done(match place {
            Place::Name(path) => rustix::fs::lremovexattr(side.at(path), name.as_str()),
            Place::Slot(slot) => rustix::fs::fremovexattr(file(side, *slot)?, name.as_str()),
        }),
        Op::Listxattr { place } => {
            let n = match place {
                Place::Name(path) => rustix::fs::llistxattr(side.at(path), &mut buffer),
                Place::Slot(slot) => rustix::fs::flistxattr(file(side, *slot)?, &mut buffer),
            }?;
            let mut names: Vec<_> = buffer[..n]
                .split(|b| *b == 0)
                .map(|n| n.escape_ascii().to_string())
                .collect();
            names.sort();
            Ok(names.join(" "))
        }
        other => panic!("not an operation on xattrs: {other:?}"),
    }
}

fn on_name(side: &mut Side, op: &Op) -> Outcome {
    let root = side.root();
    done(match op {
        Op::Mkdir { path, mode } => {
            rustix::fs::mkdirat(root, path.as_str(), Mode::from_raw_mode(*mode))
        }
        Op::Mknod {
            path,
            kind,
            mode,
            number,
        } => {
            let (kind, mode) = (FileType::from_raw_mode(*kind), Mode::from_raw_mode(*mode));
            rustix::fs::mknodat(root, path.as_str(), kind, mode, makedev(number.0, number.1))
        }
        Op::Symlink { to, path } => rustix::fs::symlinkat(to.as_str(), root, path.as_str()),
        Op::Link { from, to, follow } => {
            let flags = if *follow {
                AtFlags::SYMLINK_FOLLOW
            } else {
                AtFlags::empty()
            };
            rustix::fs::linkat(root, from.as_str(), root, to.as_str(), flags)
        }
        Op::LinkSlot { slot, to } => {
            let from = format!("/proc/self/fd/{}", file(side, *slot)?.as_raw_fd());
            rustix::fs::linkat(
                root,
                from.as_str(),
                root,
                to.as_str(),
                AtFlags::SYMLINK_FOLLOW,
            )
        }
        Op::Unlink { path } => rustix::fs::unlinkat(root, path.as_str(), AtFlags::empty()),
        Op::Rmdir { path } => rustix::fs::unlinkat(root, path.as_str(), AtFlags::REMOVEDIR),
        Op::RemoveAll { path } => std::fs::remove_dir_all(side.at(path)).map_err(errno),
        Op::Rename { from, to, how } => {
            let flags = match how {
                How::Replace => RenameFlags::empty(),
                How::NoReplace => RenameFlags::NOREPLACE,
                How::Exchange => RenameFlags::EXCHANGE,
                How::Whiteout => RenameFlags::WHITEOUT,
            };
            rustix::fs::renameat_with(root, from.as_str(), root, to.as_str(), flags)
        }
        other => panic!("not an operation on names: {other:?}"),
    })
}

fn open_dir(side: &Side, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(side.root(), path, flags, Mode::empty())
}

fn dir(side: &mut Side, dir: usize) -> Result<&mut Dir, Errno> {
    side.dirs[dir].as_mut().ok_or(Errno::BADF)
}

fn on_dir(side: &mut Side, op: &Op) -> Outcome {
    match op {
        Op::List { path, buffer } => list(side, path, *buffer),
        Op::DirOpen { dir, path } => {
            side.dirs[*dir] = None;
            let fd = open_dir(side, path)?;
            side.dirs[*dir] = Some(Dir {
                fd,
                seen: Vec::new(),
                ended: false,
            });
            Ok("ok".into())
        }
        Op::DirRead { dir: n, buffer } => match dir(side, *n)?.read(*buffer) {
            // Both orders are right, so only one of the sides may meet a long name.
            Ok(()) | Err(Errno::INVAL) => Ok("ok".into()),
            Err(e) => Err(e),
        },
        Op::DirSeek { dir: n, back } => {
            let held = dir(side, *n)?;
            let keep = held.seen.len().saturating_sub(*back);
            held.seen.truncate(keep);
            held.ended = false;
            let to = held.seen.last().map_or(0, |(_, cookie)| *cookie);
            rustix::fs::seek(&held.fd, SeekFrom::Start(to))?;
            Ok("ok".into())
        }
        Op::DirRewind { dir: n } => {
            let held = dir(side, *n)?;
            (held.ended, held.seen) = (false, Vec::new());
            rustix::fs::seek(&held.fd, SeekFrom::Start(0))?;
            Ok("ok".into())
        }
        Op::DirFinish { dir: n } => {
            let ghosts = side.ghosts;
            let held = dir(side, *n)?;
            while !held.ended {
                held.read(4096)?;
            }
            let mut names: Vec<_> = held.seen.iter().map(|(name, _)| name.clone()).collect();
            if ghosts {
                names.retain(|name| exists(&held.fd, name));
            }
            names.sort();
            Ok(names.join("\n"))
        }
        other => panic!("not an operation on directories: {other:?}"),
    }
}

/// Whiteouts the kernel lists in directories of one layer do not exist (3.7).
fn exists(dir: &OwnedFd, name: &str) -> bool {
    !matches!(
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW),
        Err(Errno::NOENT)
    )
}

impl Dir {
    /// One getdents64(2).
    fn read(&mut self, buffer: usize) -> Result<(), Errno> {
        let mut buffer = Vec::with_capacity(buffer);
        let mut stream = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        self.ended = true;
        while let Some(entry) = stream.next() {
            let entry = entry?;
            self.seen.push((
                entry.file_name().to_string_lossy().into_owned(),
                entry.next_entry_cookie(),
            ));
            if stream.is_buffer_empty() {
                self.ended = false;
                break;
            }
        }
        Ok(())
    }
}

/// All entries with their types.
pub fn list(side: &mut Side, path: &str, buffer: usize) -> Outcome {
    let fd = open_dir(side, path)?;
    let mut buffer = Vec::with_capacity(buffer);
    let mut stream = RawDir::new(&fd, buffer.spare_capacity_mut());
    // A listing tells the number that stat(2) tells (8.4). The kernel goes wrong below upper directories it did not
    // write itself; `..` of the root belongs to the outer filesystem (7.7).
    let may_differ = |d_ino: u64, st_ino: u64, name: &str| {
        let shared =
            side.shared.contains(&d_ino) || side.shared.contains(&st_ino) || d_ino >= RESERVED;
        side.server == Server::Kernel || name == ".." || shared
    };
    let mut lines = Vec::new();
    while let Some(entry) = stream.next() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let found = rustix::fs::statat(&fd, name.as_str(), AtFlags::SYMLINK_NOFOLLOW);
        // Without the right to look, a whiteout and a device cannot be told apart.
        let unknown = entry.file_type() == FileType::CharacterDevice && found.is_err();
        if (side.ghosts && matches!(found, Err(Errno::NOENT))) || unknown {
            continue;
        }
        let mut line = format!("{name}:{:?}", entry.file_type());
        match found {
            Ok(stat)
                if stat.st_ino != entry.ino() && !may_differ(entry.ino(), stat.st_ino, &name) =>
            {
                line += "!ino"
            }
            Ok(_) => {}
            Err(e) => line += &format!("({e:?})"),
        }
        lines.push(line);
    }
    lines.sort();
    Ok(lines.join(" "))
}

//! Values of the overlay as the types of FUSE messages, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, INodeNo, Request, TimeOrNow};

use super::asker::Asker;
use crate::overlay::node::NodeId;
use crate::overlay::view::attr::Attr;
use crate::sys::at::SetTime;
use crate::sys::errno::Errno;
use crate::sys::stat::{FileType, Time};

/// An errno for the kernel.
pub fn errno(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw())
}

/// Who asks.
pub fn asker(req: &Request) -> Asker {
    Asker {
        uid: req.uid(),
        gid: req.gid(),
        thread: req.pid(),
    }
}

/// A type of object.
pub fn kind(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::File => fuser::FileType::RegularFile,
        FileType::Dir => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::Char => fuser::FileType::CharDevice,
        FileType::Block => fuser::FileType::BlockDevice,
    }
}

/// Attributes under the inode number that users see.
pub fn attr(attr: &Attr) -> FileAttr {
    numbered(attr, attr.ino)
}

/// Attributes for an entry: fuser takes the node id from the same field.
pub fn entry_attr(id: NodeId, attr: &Attr) -> FileAttr {
    numbered(attr, id.0)
}

fn numbered(attr: &Attr, number: u64) -> FileAttr {
    let stat = &attr.stat;
    FileAttr {
        ino: INodeNo(number),
        size: stat.size,
        blocks: stat.blocks,
        atime: system_time(stat.atime),
        mtime: system_time(stat.mtime),
        ctime: system_time(stat.ctime),
        crtime: system_time(stat.btime),
        kind: kind(stat.kind),
        // Always below 0o10000.
        perm: stat.perm as u16,
        nlink: attr.nlink,
        uid: attr.uid.0,
        gid: attr.gid.0,
        rdev: stat.rdev.to_encoded(),
        blksize: stat.blksize,
        flags: 0,
    }
}

/// Attributes of which only number and type are looked at.
pub fn bare_attr(ino: u64, of: FileType) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: kind(of),
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.sec.unsigned_abs());
    let base = if time.sec >= 0 {
        UNIX_EPOCH.checked_add(whole)
    } else {
        UNIX_EPOCH.checked_sub(whole)
    };
    let exact = base.and_then(|base| base.checked_add(Duration::from_nanos(time.nsec.into())));
    exact.unwrap_or(UNIX_EPOCH)
}

fn time(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time {
            sec: after.as_secs().cast_signed(),
            nsec: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            let sec = -before.as_secs().cast_signed();
            match before.subsec_nanos() {
                0 => Time { sec, nsec: 0 },
                nanos => Time {
                    sec: sec - 1,
                    nsec: 1_000_000_000 - nanos,
                },
            }
        }
    }
}

/// A time stamp to set.
pub fn set_time(wanted: Option<TimeOrNow>) -> SetTime {
    match wanted {
        None => SetTime::Omit,
        Some(TimeOrNow::Now) => SetTime::Now,
        Some(TimeOrNow::SpecificTime(at)) => SetTime::At(time(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip_on_both_sides_of_1970() {
        for (sec, nsec) in [
            (0, 0),
            (1, 5),
            (-1, 0),
            (-1, 999_999_999),
            (-2, 1),
            (4_000_000_000, 7),
        ] {
            assert_eq!(time(system_time(Time { sec, nsec })), Time { sec, nsec });
        }
    }
}

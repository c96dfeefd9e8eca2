//! [`Stat`]: what statx(2) tells of one object.

use rustix::fs::{Statx, StatxAttributes, StatxFlags};

/// Type of a filesystem object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Character device.
    Char,
    /// Block device.
    Block,
}

impl FileType {
    /// From the type bits of a mode; `None` for bits that no kernel gives out.
    pub fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => FileType::File,
            libc::S_IFDIR => FileType::Dir,
            libc::S_IFLNK => FileType::Symlink,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            libc::S_IFCHR => FileType::Char,
            libc::S_IFBLK => FileType::Block,
            _ => return None,
        })
    }

    /// The type bits of a mode.
    pub fn to_mode(self) -> u32 {
        match self {
            FileType::File => libc::S_IFREG,
            FileType::Dir => libc::S_IFDIR,
            FileType::Symlink => libc::S_IFLNK,
            FileType::Fifo => libc::S_IFIFO,
            FileType::Socket => libc::S_IFSOCK,
            FileType::Char => libc::S_IFCHR,
            FileType::Block => libc::S_IFBLK,
        }
    }
}

/// A point in time as the disk has it; seconds may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nsec: u32,
}

/// Attributes of one object.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Device number of the filesystem (major << 32 | minor).
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type.
    pub kind: FileType,
    /// Permission bits, with set-id and sticky bits (07777).
    pub perm: u32,
    /// Link count.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: Rdev,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last change of the data.
    pub mtime: Time,
    /// Last change of the metadata.
    pub ctime: Time,
    /// The immutable flag (chattr +i).
    pub immutable: bool,
    /// The append-only flag (chattr +a).
    pub append_only: bool,
    /// Mount the object was reached through.
    pub mount_id: u64,
    /// Birth, zero where the filesystem does not know.
    pub btime: Time,
}

/// Device number of a filesystem, packed as the kernel itself does it: 12 bits of major and 20 of minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedDev(pub u32);

impl PackedDev {
    const MINOR_BITS: u32 = 20;

    /// Of the number in [`Stat::dev`].
    pub fn of(dev: u64) -> PackedDev {
        let (major, minor) = ((dev >> 32) as u32, dev as u32);
        PackedDev(major << Self::MINOR_BITS | minor)
    }

    /// The number as in [`Stat::dev`].
    pub fn dev(self) -> u64 {
        let minor = self.0 & ((1 << Self::MINOR_BITS) - 1);
        u64::from(self.0 >> Self::MINOR_BITS) << 32 | u64::from(minor)
    }
}

/// Device number of a device node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rdev {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl Rdev {
    /// From the encoding used in FUSE messages and by `mknod` (Linux `new_encode_dev`).
    pub fn from_encoded(dev: u32) -> Rdev {
        Rdev {
            major: (dev & 0xfff00) >> 8,
            minor: (dev & 0xff) | ((dev >> 12) & 0xfff00),
        }
    }

    /// To the encoding used in FUSE messages (Linux `new_encode_dev`).
    pub fn to_encoded(self) -> u32 {
        (self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)
    }
}

impl Stat {
    /// What the kernel is asked for.
    pub(super) const MASK: StatxFlags = StatxFlags::BASIC_STATS
        .union(StatxFlags::BTIME)
        .union(StatxFlags::MNT_ID);

    pub(super) fn from_statx(s: &Statx) -> Stat {
        let time = |t: &rustix::fs::StatxTimestamp| Time {
            sec: t.tv_sec,
            nsec: t.tv_nsec,
        };
        let mode = u32::from(s.stx_mode);
        Stat {
            dev: (u64::from(s.stx_dev_major) << 32) | u64::from(s.stx_dev_minor),
            ino: s.stx_ino,
            // The kernel knows no other types; an impossible one is served as a plain file.
            kind: FileType::from_mode(mode).unwrap_or(FileType::File),
            perm: mode & 0o7777,
            nlink: s.stx_nlink,
            uid: s.stx_uid,
            gid: s.stx_gid,
            rdev: Rdev {
                major: s.stx_rdev_major,
                minor: s.stx_rdev_minor,
            },
            size: s.stx_size,
            blocks: s.stx_blocks,
            blksize: s.stx_blksize,
            atime: time(&s.stx_atime),
            mtime: time(&s.stx_mtime),
            ctime: time(&s.stx_ctime),
            immutable: s.stx_attributes.contains(StatxAttributes::IMMUTABLE),
            append_only: s.stx_attributes.contains(StatxAttributes::APPEND),
            mount_id: s.stx_mnt_id,
            btime: time(&s.stx_btime),
        }
    }

    /// Is this a directory?
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Dir
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_round_trip() {
        for (major, minor) in [(0, 0), (1, 3), (8, 255), (259, 70_000), (4095, 1_048_575)] {
            let dev = Rdev { major, minor };
            assert_eq!(Rdev::from_encoded(dev.to_encoded()), dev);
            let dev = u64::from(major) << 32 | u64::from(minor);
            assert_eq!(PackedDev::of(dev).dev(), dev);
        }
    }

    #[test]
    fn types_round_trip() {
        for kind in [
            FileType::File,
            FileType::Dir,
            FileType::Symlink,
            FileType::Fifo,
            FileType::Socket,
            FileType::Char,
            FileType::Block,
        ] {
            assert_eq!(FileType::from_mode(kind.to_mode() | 0o644), Some(kind));
        }
        assert_eq!(FileType::from_mode(0), None);
    }
}

//! The fixed answers, as bytes.

use std::time::Duration;

use crate::overlay::view::attr::Attr;
use crate::sys::file::FsStat;
use crate::sys::stat::FileType;

/// Bytes of `struct fuse_attr`.
const ATTR_BYTES: usize = 88;
/// Bytes of `struct fuse_entry_out`.
pub const ENTRY_BYTES: usize = 40 + ATTR_BYTES;
/// Bytes of `struct fuse_open_out`.
const OPEN_BYTES: usize = 16;
/// Nothing is reused while the kernel knows it, so generations tell nothing.
const GENERATION: u64 = 0;

/// What a name leads to.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The node, as further requests will call it.
    pub node: u64,
    /// How long the name may be kept.
    pub entry_ttl: Duration,
    /// How long the attributes may be kept.
    pub attr_ttl: Duration,
    /// The attributes, with the number that users see.
    pub attr: &'a Attr,
}

/// Bytes that are filled from the front.
struct Bytes<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Bytes<N> {
    fn new() -> Bytes<N> {
        Bytes {
            bytes: [0; N],
            filled: 0,
        }
    }

    fn raw(mut self, more: &[u8]) -> Bytes<N> {
        if let Some(place) = self.bytes.get_mut(self.filled..self.filled + more.len()) {
            place.copy_from_slice(more);
        }
        self.filled += more.len();
        self
    }

    fn u32(self, value: u32) -> Bytes<N> {
        self.raw(&value.to_ne_bytes())
    }

    fn u64(self, value: u64) -> Bytes<N> {
        self.raw(&value.to_ne_bytes())
    }

    fn attr(self, attr: &Attr) -> Bytes<N> {
        let stat = &attr.stat;
        let times = [stat.atime, stat.mtime, stat.ctime];
        let with_seconds = times.iter().fold(
            self.u64(attr.ino).u64(stat.size).u64(stat.blocks),
            |bytes, time| bytes.u64(time.sec.cast_unsigned()),
        );
        let with_times = times
            .iter()
            .fold(with_seconds, |bytes, time| bytes.u32(time.nsec));
        with_times
            .u32(stat.kind.to_mode() | stat.perm)
            .u32(attr.nlink)
            .u32(attr.uid.0)
            .u32(attr.gid.0)
            .u32(stat.rdev.to_encoded())
            .u32(stat.blksize)
            .u32(0)
    }
}

/// `struct fuse_entry_out`
pub fn entry(entry: Entry<'_>) -> [u8; ENTRY_BYTES] {
    let Entry {
        node,
        entry_ttl,
        attr_ttl,
        attr,
    } = entry;
    head_of_entry(node, entry_ttl, attr_ttl).attr(attr).bytes
}

/// An entry that says that there is nothing, and for how long.
pub fn negative(ttl: Duration) -> [u8; ENTRY_BYTES] {
    head_of_entry(0, ttl, Duration::ZERO).bytes
}

/// An entry of a directory of which only number and type are told: the kernel looks it up when it is needed.
pub fn bare(ino: u64, kind: FileType) -> [u8; ENTRY_BYTES] {
    /// From the number to the mode of a struct fuse_attr.
    const BETWEEN: [u8; 52] = [0; 52];
    let head = head_of_entry(0, Duration::ZERO, Duration::ZERO);
    head.u64(ino).raw(&BETWEEN).u32(kind.to_mode()).bytes
}

fn head_of_entry(node: u64, entry_ttl: Duration, attr_ttl: Duration) -> Bytes<ENTRY_BYTES> {
    Bytes::new()
        .u64(node)
        .u64(GENERATION)
        .u64(entry_ttl.as_secs())
        .u64(attr_ttl.as_secs())
        .u32(entry_ttl.subsec_nanos())
        .u32(attr_ttl.subsec_nanos())
}

/// `struct fuse_attr_out`
pub fn attributes(ttl: Duration, attr: &Attr) -> [u8; 16 + ATTR_BYTES] {
    let head = Bytes::new().u64(ttl.as_secs()).u32(ttl.subsec_nanos());
    head.u32(0).attr(attr).bytes
}

/// `struct fuse_open_out`. `backing`: the file that the kernel serves, if `flags` say that it does.
pub fn opened(fh: u64, flags: u32, backing: u32) -> [u8; OPEN_BYTES] {
    Bytes::new().u64(fh).u32(flags).u32(backing).bytes
}

/// Both, for CREATE.
pub fn created(of: Entry<'_>, fh: u64, flags: u32, backing: u32) -> [u8; ENTRY_BYTES + OPEN_BYTES] {
    let opened = opened(fh, flags, backing);
    Bytes::new().raw(&entry(of)).raw(&opened).bytes
}

/// `struct fuse_write_out`
pub fn written(bytes: u32) -> [u8; 8] {
    Bytes::new().u32(bytes).bytes
}

/// `struct fuse_getxattr_out`: how many bytes there are.
pub fn xattr_size(bytes: u32) -> [u8; 8] {
    Bytes::new().u32(bytes).bytes
}

/// `struct fuse_lseek_out`, and `struct fuse_copy_file_range_out`, too.
pub fn lseek(offset: u64) -> [u8; 8] {
    offset.to_ne_bytes()
}

/// `struct fuse_ioctl_out`; data follows it.
pub fn ioctl(result: i32) -> [u8; 16] {
    Bytes::new().raw(&result.to_ne_bytes()).bytes
}

/// `struct fuse_poll_out`
pub fn polled(events: u32) -> [u8; 8] {
    Bytes::new().u32(events).bytes
}

/// `struct fuse_statfs_out`
pub fn statfs(stat: &FsStat) -> [u8; 80] {
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Bytes::new()
        .u64(stat.blocks)
        .u64(stat.bfree)
        .u64(stat.bavail)
        .u64(stat.files)
        .u64(stat.ffree)
        .u32(small(stat.bsize))
        .u32(small(stat.namelen))
        .u32(small(stat.frsize))
        .bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::idmap::ShownId;
    use crate::sys::stat::{Rdev, Stat, Time};

    const ATTR: Attr = Attr {
        ino: 42,
        nlink: 3,
        uid: ShownId(1000),
        gid: ShownId(1001),
        cacheable: true,
        stat: Stat {
            dev: 0,
            ino: 7,
            kind: FileType::File,
            perm: 0o4755,
            nlink: 9,
            uid: 0,
            gid: 0,
            rdev: Rdev { major: 8, minor: 1 },
            size: 1 << 40,
            blocks: 8,
            blksize: 4096,
            atime: Time { sec: -1, nsec: 1 },
            mtime: Time { sec: 2, nsec: 3 },
            ctime: Time { sec: 4, nsec: 5 },
            immutable: false,
            append_only: false,
            mount_id: 0,
            btime: Time { sec: 0, nsec: 0 },
        },
    };

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_ne_bytes(*bytes[at..].first_chunk().unwrap())
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap())
    }

    /// The attributes above, at their offsets in struct fuse_attr.
    fn assert_attr(attr: &[u8]) {
        assert_eq!(attr.len(), 88);
        let longs = [0, 8, 16, 24, 32, 40].map(|at| u64_at(attr, at));
        assert_eq!(longs, [42, 1 << 40, 8, u64::MAX, 2, 4]);
        let words = [48, 52, 56, 60, 64, 68, 72, 76, 80, 84].map(|at| u32_at(attr, at));
        assert_eq!(words, [1, 3, 5, 0o104_755, 3, 1000, 1001, 0x801, 4096, 0]);
    }

    #[test]
    fn entries_and_attributes() {
        let (entry_ttl, attr_ttl) = (Duration::new(1 << 32, 6), Duration::new(7, 8));
        let of = Entry {
            node: 5,
            entry_ttl,
            attr_ttl,
            attr: &ATTR,
        };
        let bytes = entry(of);
        let longs = [0, 8, 16, 24].map(|at| u64_at(&bytes, at));
        assert_eq!((longs, bytes.len()), ([5, 0, 1 << 32, 7], 128));
        assert_eq!((u32_at(&bytes, 32), u32_at(&bytes, 36)), (6, 8));
        assert_attr(&bytes[40..]);
        let created = created(of, 11, 1 << 7, 12);
        assert_eq!(created[..128], bytes);
        assert_eq!(created[128..], opened(11, 1 << 7, 12));
        let attributes = attributes(attr_ttl, &ATTR);
        assert_eq!((u64_at(&attributes, 0), u32_at(&attributes, 8)), (7, 8));
        assert_attr(&attributes[16..]);
    }

    #[test]
    fn nothing_and_little_to_tell() {
        let bytes = negative(entry_ttl());
        assert_eq!((u64_at(&bytes, 0), u64_at(&bytes, 16)), (0, 9));
        assert!(bytes[24..].iter().all(|byte| *byte == 0));
        let bytes = bare(42, FileType::Dir);
        assert_eq!((u64_at(&bytes, 0), u64_at(&bytes, 40)), (0, 42));
        assert_eq!(u32_at(&bytes, 40 + 60), 0o40_000);
    }

    fn entry_ttl() -> Duration {
        Duration::from_secs(9)
    }

    #[test]
    fn small_answers() {
        let open = opened(1, 2, 3);
        let fields = (u64_at(&open, 0), u32_at(&open, 8), u32_at(&open, 12));
        assert_eq!(fields, (1, 2, 3));
        assert_eq!(u64_at(&written(4096), 0), 4096);
        assert_eq!(u64_at(&xattr_size(20), 0), 20);
        assert_eq!(u64_at(&lseek(1 << 40), 0), 1 << 40);
        assert_eq!(u32_at(&ioctl(-25), 0), (-25_i32).cast_unsigned());
        assert_eq!(u32_at(&polled(5), 0), 5);
        let bytes = statfs(&FsStat {
            frsize: 1,
            bsize: 2,
            blocks: 3,
            bfree: 4,
            bavail: 5,
            files: 6,
            ffree: 7,
            namelen: u64::MAX,
        });
        let longs = [0, 8, 16, 24, 32].map(|at| u64_at(&bytes, at));
        assert_eq!(longs, [3, 4, 5, 6, 7]);
        let words = [40, 44, 48, 52].map(|at| u32_at(&bytes, at));
        assert_eq!(words, [2, u32::MAX, 1, 0]);
    }
}

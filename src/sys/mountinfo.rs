//! The mount table of this process: `/proc/self/mountinfo`.
//!
//! A mount is known by its id *and* its device: ids are used again after an unmount, devices too, but hardly ever
//! both together. Paths say where a mount is, never which one it is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;

use super::errno::Result;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which mount.
    pub identity: Identity,
    /// Id of the mount it is mounted on.
    pub parent: u32,
    /// Where, as this process sees it.
    pub point: OsString,
    /// Filesystem type, with its subtype.
    pub fstype: OsString,
}

/// Which mount, for as long as this system runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Mount id.
    pub id: u32,
    /// Major and minor number of what is mounted.
    pub device: (u32, u32),
}

/// The whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(pub Vec<Entry>);

impl Table {
    /// Reads the table as it is now.
    ///
    /// # Errors
    /// ENOENT when /proc is not mounted.
    pub fn read() -> Result<Table> {
        let text = read_whole(c"/proc/self/mountinfo")?;
        Ok(Table::parse(&text))
    }

    fn parse(text: &[u8]) -> Table {
        let lines = text.split(|b| *b == b'\n');
        Table(lines.filter_map(Entry::parse).collect())
    }

    /// The mount that one sees at `point`: the top-most of those mounted there.
    pub fn top_at(&self, point: &OsStr) -> Option<&Entry> {
        let mut here = self.0.iter().filter(|e| e.point == point);
        here.find(|e| self.is_top(e))
    }

    /// The entry of this very mount, wherever it is now.
    pub fn find(&self, identity: Identity) -> Option<&Entry> {
        self.0.iter().find(|e| e.identity == identity)
    }

    /// Whether nothing is mounted over `entry`.
    pub fn is_top(&self, entry: &Entry) -> bool {
        !self
            .0
            .iter()
            .any(|other| other.parent == entry.identity.id && other.point == entry.point)
    }

    /// Whether something of this device is mounted anywhere.
    pub fn has(&self, device: (u32, u32)) -> bool {
        self.0.iter().any(|e| e.identity.device == device)
    }

    /// Whether it is mounted in several places.
    pub fn has_more_of(&self, device: (u32, u32)) -> bool {
        let all = self.0.iter().filter(|e| e.identity.device == device);
        all.count() > 1
    }
}

impl Entry {
    /// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw`
    fn parse(line: &[u8]) -> Option<Entry> {
        let mut fields = line.split(|b| *b == b' ');
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
        let point = unescape(fields.nth(1)?);
        let fstype = unescape(fields.skip_while(|f| f != b"-").nth(1)?);
        let device = (major.parse().ok()?, minor.parse().ok()?);
        Some(Entry {
            identity: Identity { id, device },
            parent,
            point,
            fstype,
        })
    }
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The kernel writes space, tab, newline and backslash as `\040` and so on.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |b: &u8| (b'0'..=b'7').contains(b);
        match tail {
            [a @ b'0'..=b'3', b, c, after @ ..] if *first == b'\\' && octal(b) && octal(c) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// A file of procfs or sysfs, which knows its size only once it has been read.
pub(super) fn read_whole(path: &std::ffi::CStr) -> Result<Vec<u8>> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::new();
    // One read gives a page of it at most.
    let mut buffer = [0; 4096];
    loop {
        match retry_on_intr(|| rustix::io::read(&file, &mut buffer))? {
            0 => return Ok(text),
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const TEXT: &[u8] = b"24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
        30 24 0:40 / /m rw,nosuid - fuse.plyfs plyfs rw,user_id=0\n\
        31 30 0:41 / /m rw - tmpfs tmpfs rw\n\
        32 24 0:42 /sub /a\\040b\\134c rw - fuse.plyfs x rw\n\
        garbage\n";

    #[test]
    fn lines_are_understood() {
        let table = Table::parse(TEXT);
        assert_eq!(table.0.len(), 4);
        let expected = Entry {
            identity: Identity {
                id: 32,
                device: (0, 42),
            },
            parent: 24,
            point: r"/a b\c".into(),
            fstype: "fuse.plyfs".into(),
        };
        assert_eq!(table.0[3], expected);
        assert!(table.has((0, 41)) && !table.has((0, 43)));
        assert!(!table.has_more_of((0, 41)));
    }

    #[test]
    fn the_top_most_mount_is_found() {
        let table = Table::parse(TEXT);
        let top = table.top_at(OsStr::new("/m")).unwrap();
        assert_eq!(
            (top.identity.id, top.fstype.as_os_str()),
            (31, OsStr::new("tmpfs"))
        );
        let below = Identity {
            id: 30,
            device: (0, 40),
        };
        assert!(!table.is_top(table.find(below).unwrap()));
        // The same id on another device is another mount.
        let other = Identity {
            id: 30,
            device: (0, 99),
        };
        assert_eq!(table.find(other), None);
        assert_eq!(table.top_at(OsStr::new("/nothing")), None);
    }

    #[test]
    fn the_real_table_has_a_root() {
        let table = Table::read().unwrap();
        assert!(table.top_at(OsStr::new("/")).is_some());
    }

    #[test]
    fn odd_escapes_stay() {
        assert_eq!(unescape(br"a\0b"), OsString::from(r"a\0b"));
        assert_eq!(unescape(br"a\"), OsString::from(r"a\"));
        assert_eq!(unescape(br"\011x").as_bytes(), b"\tx");
    }
}

//! [`Listing`]: the entries of a directory, as many as there is room for.

use super::Entry;
use super::answer::{bare, entry};
use crate::overlay::view::list::Dirent;

/// Bytes of `struct fuse_dirent` before the name.
const DIRENT_BYTES: usize = 24;
/// Entries begin at multiples of this.
const ALIGN: usize = 8;

/// An answer to READDIR or READDIRPLUS under construction.
#[derive(Debug)]
pub struct Listing<'a> {
    room: &'a mut [u8],
    filled: usize,
}

impl<'a> Listing<'a> {
    /// An empty one of at most `size` bytes in `room`.
    pub fn new(room: &'a mut [u8], size: u32) -> Listing<'a> {
        let size = room.len().min(size as usize);
        Listing {
            room: &mut room[..size],
            filled: 0,
        }
    }

    /// Adds an entry of READDIR. False: there is no room for it.
    pub fn add(&mut self, dirent: Dirent<'_>) -> bool {
        self.push(&[], dirent)
    }

    /// Adds an entry of READDIRPLUS; without `of`, the kernel looks it up when it is needed. False: there is no room.
    pub fn add_plus(&mut self, dirent: Dirent<'_>, of: Option<Entry<'_>>) -> bool {
        let known = of.map_or_else(|| bare(dirent.ino, dirent.kind), entry);
        self.push(&known, dirent)
    }

    fn push(&mut self, known: &[u8], dirent: Dirent<'_>) -> bool {
        let Dirent {
            ino,
            next,
            kind,
            name,
        } = dirent;
        let len = known.len() + DIRENT_BYTES + name.len();
        let place = self.room.get_mut(self.filled..);
        let place = place.and_then(|left| left.get_mut(..len.next_multiple_of(ALIGN)));
        let Some(place) = place else {
            return false;
        };
        let mut rest = place;
        for part in [
            known,
            &ino.to_ne_bytes(),
            &next.to_ne_bytes(),
            &(name.len() as u32).to_ne_bytes(),
            // What getdents(2) calls it.
            &(kind.to_mode() >> 12).to_ne_bytes(),
            name,
        ] {
            let (to, after) = rest.split_at_mut(part.len());
            to.copy_from_slice(part);
            rest = after;
        }
        rest.fill(0);
        self.filled += len.next_multiple_of(ALIGN);
        true
    }

    /// Bytes of the answer.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Is nothing in it?
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::stat::FileType;

    fn dirent(name: &[u8]) -> Dirent<'_> {
        Dirent {
            ino: 5,
            next: 6,
            kind: FileType::Dir,
            name,
        }
    }

    #[test]
    fn entries_as_the_kernel_reads_them() {
        let mut room = [0xff; 100];
        let mut listing = Listing::new(&mut room, 64);
        assert!(listing.is_empty());
        assert!(listing.add(dirent(b"12345678")));
        assert_eq!(listing.len(), 32);
        assert!(listing.add(dirent(b"1")));
        assert_eq!(listing.len(), 64);
        assert!(!listing.add(dirent(b"")));
        let second = [
            &5_u64.to_ne_bytes()[..],
            &6_u64.to_ne_bytes(),
            &1_u32.to_ne_bytes(),
            &4_u32.to_ne_bytes(),
            b"1\0\0\0\0\0\0\0",
        ]
        .concat();
        assert_eq!(room[32..64], second);
        assert!(room[64..].iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn entries_with_attributes() {
        let mut room = [0; 400];
        let mut listing = Listing::new(&mut room, 4096);
        assert!(listing.add_plus(dirent(b"a"), None));
        assert_eq!(listing.len(), 128 + 32);
        assert!(listing.add_plus(dirent(b"b"), None));
        assert!(!listing.add_plus(dirent(b"c"), None));
        assert_eq!(room[..8], [0; 8]);
        assert_eq!(room[160 + 128..160 + 136], 5_u64.to_ne_bytes());
        assert_eq!(room[160 + 128 + 24], b'b');
    }
}

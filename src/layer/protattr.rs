//! The `protattr` mark: immutable and append-only as users of the mount set them. On the upper inode
//! itself they would keep the overlay out as well (overlay-semantics 16.4).

use crate::sys::stat::Stat;

/// What an object is protected from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// Nothing may change.
    pub immutable: bool,
    /// Only additions are allowed.
    pub append_only: bool,
}

impl Protection {
    /// Parses the mark: any of the letters `i` and `a`. Others say nothing to us.
    pub fn from_mark(value: &[u8]) -> Protection {
        Protection {
            immutable: value.contains(&b'i'),
            append_only: value.contains(&b'a'),
        }
    }

    /// The flags of a lower object, which count as they are.
    pub fn of_inode(stat: &Stat) -> Protection {
        Protection {
            immutable: stat.immutable,
            append_only: stat.append_only,
        }
    }

    /// The value of the mark, `None` when there is nothing to say.
    pub fn to_mark(self) -> Option<&'static [u8]> {
        match (self.append_only, self.immutable) {
            (false, false) => None,
            (true, false) => Some(b"a"),
            (false, true) => Some(b"i"),
            (true, true) => Some(b"ai"),
        }
    }

    /// Is there any?
    pub fn any(self) -> bool {
        self.immutable || self.append_only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t106_round_trip() {
        for (immutable, append_only) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let protection = Protection {
                immutable,
                append_only,
            };
            assert_eq!(
                Protection::from_mark(protection.to_mark().unwrap_or_default()),
                protection
            );
        }
    }
}

//! The `nlink` mark: how many names an indexed file has in the merged view, said relative to the link count
//! of one of its two inodes (overlay-semantics 1.1, 14.2).
//!
//! A change that gives the view and the upper inode one name more, or takes one from both, leaves the mark
//! as it is when it is relative to the upper; one that only links the upper inode once more leaves it as it
//! is when it is relative to the lower. So whatever moment a crash picks, the count is right.

/// A count of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// So many more than the upper inode has links, the index entry being one of those.
    ThanUpper(i64),
    /// So many more than the lower inode has links.
    ThanLower(i64),
}

impl Names {
    /// Parses the mark; `None` for what is none.
    pub fn from_mark(value: &[u8]) -> Option<Names> {
        let (base, difference) = std::str::from_utf8(value).ok()?.split_at_checked(1)?;
        if !difference.starts_with(['+', '-']) {
            return None;
        }
        let difference = i64::from(difference.parse::<i32>().ok()?);
        match base {
            "U" => Some(Names::ThanUpper(difference)),
            "L" => Some(Names::ThanLower(difference)),
            _ => None,
        }
    }

    /// The count `names`, relative to an upper inode with so many links.
    pub fn than_upper(names: u32, links: u32) -> Names {
        Names::ThanUpper(i64::from(names) - i64::from(links))
    }

    /// The count `names`, relative to a lower inode with so many links.
    pub fn than_lower(names: u32, links: u32) -> Names {
        Names::ThanLower(i64::from(names) - i64::from(links))
    }

    /// The value of the mark.
    pub fn to_mark(self) -> String {
        match self {
            Names::ThanUpper(difference) => format!("U{difference:+}"),
            Names::ThanLower(difference) => format!("L{difference:+}"),
        }
    }

    /// The count; `None` where it makes no sense, or is relative to an unknown number.
    pub fn count(self, upper: u32, lower: Option<u32>) -> Option<u32> {
        let (base, difference) = match self {
            Names::ThanUpper(difference) => (upper, difference),
            Names::ThanLower(difference) => (lower?, difference),
        };
        u32::try_from(i64::from(base) + difference).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t080_counts_round_trip() {
        for (names, text) in [
            (Names::than_upper(3, 1), "U+2"),
            (Names::than_upper(2, 2), "U+0"),
            (Names::than_upper(1, 2), "U-1"),
            (Names::than_lower(2, 3), "L-1"),
        ] {
            assert_eq!(names.to_mark(), text);
            assert_eq!(Names::from_mark(text.as_bytes()), Some(names));
        }
        for bad in ["", "U", "U1", "X+1", "U+", "U+1 ", "U+99999999999", "+1"] {
            assert_eq!(Names::from_mark(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn t080_a_count_needs_its_base_and_is_never_negative() {
        assert_eq!(Names::ThanUpper(2).count(1, None), Some(3));
        assert_eq!(Names::ThanUpper(-1).count(1, None), Some(0));
        assert_eq!(Names::ThanUpper(-2).count(1, None), None);
        assert_eq!(Names::ThanLower(-1).count(1, Some(3)), Some(2));
        assert_eq!(Names::ThanLower(-1).count(1, None), None);
    }
}

//! Mapped owners: what a layer says of users and groups, and what callers are shown (overlay-semantics 21).
//!
//! Pure. Ids on disk and ids as callers know them are different types, so that neither is taken for the
//! other. Invariant: ranges of a map do not overlap on either side, so both ways are functions. An id
//! without a counterpart is shown as the overflow id, and refused on its way to the disk.

/// An id as a layer has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskId(pub u32);

/// An id as callers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownId(pub u32);

/// What the kernel, too, shows for an id that has no counterpart.
pub const OVERFLOW: ShownId = ShownId(65534);

/// `len` ids from `disk` on are shown as those from `shown` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    disk: u32,
    shown: u32,
    len: u32,
}

/// The value of `uidmapping=` or `gidmapping=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap(Box<[Range]>);

impl IdMap {
    /// Reads triples `disk:shown:len`, joined by `:`; a leading colon, as engines write it, means nothing.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &[u8]) -> Result<IdMap, &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| TRIPLES)?;
        let text = text.strip_prefix(':').unwrap_or(text);
        let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
        let numbers = numbers.map_err(|_| TRIPLES)?;
        let (triples, []) = numbers.as_chunks() else {
            return Err(TRIPLES);
        };
        let mut ranges: Vec<Range> = Vec::with_capacity(triples.len());
        for &[disk, shown, len] in triples {
            let range = Range { disk, shown, len };
            // The highest 32-bit number is no id.
            if len == 0 || disk.checked_add(len).is_none() || shown.checked_add(len).is_none() {
                return Err("a range is empty or leads beyond the ids that exist");
            }
            if ranges.iter().any(|other| other.overlaps(&range)) {
                return Err("ranges overlap");
            }
            ranges.push(range);
        }
        Ok(IdMap(ranges.into()))
    }

    fn show(&self, DiskId(id): DiskId) -> ShownId {
        let found = self
            .0
            .iter()
            .find_map(|r| shift(id, r.disk, r.shown, r.len));
        found.map_or(OVERFLOW, ShownId)
    }

    fn store(&self, ShownId(id): ShownId) -> Option<DiskId> {
        let found = self
            .0
            .iter()
            .find_map(|r| shift(id, r.shown, r.disk, r.len));
        found.map(DiskId)
    }
}

const TRIPLES: &str = "expected triples DISK:SHOWN:COUNT of numbers, joined by colons";

impl Range {
    fn overlaps(&self, other: &Range) -> bool {
        let meet = |a: u32, b: u32| a < b + other.len && b < a + self.len;
        meet(self.disk, other.disk) || meet(self.shown, other.shown)
    }
}

/// The id as far behind `to` as it is behind `from`, if it is in the range.
fn shift(id: u32, from: u32, to: u32, len: u32) -> Option<u32> {
    let distance = id.checked_sub(from)?;
    (distance < len).then(|| to + distance)
}

/// How owners are shown and stored, for users or for groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// `uidmapping=`, `gidmapping=`.
    pub map: Option<IdMap>,
    /// `squash_to_uid=`, `squash_to_gid=`: the one owner that is shown. What is stored follows the map.
    pub squash: Option<u32>,
}

impl Ids {
    /// What callers see as the owner.
    pub fn show(&self, id: DiskId) -> ShownId {
        self.squash.map_or_else(|| self.translate(id), ShownId)
    }

    /// What callers see of an id that is no owner (in an ACL, say): squashing would make entries equal
    /// that are not.
    pub fn translate(&self, id: DiskId) -> ShownId {
        match &self.map {
            Some(map) => map.show(id),
            None => ShownId(id.0),
        }
    }

    /// What is stored for an id that a caller gives; `None` when it has no counterpart.
    pub fn store(&self, id: ShownId) -> Option<DiskId> {
        match &self.map {
            Some(map) => map.store(id),
            None => Some(DiskId(id.0)),
        }
    }
}

/// How owners are shown and stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Users.
    pub users: Ids,
    /// Groups.
    pub groups: Ids,
}

impl Owners {
    /// Are they shown as they are? Then nobody need ask.
    pub fn are_plain(&self) -> bool {
        *self == Owners::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Ids {
        let map = Some(IdMap::parse(text.as_bytes()).unwrap());
        Ids { map, squash: None }
    }

    #[test]
    fn t124_ids_go_both_ways() {
        let ids = ids(":0:200000:1000:1000:1000:1:2000:500000:10");
        for (disk, shown) in [
            (0, 200_000),
            (33, 200_033),
            (999, 200_999),
            (1000, 1000),
            (2009, 500_009),
        ] {
            assert_eq!(ids.show(DiskId(disk)), ShownId(shown));
            assert_eq!(ids.store(ShownId(shown)), Some(DiskId(disk)));
        }
        for disk in [1001, 1999, 2010, 200_000, u32::MAX] {
            assert_eq!(ids.show(DiskId(disk)), OVERFLOW, "{disk}");
        }
        for shown in [0, 65534, 199_999, 201_000, 500_010, u32::MAX] {
            assert_eq!(ids.store(ShownId(shown)), None, "{shown}");
        }
    }

    #[test]
    fn t124_maps_that_are_none() {
        let triples = [
            "",
            ":",
            "::0:1:2",
            "0",
            "0:1",
            "0:1:2:",
            "0:1:2:3",
            "a:1:2",
            "0:1:-2",
            "0:1:4294967296",
        ];
        for text in triples {
            assert_eq!(IdMap::parse(text.as_bytes()), Err(TRIPLES), "{text}");
        }
        let others = [
            "0:1:0",
            "1:0:4294967295",
            "0:4294967295:1",
            "0:0:10:9:100:1",
            "0:0:10:100:9:1",
            "5:50:1:0:0:10",
        ];
        for text in others {
            let error = IdMap::parse(text.as_bytes()).unwrap_err();
            assert_ne!(error, TRIPLES, "{text}");
        }
        assert!(IdMap::parse(b"0:0:4294967295").is_ok());
        assert!(IdMap::parse(b"0:10:10:10:0:10").is_ok());
    }

    #[test]
    fn t124_squashed_owners_are_for_show() {
        let one = Ids {
            squash: Some(7),
            ..ids("0:1000:10")
        };
        assert_eq!(one.show(DiskId(3)), ShownId(7));
        assert_eq!(one.show(DiskId(99)), ShownId(7));
        assert_eq!(one.translate(DiskId(3)), ShownId(1003));
        assert_eq!(one.store(ShownId(1003)), Some(DiskId(3)));
        assert_eq!(one.store(ShownId(7)), None);
        let plain = Ids::default();
        assert_eq!(plain.show(DiskId(3)), ShownId(3));
        assert_eq!(plain.store(ShownId(3)), Some(DiskId(3)));
    }
}

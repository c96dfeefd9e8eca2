//! Which files of some layers are equal, by their indices alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::iter::Peekable;

use super::{Deduped, Part};
use crate::store::index::{Hash, Record, Records};
use crate::store::meta::Size;
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Stat, Time};

/// A file that some layers have, with all its names.
#[derive(Debug)]
pub struct Unit {
    /// Its names in each of the layers, sorted.
    pub paths: Vec<Vec<u8>>,
    /// Bytes in it.
    pub size: u64,
    /// Which of the layers.
    pub parts: Vec<usize>,
    /// How many of them have another file there than the first.
    pub others: usize,
}

impl Unit {
    /// The directory of the first name, and the name there.
    pub fn place(&self) -> (&[u8], &[u8]) {
        place(self.paths.first().map_or(b"", Vec::as_slice))
    }
}

/// The directory of a path, and the last name in it.
pub fn place(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// What must be equal.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Looks<'a> {
    content: Hash,
    attributes: Option<Hash>,
    numbers: [u32; 3],
    mtime: Time,
    size: u64,
    names: &'a [&'a [u8]],
}

/// The names of each file of a layer that has several.
type Groups<'a> = HashMap<u32, Vec<&'a [u8]>>;

/// The units of at least so many bytes that more than one of the layers have.
pub fn equal_units(parts: &[&Part], min_size: u64) -> Vec<Unit> {
    let groups: Vec<Groups<'_>> = parts.iter().map(|part| groups(part)).collect();
    let mut walks: Vec<_> = parts
        .iter()
        .map(|part| Leaders {
            records: part.index.records(),
            singles_only: part.singles_only,
            groups: 0,
            min_size,
        })
        .map(Iterator::peekable)
        .collect();
    let mut heads = BinaryHeap::new();
    for (number, walk) in walks.iter_mut().enumerate() {
        push(&mut heads, number, walk);
    }
    let mut units = Vec::new();
    let mut here: Vec<(Looks<'_>, usize)> = Vec::new();
    while let Some(Reverse((path, number))) = heads.pop() {
        if let Some(record) = walks[number].next() {
            here.extend(looks(&record, &groups[number]).map(|looks| (looks, number)));
        }
        push(&mut heads, number, &mut walks[number]);
        if heads.peek().is_some_and(|Reverse((next, _))| *next == path) {
            continue;
        }
        if here.len() > 1 {
            here.sort();
            for equal in here
                .chunk_by(|a, b| a.0 == b.0)
                .filter(|equal| equal.len() > 1)
            {
                let names = equal[0].0.names;
                units.push(Unit {
                    paths: match names {
                        [] => vec![path.to_vec()],
                        _ => names.iter().map(|name| name.to_vec()).collect(),
                    },
                    size: equal[0].0.size,
                    parts: equal.iter().map(|(_, part)| *part).collect(),
                    others: equal.len() - 1,
                });
            }
        }
        here.clear();
    }
    units
}

fn push<'a>(
    heads: &mut BinaryHeap<Reverse<(&'a [u8], usize)>>,
    number: usize,
    walk: &mut Peekable<Leaders<'a>>,
) {
    heads.extend(walk.peek().map(|record| Reverse((record.path, number))));
}

fn looks<'a>(record: &Record<'a>, groups: &'a Groups<'a>) -> Option<Looks<'a>> {
    Some(Looks {
        content: record.content?,
        attributes: record.attributes,
        numbers: [record.perm, record.uid, record.gid],
        mtime: record.mtime,
        size: record.size,
        names: groups.get(&record.group).map_or(&[], Vec::as_slice),
    })
}

fn groups<'a>(part: &'a Part) -> Groups<'a> {
    let mut groups = Groups::new();
    for record in part.index.records().filter(|record| record.group != 0) {
        groups.entry(record.group).or_default().push(record.path);
    }
    groups
}

/// The files of an index, each by its first name.
struct Leaders<'a> {
    records: Records<'a>,
    singles_only: bool,
    /// The highest group so far: they are numbered in the order of their first names.
    groups: u32,
    min_size: u64,
}

impl<'a> Iterator for Leaders<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            let record = self.records.next()?;
            let first = record.group == 0 || record.group > self.groups;
            self.groups = self.groups.max(record.group);
            let fits = record.kind == FileType::File && record.size >= self.min_size;
            let single = record.group == 0 || !self.singles_only;
            if first && fits && single && record.content.is_some() {
                return Some(record);
            }
        }
    }
}

/// Takes out what is one file already. Only layers that are marked can have such.
pub fn drop_done(parts: &[&Part], units: &mut Vec<Unit>) {
    let mut last: Vec<Option<(Vec<u8>, DirFd)>> = parts.iter().map(|_| None).collect();
    let mut stat = |number: usize, unit: &Unit| -> Option<Stat> {
        let (dir, name) = unit.place();
        let place = &mut last[number];
        if place.as_ref().is_none_or(|(open, _)| open != dir) {
            *place = Some((dir.to_vec(), parts[number].root.open_beneath(dir).ok()?));
        }
        let (_, dir) = place.as_ref()?;
        At::child(dir, &Name::new(name).ok()?).stat().ok()
    };
    units.retain_mut(|unit| {
        let marked = |number: &&usize| parts[**number].layer.deduplicated;
        if unit.parts.iter().filter(marked).count() < 2 {
            return true;
        }
        let stats = unit
            .parts
            .iter()
            .map(|number| (*number, stat(*number, unit)));
        let mut stats: Vec<(usize, Option<Stat>)> = stats.collect();
        // What has most names already is to have all.
        stats.sort_by_key(|(_, stat)| Reverse(stat.map_or(0, |stat| stat.nlink)));
        let identity = |stat: &Option<Stat>| stat.map(|stat| (stat.dev, stat.ino));
        let first = stats.first().and_then(|(_, stat)| identity(stat));
        let others = stats.iter().filter(|(_, stat)| identity(stat) != first);
        unit.others = others.count();
        unit.parts = stats.into_iter().map(|(number, _)| number).collect();
        unit.others > 0
    });
}

/// How much there is to compare.
pub fn total(units: &[Unit]) -> Size {
    Size {
        bytes: units.iter().map(|unit| unit.size).sum(),
        entries: units.len() as u64,
    }
}

/// What linking these would do, if all of it worked.
pub fn count(units: &[Unit]) -> Deduped {
    let mut report = Deduped::default();
    for unit in units {
        for _ in 0..unit.others {
            report.linked.add(unit.size);
            report.freed += unit.size;
        }
    }
    report
}

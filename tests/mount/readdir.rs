//! Listing directories: T084-T087.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};

use super::support::scenario::Scenario;
use super::support::steps::Steps;

/// A directory read by getdents64 with a buffer of a chosen size.
struct Listing {
    fd: OwnedFd,
    buffer: usize,
}

impl Listing {
    fn open(s: &Steps, path: &str, buffer: usize) -> Listing {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Listing {
            fd: rustix::fs::open(s.at(path), flags, Mode::empty()).unwrap(),
            buffer,
        }
    }

    /// The entries of one getdents64 call, with the offset that follows each; empty at the end.
    fn batch(&self) -> Vec<(String, u64)> {
        let mut buffer = Vec::with_capacity(self.buffer);
        let mut stream = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        let mut found = Vec::new();
        while let Some(entry) = stream.next() {
            let entry = entry.unwrap();
            found.push((
                entry.file_name().to_str().unwrap().to_string(),
                entry.next_entry_cookie(),
            ));
            if stream.is_buffer_empty() {
                break;
            }
        }
        found
    }

    fn rest(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        loop {
            let batch = self.batch();
            if batch.is_empty() {
                return all;
            }
            all.extend(batch);
        }
    }

    fn names(&self) -> Vec<String> {
        self.rest()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|n| n != "." && n != "..")
            .collect()
    }

    fn seek(&self, offset: u64) {
        rustix::fs::seek(&self.fd, SeekFrom::Start(offset)).unwrap();
    }
}

#[test]
fn t084_listing_while_it_changes() {
    const NAMES: usize = 10_000;
    Scenario::new(
        "T084",
        "10,000 names listed while others come and go: no duplicate, no loss",
    )
    .lowers(2)
    .layers(|l| {
        for i in 0..NAMES / 2 {
            fs::write(l.lower(1).dir("d").at(&format!("d/a{i:05}")), "").unwrap();
            fs::write(l.lower(2).dir("d").at(&format!("d/b{i:05}")), "").unwrap();
        }
    })
    .steps(|s| {
        let listing = Listing::open(s, "d", 2048);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let (mut deleted, mut created) = (BTreeSet::new(), BTreeSet::new());
        for round in 0_usize.. {
            let batch = listing.batch();
            if batch.is_empty() {
                break;
            }
            for (name, _) in batch {
                *seen.entry(name).or_default() += 1;
            }
            // Every tenth name goes, from both ends of what is listed and what is not; some new ones come.
            for (prefix, i) in [("a", round * 10), ("b", NAMES / 2 - 1 - round * 10)] {
                let name = format!("{prefix}{:05}", i % (NAMES / 2));
                if fs::remove_file(s.at(&format!("d/{name}"))).is_ok() {
                    deleted.insert(name);
                }
            }
            let name = format!("new{round:05}");
            fs::write(s.at(&format!("d/{name}")), "").unwrap();
            created.insert(name);
        }
        let twice = seen.iter().filter(|(_, n)| **n > 1).count();
        s.check("no name is listed twice", twice == 0).holds();
        let all = (0..NAMES / 2).flat_map(|i| [format!("a{i:05}"), format!("b{i:05}")]);
        let lost = all
            .filter(|n| !deleted.contains(n) && !seen.contains_key(n))
            .count();
        s.check("no untouched name is lost", lost == 0).holds();
        s.check(
            "names were deleted and created meanwhile",
            deleted.len() > 20 && created.len() > 20,
        )
        .holds();
        let after = Listing::open(s, "d", 32 << 10).names();
        let unique: BTreeSet<_> = after.iter().collect();
        let wanted = NAMES - deleted.len() + created.len();
        s.check(
            "a new listing has exactly what is left",
            unique.len() == wanted && after.len() == wanted,
        )
        .holds();
        // How many rounds it takes depends on the server's buffers; leave the same tree behind.
        fs::remove_dir_all(s.at("d")).unwrap();
    });
}

/// T085 on a merged, a pure lower and a pure upper directory.
#[test]
fn t085_rewind_and_seek() {
    Scenario::new(
        "T085",
        "rewinddir shows new names; telldir and seekdir are consistent within one descriptor",
    )
    .lowers(2)
    .layers(|l| {
        for i in 0..100 {
            l.lower(1)
                .file(&format!("merged/a{i}"), "")
                .file(&format!("low/x{i}"), "");
            l.lower(2).file(&format!("merged/b{i}"), "");
            l.upper().file(&format!("pure/u{i}"), "");
        }
    })
    .steps(|s| {
        for dir in ["merged", "low", "pure"] {
            let listing = Listing::open(s, dir, 512);
            let all = listing.rest();
            let order: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
            for (i, (name, offset)) in all.iter().enumerate().step_by(7) {
                listing.seek(*offset);
                let next = listing.batch().first().map(|(name, _)| name.clone());
                let wanted = order.get(i + 1).cloned();
                if next != wanted {
                    let what = format!("{dir}: after seeking behind {name} comes {wanted:?}");
                    s.act(what, Ok(format!("{next:?}"))).is("the next name");
                }
            }
            s.create(&format!("{dir}/fresh"), "").ok();
            let first = order.iter().find(|n| !n.starts_with('.')).unwrap();
            fs::remove_file(s.at(&format!("{dir}/{first}"))).unwrap();
            listing.seek(0);
            let again = listing.names();
            s.check(
                "rewind shows the new name",
                again.iter().any(|n| n == "fresh"),
            )
            .holds();
            s.check("and not the removed one", again.len() == order.len() - 2)
                .holds();
        }
        // The order is the disk's: which name was first differs between two copies. Leave the same trees.
        for dir in ["merged", "low", "pure"] {
            fs::remove_dir_all(s.at(dir)).unwrap();
        }
    })
}

#[test]
fn t086_descriptor_from_before_the_copy_up() {
    Scenario::new(
        "T086",
        "a directory opened before its copy-up shows the merged content after rewind",
    )
    .layers(|l| {
        l.lower(1).file("d/a", "1").file("d/b", "1");
    })
    .steps(|s| {
        let listing = Listing::open(s, "d", 4096);
        let mut names = listing.names();
        names.sort();
        s.act("before", Ok(names.join(" "))).is("a b");
        s.create("d/new", "n").ok();
        s.unlink("d/a").ok();
        listing.seek(0);
        let mut names = listing.names();
        names.sort();
        s.act("after", Ok(names.join(" "))).is("b new");
        let stat = rustix::fs::fstat(&listing.fd).unwrap();
        s.check(
            "fstat shows the copied-up directory",
            s.identity("d").1 == stat.st_ino,
        )
        .holds();
    });
}

#[test]
fn t087_small_buffers() {
    Scenario::new(
        "T087",
        "getdents with a buffer for one name over a directory of three layers and upper",
    )
    .lowers(3)
    .layers(|l| {
        for i in 0..60 {
            l.lower(i % 3 + 1).file(&format!("d/name-{i}"), "");
            l.lower(3).file(&format!("d/both-{}", i / 2), "");
            l.upper().file(&format!("d/both-{i}"), "");
        }
        l.upper().whiteout("d/name-5");
    })
    .steps(|s| {
        for buffer in [48, 64, 100, 1000, 32 << 10] {
            let mut names = Listing::open(s, "d", buffer).names();
            names.sort();
            let unique: BTreeSet<_> = names.iter().collect();
            s.check("no duplicate", unique.len() == names.len()).holds();
            s.act(format!("by {buffer} bytes"), Ok(names.join(" ")))
                .noted();
        }
        s.ls("d").noted();
    });
}

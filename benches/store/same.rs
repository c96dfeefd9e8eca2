//! Are two trees the same? Types, modes, owners, times, link targets, data; not what a copy cannot keep.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Are times to be the same, too, and how exactly?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// To the nanosecond.
    Exact,
    /// To the second, as archives have them.
    Seconds,
    /// Not at all.
    Any,
}

/// Panics with the first difference.
pub fn assert_same(one: &Path, other: &Path, times: Times) {
    let [a, b] = [one, other].map(|path| {
        fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    });
    let facts = |m: &fs::Metadata| {
        let size = if m.is_dir() { 0 } else { m.len() };
        let nanoseconds = if times == Times::Exact {
            m.mtime_nsec()
        } else {
            0
        };
        let time = if times == Times::Any { 0 } else { m.mtime() };
        (m.mode(), m.uid(), m.gid(), size, time, nanoseconds)
    };
    assert_eq!(
        facts(&a),
        facts(&b),
        "{} {}",
        one.display(),
        other.display()
    );
    if a.is_dir() {
        let names = names_in(one);
        assert_eq!(names, names_in(other), "{}", other.display());
        for name in names {
            assert_same(&one.join(&name), &other.join(&name), times);
        }
    } else if a.is_symlink() {
        assert_eq!(fs::read_link(one).unwrap(), fs::read_link(other).unwrap());
    } else if a.is_file() {
        let equal = fs::read(one).unwrap() == fs::read(other).unwrap();
        assert!(
            equal,
            "the data of {} and {}",
            one.display(),
            other.display()
        );
    }
}

fn names_in(dir: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

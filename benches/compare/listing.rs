//! One directory of 50,000 names that come from three layers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::scenario::{Run, Scenario, Site};

const LAYERS: usize = 3;
const NAMES: usize = 50_000;

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "directory",
        rows: &[
            "readdir cold",
            "readdir fresh",
            "readdir warm",
            "ls -l fresh",
            "ls -l warm",
        ],
        programs: &[],
        build,
        run,
    }]
}

fn build(site: &Site) {
    for n in 1..=LAYERS {
        fs::create_dir(site.lower(n).join("big")).unwrap();
    }
    for i in 0..site.scaled(NAMES) {
        fs::write(
            site.lower(i % LAYERS + 1).join(format!("big/name-{i}")),
            "12345",
        )
        .unwrap();
    }
}

fn names(dir: &Path) -> usize {
    fs::read_dir(dir)
        .unwrap()
        .map(Result::unwrap)
        .fold(0, |n, _| n + 1)
}

/// Reads the directory, then looks at each name in the order of the listing, as ls(1) does.
fn long(dir: &Path) -> u64 {
    let entries: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    entries
        .iter()
        .map(|entry| entry.metadata().unwrap().size())
        .sum()
}

fn run(run: &mut Run) {
    let expected = run.site.scaled(NAMES);
    let big = run.mount(LAYERS).join("big");
    assert_eq!(run.time("readdir cold", || names(&big)), expected);
    run.mount(LAYERS);
    assert_eq!(run.time("readdir fresh", || names(&big)), expected);
    assert_eq!(run.time("readdir warm", || names(&big)), expected);
    run.mount(LAYERS);
    assert_eq!(run.time("ls -l fresh", || long(&big)), 5 * expected as u64);
    assert_eq!(run.time("ls -l warm", || long(&big)), 5 * expected as u64);
}

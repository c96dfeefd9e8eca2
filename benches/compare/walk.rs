//! A tree of 50,000 files in five layers: walked, and looked at file by file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::scenario::{Run, Scenario, Site};

const LAYERS: usize = 5;
const FILES: usize = 50_000;
const FILES_PER_DIR: usize = 100;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "walk",
            rows: &["find cold", "find fresh", "find warm"],
            programs: &[],
            build,
            run: find,
        },
        Scenario {
            name: "look",
            rows: &[
                "stat cold",
                "stat fresh",
                "stat warm",
                "missing names, fresh",
                "missing names, warm",
            ],
            programs: &[],
            build,
            run: stat,
        },
    ]
}

/// File `i` is in layer `i % 5`; all layers have all directories. Its size is `i % 7`.
fn path(i: usize) -> PathBuf {
    let dir = i / FILES_PER_DIR;
    format!("d{}/e{}/file-{i}", dir / 20, dir % 20).into()
}

fn build(site: &Site) {
    for i in 0..site.scaled(FILES) {
        for n in 1..=LAYERS {
            let at = site.lower(n).join(path(i));
            if i % FILES_PER_DIR == 0 {
                fs::create_dir_all(at.parent().unwrap()).unwrap();
            }
            if i % LAYERS + 1 == n {
                fs::write(at, &b"content"[..i % 7]).unwrap();
            }
        }
    }
}

/// As find(1) does: directories are opened and read, files are known by what the directory says.
pub fn count(dir: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files += count(&entry.path());
        } else {
            files += 1;
        }
    }
    files
}

fn find(run: &mut Run) {
    let files = run.site.scaled(FILES);
    let merged = run.mount(LAYERS);
    assert_eq!(run.time("find cold", || count(&merged)), files);
    run.mount(LAYERS);
    assert_eq!(run.time("find fresh", || count(&merged)), files);
    assert_eq!(run.time("find warm", || count(&merged)), files);
}

/// All sizes, by one stat(2) of a path for each.
fn sizes(merged: &Path, files: usize) -> u64 {
    let sizes = (0..files).map(|i| fs::symlink_metadata(merged.join(path(i))).unwrap().size());
    sizes.sum()
}

fn missing(merged: &Path, files: usize) {
    for i in (0..files).step_by(5) {
        let at = merged.join(path(i)).with_extension("none");
        assert!(fs::symlink_metadata(&at).is_err(), "{}", at.display());
    }
}

fn stat(run: &mut Run) {
    let files = run.site.scaled(FILES);
    let expected: usize = (0..files).map(|i| i % 7).sum();
    let merged = run.mount(LAYERS);
    assert_eq!(
        run.time("stat cold", || sizes(&merged, files)),
        expected as u64
    );
    run.mount(LAYERS);
    assert_eq!(
        run.time("stat fresh", || sizes(&merged, files)),
        expected as u64
    );
    assert_eq!(
        run.time("stat warm", || sizes(&merged, files)),
        expected as u64
    );
    run.mount(LAYERS);
    run.time("missing names, fresh", || missing(&merged, files));
    run.time("missing names, warm", || missing(&merged, files));
}

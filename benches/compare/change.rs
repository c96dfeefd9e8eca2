//! Names made, changed and removed: in a directory that only the upper has, in one that lower layers have too, by tar,
//! and by rm -rf.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::must;
use crate::scenario::{Run, Scenario, Site, bytes};
use crate::walk::count;

const ENTRIES: usize = 20_000;
const LOWER_FILES: usize = 10_000;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "entries",
            rows: &[
                "create",
                "stat of new files",
                "rename",
                "unlink",
                "mkdir",
                "rmdir",
            ],
            programs: &[],
            build: |site| fs::write(site.lower(1).join("other"), "").unwrap(),
            run: |run| entries(run, "own", ""),
        },
        Scenario {
            name: "entries of a merged directory",
            rows: &[
                "create, merged parent",
                "stat of new files, merged parent",
                "rename, merged parent",
                "unlink, merged parent",
                "mkdir, merged parent",
                "rmdir, merged parent",
            ],
            programs: &[],
            build: merged_parent,
            run: |run| entries(run, "both", ", merged parent"),
        },
        Scenario {
            name: "archive",
            rows: &["tar -x", "rm -rf"],
            programs: &["tar", "rm"],
            build: archive,
            run: unpack,
        },
        Scenario {
            name: "removal of lower files",
            rows: &["rm -rf of lower files"],
            programs: &["rm"],
            build: lower_tree,
            run: remove_lower,
        },
    ]
}

fn merged_parent(site: &Site) {
    for n in [1, 2] {
        for i in 0..1000 {
            let dir = site.lower(n).join("both");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("of-layer-{n}-{i}")), "").unwrap();
        }
    }
}

fn entries(run: &mut Run, dir: &str, suffix: &str) {
    let n = run.site.scaled(ENTRIES);
    let lowers = if suffix.is_empty() { 1 } else { 2 };
    let dir = run.mount(lowers).join(dir);
    let there = match fs::create_dir(&dir) {
        Ok(()) => 0,
        Err(_) => count(&dir),
    };
    let at = |kind: &str, i: usize| dir.join(format!("{kind}-{i}"));
    let row = |name: &str| format!("{name}{suffix}");
    run.time(&row("create"), || {
        (0..n).for_each(|i| drop(File::create_new(at("file", i)).unwrap()))
    });
    run.time(&row("stat of new files"), || {
        for i in 0..n {
            assert_eq!(fs::symlink_metadata(at("file", i)).unwrap().len(), 0);
        }
    });
    run.time(&row("rename"), || {
        (0..n).for_each(|i| fs::rename(at("file", i), at("renamed", i)).unwrap())
    });
    assert_eq!(count(&dir), there + n);
    run.time(&row("unlink"), || {
        (0..n).for_each(|i| fs::remove_file(at("renamed", i)).unwrap())
    });
    assert_eq!(count(&dir), there);
    run.time(&row("mkdir"), || {
        (0..n).for_each(|i| fs::create_dir(at("dir", i)).unwrap())
    });
    assert_eq!(
        fs::read_dir(&dir).unwrap().count(),
        if there == 0 { n } else { there + n }
    );
    run.time(&row("rmdir"), || {
        (0..n).for_each(|i| fs::remove_dir(at("dir", i)).unwrap())
    });
    assert_eq!(fs::read_dir(&dir).unwrap().count(), there);
}

/// `i`-th file of a tree of small files, and its content.
fn small(i: usize, text: &[u8]) -> (PathBuf, &[u8]) {
    let path = format!("tree/d{}/e{}/file-{i}", i / 1000, i / 100 % 10).into();
    (path, &text[i % 8192..][..200 + i * 7919 % 5800])
}

fn tree(at: &Path, files: usize) {
    let text = bytes(1, 16 << 10);
    for i in 0..files {
        let (path, content) = small(i, &text);
        let path = at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn archive(site: &Site) {
    let source = site.root.join("source");
    tree(&source, site.scaled(ENTRIES));
    must(
        Command::new("tar")
            .arg("-cf")
            .arg(site.root.join("tree.tar"))
            .arg("-C")
            .arg(&source)
            .arg("tree"),
    );
    fs::remove_dir_all(source).unwrap();
    fs::write(site.lower(1).join("other"), "").unwrap();
}

fn remove(path: &Path) {
    must(Command::new("rm").arg("-rf").arg(path));
    assert!(
        fs::symlink_metadata(path).is_err(),
        "{} is still there",
        path.display()
    );
}

fn unpack(run: &mut Run) {
    let (files, archive) = (run.site.scaled(ENTRIES), run.site.root.join("tree.tar"));
    // Into memory.
    fs::read(&archive).unwrap();
    let merged = run.mount(1);
    run.time("tar -x", || {
        must(
            Command::new("tar")
                .arg("-xf")
                .arg(&archive)
                .arg("-C")
                .arg(&merged),
        )
    });
    // Seen by a mount that did not make them.
    let merged = run.mount(1);
    let text = bytes(1, 16 << 10);
    assert_eq!(count(&merged.join("tree")), files);
    for i in 0..files {
        let (path, content) = small(i, &text);
        crate::scenario::must_hold(&merged.join(path), content);
    }
    run.time("rm -rf", || remove(&merged.join("tree")));
}

fn lower_tree(site: &Site) {
    tree(&site.lower(1), site.scaled(LOWER_FILES));
}

fn remove_lower(run: &mut Run) {
    let merged = run.mount(1);
    assert_eq!(count(&merged.join("tree")), run.site.scaled(LOWER_FILES));
    run.mount(1);
    run.time("rm -rf of lower files", || remove(&merged.join("tree")));
    assert_eq!(fs::read_dir(run.mount(1)).unwrap().count(), 0);
}

//! First changes of lower files.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::scenario::{Run, Scenario, Site, bytes, must_hold};

const APPENDED: usize = 2_000;
const CHANGED: usize = 5_000;
const SMALL: usize = 4096;
/// At full size.
const BIG: usize = 1 << 30;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "append to lower files",
            rows: &["append to small lower files"],
            programs: &[],
            build: |site| small(site, APPENDED),
            run: |run| append(run, "append to small lower files", ""),
        },
        Scenario {
            name: "append to lower files, volatile",
            rows: &["append to small lower files, volatile"],
            programs: &[],
            build: |site| small(site, APPENDED),
            run: |run| append(run, "append to small lower files, volatile", "volatile"),
        },
        Scenario {
            name: "chmod of lower files",
            rows: &["chmod of lower files"],
            programs: &[],
            build: |site| small(site, CHANGED),
            run: |run| chmod(run, "chmod of lower files", ""),
        },
        Scenario {
            name: "chmod of lower files, volatile",
            rows: &["chmod of lower files, volatile"],
            programs: &[],
            build: |site| small(site, CHANGED),
            run: |run| chmod(run, "chmod of lower files, volatile", "volatile"),
        },
        Scenario {
            name: "append to a big lower file",
            rows: &[
                "append to a 1 GiB lower file",
                "append to a 1 GiB lower file, volatile",
            ],
            programs: &[],
            build: big,
            run: append_big,
        },
    ]
}

fn path(i: usize) -> PathBuf {
    format!("d{}/file-{i}", i / 100).into()
}

fn small(site: &Site, files: usize) {
    let text = bytes(1, SMALL);
    for i in 0..site.scaled(files) {
        let at = site.lower(1).join(path(i));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, &text).unwrap();
    }
}

fn extend(path: &Path) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"and more").unwrap();
}

/// Mounts again, to look at what was made.
fn mount_again(run: &mut Run) -> PathBuf {
    run.unmount();
    // The kernel remembers there that an upper layer was volatile, and mounts it no more.
    empty(run, "w");
    run.mount(1)
}

fn empty(run: &Run, name: &str) {
    let at = run.site.root.join(name);
    fs::remove_dir_all(&at).unwrap();
    fs::create_dir(&at).unwrap();
}

fn append(run: &mut Run, row: &str, options: &str) {
    let files = run.site.scaled(APPENDED);
    let merged = run.mount_with(1, options);
    run.time(row, || {
        (0..files).for_each(|i| extend(&merged.join(path(i))))
    });
    let merged = mount_again(run);
    let expected = [bytes(1, SMALL), b"and more".to_vec()].concat();
    (0..files).for_each(|i| must_hold(&merged.join(path(i)), &expected));
}

fn chmod(run: &mut Run, row: &str, options: &str) {
    let files = run.site.scaled(CHANGED);
    let merged = run.mount_with(1, options);
    let change =
        |i| fs::set_permissions(merged.join(path(i)), Permissions::from_mode(0o600)).unwrap();
    run.time(row, || (0..files).for_each(change));
    let merged = mount_again(run);
    let text = bytes(1, SMALL);
    for i in 0..files {
        assert_eq!(
            fs::metadata(merged.join(path(i)))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777,
            0o600
        );
        must_hold(&merged.join(path(i)), &text);
    }
}

fn big(site: &Site) {
    let block = bytes(2, 1 << 20);
    for name in ["big", "big-volatile"] {
        let mut file = fs::File::create(site.lower(1).join(name)).unwrap();
        for _ in 0..site.scaled(BIG) >> 20 {
            file.write_all(&block).unwrap();
        }
    }
}

fn append_big(run: &mut Run) {
    let (blocks, block) = (run.site.scaled(BIG) >> 20, bytes(2, 1 << 20));
    for (row, name, options) in [
        ("append to a 1 GiB lower file", "big", ""),
        (
            "append to a 1 GiB lower file, volatile",
            "big-volatile",
            "volatile",
        ),
    ] {
        // In memory, as it is for whoever ran first.
        fs::read(run.site.lower(1).join(name)).unwrap();
        let at = run.mount_with(1, options).join(name);
        run.time(row, || extend(&at));
        let file = fs::File::open(&at).unwrap();
        assert_eq!(file.metadata().unwrap().len(), (blocks << 20) as u64 + 8);
        let mut found = vec![0; 1 << 20];
        for i in (0..blocks).step_by(97) {
            file.read_exact_at(&mut found, (i << 20) as u64).unwrap();
            assert!(found == block, "block {i}");
        }
        drop(file);
        run.unmount();
        ["u", "w"].into_iter().for_each(|name| empty(run, name));
    }
}

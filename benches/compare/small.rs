//! Small files of a lower layer, opened, read and closed, by several threads.

use std::fs;
use std::path::Path;

use crate::scenario::{Run, Scenario, Site, bytes};

const FILES: usize = 10_000;
const LAYERS: usize = 2;

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "small files",
        rows: &[
            "open+read+close fresh",
            "open+read+close warm",
            "open+read+close fresh, 2 threads",
            "open+read+close warm, 2 threads",
            "open+read+close fresh, 4 threads",
            "open+read+close warm, 4 threads",
        ],
        programs: &[],
        build,
        run,
    }]
}

fn path(i: usize) -> String {
    format!("d{}/file-{i}", i / 100)
}

fn build(site: &Site) {
    let text = bytes(1, 16 << 10);
    for i in 0..site.scaled(FILES) {
        let at = site.lower(i % LAYERS + 1).join(path(i));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, &text[i % 8192..][..4096]).unwrap();
    }
}

/// Each thread reads its share.
fn read(merged: &Path, files: usize, threads: usize, text: &[u8]) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for i in (thread..files).step_by(threads) {
                    let found = fs::read(merged.join(path(i))).unwrap();
                    assert!(found == text[i % 8192..][..4096], "file {i}");
                }
            });
        }
    });
}

fn run(run: &mut Run) {
    let (files, text) = (run.site.scaled(FILES), bytes(1, 16 << 10));
    for n in 1..=LAYERS {
        // The layers' own files are in memory; what is measured is the view of them.
        for dir in fs::read_dir(run.site.lower(n)).unwrap() {
            for file in fs::read_dir(dir.unwrap().path()).unwrap() {
                fs::read(file.unwrap().path()).unwrap();
            }
        }
    }
    for threads in [1, 2, 4] {
        let merged = run.mount(LAYERS);
        let suffix = if threads == 1 {
            String::new()
        } else {
            format!(", {threads} threads")
        };
        let all = || read(&merged, files, threads, &text);
        run.time(&format!("open+read+close fresh{suffix}"), all);
        // Access times are noted once after the first read.
        all();
        run.time(&format!("open+read+close warm{suffix}"), all);
    }
}

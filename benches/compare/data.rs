//! A large file read and written from front to back, by calls and by a mapping.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::ffi::Map;
use crate::scenario::{Run, Scenario, Site, bytes};

/// At full size.
const LEN: usize = 512 << 20;
const BLOCK: usize = 1 << 20;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "sequential reads of a lower file",
            rows: &[
                "read of a lower file, cold",
                "read of a lower file, warm",
                "mmap read of a lower file, cold",
                "mmap read of a lower file, warm",
            ],
            programs: &[],
            build,
            run: lower,
        },
        Scenario {
            name: "sequential writes",
            rows: &[
                "write",
                "rewrite",
                "read of an upper file, warm",
                "mmap read of an upper file, warm",
            ],
            programs: &[],
            build: |site| fs::write(site.lower(1).join("other"), "").unwrap(),
            run: upper,
        },
    ]
}

fn build(site: &Site) {
    // One for each way: none is warm by the other.
    for name in ["read", "mapped"] {
        fill(
            &mut File::create(site.lower(1).join(name)).unwrap(),
            site.scaled(LEN),
            0,
        );
    }
}

/// Writes blocks that say where they are.
fn fill(file: &mut File, len: usize, mark: u64) {
    let mut block = bytes(4, BLOCK);
    for i in 0..len / BLOCK {
        block[..8].copy_from_slice(&(i as u64 + mark).to_le_bytes());
        file.write_all(&block).unwrap();
    }
}

fn check(block: &[u8], i: usize, mark: u64) {
    assert_eq!(block[..8], (i as u64 + mark).to_le_bytes(), "block {i}");
}

fn read(path: &Path, len: usize, mark: u64) {
    let mut file = File::open(path).unwrap();
    let mut block = vec![0; BLOCK];
    for i in 0..len / BLOCK {
        file.read_exact(&mut block).unwrap();
        check(&block, i, mark);
    }
    assert_eq!(file.read(&mut block).unwrap(), 0);
}

/// Touches each page.
fn map(path: &Path, len: usize, mark: u64) {
    let len = len / BLOCK * BLOCK;
    let map = Map::of(&File::open(path).unwrap(), len);
    let sum: u64 = map
        .bytes()
        .chunks(4096)
        .map(|page| u64::from(page[100]))
        .sum();
    assert!(sum > 0);
    map.bytes()
        .chunks(BLOCK)
        .enumerate()
        .for_each(|(i, block)| check(block, i, mark));
}

fn lower(run: &mut Run) {
    let len = run.site.scaled(LEN);
    let merged = run.mount(1);
    let (by_calls, mapped) = (merged.join("read"), merged.join("mapped"));
    run.time("read of a lower file, cold", || read(&by_calls, len, 0));
    run.time("read of a lower file, warm", || read(&by_calls, len, 0));
    run.time("mmap read of a lower file, cold", || map(&mapped, len, 0));
    run.time("mmap read of a lower file, warm", || map(&mapped, len, 0));
}

fn upper(run: &mut Run) {
    let len = run.site.scaled(LEN);
    let file = run.mount(1).join("file");
    run.time("write", || {
        let mut file = File::create(&file).unwrap();
        fill(&mut file, len, 1);
        file.sync_all().unwrap();
    });
    run.time("rewrite", || {
        let mut file = OpenOptions::new().write(true).open(&file).unwrap();
        fill(&mut file, len, 2);
        file.sync_all().unwrap();
    });
    read(&file, len, 2);
    run.time("read of an upper file, warm", || read(&file, len, 2));
    run.time("mmap read of an upper file, warm", || map(&file, len, 2));
    let file = run.mount(1).join("file");
    read(&file, len, 2);
}

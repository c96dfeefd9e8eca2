//! Blocks of 4 KiB at random places of a file of 256 MiB.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::ffi::{Aio, Aligned};
use crate::scenario::{Run, Scenario};

/// At full size.
const LEN: usize = 256 << 20;
const BLOCK: usize = 4096;
const BUFFERED: usize = 100_000;
const DIRECT: usize = 20_000;
/// Requests that are in flight at a time, with O_DIRECT.
const DEPTH: usize = 32;

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "random blocks",
        rows: &[
            "4k reads",
            "4k writes",
            "4k reads, O_DIRECT",
            "4k writes, O_DIRECT",
            "4k reads, O_DIRECT, aio",
            "4k writes, O_DIRECT, aio",
        ],
        programs: &[],
        build: |site| fs::write(site.lower(1).join("other"), "").unwrap(),
        run,
    }]
}

/// Each block once in a row that looks like chance: all of them, as the step is odd and their number a power of two.
fn place(i: usize, blocks: usize) -> usize {
    i.wrapping_mul(0x9e37_79b1) % blocks
}

fn open(path: &Path, direct: bool) -> File {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)
        .unwrap()
}

/// A block that says where it belongs and which pass wrote it.
fn stamp(block: &mut [u8], at: usize, pass: u64) {
    block[..8].copy_from_slice(&(at as u64).to_le_bytes());
    block[8..16].copy_from_slice(&pass.to_le_bytes());
}

fn check(block: &[u8], at: usize, pass: u64) {
    let mut expected = [0; 16];
    stamp(&mut expected, at, pass);
    assert_eq!(block[..16], expected, "block {at}");
}

fn run(run: &mut Run) {
    let blocks = (run.site.scaled(LEN) / BLOCK).next_power_of_two();
    let path = run.mount(1).join("file");
    let mut content = vec![7; blocks * BLOCK];
    content
        .chunks_mut(BLOCK)
        .enumerate()
        .for_each(|(at, block)| stamp(block, at, 0));
    fs::write(&path, &content).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    drop(content);
    let many = run.site.scaled(BUFFERED).min(blocks);
    let few = run.site.scaled(DIRECT).min(blocks);
    for (direct, what, n, pass) in [(false, "", many, 1), (true, ", O_DIRECT", few, 2)] {
        let (file, mut block) = (open(&path, direct), Aligned::blocks(1));
        run.time(&format!("4k writes{what}"), || {
            for at in (0..n).map(|i| place(i, blocks)) {
                stamp(block.bytes(), at, pass);
                file.write_all_at(block.bytes(), (at * BLOCK) as u64)
                    .unwrap();
            }
        });
        run.time(&format!("4k reads{what}"), || {
            for at in (0..n).map(|i| place(i, blocks)) {
                file.read_exact_at(block.bytes(), (at * BLOCK) as u64)
                    .unwrap();
                check(block.bytes(), at, pass);
            }
        });
    }
    aio(run, &path, (few, blocks));
}

fn aio(run: &mut Run, path: &Path, (n, blocks): (usize, usize)) {
    let (file, mut aio) = (open(path, true), Aio::new(DEPTH));
    let at = |i| (place(i, blocks) * BLOCK) as u64;
    let stamped = |i, block: &mut [u8]| stamp(block, place(i, blocks), 3);
    run.time("4k writes, O_DIRECT, aio", || {
        aio.write(&file, n, at, stamped)
    });
    let checked = |i, block: &[u8]| check(block, place(i, blocks), 3);
    run.time("4k reads, O_DIRECT, aio", || {
        aio.read(&file, n, at, checked)
    });
}

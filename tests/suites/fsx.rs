//! fsx: 100,000 random operations on one file, reads and writes also through maps, each result checked (T129, T139).
//!
//! The file starts in a lower layer or in the upper, the kernel may serve it by itself (`passthrough`) or not: four
//! runs, two at a time. Afterwards the lower layer is what it was, and the file on disk is what the view showed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::tools::{Tool, announce, run};
use crate::support::env::{Scratch, isolated};
use crate::support::layers::Layers;
use crate::support::mount::{Mounted, Server};
use crate::support::snapshot::{Compare, Snapshot};

const TOOL: Tool = Tool {
    name: "fsx",
    version: "0.3.2",
};
const OPERATIONS: &str = "100000";
const SIZE: usize = 128 << 10;

/// Every operation fsx has. Maps and plain I/O often, as they can disagree.
const CONFIG: &str = "
flen = 131072
[opsize]
min = 0
max = 4096
[weights]
close_open = 1
invalidate = 1
mapread = 10
mapwrite = 10
read = 10
write = 10
truncate = 10
fsync = 1
fdatasync = 1
posix_fallocate = 5
punch_hole = 5
sendfile = 5
posix_fadvise = 2
copy_file_range = 5
";

/// Where the file is at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Lower,
    Upper,
}

#[test]
fn t129_t139_fsx_with_passthrough() {
    both("passthrough=on", "1");
}

#[test]
fn t129_t139_fsx_without_passthrough() {
    both("passthrough=off", "2");
}

fn both(option: &str, seed: &str) {
    let Some(tool) = TOOL.find_for(&format!("fsx with {option}")) else {
        return;
    };
    for start in [Start::Lower, Start::Upper] {
        isolated(|| exercise(&tool, start, option, seed));
    }
}

fn exercise(tool: &Path, start: Start, option: &str, seed: &str) {
    let mut scratch = Scratch::new();
    // In memory: fsx is about what reads return, not about disks.
    let memory = scratch.tmpfs("memory", "256m");
    let layers = Layers::new(&memory, 1, true);
    let content: Vec<u8> = (0..SIZE).map(|i| (i * 7 % 251) as u8).collect();
    match start {
        Start::Lower => layers.lower(1).file("f", &content),
        Start::Upper => layers.upper().file("f", &content),
    };
    layers.lower(1).file("other", b"stays");
    layers.settle();
    let before = Snapshot::take(&layers.lowers[0]).unwrap();

    let mounted = Mounted::new(Server::Plyfs, &layers, option).expect("mount");
    let config = memory.join("fsx.toml");
    fs::write(&config, CONFIG).unwrap();
    let mut command = Command::new(tool);
    command
        .args(["-q", "-N", OPERATIONS, "-S", seed, "-P"])
        .arg(&memory);
    command.arg("-f").arg(&config).arg(mounted.path().join("f"));
    let said = run(&mut command);
    let what = format!("fsx, {option}, file in the {start:?} layer, seed {seed}");
    assert!(
        said.success,
        "{what}: {}:\n{}\n{}",
        said.status,
        said.text,
        mounted.said()
    );
    assert!(said.text.contains("A-OK"), "{what}: {}", said.text);
    let shown = fs::read(mounted.path().join("f")).unwrap();
    mounted.unmount().expect("unmount");

    assert_eq!(
        fs::read(layers.upper.join("f")).unwrap(),
        shown,
        "{what}: file on disk"
    );
    let after = Snapshot::take(&layers.lowers[0]).unwrap();
    let changed = before.differences(&after, Compare::Untouched);
    assert!(
        changed.is_empty(),
        "{what}: the lower layer changed:\n{}",
        changed.join("\n")
    );
    announce(&format!("{what}: {OPERATIONS} operations passed"));
}

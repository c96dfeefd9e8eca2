//! What is to be reached: ratios of medians, and memory in MiB.

use crate::servers::Server;
use crate::table::Table;

/// A bar for some rows.
pub struct Target {
    /// Beginnings of the names of its rows; all of the name where it ends in a dot.
    rows: &'static [&'static str],
    who: Server,
    bar: Bar,
}

#[derive(Clone, Copy)]
enum Bar {
    /// At most so many times the figure of the other.
    Times(f64, Server),
    /// At most so many MiB.
    MiB(f64),
}

use Bar::{MiB, Times};
use Server::{Kernel, Peer, Plyfs, Rings, Rootless};

const fn target(rows: &'static [&'static str], who: Server, bar: Bar) -> Target {
    Target { rows, who, bar }
}

/// So many times faster than fuse-overlayfs.
const fn faster(times: f64) -> Bar {
    Times(1.0 / times, Peer)
}

pub const TARGETS: &[Target] = &[
    target(
        &[
            "find warm",
            "stat warm",
            "missing names, warm",
            "readdir warm",
            "ls -l warm",
        ],
        Plyfs,
        Times(0.8, Kernel),
    ),
    target(&["readdir fresh."], Plyfs, faster(4.0)),
    target(&["readdir fresh."], Plyfs, Times(2.5, Kernel)),
    target(&["find fresh"], Plyfs, faster(2.0)),
    target(&["stat fresh"], Plyfs, faster(1.1)),
    target(&["open+read+close warm."], Plyfs, faster(3.0)),
    target(&["open+read+close warm."], Rootless, Times(1.2, Kernel)),
    target(&["create."], Plyfs, faster(1.8)),
    target(&["create, merged parent"], Plyfs, faster(2.5)),
    target(
        &["mkdir", "rmdir", "unlink,", "unlink."],
        Plyfs,
        faster(2.0),
    ),
    target(&["rename"], Plyfs, faster(1.5)),
    target(&["tar -x"], Plyfs, faster(2.5)),
    target(&["rm -rf"], Plyfs, faster(2.0)),
    target(&["4k writes."], Plyfs, Times(1.5, Kernel)),
    target(&["4k writes, O_DIRECT, aio"], Plyfs, Times(1.2, Kernel)),
    target(&["sqlite, rollback journal"], Plyfs, Times(1.8, Kernel)),
    target(&["sqlite, WAL"], Plyfs, Times(1.3, Kernel)),
    target(
        &[
            "write.",
            "rewrite",
            "read of an upper file",
            "mmap read of an upper file",
        ],
        Plyfs,
        Times(1.1, Kernel),
    ),
    target(
        &[
            "read of a lower file, warm",
            "mmap read of a lower file, warm",
        ],
        Plyfs,
        Times(1.05, Kernel),
    ),
    target(
        &[
            "read of a lower file, cold",
            "mmap read of a lower file, cold",
        ],
        Plyfs,
        Times(1.5, Kernel),
    ),
    target(
        &[
            "append to small lower files.",
            "chmod of lower files.",
            "append to a 1 GiB lower file",
        ],
        Plyfs,
        Times(1.0, Kernel),
    ),
    target(
        &["lookup fresh, 100 ", "missing name fresh, 100 "],
        Plyfs,
        Times(0.7, Kernel),
    ),
    target(
        &["lookup fresh, 500 ", "missing name fresh, 500 "],
        Plyfs,
        Times(0.2, Kernel),
    ),
    target(&["mount, 500 layers"], Plyfs, Times(2.0, Kernel)),
    target(&["git status warm"], Plyfs, Times(1.5, Kernel)),
    target(&["git status cold"], Plyfs, Times(4.0, Kernel)),
    target(&["C build"], Plyfs, Times(1.1, Kernel)),
    target(&["python start"], Plyfs, Times(1.3, Kernel)),
    target(&["memory, idle"], Plyfs, MiB(6.0)),
    target(&["memory, 500,000"], Plyfs, MiB(100.0)),
    target(&["memory, after"], Plyfs, MiB(12.0)),
];

impl Target {
    fn is_for(&self, row: &str) -> bool {
        self.rows
            .iter()
            .any(|wanted| match wanted.strip_suffix('.') {
                Some(whole) => row == whole,
                None => row.starts_with(wanted),
            })
    }

    /// What the table says, if both were measured.
    fn verdict(&self, table: &Table, row: &str) -> Option<String> {
        let value = self.bar.value(table, row, self.who)?;
        let (bar, what) = self.bar.shown();
        let who = if self.who == Rootless {
            "rootless: "
        } else {
            ""
        };
        let rings = self.bar.value(table, row, Rings);
        let rings = rings.filter(|_| self.who == Plyfs && value > bar);
        Some(format!(
            "{who}{value:.2} (<= {bar:.2} {what}) {}{}",
            outcome(value, bar),
            rings.map_or(String::new(), |value| beside(value, bar))
        ))
    }
}

impl Bar {
    /// What is judged by it, if it was measured.
    fn value(self, table: &Table, row: &str, who: Server) -> Option<f64> {
        match self {
            Times(_, other) => table.ratio(row, who, other),
            MiB(_) => Some(table.median(row, who)? / f64::from(1 << 20)),
        }
    }

    fn shown(self) -> (f64, String) {
        match self {
            Times(bar, other) => (bar, format!("x {}", short(other))),
            MiB(bar) => (bar, "MiB".into()),
        }
    }
}

fn short(server: Server) -> &'static str {
    match server {
        Kernel => "kernel",
        Peer => "fo2",
        Plyfs => "plyfs",
        Rings => "rings",
        Rootless => "rootless",
    }
}

fn outcome(value: f64, bar: f64) -> String {
    if value <= bar {
        "holds".into()
    } else {
        format!("**missed by {:.0} %**", (value / bar - 1.0) * 100.0)
    }
}

/// What rings reach where plyfs without them misses a target.
fn beside(value: f64, bar: f64) -> String {
    if value <= bar {
        format!(", rings {value:.2} holds")
    } else {
        format!(", rings {value:.2} by {:.0} %", (value / bar - 1.0) * 100.0)
    }
}

/// Slower than this, compared with fuse-overlayfs, is slower.
const NO_SLOWER: Target = target(&[""], Plyfs, Times(1.1, Peer));

/// Rows whose copy-ups are written to the disk by the kernel and by plyfs, and not by fuse-overlayfs: the comparison
/// with it is that of the same row with `volatile`.
const SYNCED: &[&str] = &[
    "append to small lower files",
    "chmod of lower files",
    "append to a 1 GiB lower file",
];

/// The verdicts on a row. That of being no slower than fuse-overlayfs is told where it is missed, and holds for all rows
/// for which fuse-overlayfs does the same work.
pub fn verdicts(table: &Table, row: &str) -> String {
    let own = TARGETS.iter().filter(|target| target.is_for(row));
    let mut all: Vec<_> = own
        .filter_map(|target| target.verdict(table, row))
        .collect();
    let no_slower = NO_SLOWER.bar;
    let slower = no_slower.value(table, row, Plyfs) > Some(no_slower.shown().0);
    if slower && !SYNCED.contains(&row) {
        all.extend(NO_SLOWER.verdict(table, row));
    }
    all.join("; ")
}

/// Scenarios whose rows are about names and attributes.
const METADATA: &[&str] = &[
    "walk",
    "look",
    "directory",
    "small files",
    "entries",
    "entries of a merged directory",
    "archive",
    "removal of lower files",
];

/// The ratio to fuse-overlayfs over all rows of metadata: their geometric mean, as "so many times faster".
pub fn metadata_mean(table: &Table, who: Server) -> Option<f64> {
    let scenarios = crate::scenario::all();
    let rows = scenarios
        .iter()
        .filter(|s| METADATA.contains(&s.name))
        .flat_map(|s| s.rows);
    let logs: Vec<f64> = rows
        .filter_map(|row| table.ratio(row, who, Peer))
        .map(f64::ln)
        .collect();
    (!logs.is_empty()).then(|| (-logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

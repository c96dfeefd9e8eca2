//! What the layer store costs, beside the tools that do the same: `cp -a`, `tar`, `umoci`.
//!
//! ```sh
//! cargo bench --bench store                            # all of it; root, an idle machine
//! cargo bench --bench store -- --only copy --repeats 3
//! ```
//!
//! A comparison runs the two sides by turns and takes the medians. CPU is user and system time of the processes that
//! were started; it bears a busy machine better than time on the clock does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // What goes wrong here is told by the panic.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use measure::Patience;
use table::Table;

mod archives;
mod containers;
mod copies;
mod dedup;
mod measure;
mod shop;
mod table;
mod trees;

/// What to measure, and where.
#[derive(Debug, Parser)]
struct Options {
    /// Only comparisons with this in their name
    #[arg(long, default_value = "")]
    only: String,
    /// How often each side runs
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// A directory on a disk: for what depends on one
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    disk: PathBuf,
    /// A directory in memory: for what must not depend on a disk
    #[arg(long, default_value = "/dev/shm")]
    memory: PathBuf,
    /// Part of the full size that trees and files have, in percent
    #[arg(long, default_value_t = 100)]
    size: u64,
    /// Write the table as Markdown, too
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write the figures as JSON, too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Comparisons of one kind.
type Family = fn(&mut Bench);

/// Directories of this run, gone at its end, and what is asked of every comparison.
pub struct Bench {
    disk: tempfile::TempDir,
    memory: tempfile::TempDir,
    size: u64,
    /// How often things run.
    pub patience: Patience,
    /// What came out.
    pub table: Table,
}

impl Bench {
    /// A fresh directory on the disk.
    pub fn on_disk(&self, name: &str) -> PathBuf {
        fresh(self.disk.path(), name)
    }

    /// A fresh directory in memory.
    pub fn in_memory(&self, name: &str) -> PathBuf {
        fresh(self.memory.path(), name)
    }

    /// This many, for the size that is wanted.
    pub fn scaled(&self, full: u64) -> u64 {
        (full * self.size / 100).max(1)
    }
}

fn fresh(below: &Path, name: &str) -> PathBuf {
    let at = below.join(name);
    if at.exists() {
        fs::remove_dir_all(&at).unwrap();
    }
    fs::create_dir(&at).unwrap();
    at
}

fn main() {
    let options = Options::parse();
    let mut bench = Bench {
        disk: tempfile::tempdir_in(&options.disk).unwrap(),
        memory: tempfile::tempdir_in(&options.memory).unwrap(),
        size: options.size,
        patience: Patience::new(options.repeats),
        table: Table::default(),
    };
    measure::warn_if_busy();
    let families: [(&str, Family); 8] = [
        ("copy small files", copies::small_files),
        ("copy big files", copies::big_files),
        ("copy by reflink", copies::reflink),
        ("container", containers::life),
        ("commit", containers::commit),
        ("layers 128 deep", containers::deep),
        ("archives", archives::all),
        ("dedup", dedup::all),
    ];
    for (name, family) in families {
        if name.contains(&options.only) {
            eprintln!("{name} ...");
            family(&mut bench);
        }
    }
    print!("{}", bench.table.text());
    if let Some(path) = options.markdown {
        fs::write(path, bench.table.markdown()).unwrap();
    }
    if let Some(path) = options.json {
        fs::write(path, bench.table.json()).unwrap();
    }
}

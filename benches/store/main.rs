//! What the layer store costs, beside the tools that do the same: `cp -a`, `tar`, `sha256sum`, `umoci`, `b3sum`.
//!
//! ```sh
//! cargo bench --bench store                       # all of it; root, an idle machine, ten minutes
//! cargo bench --bench store -- --quick            # a tenth of the size: does it run?
//! cargo bench --bench store -- copy-small life    # only these; `--list` names them
//! ```
//!
//! The two sides of a comparison run by turns, each first in every other round, on what is made for it. The table has
//! the medians. What a side leaves behind is compared with what it was made of, outside of the time that is taken: a
//! copy that is wrong wins nothing. CPU is user and system time of the processes that were started; it bears a busy
//! machine better than time on the clock does.
//!
//! It wants `b3sum`, `umoci`, `xfsprogs` and `btrfs-progs` of Debian.
//!
//! "In memory" is tmpfs; "on disk" a new ext4 in a file, so that neither the age nor the options of the machine's own
//! filesystem count. (An ext4 without a journal, for one, takes ten times as long where much was just removed.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // What goes wrong here is told by the panic.

use std::fs;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;

use disk::Disk;
use measure::Patience;
use table::Table;

mod archives;
mod containers;
mod copies;
mod dedup;
mod disk;
mod measure;
mod same;
mod shop;
mod table;
mod trees;

/// What to measure, and where.
#[derive(Debug, Parser)]
struct Options {
    /// Comparisons with one of these words in their name; all if none is given
    words: Vec<String>,
    /// Only say what there is
    #[arg(long)]
    list: bool,
    /// How often each side runs [default: 5, with --quick 3]
    #[arg(long)]
    repeats: Option<usize>,
    /// A directory on a disk: for what depends on one
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    disk: PathBuf,
    /// A directory in memory: for what must not depend on a disk
    #[arg(long, default_value = "/dev/shm")]
    memory: PathBuf,
    /// A tenth of the full size of trees and files
    #[arg(long)]
    quick: bool,
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

const FAMILIES: [(&str, Family); 11] = [
    ("copy-small-memory", copies::small_in_memory),
    ("copy-small-disk", copies::small_on_disk),
    ("copy-big", copies::big_files),
    ("copy-reflink", copies::reflink),
    ("life", containers::life),
    ("commit", containers::commit),
    ("changes", containers::changes),
    ("deep", containers::deep),
    ("export", archives::export),
    ("import", archives::import),
    ("dedup", dedup::all),
];

/// Directories of this run, gone at its end, and what is asked of every comparison.
pub struct Bench {
    /// Mounted in `scratch`, so it goes first.
    ext4: Disk,
    scratch: tempfile::TempDir,
    memory: tempfile::TempDir,
    part: u64,
    /// How often things run.
    pub patience: Patience,
    /// What came out.
    pub table: Table,
}

impl Bench {
    fn new(options: &Options) -> Bench {
        let scratch = tempfile::tempdir_in(&options.disk).unwrap();
        let usual = if options.quick { 3 } else { 5 };
        Bench {
            ext4: Disk::new(scratch.path(), "ext4"),
            scratch,
            memory: tempfile::tempdir_in(&options.memory).unwrap(),
            part: if options.quick { 10 } else { 1 },
            patience: Patience::new(options.repeats.unwrap_or(usual)),
            table: Table::default(),
        }
    }

    /// A fresh directory on an ext4.
    pub fn on_disk(&self, name: &str) -> PathBuf {
        fresh(self.ext4.path(), name)
    }

    /// A fresh directory in memory.
    pub fn in_memory(&self, name: &str) -> PathBuf {
        fresh(self.memory.path(), name)
    }

    /// A new filesystem on the disk.
    pub fn filesystem(&self, kind: &str) -> Disk {
        Disk::new(self.scratch.path(), kind)
    }

    /// This many, for the size that is wanted.
    pub fn scaled(&self, full: u64) -> u64 {
        (full / self.part).max(1)
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

fn main() -> ExitCode {
    let options = Options::parse();
    let asked = |name: &str| {
        let words = &options.words;
        words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    };
    let chosen: Vec<_> = FAMILIES.iter().filter(|(name, _)| asked(name)).collect();
    if chosen.is_empty() {
        eprintln!("no such comparison; --list names them");
        return ExitCode::from(2);
    }
    if options.list {
        chosen.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    among_ourselves();
    let mut bench = Bench::new(&options);
    measure::warn_if_busy();
    let mut whole = true;
    for (name, family) in chosen {
        eprintln!("{name} ...");
        // The others are worth something all the same.
        whole &= catch_unwind(AssertUnwindSafe(|| family(&mut bench))).is_ok();
    }
    print!("{}", bench.table.text());
    if let Some(path) = options.markdown {
        fs::write(path, bench.table.markdown()).unwrap();
    }
    if let Some(path) = options.json {
        fs::write(path, bench.table.json()).unwrap();
    }
    if whole {
        ExitCode::SUCCESS
    } else {
        eprintln!("not everything could be measured: see above");
        ExitCode::FAILURE
    }
}

/// Goes on in a mount namespace of its own: whatever happens, no mount outlives this process.
fn among_ourselves() {
    const DONE: &str = "PLYFS_BENCH_UNSHARED";
    if std::env::var_os(DONE).is_some() {
        return;
    }
    let mut unshare = Command::new("unshare");
    let own = std::env::current_exe().unwrap();
    unshare
        .args(["--mount", "--propagation", "private"])
        .arg(own);
    let failed = unshare
        .args(std::env::args_os().skip(1))
        .env(DONE, "1")
        .exec();
    panic!("unshare, which wants root: {failed}");
}

//! Random work on random layers: every result, the final view and the upper layer must be the judge's.
//!
//! `PLYFS_TEST_SEEDS=100..200` runs other seeds. A failure names its seed and the step; the same seed does the same
//! again.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

use super::support::dice::Dice;
use super::support::layers::{Layers, Tree};
use super::support::scenario::Scenario;
use super::support::steps::{self, Steps};
use super::support::words::{copy, errno_name};

const STEPS: usize = 500;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A path of at most three parts out of few names, so that they meet often.
fn path(dice: &mut Dice) -> String {
    let depth = 1 + dice.roll(3);
    let parts: Vec<_> = (0..depth).map(|_| NAMES[dice.roll(NAMES.len())]).collect();
    parts.join("/")
}

/// Fills a layer below `at`. Whiteouts and opaque marks only where a directory can be merged.
fn fill(tree: Tree<'_>, dice: &mut Dice, at: &str, depth: usize, marks: bool) {
    for name in NAMES {
        let path = if at.is_empty() {
            name.to_string()
        } else {
            format!("{at}/{name}")
        };
        match dice.roll(10) {
            0 | 1 => drop(tree.file(&path, format!("{path} {}", dice.roll(100)))),
            8 if !at.is_empty()
                && tree.at(NAMES[0]).is_file()
                && !tree.at(NAMES[0]).is_symlink() =>
            {
                // More names of one file: parted from each other at copy-up (7.1).
                tree.link(NAMES[0], &path);
            }
            2 => drop(tree.symlink(&path, NAMES[dice.roll(NAMES.len())])),
            3 if marks => drop(tree.whiteout(&path)),
            4 if dice.roll(3) == 0 => drop(tree.fifo(&path)),
            5..=7 if depth < 3 => {
                tree.dir(&path)
                    .mode(&path, [0o755, 0o700, 0o1777, 0o2755][dice.roll(4)]);
                if marks && dice.roll(5) == 0 {
                    tree.opaque(&path, "y");
                }
                fill(tree, dice, &path, depth + 1, marks);
            }
            _ => {}
        }
    }
}

fn build(layers: &Layers, seed: u64) {
    let mut dice = Dice::new(seed);
    let last = layers.lowers.len();
    for n in 1..=last {
        fill(layers.lower(n), &mut dice, "", 0, n < last);
    }
    fill(layers.upper(), &mut dice, "", 0, false);
}

fn listed(dir: &Path) -> io::Result<String> {
    let mut names: Vec<_> = fs::read_dir(dir)?
        .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    // Whiteouts the kernel lists in directories of one layer (3.7) do not exist.
    names.retain(|name| dir.join(name).symlink_metadata().is_ok());
    names.sort();
    Ok(names.join(" "))
}

fn metadata(path: &Path) -> io::Result<String> {
    let m = path.symlink_metadata()?;
    let (links, size) = if m.is_dir() {
        (0, 0)
    } else {
        (m.nlink(), m.len())
    };
    Ok(format!(
        "{:o} {}:{} {links} {size}",
        m.mode(),
        m.uid(),
        m.gid()
    ))
}

fn done(result: io::Result<()>) -> io::Result<String> {
    result.map(|()| "ok".into())
}

/// One random change or look; what it was and what came out.
fn act(root: &Path, dice: &mut Dice, step: usize) -> (String, io::Result<String>) {
    let (a, b) = (path(dice), path(dice));
    let (pa, pb) = (root.join(&a), root.join(&b));
    let rename =
        |flags| done(rustix::fs::renameat_with(CWD, &pa, CWD, &pb, flags).map_err(Into::into));
    // A fifo has no data and would block.
    let is_fifo = |p: &Path| p.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir());
    let (verb, result) = match dice.roll(22) {
        0 | 1 => ("unlink", done(fs::remove_file(&pa))),
        2 | 3 => ("rmdir", done(fs::remove_dir(&pa))),
        4 => ("remove all", done(fs::remove_dir_all(&pa))),
        5 | 6 => ("mkdir", done(fs::create_dir(&pa))),
        7..=9 => ("rename", rename(RenameFlags::empty())),
        10 => ("rename noreplace", rename(RenameFlags::NOREPLACE)),
        11 => ("exchange", rename(RenameFlags::EXCHANGE)),
        12 => ("link", done(fs::hard_link(&pa, &pb))),
        13 => (
            "symlink",
            done(std::os::unix::fs::symlink(NAMES[dice.roll(5)], &pa)),
        ),
        14 => (
            "create",
            done(fs::File::create_new(&pa).and_then(|f| f.write_all_at(a.as_bytes(), 0))),
        ),
        15 if is_fifo(&pa) => ("fifo", Ok(String::new())),
        15 => ("write", done(fs::write(&pa, format!("{step}")))),
        16 if is_fifo(&pa) => ("fifo", Ok(String::new())),
        16 => {
            let file = fs::OpenOptions::new().write(true).open(&pa);
            (
                "patch",
                done(file.and_then(|f| f.write_all_at(b"patched", 3))),
            )
        }
        17 if is_fifo(&pa) => ("fifo", Ok(String::new())),
        17 => ("read", fs::read_to_string(&pa)),
        18 => ("list", listed(&pa)),
        19 => ("stat", metadata(&pa)),
        20 if pa.is_symlink() => (
            "lchown",
            done(std::os::unix::fs::lchown(&pa, Some(step as u32), None)),
        ),
        20 => (
            "chmod",
            done(fs::set_permissions(
                &pa,
                fs::Permissions::from_mode(0o700 + (step % 64) as u32),
            )),
        ),
        _ => {
            let flags = rustix::fs::XattrFlags::empty();
            (
                "setxattr",
                done(rustix::fs::lsetxattr(&pa, "trusted.step", b"x", flags).map_err(Into::into)),
            )
        }
    };
    (format!("{verb} {a} {b}"), result)
}

/// One random use of one of a few files kept open across all other changes. No link counts and no changes of
/// metadata: there plyfs differs for unlinked lower files (15.2).
fn use_open(
    root: &Path,
    slots: &mut [Option<fs::File>],
    dice: &mut Dice,
) -> (String, io::Result<String>) {
    let (slot, a) = (dice.roll(slots.len()), path(dice));
    let closed = || io::Error::from_raw_os_error(libc::EBADF);
    let (verb, result) = match (dice.roll(6), &slots[slot]) {
        (0 | 1, _) => {
            let flags = ["r", "r", "rw", "rw,append", "rw,trunc", "r,trunc"][dice.roll(6)];
            let file = steps::open(&root.join(&a), &format!("{flags},nonblock"));
            let said = file.as_ref().map(|_| "ok".to_string()).map_err(copy);
            slots[slot] = file
                .ok()
                .filter(|f| f.metadata().is_ok_and(|m| m.is_file()));
            (format!("open {a} {flags}"), said)
        }
        (_, None) => ("nothing".into(), Err(closed())),
        (2 | 3, Some(file)) => {
            let mut data = [0; 64];
            let read = file
                .read_at(&mut data, 0)
                .map(|n| data[..n].escape_ascii().to_string());
            ("read".into(), read)
        }
        (4, Some(file)) => {
            let data = format!("<{}>", dice.roll(1000));
            (
                "write".into(),
                file.write_at(data.as_bytes(), dice.roll(12) as u64)
                    .map(|n| n.to_string()),
            )
        }
        (_, Some(file)) => {
            let cut = if dice.roll(3) == 0 {
                done(file.set_len(dice.roll(20) as u64))
            } else {
                Ok(String::new())
            };
            let size = file
                .metadata()
                .map(|m| format!("{:o} {} {}", m.mode(), m.uid(), m.len()));
            ("cut and stat".into(), cut.and_then(|cut| Ok(cut + &size?)))
        }
    };
    (format!("slot {slot}: {verb}"), result)
}

/// Random work; each step and its result in the transcript tells where two runs part.
fn work(s: &mut Steps, seed: u64) {
    let root = s.at(".");
    let mut dice = Dice::new(seed ^ 0x5eed);
    let mut slots: [Option<fs::File>; 4] = Default::default();
    for step in 0..STEPS {
        let (what, result) = match dice.roll(3) {
            0 => use_open(&root, &mut slots, &mut dice),
            _ => act(&root, &mut dice, step),
        };
        let said = result.unwrap_or_else(|e| errno_name(&e));
        s.transcript
            .push(format!("seed {seed} step {step}: {what} -> {said}"));
    }
}

fn run_seeds(first: u64, count: u64) {
    for seed in first..first + count {
        let lowers = 1 + seed as usize % 3;
        Scenario::new("random", "random work on random layers")
            .lowers(lowers)
            .opaque_by_effect()
            .layers(move |l| build(l, seed))
            .steps(move |s| work(s, seed));
    }
}

#[test]
fn random_work() {
    let seeds = std::env::var("PLYFS_TEST_SEEDS").unwrap_or_else(|_| "1..13".into());
    let (first, end) = seeds.split_once("..").expect("PLYFS_TEST_SEEDS=FIRST..END");
    let (first, end): (u64, u64) = (first.parse().unwrap(), end.parse().unwrap());
    run_seeds(first, end - first);
}

//! stress-ng: its filesystem stressors, one after the other, on a view and on the ext4 below it (T129).
//!
//! The rule: plyfs shows no error that ext4 does not show. How much work is done in a second does not matter.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::tools::{Tool, announce, run};
use crate::support::env::{Scratch, cannot_run, isolated};
use crate::support::layers::Layers;
use crate::support::mount::{Mounted, Server};

const TOOL: Tool = Tool {
    name: "stress-ng",
    version: "",
};

/// Those of the class `filesystem` that work on files below a directory. Left out: what is not about files
/// (eventfd, procfs, ioprio, binderfs), what mounts or watches whole filesystems (bind-mount, fanotify, verity),
/// what syncs the whole machine (io).
const STRESSORS: &str = "access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fcntl \
    fiemap filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify iomix lease link locka lockf \
    lockofd mknod open rename symlink sync-file touch utime xattr";
const SECONDS_EACH: &str = "1";

/// What one run complained about, and which stressors it could not run.
struct Outcome {
    complaints: BTreeSet<String>,
    skipped: BTreeSet<String>,
    finished: bool,
    text: String,
}

#[test]
fn t129_stress_ng_finds_no_error_that_ext4_does_not_have() {
    let name = "stress-ng on plyfs and on ext4";
    let Some(tool) = TOOL.find_for(name) else {
        return;
    };
    isolated(|| {
        let mut scratch = Scratch::new();
        let disk = match scratch.ext4("disk") {
            Ok(disk) => disk,
            Err(why) => return cannot_run(name, &why),
        };
        let layers = Layers::new(&disk, 1, true);
        let plain = Layers::new(&disk.join("plain"), 0, true).upper;
        let mounted = Mounted::new(Server::Plyfs, &layers, "").expect("mount");
        let (ours, judge) = std::thread::scope(|scope| {
            let ours = scope.spawn(|| stress(&tool, mounted.path()));
            let judge = scope.spawn(|| stress(&tool, &plain));
            (ours.join().unwrap(), judge.join().unwrap())
        });
        let said = mounted.said();
        mounted.unmount().expect("unmount");

        assert!(judge.finished, "stress-ng on ext4:\n{}", judge.text);
        assert!(ours.finished, "stress-ng on plyfs:\n{}\n{said}", ours.text);
        let more: Vec<&String> = ours.complaints.difference(&judge.complaints).collect();
        assert!(
            more.is_empty(),
            "on plyfs only: {more:#?}\n{}\n{said}",
            ours.text
        );
        let count = STRESSORS.split_whitespace().count();
        let skipped: Vec<&String> = ours.skipped.difference(&judge.skipped).collect();
        announce(&format!(
            "stress-ng on plyfs: {count} stressors, not possible by FUSE: {skipped:?}"
        ));
    });
}

fn stress(tool: &Path, at: &Path) -> Outcome {
    let mut command = Command::new(tool);
    command.args(["--sequential", "0", "--verify", "-t", SECONDS_EACH]);
    for stressor in STRESSORS.split_whitespace() {
        command.args([format!("--{stressor}"), "1".into()]);
    }
    command.arg("--temp-path").arg(at).current_dir(at);
    outcome(run(&mut command).text)
}

fn outcome(text: String) -> Outcome {
    let said = |level: &'static str| {
        let tail = move |line: &str| {
            let (head, tail) = line.split_once("] ")?;
            head.contains(level).then(|| without_numbers(tail))
        };
        text.lines().filter_map(tail).collect::<Vec<String>>()
    };
    let skipped = said(": info:").into_iter().chain(said(": warn:"));
    let skipped = skipped
        .filter(|line| line.contains("skip"))
        .filter_map(|line| Some(line.split_once(':')?.0.to_string()))
        .collect();
    Outcome {
        complaints: [said(": fail:"), said(": error:")]
            .concat()
            .into_iter()
            .collect(),
        skipped,
        finished: text.contains("run completed"),
        text,
    }
}

/// Pids, times and names of scratch files differ from run to run.
fn without_numbers(line: &str) -> String {
    let words = line.split_whitespace().filter(|word| !word.contains('/'));
    let words: Vec<String> = words
        .map(|word| word.chars().filter(|c| !c.is_ascii_digit()).collect())
        .collect();
    words.join(" ")
}

#[test]
fn complaints_of_stress_ng_are_understood() {
    let text = "stress-ng: info:  [1] dispatching hogs\nstress-ng: fail:  [7] chmod: fchmod failed, errno=1\n\
                stress-ng: info:  [8] fiemap: not supported, skipping stressor\n\
                stress-ng: info:  [1] unsuccessful run completed in 4.00s\n";
    let outcome = outcome(text.into());
    assert_eq!(
        Vec::from_iter(outcome.complaints),
        ["chmod: fchmod failed, errno="]
    );
    assert_eq!(Vec::from_iter(outcome.skipped), ["fiemap"]);
    assert!(outcome.finished);
}

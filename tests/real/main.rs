//! Real programs out of Debian packages work in a merged view as they do on kernel overlayfs, and leave the same tree.
//!
//! One script (`inside/work.sh`) runs in a chroot on eight layers: once served by the kernel, the judge, once by plyfs.
//! What it printed, the merged view, the upper layer on disk, the view after a remount, and the view of each one's
//! upper served by the other must be equal; the lower layers, which both use, must never change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "../support/mod.rs"]
mod support;

mod image;
mod packages;

use support::env::{
    Scratch, cannot_run, isolated, kernel_overlay_impossible, mounted_tests_impossible,
};
use support::layers::Layers;
use support::mount::{Mounted, Server};
use support::snapshot::{Compare, Snapshot};

/// What one server made of the script.
struct Outcome {
    layers: Layers,
    /// What the script printed.
    transcript: String,
    /// The merged view after a remount.
    view: Snapshot,
    /// The upper layer on disk.
    upper: Snapshot,
}

/// T120 as well: the kernel mounts what plyfs wrote.
#[test]
fn real_programs_leave_what_they_leave_on_the_kernel() {
    let name = "real programs on plyfs and on kernel overlayfs";
    if let Some(why) = mounted_tests_impossible().or_else(kernel_overlay_impossible) {
        return cannot_run(name, &why);
    }
    let packages = packages::Packages::fetch();
    isolated(|| {
        let scratch = Scratch::new();
        let lowers = image::build(scratch.path(), &packages);
        assert!(lowers.len() >= 5);
        let before = snapshots(&lowers);

        let kernel = outcome(Server::Kernel, &scratch.path().join("kernel"), &lowers);
        let plyfs = outcome(Server::Plyfs, &scratch.path().join("plyfs"), &lowers);
        same_lines(
            "what the script printed",
            &kernel.transcript,
            &plyfs.transcript,
        );
        same("the merged view", &kernel.view, &plyfs.view, Compare::View);
        same(
            "the upper layer",
            &kernel.upper,
            &plyfs.upper,
            Compare::Upper,
        );

        let crossed = view(Server::Plyfs, &kernel.layers);
        same(
            "the kernel's upper, by the kernel and by plyfs",
            &kernel.view,
            &crossed,
            Compare::View,
        );
        let crossed = view(Server::Kernel, &plyfs.layers);
        same(
            "plyfs's upper, by plyfs and by the kernel",
            &plyfs.view,
            &crossed,
            Compare::View,
        );

        for ((path, before), after) in lowers.iter().zip(&before).zip(snapshots(&lowers)) {
            same(
                &format!("lower layer {}", path.display()),
                before,
                &after,
                Compare::Untouched,
            );
        }
    });
}

/// Mounts, runs the script, unmounts, mounts again and looks.
fn outcome(server: Server, root: &Path, lowers: &[PathBuf]) -> Outcome {
    let mut layers = Layers::new(root, 0, true);
    layers.lowers = lowers.to_vec();
    let mounted = Mounted::new(server, &layers, "").expect("mount");
    let (transcript, failure) = run_inside(mounted.path());
    if let Some(failure) = failure {
        let last: Vec<&str> = transcript.lines().rev().take(20).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        panic!(
            "the script on {server:?}: {failure}; it said at last:\n{}\n{}",
            last.join("\n"),
            mounted.said()
        );
    }
    let live = Snapshot::take(mounted.path()).expect("read the merged view");
    mounted.unmount().expect("unmount");
    let view = view(server, &layers);
    same(
        &format!("{server:?}: the merged view before and after a remount"),
        &live,
        &view,
        Compare::SameView,
    );
    let upper = Snapshot::take(&layers.upper).expect("read the upper layer");
    Outcome {
        layers,
        transcript,
        view,
        upper,
    }
}

/// The merged view of these layers.
fn view(server: Server, layers: &Layers) -> Snapshot {
    let mounted =
        Mounted::new(server, layers, "").unwrap_or_else(|e| panic!("{server:?} cannot mount: {e}"));
    let view = Snapshot::take(mounted.path()).expect("read the merged view");
    mounted.unmount().expect("unmount");
    view
}

/// What the script prints in a chroot with a /proc of its own, and how it failed if it did.
fn run_inside(root: &Path) -> (String, Option<String>) {
    let command = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" /bin/sh /real/work.sh 2>&1";
    let out = Command::new("unshare")
        .args(["--mount", "/bin/sh", "-c", command])
        .arg(root)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("run unshare (of util-linux)");
    let transcript = String::from_utf8_lossy(&out.stdout).into_owned();
    let failure = (!out.status.success()).then(|| out.status.to_string());
    (transcript, failure)
}

fn snapshots(layers: &[PathBuf]) -> Vec<Snapshot> {
    layers
        .iter()
        .map(|layer| Snapshot::take(layer).expect("read a lower layer"))
        .collect()
}

fn same(what: &str, wanted: &Snapshot, got: &Snapshot, how: Compare) {
    assert!(wanted.entries.len() > 1, "{what}: nothing to compare");
    report(what, wanted.differences(got, how));
}

fn same_lines(what: &str, wanted: &str, got: &str) {
    let mut differences: Vec<String> = wanted
        .lines()
        .zip(got.lines())
        .filter(|(a, b)| a != b)
        .map(|(a, b)| format!("  - {a}\n  + {b}"))
        .collect();
    if wanted.lines().count() != got.lines().count() {
        differences.push(format!(
            "  {} and {} lines",
            wanted.lines().count(),
            got.lines().count()
        ));
    }
    report(what, differences);
}

fn report(what: &str, differences: Vec<String>) {
    let shown = differences
        .iter()
        .take(40)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        differences.is_empty(),
        "{what}: {} differences\n{shown}",
        differences.len()
    );
}

//! Container engines with plyfs as their mount program: run, diff, commit and build must see what they
//! see on any other storage (T130).
#![allow(clippy::expect_used)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

use support::env;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/podman.sh");

const SEEN: &str = "\
== run
1
1777
new
== diff
A /gone/new
C /etc
C /gone
D /etc/passwd
D /gone/old
== commit
new
0
1777
== build
four
three
two
600 1
644 2
one
== version
      Version: plyfs ";

#[test]
fn t130_podman() {
    let has = |tool: &str| {
        Command::new(tool)
            .arg("--version")
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("t130_podman", &why);
    }
    if let Some(tool) = ["podman", "crun"].into_iter().find(|tool| !has(tool)) {
        return env::cannot_run("t130_podman", &format!("{tool} is not installed"));
    }
    if !std::path::Path::new("/bin/busybox").exists() {
        return env::cannot_run("t130_podman", "busybox-static is not installed");
    }
    let (said, complaints) = podman(env!("CARGO_BIN_EXE_plyfs"));
    let version = said.lines().last().unwrap_or_default();
    let shown = said.replace(version, SEEN.lines().last().unwrap_or_default());
    assert_eq!(shown.trim_end(), SEEN.trim_end(), "{complaints}");
    assert!(
        version.contains(concat!("plyfs ", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    if let Some(why) = env::kernel_overlay_impossible() {
        return env::cannot_run("t130_podman, the judge", &why);
    }
    let (judged, complaints) = podman("");
    assert_eq!(judged, as_by_the_kernel(), "{complaints}");
}

/// `SEEN` without what names the mount, and with the diff that podman reads off the marks of the upper layer: it knows
/// the kernel's driver, and there a directory that was replaced is one deletion. With any mount program it compares two
/// mounts.
fn as_by_the_kernel() -> String {
    let (seen, _) = SEEN.split_once("== version").expect("the last part");
    seen.replace("== run\n1\n", "== run\n0\n").replace(
        "C /gone\nD /etc/passwd\nD /gone/old\n",
        "D /etc/passwd\nD /gone\n",
    )
}

/// What the script says, with podman's own words; without a mount program the kernel's overlay is used.
fn podman(mount_program: &str) -> (String, String) {
    let scratch = env::Scratch::new();
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", SCRIPT])
        .arg(scratch.path())
        .arg(mount_program)
        .output()
        .expect("unshare runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (said, complaints) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{complaints}");
    (said, complaints)
}

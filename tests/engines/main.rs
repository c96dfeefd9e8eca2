//! Container engines with plyfs as their mount program: run, diff, commit and build must see what they
//! see on any other storage (T130).

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
    let scratch = env::Scratch::new();
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", SCRIPT])
        .arg(scratch.path())
        .arg(env!("CARGO_BIN_EXE_plyfs"))
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    let complaints = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}\n{complaints}");
    let version = said.lines().last().unwrap_or_default();
    let shown = said.replace(version, SEEN.lines().last().unwrap_or_default());
    assert_eq!(shown.trim_end(), SEEN.trim_end(), "{complaints}");
    assert!(
        version.contains(concat!("plyfs ", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
}

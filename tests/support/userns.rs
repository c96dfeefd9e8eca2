//! A test of this program once more, as root of a user namespace.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that is in the user namespace already.
const INSIDE: &str = "PLYFS_TEST_INSIDE";

/// Is this process the one inside?
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs one test of this program, by its whole name, in a user and mount namespace with this map for users and groups
/// (lines of uid_map), and with this environment. Root is nobody special there.
pub fn run_inside(test: &str, map: &str, environment: &[(&str, &str)]) {
    let own = std::env::current_exe().expect("the path of this program");
    let mut child = Command::new("unshare")
        .args([
            "--user",
            "--mount",
            "sh",
            "-c",
            "read go && exec \"$0\" \"$@\"",
        ])
        .arg(own)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .spawn()
        .expect("start unshare");
    let is_inside = || {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
        of(&child.id().to_string()).is_some_and(|ns| Some(ns) != of("self"))
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_inside() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{file}", child.id()), map).expect("map the ids");
    }
    let mut stdin = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, b"go\n").expect("start the test");
    let status = child.wait().expect("wait for the test");
    assert!(
        status.success(),
        "the test in the user namespace failed: {status}"
    );
}

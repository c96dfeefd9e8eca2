//! A test of this program once more, as root of a user namespace.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::mount::BY_RINGS;
use super::rings::Offered;

/// Set in the process that is in the user namespace already.
pub const INSIDE: &str = "PLYFS_TEST_INSIDE";

/// Where the program under test is, for a user who cannot reach where it was built.
pub const PROGRAM: &str = "PLYFS_TEST_PROGRAM";

/// The program under test.
pub fn program() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_plyfs").into();
    std::env::var_os(PROGRAM).map_or_else(built, PathBuf::from)
}

/// Is this process the one inside?
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Who a test is on the outside, and which ids it has inside.
pub enum User<'a> {
    /// Root, with this map (lines of uid_map) for users and groups.
    Root(&'a str),
    /// A user without privileges, who is root inside, and nobody else is known there. Programs are copied to where
    /// he can reach them.
    Plain { id: u32, programs: &'a Path },
}

/// Runs one test of this program, by its whole name, in a user and mount namespace, and with this environment. Root of
/// the machine is nobody special there.
pub fn run_inside(test: &str, user: User, environment: &[(&str, &str)]) {
    // Nobody inside may ask the kernel for rings.
    let _offered = BY_RINGS.then(|| Offered::new().expect("rings"));
    let mut own = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new("unshare");
    let single;
    let map = match user {
        User::Root(map) => map,
        User::Plain { id, programs } => {
            let copy = |from: &Path, name: &str| {
                let to = programs.join(name);
                std::fs::copy(from, &to).expect("copy a program");
                to
            };
            command.env(PROGRAM, copy(&program(), "plyfs"));
            own = copy(&own, "test");
            command.uid(id).gid(id).current_dir(programs);
            single = format!("0 {id} 1");
            &single
        }
    };
    command.args(["--user", "--mount"]);
    command.args(["sh", "-c", "read go && exec \"$0\" \"$@\""]);
    command.arg(own).args(["--exact", test, "--nocapture"]);
    command.env(INSIDE, "1").envs(environment.iter().copied());
    let child = command.stdin(Stdio::piped()).spawn();
    let mut child = child.expect("start unshare");
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

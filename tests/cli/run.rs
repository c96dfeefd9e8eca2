//! `plyfs run`: statuses, changes, and nothing left behind.

use std::fs;
use std::path::PathBuf;

use crate::tool::{Place, Said, in_place};

/// Runs a script in a view of the place's layers, with temporary files in the place.
fn run(place: &Place, flags: &[&str], script: &str) -> Said {
    fs::create_dir_all(place.at("tmp")).unwrap();
    let tmp = format!("TMPDIR={}", place.at("tmp").display());
    let mut args = vec![tmp.as_str(), env!("CARGO_BIN_EXE_plyfs"), "run"];
    args.extend(["--lower", "l1", "--lower", "l2"]);
    args.extend(flags);
    args.extend(["--", "sh", "-c", script]);
    let said = place.program("env", &args);
    let left: Vec<PathBuf> = fs::read_dir(place.at("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    said
}

#[test]
fn the_command_works_in_the_view_and_its_changes_are_listed() {
    in_place("the_command_works_in_the_view", |place| {
        let script = "cat top low; echo; cat both; echo; echo x > new; echo x >> low; rm top; \
                      mkdir -p d/e; touch d/e/f; chmod 600 both";
        let said = run(place, &[], script);
        said.worked();
        assert_eq!(said.out, "toplow\nupper one\n");
        let lines: Vec<&str> = said.err.lines().collect();
        assert!(lines[0].starts_with("plyfs: changes"), "{said:?}");
        assert_eq!(lines[1..], ["M both", "A d/", "M low", "A new", "D top"]);
        assert!(place.at("l1/top").exists() && !place.at("u/new").exists());
        assert_eq!(fs::read_to_string(place.at("l2/low")).unwrap(), "low");
    });
}

#[test]
fn reading_changes_nothing() {
    in_place("reading_changes_nothing", |place| {
        let said = run(place, &[], "cat top > /dev/null; ls");
        assert_eq!(
            (said.out.as_str(), said.err.as_str()),
            ("both\nlow\ntop\n", "plyfs: nothing was changed\n")
        );
    });
}

#[test]
fn the_status_is_the_commands() {
    in_place("the_status_is_the_commands", |place| {
        assert_eq!(run(place, &[], "exit 7").code, Some(7));
        assert_eq!(run(place, &[], "kill -9 $$").code, Some(137));
        assert_eq!(run(place, &[], "kill -TERM $$").code, Some(143));
        let said = place.plyfs(&["run", "--lower", "l1", "no-such-command"]);
        said.failed(127, &["no-such-command"]);
        let said = place.plyfs(&["run", "--lower", "l1", "./top"]);
        said.failed(126, &["top"]);
    });
}

#[test]
fn changes_can_be_kept() {
    in_place("changes_can_be_kept", |place| {
        let said = run(
            place,
            &["--upper", "u", "--work", "w"],
            "echo kept > new; rm low",
        );
        said.worked();
        assert!(said.err.contains("kept in u"), "{said:?}");
        assert_eq!(fs::read_to_string(place.at("u/new")).unwrap(), "kept\n");
        let said = run(place, &["--upper", "u", "--work", "w"], "cat new; ls");
        assert_eq!(said.out, "kept\nboth\nnew\ntop\n");
    });
}

#[test]
fn nobody_outside_sees_the_view() {
    in_place("nobody_outside_sees_the_view", |place| {
        let said = run(
            place,
            &[],
            "pwd; cat /proc/self/mountinfo | grep -c fuse.plyfs",
        );
        said.worked();
        let mut lines = said.out.lines();
        let view = lines.next().unwrap();
        assert!(
            view.starts_with(place.at("tmp").to_str().unwrap()),
            "{view}"
        );
        assert_eq!(lines.next(), Some("1"));
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!table.contains("fuse.plyfs"));
    });
}

#[test]
fn a_command_that_leaves_others_behind_ends_the_view() {
    in_place("a_command_that_leaves_others_behind", |place| {
        let said = run(
            place,
            &[],
            "exec >/dev/null 2>&1; timeout 20 tail -f low & exit 3",
        );
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(said.err.contains("still run"), "{said:?}");
    });
}

#[test]
fn signals_reach_the_command() {
    in_place("signals_reach_the_command", |place| {
        let script = "trap 'echo got it; exit 9' TERM; kill -TERM $PPID; \
                      while :; do sleep 0.01; done";
        let said = run(place, &[], script);
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(9), "got it\n"),
            "{said:?}"
        );
    });
}

#[test]
fn the_view_can_be_the_root_directory() {
    in_place("the_view_can_be_the_root_directory", |place| {
        // A static program would do; the shell with its libraries is everywhere.
        let script = "for f in $(ldd /bin/sh | grep -o '/[^ ]*') /bin/sh; do \
                      mkdir -p l2/$(dirname $f) && cp -L $f l2/$f; done";
        place.program("sh", &["-ec", script]).worked();
        let said = run(place, &["--chroot"], "pwd; echo /t*; echo x > /new");
        said.worked();
        assert_eq!(said.out, "/\n/top\n", "{said:?}");
        assert!(said.err.contains("A new"), "{said:?}");
    });
}

#[test]
fn a_plain_user_runs_too() {
    in_place("a_plain_user_runs_too", |place| {
        place.open_device();
        place.public_binary();
        fs::create_dir(place.at("tmp")).unwrap();
        place.give_to_nobody();
        let said = place.as_nobody(
            "export TMPDIR=$PWD/tmp; $P run --lower l1 --lower l2 -- \
             sh -c 'id -u; id -g; cat low; echo; rm low; echo x > new; mkdir d; exit 5'; \
             code=$?; ls tmp; exit $code",
        );
        assert_eq!(said.code, Some(5), "{said:?}");
        assert_eq!(said.out, "65534\n65534\nlow\n", "{said:?}");
        let lines: Vec<&str> = said.err.lines().skip(1).collect();
        assert_eq!(lines, ["A d/", "D low", "A new"], "{said:?}");
    });
}

#[test]
fn options_can_be_added() {
    in_place("options_can_be_added", |place| {
        fs::write(place.at("l1/.wh.low"), "").unwrap();
        assert_eq!(run(place, &["-o", "oci=on"], "ls").out, "both\ntop\n");
        let said = run(place, &["-o", "bogus"], "ls");
        said.failed(2, &["bogus"]);
    });
}

#[test]
fn the_command_gets_the_limits_of_its_caller() {
    in_place("the_command_gets_the_limits_of_its_caller", |place| {
        let script = format!(
            "ulimit -Sn 100; exec {} run --lower l1 -- sh -c 'ulimit -Sn; grep SigBlk: /proc/self/status'",
            env!("CARGO_BIN_EXE_plyfs")
        );
        let said = place.program("sh", &["-c", &script]);
        assert_eq!(said.out, "100\nSigBlk:\t0000000000000000\n", "{said:?}");
    });
}

#[test]
fn the_umask_of_the_caller_counts_once() {
    in_place("the_umask_of_the_caller_counts_once", |place| {
        let script = format!(
            "umask 027; exec {} run --lower l1 -- sh -c 'umask; mkdir a; umask 0; mkdir b; stat -c %a a b'",
            env!("CARGO_BIN_EXE_plyfs")
        );
        let said = place.program("sh", &["-c", &script]);
        assert_eq!(said.out, "0027\n750\n777\n", "{said:?}");
    });
}

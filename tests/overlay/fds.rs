//! Trees larger than the cache of directory fds: every fd can be closed and opened again.
//!
//! The cache takes its size from RLIMIT_NOFILE when an overlay is made, so these tests run in a child process of this
//! same binary with a low limit.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::inprocess::rig::{Case, View, over, stack};

const FEW: u64 = 64;

/// Runs the named test of this binary again, as a child that may have few files open while `body` runs.
fn with_few_fds(test: &str, case: Case, body: impl Fn(&mut View)) {
    const MARK: &str = "PLYFS_TEST_FEW_FDS";
    if std::env::var_os(MARK).is_some() {
        return case.test(|v| {
            let usual = getrlimit(Resource::Nofile);
            let current = Some(FEW);
            setrlimit(Resource::Nofile, Rlimit { current, ..usual }).unwrap();
            v.remount();
            body(v);
            setrlimit(Resource::Nofile, usual).unwrap();
        });
    }
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("fds::{test}"), "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
    assert!(text.contains("1 passed"), "the child ran no test: {text}");
}

fn path(depth: usize) -> String {
    let parts: Vec<_> = (0..depth).map(|n| format!("d{n}")).collect();
    parts.join("/")
}

#[test]
fn deep_lower_trees_are_read_and_copied_up() {
    let case = stack(2, |b| {
        b.lower(1).file(&format!("{}/top", path(100)), "top");
        b.lower(2).file(&format!("{}/bottom", path(100)), "bottom");
    });
    with_few_fds("deep_lower_trees_are_read_and_copied_up", case, |v| {
        let deep = path(100);
        assert_eq!(v.ls(&deep).unwrap(), ["bottom", "top"]);
        v.write(&format!("{deep}/bottom"), "changed").unwrap();
        v.write(&format!("{deep}/new"), "new").unwrap();
        v.unlink(&format!("{deep}/top")).unwrap();
        assert_eq!(v.ls(&deep).unwrap(), ["bottom", "new"]);
        assert_eq!(v.read(&format!("{deep}/bottom")).unwrap(), "changed");
    });
}

fn wide() -> Case {
    over(|l| {
        for n in 0..150 {
            l.file(&format!("w{n}/f"), "x");
        }
    })
}

/// Uses so many directories that the cache lets go of all others.
fn use_many(v: &View, name: &str) {
    for n in 0..150 {
        v.write(&format!("w{n}/{name}"), "y").unwrap();
    }
}

#[test]
fn wide_trees_are_walked_and_changed() {
    with_few_fds("wide_trees_are_walked_and_changed", wide(), |v| {
        use_many(v, "new");
        for n in 0..150 {
            assert_eq!(v.ls(&format!("w{n}")).unwrap(), ["f", "new"]);
            v.unlink(&format!("w{n}/f")).unwrap();
        }
    });
}

#[test]
fn a_directory_that_moved_is_opened_again_where_it_is() {
    let test = "a_directory_that_moved_is_opened_again_where_it_is";
    with_few_fds(test, wide(), |v| {
        for dir in ["a", "a/b", "a/b/c", "to"] {
            v.mkdir(dir).unwrap();
        }
        v.write("a/b/c/f", "1").unwrap();
        let (file, dir) = (v.id("a/b/c/f").unwrap(), v.id("a/b/c").unwrap());
        v.mv("a/b", "to/b").unwrap();
        use_many(v, "one");
        assert_eq!(v.read_node(file).unwrap(), "1");
        assert_eq!(v.list(dir).unwrap().len(), 1);
        v.rmdir("a").unwrap();
        v.mv("to/b", "a").unwrap();
        use_many(v, "two");
        assert_eq!(v.read("a/c/f").unwrap(), "1");
        assert_eq!(v.read_node(file).unwrap(), "1");
    });
}

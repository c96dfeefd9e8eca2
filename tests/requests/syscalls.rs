//! System calls of the library's verbs, in process.

use std::ffi::OsStr;

use plyfs::overlay::node::ROOT;
use plyfs::sys::errno::Errno;

use crate::inprocess::rig::{View, code, stack};
use crate::support::env;
use crate::trace::Syscalls;

/// Layers of the deep stack: more than the kernel's overlayfs is often used with, so that a cost for each is seen.
const DEEP: usize = 100;

fn counted(test: fn(&View, &Syscalls)) {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("system calls of a lookup", &why);
    }
    env::isolated(|| {
        stack(DEEP, |b| {
            for n in 1..=DEEP {
                b.lower(n).file(&format!("d/in-{n}"), "content");
            }
        })
        .test(|v| {
            test(
                v,
                &Syscalls::of_this_thread().expect("tracefs with the events of system calls"),
            )
        });
    });
}

#[test]
fn a_deep_stack_is_asked_only_where_the_name_is() {
    counted(|v, calls| {
        let d = v.id("d").unwrap();
        let miss =
            |name: &str| assert_eq!(code(v.overlay.lookup(d, OsStr::new(name))), Errno::ENOENT);
        let cost = |name: &str| calls.during(|| miss(name)).unwrap();
        let first = cost("none");
        assert!(first > DEEP, "each layer is asked: {first}");
        for n in 0..10 {
            miss(&format!("other-{n}"));
        }
        let warm = cost("none");
        assert_eq!(warm, cost("another"));
        let idle = calls.during(|| {}).unwrap();
        assert_eq!(
            warm - idle,
            0,
            "all lower layers are known, and the directory is in no upper"
        );
        let found = calls
            .during(|| assert!(v.lookup(d, "in-77").is_ok()))
            .unwrap();
        assert_eq!(
            found - idle,
            2,
            "one layer has it; so small a file may be a metacopy"
        );
        v.write("d/new", "").unwrap();
        assert_eq!(cost("none") - idle, 1, "the upper is asked now");
    });
}

#[test]
fn listing_a_directory_teaches_its_names() {
    counted(|v, calls| {
        let idle = calls.during(|| {}).unwrap();
        assert_eq!(v.ls("d").unwrap().len(), DEEP);
        let d = v.id("d").unwrap();
        let miss = || assert_eq!(code(v.overlay.lookup(d, OsStr::new("none"))), Errno::ENOENT);
        assert_eq!(calls.during(miss).unwrap() - idle, 0);
        let root = calls
            .during(|| assert!(v.lookup(ROOT, "d").is_ok()))
            .unwrap();
        assert!(root - idle >= DEEP, "all layers have it");
    });
}

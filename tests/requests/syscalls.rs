//! System calls of the library's verbs, in process.

use std::cell::RefCell;
use std::ffi::OsStr;

use plyfs::overlay::change::create::Caller;
use plyfs::overlay::change::rename::Rename;
use plyfs::overlay::change::setattr::SetAttr;
use plyfs::overlay::node::handle::OpenFile;
use plyfs::overlay::node::{NodeId, ROOT};
use plyfs::sys::errno::{Errno, Result};

use crate::inprocess::client::{KEEP, flags, me};
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
        let idle = calls.during(|| {}).unwrap();
        assert_eq!(
            cost("none") - idle,
            6 * DEEP,
            "each layer is read: opened, looked at, read twice, looked at again for a name in another case, closed"
        );
        assert_eq!(
            cost("another") - idle,
            0,
            "all lower layers are known, and the directory is in no upper"
        );
        let found = || {
            let calls = calls.during(|| assert!(v.lookup(d, "in-77").is_ok()));
            calls.unwrap() - idle
        };
        assert_eq!(found(), 4, "one layer has it, and is opened");
        assert_eq!(found(), 2, "so small a file may be a metacopy");
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

/// A verb and its price.
struct Row {
    what: &'static str,
    action: fn(&Known) -> Result<()>,
    calls: usize,
}

const fn row(what: &'static str, action: fn(&Known) -> Result<()>, calls: usize) -> Row {
    Row {
        what,
        action,
        calls,
    }
}

/// What the kernel knows when it asks: the nodes of a merged directory and of one in the upper alone, and what it has
/// made.
struct Known<'a> {
    view: &'a View,
    merged: NodeId,
    pure: NodeId,
    upper: NodeId,
    lower: NodeId,
    made: RefCell<Vec<NodeId>>,
    caller: Caller,
}

impl Known<'_> {
    fn create(&self, dir: NodeId, name: &str) -> Result<()> {
        let overlay = &self.view.overlay;
        let flags = flags::WRITE;
        let (entry, opened) =
            overlay.create(dir, OsStr::new(name), 0o100_644, flags, self.caller)?;
        overlay.release(opened.handle);
        self.made.borrow_mut().push(entry.id);
        Ok(())
    }

    fn mkdir(&self, dir: NodeId, name: &str) -> Result<()> {
        let name = OsStr::new(name);
        let entry = self.view.overlay.mkdir(dir, name, 0o755, self.caller)?;
        self.made.borrow_mut().push(entry.id);
        Ok(())
    }

    fn rename(&self, dir: NodeId, from: &str, to: &str) -> Result<()> {
        let (from, to) = (OsStr::new(from), OsStr::new(to));
        self.view
            .overlay
            .rename(dir, from, dir, to, Rename::Replace)
    }

    fn lookup(&self, dir: NodeId, name: &str) -> Result<()> {
        let entry = self.view.overlay.lookup(dir, OsStr::new(name))?;
        self.view.overlay.forget(entry.id, 1);
        Ok(())
    }

    fn open(&self, file: NodeId, flags: i32) -> Result<()> {
        let opened = self.view.overlay.open(file, flags, false)?;
        self.view.overlay.release(opened.handle);
        Ok(())
    }

    fn read_unopened(&self, file: NodeId) -> Result<()> {
        let file = OpenFile::Node(file, flags::READ);
        self.view.overlay.read(file, &mut [0; 4], 0).map(drop)
    }

    fn write_unopened(&self, file: NodeId, flags: i32) -> Result<()> {
        let file = OpenFile::Node(file, flags);
        self.view.overlay.write(file, b"data", 0, false).map(drop)
    }

    fn chmod(&self, file: NodeId) -> Result<()> {
        let set = SetAttr {
            perm: Some(0o600),
            ..KEEP
        };
        self.view.overlay.setattr(file, set, None).map(drop)
    }
}

const ROWS: &[Row] = &[
    row(
        "lookup of a known upper file",
        |k| k.lookup(k.merged, "up"),
        1,
    ),
    row("lookup of a lower file", |k| k.lookup(k.merged, "low"), 2),
    row(
        "lookup of a missing name",
        |k| k.lookup(k.merged, "none").or(Ok(())),
        0,
    ),
    row("lookup of a merged directory", |k| k.lookup(ROOT, "m"), 5),
    row(
        "getattr of an upper file",
        |k| k.view.overlay.getattr(k.upper, None).map(drop),
        1,
    ),
    row(
        "open and close of an upper file",
        |k| k.open(k.upper, flags::READ),
        3,
    ),
    row(
        "open and close of a lower file",
        |k| k.open(k.lower, flags::READ),
        3,
    ),
    row(
        "create in a merged directory",
        |k| k.create(k.merged, "new"),
        4,
    ),
    row("create in a pure directory", |k| k.create(k.pure, "new"), 4),
    row("create over a whiteout", |k| k.create(k.merged, "gone"), 15),
    row(
        "mkdir in a merged directory",
        |k| k.mkdir(k.merged, "sub"),
        2,
    ),
    row("mkdir in a pure directory", |k| k.mkdir(k.pure, "sub"), 2),
    row(
        "rename in a merged directory",
        |k| k.rename(k.merged, "new", "other"),
        3,
    ),
    row(
        "rename in a pure directory",
        |k| k.rename(k.pure, "new", "other"),
        3,
    ),
    row(
        "rename of a lower file",
        |k| k.rename(k.merged, "low2", "moved"),
        25,
    ),
    row(
        "unlink in a merged directory",
        |k| k.view.overlay.unlink(k.merged, OsStr::new("other")),
        3,
    ),
    row(
        "unlink in a pure directory",
        |k| k.view.overlay.unlink(k.pure, OsStr::new("other")),
        3,
    ),
    row(
        "unlink of a lower file",
        |k| k.view.overlay.unlink(k.merged, OsStr::new("low3")),
        5,
    ),
    row(
        "rmdir in a merged directory",
        |k| k.view.overlay.rmdir(k.merged, OsStr::new("sub")),
        3,
    ),
    row(
        "rmdir in a pure directory",
        |k| k.view.overlay.rmdir(k.pure, OsStr::new("sub")),
        3,
    ),
    row("chmod of an upper file", |k| k.chmod(k.upper), 3),
    row(
        "read of a file that was not opened, first",
        |k| k.read_unopened(k.upper),
        3,
    ),
    row("the same, again", |k| k.read_unopened(k.upper), 1),
    row(
        "write of a file that was not opened, first",
        |k| k.write_unopened(k.upper, flags::BOTH),
        4,
    ),
    row(
        "the same, again",
        |k| k.write_unopened(k.upper, flags::BOTH),
        1,
    ),
    row(
        "the same with O_DSYNC",
        |k| k.write_unopened(k.upper, flags::BOTH | libc::O_DSYNC),
        2,
    ),
    row(
        "opening a lower file for writing",
        |k| k.open(k.lower, flags::WRITE),
        20,
    ),
];

#[test]
fn system_calls_of_each_verb() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("system calls of each verb", &why);
    }
    env::isolated(|| {
        stack(2, |b| {
            for name in ["low", "low2", "low3", "gone"] {
                b.lower(1).file(&format!("m/{name}"), "content");
            }
            b.lower(2).file("m/other-one", "content");
            b.upper()
                .file("m/up", "content")
                .file("p/there", "")
                .whiteout("m/gone");
        })
        .test(|v| {
            let calls =
                Syscalls::of_this_thread().expect("tracefs with the events of system calls");
            for path in ["m", "p"] {
                v.ls(path).unwrap();
            }
            let id = |path| v.id(path).unwrap();
            let known = Known {
                view: v,
                merged: id("m"),
                pure: id("p"),
                upper: id("m/up"),
                lower: id("m/low"),
                made: RefCell::default(),
                caller: me(),
            };
            let idle = calls.during(|| {}).unwrap();
            let mut wrong = Vec::new();
            for row in ROWS {
                let made = calls.during(|| (row.action)(&known).unwrap()).unwrap() - idle;
                if made != row.calls {
                    wrong.push(format!("{}: expected {}, made {made}", row.what, row.calls));
                }
            }
            for id in known.made.take() {
                v.overlay.forget(id, 1);
            }
            assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
        });
    });
}

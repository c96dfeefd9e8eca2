//! Requests for each operation, on a mount of the superuser (with passthrough) and on one without.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::support::env;
use crate::support::layers::Layers;
use crate::support::mount::{Mounted, Server};
use crate::trace::Requests;

/// One operation and what it may send.
struct Row {
    what: &'static str,
    action: fn(&Path),
    sends: &'static str,
}

const fn row(what: &'static str, action: fn(&Path), sends: &'static str) -> Row {
    Row {
        what,
        action,
        sends,
    }
}

fn read(mount: &Path, path: &str) {
    fs::read(mount.join(path)).expect("read");
}

fn list(mount: &Path, path: &str) {
    for entry in fs::read_dir(mount.join(path)).expect("open directory") {
        entry.expect("list");
    }
}

/// In this order on one mount: later rows find warm what earlier ones met.
///
/// A change of a name makes the kernel ask for the attributes of the directory again before the next one (GETATTR), a
/// read makes it ask for the access time once, the first write after new attributes asks for capabilities (GETXATTR);
/// STATX and FLUSH are refused, and never asked again.
const ROWS: &[Row] = &[
    row(
        "stat of a name, first",
        |m| stat(m, "d/f"),
        "LOOKUP LOOKUP STATX",
    ),
    row("stat, again", |m| stat(m, "d/f"), ""),
    row("missing name, first", |m| stat(m, "d/none"), "LOOKUP"),
    row("missing name, again", |m| stat(m, "d/none"), ""),
    row(
        "read of a small lower file, first",
        |m| read(m, "d/f"),
        "OPEN FLUSH (RELEASE)",
    ),
    row("read, again", |m| read(m, "d/f"), "OPEN (RELEASE)"),
    row(
        "list, first",
        |m| list(m, "d"),
        "OPENDIR READDIRPLUS READDIR",
    ),
    row("list, second", |m| list(m, "d"), "GETATTR"),
    row("list, again", |m| list(m, "d"), ""),
    row(
        "symbolic link, first",
        |m| drop(fs::read_link(m.join("d/s"))),
        "READLINK",
    ),
    row(
        "symbolic link, again",
        |m| drop(fs::read_link(m.join("d/s"))),
        "",
    ),
    row(
        "create, write, close",
        |m| write(m, "d/new"),
        "LOOKUP CREATE GETXATTR (RELEASE)",
    ),
    row(
        "create, write, close, the next",
        |m| write(m, "d/new2"),
        "GETATTR LOOKUP CREATE GETXATTR (RELEASE)",
    ),
    row(
        "stat after a write",
        |m| stat(m, "d/new"),
        "GETATTR GETATTR",
    ),
    row(
        "read of what was written, first",
        |m| read(m, "d/new"),
        "OPEN (RELEASE)",
    ),
    row(
        "read, second",
        |m| read(m, "d/new"),
        "OPEN GETATTR READ (RELEASE)",
    ),
    row(
        "read, third",
        |m| read(m, "d/new"),
        "OPEN GETATTR (RELEASE)",
    ),
    row("read, again", |m| read(m, "d/new"), "OPEN (RELEASE)"),
    row(
        "read of an upper file, first",
        |m| read(m, "u/f"),
        "LOOKUP LOOKUP OPEN (RELEASE)",
    ),
    row(
        "read, second",
        |m| read(m, "u/f"),
        "OPEN GETATTR READ (RELEASE)",
    ),
    row("read, third", |m| read(m, "u/f"), "OPEN GETATTR (RELEASE)"),
    row("read, again", |m| read(m, "u/f"), "OPEN (RELEASE)"),
    row(
        "append to an upper file",
        |m| append(m, "d/new"),
        "OPEN GETXATTR (RELEASE)",
    ),
    row(
        "append to a lower file",
        |m| append(m, "d/h"),
        "OPEN GETXATTR (RELEASE)",
    ),
    row("chmod", chmod, "SETATTR"),
    row("rename", rename, "LOOKUP RENAME"),
    row(
        "unlink of an upper file",
        |m| unlink(m, "d/other"),
        "GETATTR UNLINK",
    ),
    row(
        "unlink of a lower file",
        |m| unlink(m, "d/g"),
        "GETATTR UNLINK",
    ),
    row(
        "mkdir",
        |m| fs::create_dir(m.join("d/sub")).expect("mkdir"),
        "GETATTR LOOKUP MKDIR",
    ),
    row(
        "rmdir",
        |m| fs::remove_dir(m.join("d/sub")).expect("rmdir"),
        "GETATTR RMDIR",
    ),
];

fn stat(mount: &Path, path: &str) {
    let _may_be_missing = fs::metadata(mount.join(path));
}

fn write(mount: &Path, path: &str) {
    fs::write(mount.join(path), "data").expect("create");
}

fn append(mount: &Path, path: &str) {
    let file = OpenOptions::new().append(true).open(mount.join(path));
    file.and_then(|mut file| file.write_all(b"more"))
        .expect("append");
}

fn rename(mount: &Path) {
    fs::rename(mount.join("d/new"), mount.join("d/other")).expect("rename");
}

fn unlink(mount: &Path, path: &str) {
    fs::remove_file(mount.join(path)).expect("unlink");
}

fn chmod(mount: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(mount.join("d/f"), fs::Permissions::from_mode(0o600)).expect("chmod");
}

/// As `ROWS`, where opens and closes are not told.
const NOOPEN: &[Row] = &[
    row(
        "open, first",
        |m| drop(open(m, "d/f")),
        "LOOKUP LOOKUP OPEN FLUSH",
    ),
    row("open, again", |m| drop(open(m, "d/f")), ""),
    row("read, first", |m| read(m, "d/f"), "STATX READ"),
    row("read, second", |m| read(m, "d/f"), "GETATTR"),
    row("open, read, close, again", |m| read(m, "d/f"), ""),
    row(
        "create, write, close",
        |m| write(m, "d/new"),
        "LOOKUP CREATE GETXATTR WRITE",
    ),
    row(
        "read of what was written",
        |m| read(m, "d/new"),
        "GETATTR GETATTR READ",
    ),
    row(
        "append to an upper file",
        |m| append(m, "d/new"),
        "GETXATTR WRITE",
    ),
    row(
        "append to a lower file",
        |m| append(m, "d/h"),
        "LOOKUP GETXATTR WRITE",
    ),
    row("rewrite", |m| write(m, "d/new"), "SETATTR GETXATTR WRITE"),
    row("open for writing", |m| append_nothing(m, "d/g"), "LOOKUP"),
    row("open for writing, again", |m| append_nothing(m, "d/g"), ""),
    row(
        "fsync",
        |m| open(m, "d/g").sync_all().expect("fsync"),
        "FSYNC",
    ),
];

fn open(mount: &Path, path: &str) -> fs::File {
    fs::File::open(mount.join(path)).expect("open")
}

fn append_nothing(mount: &Path, path: &str) {
    OpenOptions::new()
        .append(true)
        .open(mount.join(path))
        .expect("open");
}

#[test]
fn requests_of_each_operation() {
    check(ROWS, "");
}

#[test]
fn requests_where_opens_are_not_told() {
    check(NOOPEN, "noopen=on");
}

fn check(rows: &'static [Row], options: &'static str) {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("requests of each operation", &why);
    }
    env::isolated(|| {
        let scratch = env::Scratch::new();
        let layers = Layers::new(scratch.path(), 2, true);
        for n in [1, 2] {
            let lower = layers.lower(n);
            for name in ["f", "g", "h"] {
                lower.file(&format!("d/{name}"), "content");
            }
            lower.symlink("d/s", "f");
        }
        layers.upper().file("u/f", "content");
        layers.settle();
        let mounted = Mounted::new(Server::Plyfs, &layers, options).expect("mount");
        let requests = Requests::of(mounted.path()).expect("tracefs with the events of FUSE");
        let mut wrong = Vec::new();
        for row in rows {
            let sent = requests
                .during(|| (row.action)(mounted.path()))
                .expect("trace");
            if sent != row.sends {
                wrong.push(format!(
                    "{}: expected [{}], sent [{sent}]",
                    row.what, row.sends
                ));
            }
        }
        drop(requests);
        mounted.unmount().expect("unmount");
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    });
}

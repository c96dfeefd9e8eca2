//! Trees so deep that no path reaches the bottom, merged from several layers.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::siege::{Siege, bounded};

const DEPTH: usize = 200;
/// 200 of these are fifty times what a path may hold.
const NAME_LENGTH: usize = 255;

fn name() -> String {
    "d".repeat(NAME_LENGTH)
}

fn open_dir(at: impl rustix::fd::AsFd, name: &str) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty()).expect("open a directory")
}

/// Makes the tree and returns its bottom.
fn dig(root: &Path, file: &str) {
    let mut dir = open_dir(CWD, root.to_str().unwrap());
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&dir, name(), Mode::from_raw_mode(0o755)).expect("mkdir");
        dir = open_dir(&dir, &name());
    }
    write(&dir, file, b"mine");
}

fn write(dir: &OwnedFd, name: &str, data: &[u8]) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).expect("open for writing");
    assert_eq!(rustix::io::write(&fd, data).expect("write"), data.len());
}

fn read(dir: &OwnedFd, name: &str) -> Vec<u8> {
    let fd = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .expect("open for reading");
    let mut buffer = [0; 64];
    let n = rustix::io::read(&fd, &mut buffer).expect("read");
    buffer[..n].to_vec()
}

fn descend(root: &Path) -> OwnedFd {
    (0..DEPTH).fold(open_dir(CWD, root.to_str().unwrap()), |dir, _| {
        open_dir(&dir, &name())
    })
}

#[test]
fn copy_up_at_the_bottom_of_a_deep_tree() {
    // The snapshots of the frame go by path, so the trees are built and looked at by hand.
    Siege::new("a deep tree", 3).lowers_change().run(
        |l, _| {
            for (n, lower) in l.lowers.iter().enumerate() {
                dig(lower, &format!("f{n}"));
            }
        },
        |field| {
            let (merged, upper) = (field.layers.merged.clone(), field.layers.upper.clone());
            bounded("work at the bottom of a deep tree", move || {
                let bottom = descend(&merged);
                for n in 0..3 {
                    assert_eq!(read(&bottom, &format!("f{n}")), b"mine");
                }
                write(&bottom, "f1", b"copied up through 200 directories");
                write(&bottom, "new", b"new");
                rustix::fs::renameat(&bottom, "f2", &bottom, "f2.moved").expect("rename");
                rustix::fs::unlinkat(&bottom, "f0", AtFlags::empty()).expect("unlink");
                assert_eq!(
                    read(&descend(&merged), "f1"),
                    b"copied up through 200 directories"
                );
                let copied = descend(&upper);
                assert_eq!(read(&copied, "f1"), b"copied up through 200 directories");
                assert_eq!(read(&copied, "f2.moved"), b"mine");
                let whiteout = rustix::fs::statat(&copied, "f0", AtFlags::SYMLINK_NOFOLLOW)
                    .expect("a whiteout");
                assert_eq!(
                    (whiteout.st_mode & 0o170_000, whiteout.st_rdev),
                    (0o020_000, 0)
                );
            });
        },
    );
}

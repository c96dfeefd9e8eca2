//! fuse-overlayfs, the other overlay in userspace.
//!
//! Its faults that damage or disclose data (overlay-semantics 23): the same steps on it and on plyfs, which has to be
//! right while the peer is wrong. A fault that no longer shows is a failure, too: then the document is to be corrected.
//!
//! And what it writes: both generations, with whiteouts of both forms, as root and without root, read by plyfs (T123).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools::{Tool, run};
use crate::support::env::{Scratch, isolated};
use crate::support::layers::Layers;
use crate::support::mount::Mounted;

/// The generation in Rust, whose faults are listed.
const PEER: Tool = Tool {
    name: "fuse-overlayfs",
    version: "2.0.0",
};
/// The generation in C, as Debian has it.
const DEBIAN: &str = "/usr/bin/fuse-overlayfs";
const PLYFS: &str = env!("CARGO_BIN_EXE_plyfs");

/// Layers on a disk, and who serves them.
struct Stage {
    program: PathBuf,
    layers: Layers,
    _scratch: Scratch,
}

impl Stage {
    fn new(program: &Path, build: fn(&Layers)) -> Stage {
        let scratch = Scratch::new();
        let layers = Layers::new(scratch.path(), 1, true);
        build(&layers);
        layers.settle();
        Stage {
            program: program.into(),
            layers,
            _scratch: scratch,
        }
    }

    fn mount(&self) -> Mounted {
        let mut command = Command::new(&self.program);
        command.args(["-f", "-o", &self.layers.options()]);
        command.arg(&self.layers.merged);
        Mounted::plyfs_by(command, &self.layers.merged).unwrap()
    }

    fn unmount(&self, mounted: Mounted) {
        if self.program == Path::new(PLYFS) {
            return mounted.unmount().unwrap();
        }
        // It knows no way of its own.
        let at = mounted.path();
        while let Err(rustix::io::Errno::BUSY) =
            rustix::mount::unmount(at, rustix::mount::UnmountFlags::empty())
        {
            // The child of another test's thread, between fork and exec.
            std::thread::yield_now();
        }
        mounted.crash();
    }

    fn at(&self, path: &str) -> PathBuf {
        self.layers.merged.join(path)
    }
}

/// What is wrong after the steps, in words; none if all is right.
type Steps = fn(&Stage) -> Option<String>;

fn plyfs_is_right_where_the_peer_is_wrong(section: &str, build: fn(&Layers), steps: Steps) {
    let Some(peer) = PEER.find_for(section) else {
        return;
    };
    let plyfs = isolated(|| steps(&Stage::new(Path::new(PLYFS), build)));
    assert_eq!(plyfs, None, "{section} on plyfs");
    let peer = isolated(|| steps(&Stage::new(&peer, build)));
    let Some(fault) = peer else {
        panic!(
            "{section} does not show on {} {}: correct the document",
            PEER.name, PEER.version
        );
    };
    super::tools::announce(&format!(
        "{section} on {} {}: {fault}",
        PEER.name, PEER.version
    ));
}

/// 23.1, T090, T091: open for reading, open for writing, write.
#[test]
fn peer_t090_a_write_reaches_the_lower_layer() {
    plyfs_is_right_where_the_peer_is_wrong(
        "23.1",
        |l| drop(l.lower(1).file("f", "lower").at("f")),
        |stage| {
            let mounted = stage.mount();
            let mut reader = fs::File::open(stage.at("f")).unwrap();
            reader.read_exact(&mut [0; 5]).unwrap();
            let writer = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(stage.at("f"))
                .unwrap();
            writer.write_all_at(b"UPPER", 0).unwrap();
            drop((reader, writer));
            stage.unmount(mounted);
            let lower = fs::read_to_string(stage.layers.lowers[0].join("f")).unwrap();
            (lower != "lower").then(|| format!("the lower file says {lower:?}"))
        },
    );
}

/// 23.2, T029, T030: a lower directory of the root removed and made anew.
#[test]
fn peer_t030_removed_content_comes_back() {
    plyfs_is_right_where_the_peer_is_wrong(
        "23.2",
        |l| drop(l.lower(1).file("d/old", "old").at("d")),
        |stage| {
            let mounted = stage.mount();
            fs::remove_file(stage.at("d/old")).unwrap();
            fs::remove_dir(stage.at("d")).unwrap();
            fs::create_dir(stage.at("d")).unwrap();
            stage.unmount(mounted);
            let mounted = stage.mount();
            let old = stage.at("d/old").exists();
            stage.unmount(mounted);
            old.then(|| "the removed file is back".into())
        },
    );
}

/// 23.11, T136: root makes a file in a private directory, and everybody can list it.
#[test]
fn peer_t136_a_private_directory_becomes_public() {
    plyfs_is_right_where_the_peer_is_wrong(
        "23.11",
        |l| {
            drop(
                l.lower(1)
                    .file("private/secret", "x")
                    .mode("private", 0o700)
                    .at("private"),
            )
        },
        |stage| {
            let mounted = stage.mount();
            fs::File::create_new(stage.at("private/new")).unwrap();
            let mode = fs::metadata(stage.at("private"))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777;
            let mut list = Command::new("setpriv");
            list.args(["--reuid=1000", "--regid=1000", "--clear-groups", "ls"]);
            let said = run(list.arg(stage.at("private")));
            stage.unmount(mounted);
            let names = said.text.split_whitespace().collect::<Vec<_>>().join(" ");
            let wrong = mode != 0o700 || said.success;
            wrong.then(|| format!("its mode is {mode:o}, and another user lists {names:?}"))
        },
    );
}

/// 23.12, T092, T093: files that are open while their last name goes.
#[test]
fn peer_t092_open_files_are_broken_by_unlink() {
    plyfs_is_right_where_the_peer_is_wrong(
        "23.12",
        |l| drop(l.lower(1).file("low", "low").at("low")),
        |stage| {
            let mounted = stage.mount();
            let low = fs::File::open(stage.at("low")).unwrap();
            let mut up = fs::File::create_new(stage.at("up")).unwrap();
            fs::remove_file(stage.at("low")).unwrap();
            fs::remove_file(stage.at("up")).unwrap();
            let answers = [
                ("fstat of a lower file", low.metadata().map(drop)),
                ("write", up.write_all(b"up")),
                ("fstat", up.metadata().map(|m| assert_eq!(m.size(), 2))),
                (
                    "fchmod",
                    up.set_permissions(fs::Permissions::from_mode(0o600)),
                ),
            ];
            drop((low, up));
            stage.unmount(mounted);
            let wrong = answers.into_iter().filter_map(|(what, answer)| {
                let error = answer.err()?;
                Some(format!("{what}: {error}"))
            });
            let wrong: Vec<_> = wrong.collect();
            (!wrong.is_empty()).then(|| wrong.join(", "))
        },
    );
}

/// Changes of every kind, by the writer `F` on layers `l u w`, then its view after a remount and that of the reader
/// `P`, in the files `theirs` and `ours`. `T` is a tracer in front of the writer.
const WRITE_AND_READ: &str = r#"
set -e
trap 'umount -l m 2> /dev/null || true' EXIT
mkdir -p l/dir/sub l/deep/er l/empty
for f in gone a moved append mode dir/x dir/sub/y deep/er/z; do echo $f > l/$f; done
mkdir -p u w m
upper="lowerdir=l,upperdir=u,workdir=w"
look() {
    (cd m && find . -mindepth 1 -printf '%p %y %m %U:%G %l' \
        \( -type f -printf ' %s ' -exec cat {} \; -o -printf '\n' \)) | sort
}
wait_here() { until grep -q " $PWD/m " /proc/self/mountinfo; do sleep 0.05; done; }
# The writer in Rust unmounts the place once more as it ends, whatever is mounted there by then.
wait_gone() { while ls -l /proc/[0-9]*/exe 2> /dev/null | grep -q " $F"; do sleep 0.05; done; }
$T $F -o $upper m > writer.log 2>&1 || { cat writer.log; exit 1; }
wait_here
rm m/gone
rm m/a && echo again > m/a
rm m/deep/er/z && rmdir m/deep/er && mkdir m/deep/er && echo new > m/deep/er/new
mv m/moved m/dir/moved
ln m/append m/linked && echo more >> m/append
rm -r m/dir/sub
chmod 640 m/mode
ln -s a m/link
[ -n "$T" ] || mkfifo m/fifo
mkdir m/fresh && echo fresh > m/fresh/f && mv m/fresh m/renamed
umount m; wait_gone
$T $F -o $upper m > writer.log 2>&1 || { cat writer.log; exit 1; }
wait_here
look > theirs
umount m; wait_gone
$P -o $upper m > reader.log 2>&1 || { cat reader.log; exit 1; }
look > ours
umount m
"#;

/// Makes a filesystem on which no whiteout device can be made: for the generation in C.
const WITHOUT_DEVICES: &str = "strace -D -f -qq -o /dev/null -e trace=mknod,mknodat \
     -e inject=mknod,mknodat:error=EPERM";
/// The same for the generation in Rust, which also gets them from a rename.
const WITHOUT_WHITEOUTS: &str = "strace -D -f -qq -o /dev/null -e trace=mknod,mknodat,renameat2 \
     -e inject=mknod,mknodat:error=EPERM -e inject=renameat2:error=EINVAL";

fn t123(name: &str, writer: &Path, rootless: bool, tracer: &str) {
    isolated(|| {
        let mut scratch = Scratch::new();
        let root = scratch.tmpfs("place", "64m");
        let [plyfs, writer] =
            [(PLYFS, "plyfs"), (&*writer.to_string_lossy(), "writer")].map(|(from, to)| {
                let to = root.join(to);
                fs::copy(from, &to).unwrap();
                to
            });
        let programs = format!("P='{}' F='{}'", plyfs.display(), writer.display());
        let script = format!("{programs} T='{tracer}'\n{WRITE_AND_READ}");
        let mut shell = Command::new(if rootless { "setpriv" } else { "sh" });
        if rootless {
            scratch.give("place", 65534);
            shell.args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "unshare",
                "-Urm",
                "sh",
            ]);
        }
        let said = run(shell.args(["-c", &script]).current_dir(&root));
        assert!(said.success, "{name}: {}: {}", said.status, said.text);
        let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
        let (theirs, ours) = (read("theirs"), read("ours"));
        assert!(
            theirs.contains("./deep/er/new") && !theirs.contains("gone"),
            "{name}: {theirs}"
        );
        assert_eq!(theirs, ours, "{name}: what the writer sees, and plyfs");
        let marker = root.join("u/.wh.gone").exists();
        assert_eq!(
            marker,
            !tracer.is_empty(),
            "{name}: whiteouts in the form that was wanted"
        );
    });
}

fn each_way(test: &str, writer: &Path, without_devices: &str) {
    for (how, rootless, tracer) in [
        ("root", false, ""),
        ("rootless", true, ""),
        ("root, .wh.", false, without_devices),
    ] {
        t123(&format!("{test}, {how}"), writer, rootless, tracer);
    }
}

#[test]
fn t123_uppers_of_the_generation_in_rust() {
    if let Some(writer) = PEER.find_for("T123 fuse-overlayfs 2") {
        each_way("2.0.0", &writer, WITHOUT_WHITEOUTS);
    }
}

#[test]
fn t123_uppers_of_the_generation_in_c() {
    let any = Tool {
        name: "fuse-overlayfs",
        version: "",
    };
    if any.find_for("T123 fuse-overlayfs 1").is_none() {
        return;
    }
    if !Path::new(DEBIAN).exists() {
        let why = format!("{DEBIAN} is missing (apt-get install fuse-overlayfs)");
        return crate::support::env::cannot_run("T123 fuse-overlayfs 1", &why);
    }
    each_way("1.x", Path::new(DEBIAN), WITHOUT_DEVICES);
}

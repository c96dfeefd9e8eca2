//! Birth, life and end of a mount: daemon, signals, fast cycles, and whose mount is whose.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::tool::{Place, in_place, signal, wait_until};

#[test]
fn a_daemon_keeps_nothing_of_its_caller() {
    in_place("a_daemon_keeps_nothing_of_its_caller", |place| {
        // Two more ends of the pipe, which only the end of all their holders closes; `said` waits for that.
        let script = format!(
            "umask 077; exec 7>&1 9>&2; exec {} mount -o {} m",
            env!("CARGO_BIN_EXE_plyfs"),
            place.options()
        );
        place.program("sh", &["-c", &script]).worked();
        // The command does not wait until the daemon is all that it will be; who is answered has.
        assert!(place.at("m/top").exists());
        let pid = place.daemon();
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
        let stat = read("stat");
        let after_name = stat.rsplit(") ").next().unwrap();
        let fields: Vec<&str> = after_name.split(' ').collect();
        assert_eq!(fields[3], pid.to_string(), "a session of its own");
        assert_eq!(fields[4], "0", "no terminal");
        assert_eq!(link("cwd").to_str(), Some("/"));
        let umask = read("status");
        assert!(umask.contains("Umask:\t0000"), "{umask}");
        for fd in ["0", "1", "2"] {
            assert_eq!(link(&format!("fd/{fd}")).to_str(), Some("/dev/null"));
        }
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
            assert!(!target.to_string_lossy().starts_with("pipe:"), "{target:?}");
            // It was opened by the command, and is the daemon's own all the same.
            let own = format!("/proc/{pid}/fd");
            assert!(
                !target.starts_with("/proc") || target.to_str() == Some(&own),
                "{target:?}"
            );
        }
        let limits = read("limits");
        let files = limits
            .lines()
            .find(|l| l.starts_with("Max open files"))
            .unwrap();
        let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
        assert_eq!(
            numbers[0], numbers[1],
            "the soft limit of files is the hard one"
        );
        place.unmount("m");
        place.daemons_end();
    });
}

#[test]
fn it_returns_when_it_serves() {
    in_place("it_returns_when_it_serves", |place| {
        for _ in 0..20 {
            place.mount();
            assert_eq!(fs::read_to_string(place.at("m/both")).unwrap(), "upper one");
            assert_eq!(fs::read_to_string(place.at("m/low")).unwrap(), "low");
            place.unmount("m");
        }
    });
}

#[test]
fn sixty_fast_cycles() {
    in_place("sixty_fast_cycles", |place| {
        for round in 0..60 {
            place.mount();
            assert_eq!(place.mounts_at("m"), ["fuse.plyfs"], "round {round}");
            fs::write(place.at("m/round"), round.to_string()).unwrap();
            assert_eq!(
                fs::read_to_string(place.at("m/round")).unwrap(),
                round.to_string()
            );
            place.umount_now("m");
            assert_eq!(place.mounts_at("m"), [""; 0], "round {round}");
            assert!(!place.at("m/round").exists());
        }
        place.daemons_end();
        assert_eq!(fs::read_to_string(place.at("u/round")).unwrap(), "59");
    });
}

#[test]
fn what_is_mounted_after_us_stays() {
    in_place("what_is_mounted_after_us_stays", |place| {
        for round in 0..40 {
            place.mount();
            place.umount_now("m");
            rustix::mount::mount_bind(place.at("l2"), place.at("m")).unwrap();
            place.daemons_end();
            assert!(place.at("m/low").exists(), "round {round}");
            place.umount_now("m");
        }
    });
}

#[test]
fn signals_unmount() {
    in_place("signals_unmount", |place| {
        for kind in [Signal::TERM, Signal::INT] {
            place.mount();
            let pid = place.daemon();
            // Neither ends it.
            signal(pid, Signal::HUP);
            signal(pid, Signal::PIPE);
            signal(pid, Signal::USR1);
            assert!(place.at("m/top").exists());
            signal(pid, kind);
            place.daemons_end();
            assert_eq!(place.mounts_at("m"), [""; 0]);
        }
    });
}

#[test]
fn a_signal_to_a_busy_mount_detaches_it() {
    in_place("a_signal_to_a_busy_mount_detaches_it", |place| {
        place.mount();
        let file = fs::File::open(place.at("m/top")).unwrap();
        signal(place.daemon(), Signal::TERM);
        wait_until("the unmount", || place.mounts_at("m").is_empty());
        assert_eq!(std::io::read_to_string(&file).unwrap(), "top");
        assert_eq!(place.daemons().len(), 1);
        drop(file);
        place.daemons_end();
    });
}

#[test]
fn a_signal_touches_no_other_mount() {
    in_place("a_signal_touches_no_other_mount", |place| {
        place.mount();
        let pid = place.daemon();
        place.tmpfs("m");
        fs::write(place.at("m/other"), "").unwrap();
        signal(pid, Signal::TERM);
        // The answer to this comes after the one to the first, from the same thread.
        signal(pid, Signal::USR1);
        wait_until("the signals to be taken", || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let pending = status.lines().find(|l| l.starts_with("ShdPnd:")).unwrap();
            pending.ends_with("0000000000000000")
        });
        assert!(place.at("m/other").exists());
        assert_eq!(place.mounts_at("m"), ["fuse.plyfs", "tmpfs"]);
        place.umount_now("m");
        assert!(place.at("m/top").exists());
        signal(pid, Signal::TERM);
        place.daemons_end();
        assert_eq!(place.mounts_at("m"), [""; 0]);
    });
}

// T138
#[test]
fn unmounted_layers_are_free() {
    in_place("unmounted_layers_are_free", |place| {
        for _ in 0..10 {
            let layers = place.tmpfs("layers");
            for dir in ["l", "u", "w"] {
                fs::create_dir(layers.join(dir)).unwrap();
            }
            fs::write(layers.join("l/file"), "x").unwrap();
            let options = "lowerdir=layers/l,upperdir=layers/u,workdir=layers/w";
            place.plyfs(&["mount", "-o", options, "m"]).worked();
            fs::write(place.at("m/file"), "y").unwrap();
            fs::write(place.at("m/new"), "z").unwrap();
            place.unmount("m");
            assert_eq!(place.daemons(), [0; 0]);
            place
                .umount(&layers)
                .expect("nobody uses the layers any more");
        }
    });
}

const EROFS: i32 = rustix::io::Errno::ROFS.raw_os_error();

/// The mount ids of the daemon's fds of these directories.
fn mounts_of_layers(place: &Place, names: &[&str]) -> Vec<String> {
    let pid = place.daemon();
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let fd = entry.unwrap();
        let target = fs::read_link(fd.path()).unwrap_or_default();
        if names.iter().any(|name| target.ends_with(name)) {
            // Through the fd itself: what can be done there the daemon can do.
            let written = fs::write(fd.path().join("written"), "x").unwrap_err();
            assert_eq!(written.raw_os_error(), Some(EROFS), "{target:?}");
            let info = format!("/proc/{pid}/fdinfo/{}", fd.file_name().display());
            let info = fs::read_to_string(info).unwrap();
            let id = info.lines().find(|line| line.starts_with("mnt_id:"));
            found.push(id.unwrap().to_string());
        }
    }
    found
}

#[test]
fn layers_of_one_mount_share_a_private_one() {
    in_place("layers_of_one_mount_share_a_private_one", |place| {
        let other = place.tmpfs("other");
        fs::create_dir_all(other.join("a/l3/sub")).unwrap();
        fs::create_dir_all(other.join("b/l4")).unwrap();
        fs::write(other.join("a/l3/sub/third"), "3").unwrap();
        fs::write(other.join("b/l4/fourth"), "4").unwrap();
        // Neither what is mounted inside a layer already...
        let inside = place.at("l2/inside");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("below"), "x").unwrap();
        place.tmpfs("l2/inside");
        // Engines name layers by short links.
        let root = place.root.display();
        std::os::unix::fs::symlink(other.join("b/l4"), place.at("short-l4")).unwrap();
        let more = format!("lowerdir+={root}/other/a/l3,lowerdir+={root}/short-l4");
        let options =
            format!("lowerdir+={root}/l1,lowerdir+={root}/l2,{more},upperdir=u,workdir=w");
        place.plyfs(&["mount", "-o", &options, "m"]).worked();
        let first = mounts_of_layers(place, &["l1", "l2"]);
        let second = mounts_of_layers(place, &["a/l3", "b/l4"]);
        assert_eq!((first.len(), second.len()), (2, 2));
        assert_eq!((&first[0], &second[0]), (&first[1], &second[1]));
        assert_ne!(first[0], second[0]);
        // ... nor what is mounted over one, inside it, or above them later is seen.
        place.tmpfs("l1");
        place.tmpfs("other/a/l3/sub");
        place.tmpfs("other/b");
        let read = |name: &str| fs::read_to_string(place.at("m").join(name)).unwrap();
        assert_eq!(
            (read("top"), read("inside/below")),
            ("top".into(), "x".into())
        );
        assert_eq!(
            (read("sub/third"), read("fourth")),
            ("3".into(), "4".into())
        );
        place.unmount("m");
        assert_eq!(place.daemons(), [0; 0]);
        for mounted in ["other/b", "other/a/l3/sub", "other", "l1", "l2/inside"] {
            place.umount(&place.at(mounted)).expect("nobody uses it");
        }
    });
}

// T126
#[test]
fn a_mount_in_use_is_unmounted_lazily_or_not() {
    in_place("a_mount_in_use_is_unmounted_lazily_or_not", |place| {
        place.mount();
        let file = fs::File::open(place.at("m/top")).unwrap();
        let writer = fs::OpenOptions::new()
            .write(true)
            .open(place.at("m/low"))
            .unwrap();
        let busy = rustix::mount::unmount(place.at("m"), rustix::mount::UnmountFlags::empty());
        assert_eq!(busy, Err(rustix::io::Errno::BUSY));
        place
            .plyfs(&["umount", "m"])
            .failed(1, &["m", "busy", "--lazy"]);
        assert_eq!(place.mounts_at("m"), ["fuse.plyfs"]);
        place.plyfs(&["umount", "--lazy", "m"]).worked();
        assert_eq!(place.mounts_at("m"), [""; 0]);
        assert_eq!(std::io::read_to_string(&file).unwrap(), "top");
        drop(file);
        // The last one that is open keeps the daemon, and works in full.
        assert_eq!(place.daemons().len(), 1);
        std::os::unix::fs::FileExt::write_all_at(&writer, b"LOW", 0).unwrap();
        writer.sync_all().unwrap();
        assert_eq!(writer.metadata().unwrap().len(), 3);
        assert_eq!(fs::read_to_string(place.at("u/low")).unwrap(), "LOW");
        drop(writer);
        place.daemons_end();
    });
}

#[test]
fn umount_takes_only_ours() {
    in_place("umount_takes_only_ours", |place| {
        place.tmpfs("m");
        place
            .plyfs(&["umount", "m"])
            .failed(1, &["m", "not mounted"]);
        assert_eq!(place.mounts_at("m"), ["tmpfs"]);
        place.umount_now("m");
    });
}

#[test]
fn a_dead_mount_is_named_and_taken_away() {
    in_place("a_dead_mount_is_named_and_taken_away", |place| {
        place.mount();
        signal(place.daemon(), Signal::KILL);
        place.daemons_end();
        let said = place.plyfs(&["mount", "-o", &place.options(), "m"]);
        said.failed(1, &["mount point", "m", "dead", "plyfs umount m"]);
        place.unmount("m");
        assert_eq!(place.mounts_at("m"), [""; 0]);
        place.mount();
        place.unmount("m");
    });
}

#[test]
fn in_the_foreground() {
    in_place("in_the_foreground", |place| {
        for end in [None, Some(Signal::INT)] {
            let mut child = foreground(place, "-f");
            wait_until("the mount", || place.at("m/top").exists());
            match end {
                None => place.umount_now("m"),
                Some(kind) => signal(child.id(), kind),
            }
            assert!(child.wait().unwrap().success());
            assert_eq!(place.mounts_at("m"), [""; 0]);
        }
        // -d implies -f, and talks.
        let mut child = foreground(place, "-d");
        wait_until("the mount", || place.at("m/top").exists());
        place.umount_now("m");
        assert!(child.wait().unwrap().success());
        assert!(!fs::read(place.at("log")).unwrap().is_empty());
    });
}

#[test]
fn it_says_what_is_in_use_when_asked() {
    in_place("it_says_what_is_in_use_when_asked", |place| {
        let mut child = foreground(place, "-f");
        wait_until("the mount", || place.at("m/top").exists());
        let ask = |lines: usize| {
            signal(child.id(), Signal::USR1);
            let said = || fs::read_to_string(place.at("log")).unwrap();
            wait_until("the answer", || said().lines().count() == lines);
            said().lines().last().unwrap().to_string()
        };
        let mount_point = format!("plyfs: {}: ", place.at("m").display());
        let said = ask(1);
        assert!(said.starts_with(&mount_point), "{said}");
        for figure in [
            "nodes known: 1,",
            "files open: 0 (opened so far: 0)",
            "copied up: 0,",
        ] {
            assert!(said.contains(figure), "no {figure:?} in {said:?}");
        }
        let open = fs::File::open(place.at("m/top")).unwrap();
        fs::write(place.at("m/low"), "changed").unwrap();
        // The second close is not waited for.
        let wanted = [
            "nodes known: 2,",
            "files open: 1 (opened so far: 2)",
            "copied up: 1,",
        ];
        let mut lines = 1;
        wait_until("the close", || {
            lines += 1;
            let said = ask(lines);
            wanted.iter().all(|figure| said.contains(figure))
        });
        drop(open);
        place.umount_now("m");
        assert!(child.wait().unwrap().success());
    });
}

/// A child that talks into the file `log`; a pipe that nobody reads would stop it.
fn foreground(place: &Place, flag: &str) -> std::process::Child {
    let log = fs::File::create(place.at("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_plyfs"))
        .args(["mount", flag, "-o", &place.options(), "m"])
        .current_dir(&place.root)
        .stderr(log)
        .spawn()
        .unwrap()
}

#[test]
fn an_aborted_connection_is_an_end_like_others() {
    in_place("an_aborted_connection_is_an_end_like_others", |place| {
        let mut child = foreground(place, "-f");
        wait_until("the mount", || place.at("m/top").exists());
        let device = rustix::fs::stat(place.at("m")).unwrap().st_dev;
        let control = place.at("control");
        fs::create_dir(&control).unwrap();
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("fusectl", &control, "fusectl", none, None).unwrap();
        let minor = rustix::fs::minor(device).to_string();
        fs::write(control.join(minor).join("abort"), "1").unwrap();
        assert!(child.wait().unwrap().success());
        place.umount_now("m");
        place.umount(&control).unwrap();
    });
}

//! `rings=on` and `rings=auto` where the kernel offers rings, and where it does not.

use std::fs;
use std::process::Command;

use crate::support::env::{self, Scratch};
use crate::support::layers::Layers;
use crate::support::mount::{Mounted, Server};
use crate::support::rings::PARAMETER;
use crate::support::userns;

/// The names of the daemon's threads.
fn threads(mounted: &Mounted) -> Vec<String> {
    let pid = mounted.pid().expect("a daemon").as_raw_nonzero();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
    let name = |task: std::io::Result<fs::DirEntry>| {
        fs::read_to_string(task.expect("a task").path().join("comm")).expect("its name")
    };
    tasks.map(name).collect()
}

#[test]
fn rings_where_the_kernel_offers_none() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("rings where there are none", &why);
    }
    if !fs::exists(PARAMETER).unwrap_or(false) {
        return env::cannot_run("rings where there are none", "the kernel is too old");
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let no = scratch.path().join("parameter");
        fs::write(&no, "N\n").expect("write");
        rustix::mount::mount_bind(&no, PARAMETER).expect("bind");
        let layers = Layers::new(&scratch.path().join("layers"), 1, true);
        let mount = |word: &str| {
            let options = format!("{},rings={word}", layers.options());
            let mut command = Command::new(userns::program());
            command
                .args(["mount", "-f", "-o", &options])
                .arg(&layers.merged);
            command
        };
        let refused = mount("on").output().expect("plyfs");
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            said.contains("rings=on: ") && said.contains(PARAMETER),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        let mounted = Mounted::plyfs_by(mount("auto"), &layers.merged).expect("without rings");
        let threads = threads(&mounted);
        assert!(
            !threads.iter().any(|name| name.contains("ring")),
            "{threads:?}"
        );
    });
}

#[test]
fn a_thread_for_each_processor() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("rings", &why);
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let layers = Layers::new(&scratch.path().join("layers"), 1, true);
        let mounted = Mounted::new(Server::Plyfs, &layers, "").expect("by rings");
        let rings = threads(&mounted);
        let rings = rings.iter().filter(|name| name.trim() == "plyfs-ring");
        let online = plyfs::sys::cpus::online().expect("processors");
        assert_eq!(rings.count(), online.len());
    });
}

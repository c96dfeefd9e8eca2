//! `rings=on` and `rings=auto` where the kernel offers rings, and where it does not.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;

use crate::support::env::{self, Scratch};
use crate::support::layers::Layers;
use crate::support::mount::{Mounted, Server};
use crate::support::rings::PARAMETER;
use crate::support::userns::{self, User};

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
            !threads.iter().any(|(name, _)| name.contains("ring")),
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
        let rings = rings.iter().filter(|(name, _)| name == "plyfs-ring");
        let online = plyfs::sys::cpus::online().expect("processors");
        assert_eq!(rings.count(), online.len());
    });
}

/// SCHED_IDLE
const IDLE: &str = "5";

/// The daemon's threads: name and policy.
fn threads(mounted: &Mounted) -> Vec<(String, String)> {
    let pid = mounted.pid().expect("a daemon").as_raw_nonzero();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
    let thread = |task: std::io::Result<fs::DirEntry>| {
        // proc_pid_stat(5): the name is the second, the policy the 41st.
        let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        Some((name.to_string(), rest.split(' ').nth(38)?.to_string()))
    };
    tasks.filter_map(thread).collect()
}

/// Is a ring of the mount at idle priority, when names are looked for in vain?
fn get_idle(mounted: &Mounted, merged: &Path) -> bool {
    (0..20_000).any(|n| {
        assert!(!fs::exists(merged.join(format!("none{n}"))).expect("an answer"));
        let rings = threads(mounted);
        let mut rings = rings.iter().filter(|(name, _)| name == "plyfs-ring");
        rings.any(|(_, policy)| policy == IDLE)
    })
}

#[test]
fn rings_are_idle_where_they_can_be_given_their_priority_back() {
    const NAME: &str = "option::rings_are_idle_where_they_can_be_given_their_priority_back";
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("priorities of rings", &why);
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let layers = Layers::new(&scratch.path().join("layers"), 1, true);
        layers.lower(1).file("large", vec![b'x'; 3 << 20]);
        let mounted = Mounted::new(Server::Plyfs, &layers, "").expect("by rings");
        if userns::is_inside() {
            // Who is root here only would starve beside others, for ever.
            return assert!(!get_idle(&mounted, &layers.merged));
        }
        assert!(get_idle(&mounted, &layers.merged));
        // A worker copies it up, and does not wait until nobody else works.
        let large = layers.merged.join("large");
        drop(OpenOptions::new().append(true).open(&large).expect("open"));
        fs::remove_file(large).expect("remove");
        let mut others = threads(&mounted);
        assert!(others.iter().any(|(name, _)| name == "plyfs-worker"));
        others.retain(|(name, policy)| name != "plyfs-ring" && policy == IDLE);
        assert!(others.is_empty(), "{others:?}");
        userns::run_inside(NAME, User::Root("0 0 65536"), &[]);
    });
}

//! `rings=on` and `rings=auto` where the kernel offers rings, and where it does not.

use std::fs;
use std::process::Command;

use crate::support::env::{self, Scratch};
use crate::support::layers::Layers;
use crate::support::mount::{Mounted, Server};
use crate::support::rings::PARAMETER;
use crate::support::userns::{self, User};

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

/// SCHED_IDLE
const IDLE: &str = "5";

/// The policies of the daemon's rings.
fn policies(mounted: &Mounted) -> Vec<String> {
    let pid = mounted.pid().expect("a daemon").as_raw_nonzero();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
    let stats = tasks.map(|task| {
        fs::read_to_string(task.expect("a task").path().join("stat")).expect("its state")
    });
    let rings = stats.filter(|stat| stat.contains("(plyfs-ring)"));
    // proc_pid_stat(5): the 41st, and the name is the second.
    let policy = |stat: String| stat.split(' ').nth(40).expect("a policy").to_string();
    rings.map(policy).collect()
}

/// A mount of which something is asked until `reached` is true of the policies of its rings.
fn ask_until(reached: impl Fn(&[String]) -> bool) -> Vec<String> {
    let scratch = Scratch::new();
    let layers = Layers::new(&scratch.path().join("layers"), 1, true);
    let mounted = Mounted::new(Server::Plyfs, &layers, "").expect("by rings");
    for n in 0..20_000 {
        let name = layers.merged.join(format!("none{n}"));
        assert!(!fs::exists(name).expect("an answer"));
        let now = policies(&mounted);
        if reached(&now) {
            return now;
        }
    }
    policies(&mounted)
}

#[test]
fn rings_are_idle_where_they_can_be_given_their_priority_back() {
    const NAME: &str = "option::rings_are_idle_where_they_can_be_given_their_priority_back";
    let is_idle = |policies: &[String]| policies.iter().any(|policy| policy == IDLE);
    if userns::is_inside() {
        // Who is root here only would starve beside others, for ever.
        let policies = ask_until(is_idle);
        assert!(!policies.is_empty() && !is_idle(&policies), "{policies:?}");
        return;
    }
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("priorities of rings", &why);
    }
    env::isolated(|| {
        let policies = ask_until(is_idle);
        assert!(is_idle(&policies), "{policies:?}");
        userns::run_inside(NAME, User::Root("0 0 65536"), &[]);
    });
}

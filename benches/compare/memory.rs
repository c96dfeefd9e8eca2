//! What a daemon needs in memory: idle, when the kernel knows many files, and when it has forgotten them.

use std::fs;
use std::time::Duration;

use rustix::mount::MountFlags;

use crate::scenario::{Run, Scenario, Site};

const FILES: usize = 500_000;

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "memory",
        rows: &[
            "memory, idle",
            "memory, 500,000 files known",
            "memory, after they are forgotten",
        ],
        programs: &[],
        build,
        run,
    }]
}

fn build(site: &Site) {
    for i in 0..site.scaled(FILES) {
        let dir = site.lower(1).join(format!("d{}", i / 1000));
        if i % 1000 == 0 {
            fs::create_dir(&dir).unwrap();
        }
        fs::write(dir.join(format!("file-{i}")), "").unwrap();
    }
}

fn run(run: &mut Run) {
    let merged = run.mount(1);
    let Some(daemon) = run.daemon() else {
        // The kernel's is not told apart from the caches of the layers.
        return;
    };
    fs::metadata(&merged).unwrap();
    run.record("memory, idle", resident(daemon));
    for i in 0..run.site.scaled(FILES) {
        fs::symlink_metadata(merged.join(format!("d{}/file-{i}", i / 1000))).unwrap();
    }
    run.record("memory, 500,000 files known", resident(daemon));
    // The kernel drops what it knows of this mount, and of no other.
    rustix::mount::mount_remount(&merged, MountFlags::empty(), c"").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    run.record("memory, after they are forgotten", resident(daemon));
}

/// Resident memory of a process in bytes.
fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024.0
}

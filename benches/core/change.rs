//! Changing: names of the upper layer, and copies of lower files.

use std::ffi::OsStr;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use divan::Bencher;
use plyfs::overlay::node::ROOT;

use crate::rig::{Rig, me};

fn fresh_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("n{}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

#[divan::bench]
fn create_and_unlink(bencher: Bencher) {
    let rig = Rig::new(1, |_, _| {});
    bencher.with_inputs(fresh_name).bench_refs(|name| {
        let name = OsStr::new(name);
        let (entry, opened) = rig
            .overlay
            .create(ROOT, name, 0o644, libc::O_RDWR, me())
            .unwrap();
        rig.overlay.release(opened.handle);
        rig.overlay.unlink(ROOT, name).unwrap();
        rig.overlay.forget(entry.id, 1);
    });
}

#[divan::bench]
fn mkdir_and_rmdir(bencher: Bencher) {
    let rig = Rig::new(1, |_, _| {});
    bencher.with_inputs(fresh_name).bench_refs(|name| {
        let name = OsStr::new(name);
        let entry = rig.overlay.mkdir(ROOT, name, 0o755, me()).unwrap();
        rig.overlay.rmdir(ROOT, name).unwrap();
        rig.overlay.forget(entry.id, 1);
    });
}

const FILES: u32 = 20_000;

/// Opens a lower file of so many bytes for writing, which copies it up.
#[divan::bench(args = [0, 4096, 1 << 20], sample_count = 20, sample_size = 10)]
fn copy_up(bencher: Bencher, bytes: usize) {
    let data = vec![7; bytes];
    let files = FILES.min((1 << 28) / (bytes as u32).max(1));
    let rig = Rig::new(1, |_, dir| {
        for i in 0..files {
            fs::write(dir.join(format!("f{i}")), &data).unwrap();
        }
    });
    let next = AtomicU32::new(0);
    let node = || {
        let i = next.fetch_add(1, Ordering::Relaxed);
        assert!(i < files, "each file can be copied up once only");
        rig.id(&format!("f{i}"))
    };
    bencher.with_inputs(node).bench_values(|node| {
        let opened = rig.overlay.open(node, libc::O_WRONLY, false).unwrap();
        rig.overlay.release(opened.handle);
    });
}

//! Volatile mounts whose upper filesystem loses what was written: T110, T111.
//!
//! The upper is ext4 on a loop device whose image is a sparse file on a small tmpfs: the filesystem believes in space
//! that is not there, as a thin volume does, and writing back fails.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{KERNEL_DEFAULTS, Mounted, Server};
use super::support::words::errno_name;

/// More than the tmpfs holds.
const TOO_MUCH: usize = 40 << 20;

fn sync(file: &fs::File) -> String {
    file.sync_all()
        .map_or_else(|e| errno_name(&e), |()| "ok".into())
}

/// What syncs answered, in order.
fn story(server: Server, options: &str) -> Result<Vec<String>, String> {
    let mut scratch = Scratch::new();
    let mut layers = Layers::new(&scratch.path().join("layers"), 1, true);
    layers.lower(1).file("low", "low");
    layers.settle();
    let tmpfs = scratch.tmpfs("small", "24m");
    let image = tmpfs.join("image");
    fs::File::create(&image)
        .unwrap()
        .set_len(256 << 20)
        .unwrap();
    let image = image.to_string_lossy();
    env::run(
        "mkfs.ext4",
        &["-q", "-F", "-O", "^has_journal", "-E", "nodiscard", &image],
    )?;
    let place = scratch.mounted("ext4", &["mount", "-o", "loop", &image])?;
    (layers.upper, layers.work) = (place.join("u"), place.join("w"));
    fs::create_dir(&layers.upper).unwrap();
    fs::create_dir(&layers.work).unwrap();
    // What the mount needs must be on disk before space runs out.
    fs::File::open(&place).unwrap().sync_all().unwrap();
    let mounted = Mounted::new(server, &layers, options)?;
    let at = |name: &str| layers.merged.join(name);
    let create = |name: &str| fs::File::create_new(at(name)).unwrap();
    let (mut large, other) = (create("large"), create("other"));
    let low = fs::File::open(at("low")).unwrap();
    let dir = fs::File::open(&layers.merged).unwrap();
    let mut said = vec![sync(&large), sync(&other), sync(&low), sync(&dir)];
    large.write_all(&noise(TOO_MUCH)).unwrap();
    said.push(lost(&layers.upper.join("large")));
    said.extend([&large, &large, &other, &low, &dir].map(sync));
    drop(large);
    fs::remove_file(at("large")).unwrap();
    said.push(sync(&create("later")));
    drop((other, low, dir));
    mounted.unmount()?;
    Ok(said)
}

/// Bytes that take the space they need.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len / 8).flat_map(|_| next()).collect()
}

/// Has the filesystem write the file back, which it cannot, as it would in time.
fn lost(path: &Path) -> String {
    match fs::File::open(path).unwrap().sync_all() {
        Ok(()) => "written back".into(),
        Err(_) => "lost".into(),
    }
}

fn stories(options: &str) -> Option<[Vec<String>; 2]> {
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        env::cannot_run("T110 writes that are lost", &why);
        return None;
    }
    let kernel = [KERNEL_DEFAULTS, options].join(",");
    let run = |server, options: &str| env::isolated(|| story(server, options));
    let both = [run(Server::Kernel, &kernel), run(Server::Plyfs, options)];
    Some(both.map(|story| story.unwrap()))
}

#[test]
fn t110_t111_volatile_says_what_was_lost_for_ever() {
    let Some([kernel, plyfs]) = stories("volatile") else {
        return;
    };
    let lost = kernel[5].clone();
    assert!(["EIO", "ENOSPC"].contains(&lost.as_str()), "{kernel:?}");
    let before = ["ok"; 4].into_iter().chain(["lost"]);
    let after = [lost.as_str(); 6];
    let expected: Vec<_> = before.chain(after).collect();
    assert_eq!(kernel, expected, "the kernel");
    assert_eq!(plyfs, expected, "plyfs");
}

//! A filesystem in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::run;

/// Room in it, of which the machine gives only what is used.
const BYTES: u64 = 8 << 30;

/// A new filesystem, mounted until it is dropped.
pub struct Disk {
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// Makes one below a directory.
    pub fn new(below: &Path, kind: &str) -> Disk {
        let disk = Disk {
            image: below.join(format!("{kind}.image")),
            place: below.join(kind),
        };
        fs::File::create(&disk.image)
            .and_then(|file| file.set_len(BYTES))
            .unwrap();
        fs::create_dir_all(&disk.place).unwrap();
        // Nothing is left for the kernel to do in the background afterwards.
        let complete = "lazy_itable_init=0,lazy_journal_init=0";
        let mut mkfs = Command::new(format!("mkfs.{kind}"));
        if kind == "ext4" {
            mkfs.args(["-E", complete]);
        }
        run(mkfs.arg("-q").arg(&disk.image));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&disk.image)
            .arg(&disk.place));
        disk
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        &self.place
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever is left in it goes with it.
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
        // It may have gone with the directory.
        let _ = fs::remove_file(&self.image);
    }
}

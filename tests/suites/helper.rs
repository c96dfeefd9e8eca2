//! mount(8): by type, from fstab, again and again as xfstests does, and `remount`. Each way ends in the program under
//! one of its names: `mount.plyfs`, `mount.fuse.plyfs`, or `plyfs` called by `mount.fuse3`.
//!
//! The names are put into /sbin where only the test sees it: an overlay over /sbin in its own mount namespace.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::MountFlags;

use super::tools::{Said, run};
use crate::support::env::{
    Scratch, cannot_run, isolated, kernel_overlay_impossible, mounted_tests_impossible,
};
use crate::support::layers::Layers;

/// Longer waits mean that it will never happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Layers to mount, and a machine that has the helpers installed.
struct Machine {
    layers: Layers,
    root: PathBuf,
    _scratch: Scratch,
}

/// Runs `test` where `names` are installed in /sbin.
fn with_helpers(name: &str, names: &[&str], test: impl FnOnce(&Machine) + Send) {
    if let Some(why) = mounted_tests_impossible().or_else(kernel_overlay_impossible) {
        return cannot_run(name, &why);
    }
    isolated(|| {
        let scratch = Scratch::new();
        let root = scratch.path().to_path_buf();
        let layers = Layers::new(&root.join("view"), 2, true);
        layers.lower(1).file("top", "top");
        layers.lower(2).file("low", "low");
        layers.settle();
        install(&root, names);
        test(&Machine {
            layers,
            root,
            _scratch: scratch,
        });
    });
}

/// Installs the program under these names in /sbin, as seen in this mount namespace.
pub fn install(root: &Path, names: &[&str]) {
    let sbin = Layers::new(&root.join("sbin"), 0, true);
    for name in names {
        symlink(env!("CARGO_BIN_EXE_plyfs"), sbin.upper.join(name)).unwrap();
    }
    let place = fs::canonicalize("/sbin").unwrap();
    let (upper, work) = (sbin.upper.display(), sbin.work.display());
    let options = format!(
        "lowerdir={},upperdir={upper},workdir={work}",
        place.display()
    );
    let data = CString::new(options).unwrap();
    let none = MountFlags::empty();
    rustix::mount::mount("sbin", &place, "overlay", none, Some(data.as_c_str())).unwrap();
}

impl Machine {
    fn point(&self) -> &Path {
        &self.layers.merged
    }

    /// Calls mount(8); `$O` are the options of the layers, `$M` is the mount point, `$R` a directory.
    fn sh(&self, script: &str) -> Said {
        let mut command = Command::new("sh");
        command
            .args(["-euc", script])
            .env("O", self.layers.options());
        command.env("M", self.point()).env("R", &self.root);
        run(&mut command)
    }

    fn works(&self, script: &str) {
        let said = self.sh(script);
        assert!(said.success, "{script}: {}: {}", said.status, said.text);
    }

    /// Type, source and options of the mount, if there is one.
    fn mount(&self) -> Option<(String, String, String)> {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = table
            .lines()
            .rfind(|l| l.split(' ').nth(4) == self.point().to_str())?;
        let (head, tail) = line.split_once(" - ")?;
        let options = head.split(' ').nth(5)?.to_string();
        let mut tail = tail.split(' ').map(str::to_string);
        Some((tail.next()?, tail.next()?, options))
    }

    /// The view is there and is written to the upper; then it goes, as umount(8) says.
    fn serves_and_goes(&self, source: &str) {
        let (kind, from, _) = self.mount().expect("a mount");
        assert_eq!((kind.as_str(), from.as_str()), ("fuse.plyfs", source));
        for file in ["top", "low"] {
            assert_eq!(fs::read_to_string(self.point().join(file)).unwrap(), file);
        }
        fs::write(self.point().join("new"), "new").unwrap();
        assert_eq!(
            fs::read_to_string(self.layers.upper.join("new")).unwrap(),
            "new"
        );
        self.unmount();
    }

    /// As often as it takes: between fork and exec, another test's child holds copies of our descriptors.
    fn unmount(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.sh("umount $M");
            if said.success {
                break;
            }
            assert!(
                said.text.contains("busy") && Instant::now() < deadline,
                "{}",
                said.text
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.mount(), None);
    }
}

#[test]
fn mount_by_type() {
    with_helpers(
        "mount -t plyfs",
        &["mount.plyfs", "mount.fuse.plyfs"],
        |m| {
            for kind in ["plyfs", "fuse.plyfs"] {
                m.works(&format!("mount -t {kind} test-layers $M -o $O"));
                m.serves_and_goes("test-layers");
                m.works(&format!(
                    "mount -n -v -t {kind} -o rw,dev,suid -o $O none $M"
                ));
                m.serves_and_goes("none");
            }
        },
    );
}

#[test]
fn mount_by_the_helper_of_fuse() {
    let name = "mount -t fuse.plyfs by mount.fuse3";
    if !Path::new("/sbin/mount.fuse").exists() {
        return cannot_run(name, "mount.fuse3 is not installed (apt-get install fuse3)");
    }
    // It looks for the program in PATH.
    with_helpers(name, &["plyfs"], |m| {
        m.works("PATH=/sbin:$PATH mount -t fuse.plyfs test-layers $M -o $O,noatime");
        m.serves_and_goes("test-layers");
    });
}

#[test]
fn mount_from_fstab() {
    with_helpers("fstab", &["mount.plyfs", "mount.fuse.plyfs"], |m| {
        for kind in ["plyfs", "fuse.plyfs"] {
            let words =
                "defaults,nodev,noatime,nofail,_netdev,x-systemd.requires-mounts-for=/,comment=x";
            m.works(&format!(
                "echo \"layers $M {kind} {words},$O 0 0\" > $R/fstab"
            ));
            m.works("mount -T $R/fstab $M");
            let (_, _, options) = m.mount().unwrap();
            assert_eq!(options, "rw,nodev,noatime");
            m.serves_and_goes("layers");
            m.works("mount -a -T $R/fstab; mount -a -T $R/fstab");
            m.serves_and_goes("layers");
            m.works("mount -f -a -T $R/fstab");
            assert_eq!(m.mount(), None);
        }
    });
}

#[test]
fn mount_refuses_what_plyfs_refuses() {
    with_helpers("mount -t plyfs, refused", &["mount.plyfs"], |m| {
        for (options, why) in [
            ("upperdir=/nowhere", "lowerdir"),
            ("$O,no_such_option", "no_such_option"),
            ("lowerdir=/nowhere", "/nowhere"),
        ] {
            let said = m.sh(&format!("mount -t plyfs test-layers $M -o {options}"));
            assert!(
                !said.success && said.text.contains(why),
                "{options}: {}",
                said.text
            );
            assert_eq!(m.mount(), None);
        }
        // Sloppy: mount(8) passes -s.
        m.works("mount -s -t plyfs test-layers $M -o $O,no_such_option");
        m.serves_and_goes("test-layers");
    });
}

/// What xfstests does between two cases, and in the cases that want a read-only filesystem.
#[test]
fn mount_as_xfstests_does() {
    with_helpers("mount as xfstests does", &["mount.fuse.plyfs"], |m| {
        for _ in 0..10 {
            m.works("mount -t fuse.plyfs -o$O,allow_other,default_permissions test $M");
            m.works("test \"$(findmnt -rncv -S test -o TARGET,FSTYPE)\" = \"$M fuse.plyfs\"");
            m.works("echo x > $M/file");
            m.works("mount -o remount,ro $M; test \"$(cat $M/file)\" = x");
            let (_, _, options) = m.mount().unwrap();
            assert!(options.starts_with("ro,"), "{options}");
            let said = m.sh("echo y > $M/file");
            assert!(said.text.contains("Read-only file system"), "{}", said.text);
            m.works("mount -o remount,rw $M; echo z > $M/file");
            m.unmount();
            // At once, as the daemon has let go of the layers.
            m.works("mount -t fuse.plyfs -oro,$O test $M; test \"$(cat $M/file)\" = z");
            assert!(m.mount().unwrap().2.starts_with("ro,"));
            m.unmount();
        }
    });
}

#[test]
fn remount_is_for_mounts_of_plyfs() {
    with_helpers("remount of something else", &["mount.plyfs"], |m| {
        let said = m.sh("mount.plyfs test-layers $M -o remount,ro");
        assert!(
            said.text.contains("no plyfs is mounted there"),
            "{}",
            said.text
        );
        // A file open for writing is in the way, as on every filesystem.
        m.works("mount -t plyfs test-layers $M -o $O");
        let open = fs::File::create(m.point().join("open")).unwrap();
        let said = m.sh("mount.plyfs test-layers $M -o remount,ro");
        assert!(
            !said.success && said.text.to_lowercase().contains("busy"),
            "{}",
            said.text
        );
        drop(open);
        m.serves_and_goes("test-layers");
    });
}

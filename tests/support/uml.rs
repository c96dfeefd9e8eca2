//! A test under a kernel of its own: user-mode Linux, an ordinary program, sees the files of this machine and cannot
//! write them. For what the kernel of the machine may have been built without.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::env::cannot_run;

/// Set where the test runs under that kernel.
const INSIDE: &str = "PLYFS_INSIDE_UML";

const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/mnt INSIDE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o size=2g tmpfs /mnt
mount -t tmpfs tmpfs /run
for module in fuse overlay quota_tree quota_v2 loop; do
    busybox insmod "$(find "/usr/lib/uml/modules/$(uname -r)" -name "$module.ko")"
done
cd WHERE
PROGRAM --exact TEST --test-threads 1 --color never < /dev/null 2>&1
busybox poweroff -f
"#;

/// Runs `body` if this is the other kernel, else the test of that name (its path in the program) under it.
pub fn under_uml(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if !rustix::process::geteuid().is_root() {
        return cannot_run(test, "needs root (mounts)");
    }
    let program = std::env::current_exe().unwrap();
    let here = std::env::current_dir().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let init = temp.path().join("init");
    let script = INIT
        .replace("INSIDE", INSIDE)
        .replace("WHERE", here.to_str().unwrap())
        .replace("PROGRAM", program.to_str().unwrap())
        .replace("TEST", test);
    fs::write(&init, script).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    let mut uml = Command::new("linux.uml");
    uml.args(["mem=1G", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"])
        .args(["con=null", "con0=null,fd:1"])
        .arg(format!("uml_dir={}", temp.path().display()))
        .arg(format!("init={}", init.display()))
        .env("TMPDIR", temp.path())
        .stdin(Stdio::null());
    match uml.output() {
        Err(error) => cannot_run(test, &format!("linux.uml: {error}")),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            println!("{text}");
            assert!(
                text.contains("test result: ok. 1 passed"),
                "failed under user-mode Linux"
            );
        }
    }
}

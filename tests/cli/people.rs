//! Who calls: a plain user through fusermount3, and root of a user namespace.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::support::env::cannot_run;
use crate::tool::{NOBODY, Place, in_place};

const MOUNT: &str = "$P mount -o lowerdir=l1:l2,upperdir=u,workdir=w m";

fn has_fusermount(test: &str) -> bool {
    let found = Command::new("fusermount3").arg("-V").output().is_ok();
    if !found {
        cannot_run(test, "fusermount3 is not installed");
    }
    found
}

fn users_place(place: &Place) {
    place.open_device();
    place.public_binary();
    place.give_to_nobody();
}

#[test]
fn a_plain_user_mounts() {
    if !has_fusermount("a_plain_user_mounts") {
        return;
    }
    in_place("a_plain_user_mounts", |place| {
        users_place(place);
        place.as_nobody(MOUNT).worked();
        assert_eq!(place.mounts_at("m"), ["fuse.plyfs"]);
        let said = place.as_nobody(
            "cat m/low m/both && echo new > m/new && echo more >> m/low && rm m/top && ls m",
        );
        said.worked();
        assert_eq!(said.out, "lowupper oneboth\nlow\nnew\n", "{said:?}");
        // Nobody else may look, not even root: that is the kernel's rule without allow_other.
        assert!(fs::metadata(place.at("m/low")).is_err());
        assert_eq!(fs::metadata(place.at("u/new")).unwrap().uid(), NOBODY);
        place.as_nobody("$P umount m").worked();
        assert_eq!(place.mounts_at("m"), [""; 0]);
        place.daemons_end();
        // The engines' way to unmount.
        place.as_nobody(MOUNT).worked();
        place.as_nobody("cat m/new && fusermount3 -u m").worked();
        place.daemons_end();
    });
}

#[test]
fn a_signal_unmounts_a_plain_users_mount() {
    if !has_fusermount("a_signal_unmounts_a_plain_users_mount") {
        return;
    }
    in_place("a_signal_unmounts_a_plain_users_mount", |place| {
        users_place(place);
        place.as_nobody(MOUNT).worked();
        crate::tool::signal(place.daemon(), rustix::process::Signal::TERM);
        place.daemons_end();
        assert_eq!(place.mounts_at("m"), [""; 0]);
    });
}

#[test]
fn what_the_helper_refuses_is_said_with_a_hint() {
    if !has_fusermount("what_the_helper_refuses_is_said_with_a_hint") {
        return;
    }
    in_place("what_the_helper_refuses_is_said_with_a_hint", |place| {
        users_place(place);
        let said = place.as_nobody("$P mount -o lowerdir=l1,allow_other m");
        if fs::read_to_string("/etc/fuse.conf")
            .is_ok_and(|c| c.lines().any(|l| l.trim() == "user_allow_other"))
        {
            said.worked();
            place.as_nobody("$P umount m").worked();
        } else {
            said.failed(1, &["m", "user_allow_other", "/etc/fuse.conf"]);
        }
        // A mount point of somebody else.
        fs::create_dir(place.at("roots")).unwrap();
        let said = place.as_nobody("$P mount -o lowerdir=l1 roots");
        said.failed(1, &["roots"]);
        let said = place.as_nobody("PATH=/nowhere; export PATH; $P mount -o lowerdir=l1 m");
        said.worked();
        place.as_nobody("$P umount m").worked();
    });
}

#[test]
fn root_of_a_user_namespace_mounts_itself() {
    in_place("root_of_a_user_namespace_mounts_itself", |place| {
        users_place(place);
        let inside = format!(
            "{} && grep ' m\\| .*fuse.plyfs' /proc/self/mountinfo | grep -c allow_other && \
             echo new > m/new && rm m/low && cat m/both && ls -ln m/new | cut -d' ' -f3 && \
             $P umount m && ! grep fuse.plyfs /proc/self/mountinfo",
            MOUNT
        );
        let script = format!(
            "export P; unshare -Urm sh -ec '{}'",
            inside.replace('\'', "'\\''")
        );
        let said = place.as_nobody(&script);
        said.worked();
        assert_eq!(said.out, "1\nupper one0\n", "{said:?}");
        assert_eq!(fs::metadata(place.at("u/new")).unwrap().uid(), NOBODY);
        assert_eq!(place.mounts_at("m"), [""; 0]);
        place.daemons_end();
    });
}

#[test]
fn a_user_namespace_without_mount_namespace_is_explained() {
    in_place(
        "a_user_namespace_without_mount_namespace_is_explained",
        |place| {
            users_place(place);
            let said = place.as_nobody("export P; unshare -Ur sh -c '$P mount -o lowerdir=l1 m'");
            said.failed(1, &["m", "unshare -Urm"]);
            assert_eq!(place.mounts_at("m"), [""; 0]);
        },
    );
}

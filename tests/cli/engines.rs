//! Called as a mount program, by container engines and mount(8).

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::env::cannot_run;
use crate::tool::{Place, in_place};

fn mounted_then_gone(place: &Place) {
    assert_eq!(place.mounts_at("m"), ["fuse.plyfs"]);
    assert_eq!(fs::read_to_string(place.at("m/low")).unwrap(), "low");
    place.unmount("m");
    assert_eq!(place.mounts_at("m"), [""; 0]);
}

#[test]
fn every_shape_of_call() {
    in_place("every_shape_of_call", |place| {
        let options = place.options();
        let glued = format!("-o{options}");
        let (first, rest) = options.split_once(',').unwrap();
        let shapes: &[&[&str]] = &[
            &["-o", &options, "m"],
            &["m", "-o", &options],
            &[&glued, "m"],
            &["overlay", "m", "-o", &options],
            &["overlay", "m", "-o", first, "-o", rest],
            &[
                "overlay",
                "m",
                "-s",
                "-o",
                &options,
                "-o",
                "rw,dev,suid,noatime",
            ],
        ];
        for shape in shapes {
            place.plyfs(shape).worked();
            mounted_then_gone(place);
            place.plyfs_as("fuse-overlayfs", shape).worked();
            mounted_then_gone(place);
        }
        for name in ["mount.plyfs", "mount.fuse.plyfs"] {
            place
                .plyfs_as(name, &["src", "m", "-o", &options, "-n"])
                .worked();
            mounted_then_gone(place);
            place
                .plyfs_as(name, &["src", "m", "-o", &options, "-f"])
                .worked();
            assert_eq!(place.mounts_at("m"), [""; 0]);
        }
    });
}

#[test]
fn containerd_and_fstab_call_through_the_helper_of_fuse() {
    let name = "containerd_and_fstab_call_through_the_helper_of_fuse";
    if std::process::Command::new("mount.fuse3")
        .arg("-V")
        .output()
        .is_err()
    {
        return cannot_run(name, "mount.fuse3 is not installed");
    }
    in_place(name, |place| {
        fs::create_dir(place.at("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_plyfs"), place.at("bin/fuse-overlayfs"))
            .unwrap();
        let root = place.root.display();
        let script = format!(
            "PATH={root}/bin:$PATH exec mount.fuse3 overlay {root}/m -o workdir={root}/w -o upperdir={root}/u \
             -o lowerdir={root}/l1:{root}/l2 -o rw,dev,suid -t fuse-overlayfs"
        );
        place.program("sh", &["-c", &script]).worked();
        mounted_then_gone(place);
    });
}

#[test]
fn versions_have_the_shape_that_tools_look_for() {
    in_place("versions_have_the_shape_that_tools_look_for", |place| {
        let version = env!("CARGO_PKG_VERSION");
        let said = place.plyfs(&["--version"]);
        said.worked();
        assert_eq!(
            said.out.lines().next(),
            Some(format!("plyfs {version}").as_str())
        );
        let said = place.plyfs_as("fuse-overlayfs", &["--version"]);
        said.worked();
        assert!(
            said.out
                .contains(&format!("fuse-overlayfs: version {version}\n")),
            "{said:?}"
        );
    });
}

#[test]
fn what_podman_passes() {
    in_place("what_podman_passes", |place| {
        let options = "lowerdir=l/A:l/B,upperdir=u,workdir=w,,volatile,\
                       context=\"system_u:object_r:container_file_t:s0:c1,c2\",private";
        fs::create_dir(place.at("l")).unwrap();
        std::os::unix::fs::symlink("../l1", place.at("l/A")).unwrap();
        std::os::unix::fs::symlink("../l2", place.at("l/B")).unwrap();
        let said = place.plyfs(&["-o", options, "m"]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        mounted_then_gone(place);
    });
}

#[test]
fn unknown_words_are_warned_about() {
    in_place("unknown_words_are_warned_about", |place| {
        let options = format!("{},bogus=1,metacopy=on", place.options());
        let said = place.plyfs(&["-o", &options, "m"]);
        said.worked();
        assert!(
            said.err.contains("bogus=1") && said.err.contains("metacopy=on"),
            "{said:?}"
        );
        mounted_then_gone(place);
        place
            .plyfs(&["mount", "-o", &options, "m"])
            .failed(2, &["bogus=1"]);
        // What would show a wrong view is an error to engines too.
        for word in ["uidmapping=:0:1000", "xattr_permissions=3", "datadir+=/d"] {
            let options = format!("{},{word}", place.options());
            place.plyfs(&["-o", &options, "m"]).failed(1, &[word]);
            assert_eq!(place.mounts_at("m"), [""; 0]);
        }
    });
}

// T124, T125
#[test]
fn owners_as_podman_asks_for_them() {
    use std::os::unix::fs::MetadataExt;
    in_place("owners_as_podman_asks_for_them", |place| {
        let maps = "uidmapping=:0:200000:65536,gidmapping=:0:300000:65536,xattr_permissions=2";
        for (words, uid, gid) in [
            (maps, 200_000, 300_000),
            ("squash_to_uid=5,squash_to_gid=6", 5, 6),
        ] {
            let options = format!("{},{words}", place.options());
            let said = place.plyfs(&["-o", &options, "m"]);
            assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
            let found = fs::metadata(place.at("m/low")).unwrap();
            assert_eq!((found.uid(), found.gid()), (uid, gid), "{words}");
            mounted_then_gone(place);
        }
    });
}

// T011
#[test]
fn image_whiteouts_are_read_for_engines_only() {
    in_place("image_whiteouts_are_read_for_engines_only", |place| {
        fs::write(place.at("l1/.wh.low"), "").unwrap();
        let options = place.options();
        place.plyfs(&["-o", &options, "m"]).worked();
        assert!(!place.at("m/low").exists() && !place.at("m/.wh.low").exists());
        place.unmount("m");
        place.plyfs(&["mount", "-o", &options, "m"]).worked();
        assert!(place.at("m/low").exists() && place.at("m/.wh.low").exists());
        place.unmount("m");
        let with = format!("{options},oci=on");
        place.plyfs(&["mount", "-o", &with, "m"]).worked();
        assert!(!place.at("m/low").exists() && !place.at("m/.wh.low").exists());
        place.unmount("m");
    });
}

#[test]
fn flags_reach_the_mount_table() {
    in_place("flags_reach_the_mount_table", |place| {
        let options = format!(
            "{},nosuid,nodev,noexec,relatime,fsname=my\\,layers",
            place.options()
        );
        place.plyfs(&["mount", "-o", &options, "m"]).worked();
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = table.lines().find(|l| l.contains("fuse.plyfs")).unwrap();
        for word in [
            "nosuid,nodev,noexec",
            "relatime",
            "my,layers",
            "allow_other",
        ] {
            assert!(line.contains(word), "{word} in {line}");
        }
        place.unmount("m");
        let options = format!("{},noallow_other", place.options());
        place.plyfs(&["mount", "src", "m", "-o", &options]).worked();
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = table.lines().find(|l| l.contains("fuse.plyfs")).unwrap();
        assert!(
            !line.contains("allow_other") && line.contains(" src "),
            "{line}"
        );
        place.unmount("m");
    });
}

#[test]
fn a_relative_mount_point_through_a_symlink() {
    in_place("a_relative_mount_point_through_a_symlink", |place| {
        std::os::unix::fs::symlink("m", place.at("to-m")).unwrap();
        place
            .plyfs(&["mount", "-o", &place.options(), "./to-m/"])
            .worked();
        assert_eq!(place.mounts_at("m"), ["fuse.plyfs"]);
        place.plyfs(&["umount", "to-m"]).worked();
        assert_eq!(place.mounts_at("m"), [""; 0]);
        assert!(fs::symlink_metadata(place.at("to-m")).unwrap().mode() != 0);
    });
}

#[test]
fn it_speaks_under_the_name_it_was_called_by() {
    in_place("it_speaks_under_the_name_it_was_called_by", |place| {
        let calls: &[(&str, &[&str])] = &[
            ("fuse-overlayfs", &["-o", "lowerdir=nope", "m"]),
            ("mount.plyfs", &["src", "m", "-o", "lowerdir=nope"]),
            ("another", &["mount", "-o", "lowerdir=nope", "m"]),
            ("another", &["layer", "ls", "--root", "nope"]),
        ];
        for (name, args) in calls {
            let said = place.plyfs_as(name, args);
            assert_ne!(said.code, Some(0), "{args:?}: {said:?}");
            assert!(said.err.starts_with(&format!("{name}: ")), "{said:?}");
            assert_eq!(said.err.lines().count(), 1, "{said:?}");
        }
        // What stops nothing.
        let options = format!("{},nfs_export=on", place.options());
        let said = place.plyfs_as("fuse-overlayfs", &["-o", &options, "m"]);
        said.worked();
        assert!(
            said.err.starts_with("fuse-overlayfs: warning: "),
            "{said:?}"
        );
        mounted_then_gone(place);
    });
}

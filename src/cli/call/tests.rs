//! Tests of the ways to call this program.

use super::*;

fn call(line: &str) -> Result<Call, Failure> {
    parse(line.split(' ').map(OsString::from).collect())
}

fn mount(line: &str) -> MountOrder {
    match call(line) {
        Ok(Call::Mount(order)) => order,
        other => panic!("{line}: {other:?}"),
    }
}

fn options(order: &MountOrder) -> Vec<&str> {
    order.options.iter().map(|o| o.to_str().unwrap()).collect()
}

#[test]
fn native_mounts() {
    for line in [
        "plyfs mount -o a,b /m",
        "plyfs mount /m -o a,b",
        "/usr/bin/plyfs mount -oa,b /m",
    ] {
        let order = mount(line);
        assert_eq!(order.mode, Mode::Native);
        assert_eq!(order.target, PathBuf::from("/m"));
        assert_eq!(options(&order), ["a,b"]);
        assert!(!order.foreground && !order.debug && !order.dry_run);
        assert_eq!(order.source, "plyfs");
    }
    let order = mount("plyfs mount src /m -o a -o b -f");
    assert_eq!((order.source, order.foreground), ("src".into(), true));
    let order = mount("plyfs mount -d -o a /m");
    assert!(order.debug && order.foreground);
}

#[test]
fn engines() {
    for line in [
        "fuse-overlayfs -o a,b /m",
        "/usr/bin/fuse-overlayfs -oa,b /m",
        "fuse-overlayfs /m -o a,b",
        "plyfs -o a,b /m",
        "plyfs overlay /m -o a,b",
        "plyfs -s -o a,b -- /m",
    ] {
        let order = mount(line);
        assert_eq!(
            (order.mode, order.target.to_str()),
            (Mode::Compatible, Some("/m")),
            "{line}"
        );
        assert_eq!(options(&order), ["a,b"], "{line}");
        assert!(!order.foreground, "{line}");
    }
    let order = mount("fuse-overlayfs overlay /m -o a -ob -fd");
    assert_eq!(options(&order), ["a", "b"]);
    assert!(order.foreground && order.debug);
    assert_eq!(order.source, "overlay");
    // A mount point may have the name of a subcommand.
    assert_eq!(
        mount("fuse-overlayfs -o a run").target,
        PathBuf::from("run")
    );
}

#[test]
fn helper_of_mount() {
    let order = mount("/sbin/mount.plyfs src /m -n -v -o a,b");
    assert_eq!(
        (order.mode, order.dry_run, order.foreground),
        (Mode::Native, false, false)
    );
    let order = mount("mount.fuse.plyfs src /m -sf -o a -t fuse.plyfs -N /proc/1/ns/mnt");
    assert_eq!(
        (order.mode, order.dry_run, order.foreground),
        (Mode::Compatible, true, false)
    );
    assert_eq!(options(&order), ["a"]);
}

#[test]
fn versions() {
    let text = |line: &str| match call(line) {
        Ok(Call::Print { text, code: 0 }) => text,
        other => panic!("{line}: {other:?}"),
    };
    for line in ["plyfs --version", "plyfs -V"] {
        assert_eq!(
            text(line).lines().next(),
            Some(format!("plyfs {VERSION}").as_str())
        );
    }
    for line in ["fuse-overlayfs --version", "fuse-overlayfs -V"] {
        assert!(text(line).starts_with("fuse-overlayfs: version "), "{line}");
    }
    assert!(text("plyfs --help").contains("mount"));
    assert!(text("fuse-overlayfs -h").contains("TARGET"));
    assert!(text("plyfs run --help").contains("--lower"));
}

#[test]
fn runs() {
    let Ok(Call::Run(order)) = call("plyfs run --lower a --lower b -- ls -l --all") else {
        panic!()
    };
    assert_eq!(order.lower, [PathBuf::from("a"), PathBuf::from("b")]);
    assert_eq!(order.command, ["ls", "-l", "--all"]);
    let Ok(Call::Run(order)) = call("plyfs run --lower a ls -l") else {
        panic!()
    };
    assert_eq!(order.command, ["ls", "-l"]);
    let Ok(Call::Run(order)) = call("plyfs run --lower a --upper u --work w --chroot") else {
        panic!()
    };
    assert!(order.chroot && order.command.is_empty());
}

#[test]
fn wrong_usage_is_one_line() {
    let table = [
        ("plyfs mount", 2, "MERGED"),
        ("plyfs mount -o a", 2, "MERGED"),
        ("plyfs mount -o a x y z", 2, "z"),
        ("plyfs mount --bogus /m", 2, "--bogus"),
        ("plyfs umount", 2, "MERGED"),
        ("plyfs run ls", 2, "--lower"),
        ("plyfs run --lower a --upper u ls", 2, "--work"),
        ("plyfs mnt", 2, "mnt"),
        ("plyfs -o a", 2, "mount point"),
        ("plyfs -o", 2, "-o needs a value"),
        ("plyfs -x -o a /m", 2, "-x"),
        ("fuse-overlayfs", 1, "mount point"),
        ("fuse-overlayfs -o a 1 2 3", 1, "too many"),
        ("fuse-overlayfs --bogus", 1, "--bogus"),
        ("mount.plyfs", 1, "mount point"),
    ];
    for (line, code, wanted) in table {
        let failure = call(line).expect_err(line);
        let text = failure.to_string();
        assert_eq!(failure.code, code, "{line}: {text}");
        assert!(
            text.contains(wanted) && !text.contains('\n'),
            "{line}: {text}"
        );
    }
    assert!(matches!(call("plyfs"), Ok(Call::Print { code: 2, .. })));
}

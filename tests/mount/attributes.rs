//! Private xattrs and their refusals: T107, T109.

use super::support::scenario::Scenario;
use super::support::steps::{Errno, FileType};

#[test]
fn t107_private_xattrs() {
    Scenario::new(
        "T107",
        "private xattrs are invisible; names of that space are escaped (17.2)",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1).opaque("d", "y").file("d/f", "x").file("g", "x");
        l.lower(1).xattr("g", "trusted.overlay.overlay.nested", "2");
    })
    .steps(|s| {
        s.listx("d").is("");
        s.getx("d", "trusted.overlay.opaque").fails(Errno::NODATA);
        s.setx("d", "trusted.overlay.foo", "v").ok();
        s.getx("d", "trusted.overlay.foo").is("v");
        s.listx("d").is("trusted.overlay.foo");
        s.mark("d", "overlay.foo").is("v");
        s.setx("d/f", "trusted.overlay.opaque", "y").ok();
        s.mark("d/f", "overlay.opaque").is("y");
        s.setx("d/f", "trusted.overlayx", "plain").ok();
        s.getx("d/f", "trusted.overlayx").is("plain");
        s.delx("d", "trusted.overlay.foo").ok();
        s.delx("d", "trusted.overlay.foo").fails(Errno::NODATA);
        s.delx("d", "trusted.overlay.opaque").fails(Errno::NODATA);
        s.getx("g", "trusted.overlay.nested").is("2");
        s.chmod("g", 0o600).ok();
        s.getx("g", "trusted.overlay.nested").is("2");
    });
}

#[test]
fn t107_both_namespaces() {
    Scenario::new(
        "T107",
        "names of the other namespace are hidden as well, and not copied up (25.2, 25.3)",
    )
    .layers(|l| {
        l.lower(1)
            .file("f", "x")
            .xattr("f", "user.overlay.mine", "1")
            .xattr("f", "user.overlayx", "2");
    })
    .steps(|s| {
        s.listx("f")
            .differs("25.2", "user.overlay.mine user.overlayx", "user.overlayx");
        s.getx("f", "user.overlay.mine")
            .differs("25.2", "1", "ENODATA");
        s.chmod("f", 0o600).ok();
        let copied = super::support::snapshot::xattrs(&s.layers.upper().at("f")).unwrap();
        let mark = copied.contains_key("user.overlay.mine");
        s.check("the mark is copied up", mark)
            .differs("25.3", "true", "false");
        s.setx("f", "user.overlay.new", "3").ok();
        s.getx("f", "user.overlay.new").is("3");
        let written = super::support::snapshot::xattrs(&s.layers.upper().at("f")).unwrap();
        let escaped = written.contains_key("user.overlay.overlay.new");
        s.check("a new one is escaped", escaped)
            .differs("25.2", "false", "true");
        // Leave the same tree behind.
        s.unlink("f").ok();
    });
}

#[test]
fn t109_user_xattrs_on_other_kinds() {
    Scenario::new(
        "T109",
        "user xattrs on symlinks and special files: EPERM, no copy-up",
    )
    .layers(|l| {
        l.lower(1).symlink("symlink", "t").fifo("fifo").node(
            "null",
            FileType::CharacterDevice,
            (1, 3),
        );
    })
    .steps(|s| {
        for name in ["symlink", "fifo", "null"] {
            s.setx(name, "user.a", "1").fails(Errno::PERM);
            s.upper(name).is("absent");
            s.setx(name, "trusted.a", "1").ok();
            s.getx(name, "trusted.a").is("1");
            s.listx(name).is("trusted.a");
        }
    });
}

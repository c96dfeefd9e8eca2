//! Files copied up without data, and layers that hold data alone (6): T022, T024, T060, T073, T113.

use std::sync::Barrier;
use std::thread::scope;

use plyfs::layer::keys::Namespace;
use plyfs::overlay::options::{Options, Redirects, XattrMode};
use plyfs::overlay::{Overlay, change::rename::Rename};
use plyfs::sys::errno::Errno;

use crate::inprocess::client::{Client, KEEP, flags};
use crate::inprocess::rig::{Build, Case, View, code, namespaces, scratch, stack};
use crate::support::layers::Layers;

/// A test with `metacopy=on`, which only root can have.
fn over(build: impl Fn(&Build) + 'static, test: impl Fn(&mut View)) {
    if !namespaces().contains(&Namespace::Trusted) {
        return;
    }
    let tested = stack(2, build)
        .options(metacopy)
        .try_in::<()>(Namespace::Trusted, |v| {
            test(v);
            Ok(())
        });
    tested.unwrap();
}

fn metacopy(options: &mut Options) {
    options.metacopy = true;
    options.redirect_dir = true;
}

fn is_metacopy(v: &View, path: &str) -> bool {
    v.upper_mark(path, "metacopy").is_some_and(|value| {
        assert!(value.is_empty());
        true
    })
}

#[test]
fn t113_needs_marks_that_no_user_can_make() {
    let dir = scratch();
    let layers = Layers::new(dir.path(), 1, true);
    let upper = plyfs::overlay::options::UpperDirs {
        upper: layers.upper.clone(),
        work: layers.work.clone(),
    };
    let mut options = Options::new(layers.lowers.clone(), Some(upper)).unwrap();
    options.xattr = XattrMode::User;
    for (both, word) in [(true, "metacopy=on"), (false, "redirect_dir=on")] {
        options.metacopy = both;
        options.redirect_dir = true;
        let why = Overlay::new(&options).unwrap_err().to_string();
        assert!(why.contains(word) && why.contains("not permitted"), "{why}");
    }
}

#[test]
fn t060_metadata_comes_alone_and_data_follows_a_writer() {
    over(
        |b| {
            b.lower(2)
                .file("f", "x".repeat(100_000))
                .file("d/g", "data");
        },
        |v| {
            let before = v.stat("f").unwrap();
            v.chmod("f", 0o600).unwrap();
            assert!(is_metacopy(v, "f"));
            let after = v.stat("f").unwrap();
            assert_eq!(after.stat.perm, 0o600);
            assert_eq!(after.ino, before.ino);
            assert_eq!(after.stat.blocks, before.stat.blocks);
            assert_eq!(v.read("f").unwrap().len(), 100_000);
            let opened = v.open("f", flags::READ).unwrap();
            assert!(opened.backing.lower && !opened.modified);
            let writer = v.open("f", flags::WRITE).unwrap();
            assert!(!writer.backing.lower && writer.modified);
            assert!(!is_metacopy(v, "f"));
            v.overlay.write(writer.handle, b"new", 0, false).unwrap();
            assert!(v.read_handle(opened.handle).unwrap().starts_with(b"newx"));
            let again = v.open("f", flags::WRITE).unwrap();
            assert!(!again.modified);
            for opened in [opened, writer, again] {
                v.close(opened);
            }
            // A second change of metadata does not make one of a file with data.
            v.chmod("f", 0o640).unwrap();
            assert!(!is_metacopy(v, "f"));
        },
    );
}

#[test]
fn t022_every_name_leads_to_the_data() {
    over(
        |b| {
            b.lower(2)
                .file("a", "data of a")
                .file("d/e/deep", "deep data");
        },
        |v| {
            v.mv("a", "b").unwrap();
            assert_eq!(v.upper_mark("b", "redirect"), Some(b"a".to_vec()));
            v.link("b", "d/c").unwrap();
            assert_eq!(v.upper_mark("b", "redirect"), Some(b"/a".to_vec()));
            v.mv("d/e", "e").unwrap();
            v.mv("e/deep", "d/deep").unwrap();
            assert_eq!(
                v.upper_mark("d/deep", "redirect"),
                Some(b"/d/e/deep".to_vec())
            );
            v.rename("b", "d/deep", Rename::Exchange).unwrap();
            for _ in 0..2 {
                assert_eq!(v.read("d/c").unwrap(), "data of a");
                assert_eq!(v.read("d/deep").unwrap(), "data of a");
                assert_eq!(v.read("b").unwrap(), "deep data");
                assert_eq!(v.stat("d/c").unwrap().stat.nlink, 2);
                v.remount();
            }
            v.patch("d/c", 0, "DATA").unwrap();
            assert_eq!(v.read("d/deep").unwrap(), "DATA of a");
        },
    );
}

#[test]
fn t022_a_file_without_a_name() {
    over(
        |b| {
            b.lower(2).file("f", "data").file("g", "data");
        },
        |v| {
            for name in ["f", "g"] {
                let id = v.id(name).unwrap();
                let reader = v.open(name, flags::READ).unwrap();
                if name == "g" {
                    v.chmod(name, 0o600).unwrap();
                }
                v.unlink(name).unwrap();
                let set = plyfs::overlay::change::setattr::SetAttr {
                    perm: Some(0o640),
                    ..KEEP
                };
                let attr = v
                    .overlay
                    .setattr(id, set, Some(reader.handle.into()))
                    .unwrap();
                assert_eq!((attr.stat.perm, attr.stat.size, attr.nlink), (0o640, 4, 0));
                assert_eq!(v.read_handle(reader.handle).unwrap(), b"data");
                let writer = v.overlay.open(id, flags::WRITE, false).unwrap();
                v.overlay.write(writer.handle, b"D", 0, false).unwrap();
                assert_eq!(v.read_handle(reader.handle).unwrap(), b"Data");
                v.close(reader);
                v.close(writer);
            }
        },
    );
}

#[test]
fn t073_metadata_data_and_names_at_once() {
    over(
        |b| {
            for n in 0..20 {
                b.lower(2).file(&format!("a{n}/f"), "x".repeat(50_000));
            }
        },
        |v| {
            let client: &Client = v;
            for n in 0..20 {
                let path = format!("a{n}/f");
                let id = client.id(&path).unwrap();
                let start = Barrier::new(4);
                let work = |act: &dyn Fn()| {
                    start.wait();
                    act();
                };
                let by_id = |act: &dyn Fn()| (0..5).for_each(|_| act());
                scope(|s| {
                    s.spawn(|| {
                        work(&|| {
                            by_id(&|| {
                                client.overlay.setattr(id, KEEP, None).unwrap();
                            });
                        });
                    });
                    s.spawn(|| {
                        work(&|| {
                            let opened = client.overlay.open(id, flags::WRITE, false).unwrap();
                            client.overlay.write(opened.handle, b"y", 7, false).unwrap();
                            client.close(opened);
                        });
                    });
                    s.spawn(|| {
                        work(&|| {
                            by_id(&|| {
                                let data = client.read_node(id).unwrap();
                                assert_eq!(data.len(), 50_000);
                            });
                        });
                    });
                    s.spawn(|| {
                        work(&|| {
                            client.mv(&path, &format!("a{n}/g")).unwrap();
                            client.link(&format!("a{n}/g"), &format!("b{n}")).unwrap();
                            client.mv(&format!("a{n}/g"), &format!("c{n}")).unwrap();
                        });
                    });
                });
                for name in [format!("b{n}"), format!("c{n}")] {
                    assert_eq!(&client.read(&name).unwrap()[..9], "xxxxxxxyx", "{name}");
                }
            }
        },
    );
}

/// A metacopy in lower 1 of `/data/f` in lower 2, which is data-only, with marks of either namespace: with those of
/// users, nothing else is followed.
fn data_only(build: impl Fn(&Build) + 'static) -> Case {
    stack(2, move |b| {
        b.lower(2).file("data/f", "the data");
        let (metacopy, redirect) = (b.mark("metacopy"), b.mark("redirect"));
        b.lower(1)
            .sparse("f", 8, &[])
            .xattr("f", &metacopy, "")
            .xattr("f", &redirect, "/data/f");
        build(b);
    })
    .options(|o| {
        o.data_only = o.lower.split_off(1);
        o.redirects = Redirects {
            follow: false,
            metacopy: false,
        };
    })
}

#[test]
fn t024_data_only_layers_are_neither_merged_nor_listed() {
    data_only(|_| {}).test(|v| {
        assert_eq!(v.ls("").unwrap(), ["f"]);
        assert!(!v.exists("data"));
        assert_eq!(v.stat("f").unwrap().stat.blocks, 8);
        assert_eq!(v.read("f").unwrap(), "the data");
        v.chmod("f", 0o600).unwrap();
        v.mv("f", "g").unwrap();
        v.patch("g", 0, "THE").unwrap();
        assert_eq!(v.read("g").unwrap(), "THE data");
    });
}

#[test]
fn t024_what_is_not_allowed_stays_so() {
    data_only(|b| {
        let (metacopy, redirect) = (b.mark("metacopy"), b.mark("redirect"));
        for (name, to) in [("relative", "f"), ("nowhere", "/data/none")] {
            b.lower(1)
                .sparse(name, 8, &[])
                .xattr(name, &metacopy, "")
                .xattr(name, &redirect, to);
        }
        b.upper().sparse("up", 8, &[]).xattr("up", &metacopy, "");
        b.upper().xattr("up", &redirect, "/f");
        b.upper().dir("dir").xattr("dir", &redirect, "/data");
    })
    // Listing a directory with such names fails.
    .ends_here()
    .test(|v| {
        assert_eq!(code(v.stat("relative")), Errno::EPERM);
        assert_eq!(code(v.stat("up")), Errno::EPERM);
        assert_eq!(code(v.stat("dir")), Errno::EPERM);
        assert_eq!(v.stat("nowhere").unwrap().stat.size, 8);
        assert_eq!(code(v.read("nowhere")), Errno::ENOENT);
        assert_eq!(code(v.chmod("nowhere", 0o600)), Errno::ENOENT);
        assert_eq!(v.upper_paths(), ["dir", "up"]);
    });
}

//! Symlinks that point out of the layers: data, never followed by the daemon, wherever they stand.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::siege::Siege;
use super::support::layers::Layers;

/// Plants a link in every shape at `dir`, and returns their names.
fn plant(dir: &Path, outside: &Path) -> Vec<String> {
    let absolute = outside.to_string_lossy().into_owned();
    let targets = [
        absolute.clone(),
        format!("{absolute}/secret"),
        format!("{absolute}/dir"),
        "../outside".into(),
        "../outside/secret".into(),
        "../../../../../../../../../../../../etc".into(),
        "/proc/self/root".into(),
        "..".into(),
        ".".into(),
        "loop8".into(),
        "x".repeat(4095),
    ];
    let mut names = Vec::new();
    for (n, target) in targets.iter().enumerate() {
        let name = if target == "loop8" {
            target.clone()
        } else {
            format!("link{n}")
        };
        // The longest target is more than some filesystems hold.
        if symlink(target, dir.join(&name)).is_ok() {
            names.push(name);
        }
    }
    assert!(names.len() >= 10);
    names
}

#[test]
fn links_in_every_layer() {
    Siege::new("symlinks that point out of the layers", 2).run(
        |l: &Layers, outside| {
            for layer in [&l.lowers[0], &l.lowers[1], &l.upper] {
                let own = layer.file_name().unwrap();
                fs::create_dir_all(layer.join("shared")).unwrap();
                plant(&layer.join("shared"), outside);
                fs::create_dir_all(layer.join(own)).unwrap();
                plant(&layer.join(own), outside);
            }
        },
        |field| {
            for dir in ["shared", "l1", "l2", "u"] {
                let names = field.inside.list(dir).expect("list");
                assert!(names.len() >= 10, "{dir}: {names:?}");
                for name in names {
                    let path = format!("{dir}/{}", String::from_utf8_lossy(&name));
                    assert!(field.inside.batter(&path), "no way to {path}");
                }
            }
        },
    );
}

/// A name that is a directory in one layer and a link to the outside in another, in every order.
#[test]
fn a_link_where_another_layer_has_a_directory() {
    let directory = |layer: &Path, name: &str| {
        fs::create_dir_all(layer.join(name).join("dir")).unwrap();
        fs::write(layer.join(name).join("f0"), "mine").unwrap();
        fs::write(layer.join(name).join("dir/secret"), "mine").unwrap();
    };
    Siege::new("a symlink where another layer has a directory", 2).run(
        |l, outside| {
            let layers = [&l.upper, &l.lowers[0], &l.lowers[1]];
            // Bit n of the name's number: is it a link in layer n?
            for shape in 1..7 {
                for (n, layer) in layers.iter().enumerate() {
                    let name = format!("shape{shape}");
                    match shape >> n & 1 {
                        1 => symlink(outside, layer.join(name)).unwrap(),
                        _ => directory(layer, &name),
                    }
                }
            }
        },
        |field| {
            for shape in 1..7 {
                let name = format!("shape{shape}");
                field.inside.batter(&format!("{name}/f0"));
                field.inside.batter(&format!("{name}/dir/secret"));
                field.inside.batter(&format!("{name}/dir"));
                assert!(field.inside.batter(&name), "no way to {name}");
            }
            // The upper has a directory here, the lowers a link: creating and removing stays in the upper.
            field
                .inside
                .write("shape6/fresh", b"x")
                .expect("create beside a lower link");
            assert!(field.layers.upper.join("shape6/fresh").exists());
        },
    );
}

/// A hostile work directory: what is cleaned at mount must not be what its links point to.
#[test]
fn links_in_the_work_directory() {
    for (name, target) in [
        ("work", "outside"),
        ("index", "outside"),
        ("work", "outside/dir"),
        ("lock", "outside/secret"),
    ] {
        Siege::new("a work directory made of symlinks", 1)
            .may_refuse()
            .run(
                |l, outside| {
                    let target = outside.parent().unwrap().join(target);
                    symlink(target, l.work.join(name)).unwrap();
                    fs::write(l.lowers[0].join("f"), "mine").unwrap();
                },
                |field| assert!(field.inside.batter("f")),
            );
    }
    Siege::new("a work directory full of symlinks", 1).run(
        |l, outside| {
            let work = l.work.join("work");
            fs::create_dir_all(work.join("#1/deep")).unwrap();
            plant(&work, outside);
            plant(&work.join("#1/deep"), outside);
            symlink(outside, work.join("incompat")).unwrap();
            symlink(outside, work.join("#2")).unwrap();
            symlink(outside.join("secret"), work.join("#3")).unwrap();
            fs::write(l.lowers[0].join("f"), "mine").unwrap();
        },
        |field| {
            assert!(field.inside.batter("f"));
            let left = fs::read_dir(field.layers.work.join("work"))
                .unwrap()
                .count();
            assert!(left <= 1, "leftovers in work were not cleaned: {left}");
        },
    );
}

//! kill -9 of what is done to images and snapshots, and imports at the same time of images that share layers.

use crate::crash::{both, kills};
use crate::rig::Shop;

/// An empty store beside the other one, in which only images are.
fn empty<'p>(shop: &'p Shop, name: &str) -> Shop<'p> {
    let other = shop.at(shop.place.at("files").join(name));
    other.ok(&["store", "init", "--driver", shop.driver]);
    other
}

/// Exports an image of the base and a layer of its own; gives its address.
fn image(shop: &Shop, base: &str, kind: &str, name: &str) -> String {
    let script = format!("for i in $(seq 60); do echo {name} $i > own$i; done");
    let dir = shop.dir(name, &script);
    let layer = shop.ok(&["layer", "create", "--parent", base, "--from-dir", &dir]);
    let file = shop.place.at("files").join(format!("{name}.image"));
    let address = format!("{kind}:{}:{name}:1", file.display());
    shop.ok(&["image", "export", &layer, &address]);
    address
}

#[test]
fn killed_imports_and_removals_of_images_can_be_repeated() {
    both("killed_imports", |shop, dice, base| {
        for (kind, name) in [("oci", "flat"), ("docker-archive", "packed")] {
            let address = image(shop, base, kind, name);
            let there = empty(shop, &format!("store-{name}"));
            let import = ["image", "import", &address, "--name", "it"];
            let usual = there.time(&import);
            let id = there.ids("image");
            let whole = there.ids("layer").len();
            let usual_rm = there.time(&["image", "rm", "it"]);
            for _ in 0..kills() {
                there.killed(dice, usual, &import);
                there.is_whole();
                there.ok(&import);
                assert_eq!(there.ids("image"), id);
                assert_eq!(there.ids("layer").len(), whole);
                assert_eq!(there.ok(&["store", "check", "--deep"]), "");
                there.killed(dice, usual_rm, &["image", "rm", "it"]);
                there.is_whole();
                // Before or after; the import makes whole what was half removed.
                there.ok(&import);
                assert_eq!(there.ids("layer").len(), whole);
                there.ok(&["image", "rm", "it"]);
                assert!(there.ids("layer").is_empty());
            }
        }
    });
}

#[test]
fn killed_snapshots_are_before_or_after() {
    both("killed_snapshots", |shop, dice, _| {
        let verbs: [&[&str]; 3] = [
            &["snapshot", "prepare", "a"],
            &["snapshot", "commit", "c", "a"],
            &["snapshot", "rm", "c"],
        ];
        let usual = verbs.map(|verb| shop.time(verb));
        for _ in 0..kills() {
            for (i, verb) in verbs.iter().enumerate() {
                shop.killed(dice, usual[i], verb);
                shop.is_whole();
                let key = ["a", "c", "c"][i];
                let there = shop.call(&["snapshot", "stat", key]).code == Some(0);
                if there == (i == 2) {
                    shop.ok(verb);
                }
                let there = shop.call(&["snapshot", "stat", key]).code == Some(0);
                assert_eq!(there, i != 2, "{verb:?}");
            }
        }
        shop.is_whole();
    });
}

#[test]
fn imports_at_a_time_meet_at_one_copy() {
    both("imports_at_a_time", |shop, _, base| {
        let names = ["one", "two", "three", "four"];
        let images = names.map(|name| image(shop, base, "oci", name));
        let there = empty(shop, "shared");
        std::thread::scope(|scope| {
            for image in images.iter().chain(&images) {
                let there = &there;
                scope.spawn(move || there.ok(&["image", "import", image]));
            }
        });
        assert_eq!(there.ids("image").len(), names.len());
        assert_eq!(there.ids("layer").len(), names.len() + 1);
        there.is_whole();
    });
}

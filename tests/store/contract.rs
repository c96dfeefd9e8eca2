//! What holds for all verbs: each answers in JSON, and what deletes says before what it would delete.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rig::{Shop, each};

/// Every verb once, with what its JSON answer has: a field, or nothing for a list. `C` is a container, `L` a layer
/// (`L1` one on it), `I` an image, `F` the directory of files.
const VERBS: &[(&str, &str)] = &[
    ("store init --root F/other", "root"),
    ("store info", "config"),
    ("store du", "layers"),
    ("store check", "damage"),
    ("store check --repair --dry-run", "damage"),
    ("store check --deep", "damage"),
    ("store dedup --dry-run", "linked"),
    ("store check --deep", "damage"),
    ("store dedup --dry-run", "freed"),
    ("store gc --dry-run", "paths"),
    ("layer create --from-dir F/dir", "id"),
    ("layer create --from-tar F/dir.tar", "id"),
    ("layer apply L F/dir.tar", "id"),
    ("layer diff L -o F/out.tar", "diff_id"),
    ("layer changes L", "0"),
    ("layer ls", "0"),
    ("layer inspect L", "id"),
    ("layer du", "0"),
    ("layer squash L1", "id"),
    ("layer rm --dry-run L1", "removed"),
    ("container create --layer L", "id"),
    ("container mount C", "path"),
    ("container unmount C", "unmounted"),
    ("container commit C", "id"),
    ("container diff C -o F/out.tar", "diff_id"),
    ("container changes C", "0"),
    ("container ls", "0"),
    ("container inspect C", "id"),
    ("container du C", "0"),
    ("container rm --dry-run C", "removed"),
    ("image import dir:F/dir", "id"),
    ("image export I oci:F/layout", "id"),
    ("image ls", "0"),
    ("image inspect I", "id"),
    ("image tag I other", "name"),
    ("image rm --dry-run other", "names"),
    ("snapshot prepare a L", "0"),
    ("snapshot mounts a", "0"),
    ("snapshot commit c a", "kind"),
    ("snapshot view v c", "0"),
    ("snapshot stat c", "created"),
    ("snapshot ls", "0"),
    ("snapshot usage v", "0"),
    ("snapshot label v l=1", "labels"),
    ("snapshot rm --dry-run v c", "removed"),
    ("snapshot rm v c", "removed"),
    ("container rm C", "removed"),
    ("layer rm L1", "removed"),
    ("image rm other", "names"),
    ("image rm I", "layers"),
    ("store gc", "paths"),
];

/// The verbs of a noun, as its help has them.
fn verbs(shop: &Shop, noun: &str) -> BTreeSet<String> {
    let help = shop.ok(&[noun, "--help"]);
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap();
    let verb = |line: &str| line.split_whitespace().next().unwrap().to_string();
    commands.lines().map(verb).collect()
}

/// A layer, one on it, a container with a change, an image.
fn furnish(shop: &Shop) -> [(&'static str, String); 5] {
    let dir = shop.dir("dir", "mkdir d; echo x > d/f; tar -cf ../dir.tar .");
    let layer = shop.ok(&["layer", "create", "--from-dir", &dir]);
    let above = shop.ok(&["layer", "create", "--parent", &layer]);
    let container = shop.ok(&["container", "create", "--layer", &layer]);
    shop.work(&container, "echo new > new");
    let image = shop.ok(&["image", "import", &format!("dir:{dir}"), "--name", "it"]);
    let files = shop.place.at("files").to_str().unwrap().to_string();
    [
        ("L1", above),
        ("L", layer),
        ("C", container),
        ("I", image),
        ("F", files),
    ]
}

/// The words of a call, placeholders filled in.
fn words(call: &str, things: &[(&str, String)]) -> Vec<String> {
    let word = |word: &str| {
        let named = things.iter().find(|(name, _)| *name == word);
        let inside = |(name, value): &(&str, String)| {
            word.contains(&format!("{name}/"))
                .then(|| word.replace(&format!("{name}/"), &format!("{value}/")))
        };
        match named {
            Some((_, value)) => value.clone(),
            None => things[4..].iter().find_map(inside).unwrap_or(word.into()),
        }
    };
    call.split(' ').map(word).collect()
}

#[test]
fn every_verb_answers_in_json() {
    each("every_verb_answers_in_json", |shop| {
        let things = furnish(shop);
        for (call, field) in VERBS {
            let call = words(call, &things);
            let call: Vec<&str> = call.iter().map(String::as_str).collect();
            let answer = shop.json(&call);
            let has = match field.parse::<usize>() {
                Ok(index) => answer.get(index).is_some(),
                Err(_) => field.is_empty() || answer.get(field).is_some_and(|v| !v.is_null()),
            };
            assert!(has, "no {field} in the answer to {call:?}: {answer}");
        }
        let tested: BTreeSet<(&str, &str)> = VERBS
            .iter()
            .map(|(call, _)| call.split(' ').collect::<Vec<_>>())
            .map(|words| (words[0], words[1]))
            .collect();
        for noun in ["store", "layer", "container", "image", "snapshot"] {
            for verb in verbs(shop, noun) {
                let here = tested.contains(&(noun, verb.as_str()));
                assert!(here, "{noun} {verb} is not in the table");
            }
        }
    });
}

#[test]
fn what_would_be_removed_is_told_and_stays() {
    each("what_would_be_removed_is_told", |shop| {
        let things = furnish(shop);
        let [above, layer, container, image, _] = &things;
        let (above, layer, container, image) = (&above.1, &layer.1, &container.1, &image.1);
        let all = |shop: &Shop| ["layer", "container", "image"].map(|noun| shop.ids(noun));
        let before = all(shop);
        // In the order of a real removal, or refused as that.
        let both = shop.ok(&["container", "rm", "--dry-run", container]);
        assert_eq!(&both, container);
        shop.refused(5, &[container], &["layer", "rm", "--dry-run", layer]);
        assert_eq!(&shop.ok(&["layer", "rm", "--dry-run", above]), above);
        let inspected = shop.json(&["image", "inspect", image]);
        let bottom = inspected["layers"][0].as_str().unwrap();
        let said = shop.ok(&["image", "rm", "--dry-run", image]);
        assert_eq!(said, format!("layer {bottom}\n{image}"));
        shop.refused(3, &[], &["layer", "rm", "--dry-run", "nothing"]);
        if shop.driver == "overlay" {
            shop.mount(container, "auto");
            shop.refused(
                5,
                &["mounted"],
                &["container", "rm", "--dry-run", container],
            );
            shop.ok(&["container", "rm", "--dry-run", "-f", container]);
            shop.unmount(container);
        }
        assert_eq!(all(shop), before);
        let value: Value = shop.json(&["container", "rm", container]);
        assert_eq!(value["dry_run"], false);
        let (top, bottom) = (above.as_str(), layer.as_str());
        let both = shop.ok(&["layer", "rm", "--dry-run", top, bottom]);
        assert_eq!(both, format!("{top}\n{bottom}"));
        shop.ok(&["layer", "rm", top, bottom]);
        shop.ok(&["image", "rm", image]);
        assert_eq!(all(shop).concat(), Vec::<String>::new());
    });
}

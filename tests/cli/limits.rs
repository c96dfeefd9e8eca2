//! Rows of the specification that are about mounting: markers, locks, names of layers, numbers of layers.

use std::fs;

use crate::tool::in_place;

// T111
#[test]
fn a_volatile_marker_blocks_the_next_mount() {
    in_place("a_volatile_marker_blocks_the_next_mount", |place| {
        let volatile = format!("{},volatile", place.options());
        place.plyfs(&["mount", "-o", &volatile, "m"]).worked();
        place.unmount("m");
        let marker = place.at("w/work/incompat/volatile");
        assert!(marker.is_dir());
        for options in [&volatile, &place.options()] {
            let said = place.plyfs(&["mount", "-o", options, "m"]);
            said.failed(1, &["workdir", "volatile"]);
            assert!(marker.is_dir());
        }
        fs::remove_dir_all(place.at("w/work/incompat")).unwrap();
        place.mount();
        place.unmount("m");
    });
}

// T114
#[test]
fn one_upper_cannot_serve_two_mounts() {
    in_place("one_upper_cannot_serve_two_mounts", |place| {
        fs::create_dir(place.at("m2")).unwrap();
        fs::create_dir(place.at("w2")).unwrap();
        fs::create_dir(place.at("u2")).unwrap();
        place.mount();
        for (upper, work) in [("u", "w"), ("u", "w2"), ("u2", "w")] {
            let options = format!("lowerdir=l1,upperdir={upper},workdir={work}");
            let said = place.plyfs(&["mount", "-o", &options, "m2"]);
            said.failed(1, &["busy"]);
            assert_eq!(place.mounts_at("m2"), [""; 0]);
        }
        // The one that is there is as it was.
        fs::write(place.at("m/new"), "x").unwrap();
        assert!(place.at("u/new").exists());
        place.unmount("m");
        // And nothing remembers it.
        place.mount();
        place.unmount("m");
    });
}

// T115
#[test]
fn without_an_upper_nothing_can_be_written() {
    in_place("without_an_upper_nothing_can_be_written", |place| {
        place
            .plyfs(&["mount", "-o", "lowerdir=l1:l2", "m"])
            .worked();
        for result in [
            fs::write(place.at("m/new"), "x"),
            fs::write(place.at("m/top"), "x"),
            fs::create_dir(place.at("m/dir")),
            fs::remove_file(place.at("m/low")),
            fs::rename(place.at("m/low"), place.at("m/high")),
        ] {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EROFS));
        }
        let (ours, theirs) = (
            rustix::fs::statfs(place.at("m")).unwrap(),
            rustix::fs::statfs(place.at("l1")).unwrap(),
        );
        assert_eq!(
            (ours.f_blocks, ours.f_files),
            (theirs.f_blocks, theirs.f_files)
        );
        place.unmount("m");
        // One lower and nothing else is fine too.
        place.plyfs(&["mount", "-o", "lowerdir=l1", "m"]).worked();
        assert!(place.at("m/top").exists() && !place.at("m/low").exists());
        place.unmount("m");
    });
}

// T116
#[test]
fn odd_names_of_layers() {
    in_place("odd_names_of_layers", |place| {
        let odd = ["a:b", "a,b", r"a\b", "a b", "q\"q", "a=b", "\u{fc}\n"];
        let mut lowers = Vec::new();
        for (i, name) in odd.iter().enumerate() {
            fs::create_dir(place.at(name)).unwrap();
            fs::write(place.at(name).join(format!("f{i}")), "").unwrap();
            let mut escaped = String::new();
            for c in name.chars() {
                if matches!(c, ':' | ',' | '\\') {
                    escaped.push('\\');
                }
                escaped.push(c);
            }
            lowers.push(escaped);
        }
        let upper = "up,:\\x";
        fs::create_dir(place.at(upper)).unwrap();
        let options = format!(
            "lowerdir={},upperdir={},workdir=w",
            lowers.join(":"),
            r"up\,\:\\x"
        );
        place.plyfs(&["mount", "-o", &options, "m"]).worked();
        for (i, name) in odd.iter().enumerate() {
            let file = place.at("m").join(format!("f{i}"));
            assert!(file.exists(), "{name:?}");
        }
        fs::write(place.at("m/new"), "").unwrap();
        assert!(place.at(upper).join("new").exists());
        place.unmount("m");
    });
}

// T116
#[test]
fn a_thousand_layers() {
    in_place("a_thousand_layers", |place| {
        for count in [500, 1000] {
            let mut names = Vec::new();
            for i in 0..count {
                let name = format!("layers/{count}-{i}");
                fs::create_dir_all(place.at(&name)).unwrap();
                fs::write(place.at(&name).join(format!("f{i}")), i.to_string()).unwrap();
                fs::write(place.at(&name).join("same"), i.to_string()).unwrap();
                names.push(name);
            }
            let options = format!("lowerdir={},upperdir=u,workdir=w", names.join(":"));
            place.plyfs(&["mount", "-o", &options, "m"]).worked();
            assert_eq!(fs::read_to_string(place.at("m/same")).unwrap(), "0");
            for i in [0, 1, count / 2, count - 1] {
                let text = fs::read_to_string(place.at(&format!("m/f{i}"))).unwrap();
                assert_eq!(text, i.to_string());
            }
            assert_eq!(fs::read_dir(place.at("m")).unwrap().count(), count + 1);
            place.unmount("m");
        }
    });
}

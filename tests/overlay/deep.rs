//! Stacks that are deep enough for an index of their names: what is known of names changes nothing but the price.

use plyfs::sys::errno::Errno;

use crate::inprocess::client::Client;
use crate::inprocess::rig::{Build, code, stack};

const DEPTH: usize = 40;
/// Layers whose directory has more names than are read at once.
const LONG: [usize; 2] = [12, 25];

fn image(b: &Build) {
    for n in 1..=DEPTH {
        b.lower(n)
            .file(&format!("d/of-{n}"), n.to_string())
            .file(&format!("d/third-{}", n % 3), n.to_string());
    }
    for n in LONG {
        for i in 0..70 {
            b.lower(n).file(&format!("d/long-{n}-{i}"), "");
        }
    }
    b.lower(5).whiteout("d/of-20");
    b.lower(20).whiteout("d/of-3");
    b.lower(8).file("d/.wh.of-30", "");
    for n in [3, 17, 33] {
        b.lower(n).file(&format!("d/sub/in-{n}"), "");
    }
    b.opaque(b.lower(17), "d/sub");
    b.lower(4)
        .dir("d/moved")
        .xattr("d/moved", &b.mark("redirect"), "home");
    b.lower(2).file("d/home", "another");
    b.lower(31).file("d/home/in-31", "");
    b.lower(37).file("d/moved/in-37", "");
    b.lower(6)
        .dir("d/away")
        .xattr("d/away", &b.mark("redirect"), "/e/there");
    b.lower(36).file("e/there/in-36", "");
    b.lower(38).file("d/away/in-38", "");
}

fn looks_right(v: &Client) {
    let layer = |path: &str| v.read(path).map(|text| text.parse::<usize>().unwrap());
    for n in (1..=DEPTH).filter(|n| ![20, 30].contains(n)) {
        assert_eq!(layer(&format!("d/of-{n}")), Ok(n));
    }
    assert_eq!(
        ["d/third-0", "d/third-1", "d/third-2"].map(layer),
        [Ok(3), Ok(1), Ok(2)]
    );
    for n in LONG {
        assert!((0..70).all(|i| v.exists(&format!("d/long-{n}-{i}"))));
    }
    for name in ["of-20", "of-30", ".wh.of-30", "of-41", "none", "sub/in-33"] {
        assert_eq!(code(v.stat(&format!("d/{name}"))), Errno::ENOENT, "{name}");
    }
    assert_eq!(v.ls("d/sub").unwrap(), ["in-17", "in-3"]);
    assert_eq!(v.ls("d/moved").unwrap(), ["in-31"]);
    assert_eq!(v.ls("d/away").unwrap(), ["in-36"]);
    assert_eq!(v.read("d/home").unwrap(), "another");
}

#[test]
fn a_deep_stack_looks_the_same_however_much_is_known() {
    stack(DEPTH, image).options(|o| o.oci = true).test(|v| {
        for _ in 0..3 {
            looks_right(v);
        }
        v.remount();
        v.ls("d").unwrap();
        looks_right(v);
        v.write("d/of-20", "again").unwrap();
        v.unlink("d/of-7").unwrap();
        v.unlink("d/of-20").unwrap();
        assert_eq!(
            v.upper_paths(),
            ["d", "d/of-7 whiteout"],
            "only what a lower layer shows is whited out"
        );
    });
}

//! The list of what the upper layer changes.

use plyfs::overlay::view::changes::ChangeKind::{self, Added, Deleted, Modified};

use crate::inprocess::client::Client;
use crate::inprocess::rig::over;

fn changes(client: &Client) -> Vec<(ChangeKind, String)> {
    let text = |path: Vec<u8>| String::from_utf8(path).unwrap();
    let all = client.overlay.changes().unwrap();
    all.into_iter()
        .map(|c| (c.kind, text(c.path) + if c.dir { "/" } else { "" }))
        .collect()
}

#[test]
fn nothing_changed() {
    over(|l| {
        l.file("d/f", "");
    })
    .test(|v| {
        v.read("d/f").unwrap();
        assert_eq!(changes(v), []);
    });
}

#[test]
fn added_modified_and_deleted_in_the_order_of_paths() {
    over(|l| {
        l.file("d/changed", "")
            .file("d/gone", "")
            .file("d/same", "")
            .file("away", "");
        l.file("old/x", "").file("was-a-file", "");
    })
    .test(|v| {
        v.write("d/changed", "x").unwrap();
        v.unlink("d/gone").unwrap();
        v.mkdir("d/new").unwrap();
        v.write("d/new/f", "").unwrap();
        v.mv("away", "moved").unwrap();
        v.unlink("old/x").unwrap();
        v.rmdir("old").unwrap();
        v.unlink("was-a-file").unwrap();
        v.mkdir("was-a-file").unwrap();
        let expected = [
            (Deleted, "away"),
            (Modified, "d/"),
            (Modified, "d/changed"),
            (Deleted, "d/gone"),
            (Added, "d/new/"),
            (Added, "d/new/f"),
            (Added, "moved"),
            (Deleted, "old"),
            (Modified, "was-a-file/"),
        ];
        assert_eq!(
            changes(v),
            expected.map(|(kind, path)| (kind, path.to_string()))
        );
        let known = v.overlay.known_nodes();
        v.forget_all();
        assert!(known > 0);
        assert_eq!(changes(v).len(), expected.len());
        assert_eq!(v.overlay.known_nodes(), 0, "looking leaves nothing behind");
    });
}

//! A commit by renames, stopped between each two of them, and found again by each verb that may find it.

use super::*;
use crate::store::containers::NewContainer;
use crate::store::meta::DriverKind;

/// Where the commit was stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stopped {
    /// The intent is written.
    Intended,
    /// The layer's content directory is made.
    Prepared,
    /// The changes are the layer's tree.
    Moved,
    /// The layer exists.
    Published,
    /// The container does not exist any more; its content does.
    Forgotten,
}

const ALL: [Stopped; 5] = [
    Stopped::Intended,
    Stopped::Prepared,
    Stopped::Moved,
    Stopped::Published,
    Stopped::Forgotten,
];

fn store(driver: DriverKind) -> (tempfile::TempDir, Store) {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::init(&temp.path().join("s"), &temp.path().join("run"), driver).unwrap();
    (temp, store)
}

/// A container with a file, and the layer it was becoming.
fn stopped(store: &Store, at: Stopped) -> (Id, Id) {
    let container = store.create_container(&NewContainer::default()).unwrap();
    let driver = driver(container.driver);
    let layout = store.layout();
    let changes = driver.changes(layout, &container.id);
    fs::write(changes.join("file"), "data").unwrap();
    let layer = LayerMeta::new(Id::random().unwrap(), container.driver, None);
    let content = layout.content(container.driver, &container.id);
    write_json(&content.join(SEALING), &layer).unwrap();
    let reached =
        |step: Stopped| ALL.iter().position(|s| *s == at) >= ALL.iter().position(|s| *s == step);
    if reached(Stopped::Prepared) {
        fs::create_dir(layout.content(layer.driver, &layer.id)).unwrap();
    }
    if reached(Stopped::Moved) {
        fs::rename(&changes, layout.tree(layer.driver, &layer.id)).unwrap();
    }
    if reached(Stopped::Published) {
        let meta = layout.layer(&layer.id);
        fs::create_dir(&meta).unwrap();
        write_json(&meta.join("layer.json"), &layer).unwrap();
    }
    if reached(Stopped::Forgotten) {
        fs::remove_file(layout.container(&container.id)).unwrap();
    }
    (container.id, layer.id)
}

/// Either the container is as it was, or the layer is there in its place.
fn is_settled(store: &Store, at: Stopped, container: &Id, layer: &Id) {
    let kind = store.config().driver;
    let (kept, made) = (store.container(container), store.layer(layer));
    let tree = match at {
        Stopped::Intended | Stopped::Prepared => {
            assert!(kept.is_ok() && made.is_err(), "{at:?}");
            driver(kind).changes(store.layout(), container)
        }
        _ => {
            assert!(kept.is_err() && made.is_ok(), "{at:?}");
            store.tree(kind, layer)
        }
    };
    assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "data");
    store.gc().unwrap();
    let report = store.check(false).unwrap();
    assert_eq!(report, Default::default(), "{at:?}");
}

#[test]
fn a_stopped_commit_is_settled_by_whoever_finds_it() {
    let finders: [fn(&Store, &Id); 5] = [
        |store, _| drop(store.gc().unwrap()),
        |store, _| drop(store.check(true).unwrap()),
        |store, id| drop(store.lock_container(id, LockMode::Exclusive)),
        |store, id| drop(store.lock_container(id, LockMode::Shared)),
        |store, id| {
            // Stopped again, and again.
            store.gc().unwrap();
            let _gone = store.lock_container(id, LockMode::Exclusive);
        },
    ];
    for kind in [DriverKind::Overlay, DriverKind::Vfs] {
        for at in ALL {
            for find in finders {
                let (_temp, store) = store(kind);
                let (container, layer) = stopped(&store, at);
                find(&store, &container);
                is_settled(&store, at, &container, &layer);
            }
        }
    }
}

#[test]
fn looking_changes_nothing_and_calls_nothing_damaged() {
    for at in ALL {
        let (_temp, store) = store(DriverKind::Overlay);
        let (container, layer) = stopped(&store, at);
        for _ in 0..2 {
            assert_eq!(store.check(false).unwrap().damage, [], "{at:?}");
            let garbage = store.garbage().unwrap();
            let content = store.layout().content(DriverKind::Overlay, &layer);
            assert!(
                !garbage.paths.iter().any(|path| content.ends_with(path)),
                "{at:?}"
            );
        }
        store.gc().unwrap();
        is_settled(&store, at, &container, &layer);
    }
}

#[test]
fn removing_a_stopped_commit_does_not_remove_the_layer() {
    let (_temp, store) = store(DriverKind::Vfs);
    let (container, layer) = stopped(&store, Stopped::Moved);
    let gone = store.remove_container(&container).unwrap_err();
    assert_eq!(gone.kind, Kind::NotFound);
    is_settled(&store, Stopped::Moved, &container, &layer);
}

#[test]
fn who_wants_the_id_of_a_stopped_commit_does_not_destroy_its_changes() {
    for kind in [DriverKind::Overlay, DriverKind::Vfs] {
        for at in ALL {
            let (_temp, store) = store(kind);
            let (container, layer) = stopped(&store, at);
            let other = store.create_container(&NewContainer::default()).unwrap();
            let new = NewLayer {
                id: Some(layer.clone()),
                ..NewLayer::default()
            };
            let taken = store.commit(&other.id, &new, Ending::Remove);
            if matches!(at, Stopped::Intended | Stopped::Prepared) {
                // What was stopped had not got far enough to have the id.
                assert_eq!(taken.unwrap().id, layer);
                assert!(store.lock_container(&container, LockMode::Shared).is_ok());
            } else {
                assert_eq!(taken.unwrap_err().kind, Kind::Exists, "{at:?}");
                store.remove_container(&other.id).unwrap();
                store.gc().unwrap();
                is_settled(&store, at, &container, &layer);
            }
        }
    }
}

#[test]
fn of_many_that_become_one_layer_one_does() {
    for kind in [DriverKind::Overlay, DriverKind::Vfs] {
        let (_temp, mut store) = store(kind);
        store.sync = SyncPolicy::None;
        for _ in 0..20 {
            let id = Id::random().unwrap();
            let commit = |store: &Store| {
                let container = store.create_container(&NewContainer::default()).unwrap();
                let new = NewLayer {
                    id: Some(id.clone()),
                    ..NewLayer::default()
                };
                (
                    store.commit(&container.id, &new, Ending::Remove),
                    container.id,
                )
            };
            let results = std::thread::scope(|scope| {
                let all = [0; 4].map(|_| scope.spawn(|| commit(&store)));
                all.map(|one| one.join().unwrap())
            });
            let mut won = 0;
            for (result, container) in results {
                match result {
                    Ok(layer) => {
                        won += 1;
                        assert_eq!(layer.id, id);
                        assert!(store.container(&container).is_err());
                    }
                    Err(error) => {
                        assert_eq!(error.kind, Kind::Exists, "{error}");
                        store.remove_container(&container).unwrap();
                    }
                }
            }
            assert_eq!(won, 1);
            store.remove_layer(&id).unwrap();
        }
        assert_eq!(store.check(false).unwrap(), Default::default());
    }
}

//! `plyfs container ...`

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::{CommitArgs, ContainerVerb, DigestWord, Globals};
use super::layer::{say_id, say_removed, say_usage, wanted_name};
use super::output::{damaged, done, say, table};
use super::progress::during;
use super::transfer;
use super::view;
use crate::cli::failure::{Failure, shown};
use crate::store::Store;
use crate::store::commit::Ending;
use crate::store::containers::NewContainer;
use crate::store::driver::driver;
use crate::store::error::{Kind, Result};
use crate::store::id::Id;
use crate::store::layers::NewLayer;
use crate::store::meta::{ContainerMeta, IdMaps};
use crate::store::transfer::Tree;
use crate::store::usage::Usage;
use crate::store::watch::{Phase, Watch};

/// Does what was asked for.
///
/// # Errors
/// One line and its code.
pub fn run(globals: &Globals, store: &Store, verb: ContainerVerb) -> Result<u8, Failure> {
    match verb {
        ContainerVerb::Create {
            layer,
            image,
            read_only,
            volatile,
            size,
            inodes,
            idmap,
        } => {
            let (image, layer) = match (image, layer) {
                (Some(image), _) => {
                    let (image, top) = store.find_image_top(&image)?;
                    (Some(image), top)
                }
                (None, Some(layer)) => (None, Some(store.find_layer(&layer)?)),
                (None, None) => (None, None),
            };
            let new = NewContainer {
                layer,
                image,
                driver: globals.driver.map(|word| word.kind()),
                read_only,
                volatile,
                size,
                inodes,
                idmap: idmap.as_deref().map(IdMaps::parse).transpose()?,
                ..NewContainer::default()
            };
            let made = during(globals, store, || store.create_container(&new));
            say_id(globals, &made?.id)
        }
        ContainerVerb::Mount { container, runtime } => {
            let id = store.find_container(&container)?;
            let (path, runtime) = view::mount(store, &id, runtime)?;
            let path = shown(&path);
            let value = json!({ "path": path, "runtime": runtime });
            say(globals, &value, || path.clone())
        }
        ContainerVerb::Unmount { container } => {
            let id = store.find_container(&container)?;
            view::unmount(store, &id)?;
            say(globals, &json!({ "unmounted": id }), String::new)
        }
        ContainerVerb::Commit(args) => commit(globals, store, args),
        ContainerVerb::Diff(args) => {
            let container = Tree::Container(store.find_container(&args.object)?);
            transfer::diff(globals, store, &container, &args)
        }
        ContainerVerb::Changes(args) => {
            let container = Tree::Container(store.find_container(&args.object)?);
            transfer::changes(globals, store, &container, args.base.as_deref())
        }
        ContainerVerb::Ls => ls(globals, store),
        ContainerVerb::Inspect { container } => {
            let container = store.container(&store.find_container(&container)?)?;
            done(&described(store, &container)?)
        }
        ContainerVerb::Du { container } => du(globals, store, container.as_deref()),
        ContainerVerb::Rm {
            containers,
            force,
            dry_run,
        } => rm(globals, store, &containers, (force, dry_run)),
    }
}

fn commit(globals: &Globals, store: &Store, args: CommitArgs) -> Result<u8, Failure> {
    let id = store.find_container(&args.container)?;
    let config: BTreeMap<String, String> = args.config.into_iter().collect();
    let new = NewLayer {
        id: args.id.map(|id| Id::parse(&id)).transpose()?,
        name: wanted_name(args.name)?,
        author: args.author,
        message: args.message,
        config,
        ..NewLayer::default()
    };
    let ending = match (args.rm, args.live) {
        (true, _) => Ending::Remove,
        (false, true) => Ending::KeepLive,
        (false, false) => Ending::Keep,
    };
    let layer = during(globals, store, || {
        let layer = store.commit(&id, &new, ending)?;
        if args.digest == DigestWord::Now {
            store.diff_id(&layer.id, store)?;
        }
        Ok::<_, Failure>(layer)
    })?;
    say_id(globals, &layer.id)
}

fn described(store: &Store, container: &ContainerMeta) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(container).map_err(Failure::failed)?;
    let layout = store.layout();
    let driver = driver(container.driver);
    let mounted = store.mounted(container)?;
    value["path"] = json!(shown(&driver.seen_at(layout, &container.id)));
    value["changes"] = json!(shown(&driver.changes(layout, &container.id)));
    value["mounted"] = json!(mounted.map(|entry| entry.fstype.to_string_lossy().into_owned()));
    Ok(value)
}

fn ls(globals: &Globals, store: &Store) -> Result<u8, Failure> {
    let mut containers = store.all_containers(damaged)?;
    containers.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
    let all: Result<Vec<Value>, Failure> = containers
        .iter()
        .map(|container| described(store, container))
        .collect();
    let all = all?;
    say(globals, &all, || {
        let row = |(container, value): (&ContainerMeta, &Value)| {
            vec![
                container.id.to_string(),
                container.layer.as_ref().map_or("-".into(), Id::to_string),
                container.driver.to_string(),
                container.created.chars().take(19).collect(),
                value["mounted"].as_str().unwrap_or("-").to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = containers.iter().zip(&all).map(row).collect();
        table(&["id", "layer", "driver", "created", "mounted"], &rows)
    })
}

fn du(globals: &Globals, store: &Store, container: Option<&str>) -> Result<u8, Failure> {
    let containers = match container {
        Some(container) => vec![store.container(&store.find_container(container)?)?],
        None => store.all_containers(damaged)?,
    };
    let found = during(globals, store, || {
        store.begin(Phase::Measure, None);
        let usage = |container: ContainerMeta| {
            let changes = driver(container.driver).changes(store.layout(), &container.id);
            Ok((container.id, Usage::watched(&changes, store)?))
        };
        containers
            .into_iter()
            .map(usage)
            .collect::<Result<Vec<_>>>()
    });
    say_usage(globals, &found?)
}

fn rm(
    globals: &Globals,
    store: &Store,
    containers: &[String],
    (force, dry_run): (bool, bool),
) -> Result<u8, Failure> {
    let mut removed = Vec::new();
    for container in containers {
        let id = store.find_container(container)?;
        if dry_run {
            store.check_removable(&id, force)?;
            removed.push(id);
            continue;
        }
        let mounted = store.container(&id).and_then(|meta| store.mounted(&meta));
        let mounted = match mounted {
            // What is damaged must be removable.
            Err(error) if error.kind == Kind::Corrupt => None,
            result => result?,
        };
        if force && mounted.is_some() {
            view::unmount(store, &id)?;
        }
        during(globals, store, || store.remove_container(&id))?;
        removed.push(id);
    }
    say_removed(globals, dry_run, json!({ "removed": removed }))
}

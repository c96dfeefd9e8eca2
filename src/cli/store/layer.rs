//! `plyfs layer ...`

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::{Globals, LayerVerb};
use super::output::{bytes, damaged, done, remark_lost, say, table};
use super::progress::during;
use super::transfer;
use crate::cli::failure::{Failure, shown};
use crate::store::Store;
use crate::store::error::{Kind, Result};
use crate::store::id::{Id, ObjectName};
use crate::store::layers::{NewLayer, Users};
use crate::store::meta::LayerMeta;
use crate::store::names::Named;
use crate::store::transfer::Tree;
use crate::store::usage::Usage;
use crate::store::watch::{Phase, Watch};

/// Does what was asked for.
///
/// # Errors
/// One line and its code.
pub fn run(globals: &Globals, store: &Store, verb: LayerVerb) -> Result<u8, Failure> {
    match verb {
        LayerVerb::Create {
            parent,
            parent_image,
            from_dir,
            from_tar: None,
            name,
            unpack: _,
        } => {
            let parent = find_parent(store, parent, parent_image)?;
            create(globals, store, parent, from_dir, name)
        }
        LayerVerb::Create {
            parent,
            parent_image,
            from_tar: Some(archive),
            name,
            unpack,
            from_dir: _,
        } => {
            let parent = find_parent(store, parent, parent_image)?;
            let name = wanted_name(name)?;
            transfer::unpack(globals, store, parent, &archive, name, &unpack)
        }
        LayerVerb::Apply {
            layer,
            archive,
            name,
            unpack,
        } => {
            let parent = Some(store.find_layer(&layer)?);
            let name = wanted_name(name)?;
            transfer::unpack(globals, store, parent, &archive, name, &unpack)
        }
        LayerVerb::Diff(args) => {
            let layer = Tree::Layer(store.find_layer(&args.object)?);
            transfer::diff(globals, store, &layer, &args)
        }
        LayerVerb::Changes(args) => {
            let layer = Tree::Layer(store.find_layer(&args.object)?);
            transfer::changes(globals, store, &layer, args.base.as_deref())
        }
        LayerVerb::Ls => ls(globals, store),
        LayerVerb::Inspect { layer } => inspect(store, &layer),
        LayerVerb::Du { layer } => du(globals, store, layer.as_deref()),
        LayerVerb::Rm { layers, dry_run } => rm(globals, store, &layers, dry_run),
        LayerVerb::Squash { layer, name } => squash(globals, store, &layer, name),
    }
}

/// The layer below, by itself or as the top of an image.
fn find_parent(
    store: &Store,
    layer: Option<String>,
    image: Option<String>,
) -> Result<Option<Id>, Failure> {
    Ok(match (layer, image) {
        (Some(layer), _) => Some(store.find_layer(&layer)?),
        (None, Some(image)) => store.find_image_top(&image)?.1,
        (None, None) => None,
    })
}

fn create(
    globals: &Globals,
    store: &Store,
    parent: Option<Id>,
    from_dir: Option<PathBuf>,
    name: Option<String>,
) -> Result<u8, Failure> {
    let new = NewLayer {
        parent,
        driver: globals.driver.map(|word| word.kind()),
        name: wanted_name(name)?,
        ..NewLayer::default()
    };
    let made = during(globals, store, || {
        store.create_layer(&new, from_dir.as_deref())
    });
    let (layer, copied) = made?;
    remark_lost(globals, &copied);
    say_id(globals, &layer.id)
}

/// The id of what was made.
///
/// # Errors
/// Those of [`say`].
pub fn say_id(globals: &Globals, id: &Id) -> Result<u8, Failure> {
    say(globals, &json!({ "id": id }), || id.to_string())
}

/// A name as the store wants it.
///
/// # Errors
/// Those of [`ObjectName::parse`].
pub fn wanted_name(name: Option<String>) -> Result<Option<ObjectName>, Failure> {
    Ok(name.map(|name| ObjectName::parse(&name)).transpose()?)
}

/// What is known of a layer, with its names and where its tree is.
fn described(store: &Store, layer: &LayerMeta) -> Result<Value, Failure> {
    let names = store.names_of(&Named::Layer(layer.id.clone()))?;
    let names: Vec<&str> = names.iter().map(ObjectName::as_str).collect();
    let mut value = serde_json::to_value(layer).map_err(Failure::failed)?;
    value["names"] = json!(names);
    value["tree"] = json!(shown(&store.tree(layer.driver, &layer.id)));
    Ok(value)
}

fn ls(globals: &Globals, store: &Store) -> Result<u8, Failure> {
    let mut layers = store.all_layers(damaged)?;
    layers.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
    let described: Result<Vec<Value>, Failure> =
        layers.iter().map(|layer| described(store, layer)).collect();
    let described = described?;
    say(globals, &described, || {
        let row = |(layer, value): (&LayerMeta, &Value)| {
            let names = value["names"].as_array().into_iter().flatten();
            let names: Vec<&str> = names.filter_map(Value::as_str).collect();
            vec![
                layer.id.to_string(),
                layer.parent.as_ref().map_or("-".into(), Id::to_string),
                layer.driver.to_string(),
                bytes(layer.size.bytes),
                layer.created.chars().take(19).collect(),
                names.join(" "),
            ]
        };
        let rows: Vec<Vec<String>> = layers.iter().zip(&described).map(row).collect();
        table(
            &["id", "parent", "driver", "size", "created", "names"],
            &rows,
        )
    })
}

fn inspect(store: &Store, layer: &str) -> Result<u8, Failure> {
    let layer = store.layer(&store.find_layer(layer)?)?;
    let mut value = described(store, &layer)?;
    value["users"] = match store.users_of(&layer.id) {
        // Damage elsewhere does not hide this one.
        Err(error) if error.kind == Kind::Corrupt => Value::Null,
        users => json!(users?),
    };
    done(&value)
}

fn du(globals: &Globals, store: &Store, layer: Option<&str>) -> Result<u8, Failure> {
    let layers = match layer {
        Some(layer) => vec![store.layer(&store.find_layer(layer)?)?],
        None => store.all_layers(damaged)?,
    };
    let found = during(globals, store, || {
        store.begin(Phase::Measure, None);
        let usage = |layer: LayerMeta| {
            let usage = Usage::watched(&store.tree(layer.driver, &layer.id), store)?;
            Ok((layer.id, usage))
        };
        layers.into_iter().map(usage).collect::<Result<Vec<_>>>()
    });
    say_usage(globals, &found?)
}

/// What objects take, one line each.
///
/// # Errors
/// Those of [`say`].
pub fn say_usage(globals: &Globals, found: &[(Id, Usage)]) -> Result<u8, Failure> {
    let value: Vec<Value> = found
        .iter()
        .map(|(id, usage)| {
            json!({ "id": id, "bytes": usage.bytes, "entries": usage.entries, "disk": usage.disk })
        })
        .collect();
    say(globals, &value, || {
        let row = |(id, usage): &(Id, Usage)| {
            let counts = [usage.bytes, usage.disk, usage.entries].map(|count| count.to_string());
            [vec![id.to_string()], counts.to_vec()].concat()
        };
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        table(&["id", "bytes", "disk", "entries"], &rows)
    })
}

fn rm(globals: &Globals, store: &Store, layers: &[String], dry_run: bool) -> Result<u8, Failure> {
    let mut gone = Users::default();
    for layer in layers {
        let id = store.find_layer(layer)?;
        match dry_run {
            true => store.check_unused(&id, &gone)?,
            false => during(globals, store, || store.remove_layer(&id))?,
        }
        gone.layers.push(id);
    }
    say_removed(globals, dry_run, json!({ "removed": gone.layers }))
}

/// Says what was removed: in words only where nothing was, because somebody wanted to know.
///
/// # Errors
/// Those of [`say`].
pub fn say_removed(globals: &Globals, dry_run: bool, mut value: Value) -> Result<u8, Failure> {
    let mut lines = String::new();
    for (noun, ids) in value.as_object().into_iter().flatten().filter(|_| dry_run) {
        for id in ids.as_array().into_iter().flatten() {
            let noun = noun.trim_end_matches('s');
            let noun = if noun == "removed" { "" } else { noun };
            let line = format!("{noun} {}", id.as_str().unwrap_or_default());
            lines.push_str(line.trim_start());
            lines.push('\n');
        }
    }
    value["dry_run"] = json!(dry_run);
    say(globals, &value, || lines)
}

fn squash(
    globals: &Globals,
    store: &Store,
    layer: &str,
    name: Option<String>,
) -> Result<u8, Failure> {
    let new = NewLayer {
        name: wanted_name(name)?,
        ..NewLayer::default()
    };
    let id = store.find_layer(layer)?;
    let layer = during(globals, store, || store.squash(&id, &new))?;
    say_id(globals, &layer.id)
}

//! `plyfs image ...`

use serde_json::{Value, json};

use super::args::{CompressWord, Globals, ImageVerb, UnpackArgs};
use super::layer::{say_id, say_removed, wanted_name};
use super::output::{bytes, damaged, done, say, table};
use super::progress::during;
use super::transfer::{remark, unpacking};
use crate::cli::failure::Failure;
use crate::store::Store;
use crate::store::blob::Compression;
use crate::store::error::Kind;
use crate::store::id::ObjectName;
use crate::store::images::ImageMeta;
use crate::store::images::export::Packing;
use crate::store::images::import::Place;
use crate::store::images::leaving::Leaving;
use crate::store::layers::Users;
use crate::store::names::Named;

/// Does what was asked for.
///
/// # Errors
/// One line and its code.
pub fn run(globals: &Globals, store: &Store, verb: ImageVerb) -> Result<u8, Failure> {
    match verb {
        ImageVerb::Import { from, name, unpack } => {
            import(globals, store, &from, wanted_name(name)?, &unpack)
        }
        ImageVerb::Export {
            image,
            to,
            compress,
        } => export(globals, store, &image, &to, compress),
        ImageVerb::Ls => ls(globals, store),
        ImageVerb::Inspect { image } => inspect(store, &image),
        ImageVerb::Tag { image, name } => {
            let (id, name) = (store.find_image(&image)?, ObjectName::parse(&name)?);
            store.tag(&id, &name)?;
            let value = json!({ "id": id, "name": name.as_str() });
            say(globals, &value, String::new)
        }
        ImageVerb::Rm { images, dry_run } => rm(globals, store, &images, dry_run),
    }
}

fn import(
    globals: &Globals,
    store: &Store,
    from: &str,
    name: Option<ObjectName>,
    args: &UnpackArgs,
) -> Result<u8, Failure> {
    let from = Place::parse(from)?;
    let driver = globals.driver.map(|word| word.kind());
    let how = unpacking(store, args);
    let import = || store.import_image(&from, name.as_ref(), driver, &how);
    let imported = during(globals, store, import)?;
    remark(globals, &imported.remarks);
    say_id(globals, &imported.image.id)
}

fn export(
    globals: &Globals,
    store: &Store,
    image: &str,
    to: &str,
    compress: Option<CompressWord>,
) -> Result<u8, Failure> {
    let to = Place::parse(to)?;
    let how = Packing {
        compression: compress.map(|word| match word {
            CompressWord::None => Compression::None,
            CompressWord::Gzip => Compression::Gzip,
            CompressWord::Zstd => Compression::Zstd,
        }),
        watch: store,
    };
    let exported = during(globals, store, || {
        let leaving = leaving(store, image)?;
        Ok::<_, Failure>((leaving.id(), store.export_image(&leaving, &to, how)?))
    });
    let (id, remarks) = exported?;
    remark(globals, &remarks);
    say(globals, &json!({ "id": id }), String::new)
}

/// An image, or a layer as one.
fn leaving(store: &Store, text: &str) -> Result<Leaving, Failure> {
    match store.find_image(text) {
        Ok(id) => Ok(store.leaving_image(&store.image(&id)?)?),
        Err(error) if error.kind == Kind::NotFound => match store.find_layer(text) {
            Ok(layer) => Ok(store.leaving_layer(&layer, store)?),
            Err(other) if other.kind == Kind::NotFound => Err(error.into()),
            Err(other) => Err(other.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// What is known of an image, with its names.
fn described(store: &Store, image: &ImageMeta) -> Result<Value, Failure> {
    let names = store.names_of(&Named::Image(image.id.clone()))?;
    let names: Vec<&str> = names.iter().map(ObjectName::as_str).collect();
    let mut size = 0;
    for layer in &image.layers {
        size += store.layer(layer)?.size.bytes;
    }
    let mut value = serde_json::to_value(image).map_err(Failure::failed)?;
    value["names"] = json!(names);
    value["size"] = json!(size);
    Ok(value)
}

fn ls(globals: &Globals, store: &Store) -> Result<u8, Failure> {
    let mut images = store.all_images(damaged)?;
    images.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
    let all: Result<Vec<Value>, Failure> =
        images.iter().map(|image| described(store, image)).collect();
    let all = all?;
    say(globals, &all, || {
        let row = |(image, value): (&ImageMeta, &Value)| {
            let names = value["names"].as_array().into_iter().flatten();
            let names: Vec<&str> = names.filter_map(Value::as_str).collect();
            vec![
                image.id.to_string(),
                image.layers.len().to_string(),
                bytes(value["size"].as_u64().unwrap_or_default()),
                image.created.chars().take(19).collect(),
                names.join(" "),
            ]
        };
        let rows: Vec<Vec<String>> = images.iter().zip(&all).map(row).collect();
        table(&["id", "layers", "size", "created", "names"], &rows)
    })
}

fn inspect(store: &Store, image: &str) -> Result<u8, Failure> {
    let image = store.image(&store.find_image(image)?)?;
    let mut value = described(store, &image)?;
    let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).map_err(Failure::failed);
    value["config"] = document(&store.image_config(&image.id)?)?;
    if let Some(manifest) = store.image_manifest(&image)? {
        value["manifest_document"] = document(&manifest)?;
    }
    done(&value)
}

fn rm(globals: &Globals, store: &Store, images: &[String], dry_run: bool) -> Result<u8, Failure> {
    let mut gone = Users::default();
    let (mut removed, mut layers, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for text in images {
        let id = store.find_image(text)?;
        let all = store.names_of(&Named::Image(id.clone()))?;
        match all.iter().find(|name| name.as_str() == text) {
            Some(name) if all.len() > 1 => {
                if !dry_run {
                    store.remove_name(name)?;
                }
                names.push(name.to_string());
            }
            _ => {
                let taken = match dry_run {
                    true => store.unused_with_image(&id, &mut gone)?,
                    false => during(globals, store, || store.remove_image(&id))?,
                };
                layers.extend(taken);
                removed.push(id);
            }
        }
    }
    let value = json!({ "removed": removed, "layers": layers, "names": names });
    say_removed(globals, dry_run, value)
}

//! `plyfs store ...`: the store as a whole.

use serde_json::json;

use super::args::{Globals, StoreVerb};
use super::output::say;
use crate::cli::failure::{Failure, shown};
use crate::store::Store;
use crate::store::meta::DriverKind;

/// Does what was asked for.
///
/// # Errors
/// One line and its code.
pub fn run(globals: &Globals, verb: StoreVerb) -> Result<u8, Failure> {
    match verb {
        StoreVerb::Init => init(globals),
        StoreVerb::Info => info(globals),
    }
}

fn init(globals: &Globals) -> Result<u8, Failure> {
    let driver = globals
        .driver
        .map_or(DriverKind::Overlay, |word| word.kind());
    let store = Store::init(&globals.root_dir()?, &globals.run_dir()?, driver)?;
    let root = shown(store.layout().root());
    say(globals, &json!({ "root": root, "driver": driver }), || {
        root.clone()
    })
}

fn info(globals: &Globals) -> Result<u8, Failure> {
    let store = globals.open()?;
    let config = store.config();
    let features = config.features;
    let root = shown(store.layout().root());
    let (layers, containers) = (store.layers()?.len(), store.containers()?.len());
    let images = store.images()?.len();
    let value = json!({
        "root": root, "run": shown(&globals.run_dir()?), "config": config,
        "layers": layers, "containers": containers, "images": images,
    });
    say(globals, &value, || {
        let can = |yes: bool| if yes { "yes" } else { "no" };
        let marks = features.xattr.map_or("none", |marks| marks.word());
        format!(
            "root: {root}\nformat: {}\ndriver: {}\ncreated: {} by {}\nreflink: {}\ncopy_file_range: {}\n\
             marks: {marks}\nwhiteout devices: {}\nlayers: {layers}\ncontainers: {containers}\nimages: {images}",
            config.format,
            config.driver,
            config.created,
            config.writer,
            can(features.reflink),
            can(features.copy_file_range),
            can(features.whiteout_device),
        )
    })
}

//! `plyfs store ...`: the store as a whole.

use serde_json::json;

use super::args::{DedupArgs, DedupWord, Globals, StoreVerb};
use super::interruptible;
use super::output::{bytes, damaged, say, table};
use super::progress::during;
use crate::cli::failure::{Failure, shown};
use crate::cli::remark::note;
use crate::store::Store;
use crate::store::check::Damage;
use crate::store::dedup::{DedupOptions, Saved};
use crate::store::driver::driver;
use crate::store::error::{Error, Kind};
use crate::store::meta::{ContainerMeta, DriverKind, LayerMeta};
use crate::store::usage::Usage;
use crate::store::watch::{Phase, Watch};

/// Does what was asked for.
///
/// # Errors
/// One line and its code.
pub fn run(globals: &Globals, verb: StoreVerb) -> Result<u8, Failure> {
    match verb {
        StoreVerb::Init => init(globals),
        StoreVerb::Info => info(globals),
        StoreVerb::Du => du(globals),
        StoreVerb::Check {
            repair,
            dry_run,
            deep,
        } => check(globals, repair && !dry_run, deep),
        StoreVerb::Dedup(args) => dedup(globals, &args),
        StoreVerb::Gc { dry_run } => gc(globals, dry_run),
    }
}

fn init(globals: &Globals) -> Result<u8, Failure> {
    let driver = globals
        .driver
        .map_or(DriverKind::Overlay, |word| word.kind());
    let dedup = globals.dedup == Some(DedupWord::On);
    let store = Store::init_with(&globals.root_dir()?, &globals.run_dir()?, driver, dedup)?;
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
        "root": root, "run": shown(&globals.run_dir()?), "config": config, "copies": features.copies(),
        "layers": layers, "containers": containers, "images": images,
    });
    say(globals, &value, || {
        let can = |yes: bool| if yes { "yes" } else { "no" };
        let marks = features.xattr.map_or("none", |marks| marks.word());
        format!(
            "root: {root}\nformat: {}\ndriver: {}\ncreated: {} by {}\nreflink: {}\ncopy_file_range: {}\n\
             marks: {marks}\nwhiteout devices: {}\ncopies: {}\n\
             layers: {layers}\ncontainers: {containers}\nimages: {images}",
            config.format,
            config.driver,
            config.created,
            config.writer,
            can(features.reflink),
            can(features.copy_file_range),
            can(features.whiteout_device),
            features.copies(),
        )
    })
}

fn du(globals: &Globals) -> Result<u8, Failure> {
    let store = interruptible(globals.open()?)?;
    let all = (store.all_layers(damaged)?, store.all_containers(damaged)?);
    let (layers, containers) = during(globals, &store, || measure(&store, &all.0, &all.1))?;
    let value = json!({ "layers": layers, "containers": containers });
    say(globals, &value, || {
        let row = |word: &str, usage: Usage| {
            let counts = [usage.bytes, usage.disk, usage.entries].map(|count| count.to_string());
            [vec![word.to_string()], counts.to_vec()].concat()
        };
        let rows = [row("layers", layers), row("containers", containers)];
        table(&["what", "bytes", "disk", "entries"], &rows)
    })
}

/// What layers and containers take.
fn measure(
    store: &Store,
    layers: &[LayerMeta],
    containers: &[ContainerMeta],
) -> Result<(Usage, Usage), Failure> {
    store.begin(Phase::Measure, None);
    let (mut of_layers, mut of_containers) = (Usage::default(), Usage::default());
    for layer in layers {
        let tree = store.tree(layer.driver, &layer.id);
        of_layers = of_layers.plus(Usage::watched(&tree, store)?);
    }
    for container in containers {
        let changes = driver(container.driver).changes(store.layout(), &container.id);
        of_containers = of_containers.plus(Usage::watched(&changes, store)?);
    }
    Ok((of_layers, of_containers))
}

fn check(globals: &Globals, repair: bool, deep: bool) -> Result<u8, Failure> {
    let store = interruptible(globals.open()?)?;
    let report = during(globals, &store, || {
        let mut report = store.check(repair)?;
        if deep {
            report.damage.extend(store.check_contents(repair, &store)?);
        }
        Ok::<_, Error>(report)
    })?;
    say(globals, &report, || {
        let line = |damage: &Damage| {
            let done = match damage {
                Damage { repaired: true, .. } => " (repaired)",
                Damage {
                    repairable: true, ..
                } => " (--repair removes what is known of it)",
                _ => "",
            };
            format!("{}: {}{done}", damage.object, damage.what)
        };
        let lines: Vec<String> = report.damage.iter().map(line).collect();
        lines.join("\n")
    })?;
    let garbage = &report.garbage;
    let clean = garbage.paths.is_empty() && garbage.settled.is_empty();
    if !repair && !globals.quiet && !clean {
        note("a crash left something behind, nothing is lost (`plyfs store gc` cleans up)");
    }
    let whole = report.damage.iter().all(|damage| damage.repaired);
    Ok(if whole { 0 } else { Kind::Corrupt.code() })
}

fn dedup(globals: &Globals, args: &DedupArgs) -> Result<u8, Failure> {
    let store = interruptible(globals.open()?)?;
    let options = DedupOptions {
        method: args.method.method(),
        min_size: args.min_size,
        dry_run: args.dry_run,
        force_offline: args.force_offline,
    };
    let report = during(globals, &store, || store.dedup(&options, &store))?;
    say(globals, &report, || {
        let would = if report.dry_run { "to be " } else { "" };
        let saved = |what: &str, saved: Saved| {
            let (files, size) = (saved.files, bytes(saved.bytes));
            format!("{would}{what}: {files} files, {size}\n")
        };
        let mut text = saved("linked", report.linked);
        if report.shared != Saved::default() {
            text.push_str(&saved("sharing blocks", report.shared));
        }
        text.push_str(&format!("{would}freed: {}\n", bytes(report.freed)));
        for (why, files) in &report.skipped {
            text.push_str(&format!("left as they are, {why}: {files} files\n"));
        }
        for left in &report.left_alone {
            text.push_str(&format!("left alone, {}: layer {}\n", left.why, left.layer));
        }
        text
    })
}

fn gc(globals: &Globals, dry_run: bool) -> Result<u8, Failure> {
    let store = interruptible(globals.open()?)?;
    let garbage = match dry_run {
        true => store.garbage()?,
        false => during(globals, &store, || store.gc())?,
    };
    say(globals, &garbage, || {
        let paths = garbage.paths.iter().map(|path| shown(path));
        let settled = garbage.settled.iter().map(|id| format!("container {id}"));
        settled.chain(paths).collect::<Vec<String>>().join("\n")
    })
}

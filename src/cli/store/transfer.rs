//! Archives in and out, and lists of changes: verbs that layers and containers share.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use serde_json::{Value, json};

use super::args::{DevicesWord, DiffArgs, Globals, UnpackArgs, XattrsWord};
use super::layer::say_id;
use super::output::say;
use super::progress::during;
use crate::cli::failure::{Failure, reason};
use crate::cli::remark::warn;
use crate::store::Store;
use crate::store::apply::{Devices, Limits};
use crate::store::changes::{Change, ChangeKind};
use crate::store::error::{Error, Kind};
use crate::store::files::{source, write_file};
use crate::store::id::{Id, ObjectName};
use crate::store::layers::NewLayer;
use crate::store::remarks::Remarks;
use crate::store::transfer::{Tree, Unpacking};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// How to unpack, as the flags say.
pub fn unpacking<'a>(store: &'a Store, args: &UnpackArgs) -> Unpacking<'a> {
    Unpacking {
        limits: Limits {
            bytes: args.max_unpacked,
            entries: args.max_entries,
        },
        devices: match args.devices {
            DevicesWord::Record => Devices::Record,
            DevicesWord::Skip => Devices::Skip,
            DevicesWord::Error => Devices::Refuse,
        },
        strict_xattrs: args.xattrs == XattrsWord::Strict,
        ..Unpacking::new(store)
    }
}

/// Makes a layer of an archive.
///
/// # Errors
/// Those of [`Store::unpack_layer`].
pub fn unpack(
    globals: &Globals,
    store: &Store,
    parent: Option<Id>,
    archive: &Path,
    name: Option<ObjectName>,
    args: &UnpackArgs,
) -> Result<u8, Failure> {
    let new = NewLayer {
        parent,
        driver: globals.driver.map(|word| word.kind()),
        name,
        ..NewLayer::default()
    };
    let source = source(archive)?;
    let unpacked = during(globals, store, || {
        store.unpack_layer(&new, source, &unpacking(store, args))
    });
    let unpacked = unpacked.map_err(|error| match error.kind {
        // The archive is to blame, so it is named.
        Kind::Corrupt => Error::at(error.kind, "archive", archive, error),
        _ => error,
    })?;
    remark(globals, &unpacked.applied.remarks);
    say_id(globals, &unpacked.layer.id)
}

/// Says what could not be as it was.
pub fn remark(globals: &Globals, remarks: &Remarks) {
    if !globals.quiet {
        remarks.lines().iter().for_each(|line| warn(line));
    }
}

/// Writes what a tree changes as an archive, to a file or standard output.
///
/// # Errors
/// Those of [`Store::export`].
pub fn diff(globals: &Globals, store: &Store, tree: &Tree, args: &DiffArgs) -> Result<u8, Failure> {
    let base = args
        .base
        .as_deref()
        .map(|base| find(store, base))
        .transpose()?;
    let file = args
        .output
        .as_deref()
        .filter(|path| path.as_os_str() != "-");
    let (base, digest) = (base.as_ref(), globals.json && file.is_some());
    let export = |sink: &mut (dyn Write + Send)| match digest {
        true => {
            let exported = store.export(tree, base, sink, store)?;
            let value = json!({ "diff_id": exported.diff_id, "size": exported.size });
            Ok((exported.remarks, value))
        }
        // Nobody is told of it, and it costs more than the rest.
        false => Ok((
            store.export_undigested(tree, base, sink, store)?,
            Value::Null,
        )),
    };
    let (remarks, value) = during(globals, store, || match file {
        Some(path) => Ok(write_file(path, export)?),
        None => Ok::<_, Failure>(export(&mut standard_output()?)?),
    })?;
    remark(globals, &remarks);
    match file {
        // Standard output carries the archive.
        None => Ok(0),
        Some(_) => say(globals, &value, String::new),
    }
}

/// Standard output for bytes.
fn standard_output() -> Result<impl Write + Send, Failure> {
    let out = std::io::stdout();
    if out.is_terminal() {
        return Err(Failure::usage("no archives on a terminal (use -o FILE)"));
    }
    // Not through `Stdout`, which looks for lines.
    let out = out.as_fd().try_clone_to_owned();
    let out =
        out.map_err(|error| Failure::failed(format!("standard output: {}", reason(&error))))?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, File::from(out)))
}

/// The layer, or else the container, that is meant.
///
/// # Errors
/// [`Kind::NotFound`] when it is neither.
pub fn find(store: &Store, text: &str) -> Result<Tree, Failure> {
    match store.find_layer(text) {
        Ok(id) => Ok(Tree::Layer(id)),
        Err(error) if error.kind == Kind::NotFound => match store.find_container(text) {
            Ok(id) => Ok(Tree::Container(id)),
            Err(other) if other.kind == Kind::NotFound => {
                let text = format!("no layer or container {}", text.escape_debug());
                Err(Failure::new(Kind::NotFound.code(), text))
            }
            Err(other) => Err(other.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Lists what a tree changes, sorted by path.
///
/// # Errors
/// Those of [`Store::changes`].
pub fn changes(
    globals: &Globals,
    store: &Store,
    tree: &Tree,
    base: Option<&str>,
) -> Result<u8, Failure> {
    let base = base.map(|base| find(store, base)).transpose()?;
    let mut found: Vec<(Vec<u8>, ChangeKind)> = Vec::new();
    let mut note = |change: &Change<'_>| {
        found.push((change.path.to_vec(), change.kind));
        Ok(())
    };
    store.changes(tree, base.as_ref(), &mut note)?;
    found.sort();
    let shown = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path).escape_debug());
    let value: Vec<Value> = found
        .iter()
        .map(|(path, kind)| json!({ "path": shown(path), "kind": word(*kind) }))
        .collect();
    say(globals, &value, || {
        let line = |(path, kind): &(Vec<u8>, ChangeKind)| {
            let letter = word(*kind)[..1].to_uppercase();
            format!("{letter} {}\n", shown(path))
        };
        found.iter().map(line).collect()
    })
}

fn word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "modified",
        ChangeKind::Deleted => "deleted",
    }
}

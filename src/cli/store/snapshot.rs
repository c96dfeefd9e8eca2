//! `plyfs snapshot ...`

use serde_json::{Value, json};

use super::args::{Globals, LabelChange, PrepareArgs, Runtime, SnapshotVerb};
use super::mounts::of_snapshot;
use super::output::{damaged, done, say, table};
use super::progress::during;
use crate::cli::failure::Failure;
use crate::store::Store;
use crate::store::id::SnapshotKey;
use crate::store::snapshots::NewSnapshot;
use crate::store::snapshots::filter::Filter;
use crate::store::snapshots::info::Snapshot;
use crate::store::snapshots::labels::Relabel;

/// Does what was asked for.
///
/// # Errors
/// One line and its code.
pub fn run(globals: &Globals, store: &Store, verb: SnapshotVerb) -> Result<u8, Failure> {
    match verb {
        SnapshotVerb::Prepare(args) => prepare(globals, store, args, false),
        SnapshotVerb::View(args) => prepare(globals, store, args, true),
        SnapshotVerb::Mounts { key, runtime } => {
            let mount = of_snapshot(store, &SnapshotKey::parse(&key)?, runtime)?;
            say(globals, &[&mount], || mount.command())
        }
        SnapshotVerb::Commit { name, key, labels } => {
            let (name, key) = (SnapshotKey::parse(&name)?, SnapshotKey::parse(&key)?);
            let labels = labels.into_iter().collect();
            let made = during(globals, store, || {
                store.commit_snapshot(&name, &key, &labels)
            })?;
            say(globals, &made, String::new)
        }
        SnapshotVerb::Rm { keys, dry_run } => rm(globals, store, &keys, dry_run),
        SnapshotVerb::Stat { key } => done(&store.snapshot(&SnapshotKey::parse(&key)?)?),
        SnapshotVerb::Ls { filters } => ls(globals, store, &filters),
        SnapshotVerb::Usage { key } => usage(globals, store, key.as_deref()),
        SnapshotVerb::Label {
            key,
            changes,
            replace,
        } => {
            let change = relabel(changes, replace);
            let changed = store.label_snapshot(&SnapshotKey::parse(&key)?, &change)?;
            say(globals, &changed, String::new)
        }
    }
}

fn prepare(globals: &Globals, store: &Store, args: PrepareArgs, view: bool) -> Result<u8, Failure> {
    let new = NewSnapshot {
        key: SnapshotKey::parse(&args.key)?,
        parent: args.parent,
        view,
        driver: globals.driver.map(|word| word.kind()),
        labels: args.labels.into_iter().collect(),
    };
    let made = during(globals, store, || store.prepare_snapshot(&new))?;
    let mount = of_snapshot(store, &made.name, Runtime::Auto)?;
    say(globals, &[&mount], || mount.command())
}

fn rm(globals: &Globals, store: &Store, keys: &[String], dry_run: bool) -> Result<u8, Failure> {
    let mut removed = Vec::new();
    for key in keys {
        let key = SnapshotKey::parse(key)?;
        match dry_run {
            true => store.check_snapshot_unused(&key, &removed)?,
            false => during(globals, store, || store.remove_snapshot(&key))?,
        }
        removed.push(key);
    }
    let value = json!({ "removed": removed, "dry_run": dry_run });
    say(globals, &value, || match dry_run {
        true => removed.iter().map(|key| format!("{key}\n")).collect(),
        false => String::new(),
    })
}

fn ls(globals: &Globals, store: &Store, filters: &[String]) -> Result<u8, Failure> {
    let filters = filters.iter().map(|filter| filter.parse());
    let filters: Vec<Filter> = filters.collect::<Result<_, _>>()?;
    let mut found = store.snapshots(damaged)?;
    found.retain(|one| filters.is_empty() || filters.iter().any(|filter| filter.matches(one)));
    say(globals, &found, || {
        let row = |snapshot: &Snapshot| {
            let parent = snapshot.parent.as_deref().unwrap_or("-");
            vec![
                snapshot.name.to_string(),
                parent.escape_debug().to_string(),
                snapshot.kind.word().to_string(),
                snapshot.created.chars().take(19).collect(),
            ]
        };
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        table(&["key", "parent", "kind", "created"], &rows)
    })
}

fn usage(globals: &Globals, store: &Store, key: Option<&str>) -> Result<u8, Failure> {
    let keys = match key {
        Some(key) => vec![SnapshotKey::parse(key)?],
        None => {
            let all = store.snapshots(damaged)?.into_iter();
            all.map(|snapshot| snapshot.name).collect()
        }
    };
    let mut found = Vec::new();
    for key in keys {
        let usage = store.snapshot_usage(&key)?;
        found.push((key, usage));
    }
    let value: Vec<Value> = found
        .iter()
        .map(|(key, usage)| json!({ "name": key, "size": usage.disk, "inodes": usage.inodes }))
        .collect();
    say(globals, &value, || {
        let rows: Vec<Vec<String>> = found
            .iter()
            .map(|(key, usage)| {
                let counts = [usage.disk, usage.inodes].map(|count| count.to_string());
                [vec![key.to_string()], counts.to_vec()].concat()
            })
            .collect();
        table(&["key", "size", "inodes"], &rows)
    })
}

fn relabel(changes: Vec<LabelChange>, replace: bool) -> Relabel {
    let mut relabel = Relabel {
        replace,
        ..Relabel::default()
    };
    for change in changes {
        match change {
            LabelChange::Set(name, value) => {
                relabel.set.insert(name, value);
            }
            LabelChange::Remove(name) => {
                relabel.remove.insert(name);
            }
        }
    }
    relabel
}

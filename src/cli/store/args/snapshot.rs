//! The words of snapshots.

use clap::{Args, Subcommand};

use super::{Runtime, key_value};

/// `plyfs snapshot ...`
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum SnapshotVerb {
    /// Make a snapshot that can be changed; print how to mount it
    Prepare(PrepareArgs),
    /// Make a snapshot that can be read; print how to mount it
    View(PrepareArgs),
    /// Print how to mount a snapshot: as a command without the mount point, or with --json as containerd has it
    Mounts {
        /// Its key
        key: String,
        /// Who shall mount
        #[arg(long, value_enum, default_value = "auto")]
        runtime: Runtime,
    },
    /// Turn an active snapshot into a committed one, which others can begin as
    Commit {
        /// The key of the committed one
        name: String,
        /// The key of the active one, which is free then
        key: String,
        /// A label; those of the active one are gone
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = key_value)]
        labels: Vec<(String, String)>,
    },
    /// Remove snapshots that no other stands on
    Rm {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Their keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Say everything about a snapshot, in JSON
    Stat {
        /// Its key
        key: String,
    },
    /// List snapshots
    Ls {
        /// Only those that one of these matches, as kind==active,labels.NAME==VALUE
        #[arg(value_name = "FILTER")]
        filters: Vec<String>,
    },
    /// Say what snapshots take, those below them not counted: bytes on disk, inodes
    Usage {
        /// Its key; all if not given
        key: Option<String>,
    },
    /// Change the labels of a snapshot
    Label {
        /// Remove all others
        #[arg(long)]
        replace: bool,
        /// Its key
        key: String,
        /// NAME=VALUE sets a label, NAME- removes one
        #[arg(value_name = "CHANGE", value_parser = label_change)]
        changes: Vec<LabelChange>,
    },
}

/// `plyfs snapshot prepare|view`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct PrepareArgs {
    /// Any text that is not a key yet
    pub key: String,
    /// The key of a committed snapshot, or the whole id or the name of a layer; nothing: it begins empty
    pub parent: Option<String>,
    /// A label
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
}

/// What happens to a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// It has this name and value.
    Set(String, String),
    /// There is none of this name.
    Remove(String),
}

fn label_change(text: &str) -> Result<LabelChange, String> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((name, value)), _) if !name.is_empty() => {
            Ok(LabelChange::Set(name.to_string(), value.to_string()))
        }
        (None, Some(name)) if !name.is_empty() => Ok(LabelChange::Remove(name.to_string())),
        _ => Err("NAME=VALUE or NAME- is wanted".to_string()),
    }
}

//! The words of the store: nouns, verbs and flags, as clap sees them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::store::meta::{DriverKind, SyncPolicy};

mod admin;
mod archive;
mod snapshot;

use archive::parse_bytes;

pub use admin::{DedupArgs, DedupWord, StoreVerb};
pub use archive::{
    ChangesArgs, CompressWord, DevicesWord, DiffArgs, ImageVerb, UnpackArgs, XattrsWord,
};
pub use snapshot::{LabelChange, PrepareArgs, SnapshotVerb};

/// What was asked of the store.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(name = "plyfs", version, disable_help_subcommand = true)]
pub struct StoreOrder {
    /// What every verb takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What it is about.
    #[command(subcommand)]
    pub noun: Noun,
}

/// Flags of every verb.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct Globals {
    /// The store [default: /var/lib/plyfs, for users $XDG_DATA_HOME/plyfs]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// For what does not outlive a boot [default: /run/plyfs, for users $XDG_RUNTIME_DIR/plyfs]
    #[arg(long, global = true, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// How new layers are kept [default: what the store was made for]
    #[arg(long, global = true, value_enum, value_name = "DRIVER")]
    pub driver: Option<DriverWord>,
    /// Say it in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// No remarks, no progress
    #[arg(short = 'q', long, global = true)]
    pub quiet: bool,
    /// How to show on standard error what takes long; auto: bars on a terminal, else a line every 2 seconds
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "HOW"
    )]
    pub progress: ProgressWord,
    /// What is on disk when a verb ends
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "commit",
        value_name = "WHEN"
    )]
    pub sync: SyncWord,
    /// Link equal files of new layers to those of layers that are there [default: what the store was made for]
    #[arg(long, global = true, value_enum, value_name = "WHEN")]
    pub dedup: Option<DedupWord>,
}

/// `--driver`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DriverWord {
    /// Differences, merged by a mount
    Overlay,
    /// Complete copies, no mount
    Vfs,
}

impl DriverWord {
    /// As the store has it.
    pub fn kind(self) -> DriverKind {
        match self {
            DriverWord::Overlay => DriverKind::Overlay,
            DriverWord::Vfs => DriverKind::Vfs,
        }
    }
}

/// `--progress`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressWord {
    /// Bars on a terminal, else lines about what takes longer than 2 seconds
    Auto,
    /// Lines, also on a terminal
    Plain,
    /// Nothing
    None,
}

/// `--sync`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SyncWord {
    /// Nothing for sure
    None,
    /// Layers and images
    Commit,
    /// Everything
    Full,
}

impl SyncWord {
    /// As the store has it.
    pub fn policy(self) -> SyncPolicy {
        match self {
            SyncWord::None => SyncPolicy::None,
            SyncWord::Commit => SyncPolicy::Commit,
            SyncWord::Full => SyncPolicy::Full,
        }
    }
}

/// What a call is about.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Noun {
    /// The store as a whole
    #[command(subcommand)]
    Store(StoreVerb),
    /// Sealed trees
    #[command(subcommand)]
    Layer(LayerVerb),
    /// Trees that change
    #[command(subcommand)]
    Container(ContainerVerb),
    /// Lists of layers with a configuration
    #[command(subcommand)]
    Image(ImageVerb),
    /// Trees by their keys, as containerd knows them
    #[command(subcommand)]
    Snapshot(SnapshotVerb),
}

/// `plyfs layer ...`
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum LayerVerb {
    /// Make a layer; print its id
    Create {
        /// The layer below: id, beginning of an id, or name
        #[arg(long, value_name = "LAYER")]
        parent: Option<String>,
        /// The image whose top-most layer is the one below
        #[arg(long, value_name = "IMAGE", conflicts_with = "parent")]
        parent_image: Option<String>,
        /// What differs from the parent, whiteouts included; nothing if not given
        #[arg(long, value_name = "DIR", conflicts_with = "from_tar")]
        from_dir: Option<PathBuf>,
        /// The same as an archive: tar, also packed by gzip or zstd; - is standard input
        #[arg(long, value_name = "FILE")]
        from_tar: Option<PathBuf>,
        /// How to unpack
        #[command(flatten)]
        unpack: UnpackArgs,
        /// Its name
        #[arg(long)]
        name: Option<String>,
    },
    /// Make a layer on another one, of an archive that says what differs; print its id
    Apply {
        /// The layer below: id, beginning of an id, or name
        layer: String,
        /// Tar, also packed by gzip or zstd; - is standard input
        #[arg(value_name = "FILE")]
        archive: PathBuf,
        /// Its name
        #[arg(long)]
        name: Option<String>,
        /// How to unpack
        #[command(flatten)]
        unpack: UnpackArgs,
    },
    /// Write what a layer changes as an archive
    Diff(DiffArgs),
    /// List what a layer changes: A added, M modified, D deleted
    Changes(ChangesArgs),
    /// List all layers
    Ls,
    /// Say everything about a layer, in JSON
    Inspect {
        /// Id, beginning of an id, or name
        layer: String,
    },
    /// Say what layers take: bytes in files, bytes on disk, entries
    Du {
        /// Id, beginning of an id, or name; all if not given
        layer: Option<String>,
    },
    /// Remove layers that nothing stands on
    Rm {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Ids, beginnings of ids, or names
        #[arg(required = true, value_name = "LAYER")]
        layers: Vec<String>,
    },
    /// Make one layer, without parent, of a layer and all below it; print its id
    Squash {
        /// Id, beginning of an id, or name
        layer: String,
        /// The new layer's name
        #[arg(long)]
        name: Option<String>,
    },
}

/// `plyfs container ...`
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum ContainerVerb {
    /// Make a container; print its id
    Create {
        /// What it stands on: id, beginning of an id, or name; nothing if not given
        #[arg(long, value_name = "LAYER")]
        layer: Option<String>,
        /// The image it stands on: id, beginning of an id, or name
        #[arg(long, value_name = "IMAGE", conflicts_with = "layer")]
        image: Option<String>,
        /// It cannot be written to
        #[arg(long)]
        read_only: bool,
        /// Its changes need not survive a crash of the system
        #[arg(long)]
        volatile: bool,
        /// Bytes on disk that it may take; K, M, G and T are understood
        #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
        size: Option<u64>,
        /// Files, directories and the rest that it may have
        #[arg(long, value_name = "COUNT")]
        inodes: Option<u64>,
        /// Show owners under other numbers: DISK:SHOWN:COUNT, more joined by colons, or uids=...,gids=...
        #[arg(long, value_name = "MAP")]
        idmap: Option<String>,
    },
    /// Make its tree visible; print where
    Mount {
        /// Id or beginning of one
        container: String,
        /// Who mounts
        #[arg(long, value_enum, default_value = "auto")]
        runtime: Runtime,
    },
    /// End the mount
    #[command(alias = "umount")]
    Unmount {
        /// Id or beginning of one
        container: String,
    },
    /// Make a layer of what it changed; print its id
    Commit(CommitArgs),
    /// Write what a container changed as an archive
    Diff(DiffArgs),
    /// List what a container changed: A added, M modified, D deleted
    Changes(ChangesArgs),
    /// List all containers
    Ls,
    /// Say everything about a container, in JSON
    Inspect {
        /// Id or beginning of one
        container: String,
    },
    /// Say what changes take: bytes in files, bytes on disk, entries
    Du {
        /// Id or beginning of one; all if not given
        container: Option<String>,
    },
    /// Remove containers and what they changed
    Rm {
        /// Unmount them first
        #[arg(short, long)]
        force: bool,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Ids or beginnings of them
        #[arg(required = true, value_name = "CONTAINER")]
        containers: Vec<String>,
    },
}

/// `plyfs container commit`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct CommitArgs {
    /// Id or beginning of one
    pub container: String,
    /// The layer's name
    #[arg(long)]
    pub name: Option<String>,
    /// The layer's id; a random one if not given
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Who made it
    #[arg(long)]
    pub author: Option<String>,
    /// Why
    #[arg(short, long)]
    pub message: Option<String>,
    /// A setting for images made of it
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub config: Vec<(String, String)>,
    /// Turn the container into the layer: nothing is copied, and the container is gone
    #[arg(long)]
    pub rm: bool,
    /// Do it while it is mounted and in use
    #[arg(long, conflicts_with = "rm")]
    pub live: bool,
    /// When to compute the layer's digest; lazy: when it first leaves
    #[arg(long, value_enum, default_value = "lazy", value_name = "WHEN")]
    pub digest: DigestWord,
}

/// `--digest`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DigestWord {
    /// At once
    Now,
    /// When somebody needs it
    Lazy,
}

/// `--runtime`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// plyfs
    Fuse,
    /// The kernel's overlayfs
    Kernel,
    /// The kernel where this user may, else plyfs
    Auto,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err("KEY=VALUE is wanted".to_string()),
    }
}

const NOUNS: [&str; 5] = ["store", "layer", "container", "image", "snapshot"];
const FLAGS: [&str; 9] = [
    "--root",
    "--run",
    "--driver",
    "--json",
    "-q",
    "--quiet",
    "--progress",
    "--sync",
    "--dedup",
];

/// Do these arguments (without the program's name) begin as those of the store do?
pub fn is_ours(args: &[OsString]) -> bool {
    let Some(first) = args.first().and_then(|arg| arg.to_str()) else {
        return false;
    };
    let flag = first.split('=').next().unwrap_or(first);
    NOUNS.contains(&first) || FLAGS.contains(&flag)
}

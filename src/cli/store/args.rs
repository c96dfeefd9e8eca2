//! The words of the store: nouns, verbs and flags, as clap sees them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::store::meta::{DriverKind, SyncPolicy};

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
    /// No remarks
    #[arg(short = 'q', long, global = true)]
    pub quiet: bool,
    /// What is on disk when a verb ends
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "commit",
        value_name = "WHEN"
    )]
    pub sync: SyncWord,
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
}

/// `plyfs store ...`
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum StoreVerb {
    /// Make an empty store
    Init,
    /// Say what it is and what its filesystem can
    Info,
}

const NOUNS: [&str; 1] = ["store"];
const FLAGS: [&str; 7] = [
    "--root", "--run", "--driver", "--json", "-q", "--quiet", "--sync",
];

/// Do these arguments (without the program's name) begin as those of the store do?
pub fn is_ours(args: &[OsString]) -> bool {
    let Some(first) = args.first().and_then(|arg| arg.to_str()) else {
        return false;
    };
    let flag = first.split('=').next().unwrap_or(first);
    NOUNS.contains(&first) || FLAGS.contains(&flag)
}

//! The words of the store as a whole.

use clap::{Args, Subcommand, ValueEnum};

use super::archive::parse_bytes;
use crate::store::dedup::Method;

/// `plyfs store ...`
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum StoreVerb {
    /// Make an empty store
    Init,
    /// Say what it is and what its filesystem can
    Info,
    /// Say what everything in it takes
    Du,
    /// Look whether everything is there; exit code 7 if not
    Check {
        /// Remove garbage, and what is known of objects that are gone
        #[arg(long)]
        repair: bool,
        /// Only say what a repair would do
        #[arg(long)]
        dry_run: bool,
        /// Read everything, and compare it with what it was
        #[arg(long)]
        deep: bool,
    },
    /// Make equal files of different layers one
    Dedup(DedupArgs),
    /// Remove what a crash left behind
    Gc {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// `plyfs store dedup`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct DedupArgs {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// How files become one
    #[arg(long, value_enum, default_value = "auto")]
    pub method: MethodWord,
    /// Leave smaller files alone: bytes, or with K, M, G, T
    #[arg(long, value_name = "SIZE", default_value = "1", value_parser = parse_bytes)]
    pub min_size: u64,
    /// Also layers below containers that are not mounted: inode numbers of what these changed may change
    #[arg(long)]
    pub force_offline: bool,
}

/// `--method`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodWord {
    /// Links where they are safe, shared blocks for the rest where the filesystem can
    Auto,
    /// Links alone
    Hardlink,
    /// Shared blocks alone
    Reflink,
}

impl MethodWord {
    /// As the store has it.
    pub fn method(self) -> Method {
        match self {
            MethodWord::Auto => Method::Auto,
            MethodWord::Hardlink => Method::Hardlink,
            MethodWord::Reflink => Method::Reflink,
        }
    }
}

/// `--dedup`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DedupWord {
    /// Whenever a layer is made
    On,
    /// When `store dedup` is called
    Off,
}

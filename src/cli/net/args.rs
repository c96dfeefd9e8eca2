//! The words of plynet: nouns, verbs and flags, as clap sees them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::dns;

/// What was asked of plynet.
#[derive(Debug, Parser)]
#[command(
    name = "plynet",
    version,
    about = "A container's network",
    disable_help_subcommand = true
)]
pub struct Order {
    /// What every verb takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What is to be done.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Names: who answers them, and what
    #[command(subcommand)]
    Dns(dns::Verb),
}

/// Flags of every verb.
#[derive(Debug, Args)]
pub struct Globals {
    /// Networks that were created [default: /var/lib/plynet, for users $XDG_DATA_HOME/plynet]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// For what does not outlive a boot [default: /run/plynet, for users $XDG_RUNTIME_DIR/plynet]
    #[arg(long, global = true, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Say it in JSON
    #[arg(long, global = true)]
    pub json: bool,
}

//! The words of plynet: nouns, verbs and flags, as clap sees them.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::dns;
use crate::net::intent::Mac;
use crate::net::network::{DEFAULT_NETWORK, Firewall};
use crate::net::port::PortMapping;

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

/// Verbs, and the noun `network`.
#[derive(Debug, Subcommand)]
#[command(defer = true)] // The flags of the one that is meant, not of all, at each start.
pub enum Verb {
    /// Networks: create, ls, inspect, rm, prune
    #[command(subcommand)]
    Network(NetworkVerb),
    /// Give a container an interface on a network
    Attach(AttachArgs),
    /// Take it away
    Detach(DetachArgs),
    /// List who is attached
    Ls,
    /// Published ports: ls
    #[command(subcommand)]
    Port(PortVerb),
    /// Compare one attachment with the kernel
    Check(DetachArgs),
    /// Run a command in a network namespace of its own, attached to a network
    Run(RunArgs),
    /// Open one port of a container for one other, on another network
    Link(LinkArgs),
    /// Close what was opened from one container to another
    Unlink(UnlinkArgs),
    /// Run a command where the networks are: for a plain user, in the namespaces he has for that
    Enter(EnterArgs),
    /// End a plain user's namespaces, with all networks in them
    Halt,
    /// Show what this is about, in fresh namespaces; nothing is left
    Demo,
    /// Attach all containers of a file, or none
    Up(FileArgs),
    /// Detach all containers of a file
    Down(FileArgs),
    /// Names: who answers them, and what
    #[command(subcommand)]
    Dns(dns::Verb),
    /// Mend what crashes and other programs left
    Reconcile(ReconcileArgs),
    /// Say what reconcile would mend, and what else is in the way
    Doctor,
}

/// `plynet port ...`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum PortVerb {
    /// List which ports of the host lead to which of a container's
    Ls {
        /// Of this container only: NAME, or NETWORK/NAME
        name: Option<String>,
    },
}

/// `plynet network ...`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum NetworkVerb {
    /// Make a network
    Create(CreateArgs),
    /// List networks
    Ls,
    /// All that is known of networks
    Inspect {
        /// Which
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Remove networks that nobody uses
    Rm {
        /// Which
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Remove all networks that nobody uses
    Prune,
}

/// `plynet network create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name
    pub name: String,
    /// A range of addresses, once for each family [default: a free private one]
    #[arg(long, value_name = "CIDR")]
    pub subnet: Vec<IpNet>,
    /// The bridge's own address in a --subnet [default: its first]
    #[arg(long, value_name = "IP")]
    pub gateway: Vec<IpAddr>,
    /// Also a range of IPv6, if no --subnet is one
    #[arg(long)]
    pub ipv6: bool,
    /// The bridge's name [default: ply and a number]
    #[arg(long, value_name = "IFNAME")]
    pub bridge: Option<String>,
    /// No way out, nothing published
    #[arg(long)]
    pub internal: bool,
    /// Containers of other networks stay out; --isolate=false lets networks that say so, too, in
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub isolate: bool,
    /// Greatest packet in bytes
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u32>,
    /// Answer names; --dns=false does not
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub dns: bool,
    /// Where unknown names are asked for [default: the host's resolvers]
    #[arg(long, value_name = "IP")]
    pub dns_server: Vec<IpAddr>,
    /// --iptables=false: not one rule of a firewall and not one sysctl is written
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub iptables: bool,
    /// Who translates and filters
    #[arg(long, value_enum, default_value = "nftables")]
    pub firewall: FirewallWord,
    /// Anything
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,
}

/// `--firewall`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FirewallWord {
    /// A table of nf_tables
    Nftables,
    /// Chains of iptables
    Iptables,
    /// Nobody
    None,
}

impl CreateArgs {
    /// As the network has it.
    pub fn firewall(&self) -> Firewall {
        match self.firewall {
            _ if !self.iptables => Firewall::None,
            FirewallWord::Nftables => Firewall::Nftables,
            FirewallWord::Iptables => Firewall::Iptables,
            FirewallWord::None => Firewall::None,
        }
    }
}

/// What an attachment is asked for, besides its place.
#[derive(Debug, Args)]
pub struct Wishes {
    /// This address, once for each family [default: the next that is free]
    #[arg(long, value_name = "IP")]
    pub ip: Vec<IpAddr>,
    /// This Ethernet address [default: derived from the address]
    #[arg(long)]
    pub mac: Option<Mac>,
    /// One more name, which others may share
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
    /// Publish a port or range: `[HOSTIP:]PORT[-PORT]:PORT[-PORT][/tcp|/udp]`
    #[arg(short = 'p', long = "publish", value_name = "PORTS")]
    pub ports: Vec<PortMapping>,
    /// Anything
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,
}

/// `plynet attach`
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The network
    pub network: String,
    /// The container's name
    #[arg(long)]
    pub name: String,
    /// The container's network namespace, a file
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with = "pid",
        required_unless_present = "pid"
    )]
    pub netns: Option<PathBuf>,
    /// A process in the container's network namespace
    #[arg(long)]
    pub pid: Option<u32>,
    /// The interface's name in the container
    #[arg(long, value_name = "IFNAME", default_value = "eth0")]
    pub interface: String,
    /// What it shall have.
    #[command(flatten)]
    pub wishes: Wishes,
}

/// `plynet detach`
#[derive(Debug, Args)]
pub struct DetachArgs {
    /// The network
    pub network: String,
    /// The container's name
    #[arg(long)]
    pub name: String,
    /// The interface's name in the container [default: whichever it has on the network]
    #[arg(long, value_name = "IFNAME")]
    pub interface: Option<String>,
}

/// `plynet run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The network
    #[arg(default_value = DEFAULT_NETWORK)]
    pub network: String,
    /// The container's name [default: run- and the process's number]
    #[arg(long)]
    pub name: Option<String>,
    /// What it shall have.
    #[command(flatten)]
    pub wishes: Wishes,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `plynet link`
#[derive(Debug, Args)]
pub struct LinkArgs {
    /// For whom: NAME, or NETWORK/NAME
    pub from: String,
    /// What: NAME:PORT[/tcp|/udp], or NETWORK/NAME:PORT[/tcp|/udp]
    pub to: String,
    /// The name by which it is found [default: its own]
    #[arg(long, value_name = "NAME")]
    pub alias: Option<String>,
}

/// `plynet unlink`
#[derive(Debug, Args)]
pub struct UnlinkArgs {
    /// For whom: NAME, or NETWORK/NAME
    pub from: String,
    /// To whom: NAME, or NETWORK/NAME
    pub to: String,
}

/// `plynet enter`
#[derive(Debug, Args)]
pub struct EnterArgs {
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `plynet up`, `plynet down`
#[derive(Debug, Args)]
pub struct FileArgs {
    /// JSON: {"networks": [...], "containers": [...]}; - is standard input
    pub file: PathBuf,
}

/// `plynet reconcile`
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("not KEY=VALUE".into()),
    }
}

//! `plynet attach`, `detach`, `check`, `ls`.

use std::path::PathBuf;

use super::args::{AttachArgs, DetachArgs, Globals, LinkArgs, UnlinkArgs, Wishes};
use super::say;
use crate::cli::failure::Failure;
use crate::cli::store::output::table;
use crate::net::intent::{Attachment, Intent, Key, Report};
use crate::net::port::Proto;

/// Attaches; says the addresses.
///
/// # Errors
/// One line and the code of its kind.
pub fn attach(globals: &Globals, args: AttachArgs) -> Result<u8, Failure> {
    let netns = match (args.netns, args.pid) {
        (Some(path), _) => path,
        (None, pid) => PathBuf::from(format!("/proc/{}/ns/net", pid.unwrap_or_default())),
    };
    let mut intent = wished(Intent::new(&args.network, &args.name, netns), args.wishes);
    intent.key.interface = args.interface;
    let reports = globals.host()?.attach(&[intent])?;
    match reports.first() {
        Some(report) => say(globals, report, || addresses(report)),
        None => Ok(0),
    }
}

/// An intent with what was wished for.
pub fn wished(intent: Intent, wishes: Wishes) -> Intent {
    Intent {
        ips: wishes.ip,
        mac: wishes.mac,
        aliases: wishes.alias,
        ports: wishes.ports,
        labels: wishes.label.into_iter().collect(),
        ..intent
    }
}

/// Addresses, one a line.
pub fn addresses(report: &Report) -> String {
    let lines = report
        .addresses
        .iter()
        .map(|address| format!("{}/{}", address.ip, address.prefix));
    lines.collect::<Vec<_>>().join("\n")
}

impl DetachArgs {
    fn key(&self) -> Key {
        Key {
            interface: self.interface.clone(),
            ..Key::new(&self.network, &self.name)
        }
    }
}

/// Detaches; who was not attached is no failure.
///
/// # Errors
/// One line and the code of its kind.
pub fn detach(globals: &Globals, args: DetachArgs) -> Result<u8, Failure> {
    let detached = globals.host()?.detach(&args.key())?;
    if !detached {
        log::info!("{} was not attached", args.key());
    }
    say(
        globals,
        &serde_json::json!({ "detached": detached }),
        String::new,
    )
}

/// Compares with the kernel; says the addresses.
///
/// # Errors
/// What is missing.
pub fn check(globals: &Globals, args: DetachArgs) -> Result<u8, Failure> {
    let report = globals.host()?.check(&args.key())?;
    say(globals, &report, || addresses(&report))
}

/// Opens a port.
///
/// # Errors
/// One line and the code of its kind.
pub fn link(globals: &Globals, args: &LinkArgs) -> Result<u8, Failure> {
    let shown = args.to.escape_debug();
    let bad = || Failure::usage(format!("link \"{shown}\": not NAME:PORT[/tcp|/udp]"));
    let (to, port) = args.to.rsplit_once(':').ok_or_else(bad)?;
    let (port, proto) = match port.split_once('/') {
        Some((port, proto)) => (port, proto.parse()?),
        None => (port, Proto::Tcp),
    };
    let port = port.parse().map_err(|_| bad())?;
    let own = to.rsplit('/').next().unwrap_or(to);
    let alias = args.alias.as_deref().unwrap_or(own);
    globals.host()?.link(&args.from, to, proto, port, alias)?;
    Ok(0)
}

/// Closes what was opened; what was not is no failure.
///
/// # Errors
/// One line and the code of its kind.
pub fn unlink(globals: &Globals, args: &UnlinkArgs) -> Result<u8, Failure> {
    globals.host()?.unlink(&args.from, &args.to)?;
    Ok(0)
}

/// Everybody who is attached.
///
/// # Errors
/// A file that cannot be read.
pub fn list(globals: &Globals) -> Result<u8, Failure> {
    let host = globals.host()?;
    let mut all = Vec::new();
    for network in host.book.live()? {
        all.extend(host.book.attachments(&network)?);
    }
    say(globals, &all, || listed(&all))
}

fn listed(all: &[Attachment]) -> String {
    let row = |one: &Attachment| {
        let addresses: Vec<String> = one
            .addresses
            .iter()
            .map(|address| address.ip.to_string())
            .collect();
        let ports: Vec<String> = one.ports.iter().map(ToString::to_string).collect();
        let state = if one.done { "attached" } else { "on its way" };
        let network = one.key.network.clone();
        vec![
            one.name.clone(),
            network,
            state.into(),
            addresses.join(" "),
            ports.join(" "),
        ]
    };
    table(
        &["name", "network", "state", "addresses", "ports"],
        &all.iter().map(row).collect::<Vec<_>>(),
    )
}

//! `plynet attach`, `detach`, `check`, `ls`.

use std::path::PathBuf;

use serde_json::json;

use super::args::{AttachArgs, DetachArgs, Globals, LinkArgs, UnlinkArgs, Wishes};
use super::say;
use crate::cli::failure::Failure;
use crate::cli::store::output::table;
use crate::net::error::Kind;
use crate::net::host::Host;
use crate::net::intent::{Attachment, Intent, Key, Report};
use crate::net::port::{PortMapping, Proto};

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
    /// What is meant at first sight, so that nothing else has to be looked at.
    fn key(&self) -> Key {
        let key = Key::new(&self.network, &self.name);
        match &self.interface {
            Some(interface) => Key {
                interface: interface.clone(),
                ..key
            },
            None => key,
        }
    }

    /// What else may be meant: it has another interface, or is an engine's, whose containers have ids.
    fn others(&self, host: &Host) -> Result<Option<Key>, Failure> {
        if self.interface.is_some() {
            return Ok(None);
        }
        let all = host.book.attachments(&self.network)?;
        let mut named = all
            .into_iter()
            .filter(|one| one.name == self.name || one.key.id == self.name);
        Ok(named.next().map(|one| one.key))
    }
}

/// Detaches; who was not attached is no failure.
///
/// # Errors
/// One line and the code of its kind.
pub fn detach(globals: &Globals, args: DetachArgs) -> Result<u8, Failure> {
    let host = globals.host()?;
    let mut detached = host.detach(&args.key())?;
    if !detached && let Some(other) = args.others(&host)? {
        detached = host.detach(&other)?;
    }
    if !detached {
        log::info!("{} was not attached", args.key());
    }
    say(globals, &json!({ "detached": detached }), String::new)
}

/// Compares with the kernel; says the addresses.
///
/// # Errors
/// What is missing.
pub fn check(globals: &Globals, args: DetachArgs) -> Result<u8, Failure> {
    let host = globals.host()?;
    let report = match host.check(&args.key()) {
        Err(error) if error.kind == Kind::NotFound => match args.others(&host)? {
            Some(other) => host.check(&other),
            None => Err(error),
        },
        checked => checked,
    }?;
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
    let all = attached(globals)?;
    say(globals, &all, || listed(&all))
}

fn attached(globals: &Globals) -> Result<Vec<Attachment>, Failure> {
    let host = globals.host()?;
    let mut all = Vec::new();
    for network in host.book.live()? {
        all.extend(host.book.attachments(&network)?);
    }
    Ok(all)
}

/// What is published, by everybody or by one container.
///
/// # Errors
/// Not found; a file that cannot be read.
pub fn ports(globals: &Globals, wanted: Option<&str>) -> Result<u8, Failure> {
    let is_wanted = |one: &Attachment| {
        let is = |wanted: &str| match wanted.split_once('/') {
            Some((network, name)) => one.key.network == network && one.name == name,
            None => one.name == wanted,
        };
        wanted.is_none_or(is)
    };
    let mut all = attached(globals)?;
    all.retain(is_wanted);
    if let (Some(wanted), []) = (wanted, all.as_slice()) {
        let shown = wanted.escape_debug();
        return Err(Failure::new(
            3,
            format!("no container {shown} (plynet ls lists them)"),
        ));
    }
    let ports = all
        .iter()
        .flat_map(|one| one.ports.iter().map(move |port| (one, port)));
    let ports: Vec<_> = ports.collect();
    let values = ports.iter().map(|(one, port)| {
        json!({ "name": one.name, "network": one.key.network, "host_ip": port.host_ip, "host": port.host,
            "container": port.container, "count": port.count, "proto": port.proto })
    });
    let values: Vec<_> = values.collect();
    let row = |(one, port): &(&Attachment, &PortMapping)| {
        let (name, network) = (one.name.clone(), one.key.network.clone());
        vec![name, network, port.of_container(), port.of_host()]
    };
    let rows: Vec<_> = ports.iter().map(row).collect();
    say(globals, &values, || {
        table(&["name", "network", "port", "published on"], &rows)
    })
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

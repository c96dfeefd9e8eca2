//! `plynet up FILE` and `plynet down FILE`: many containers in one transaction.
//!
//! ```json
//! { "networks": [ { "name": "backend", "subnets": ["10.9.0.0/24"] } ],
//!   "containers": [ { "name": "db", "network": "backend", "netns": "/run/netns/db",
//!                     "ports": ["5432:5432"], "aliases": ["database"], "ips": [] } ] }
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use super::args::Globals;
use super::attach::addresses;
use super::say;
use crate::cli::failure::{Failure, reason, shown};
use crate::net::error::{Error, Kind};
use crate::net::host::Host;
use crate::net::intent::{Intent, Key, Mac};
use crate::net::network::{DEFAULT_NETWORK, Spec};

/// A file of containers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    /// Made where they are missing.
    #[serde(default)]
    networks: Vec<NetworkEntry>,
    containers: Vec<ContainerEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkEntry {
    name: String,
    #[serde(default)]
    subnets: Vec<IpNet>,
    #[serde(default)]
    gateways: Vec<IpAddr>,
    #[serde(default)]
    ipv6: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    mtu: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerEntry {
    name: String,
    netns: PathBuf,
    #[serde(default)]
    network: Option<String>,
    #[serde(default)]
    interface: Option<String>,
    #[serde(default)]
    ips: Vec<IpAddr>,
    #[serde(default)]
    mac: Option<Mac>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl ContainerEntry {
    fn network(&self) -> &str {
        self.network.as_deref().unwrap_or(DEFAULT_NETWORK)
    }

    fn key(&self) -> Key {
        let key = Key::new(self.network(), &self.name);
        match &self.interface {
            Some(interface) => Key {
                interface: interface.clone(),
                ..key
            },
            None => key,
        }
    }

    fn intent(self) -> Result<Intent, Failure> {
        let key = self.key();
        let ports: Result<Vec<_>, Error> = self.ports.iter().map(|port| port.parse()).collect();
        Ok(Intent {
            key,
            ips: self.ips,
            mac: self.mac,
            aliases: self.aliases,
            ports: ports?,
            labels: self.labels,
            ..Intent::new("", &self.name, self.netns)
        })
    }
}

fn read(file: &Path) -> Result<Batch, Failure> {
    let mut text = Vec::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().read_to_end(&mut text).map(drop),
        _ => std::fs::read(file).map(|read| text = read),
    };
    read.map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound {
            3
        } else {
            1
        };
        Failure::new(code, format!("{}: {}", shown(file), reason(&error)))
    })?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::usage(format!("{}: {error}", shown(file))))
}

/// Attaches all, or none; says who has which address.
///
/// # Errors
/// One line and the code of its kind.
pub fn up(globals: &Globals, file: &Path) -> Result<u8, Failure> {
    let batch = read(file)?;
    let intents: Result<Vec<_>, _> = batch
        .containers
        .into_iter()
        .map(ContainerEntry::intent)
        .collect();
    let intents = intents?;
    let host = globals.host()?;
    let mut made = Vec::new();
    let outcome = make_networks(&host, batch.networks, &mut made);
    let reports = outcome.and_then(|()| Ok(host.attach(&intents)?));
    if reports.is_err() {
        // Nothing was changed.
        for name in &made {
            host.remove_network(name)?;
        }
    }
    let reports = reports?;
    say(globals, &reports, || {
        let lines = reports
            .iter()
            .map(|report| format!("{} {}", report.name, addresses(report).replace('\n', " ")));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// Makes those that are missing; their names are in `made`, also after a failure.
fn make_networks(
    host: &Host,
    entries: Vec<NetworkEntry>,
    made: &mut Vec<String>,
) -> Result<(), Failure> {
    for entry in entries {
        let spec = Spec {
            name: entry.name.clone(),
            subnets: entry.subnets,
            gateways: entry.gateways,
            ipv6: entry.ipv6,
            internal: entry.internal,
            mtu: entry.mtu,
            ..Spec::default()
        };
        match host.book.network(&entry.name) {
            Err(error) if error.kind == Kind::NotFound => {
                made.push(host.create_network(&spec)?.name);
            }
            found => drop(found?),
        }
    }
    Ok(())
}

/// Detaches all; the networks stay.
///
/// # Errors
/// One line and the code of its kind.
pub fn down(globals: &Globals, file: &Path) -> Result<u8, Failure> {
    let batch = read(file)?;
    let keys: Vec<Key> = batch.containers.iter().map(ContainerEntry::key).collect();
    globals.host()?.detach_all(&keys)?;
    Ok(0)
}

//! Networks: made, found, removed, adopted.

use std::net::IpAddr;

use super::book::{self, Claiming, listing};
use super::bridge;
use super::error::{Error, Kind, Result};
use super::firewall::Filter;
use super::host::Host;
use super::intent::Attachment;
use super::name;
use super::network::{DEFAULT_BRIDGE, DEFAULT_NETWORK, Network, Spec, Subnet};
use super::subnet::{self, Used};

/// Bridges are `ply0`, `ply1` and so on, unless they are named.
const BRIDGE_PREFIX: &str = "ply";
/// A packet of IPv6 must fit (RFC 8200); of IPv4 it is 68.
const MTU_MIN: u32 = 68;
const MTU_MIN6: u32 = 1280;
const MTU_MAX: u32 = 65535;

impl Host {
    /// Makes a network. Nothing is in the kernel before somebody is attached to it.
    ///
    /// # Errors
    /// Usage, or a conflict that is named.
    pub fn create_network(&self, spec: &Spec) -> Result<Network> {
        self.create(&self.book.claim()?, spec)
    }

    fn create(&self, _: &Claiming, spec: &Spec) -> Result<Network> {
        name::check("network", &spec.name)?;
        if self.book.find_network(&spec.name)?.is_some() {
            return Err(Error::conflict(format!(
                "there is a network {} already",
                spec.name
            )));
        }
        if let Some(bridge) = &spec.bridge {
            name::check_interface("bridge", bridge)?;
        }
        let others = self.book.networks()?;
        let used = self.used(&others)?;
        let subnets = subnets(spec, used)?;
        check_mtu(spec, &subnets)?;
        let network = Network {
            routes: Vec::new(),
            metric: None,
            name: spec.name.clone(),
            bridge: self.bridge(spec, &others)?,
            subnets,
            internal: spec.internal,
            isolate: !spec.open,
            mtu: spec.mtu,
            dns: !spec.no_dns,
            dns_servers: spec.dns_servers.clone(),
            firewall: spec.firewall,
            labels: spec.labels.clone(),
        };
        self.book.keep_network(&network)?;
        Ok(network)
    }

    /// Ranges that others have: networks, routes of the host.
    fn used(&self, others: &[Network]) -> Result<Vec<Used>> {
        let of = |network: &Network| {
            let who = format!("network {}", network.name);
            network
                .subnets
                .iter()
                .map(|s| (s.range, who.clone()))
                .collect::<Vec<_>>()
        };
        let mut used: Vec<Used> = others.iter().flat_map(of).collect();
        let failed = |errno| Error::kernel("routes of the host", errno);
        let links = self.rtnl.links().map_err(failed)?;
        for route in self.rtnl.routes().map_err(failed)? {
            let link = links.iter().find(|link| Some(link.index) == route.link);
            // Everybody has link-local addresses, and a default route overlaps everything.
            let local = matches!(route.to, IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_multicast());
            if let (Ok(range), false, false) = (
                ipnet::IpNet::new(route.to, route.prefix),
                local,
                route.prefix == 0,
            ) {
                let by = link.map_or_else(String::new, |link| format!(" by {}", link.name));
                used.push((range, format!("a route of the host{by}")));
            }
        }
        Ok(used)
    }

    fn bridge(&self, spec: &Spec, others: &[Network]) -> Result<String> {
        let owner = |bridge: &str| others.iter().find(|network| network.bridge == bridge);
        if let Some(bridge) = &spec.bridge {
            return match owner(bridge) {
                Some(other) => Err(Error::conflict(format!(
                    "bridge {bridge} is that of network {}",
                    other.name
                ))),
                None => Ok(bridge.clone()),
            };
        }
        let links = self
            .rtnl
            .links()
            .map_err(|errno| Error::kernel("links of the host", errno))?;
        let free = |bridge: &String| {
            owner(bridge).is_none() && !links.iter().any(|link| link.name == *bridge)
        };
        if spec.name == DEFAULT_NETWORK && owner(DEFAULT_BRIDGE).is_none() {
            return Ok(DEFAULT_BRIDGE.into());
        }
        let mut bridges = (1u32..).map(|n| format!("{BRIDGE_PREFIX}{n}"));
        bridges
            .find(free)
            .ok_or_else(|| Error::conflict("no name for a bridge is free"))
    }

    /// The network for somebody who is about to be attached; the default one is made where it is missing.
    pub(super) fn network_for_use(&self, claiming: &Claiming, name: &str) -> Result<Network> {
        match self.book.network(name) {
            Err(error) if error.kind == Kind::NotFound && name == DEFAULT_NETWORK => {
                let spec = Spec {
                    name: name.into(),
                    ..Spec::default()
                };
                self.create(claiming, &spec)
            }
            found => found,
        }
    }

    /// Removes a network that nobody uses.
    ///
    /// # Errors
    /// Not found, or a conflict that names the users.
    pub fn remove_network(&self, name: &str) -> Result<()> {
        name::check("network", name)?;
        let claiming = self.book.claim()?;
        let network = self.book.network(name)?;
        self.sweep_network(&claiming, name)?;
        let users = self.book.attachments(name)?;
        if !users.is_empty() {
            return Err(Error::conflict(format!(
                "network {name} is used by {}; detach them first",
                words(&users)
            )));
        }
        bridge::lower(&self.book, &claiming, &self.rtnl, &network)?;
        for family in ["4", "6"] {
            book::remove(&self.book.layout.cursor(name, family))?;
        }
        book::remove(&self.book.layout.network(name))?;
        self.retire_if_unused()
    }

    /// Removes all networks that nobody uses, but not the default one; their names.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prune_networks(&self) -> Result<Vec<String>> {
        let mut pruned = Vec::new();
        for network in self
            .book
            .networks()?
            .into_iter()
            .filter(|network| network.name != DEFAULT_NETWORK)
        {
            match self.remove_network(&network.name) {
                Ok(()) => pruned.push(network.name),
                Err(error) if matches!(error.kind, Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }

    /// Uses a network that somebody else keeps (an engine, by its own configuration): it is forgotten with its last
    /// attachment.
    ///
    /// # Errors
    /// Usage; a conflict with a network of that name which is another.
    pub fn adopt_network(&self, network: &Network) -> Result<()> {
        name::check("network", &network.name)?;
        name::check_interface("bridge", &network.bridge)?;
        let claiming = self.book.claim()?;
        let found = self.book.find_network(&network.name)?;
        if found.as_ref().is_some_and(|other| other != network) {
            // It may be the dead who use it.
            self.sweep_network(&claiming, &network.name)?;
        }
        match found {
            Some(other) if other == *network => Ok(()),
            // Its keeper may change what no attachment has seen.
            Some(_)
                if !self.is_used(&network.name)?
                    && !self.book.layout.network(&network.name).exists() =>
            {
                bridge::lower(&self.book, &claiming, &self.rtnl, network)?;
                self.book.adopt(&claiming, network)
            }
            Some(_) => Err(Error::conflict(format!(
                "there is another network {}, and it is used",
                network.name
            ))),
            None => self.book.adopt(&claiming, network),
        }
    }

    /// Asks these servers for unknown names from now on; none: the host's.
    ///
    /// # Errors
    /// Not found.
    pub fn ask_elsewhere(&self, network: &str, servers: Vec<IpAddr>) -> Result<()> {
        let claiming = self.book.claim()?;
        let mut network = self.book.network(network)?;
        network.dns_servers = servers;
        let layout = &self.book.layout;
        let live = layout.live_network(&network.name);
        if live.exists() {
            book::write(&live, &network, false)?;
        }
        match layout.network(&network.name).exists() {
            true => self.book.keep_network(&network),
            false => self.book.adopt(&claiming, &network),
        }
    }

    /// Has the network attachments, also such as are on their way?
    pub(super) fn is_used(&self, network: &str) -> Result<bool> {
        Ok(!listing(&self.book.layout.attachments(network))?.is_empty())
    }

    /// After the last attachment: takes the network out of the kernel, and the rules with the last network.
    pub(super) fn lower_if_unused(&self, claiming: &Claiming, network: &Network) -> Result<()> {
        if self.is_used(&network.name)? {
            return Ok(());
        }
        bridge::lower(&self.book, claiming, &self.rtnl, network)?;
        self.retire_if_unused()
    }

    fn retire_if_unused(&self) -> Result<()> {
        if self.book.live()?.is_empty() {
            Filter::open()?.retire()?;
        }
        Ok(())
    }
}

/// Attachments in words.
fn words(users: &[Attachment]) -> String {
    const SHOWN: usize = 5;
    let names: Vec<&str> = users
        .iter()
        .take(SHOWN)
        .map(|user| user.name.as_str())
        .collect();
    let more = users.len().saturating_sub(SHOWN);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn subnets(spec: &Spec, mut used: Vec<Used>) -> Result<Vec<Subnet>> {
    let mut found = Vec::new();
    let mut gateways = spec.gateways.clone();
    for range in &spec.subnets {
        let place = gateways.iter().position(|gateway| range.contains(gateway));
        let gateway = place.map(|place| gateways.remove(place));
        // A gateway that fits no range belongs to the only one, to be refused with it.
        let gateway = gateway.or_else(|| gateways.pop().filter(|_| spec.subnets.len() == 1));
        let subnet = subnet::check(*range, gateway, &used)?;
        used.push((subnet.range, format!("the same network {}", spec.name)));
        found.push(subnet);
    }
    if let Some(gateway) = gateways.first() {
        return Err(Error::usage(format!(
            "gateway {gateway} is in no --subnet of the network"
        )));
    }
    let has =
        |v4: bool, found: &[Subnet]| found.iter().any(|subnet| subnet.gateway.is_ipv4() == v4);
    if found.is_empty() {
        found.push(subnet::find4(&used)?);
    }
    if spec.ipv6 && !has(false, &found) {
        found.push(subnet::find6(&used)?);
    }
    Ok(found)
}

fn check_mtu(spec: &Spec, subnets: &[Subnet]) -> Result<()> {
    let least = if subnets.iter().any(|s| s.gateway.is_ipv6()) {
        MTU_MIN6
    } else {
        MTU_MIN
    };
    match spec.mtu {
        Some(mtu) if !(least..=MTU_MAX).contains(&mtu) => Err(Error::usage(format!(
            "--mtu {mtu}: from {least} to {MTU_MAX}"
        ))),
        _ => Ok(()),
    }
}

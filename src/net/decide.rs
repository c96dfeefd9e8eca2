//! Everything about an attachment is decided, claimed and checked here, before the kernel is touched.

use std::net::{IpAddr, TcpListener, UdpSocket};

use super::attach::Begun;
use super::book::{Claiming, make_dir};
use super::claims::{Claim, Refused};
use super::derived;
use super::endpoint;
use super::error::{Error, Kind, OrAt, Result};
use super::holder;
use super::host::Host;
use super::intent::{Address, Attachment, Intent, Mac};
use super::network::{Firewall, Network, Subnet};
use super::port::{PortMapping, Proto};
use crate::sys::errno::Errno;

impl Host {
    /// Decides everything, claims it, and writes the intent. Touches the kernel only to take back what a crash left.
    pub(super) fn begin(&self, claiming: &Claiming, intent: &Intent) -> Result<Begun> {
        let network = self.network_for_use(claiming, &intent.key.network)?;
        let netns = endpoint::open_netns(&intent.netns)?;
        let inode = netns.inode().or_at("network namespace", &intent.netns)?;
        if inode == self.netns_inode {
            return Err(Error::usage(format!(
                "{} is the network namespace of the host itself",
                intent.netns.display()
            )));
        }
        check_ports(&network, intent)?;
        if self.book.attachment(&intent.key)?.is_some()
            && !self.sweep_dead(claiming, &intent.key)?
        {
            let remedy = format!(
                "plynet detach {} --name {}",
                intent.key.network, intent.key.id
            );
            return Err(Error::conflict(format!(
                "{} is attached already ({remedy})",
                intent.key
            )));
        }
        let layout = &self.book.layout;
        for dir in [
            layout.attachments(&network.name),
            layout.leases(&network.name),
            layout.names(&network.name),
        ] {
            make_dir(&dir)?;
        }
        let host_interface = derived::host_interface(&intent.key);
        let mac = derived::mac(&host_interface);
        let mut attachment = Attachment {
            key: intent.key.clone(),
            name: intent.name.clone(),
            aliases: intent.aliases.clone(),
            netns: intent.netns.clone(),
            netns_inode: inode,
            host_interface,
            mac: intent.mac.unwrap_or(Mac(mac)),
            addresses: Vec::new(),
            ports: Vec::new(),
            firewall: network.firewall,
            no_route: intent.no_route,
            labels: intent.labels.clone(),
            links: Vec::new(),
            linked_by: Vec::new(),
            leaving: false,
            done: false,
        };
        let begun = self.claim_all(claiming, &network, intent, &mut attachment);
        match begun.and_then(|()| self.book.begin(&attachment)) {
            Ok(flight) => Ok(Begun {
                network,
                attachment,
                netns,
                flight,
            }),
            Err(error) => {
                self.book.release(claiming, &attachment)?;
                self.lower_if_unused(claiming, &network)?;
                Err(error)
            }
        }
    }

    /// What was claimed is in `attachment`, also after a failure.
    fn claim_all(
        &self,
        claiming: &Claiming,
        network: &Network,
        intent: &Intent,
        to: &mut Attachment,
    ) -> Result<()> {
        let key = &intent.key;
        self.claim(claiming, || {
            self.book.claim_name(claiming, &intent.name, key)
        })?;
        for (subnet, wanted) in addresses(network, intent)? {
            let ip = self.claim(claiming, || {
                self.book.lease(claiming, network, subnet, wanted, key)
            })?;
            to.addresses.push(Address {
                ip,
                prefix: subnet.range.prefix_len(),
                gateway: subnet.gateway,
            });
        }
        if let (None, Some(first)) = (intent.mac, to.addresses.first()) {
            to.mac = derived::mac_of(first.ip);
        }
        for mapping in &intent.ports {
            if self.engine
                && let Some(owner) = self.book.published_elsewhere(mapping, key)?
                && !self.sweep_dead(claiming, &owner)?
            {
                continue;
            }
            to.ports.push(mapping.clone());
            self.claim(claiming, || self.book.claim_ports(claiming, mapping, key))?;
            if !self.signs {
                probe(mapping, self.engine)?;
            }
        }
        Ok(())
    }

    /// Makes a claim; where a dead one is in the way, takes that back first.
    fn claim<T>(&self, claiming: &Claiming, claim: impl Fn() -> Claim<T>) -> Result<T> {
        let mut swept = false;
        loop {
            match claim() {
                Ok(claimed) => return Ok(claimed),
                Err(Refused::Taken(owner, what)) => {
                    if !self.sweep_dead(claiming, &owner)? {
                        return Err(Error::conflict(format!("{what} is taken by {owner}")));
                    }
                }
                // All taken: some of them may be dead.
                Err(Refused::Failed(error)) if error.kind == Kind::Conflict && !swept => {
                    swept = true;
                    if self.sweep(claiming)? == 0 {
                        return Err(error);
                    }
                }
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
    }
}

/// For each subnet that gives an address: the subnet, and which address is wanted. One of each family, unless more are
/// wanted.
fn addresses<'a>(
    network: &'a Network,
    intent: &Intent,
) -> Result<Vec<(&'a Subnet, Option<IpAddr>)>> {
    let mut chosen: Vec<(&Subnet, Option<IpAddr>)> = Vec::new();
    for ip in &intent.ips {
        let subnet = network
            .subnet_of(*ip)
            .filter(|subnet| super::subnet::is_host(&subnet.range, *ip));
        match subnet {
            Some(subnet) if subnet.gateway == *ip => {
                return Err(Error::conflict(format!(
                    "address {ip} is taken by the gateway of network {}",
                    network.name
                )));
            }
            Some(subnet) => chosen.push((subnet, Some(*ip))),
            None => {
                let ranges: Vec<String> = network
                    .subnets
                    .iter()
                    .map(|s| s.range.to_string())
                    .collect();
                let (name, ranges) = (&network.name, ranges.join(", "));
                return Err(Error::usage(format!(
                    "address {ip} is not a host's in network {name} ({ranges})"
                )));
            }
        }
    }
    for subnet in &network.subnets {
        let v4 = subnet.gateway.is_ipv4();
        if !chosen
            .iter()
            .any(|(other, _)| other.gateway.is_ipv4() == v4)
        {
            chosen.push((subnet, None));
        }
    }
    Ok(chosen)
}

fn check_ports(network: &Network, intent: &Intent) -> Result<()> {
    let Some(first) = intent.ports.first() else {
        return Ok(());
    };
    let bad = |why: &str| {
        Err(Error::usage(format!(
            "port {first}: network {} {why}",
            network.name
        )))
    };
    if network.internal {
        return bad("is internal, so nothing can be published");
    }
    if network.firewall == Firewall::None {
        return bad("has no firewall (--firewall=none), so nothing can be published");
    }
    if network.subnets.is_empty() {
        return bad("has no addresses, so nothing can be published");
    }
    let has = |v4: bool| {
        network
            .subnets
            .iter()
            .any(|subnet| subnet.gateway.is_ipv4() == v4)
    };
    match intent
        .ports
        .iter()
        .find(|port| port.host_ip.is_some_and(|ip| !has(ip.is_ipv4())))
    {
        Some(port) => Err(Error::usage(format!(
            "port {port}: network {} has no address of that family (see --ipv6)",
            network.name
        ))),
        None => Ok(()),
    }
}

/// Does a process of the host listen there? Then it would lose its port. That an engine's monitor does is as the
/// `engine` wants it.
///
/// # Errors
/// A conflict if so; permission, or whatever else keeps this user from listening there.
pub fn probe(mapping: &PortMapping, engine: bool) -> Result<()> {
    let any = [IpAddr::from([0; 16]), IpAddr::from([0; 4])];
    for (port, _) in mapping.pairs() {
        let bind = |ip: IpAddr| match mapping.proto {
            Proto::Tcp => TcpListener::bind((ip, port)).map(drop),
            Proto::Udp => UdpSocket::bind((ip, port)).map(drop),
        };
        let bound = match mapping.host_ip {
            Some(ip) => bind(ip),
            // [::] is also every address of IPv4; where there is no IPv6, the other.
            None => bind(any[0]).or_else(|error| match Errno::from(error) {
                Errno::EADDRINUSE => Err(Errno::EADDRINUSE.into()),
                _ => bind(any[1]),
            }),
        };
        let what = format!("port {port}/{}", mapping.proto);
        match bound.map_err(Errno::from) {
            Ok(()) => {}
            Err(Errno::EADDRINUSE) => {
                let who = holder::of(mapping.proto, mapping.host_ip, port);
                if engine && holder::is_monitor(&who) {
                    continue;
                }
                return Err(Error::conflict(format!(
                    "{what} is in use by {who} of the host"
                )));
            }
            Err(Errno::EADDRNOTAVAIL) => {
                let ip = mapping.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
                return Err(Error::usage(format!(
                    "{what}: the host has no address {ip}"
                )));
            }
            Err(errno) => return Err(Error::kernel(what, errno)),
        }
    }
    Ok(())
}

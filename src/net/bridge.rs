//! A network in the kernel: its bridge, the addresses of its gateways, the switches of the kernel it needs.
//!
//! Invariant: `network.json` of a live network is written after all of it is there, so a live network without it was
//! interrupted, and is made again by the next who comes.

use ipnet::IpNet;

use super::book::{self, Book, Claiming};
use super::derived;
use super::error::{Error, Kind, Result};
use super::firewall::{Filter, Wanted};
use super::network::{Firewall, Network};
use crate::sys::errno::Errno;
use crate::sys::rtnl::{Changes, Link, Rtnl};
use crate::sys::sysctl::Sysctls;

/// The group of all our links, which tells them from others: `ply` in ASCII.
pub const LINK_GROUP: u32 = 0x70_6c79;

/// The group of those that are about to be removed together.
const LEAVING_GROUP: u32 = LINK_GROUP + 1;

/// The kernel's answers to so many messages fit into a socket's buffer.
const LINKS_PER_CALL: usize = 100;

/// A bridge that is there.
#[derive(Clone, Copy, Debug)]
pub struct Raised {
    /// Its number.
    pub index: u32,
    /// It was not there before.
    pub fresh: bool,
}

/// Makes sure that the network is in the kernel.
///
/// # Errors
/// A conflict with a foreign interface of that name; what the kernel says.
pub fn raise(book: &Book, rtnl: &Rtnl, network: &Network) -> Result<Raised> {
    let whole = book.layout.live_network(&network.name).exists();
    match find(rtnl, network)? {
        Some(link) if whole => Ok(Raised {
            index: link.index,
            fresh: false,
        }),
        _ => make(book, rtnl, network).map(|index| Raised { index, fresh: true }),
    }
}

fn find(rtnl: &Rtnl, network: &Network) -> Result<Option<Link>> {
    let name = &network.bridge;
    match rtnl
        .link(name)
        .map_err(|errno| Error::kernel(format!("bridge {name}"), errno))?
    {
        Some(link) if !is_ours(&link) => Err(Error::conflict(format!(
            "network {}: there is an interface {name} which is not plynet's; remove it, or choose another --bridge",
            network.name
        ))),
        found => Ok(found),
    }
}

fn make(book: &Book, rtnl: &Rtnl, network: &Network) -> Result<u32> {
    let name = &network.bridge;
    let failed = |errno| Error::kernel(format!("bridge {name}"), errno);
    let mut changes = Changes::new();
    changes.bridge(name, derived::mac(name), LINK_GROUP, network.mtu);
    rtnl.apply(&changes).map_err(failed)?;
    let link = find(rtnl, network)?.ok_or_else(|| failed(Errno::ENODEV))?;
    if network.firewall != Firewall::None {
        switch_on(network)?;
    }
    let mut changes = Changes::new();
    for subnet in &network.subnets {
        changes.address(link.index, subnet.gateway, subnet.range.prefix_len());
    }
    changes.up(link.index);
    rtnl.apply(&changes).map_err(failed)?;
    book::write(&book.layout.live_network(&network.name), network, false)?;
    Ok(link.index)
}

/// What the kernel must do for a network with a firewall: pass packets on, and let 127.0.0.1 reach containers.
fn switch_on(network: &Network) -> Result<()> {
    let (mut names, bridge) = (Vec::new(), &network.bridge);
    let has = |v4: bool| {
        network
            .subnets
            .iter()
            .any(|s| matches!(s.range, IpNet::V4(_)) == v4)
    };
    if has(true) {
        names.push(("net/ipv4/ip_forward".to_string(), "1"));
        names.push((format!("net/ipv4/conf/{bridge}/route_localnet"), "1"));
    }
    if has(false) {
        names.push(("net/ipv6/conf/all/forwarding".to_string(), "1"));
        names.push((format!("net/ipv6/conf/{bridge}/disable_ipv6"), "0"));
        // Nobody else has the addresses of our own bridge; until that is asked for, it finds no neighbour.
        names.push((format!("net/ipv6/conf/{bridge}/accept_dad"), "0"));
    }
    let sysctls = Sysctls::usual().map_err(|errno| Error::kernel("/proc", errno))?;
    for (name, value) in names {
        sysctls.set(&name, value).map_err(|errno| {
            let kind = if errno == Errno::ENOENT {
                Kind::Unsupported
            } else {
                Kind::Permission
            };
            let hint = "set it yourself, or use --firewall=none";
            Error::new(
                kind,
                format!(
                    "sysctl {} = {value}: {errno} ({hint})",
                    name.replace('/', ".")
                ),
            )
        })?;
    }
    Ok(())
}

/// Takes a network that nobody uses out of the kernel, and its directory away. What is gone already is no failure.
///
/// # Errors
/// What the kernel says.
pub fn lower(book: &Book, claiming: &Claiming, rtnl: &Rtnl, network: &Network) -> Result<()> {
    if network.firewall == Firewall::Nftables {
        let filter = Filter::open()?;
        let mut wanted = Wanted::new();
        wanted.network(network);
        filter.remove(&wanted)?;
    }
    remove_link(rtnl, &network.bridge)?;
    book.forget_live(claiming, &network.name)
}

/// Removes links of ours, those that are there. Many go together: the kernel waits once for all, not for each.
///
/// # Errors
/// What the kernel says.
pub fn remove_links(rtnl: &Rtnl, names: &[&str]) -> Result<()> {
    if let [] | [_] = names {
        return names.iter().try_for_each(|name| remove_link(rtnl, name));
    }
    let failed = |errno| Error::kernel("removing interfaces", errno);
    for some in names.chunks(LINKS_PER_CALL) {
        let mut changes = Changes::new();
        some.iter()
            .for_each(|name| changes.group(name, LEAVING_GROUP));
        rtnl.apply_present(&changes).map_err(failed)?;
    }
    let mut changes = Changes::new();
    changes.remove_group(LEAVING_GROUP);
    rtnl.apply_present(&changes).map_err(failed)
}

/// Is it one of ours?
pub fn is_ours(link: &Link) -> bool {
    [LINK_GROUP, LEAVING_GROUP].contains(&link.group)
}

/// Removes one of our links, if it is there.
///
/// # Errors
/// What the kernel says.
pub fn remove_link(rtnl: &Rtnl, name: &str) -> Result<()> {
    let mut changes = Changes::new();
    changes.remove_link(name);
    match rtnl.apply(&changes) {
        Ok(()) | Err(Errno::ENODEV) => Ok(()),
        // Who may not remove anything may still find that there is nothing.
        Err(Errno::EPERM) if rtnl.link(name) == Ok(None) => Ok(()),
        Err(errno) => Err(Error::kernel(format!("interface {name}"), errno)),
    }
}

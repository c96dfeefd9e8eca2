//! One attachment in the kernel: a pair of links, and the container's end made ready in its namespace: all messages of
//! one side in one call.

use super::bridge::{LINK_GROUP, is_ours, remove_link};
use super::error::{Error, Result};
use super::intent::Attachment;
use super::network::{Network, NetworkRoute};
use crate::sys::errno::Errno;
use crate::sys::netns::Netns;
use crate::sys::rtnl::{Changes, Route, RouteKind, Rtnl, Veth};
use crate::sys::sysctl::Sysctls;

/// The loopback's number, in every namespace.
const LOOPBACK: u32 = 1;

/// Opens the namespace that a file stands for.
///
/// # Errors
/// Not found; usage if it is something else.
pub fn open_netns(path: &std::path::Path) -> Result<Netns> {
    let shown = path.to_string_lossy().escape_debug().to_string();
    Netns::open(path).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ESRCH => {
            Error::not_found(format!("network namespace {shown}: {errno}"))
        }
        Errno::EINVAL | Errno::ENXIO => Error::usage(format!("{shown} is not a network namespace")),
        errno => Error::kernel(format!("network namespace {shown}"), errno),
    })
}

/// Makes the pair of links and everything in the container's namespace. `home` is where this thread is, and `rtnl`
/// speaks of.
///
/// # Errors
/// A conflict with an interface that is there; what the kernel says.
pub fn make(
    (home, rtnl): (&Netns, &Rtnl),
    network: &Network,
    bridge: u32,
    attachment: &Attachment,
    netns: &Netns,
) -> Result<()> {
    let veth = Veth {
        name: &attachment.host_interface,
        master: Some(bridge),
        group: LINK_GROUP,
        mtu: network.mtu,
        peer: &attachment.key.interface,
        peer_address: attachment.mac.0,
        namespace: netns.number(),
    };
    let mut changes = Changes::new();
    changes.veth(&veth);
    if !attachment.ports.is_empty() {
        // Where br_netfilter is on, the destination is translated inside of the bridge; to the container itself the
        // packet then goes back by the port it came from.
        changes.hairpin(&attachment.host_interface);
    }
    changes.up_named(&attachment.host_interface);
    match rtnl.apply_new(&changes) {
        Err(Errno::EEXIST) => again(rtnl, &changes, attachment)?,
        other => other.map_err(|errno| failed(attachment, errno))?,
    }
    netns
        .within_from(home, || inside(network, attachment))
        .map_err(|errno| failed(attachment, errno))?
}

fn failed(attachment: &Attachment, errno: Errno) -> Error {
    let hint = match errno {
        Errno::EOPNOTSUPP => " (the kernel lacks veth or bridge)",
        _ => "",
    };
    Error::kernel(format!("{}{hint}", attachment.key), errno)
}

/// A link of that name is there: on our side a leftover, as nobody has the claim; on the other side somebody's own.
fn again(rtnl: &Rtnl, changes: &Changes, attachment: &Attachment) -> Result<()> {
    let name = &attachment.host_interface;
    let ours = rtnl.link(name).map_err(|errno| failed(attachment, errno))?;
    if ours.is_some_and(|link| is_ours(&link)) {
        remove_link(rtnl, name)?;
        match rtnl.apply_new(changes) {
            Err(Errno::EEXIST) => {}
            other => return other.map_err(|errno| failed(attachment, errno)),
        }
    }
    let (interface, netns) = (&attachment.key.interface, attachment.netns.display());
    Err(Error::conflict(format!(
        "{}: there is an interface {interface} in {netns} already",
        attachment.key
    )))
}

/// In the container's namespace.
fn inside(network: &Network, attachment: &Attachment) -> Result<()> {
    let interface = &attachment.key.interface;
    let failed = |errno| failed(attachment, errno);
    let rtnl = Rtnl::open().map_err(failed)?;
    let link = rtnl
        .number(interface)
        .map_err(failed)?
        .ok_or_else(|| failed(Errno::ENODEV))?;
    let mut changes = Changes::new();
    changes.up(LOOPBACK);
    let sysctls = Sysctls::fresh().map_err(failed)?;
    if attachment.addresses.iter().all(|a| a.ip.is_ipv4()) && !attachment.addresses.is_empty() {
        // A link-local address is announced to everybody on the bridge, so each container would cost more than the one
        // before it. A kernel without IPv6 has no such switch. Without any address, the container sees to it itself.
        let _ = sysctls.write(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1");
    }
    for address in &attachment.addresses {
        if address.ip.is_ipv6() {
            // Routers are not asked: who is on the bridge could pretend to be one. Nor whether others have the address.
            // Engines switch IPv6 off in the namespaces they make.
            for (name, value) in [
                ("accept_ra", "0"),
                ("accept_dad", "0"),
                ("disable_ipv6", "0"),
            ] {
                // Without it, all works, if later; an address that cannot be given is an error below.
                let _ = sysctls.set(&format!("net/ipv6/conf/{interface}/{name}"), value);
            }
        }
        changes.address(link, address.ip, address.prefix);
    }
    changes.up(link);
    if !network.internal && !attachment.no_route {
        for address in &attachment.addresses {
            changes.default_route(address.gateway, link, network.metric);
        }
    }
    for route in &network.routes {
        let to = (route.to.network(), route.to.prefix_len());
        let over = Some(link).filter(|_| route.kind == RouteKind::Unicast);
        changes.route(to, route.gateway, over, route.metric, route.kind);
    }
    rtnl.apply(&changes).map_err(failed)
}

/// Takes back the routes that hang on no link, if the namespace is still there: the others go with the link.
pub fn remove_routes(network: &Network, attachment: &Attachment) {
    let loose = |route: &&NetworkRoute| route.kind != RouteKind::Unicast;
    let mut changes = Changes::new();
    let mut some = false;
    for route in network.routes.iter().filter(loose) {
        let to = (route.to.network(), route.to.prefix_len());
        changes.remove_route(to, route.metric, route.kind);
        some = true;
    }
    if !some {
        return;
    }
    let Ok(netns) = Netns::open(&attachment.netns) else {
        return;
    };
    if netns.inode() != Ok(attachment.netns_inode) {
        return;
    }
    let removed = netns.within(|| Rtnl::open()?.apply(&changes));
    if let Err(errno) | Ok(Err(errno)) = removed {
        log::info!("{}: routes: {errno}", attachment.key);
    }
}

/// In the container's namespace: what is missing there, in words.
///
/// # Errors
/// What the kernel says.
pub fn missing(network: &Network, attachment: &Attachment) -> Result<Option<String>> {
    let failed = |errno| failed(attachment, errno);
    let rtnl = Rtnl::open().map_err(failed)?;
    let interface = &attachment.key.interface;
    let Some(link) = rtnl.link(interface).map_err(failed)? else {
        return Ok(Some(format!("{interface} is gone")));
    };
    if !link.up || link.address != attachment.mac.0 {
        return Ok(Some(format!("{interface} is off, or another one")));
    }
    let addresses = rtnl.addresses().map_err(failed)?;
    let routes = rtnl.routes().map_err(failed)?;
    for address in &attachment.addresses {
        if !addresses.contains(&(link.index, address.ip, address.prefix)) {
            return Ok(Some(format!("address {} is gone", address.ip)));
        }
        // Of several networks, the first is the way out.
        let way = |route: &Route| {
            let ours = route.gateway == Some(address.gateway);
            let another = route.link != Some(link.index)
                && route.gateway.map(|ip| ip.is_ipv4()) == Some(address.ip.is_ipv4());
            route.prefix == 0 && (ours || another)
        };
        if !network.internal && !attachment.no_route && !routes.iter().any(way) {
            return Ok(Some(format!("the route by {} is gone", address.gateway)));
        }
    }
    let is_there = |wanted: &NetworkRoute| {
        let prefix = wanted.to.prefix_len();
        let same = |route: &Route| (route.prefix, route.gateway) == (prefix, wanted.gateway);
        let mut there = routes.iter().filter(|route| same(route));
        there.any(|route| route.to == wanted.to.network())
    };
    // Those that lead nowhere are not reported by the kernel with what is looked at here.
    let mut wanted = network.routes.iter();
    let gone = wanted.find(|route| route.kind == RouteKind::Unicast && !is_there(route));
    Ok(gone.map(|route| format!("the route to {} is gone", route.to)))
}

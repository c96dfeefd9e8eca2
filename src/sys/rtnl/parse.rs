//! What the kernel says of links, routes and addresses. What does not parse is left out.

use std::net::IpAddr;

use super::super::netlink::{Attributes, Reply};
use super::*;

pub(super) fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?)),
    }
}

impl Link {
    pub(super) fn parse(reply: &Reply) -> Option<Link> {
        let number = |at: usize| {
            Some(u32::from_ne_bytes(
                reply.body.get(at..at + 4)?.try_into().ok()?,
            ))
        };
        let attributes = reply.attributes(LINK_HEADER_BYTES);
        let info = attributes.get(IFLA_LINKINFO).unwrap_or_default();
        Some(Link {
            index: number(4)?,
            name: attributes.text(IFLA_IFNAME)?,
            kind: Attributes(info).text(IFLA_INFO_KIND).unwrap_or_default(),
            master: attributes.number(IFLA_MASTER),
            group: attributes.number(IFLA_GROUP).unwrap_or_default(),
            up: number(8)? & IFF_UP != 0,
            address: attributes.get(IFLA_ADDRESS).unwrap_or_default().to_vec(),
            mtu: attributes.number(IFLA_MTU).unwrap_or_default(),
        })
    }
}

impl Route {
    pub(super) fn parse(reply: &Reply) -> Option<Route> {
        let [of, prefix, _, _, table, ..] = *reply.body.as_slice() else {
            return None;
        };
        let attributes = reply.attributes(ROUTE_HEADER_BYTES);
        let table = attributes.number(RTA_TABLE).unwrap_or(u32::from(table));
        if table != u32::from(RT_TABLE_MAIN) || reply.body.get(7) != Some(&RTN_UNICAST) {
            return None;
        }
        let to = match attributes.get(RTA_DST) {
            Some(octets) => address(octets)?,
            None if i32::from(of) == libc::AF_INET => IpAddr::from([0; 4]),
            None if i32::from(of) == libc::AF_INET6 => IpAddr::from([0; 16]),
            None => return None,
        };
        let gateway = attributes.get(RTA_GATEWAY).and_then(address);
        Some(Route {
            to,
            prefix,
            link: attributes.number(RTA_OIF),
            gateway,
        })
    }
}

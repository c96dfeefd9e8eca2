//! `ipam` of a configuration: the ranges and routes of a network whose addresses plynet gives out itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

use super::config::bad;
use super::failure::Failure;
use crate::net::network::{NetworkRoute, Subnet};
use crate::sys::rtnl::RouteKind;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ipam {
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    subnet: Option<IpNet>,
    #[serde(default)]
    range_start: Option<IpAddr>,
    #[serde(default)]
    range_end: Option<IpAddr>,
    #[serde(default)]
    gateway: Option<IpAddr>,
    /// A list of choices for each address that is given out.
    #[serde(default)]
    ranges: Vec<Vec<Range>>,
    #[serde(default)]
    routes: Vec<ConfigRoute>,
}

#[derive(Debug, Deserialize)]
struct ConfigRoute {
    dst: IpNet,
    #[serde(default)]
    gw: Option<IpAddr>,
    #[serde(default)]
    priority: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    subnet: IpNet,
    #[serde(default)]
    range_start: Option<IpAddr>,
    #[serde(default)]
    range_end: Option<IpAddr>,
    #[serde(default)]
    gateway: Option<IpAddr>,
}

impl Ipam {
    /// Those besides the one out, by the gateway where none is named.
    pub(super) fn routes(&self) -> Vec<NetworkRoute> {
        let routes = self.routes.iter();
        let routes = routes.filter(|route| route.dst.prefix_len() > 0);
        let gateway = |to: IpNet| {
            let subnets = self.subnets().unwrap_or_default();
            let same = |subnet: &&Subnet| subnet.gateway.is_ipv4() == to.network().is_ipv4();
            subnets.iter().find(same).map(|subnet| subnet.gateway)
        };
        let route = |route: &ConfigRoute| NetworkRoute {
            to: route.dst.trunc(),
            gateway: route.gw.or_else(|| gateway(route.dst)),
            metric: route.priority,
            kind: RouteKind::Unicast,
        };
        routes.map(route).collect()
    }

    pub(super) fn subnets(&self) -> Result<Vec<Subnet>, Failure> {
        let Ipam {
            subnet,
            range_start,
            range_end,
            gateway,
            ..
        } = *self;
        let single = subnet.map(|subnet| Range {
            subnet,
            range_start,
            range_end,
            gateway,
        });
        let mut subnets = Vec::new();
        for choices in single
            .into_iter()
            .map(|range| vec![range])
            .chain(self.ranges.clone())
        {
            match &choices[..] {
                [range] => subnets.push(range.subnet()?),
                _ => {
                    return Err(bad(
                        "ipam.ranges: one range for each address is supported, not a choice",
                    ));
                }
            }
        }
        Ok(subnets)
    }
}

impl Range {
    fn subnet(&self) -> Result<Subnet, Failure> {
        let range = self.subnet.trunc();
        if let (IpAddr::V4(_), 31..) | (IpAddr::V6(_), 127..) = (range.addr(), range.prefix_len()) {
            return Err(bad(format!(
                "subnet {range}: too small for a gateway and a container"
            )));
        }
        let last = match range.broadcast() {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(u32::from(ip).saturating_sub(1))),
            last => last,
        };
        let gateway = self.gateway.unwrap_or_else(|| first_of(range));
        let lease_range = match (self.range_start, self.range_end) {
            (None, None) => None,
            (start, end) => Some((
                start.unwrap_or_else(|| first_of(range)),
                end.unwrap_or(last),
            )),
        };
        Ok(Subnet {
            range,
            gateway,
            lease_range,
        })
    }
}

/// The first address of a range that is not the range's own.
pub(super) fn first_of(range: IpNet) -> IpAddr {
    match range.network() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(u32::from(ip).saturating_add(1))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(u128::from(ip).saturating_add(1))),
    }
}

//! A network, as podman keeps it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

use crate::net::error::{Error, Result};
use crate::net::frontend::bridge_name;
use crate::net::network::{Firewall, Network, NetworkRoute, Subnet};
use crate::sys::rtnl::RouteKind;

/// A network, as podman keeps it.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) name: String,
    #[serde(default)]
    driver: Option<String>,
    #[serde(default)]
    network_interface: Option<String>,
    #[serde(default)]
    subnets: Option<Vec<InfoSubnet>>,
    #[serde(default)]
    routes: Option<Vec<InfoRoute>>,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    dns_enabled: bool,
    #[serde(default)]
    network_dns_servers: Option<Vec<IpAddr>>,
    #[serde(default)]
    ipam_options: Option<BTreeMap<String, String>>,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
struct InfoSubnet {
    subnet: IpNet,
    #[serde(default)]
    gateway: Option<IpAddr>,
    #[serde(default)]
    lease_range: Option<LeaseRange>,
}

#[derive(Debug, Deserialize)]
struct LeaseRange {
    #[serde(default)]
    start_ip: Option<IpAddr>,
    #[serde(default)]
    end_ip: Option<IpAddr>,
}

#[derive(Debug, Deserialize)]
struct InfoRoute {
    destination: IpNet,
    #[serde(default)]
    gateway: Option<IpAddr>,
    #[serde(default)]
    metric: Option<u32>,
    #[serde(default)]
    route_type: Option<String>,
}

/// The metric of a way out for which podman's user has chosen none.
const METRIC: u32 = 100;

/// What `podman network create --opt` sets, and is heeded here.
const OPTIONS: [&str; 4] = ["isolate", "metric", "mtu", "no_default_route"];

impl Info {
    fn option(&self, name: &str) -> Option<&String> {
        self.options.as_ref()?.get(name)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.option(name).is_some_and(|value| value == "true")
    }

    /// A number; 0 is none.
    fn number(&self, name: &str) -> Result<Option<u32>> {
        let bad = |text: &String| {
            let text = text.escape_debug();
            Error::usage(format!("network {}: {name} {text}: no number", self.name))
        };
        let number = self
            .option(name)
            .map(|text| text.parse().map_err(|_| bad(text)));
        Ok(number.transpose()?.filter(|number| *number != 0))
    }

    fn routes(&self) -> Result<Vec<NetworkRoute>> {
        let route = |route: &InfoRoute| {
            let kind = match route.route_type.as_deref() {
                None | Some("" | "unicast") => RouteKind::Unicast,
                Some("blackhole") => RouteKind::Blackhole,
                Some("unreachable") => RouteKind::Unreachable,
                Some("prohibit") => RouteKind::Prohibit,
                Some(other) => {
                    let (name, other) = (&self.name, other.escape_debug());
                    let text = format!("network {name}: route_type {other} is not known");
                    return Err(Error::usage(text));
                }
            };
            Ok(NetworkRoute {
                to: route.destination.trunc(),
                gateway: route.gateway,
                metric: route.metric,
                kind,
            })
        };
        self.routes.iter().flatten().map(route).collect()
    }

    pub(super) fn network(&self, firewall: Firewall) -> Result<Network> {
        let bad = |why: String| Error::usage(format!("network {}: {why}", self.name));
        match self.driver.as_deref() {
            None | Some("" | "bridge") => {}
            Some(other) => return Err(bad(format!("driver {other}: only bridge is known"))),
        }
        if let Some(mode) = self.option("mode").filter(|mode| *mode != "managed") {
            let mode = mode.escape_debug();
            return Err(bad(format!("mode {mode}: only managed bridges are known")));
        }
        let all = self.options.iter().flatten().map(|(name, _)| name.as_str());
        for option in all.filter(|name| !OPTIONS.contains(name) && *name != "mode") {
            log::warn!(
                "network {}: option {} is not heeded",
                self.name,
                option.escape_debug()
            );
        }
        let subnets = self.subnets.iter().flatten().map(InfoSubnet::subnet);
        let subnets: Vec<Subnet> = subnets.collect::<Result<_>>()?;
        let ipam = self.ipam_options.as_ref().and_then(|all| all.get("driver"));
        match ipam.map(String::as_str) {
            None | Some("" | "host-local") if subnets.is_empty() => {
                return Err(bad("it has no subnet".to_string()));
            }
            None | Some("" | "host-local" | "none") => {}
            Some(other) => {
                let words = "only host-local and none are known";
                return Err(bad(format!(
                    "ipam driver {}: {words}",
                    other.escape_debug()
                )));
            }
        }
        let interface = self
            .network_interface
            .clone()
            .filter(|name| !name.is_empty());
        Ok(Network {
            name: self.name.clone(),
            bridge: interface.unwrap_or_else(|| bridge_name(&self.name)),
            internal: self.internal,
            isolate: self
                .option("isolate")
                .is_none_or(|isolate| isolate != "false"),
            mtu: self.number("mtu")?,
            routes: self.routes()?,
            metric: self.number("metric")?.or(Some(METRIC)),
            // On the gateways.
            dns: self.dns_enabled && !subnets.is_empty(),
            subnets,
            dns_servers: self.network_dns_servers.clone().unwrap_or_default(),
            firewall,
            labels: BTreeMap::new(),
        })
    }
}

impl InfoSubnet {
    fn subnet(&self) -> Result<Subnet> {
        let range = self.subnet.trunc();
        let first = match range.network() {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(u32::from(ip).saturating_add(1))),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(u128::from(ip).saturating_add(1))),
        };
        let lease = self
            .lease_range
            .as_ref()
            .and_then(|lease| Some((lease.start_ip?, lease.end_ip?)));
        Ok(Subnet {
            range,
            gateway: self.gateway.unwrap_or(first),
            lease_range: lease,
        })
    }
}

//! [`Network`]: a bridge, its ranges of addresses and its rules, as it is kept on disk; and [`Spec`], what is asked
//! for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::sys::rtnl::RouteKind;

/// The network that exists without being asked for.
pub const DEFAULT_NETWORK: &str = "default";
/// Its bridge.
pub const DEFAULT_BRIDGE: &str = "ply0";

/// Who translates and filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firewall {
    /// The table `inet plynet` of nf_tables.
    #[default]
    Nftables,
    /// Chains of iptables, for hosts whose other rules are there.
    Iptables,
    /// Nobody: not one rule and not one sysctl is written.
    None,
}

/// A range of addresses on a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The range.
    pub range: IpNet,
    /// The bridge's own address in it, the containers' way out.
    pub gateway: IpAddr,
    /// Addresses are given out from here only; none: anywhere in the range.
    #[serde(default)]
    pub lease_range: Option<(IpAddr, IpAddr)>,
}

/// A route that containers of a network have, besides the one out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRoute {
    /// Where it leads.
    pub to: IpNet,
    /// By whom; none: whoever has an address there is on the network itself.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Its metric; none: the kernel's default.
    #[serde(default)]
    pub metric: Option<u32>,
    /// What becomes of a packet.
    #[serde(default)]
    pub kind: RouteKind,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The bridge's name, an interface of the host.
    pub bridge: String,
    /// At most one for each family is usual. None: an engine's network, whose containers have addresses from elsewhere.
    pub subnets: Vec<Subnet>,
    /// No way out, and nothing published.
    #[serde(default)]
    pub internal: bool,
    /// Containers of other networks cannot reach this one.
    #[serde(default = "yes")]
    pub isolate: bool,
    /// Greatest packet in bytes; none: the kernel's default.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Names are answered on the gateways' port 53.
    #[serde(default = "yes")]
    pub dns: bool,
    /// Where unknown names are asked for; none: the host's own resolvers.
    #[serde(default)]
    pub dns_servers: Vec<IpAddr>,
    /// Routes besides the one out.
    #[serde(default)]
    pub routes: Vec<NetworkRoute>,
    /// The metric of the route out; none: the kernel's default.
    #[serde(default)]
    pub metric: Option<u32>,
    /// Who translates and filters.
    #[serde(default)]
    pub firewall: Firewall,
    /// Anything.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

impl Network {
    /// The subnet that holds `ip`.
    pub fn subnet_of(&self, ip: IpAddr) -> Option<&Subnet> {
        self.subnets
            .iter()
            .find(|subnet| subnet.range.contains(&ip))
    }

    /// Addresses on which the DNS responder listens for this network.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.subnets.iter().map(|subnet| subnet.gateway)
    }
}

/// What a user asks for of a new network.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Ranges; none: a free one is found.
    pub subnets: Vec<IpNet>,
    /// Also an IPv6 range, if none is named.
    pub ipv6: bool,
    /// The bridge's own addresses; for a range without one it is the first.
    pub gateways: Vec<IpAddr>,
    /// The bridge's name; none: `ply` and a free number.
    pub bridge: Option<String>,
    /// No way out.
    pub internal: bool,
    /// Other networks may come in.
    pub open: bool,
    /// Greatest packet in bytes.
    pub mtu: Option<u32>,
    /// No names.
    pub no_dns: bool,
    /// Where unknown names are asked for.
    pub dns_servers: Vec<IpAddr>,
    /// Who translates and filters.
    pub firewall: Firewall,
    /// Anything.
    pub labels: BTreeMap<String, String>,
}

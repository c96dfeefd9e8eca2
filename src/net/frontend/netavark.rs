//! What podman says to `netavark`, and what it wants to hear.
//!
//! Networks come as a map (netavark 1) or a list (2). Podman gives the addresses out itself, so they are only claimed;
//! the first network with a way out has the default route and the published ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use super::{container_name, usable_aliases};
use crate::net::dns::zone::PODMAN_DOMAIN;
use crate::net::error::{Error, Result};
use crate::net::intent::{DEFAULT_INTERFACE, Intent, Key, Report};
use crate::net::network::{Firewall, Network};
use crate::net::port::{PortMapping, Proto};

mod info;
mod unknown;

use info::Info;

pub use unknown::fields as unheeded;

/// The version of the protocol that is spoken, for those who look.
pub const VERSION: &str = "1.4.0";

/// What is read on standard input.
#[derive(Debug, Deserialize)]
pub struct Request {
    container_id: String,
    #[serde(default)]
    container_name: Option<String>,
    #[serde(default)]
    container_hostname: Option<String>,
    #[serde(default)]
    port_mappings: Option<Vec<Port>>,
    #[serde(deserialize_with = "map_or_list")]
    networks: BTreeMap<String, Wish>,
    #[serde(deserialize_with = "map_or_list")]
    network_info: BTreeMap<String, Info>,
}

#[derive(Debug, Deserialize)]
struct Port {
    #[serde(default)]
    host_ip: String,
    host_port: u16,
    container_port: u16,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    range: u16,
}

/// What one container wants of one network.
#[derive(Debug, Deserialize)]
struct Wish {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    static_ips: Option<Vec<IpAddr>>,
    #[serde(default)]
    static_mac: Option<String>,
    #[serde(default)]
    aliases: Option<Vec<String>>,
    #[serde(default)]
    interface_name: Option<String>,
}

/// Something with a name.
trait Named {
    fn name(&self) -> Option<&str>;
}

impl Named for Wish {
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Named for Info {
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
}

fn map_or_list<'de, D, T>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Named,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<T> {
        Map(BTreeMap<String, T>),
        List(Vec<T>),
    }
    match Either::deserialize(deserializer)? {
        Either::Map(map) => Ok(map),
        Either::List(list) => {
            let named = |value: T| {
                let name = value.name().map(str::to_string);
                Some((name?, value))
            };
            let nameless = || serde::de::Error::custom("a network without a name");
            list.into_iter()
                .map(|value| named(value).ok_or_else(nameless))
                .collect()
        }
    }
}

/// Networks that are to be there, and what is to be attached to them.
#[derive(Debug)]
pub struct Plan {
    /// The networks, as podman keeps them.
    pub networks: Vec<Network>,
    /// What is asked of each.
    pub intents: Vec<Intent>,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// Usage, with line and column.
    pub fn parse(text: &str) -> Result<Request> {
        let parsed = serde_json::from_str(text);
        parsed.map_err(|error| Error::usage(format!("network options: {error}")))
    }

    /// What `setup` is to do for the namespace at `netns`.
    ///
    /// # Errors
    /// Usage.
    pub fn plan(&self, netns: &Path, firewall: Firewall) -> Result<Plan> {
        let mut plan = Plan {
            networks: Vec::new(),
            intents: Vec::new(),
        };
        let mut wishes: Vec<_> = self.networks.iter().collect();
        wishes.sort_by_key(|(_, wish)| wish.interface_name.clone());
        let (mut has_route, mut has_ports) = (false, false);
        for (name, wish) in wishes {
            let missing = || Error::usage(format!("network {name}: network_info does not have it"));
            let info = self.network_info.get(name).ok_or_else(missing)?;
            let network = info.network(firewall)?;
            let leads_out = !network.internal && !network.subnets.is_empty();
            let publishes = leads_out && !has_ports;
            has_ports |= publishes;
            let way_out = leads_out && !has_route && !info.is_set("no_default_route");
            has_route |= way_out;
            let mut intent = self.intent(&network, wish, netns)?;
            intent.no_route = !way_out;
            if publishes {
                intent.ports = self.ports()?;
            }
            plan.networks.push(network);
            plan.intents.push(intent);
        }
        if !has_ports && self.port_mappings.iter().flatten().next().is_some() {
            log::warn!("nothing is published: no network of the container leads out");
        }
        Ok(plan)
    }

    /// What `teardown` is to detach.
    pub fn keys(&self) -> Vec<Key> {
        self.networks
            .iter()
            .map(|(network, wish)| self.key(network, wish))
            .collect()
    }

    fn key(&self, network: &str, wish: &Wish) -> Key {
        let interface = wish
            .interface_name
            .as_deref()
            .filter(|name| !name.is_empty());
        Key {
            network: network.to_string(),
            id: self.container_id.clone(),
            interface: interface.unwrap_or(DEFAULT_INTERFACE).to_string(),
        }
    }

    fn intent(&self, network: &Network, wish: &Wish, netns: &Path) -> Result<Intent> {
        let wanted = [
            self.container_name.as_deref(),
            self.container_hostname.as_deref(),
        ];
        let name = container_name(&wanted, &self.container_id);
        let mut aliases = usable_aliases(wish.aliases.as_deref().unwrap_or_default());
        // The start of the id is a name too, as with Docker; podman 4 leaves that to us.
        let short = container_name(&[], &self.container_id);
        aliases.extend((short != name && !aliases.contains(&short)).then_some(short));
        let mac = wish.static_mac.as_deref().filter(|mac| !mac.is_empty());
        Ok(Intent {
            key: self.key(&network.name, wish),
            ips: wish.static_ips.clone().unwrap_or_default(),
            mac: mac.map(str::parse).transpose()?,
            aliases,
            ..Intent::new(&network.name, &name, netns)
        })
    }

    fn ports(&self) -> Result<Vec<PortMapping>> {
        let mut ports = Vec::new();
        for port in self.port_mappings.iter().flatten() {
            let protocols = if port.protocol.is_empty() {
                "tcp"
            } else {
                &port.protocol
            };
            let host_ip = Some(port.host_ip.as_str()).filter(|ip| !ip.is_empty());
            let bad = |_| {
                Error::usage(format!(
                    "host_ip \"{}\": no address",
                    port.host_ip.escape_debug()
                ))
            };
            let host_ip = host_ip.map(str::parse).transpose().map_err(bad)?;
            for protocol in protocols.split(',') {
                ports.push(PortMapping {
                    host_ip: host_ip.filter(|ip: &IpAddr| !ip.is_unspecified()),
                    host: port.host_port,
                    container: port.container_port,
                    count: port.range.max(1),
                    proto: protocol.trim().parse::<Proto>()?,
                });
            }
        }
        Ok(ports)
    }
}

// --- replies ---------------------------------------------------------------------------------------------------------

#[derive(Serialize)]
struct Status {
    dns_search_domains: Vec<&'static str>,
    dns_server_ips: Vec<IpAddr>,
    interfaces: BTreeMap<String, Interface>,
}

#[derive(Serialize)]
struct Interface {
    mac_address: String,
    subnets: Vec<Net>,
}

#[derive(Serialize)]
struct Net {
    gateway: IpAddr,
    ipnet: String,
}

/// What `setup` prints.
pub fn reply(reports: &[Report]) -> String {
    let of = |report: &Report| {
        let nets = report.addresses.iter().map(|address| Net {
            gateway: address.gateway,
            ipnet: format!("{}/{}", address.ip, address.prefix),
        });
        let interface = Interface {
            mac_address: report.mac.to_string(),
            subnets: nets.collect(),
        };
        let has_names = !report.dns_servers.is_empty();
        Status {
            dns_search_domains: has_names.then_some(PODMAN_DOMAIN).into_iter().collect(),
            dns_server_ips: report.dns_servers.clone(),
            interfaces: BTreeMap::from([(report.interface.clone(), interface)]),
        }
    };
    let all: BTreeMap<&str, Status> = reports
        .iter()
        .map(|r| (r.network.as_str(), of(r)))
        .collect();
    serde_json::json!(all).to_string()
}

/// What is printed when something failed.
pub fn failure(words: &str) -> String {
    serde_json::json!({ "error": words }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::intent::{Address, Mac};

    const PODMAN_4: &str = r#"{"container_id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "container_name":"web",
        "port_mappings":[{"host_ip":"","container_port":80,"host_port":8080,"range":2,"protocol":"tcp,udp"}],
        "networks":{"podman":{"static_ips":["10.88.0.5"],"aliases":["www","not ok"],"interface_name":"eth1"},
                    "inner":{"static_ips":["10.89.0.2"],"interface_name":"eth0","static_mac":"02:50:0a:00:00:02"}},
        "network_info":{
            "podman":{"name":"podman","id":"2f","driver":"bridge","network_interface":"podman0","created":"x",
                "subnets":[{"subnet":"10.88.0.0/16","gateway":"10.88.0.1"}],"ipv6_enabled":false,"internal":false,
                "dns_enabled":true,"ipam_options":{"driver":"host-local"},"options":{"mtu":"1400","isolate":"false"}},
            "inner":{"name":"inner","driver":"bridge","network_interface":"podman1","internal":true,
                "subnets":[{"subnet":"10.89.0.0/24","lease_range":{"start_ip":"10.89.0.9","end_ip":"10.89.0.20"}}]}}}"#;

    #[test]
    fn podman_4_asks() {
        let request = Request::parse(PODMAN_4).unwrap();
        let plan = request
            .plan("/run/netns/x".as_ref(), Firewall::Nftables)
            .unwrap();
        let [inner, web] = &plan.intents[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(
            (
                inner.key.interface.as_str(),
                inner.no_route,
                inner.ports.len()
            ),
            ("eth0", true, 0)
        );
        assert_eq!(inner.mac, Some(Mac([2, 0x50, 10, 0, 0, 2])));
        assert_eq!((web.key.interface.as_str(), web.no_route), ("eth1", false));
        assert_eq!(web.name, "web");
        assert_eq!(web.aliases, ["www", "0123456789ab"]);
        let ports: Vec<_> = web.ports.iter().map(PortMapping::to_string).collect();
        assert_eq!(ports, ["8080-8081:80-81/tcp", "8080-8081:80-81/udp"]);
        let [inner, podman] = &plan.networks[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(
            (podman.mtu, podman.isolate, podman.dns),
            (Some(1400), false, true)
        );
        assert_eq!(
            (podman.bridge.as_str(), inner.isolate, inner.dns),
            ("podman0", true, false)
        );
        assert_eq!(inner.subnets[0].gateway.to_string(), "10.89.0.1");
        assert!(inner.subnets[0].lease_range.is_some());
        assert_eq!(request.keys().len(), 2);
    }

    #[test]
    fn routes_are_as_podman_keeps_them() {
        let text = |more: &str| {
            format!(
                r#"{{"container_id":"abc","networks":{{"n":{{"static_ips":["10.0.0.2"]}}}},
                "port_mappings":[{{"host_port":80,"container_port":80}}],
                "network_info":{{"n":{{"name":"n","subnets":[{{"subnet":"10.0.0.0/24"}}],{more}}}}}}}"#
            )
        };
        let plan = |more: &str| {
            Request::parse(&text(more))
                .unwrap()
                .plan("/x".as_ref(), Firewall::None)
        };
        let with = plan(
            r#""routes":[{"destination":"10.1.0.0/16","gateway":"10.0.0.9","metric":5}],
            "options":{"metric":"200","mtu":"0"}"#,
        );
        let with = with.unwrap();
        let route = with.networks[0].routes[0];
        assert_eq!(route.to.to_string(), "10.1.0.0/16");
        assert_eq!(
            (route.gateway, route.metric),
            ("10.0.0.9".parse().ok(), Some(5))
        );
        assert_eq!(
            (with.networks[0].metric, with.networks[0].mtu),
            (Some(200), None)
        );
        // Without the way out, ports are published all the same.
        let without = plan(r#""options":{"no_default_route":"true"}"#).unwrap();
        assert_eq!(
            (without.intents[0].no_route, without.intents[0].ports.len()),
            (true, 1)
        );
        let refused = |more: &str| plan(more).unwrap_err().to_string();
        assert!(refused(r#""options":{"metric":"x"}"#).contains("metric x: no number"));
        assert!(refused(r#""options":{"mode":"unmanaged"}"#).contains("only managed"));
        let multicast = r#""routes":[{"destination":"10.1.0.0/16","route_type":"multicast"}]"#;
        assert!(refused(multicast).contains("multicast"));
    }

    #[test]
    fn netavark_2_sends_a_list() {
        let text = r#"{"container_id":"abc","networks":[{"name":"n","static_ips":["10.0.0.2"]}],
            "network_info":[{"name":"n","subnets":[{"subnet":"10.0.0.0/24"}]}]}"#;
        let plan = Request::parse(text)
            .unwrap()
            .plan("/x".as_ref(), Firewall::None)
            .unwrap();
        assert_eq!(plan.intents[0].key, Key::new("n", "abc"));
        assert_eq!(plan.networks[0].bridge, "ply-n");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let error = |text: &str| match Request::parse(text) {
            Err(error) => error.to_string(),
            Ok(request) => request
                .plan("/x".as_ref(), Firewall::None)
                .unwrap_err()
                .to_string(),
        };
        assert!(error("{\n]").contains("line 2 column 1"));
        let one = |info: &str| {
            format!(r#"{{"container_id":"a","networks":{{"n":{{}}}},"network_info":{info}}}"#)
        };
        assert!(error(&one("{}")).contains("network n: network_info does not have it"));
        assert!(error(&one(r#"{"n":{"name":"n","driver":"macvlan"}}"#)).contains("driver macvlan"));
        assert!(error(&one(r#"{"n":{"name":"n"}}"#)).contains("no subnet"));
        let dhcp = r#"{"n":{"name":"n","ipam_options":{"driver":"dhcp"}}}"#;
        assert!(error(&one(dhcp)).contains("ipam driver dhcp: only host-local"));
        assert!(error(&one(r#"[{"driver":"x"}]"#)).contains("network options"));
    }

    #[test]
    fn replies() {
        let report = Report {
            network: "n".into(),
            name: "web".into(),
            interface: "eth0".into(),
            host_interface: "veth1".into(),
            bridge: "ply0".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec![Address {
                ip: "10.0.0.2".parse().unwrap(),
                prefix: 24,
                gateway: "10.0.0.1".parse().unwrap(),
            }],
            ports: Vec::new(),
            dns_servers: vec!["10.0.0.1".parse().unwrap()],
        };
        let said: serde_json::Value = serde_json::from_str(&reply(&[report])).unwrap();
        let wanted = serde_json::json!({"n": {
            "dns_search_domains": ["dns.podman"], "dns_server_ips": ["10.0.0.1"],
            "interfaces": {"eth0": {"mac_address": "02:00:00:00:00:01",
                "subnets": [{"gateway": "10.0.0.1", "ipnet": "10.0.0.2/24"}]}}}});
        assert_eq!(said, wanted);
        assert_eq!(failure("a \"b\""), r#"{"error":"a \"b\""}"#);
    }
}

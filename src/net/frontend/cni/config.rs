//! The configuration of a network, `"type": "plynet"`.
//!
//! Addresses are given out by plynet itself, unless `ipam.type` names another plugin. Without a range, the network is
//! the one of that name that `plynet network create` has made.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::VERSIONS;
use super::call::Call;
use super::failure::{CONFIG, DECODE, Failure, VERSION};
use super::ipam::{self, Ipam};
use crate::net::frontend::{bridge_name, container_name, usable_aliases};
use crate::net::intent::{Intent, Key};
use crate::net::name;
use crate::net::network::{Firewall, Network, Subnet};
use crate::net::port::PortMapping;

/// The name of this plugin, and of its own way to give out addresses.
pub const TYPE: &str = "plynet";

/// What is read on standard input.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The version that is spoken in this call.
    #[serde(default)]
    pub cni_version: String,
    /// The network.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    bridge: Option<String>,
    #[serde(default)]
    mtu: Option<u32>,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    isolate: Option<bool>,
    #[serde(default)]
    dns_enabled: Option<bool>,
    #[serde(default)]
    firewall: Firewall,
    #[serde(default)]
    ipam: Ipam,
    /// What a resolv.conf should have, if not us.
    #[serde(default)]
    pub dns: Option<Value>,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    /// What plugins before this one have done.
    #[serde(default)]
    pub prev_result: Option<Value>,
    /// GC: what is to stay.
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub valid: Option<Vec<Valid>>,
}

/// An attachment that is to stay.
#[derive(Debug, Deserialize)]
pub struct Valid {
    /// The container.
    #[serde(rename = "containerID")]
    pub container: String,
    /// Its interface.
    pub ifname: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeConfig {
    #[serde(default)]
    port_mappings: Vec<Port>,
    #[serde(default)]
    ips: Vec<String>,
    #[serde(default)]
    mac: Option<String>,
    /// By network.
    #[serde(default)]
    aliases: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    host_port: u16,
    container_port: u16,
    #[serde(default)]
    protocol: String,
    #[serde(default, rename = "hostIP")]
    host_ip: String,
}

/// What the plugin that gives out addresses has said.
#[derive(Debug, Default, Deserialize)]
pub struct Delegated {
    /// The addresses.
    #[serde(default)]
    pub ips: Vec<DelegatedIp>,
}

/// An address that another plugin has given out.
#[derive(Debug, Deserialize)]
pub struct DelegatedIp {
    /// The address, with the length of its prefix.
    pub address: IpNet,
    /// The way out.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
}

impl Config {
    /// Reads a configuration, of which a version can be spoken.
    ///
    /// # Errors
    /// Decode, with line and column; version.
    pub fn parse(text: &str) -> Result<Config, Failure> {
        let config: Config = serde_json::from_str(text)
            .map_err(|error| Failure::new(DECODE, format!("network configuration: {error}")))?;
        if !VERSIONS.contains(&config.cni_version.as_str()) {
            let shown = config.cni_version.escape_debug();
            let words = format!(
                "cniVersion \"{shown}\" is not spoken here, but {}",
                VERSIONS.join(" ")
            );
            return Err(Failure::new(VERSION, words));
        }
        Ok(config)
    }

    /// Checks the name, which all but VERSION need.
    ///
    /// # Errors
    /// Config.
    pub fn check(&self) -> Result<(), Failure> {
        name::check("network", &self.name).map_err(bad)
    }

    /// The other plugin that gives out addresses.
    pub fn delegate(&self) -> Option<&str> {
        Some(self.ipam.kind.as_str()).filter(|kind| !kind.is_empty() && *kind != TYPE)
    }

    /// The network, with its own ranges or those of what another plugin has given out; none: that of `plynet network
    /// create`.
    ///
    /// # Errors
    /// Config.
    pub fn network(&self, delegated: Option<&Delegated>) -> Result<Option<Network>, Failure> {
        let subnets = match delegated {
            Some(delegated) => delegated.ips.iter().map(DelegatedIp::subnet).collect(),
            None => self.ipam.subnets()?,
        };
        if subnets.is_empty() {
            return match delegated {
                Some(_) => Err(bad("the ipam plugin has given out no address")),
                None => Ok(None),
            };
        }
        let bridge = self
            .bridge
            .clone()
            .unwrap_or_else(|| bridge_name(&self.name));
        name::check_interface("bridge", &bridge).map_err(bad)?;
        Ok(Some(Network {
            name: self.name.clone(),
            bridge,
            subnets,
            internal: self.internal,
            isolate: self.isolate.unwrap_or(true),
            mtu: self.mtu.filter(|mtu| *mtu != 0),
            dns: self.dns_enabled.unwrap_or(true),
            dns_servers: Vec::new(),
            routes: self.ipam.routes(),
            metric: None,
            firewall: self.firewall,
            labels: BTreeMap::new(),
        }))
    }

    /// What ADD asks for.
    ///
    /// # Errors
    /// Config.
    pub fn intent(&self, call: &Call, delegated: Option<&Delegated>) -> Result<Intent, Failure> {
        let pod = call.args.get("K8S_POD_NAME").map(String::as_str);
        let name = container_name(&[pod, Some(&call.container)], &call.container);
        let mac = self
            .runtime_config
            .mac
            .as_deref()
            .or(call.args.get("MAC").map(String::as_str));
        let aliases = self
            .runtime_config
            .aliases
            .get(&self.name)
            .map_or(&[][..], Vec::as_slice);
        Ok(Intent {
            key: self.key(&call.container, &call.interface),
            ips: match delegated {
                Some(delegated) => delegated.ips.iter().map(|ip| ip.address.addr()).collect(),
                None => self.wanted_ips(call)?,
            },
            mac: mac.map(str::parse).transpose().map_err(bad)?,
            aliases: usable_aliases(aliases),
            ports: self.ports()?,
            ..Intent::new(&self.name, &name, &call.netns)
        })
    }

    /// The attachment of a container's interface.
    pub fn key(&self, container: &str, interface: &str) -> Key {
        Key {
            network: self.name.clone(),
            id: container.into(),
            interface: interface.into(),
        }
    }

    fn wanted_ips(&self, call: &Call) -> Result<Vec<IpAddr>, Failure> {
        let asked = call
            .args
            .get("IP")
            .into_iter()
            .flat_map(|ips| ips.split(','));
        let asked = self
            .runtime_config
            .ips
            .iter()
            .map(String::as_str)
            .chain(asked);
        let ip = |text: &str| {
            // With the length of a prefix or without.
            let address = text.split('/').next().unwrap_or(text);
            address
                .parse()
                .map_err(|_| bad(format!("IP \"{}\": no address", text.escape_debug())))
        };
        asked.map(ip).collect()
    }

    fn ports(&self) -> Result<Vec<PortMapping>, Failure> {
        let mapping = |port: &Port| {
            let protocol = if port.protocol.is_empty() {
                "tcp"
            } else {
                &port.protocol
            };
            let host_ip = match port.host_ip.as_str() {
                "" => None,
                text => {
                    let no_address =
                        |_| bad(format!("hostIP \"{}\": no address", text.escape_debug()));
                    Some(text.parse::<IpAddr>().map_err(no_address)?)
                }
            };
            Ok(PortMapping {
                host_ip: host_ip.filter(|ip| !ip.is_unspecified()),
                host: port.host_port,
                container: port.container_port,
                count: 1,
                proto: protocol.to_ascii_lowercase().parse().map_err(bad)?,
            })
        };
        // Kubernetes' way to say that it is not published.
        let published = self
            .runtime_config
            .port_mappings
            .iter()
            .filter(|port| port.host_port != 0);
        published.map(mapping).collect()
    }
}

impl DelegatedIp {
    fn subnet(&self) -> Subnet {
        let range = self.address.trunc();
        Subnet {
            range,
            gateway: self.gateway.unwrap_or_else(|| ipam::first_of(range)),
            lease_range: None,
        }
    }
}

pub(super) fn bad(words: impl std::fmt::Display) -> Failure {
    Failure::new(CONFIG, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frontend::cni::call::Command;

    fn call() -> Call {
        Call {
            command: Command::Add,
            container: "c".repeat(64),
            netns: "/run/netns/x".into(),
            interface: "eth0".into(),
            args: [("K8S_POD_NAME".to_string(), "web".to_string())].into(),
            path: Vec::new(),
        }
    }

    #[test]
    fn a_whole_configuration() {
        let config = Config::parse(r#"{"cniVersion":"1.0.0","name":"blue","type":"plynet","mtu":1400,"isolate":false,
            "ipam":{"ranges":[[{"subnet":"10.1.0.0/24","rangeStart":"10.1.0.9"}],
                [{"subnet":"fd01::/64","gateway":"fd01::f"}]]},
            "runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"TCP","hostIP":"127.0.0.1"},
                {"hostPort":0,"containerPort":9}],"mac":"02:00:00:00:00:09","aliases":{"blue":["www"],"red":["x"]},
                "ips":["10.1.0.20/24"]},"capabilities":{"portMappings":true}}"#).unwrap();
        let network = config.network(None).unwrap().unwrap();
        assert_eq!(
            (network.bridge.as_str(), network.mtu, network.isolate),
            ("ply-blue", Some(1400), false)
        );
        let [v4, v6] = network.subnets[..] else {
            panic!("{network:?}")
        };
        assert_eq!(v4.gateway.to_string(), "10.1.0.1");
        let lease = v4.lease_range.unwrap();
        assert_eq!(
            (lease.0.to_string(), lease.1.to_string()),
            ("10.1.0.9".into(), "10.1.0.254".into())
        );
        assert_eq!(
            (v6.gateway.to_string().as_str(), v6.lease_range),
            ("fd01::f", None)
        );
        let intent = config.intent(&call(), None).unwrap();
        assert_eq!(
            (intent.name.as_str(), intent.aliases),
            ("web", vec!["www".to_string()])
        );
        assert_eq!(intent.ips, ["10.1.0.20".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            intent
                .ports
                .iter()
                .map(|p| p.to_string())
                .collect::<Vec<_>>(),
            ["127.0.0.1:8080:80/tcp"]
        );
        assert!(intent.mac.is_some() && config.delegate().is_none());
    }

    #[test]
    fn another_plugin_may_give_out_addresses() {
        let config = Config::parse(
            r#"{"cniVersion":"0.4.0","name":"b","ipam":{"type":"host-local","subnet":"10.2.0.0/16"}}"#,
        );
        let config = config.unwrap();
        assert_eq!(config.delegate(), Some("host-local"));
        let said =
            r#"{"ips":[{"version":"4","address":"10.2.0.7/16","gateway":"10.2.0.1"}],"dns":{}}"#;
        let delegated: Delegated = serde_json::from_str(said).unwrap();
        let network = config.network(Some(&delegated)).unwrap().unwrap();
        assert_eq!(network.subnets[0].range.to_string(), "10.2.0.0/16");
        assert_eq!(network.subnets[0].gateway.to_string(), "10.2.0.1");
        let intent = config.intent(&call(), Some(&delegated)).unwrap();
        assert_eq!(intent.ips, ["10.2.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            config
                .network(Some(&Delegated::default()))
                .unwrap_err()
                .code,
            CONFIG
        );
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_code() {
        let error = |text: &str| {
            let config = Config::parse(text)?;
            config.check()?;
            config.network(None)?;
            config.intent(&call(), None).map(drop)
        };
        let code = |text: &str| error(text).unwrap_err().code;
        assert!(
            error("{\n \"cniVersion\" 1}")
                .unwrap_err()
                .words
                .contains("line 2 column")
        );
        assert_eq!(code("{"), DECODE);
        assert_eq!(code("{}"), VERSION);
        assert_eq!(code(r#"{"cniVersion":"0.2.0","name":"a"}"#), VERSION);
        assert_eq!(code(r#"{"cniVersion":"1.1.0","name":"a/b"}"#), CONFIG);
        let with = |rest: &str| format!(r#"{{"cniVersion":"1.1.0","name":"a",{rest}}}"#);
        for rest in [
            r#""bridge":"a-very-long-bridge","ipam":{"subnet":"10.0.0.0/8"}"#,
            r#""ipam":{"subnet":"10.0.0.0/31"}"#,
            r#""ipam":{"ranges":[[{"subnet":"10.0.0.0/24"},{"subnet":"10.0.1.0/24"}]]}"#,
            r#""runtimeConfig":{"mac":"x"}"#,
            r#""runtimeConfig":{"ips":["x"]}"#,
            r#""runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1,"protocol":"sctp"}]}"#,
            r#""runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1,"hostIP":"x"}]}"#,
        ] {
            assert_eq!(code(&with(rest)), CONFIG, "{rest}");
        }
        assert_eq!(code(&with(r#""ipam":{"subnet":"10.0.0.0/33"}"#)), DECODE);
        assert!(error(&with(r#""unknown":1"#)).is_ok());
    }
}

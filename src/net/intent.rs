//! [`Intent`]: what is asked of an attachment. [`Attachment`]: all that was decided about it, the file that is written
//! before the kernel is touched. [`Report`]: what a caller is told.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::network::Firewall;
use super::port::{PortMapping, Proto};
use super::{name, network::DEFAULT_NETWORK};

/// The container's end of the first network.
pub const DEFAULT_INTERFACE: &str = "eth0";

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Mac> {
        let bad =
            |why: &str| Error::usage(format!("MAC address \"{}\": {why}", text.escape_debug()));
        let mut bytes = [0; 6];
        let mut words = text.split(':');
        for byte in &mut bytes {
            let word = words
                .next()
                .filter(|w| w.len() == 2 && w.bytes().all(|b| b.is_ascii_hexdigit()));
            let word = word.ok_or_else(|| bad("not six pairs of hexadecimal digits"))?;
            *byte = u8::from_str_radix(word, 16).map_err(|_| bad("not hexadecimal"))?;
        }
        match bytes {
            _ if words.next().is_some() => Err(bad("more than six pairs")),
            [0, 0, 0, 0, 0, 0] => Err(bad("all zeros")),
            [first, ..] if first & 1 == 1 => Err(bad("that is a group's address")),
            _ => Ok(Mac(bytes)),
        }
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Mac> {
        text.parse()
    }
}

/// Which attachment: a container may be on several networks, with an interface for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The network's name.
    pub network: String,
    /// The container's id; on the command line its name.
    pub id: String,
    /// The container's end.
    pub interface: String,
}

impl Key {
    /// That of a container's first interface.
    pub fn new(network: &str, id: &str) -> Key {
        Key {
            network: network.into(),
            id: id.into(),
            interface: DEFAULT_INTERFACE.into(),
        }
    }

    /// `ID@INTERFACE`, as its file is called.
    pub fn file_name(&self) -> String {
        format!("{}@{}", self.id, self.interface)
    }

    /// Checks all three words.
    ///
    /// # Errors
    /// Usage.
    pub fn check(&self) -> Result<()> {
        name::check("network", &self.network)?;
        name::check_id("container", &self.id)?;
        name::check_interface("interface", &self.interface)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {} on network {}", self.id, self.network)
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Where, who, and by which interface.
    pub key: Key,
    /// The name by which others find it.
    pub name: String,
    /// The container's network namespace: a file such as `/run/netns/x` or `/proc/PID/ns/net`.
    pub netns: PathBuf,
    /// Addresses wanted; for a subnet of the network without one, the next free.
    pub ips: Vec<IpAddr>,
    /// The interface's address; none: derived from the first address.
    pub mac: Option<Mac>,
    /// More names, which others may share.
    pub aliases: Vec<String>,
    /// What is published.
    pub ports: Vec<PortMapping>,
    /// Anything.
    pub labels: BTreeMap<String, String>,
    /// No default route by this network; another one has it.
    pub no_route: bool,
}

impl Intent {
    /// A container on a network, of whom nothing more is asked.
    pub fn new(network: &str, name: &str, netns: impl Into<PathBuf>) -> Intent {
        Intent {
            key: Key::new(network, name),
            name: name.to_string(),
            netns: netns.into(),
            ips: Vec::new(),
            mac: None,
            aliases: Vec::new(),
            ports: Vec::new(),
            labels: BTreeMap::new(),
            no_route: false,
        }
    }

    /// Checks what can be checked without looking at anything else.
    ///
    /// # Errors
    /// Usage.
    pub fn check(&self) -> Result<()> {
        self.key.check()?;
        name::check("container", &self.name)?;
        self.aliases
            .iter()
            .try_for_each(|alias| name::check("alias", alias))?;
        self.ports.iter().try_for_each(PortMapping::check)?;
        for (n, port) in self.ports.iter().enumerate() {
            if let Some(other) = self.ports.iter().take(n).find(|other| other.overlaps(port)) {
                return Err(Error::usage(format!(
                    "port {port}: {other} is published already, by the same container"
                )));
            }
        }
        Ok(())
    }
}

impl Default for Intent {
    fn default() -> Intent {
        Intent::new(DEFAULT_NETWORK, "", "")
    }
}

/// An address with the length of its subnet's prefix, and the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The container's address.
    pub ip: IpAddr,
    /// The length of the subnet's prefix.
    pub prefix: u8,
    /// The bridge's address in that subnet.
    pub gateway: IpAddr,
}

/// All that was decided: `net/<network>/attach/<id>@<interface>.json`. Written before the kernel is touched, and again,
/// with `done`, when everything is there; so whatever is found in the kernel can be told from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where, who, and by which interface.
    pub key: Key,
    /// The name by which others find it.
    pub name: String,
    /// More names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The file that named the namespace.
    pub netns: PathBuf,
    /// The namespace's inode number.
    pub netns_inode: u64,
    /// The host's end, an interface on the bridge.
    pub host_interface: String,
    /// The container's end.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// What is published.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Who translates and filters.
    #[serde(default)]
    pub firewall: Firewall,
    /// No default route by this network.
    #[serde(default)]
    pub no_route: bool,
    /// Anything.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What was opened for it.
    #[serde(default)]
    pub links: Vec<Link>,
    /// For whom it was opened.
    #[serde(default)]
    pub linked_by: Vec<Key>,
    /// It is being taken away.
    #[serde(default)]
    pub leaving: bool,
    /// Everything is there. Names are answered from now on.
    #[serde(default)]
    pub done: bool,
}

/// A port of another container that is open to this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The other one.
    pub to: Key,
    /// Its addresses.
    pub to_addresses: Vec<IpAddr>,
    /// The port.
    pub port: u16,
    /// TCP or UDP.
    pub proto: Proto,
    /// The name by which it is found on the network of the one that has the link.
    pub alias: String,
}

/// What a caller is told of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The network's name.
    pub network: String,
    /// The container's name.
    pub name: String,
    /// The container's end.
    pub interface: String,
    /// The host's end.
    pub host_interface: String,
    /// The bridge.
    pub bridge: String,
    /// The address of the container's end.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// What is published.
    pub ports: Vec<PortMapping>,
    /// Who answers names; empty: the network has no names.
    pub dns_servers: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses() {
        let mac: Mac = "02:50:0A:00:00:02".parse().unwrap();
        assert_eq!(mac.to_string(), "02:50:0a:00:00:02");
        for bad in [
            "",
            "02:50:0a:00:00",
            "02:50:0a:00:00:02:03",
            "01:50:0a:00:00:02",
            "00:00:00:00:00:00",
            "0:1:2:3:4:5",
        ] {
            assert_eq!(bad.parse::<Mac>().unwrap_err().kind.code(), 2, "{bad}");
        }
    }

    #[test]
    fn an_intent_is_checked_word_by_word() {
        let good = Intent::new("default", "c1", "/run/netns/c1");
        assert_eq!(good.check(), Ok(()));
        let alias = Intent {
            aliases: vec!["a/b".into()],
            ..good.clone()
        };
        let nameless = Intent {
            name: String::new(),
            ..good.clone()
        };
        let elsewhere = Intent {
            key: Key::new("..", "c1"),
            ..good
        };
        for bad in [alias, nameless, elsewhere] {
            assert_eq!(bad.check().unwrap_err().kind.code(), 2);
        }
    }
}

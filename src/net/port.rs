//! [`PortMapping`]: `[HOSTIP:]H[-H2]:C[-C2][/proto]`, a published port or range of ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// A protocol with ports.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Proto {
    /// Its word in options and files.
    pub fn word(self) -> &'static str {
        match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
        }
    }

    /// Its number in the header of IP.
    pub fn number(self) -> u8 {
        match self {
            Proto::Tcp => 6,
            Proto::Udp => 17,
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Proto {
    type Err = Error;

    fn from_str(text: &str) -> Result<Proto> {
        match text {
            "tcp" => Ok(Proto::Tcp),
            "udp" => Ok(Proto::Udp),
            _ => Err(Error::usage(format!(
                "protocol \"{}\": tcp and udp can be published",
                text.escape_debug()
            ))),
        }
    }
}

/// `count` ports of the host, from `host` on, that lead to as many of the container, from `container` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The address of the host; none: all of them, of both families.
    #[serde(default)]
    pub host_ip: Option<IpAddr>,
    /// First port of the host.
    pub host: u16,
    /// First port of the container.
    pub container: u16,
    /// How many, at least 1.
    pub count: u16,
    /// TCP or UDP.
    pub proto: Proto,
}

impl PortMapping {
    /// Checks that it stays below 65536 and that its address can be published on.
    ///
    /// # Errors
    /// Usage.
    pub fn check(&self) -> Result<()> {
        let bad = |why: &str| Err(Error::usage(format!("port {self}: {why}")));
        let ends = |first: u16| u32::from(first) + u32::from(self.count) - 1 > 65535;
        match self.host_ip {
            _ if self.count == 0 => bad("no port at all"),
            _ if self.host == 0 || self.container == 0 => bad("port 0 means nothing here"),
            _ if ends(self.host) || ends(self.container) => bad("ends after port 65535"),
            Some(IpAddr::V6(ip)) if ip.is_loopback() => {
                bad("the kernel cannot translate from ::1; publish on 127.0.0.1")
            }
            Some(ip) if ip.is_multicast() => bad("that is no address of a host"),
            _ => Ok(()),
        }
    }

    /// Its ports of the container, in words.
    pub fn of_container(&self) -> String {
        format!("{}/{}", span(self.container, self.count), self.proto)
    }

    /// Its address and ports of the host, in words; `*` is every address.
    pub fn of_host(&self) -> String {
        let ports = span(self.host, self.count);
        match self.host_ip {
            Some(IpAddr::V6(ip)) => format!("[{ip}]:{ports}"),
            Some(ip) => format!("{ip}:{ports}"),
            None => format!("*:{ports}"),
        }
    }

    /// Have two an address and a port of the host in common?
    pub fn overlaps(&self, other: &PortMapping) -> bool {
        let last = |m: &PortMapping| u32::from(m.host) + u32::from(m.count) - 1;
        let ports = u32::from(self.host) <= last(other) && u32::from(other.host) <= last(self);
        let addresses = match (self.host_ip, other.host_ip) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        self.proto == other.proto && ports && addresses
    }

    /// Each pair of ports: of the host, of the container.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let (host, container) = (self.host, self.container);
        (0..self.count).map(move |n| (host.saturating_add(n), container.saturating_add(n)))
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            None => {}
        }
        write!(f, "{}:{}", span(self.host, self.count), self.of_container())
    }
}

/// `count` ports from `first` on.
fn span(first: u16, count: u16) -> String {
    match count {
        0 | 1 => first.to_string(),
        count => format!("{first}-{}", u32::from(first) + u32::from(count) - 1),
    }
}

impl FromStr for PortMapping {
    type Err = Error;

    fn from_str(text: &str) -> Result<PortMapping> {
        let bad = |why: &str| {
            let shown = text.escape_debug();
            Error::usage(format!(
                "port \"{shown}\": {why} ([HOSTIP:]PORT[-PORT]:PORT[-PORT][/tcp|/udp])"
            ))
        };
        let (ports, proto) = match text.rsplit_once('/') {
            Some((ports, proto)) => (ports, proto.parse()?),
            None => (text, Proto::Tcp),
        };
        let (before, container) = ports
            .rsplit_once(':')
            .ok_or_else(|| bad("no port of the container"))?;
        let (address, host) = match before.rsplit_once(':') {
            Some((address, host)) => (Some(address), host),
            None => (None, before),
        };
        let host_ip = address.map(|text| {
            let inner = text
                .strip_prefix('[')
                .and_then(|t| t.strip_suffix(']'))
                .unwrap_or(text);
            inner.parse::<IpAddr>().map_err(|_| bad("not an address"))
        });
        let host_ip = match host_ip.transpose()? {
            Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => None,
            other => other,
        };
        let (host, count) = range(host).ok_or_else(|| bad("not a port or range"))?;
        let (container, others) = range(container).ok_or_else(|| bad("not a port or range"))?;
        if count != others {
            return Err(bad("the two ranges differ in length"));
        }
        let mapping = PortMapping {
            host_ip,
            host,
            container,
            count,
            proto,
        };
        mapping.check()?;
        Ok(mapping)
    }
}

/// `80` or `80-89`: the first and how many.
fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => text.parse::<u16>().ok(),
        false => None,
    };
    match text.split_once('-') {
        None => Some((number(text)?, 1)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            Some((first, last.checked_sub(first)?.checked_add(1)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms() {
        for (text, shown) in [
            ("8080:80", "8080:80/tcp"),
            ("8080:80/udp", "8080:80/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("0.0.0.0:8080:80", "8080:80/tcp"),
            ("[fd00::1]:8080:80", "[fd00::1]:8080:80/tcp"),
            ("7000-7009:80-89/udp", "7000-7009:80-89/udp"),
        ] {
            assert_eq!(text.parse::<PortMapping>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "80",
            "a:80",
            "80:b",
            "0:80",
            "80:0",
            "80:80/sctp",
            "80:80/",
            "65536:1",
            "7000-7001:80",
            "7001-7000:80-81",
            "65535-65536:1-2",
            "1.2.3:80:80",
            "[::1]:80:80",
            "224.0.0.1:80:80",
            "+80:80",
            "1-2-3:4-6",
            ":80",
        ] {
            let error = text.parse::<PortMapping>().unwrap_err();
            assert_eq!(error.kind.code(), 2, "{text}: {error}");
        }
    }

    #[test]
    fn ranges_are_pairs() {
        let mapping: PortMapping = "10-12:20-22".parse().unwrap();
        assert_eq!(
            Vec::from_iter(mapping.pairs()),
            [(10, 20), (11, 21), (12, 22)]
        );
    }
}

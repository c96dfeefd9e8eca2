//! resolv.conf(5): the host's own resolvers out of one, and one for a container.

use std::fs;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::zone::DOMAIN;

/// Where programs look for it.
pub const PATH: &str = "/etc/resolv.conf";
/// The port of DNS.
pub const PORT: u16 = 53;
/// As many as the C library asks.
pub const SERVERS_MAX: usize = 3;
/// How long the file is believed before it is looked at again.
const FRESH: Duration = Duration::from_secs(1);

/// The resolv.conf of a container on a network whose names these servers know.
pub fn for_container(network: &str, servers: &[IpAddr]) -> String {
    let servers = servers.iter().take(SERVERS_MAX);
    let servers: String = servers.map(|ip| format!("nameserver {ip}\n")).collect();
    format!("search {network}.{DOMAIN}\n{servers}")
}

/// The servers that a resolv.conf names, at most [`SERVERS_MAX`].
pub fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| server(words.next()?))?
    });
    servers.take(SERVERS_MAX).collect()
}

/// An address; one of IPv6 that is valid on one link only may say which, by the number of the interface.
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    let (address, link) = text.split_once('%')?;
    let scope = link.parse().ok()?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into())
}

/// A resolv.conf that may change.
#[derive(Debug)]
pub struct Resolv {
    path: PathBuf,
    loopback: Option<PathBuf>,
    looked: Option<Instant>,
    changed: Option<SystemTime>,
    servers: Vec<SocketAddr>,
}

impl Resolv {
    /// The file at `path`; it need not be there yet. If its loopback is not ours, the file `loopback` has the address
    /// at which servers there are reached.
    pub fn new(path: PathBuf, loopback: Option<PathBuf>) -> Resolv {
        Resolv {
            path,
            loopback,
            looked: None,
            changed: None,
            servers: Vec::new(),
        }
    }

    /// The servers it names now.
    pub fn servers(&mut self, now: Instant) -> &[SocketAddr] {
        if self
            .looked
            .is_none_or(|looked| now.duration_since(looked) >= FRESH)
        {
            self.looked = Some(now);
            let changed = fs::metadata(&self.path)
                .and_then(|meta| meta.modified())
                .ok();
            if changed != self.changed {
                self.changed = changed;
                self.servers =
                    fs::read_to_string(&self.path).map_or(Vec::new(), |text| parse(&text));
                self.servers = self.reached(&self.servers);
            }
        }
        &self.servers
    }

    fn reached(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let text = self
            .loopback
            .as_ref()
            .and_then(|path| fs::read_to_string(path).ok());
        let Some(instead) = text.and_then(|text| text.trim().parse::<IpAddr>().ok()) else {
            return servers.to_vec();
        };
        let reached = servers
            .iter()
            .map(|server| match server.ip().is_loopback() {
                true => SocketAddr::new(instead, server.port()),
                false => *server,
            });
        let mut reached: Vec<SocketAddr> = reached.collect();
        reached.dedup();
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_the_c_library_reads_them() {
        let text = "# nameserver 1.1.1.1\nsearch a b\n nameserver 10.0.0.1 # here\nnameserver\tfe80::1%3\n\
            nameserver nonsense\nnameservers 2.2.2.2\nnameserver 2001:db8::1\nnameserver 10.0.0.4\n";
        let servers: Vec<_> = parse(text).iter().map(SocketAddr::to_string).collect();
        assert_eq!(
            servers,
            ["10.0.0.1:53", "[fe80::1%3]:53", "[2001:db8::1]:53"]
        );
    }

    #[test]
    fn a_container_asks_its_gateways() {
        let gateways = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let text = for_container("blue", &gateways);
        assert_eq!(
            text,
            "search blue.plynet\nnameserver 10.0.0.1\nnameserver fd00::1\n"
        );
        assert_eq!(parse(&text).len(), 2);
    }

    #[test]
    fn a_loopback_that_is_not_ours_is_reached_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let (path, instead) = (
            place.path().join("resolv.conf"),
            place.path().join("resolver"),
        );
        fs::write(
            &path,
            "nameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.1",
        )
        .unwrap();
        let servers = || {
            let mut resolv = Resolv::new(path.clone(), Some(instead.clone()));
            resolv.servers(Instant::now()).to_vec()
        };
        assert_eq!(servers().len(), 3);
        fs::write(&instead, "169.254.1.1\n").unwrap();
        let wanted = ["169.254.1.1:53", "10.0.0.1:53"].map(|text| text.parse().unwrap());
        assert_eq!(servers(), wanted);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("resolv.conf");
        let mut resolv = Resolv::new(path.clone(), None);
        let now = Instant::now();
        assert!(resolv.servers(now).is_empty());
        fs::write(&path, "nameserver 10.0.0.1").unwrap();
        assert!(resolv.servers(now).is_empty());
        assert_eq!(
            resolv.servers(now + FRESH),
            ["10.0.0.1:53".parse().unwrap()]
        );
    }
}

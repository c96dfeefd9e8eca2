//! Claims: what can have one owner only. An address of a network, a name on it, a port of the host.
//!
//! Each is a symbolic link to its owner, made in one step that fails if it is there. Invariant: all verbs here are
//! called with [`Claiming`] in hand; a claim without an attachment of its owner is a leftover.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::book::{Book, Claiming, listing, remove};
use super::error::{Error, OrAt, Result};
use super::intent::{Attachment, Key};
use super::network::{Network, Subnet};
use super::port::{PortMapping, Proto};
use super::subnet;

/// Every address of the host.
const ANY: &str = "*";

/// A port of the host that somebody has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortClaim {
    /// TCP or UDP.
    pub proto: Proto,
    /// The port.
    pub port: u16,
    /// The address of the host; none: all of them.
    pub host_ip: Option<IpAddr>,
}

/// Why a claim was not made.
#[derive(Debug)]
pub enum Refused {
    /// Somebody has it; what it is, in words.
    Taken(Key, String),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Failed(error)
    }
}

/// Result of a claim.
pub type Claim<T = ()> = std::result::Result<T, Refused>;

impl Book {
    /// Makes an address of a subnet belong to `key`: this one, or the next that is free.
    ///
    /// # Errors
    /// Taken; a conflict when none is free.
    pub fn lease(
        &self,
        _: &Claiming,
        network: &Network,
        subnet: &Subnet,
        wanted: Option<IpAddr>,
        key: &Key,
    ) -> Claim<IpAddr> {
        let dir = self.layout.leases(&network.name);
        let claim = |ip: IpAddr| own(&dir.join(ip.to_string()), &key.file_name());
        if let Some(ip) = wanted {
            return match claim(ip)? {
                None => Ok(ip),
                Some(owner) => Err(taken(&network.name, &owner, format!("address {ip}"))),
            };
        }
        let (first, last) = subnet::hosts(subnet);
        let cursor = self.layout.cursor(&network.name, family(first));
        let before = fs::read_to_string(&cursor)
            .ok()
            .and_then(|text| text.trim().parse::<IpAddr>().ok());
        let start = before
            .filter(|ip| (first..last).contains(ip))
            .map_or(first, |ip| subnet::offset(ip, 1));
        let room = subnet::number(last) - subnet::number(first) + 1;
        for n in 0..room {
            let ip = subnet::offset(start, n);
            let ip = if ip > last || ip < first {
                subnet::offset(ip, room.wrapping_neg())
            } else {
                ip
            };
            if ip != subnet.gateway && claim(ip)?.is_none() {
                note(&cursor, ip).or_at("file", &cursor)?;
                return Ok(ip);
            }
        }
        let text = format!(
            "network {}: all {} addresses of {} are taken",
            network.name,
            room - 1,
            subnet.range
        );
        Err(Refused::Failed(Error::conflict(text)))
    }

    /// Makes a name on a network belong to `key`.
    ///
    /// # Errors
    /// Taken.
    pub fn claim_name(&self, _: &Claiming, name: &str, key: &Key) -> Claim {
        let path = self
            .layout
            .names(&key.network)
            .join(name.to_ascii_lowercase());
        match own(&path, &key.file_name())? {
            None => Ok(()),
            Some(owner) => Err(taken(&key.network, &owner, format!("name {name}"))),
        }
    }

    /// Makes ports of the host belong to `key`.
    ///
    /// # Errors
    /// Taken; those claimed before stay, until [`Book::release`].
    pub fn claim_ports(&self, _: &Claiming, mapping: &PortMapping, key: &Key) -> Claim {
        let owner = format!("{}/{}", key.network, key.file_name());
        let address = mapping
            .host_ip
            .map_or_else(|| ANY.to_string(), |ip| ip.to_string());
        for (host, _) in mapping.pairs() {
            let dir = self.port(mapping, host);
            let others = match fs::create_dir(&dir) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => listing(&dir)?,
                made => made.map(|()| Vec::new()).or_at("directory", &dir)?,
            };
            for other in others {
                if other == address || other == ANY || address == ANY {
                    let path = dir.join(&other);
                    let holder = fs::read_link(&path).or_at("claim", &path)?;
                    if holder != Path::new(&owner) || other == address {
                        let what = format!("port {host}/{} of the host", mapping.proto);
                        return Err(taken_port(&holder.to_string_lossy(), what));
                    }
                }
            }
            own(&dir.join(&address), &owner)?;
        }
        Ok(())
    }

    /// Who has the port, if that is the same container on another network.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn published_elsewhere(&self, mapping: &PortMapping, key: &Key) -> Result<Option<Key>> {
        let dir = self.port(mapping, mapping.host);
        for address in listing(&dir)? {
            let path = dir.join(address);
            let holder = fs::read_link(&path).or_at("claim", &path)?;
            let owner = key_of_port(&holder.to_string_lossy());
            if let Some(owner) = owner.filter(|own| own.id == key.id && own.network != key.network)
            {
                return Ok(Some(owner));
            }
        }
        Ok(None)
    }

    /// Gives back all that an attachment has.
    ///
    /// # Errors
    /// Permission or other.
    pub fn release(&self, _: &Claiming, attachment: &Attachment) -> Result<()> {
        let key = &attachment.key;
        let owner = key.file_name();
        let leases = self.layout.leases(&key.network);
        for address in &attachment.addresses {
            disown(&leases.join(address.ip.to_string()), &owner)?;
        }
        disown(
            &self
                .layout
                .names(&key.network)
                .join(attachment.name.to_ascii_lowercase()),
            &owner,
        )?;
        let owner = format!("{}/{owner}", key.network);
        for mapping in &attachment.ports {
            let address = mapping
                .host_ip
                .map_or_else(|| ANY.to_string(), |ip| ip.to_string());
            for (host, _) in mapping.pairs() {
                let dir = self.port(mapping, host);
                disown(&dir.join(&address), &owner)?;
                // Others may have the port on another address.
                let _ = fs::remove_dir(&dir);
            }
        }
        Ok(())
    }

    /// All ports that are claimed. `about` is told each directory before it is read: who watches it misses nothing.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn claimed_ports(&self, mut about: impl FnMut(&Path)) -> Result<Vec<PortClaim>> {
        let ports = self.layout.ports();
        let mut found = Vec::new();
        for name in listing(&ports)? {
            let parsed = name
                .split_once('-')
                .and_then(|(proto, port)| Some((proto.parse().ok()?, port.parse().ok()?)));
            let Some((proto, port)) = parsed else {
                continue;
            };
            let dir = ports.join(&name);
            about(&dir);
            for address in listing(&dir)? {
                let host_ip = match address.as_str() {
                    ANY => None,
                    text => match text.parse() {
                        Ok(ip) => Some(ip),
                        Err(_) => continue,
                    },
                };
                found.push(PortClaim {
                    proto,
                    port,
                    host_ip,
                });
            }
        }
        Ok(found)
    }

    fn port(&self, mapping: &PortMapping, host: u16) -> PathBuf {
        self.layout
            .ports()
            .join(format!("{}-{host}", mapping.proto))
    }

    /// Claims whose owner has no attachment: the paths of their links, and the owner if that is one.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn leftovers(&self, _: &Claiming) -> Result<Vec<(PathBuf, Option<Key>)>> {
        let mut found = Vec::new();
        for network in self.live()? {
            for dir in [self.layout.leases(&network), self.layout.names(&network)] {
                found.extend(self.unowned(&dir, |owner| key_of(&network, owner))?);
            }
        }
        let ports = self.layout.ports();
        for port in listing(&ports)? {
            found.extend(self.unowned(&ports.join(port), key_of_port)?);
        }
        Ok(found)
    }

    /// Removes directories of ports that nobody has.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn sweep_ports(&self, _: &Claiming) -> Result<()> {
        let ports = self.layout.ports();
        for port in listing(&ports)? {
            // It is not empty where somebody has the port.
            let _ = fs::remove_dir(ports.join(port));
        }
        Ok(())
    }

    fn unowned(
        &self,
        dir: &Path,
        owner: impl Fn(&str) -> Option<Key>,
    ) -> Result<Vec<(PathBuf, Option<Key>)>> {
        let mut found = Vec::new();
        for name in listing(dir)? {
            let path = dir.join(name);
            let holder = fs::read_link(&path).or_at("claim", &path)?;
            let owner = owner(&holder.to_string_lossy());
            if !owner
                .as_ref()
                .is_some_and(|key| self.layout.attachment(key).exists())
            {
                found.push((path, owner));
            }
        }
        Ok(found)
    }
}

/// Only a hint where to go on, so it need not be whole. It is as long as the longest address, so that nothing of an
/// older one is left and no page is given back to be asked for again.
fn note(cursor: &Path, ip: IpAddr) -> io::Result<()> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(cursor)?;
    file.write_all(format!("{ip:<39}\n").as_bytes())
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "4" } else { "6" }
}

/// Makes the link. If there is one of another owner: that owner.
fn own(path: &Path, owner: &str) -> Result<Option<String>> {
    match std::os::unix::fs::symlink(owner, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let holder = fs::read_link(path).or_at("claim", path)?;
            let holder = holder.to_string_lossy().into_owned();
            Ok((holder != owner).then_some(holder))
        }
        made => made.map(|()| None).or_at("claim", path),
    }
}

/// Removes the link if it is the owner's.
fn disown(path: &Path, owner: &str) -> Result<()> {
    match fs::read_link(path) {
        Ok(holder) if holder == Path::new(owner) => remove(path),
        _ => Ok(()),
    }
}

/// `ID@INTERFACE` on a network.
fn key_of(network: &str, owner: &str) -> Option<Key> {
    let (id, interface) = owner.split_once('@')?;
    Some(Key {
        interface: interface.into(),
        ..Key::new(network, id)
    })
}

/// `NETWORK/ID@INTERFACE`, whose a port is.
fn key_of_port(owner: &str) -> Option<Key> {
    let (network, owner) = owner.split_once('/')?;
    key_of(network, owner)
}

fn taken(network: &str, owner: &str, what: String) -> Refused {
    match key_of(network, owner) {
        Some(key) => Refused::Taken(key, what),
        None => Refused::Failed(Error::conflict(format!("{what} is taken by {owner}"))),
    }
}

fn taken_port(owner: &str, what: String) -> Refused {
    match owner.split_once('/') {
        Some((network, owner)) => taken(network, owner, what),
        None => Refused::Failed(Error::conflict(format!("{what} is taken by {owner}"))),
    }
}

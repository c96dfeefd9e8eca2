//! [`Catalog`]: the networks with names and who is in them, as the run directory has them at this moment.
//!
//! The files themselves are what attach and detach write (see [`crate::net::layout`]). A change is told by inotify with
//! the file's name, so one attach costs one small file read, however many containers there are. A zone is made when it
//! is asked, so a thousand attaches in a row make it once.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::zone::{Member, Zone};
use crate::net::book;
use crate::net::error::{OrAt, Result};
use crate::net::intent::Attachment;
use crate::net::layout::Layout;
use crate::net::network::Network;
use crate::sys::inotify::{Change, Inotify, Watch};

/// Where a watched directory is.
#[derive(Clone, Debug)]
enum Place {
    /// `net/`
    Networks,
    /// `net/<network>/`
    Network(String),
    /// `net/<network>/attach/`
    Attachments(String),
}

/// What is there, kept up to date.
#[derive(Debug)]
pub struct Catalog {
    layout: Layout,
    inotify: Inotify,
    places: HashMap<Watch, Place>,
    networks: BTreeMap<String, Live>,
}

/// A network with names.
#[derive(Debug)]
struct Live {
    network: Network,
    /// By file. In flight there is none: it cannot be reached yet.
    attachments: BTreeMap<String, Vec<Member>>,
    zone: Option<Zone>,
}

impl Catalog {
    /// Reads all that is there and watches it from now on.
    ///
    /// # Errors
    /// When the run directory cannot be watched.
    pub fn open(layout: Layout) -> Result<Catalog> {
        let live = layout.live();
        let inotify = Inotify::new().or_at("watch", &live)?;
        let mut catalog = Catalog {
            layout,
            inotify,
            places: HashMap::new(),
            networks: BTreeMap::new(),
        };
        catalog.reload()?;
        Ok(catalog)
    }

    /// Reads everything again.
    ///
    /// # Errors
    /// When the run directory cannot be watched.
    pub fn reload(&mut self) -> Result<()> {
        let live = self.layout.live();
        let watch = self.inotify.watch(&live).or_at("watch", &live)?;
        self.places.insert(watch, Place::Networks);
        let mut names = book::listing(&live)?;
        names.extend(self.networks.keys().cloned());
        names.iter().for_each(|name| self.load(name));
        Ok(())
    }

    /// Follows what has changed, and says whether anything has.
    ///
    /// # Errors
    /// As [`Catalog::reload`].
    pub fn update(&mut self) -> Result<bool> {
        let mut changes = Vec::new();
        self.inotify.take(|change| changes.push(change));
        let changed = !changes.is_empty();
        for change in changes {
            match change {
                Change::Lost => self.reload()?,
                Change::Gone(watch) => drop(self.places.remove(&watch)),
                Change::Entry(watch, name) => match self.places.get(&watch).cloned() {
                    Some(Place::Networks) => self.load(&name),
                    Some(Place::Network(network)) if !name.starts_with('.') => self.load(&network),
                    Some(Place::Attachments(network)) => self.load_attachment(&network, &name),
                    _ => {}
                },
            }
        }
        Ok(changed)
    }

    /// Addresses to listen on, each with its network: those of networks that somebody uses.
    pub fn gateways(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        let used = self
            .networks
            .values()
            .filter(|live| !live.attachments.is_empty());
        used.flat_map(|live| {
            let name = live.network.name.as_str();
            live.network.gateways().map(move |gateway| (gateway, name))
        })
    }

    /// What a network knows by name.
    pub fn zone(&mut self, network: &str) -> Option<&Zone> {
        let live = self.networks.get_mut(network)?;
        let Live {
            network,
            attachments,
            zone,
        } = live;
        Some(zone.get_or_insert_with(|| zone_of(network, attachments)))
    }

    /// Where a network asks for other names; none: where the host does.
    pub fn servers(&self, network: &str) -> &[IpAddr] {
        self.networks
            .get(network)
            .map_or(&[], |live| &live.network.dns_servers)
    }

    fn load(&mut self, name: &str) {
        self.networks.remove(name);
        for (place, path) in [
            (Place::Network(name.to_string()), self.layout.live_dir(name)),
            (
                Place::Attachments(name.to_string()),
                self.layout.attachments(name),
            ),
        ] {
            // What is not there yet is told of by the watch on the directory that it will be in.
            if let Ok(watch) = self.inotify.watch(&path) {
                self.places.insert(watch, place);
            }
        }
        let Some(network) = found::<Network>(&self.layout.live_network(name)) else {
            return;
        };
        if !network.dns {
            return;
        }
        let live = Live {
            network,
            attachments: BTreeMap::new(),
            zone: None,
        };
        self.networks.insert(name.to_string(), live);
        let files = book::listing(&self.layout.attachments(name)).unwrap_or_default();
        files
            .iter()
            .for_each(|file| self.load_attachment(name, file));
    }

    fn load_attachment(&mut self, network: &str, file: &str) {
        let Some(live) = self.networks.get_mut(network) else {
            return;
        };
        if file.starts_with('.') || !file.ends_with(".json") {
            return;
        }
        match found(&self.layout.attachments(network).join(file)) {
            Some(attachment) => {
                let member = members_of(attachment);
                live.attachments.insert(file.to_string(), member);
            }
            None => drop(live.attachments.remove(file)),
        }
        live.zone = None;
    }
}

impl AsFd for Catalog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// What is in a file; one that is damaged is as good as none, and named in the log.
fn found<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    book::read(path).unwrap_or_else(|error| {
        log::warn!("{error}");
        None
    })
}

fn zone_of(network: &Network, attachments: &BTreeMap<String, Vec<Member>>) -> Zone {
    let subnets = network.subnets.iter().map(|subnet| subnet.range).collect();
    let mut zone = Zone::new(&network.name, subnets, network.internal);
    for member in attachments.values().flatten() {
        zone.add(member);
    }
    zone
}

/// The container itself, and those that were opened for it, by the names it has for them.
fn members_of(attachment: Attachment) -> Vec<Member> {
    if !attachment.done {
        return Vec::new();
    }
    let own = Member {
        name: attachment.name,
        aliases: attachment.aliases,
        addresses: attachment
            .addresses
            .iter()
            .map(|address| address.ip)
            .collect(),
    };
    let linked = attachment.links.into_iter().map(|link| Member {
        name: link.alias,
        aliases: Vec::new(),
        addresses: link.to_addresses,
    });
    std::iter::once(own).chain(linked).collect()
}

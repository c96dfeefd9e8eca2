//! Links: exactly one port of one container is open to exactly one other, on another network.
//!
//! A link is kept in the attachment of the container that it goes out from, with the addresses it leads to; the other
//! end knows by whom it is linked, and takes the links along when it is detached.

use std::net::IpAddr;

use super::book::{Claiming, InFlight};
use super::error::{Error, Result};
use super::firewall::{Filter, Wanted};
use super::host::Host;
use super::intent::{Attachment, Key, Link};
use super::iptables;
use super::name;
use super::network::Firewall;
use super::port::Proto;

impl Host {
    /// Opens a port of `to` for `from`, which finds it by `alias`. Asked for twice, it is there once.
    ///
    /// # Errors
    /// Not found; usage where there is no route, or nothing that could be opened.
    pub fn link(&self, from: &str, to: &str, proto: Proto, port: u16, alias: &str) -> Result<()> {
        name::check("alias", alias)?;
        if port == 0 {
            return Err(Error::usage("port 0 means nothing here"));
        }
        let claiming = self.book.claim()?;
        let [(mut from, _from_held), (mut to, _to_held)] = self.ends(from, to)?;
        for end in [&from, &to] {
            let network = self.book.network(&end.key.network)?;
            if network.internal && from.key.network != to.key.network {
                return Err(Error::usage(format!(
                    "network {} is internal: no route leads out or in",
                    network.name
                )));
            }
            if network.firewall == Firewall::None {
                return Err(Error::usage(format!(
                    "network {} has no firewall to open",
                    network.name
                )));
            }
        }
        if from.firewall != to.firewall {
            return Err(Error::usage(format!(
                "networks {} and {} have different firewalls, a link opens one",
                from.key.network, to.key.network
            )));
        }
        let to_addresses: Vec<IpAddr> = to.addresses.iter().map(|address| address.ip).collect();
        let link = Link {
            to: to.key.clone(),
            to_addresses,
            port,
            proto,
            alias: alias.into(),
        };
        if !from.links.contains(&link) {
            from.links.push(link);
        }
        if !to.linked_by.contains(&from.key) {
            to.linked_by.push(from.key.clone());
        }
        // The way back first: then a link is never without who takes it along.
        let _to_held = self.book.begin(&to)?;
        let _from_held = self.book.begin(&from)?;
        drop(claiming);
        self.keep_answering();
        if from.firewall == Firewall::Iptables {
            return iptables::sync(&self.book);
        }
        let mut wanted = Wanted::new();
        wanted.attachment(&from);
        Filter::open()?.add(&wanted).map(drop)
    }

    /// Closes all that was opened from one container to another; says whether anything was.
    ///
    /// # Errors
    /// Not found; what the kernel says.
    pub fn unlink(&self, from: &str, to: &str) -> Result<bool> {
        let _claiming = self.book.claim()?;
        let [(from, _from_held), (to, _to_held)] = self.ends(from, to)?;
        self.keep_answering();
        self.close(from, &to.key)
    }

    fn close(&self, mut from: Attachment, to: &Key) -> Result<bool> {
        let (closed, open): (Vec<Link>, _) = from.links.drain(..).partition(|link| link.to == *to);
        if closed.is_empty() {
            return Ok(false);
        }
        from.links = open;
        if from.firewall == Firewall::Iptables {
            self.book.done(&from)?;
            return iptables::sync(&self.book).map(|()| true);
        }
        let mut wanted = Wanted::new();
        closed.iter().for_each(|link| wanted.opened(&from, link));
        // Two links may open the same.
        let mut kept = Wanted::new();
        kept.attachment(&from);
        Filter::open()?.remove(&wanted.without(&kept))?;
        self.book.done(&from)?;
        Ok(true)
    }

    /// Closes what was opened to an attachment that is about to go. Who is on his way out himself does it alone.
    pub(super) fn close_to(&self, _: &Claiming, attachment: &Attachment) -> Result<()> {
        for key in &attachment.linked_by {
            let Some(_held) = self.book.try_hold(key)? else {
                continue;
            };
            if let Some(from) = self.book.attachment(key)?.filter(|from| from.done) {
                self.close(from, &attachment.key)?;
            }
        }
        Ok(())
    }

    /// Both ends of a link; nobody else works on them.
    fn ends(&self, from: &str, to: &str) -> Result<[(Attachment, InFlight); 2]> {
        let (from, to) = (self.find(from)?, self.find(to)?);
        if from == to {
            return Err(Error::usage(format!(
                "{from}: a link leads to another container"
            )));
        }
        Ok([self.seize(&from)?, self.seize(&to)?])
    }

    /// The attachment that `NAME`, or `NETWORK/NAME`, means.
    fn find(&self, word: &str) -> Result<Key> {
        let (network, wanted) = match word.split_once('/') {
            Some((network, wanted)) => (Some(network), wanted),
            None => (None, word),
        };
        name::check("container", wanted)?;
        network.map_or(Ok(()), |network| name::check("network", network))?;
        let mut found = Vec::new();
        for live in self
            .book
            .live()?
            .into_iter()
            .filter(|live| network.is_none_or(|network| network == live))
        {
            found.extend(
                self.book
                    .attachments(&live)?
                    .into_iter()
                    .filter(|one| one.done && one.name == wanted),
            );
        }
        match found.as_slice() {
            [one] => Ok(one.key.clone()),
            [] => Err(Error::not_found(format!("no container {word} is attached"))),
            many => {
                let networks: Vec<&str> = many.iter().map(|one| one.key.network.as_str()).collect();
                let networks = networks.join(", ");
                Err(Error::usage(format!(
                    "container {word} is on {networks}: say which, as NETWORK/NAME"
                )))
            }
        }
    }

    fn seize(&self, key: &Key) -> Result<(Attachment, InFlight)> {
        let held = self.book.try_hold(key)?;
        match (held, self.book.attachment(key)?.filter(|now| now.done)) {
            (Some(held), Some(now)) => Ok((now, held)),
            _ => Err(Error::conflict(format!(
                "{key}: somebody works on it just now; try again"
            ))),
        }
    }
}

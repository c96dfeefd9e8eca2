//! Attach and detach.
//!
//! Attach: decide and claim (under the lock, no kernel call, see `decide.rs`), write the intent, then bridge, links,
//! elements, then `done`. Detach is the way back: not `done` any more, elements, links, claims, intent. Every step may
//! be repeated, and whoever finds an intent that nobody works on and that is not done takes all of it back.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Claiming, InFlight};
use super::bridge;
use super::endpoint;
use super::error::{Error, Kind, Result};
use super::firewall::{Filter, Wanted};
use super::host::Host;
use super::intent::{Attachment, Intent, Key, Report};
use super::iptables;
use super::network::{Firewall, Network};
use crate::sys::errno::Errno;
use crate::sys::netns::Netns;
use crate::sys::process;
use crate::sys::rtnl::Rtnl;

/// An attachment on its way: its intent is written, and nobody else touches it.
pub(super) struct Begun {
    pub network: Network,
    pub attachment: Attachment,
    pub netns: Netns,
    pub flight: InFlight,
}

impl Host {
    /// Attaches containers, all or none, in this order.
    ///
    /// # Errors
    /// That of the first that fails; what was done before is undone.
    pub fn attach(&self, intents: &[Intent]) -> Result<Vec<Report>> {
        intents.iter().try_for_each(Intent::check)?;
        if !process::may_configure_networks() {
            return Err(Error::kernel("attach", Errno::EPERM));
        }
        let mut begun = Vec::new();
        match self.attach_all(intents, &mut begun) {
            Ok(()) => Ok(begun
                .iter()
                .map(|one| report(&one.network, &one.attachment))
                .collect()),
            Err(error) => {
                if let Err(other) = self.undo(begun) {
                    log::error!("undoing a failed attach: {other}; plynet reconcile repeats it");
                }
                Err(error)
            }
        }
    }

    fn attach_all(&self, intents: &[Intent], begun: &mut Vec<Begun>) -> Result<()> {
        {
            let claiming = self.book.claim()?;
            for intent in intents {
                begun.push(self.begin(&claiming, intent)?);
            }
        }
        let mut bridges = BTreeMap::new();
        let mut fresh = Vec::new();
        for one in begun.iter() {
            let name = one.network.name.as_str();
            let bridge = match bridges.get(name) {
                Some(bridge) => *bridge,
                None => {
                    let raised = bridge::raise(&self.book, &self.rtnl, &one.network)?;
                    fresh.extend(raised.fresh.then_some(&one.network));
                    raised.index
                }
            };
            bridges.insert(name, bridge);
            endpoint::make(
                (&self.netns, &self.rtnl),
                &one.network,
                bridge,
                &one.attachment,
                &one.netns,
            )?;
        }
        let mut wanted = Wanted::new();
        for one in begun
            .iter()
            .filter(|one| one.attachment.firewall == Firewall::Nftables)
        {
            wanted.network(&one.network);
            wanted.attachment(&one.attachment);
        }
        self.allow(&wanted)?;
        if begun
            .iter()
            .any(|one| one.network.firewall == Firewall::Iptables)
        {
            iptables::sync(&self.book)?;
        }
        self.forget_flows_past(begun.iter().map(|one| &one.attachment));
        match begun.iter().any(|one| one.network.dns) {
            true => self.answer_names(begun.iter().map(|one| &one.network), &fresh)?,
            false => self.keep_answering(),
        }
        for one in begun.iter_mut() {
            one.attachment.done = true;
            self.book.done(&one.attachment)?;
        }
        Ok(())
    }

    /// Adds elements; what nobody answers for makes way. Where somebody has thrown the table away, all others come
    /// back, too.
    fn allow(&self, wanted: &Wanted) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let filter = Filter::open()?;
        let made = match filter.add(wanted) {
            Err(error) if error.kind == Kind::Conflict => {
                self.clear_the_way(&filter, wanted)?;
                filter.add(wanted)?
            }
            other => other?,
        };
        if made {
            filter.add(&self.wanted()?)?;
        }
        Ok(())
    }

    fn undo(&self, begun: Vec<Begun>) -> Result<()> {
        let claiming = self.book.claim()?;
        for one in begun.into_iter().rev() {
            self.take_back(&claiming, &one.attachment, one.flight)?;
            self.lower_if_unused(&claiming, &one.network)?;
        }
        Ok(())
    }

    /// Detaches a container; says whether it was attached. What is gone already is no error, so it may be repeated.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach(&self, key: &Key) -> Result<bool> {
        Ok(self.detach_all(std::slice::from_ref(key))? > 0)
    }

    /// As [`Host::detach`], many at once; how many were attached.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach_all(&self, keys: &[Key]) -> Result<usize> {
        keys.iter().try_for_each(Key::check)?;
        // In one order for everybody: who holds one waits for the next.
        let keys: BTreeSet<&Key> = keys.iter().collect();
        let mut leaving = Vec::new();
        for key in keys {
            leaving.extend(self.leave(key)?);
        }
        let mut wanted = Wanted::new();
        let of = |firewall| move |(one, _): &&(Attachment, InFlight)| one.firewall == firewall;
        leaving
            .iter()
            .filter(of(Firewall::Nftables))
            .for_each(|(one, _)| wanted.attachment(one));
        if !wanted.is_empty() {
            Filter::open()?.remove(&wanted)?;
        }
        if leaving.iter().any(|one| of(Firewall::Iptables)(&one)) {
            iptables::sync(&self.book)?;
        }
        self.forget_flows_to(leaving.iter().map(|(one, _)| one));
        for (attachment, _) in &leaving {
            if let Some(network) = self.book.find_network(&attachment.key.network)? {
                endpoint::remove_routes(&network, attachment);
            }
        }
        let links: Vec<&str> = leaving
            .iter()
            .map(|(one, _)| one.host_interface.as_str())
            .collect();
        bridge::remove_links(&self.rtnl, &links)?;
        let claiming = self.book.claim()?;
        let count = leaving.len();
        let mut networks = BTreeSet::new();
        for (attachment, flight) in leaving {
            self.close_to(&claiming, &attachment)?;
            self.book.release(&claiming, &attachment)?;
            flight.forget()?;
            networks.insert(attachment.key.network);
        }
        for network in networks {
            if let Some(network) = self.book.find_network(&network)? {
                self.lower_if_unused(&claiming, &network)?;
            }
        }
        drop(claiming);
        self.keep_answering();
        Ok(count)
    }

    /// Waits for whoever works on an attachment, and says at rest that it is being taken away.
    fn leave(&self, key: &Key) -> Result<Option<(Attachment, InFlight)>> {
        let Some(_held) = self.book.hold(key)? else {
            return Ok(None);
        };
        let Some(mut attachment) = self.book.attachment(key)? else {
            return Ok(None);
        };
        attachment.done = false;
        attachment.leaving = true;
        let flight = self.book.begin(&attachment)?;
        Ok(Some((attachment, flight)))
    }

    /// Takes all of an attachment out of the kernel: elements before links, so that no packet for a published port
    /// goes astray.
    fn disconnect(&self, attachment: &Attachment) -> Result<()> {
        if attachment.firewall == Firewall::Nftables {
            let mut wanted = Wanted::new();
            wanted.attachment(attachment);
            if !wanted.is_empty() {
                Filter::open()?.remove(&wanted)?;
            }
        }
        if attachment.firewall == Firewall::Iptables {
            iptables::sync(&self.book)?;
        }
        self.forget_flows_to(std::iter::once(attachment));
        bridge::remove_link(&self.rtnl, &attachment.host_interface)
    }

    /// Takes back an attachment that nobody works on, whatever there is of it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn take_back(
        &self,
        claiming: &Claiming,
        attachment: &Attachment,
        flight: InFlight,
    ) -> Result<()> {
        let leaving = Attachment {
            done: false,
            leaving: true,
            ..attachment.clone()
        };
        let held = self.book.begin(&leaving)?;
        drop(flight);
        self.disconnect(attachment)?;
        self.close_to(claiming, attachment)?;
        self.book.release(claiming, attachment)?;
        held.forget()
    }
}

/// What a caller is told.
pub(super) fn report(network: &Network, attachment: &Attachment) -> Report {
    Report {
        network: network.name.clone(),
        name: attachment.name.clone(),
        interface: attachment.key.interface.clone(),
        host_interface: attachment.host_interface.clone(),
        bridge: network.bridge.clone(),
        mac: attachment.mac,
        addresses: attachment.addresses.clone(),
        ports: attachment.ports.clone(),
        dns_servers: if network.dns {
            network.gateways().collect()
        } else {
            Vec::new()
        },
    }
}

/// Opens the socket for links of the host.
pub(super) fn open_rtnl() -> Result<Rtnl> {
    Rtnl::open().map_err(|errno| Error::kernel("rtnetlink", errno))
}

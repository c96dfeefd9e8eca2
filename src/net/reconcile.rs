//! What is at rest against what is in the kernel, and both put right.
//!
//! An attachment that nobody works on is whole, or is taken back: one that is not done, or whose links are gone with
//! the container's namespace. Then all else that nobody answers for goes: claims, links of our group, elements,
//! bridges; and what is missing comes back: rules, elements, bridges.

use std::collections::BTreeSet;

use serde::Serialize;

use super::book::{self, Claiming, InFlight};
use super::bridge;
use super::dns::life::{self, Starter};
use super::error::{Error, Result};
use super::firewall::{Filter, Wanted};
use super::host::Host;
use super::intent::{Attachment, Key, Report};
use super::iptables;
use super::network::Firewall;
use crate::sys::errno::Errno;
use crate::sys::nft::Dropping;
use crate::sys::rtnl::{Changes, Link};

/// Something that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is, in words.
    pub what: String,
    /// It was put right.
    pub mended: bool,
}

/// What an attachment that was found is.
enum State {
    /// Somebody works on it.
    Flying,
    /// All is well.
    Whole,
    /// Nobody will finish it, or its links are gone; why, in words.
    Dead(InFlight, &'static str),
}

/// Collects findings, and mends if it may.
struct Mender {
    dry: bool,
    findings: Vec<Finding>,
}

impl Mender {
    fn found(&mut self, what: String, mend: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.dry {
            mend()?;
        }
        self.findings.push(Finding {
            what,
            mended: !self.dry,
        });
        Ok(())
    }
}

impl Host {
    /// Puts everything right, or with `dry` only says what is not.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reconcile(&self, dry: bool) -> Result<Vec<Finding>> {
        let claiming = self.book.claim()?;
        let mut mender = Mender {
            dry,
            findings: Vec::new(),
        };
        self.mend_attachments(&claiming, &mut mender)?;
        self.mend_claims(&claiming, &mut mender)?;
        self.mend_networks(&claiming, &mut mender)?;
        self.mend_links(&mut mender)?;
        self.mend_elements(&mut mender)?;
        if self.has_iptables()? {
            for what in iptables::complaints(&self.book)? {
                mender.found(what, || iptables::sync(&self.book))?;
            }
        }
        drop(claiming);
        if self.is_unanswered()? {
            let what = "names: nobody answers them".into();
            mender.found(what, || {
                let start = |starter: &Starter| starter.ensure(&self.book.layout, &[]).map(drop);
                self.starter.as_ref().map_or(Ok(()), start)
            })?;
        }
        Ok(mender.findings)
    }

    /// Also such networks as nobody uses count: somebody may have saved their rules, and brought them back.
    fn has_iptables(&self) -> Result<bool> {
        let networks = self.book.networks()?;
        Ok(networks
            .iter()
            .any(|one| one.firewall == Firewall::Iptables))
    }

    fn mend_attachments(&self, claiming: &Claiming, mender: &mut Mender) -> Result<()> {
        for network in self.book.live()? {
            for attachment in self.book.attachments(&network)? {
                if let State::Dead(flight, why) = self.state(&attachment)? {
                    let what = format!("{}: {why}", attachment.key);
                    mender.found(what, || self.take_back(claiming, &attachment, flight))?;
                }
            }
        }
        Ok(())
    }

    fn mend_claims(&self, claiming: &Claiming, mender: &mut Mender) -> Result<()> {
        for (path, _) in self.book.leftovers(claiming)? {
            let what = format!("{}: its owner is gone", path.display());
            mender.found(what, || book::remove(&path))?;
        }
        if !mender.dry {
            self.book.sweep_ports(claiming)?;
        }
        Ok(())
    }

    fn mend_networks(&self, claiming: &Claiming, mender: &mut Mender) -> Result<()> {
        for name in self.book.live()? {
            if !self.is_used(&name)? {
                let what = format!("network {name}: in the kernel, and nobody uses it");
                mender.found(what, || match self.book.find_network(&name)? {
                    Some(network) => self.lower_if_unused(claiming, &network),
                    None => self.book.forget_live(claiming, &name),
                })?;
                continue;
            }
            let network = self.book.network(&name)?;
            let bridge = self.interface(&network.bridge)?;
            if bridge.is_none() && self.book.attachments(&name)?.iter().any(|one| one.done) {
                let what = format!("network {name}: its bridge {} is gone", network.bridge);
                mender.found(what, || {
                    let bridge = bridge::raise(&self.book, &self.rtnl, &network)?;
                    let mut changes = Changes::new();
                    for port in self.book.attachments(&name)? {
                        if let Some(link) = self.interface(&port.host_interface)? {
                            changes.master(link.index, bridge.index);
                        }
                    }
                    self.rtnl
                        .apply(&changes)
                        .map_err(|errno| Error::kernel(&network.bridge, errno))
                })?;
            }
        }
        Ok(())
    }

    fn mend_links(&self, mender: &mut Mender) -> Result<()> {
        let mut ours = BTreeSet::new();
        for name in self.book.live()? {
            ours.extend(self.book.find_network(&name)?.map(|network| network.bridge));
            ours.extend(
                self.book
                    .attachments(&name)?
                    .into_iter()
                    .map(|one| one.host_interface),
            );
        }
        let links = self
            .rtnl
            .links()
            .map_err(|errno| Error::kernel("links of the host", errno))?;
        for link in links
            .into_iter()
            .filter(|link| bridge::is_ours(link) && !ours.contains(&link.name))
        {
            let what = format!("interface {}: belongs to nobody", link.name);
            mender.found(what, || bridge::remove_link(&self.rtnl, &link.name))?;
        }
        Ok(())
    }

    /// Elements of attachments on their way may be there or not.
    fn mend_elements(&self, mender: &mut Mender) -> Result<()> {
        let filter = Filter::open()?;
        let wanted = self.wanted()?;
        if !wanted.is_empty() && !filter.is_whole()? {
            mender.found("nf_tables: rules are missing or changed".into(), || {
                filter.install()
            })?;
        }
        let mut allowed = wanted.clone();
        for name in self.book.live()? {
            allowed.extend(&self.wanted_of(&name)?);
        }
        let present = filter.present()?;
        let (missing, extra) = (wanted.without(&present), present.without(&allowed));
        if !extra.is_empty() {
            let what = format!("nf_tables: {} elements belong to nobody", extra.len());
            mender.found(what, || filter.remove(&extra))?;
        }
        if !missing.is_empty() {
            let what = format!("nf_tables: {} elements are missing", missing.len());
            mender.found(what, || filter.add(&missing).map(drop))?;
        }
        Ok(())
    }

    /// Removes elements that stand in the way of `wanted` and belong to no attachment, whatever brought them there.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn clear_the_way(&self, filter: &Filter, wanted: &Wanted) -> Result<()> {
        let mut known = Wanted::new();
        for name in self.book.live()? {
            known.extend(&self.wanted_of(&name)?);
        }
        let stray = filter.present()?.with_keys_of(wanted).without(&known);
        log::info!(
            "nf_tables: {} elements in the way belong to nobody",
            stray.len()
        );
        filter.remove(&stray)
    }

    /// What a network and all its attachments want, also those on their way.
    fn wanted_of(&self, name: &str) -> Result<Wanted> {
        let mut wanted = Wanted::new();
        let Some(network) = self
            .book
            .find_network(name)?
            .filter(|n| n.firewall == Firewall::Nftables)
        else {
            return Ok(wanted);
        };
        wanted.network(&network);
        self.book
            .attachments(name)?
            .iter()
            .for_each(|one| wanted.attachment(one));
        Ok(wanted)
    }

    // --- one attachment ----------------------------------------------------------------------------------------------

    fn interface(&self, name: &str) -> Result<Option<Link>> {
        self.rtnl
            .link(name)
            .map_err(|errno| Error::kernel(format!("interface {name}"), errno))
    }

    fn state(&self, attachment: &Attachment) -> Result<State> {
        let Some(flight) = self.book.try_hold(&attachment.key)? else {
            return Ok(State::Flying);
        };
        // It may have changed before it was held.
        let Some(now) = self.book.attachment(&attachment.key)? else {
            return Ok(State::Flying);
        };
        if !now.done {
            return Ok(State::Dead(flight, "was interrupted"));
        }
        match self.interface(&now.host_interface)? {
            Some(_) => Ok(State::Whole),
            None => Ok(State::Dead(flight, "its network namespace is gone")),
        }
    }

    /// Takes back the attachment, or the claims, of `key` if nobody stands behind them; says whether.
    pub(super) fn sweep_dead(&self, claiming: &Claiming, key: &Key) -> Result<bool> {
        let Some(attachment) = self.book.attachment(key)? else {
            // Not those of others: the caller's own have no attachment yet.
            for (path, owner) in self.book.leftovers(claiming)? {
                if owner.as_ref() == Some(key) {
                    book::remove(&path)?;
                }
            }
            return Ok(true);
        };
        match self.state(&attachment)? {
            State::Dead(flight, why) => {
                log::info!("{key}: {why}");
                self.take_back(claiming, &attachment, flight)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Takes back all dead attachments; how many.
    pub(super) fn sweep(&self, claiming: &Claiming) -> Result<usize> {
        let mut swept = 0;
        for network in self.book.live()? {
            swept += self.sweep_network(claiming, &network)?;
        }
        Ok(swept)
    }

    /// As [`Host::sweep`], of one network.
    pub(super) fn sweep_network(&self, claiming: &Claiming, network: &str) -> Result<usize> {
        let mut swept = 0;
        for attachment in self.book.attachments(network)? {
            swept += usize::from(self.sweep_dead(claiming, &attachment.key)?);
        }
        Ok(swept)
    }

    /// Compares one attachment with the kernel (CNI's CHECK).
    ///
    /// # Errors
    /// Not found, or what is missing.
    pub fn check(&self, key: &Key) -> Result<Report> {
        key.check()?;
        self.keep_answering();
        let none = || Error::not_found(format!("{key} is not attached"));
        let attachment = self
            .book
            .attachment(key)?
            .filter(|one| one.done)
            .ok_or_else(none)?;
        let network = self.book.network(&key.network)?;
        let missing =
            |what: &str| Error::conflict(format!("{key}: {what} (plynet reconcile mends it)"));
        let bridge = self
            .interface(&network.bridge)?
            .ok_or_else(|| missing("its bridge is gone"))?;
        let link = self
            .interface(&attachment.host_interface)?
            .ok_or_else(|| missing("its link is gone"))?;
        if link.master != Some(bridge.index) || !link.up {
            return Err(missing("its link is not on the bridge, or off"));
        }
        let netns = super::endpoint::open_netns(&attachment.netns)?;
        let inside = || super::endpoint::missing(&network, &attachment);
        let inside = netns
            .within(inside)
            .map_err(|errno: Errno| Error::kernel(key, errno))??;
        if let Some(what) = inside {
            return Err(missing(&what));
        }
        if attachment.firewall == Firewall::Nftables {
            let mut wanted = Wanted::new();
            wanted.network(&network);
            wanted.attachment(&attachment);
            let filter = Filter::open()?;
            if !wanted.without(&filter.present()?).is_empty() {
                return Err(missing("elements of nf_tables are gone"));
            }
            if !filter.is_whole()? {
                return Err(missing("rules of nf_tables are gone or changed"));
            }
        }
        if attachment.firewall == Firewall::Iptables
            && let Some(what) = iptables::complaints(&self.book)?.first()
        {
            return Err(missing(what));
        }
        self.check_names(&network)?;
        Ok(super::attach::report(&network, &attachment))
    }
}

impl Host {
    /// What else may be in the way of packets, in words; nothing that plynet could mend.
    ///
    /// # Errors
    /// A file that cannot be read; what the kernel says.
    pub fn remarks(&self) -> Result<Vec<String>> {
        let mut remarks = Vec::new();
        let mut filtered = false;
        for network in self.book.live()? {
            let known = self.book.find_network(&network)?;
            filtered |= known.is_some_and(|one| one.firewall == Firewall::Nftables);
            for attachment in self.book.attachments(&network)? {
                if self.book.try_hold(&attachment.key)?.is_none() {
                    remarks.push(format!("{}: somebody works on it", attachment.key));
                }
            }
        }
        let present = life::look(&self.book.layout)?.unwrap_or_default();
        remarks.extend(present.deaf.iter().map(|deaf| deaf.to_string()));
        let in_the_way = filtered.then(|| Filter::open()?.in_the_way()).transpose()?;
        for Dropping {
            family,
            table,
            chain,
        } in in_the_way.unwrap_or_default()
        {
            remarks.push(format!(
                "nf_tables: policy of chain {chain} of table {family} {table} is drop: containers reach out and are \
                 reached only as its rules accept it (or by networks made with --firewall=iptables)"
            ));
        }
        Ok(remarks)
    }
}

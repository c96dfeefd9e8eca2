//! The firewall by nf_tables: what a network and an attachment mean as elements, and how they get into the kernel.
//!
//! Invariant: [`Wanted`] is a pure function of what is at rest. It is added on attach, removed on detach, and compared
//! with the kernel by `reconcile`; so all three agree. Read [`rules`] first.

pub mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::error::{Error, Result};
use super::intent::{Attachment, Link};
use super::network::Network;
use crate::sys::errno::Errno;
use crate::sys::nft::{Batch, Dropping, Element, HookPoint, Nft, RuleSeen};
use rules::{CHAINS, SETS, TABLE, USER_CHAIN};

/// Elements that should be in the kernel, by set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted(pub BTreeMap<&'static str, BTreeSet<Element>>);

impl Wanted {
    /// Nothing.
    pub fn new() -> Wanted {
        Wanted::default()
    }

    /// Nothing?
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: &Wanted) {
        for (set, elements) in &other.0 {
            self.0
                .entry(set)
                .or_default()
                .extend(elements.iter().cloned());
        }
    }

    /// Those that are not in another.
    pub fn without(&self, other: &Wanted) -> Wanted {
        let mut left = self.clone();
        for (set, elements) in &mut left.0 {
            let others = other.0.get(set);
            elements.retain(|element| !others.is_some_and(|others| others.contains(element)));
        }
        left.0.retain(|_, elements| !elements.is_empty());
        left
    }

    /// Those whose keys are in another, too, whatever they lead to.
    pub fn with_keys_of(&self, other: &Wanted) -> Wanted {
        let mut left = self.clone();
        for (set, elements) in &mut left.0 {
            let others = other.0.get(set).into_iter().flatten();
            let keys: BTreeSet<_> = others.map(|one| &one.key).collect();
            elements.retain(|element| keys.contains(&element.key));
        }
        left
    }

    fn put(&mut self, set: &'static str, key: Vec<u8>) {
        self.put_element(
            set,
            Element {
                key,
                value: None,
                end: None,
            },
        );
    }

    fn put_element(&mut self, set: &'static str, element: Element) {
        self.0.entry(set).or_default().insert(element);
    }

    /// What a network needs as long as its bridge is there.
    pub fn network(&mut self, network: &Network) {
        let bridge = ifname(&network.bridge);
        self.put(rules::BRIDGES.name, bridge.clone());
        self.put(rules::SAME.name, [bridge.clone(), bridge.clone()].concat());
        if network.internal {
            self.put(rules::INTERNAL.name, bridge);
            return;
        }
        if !network.isolate {
            self.put(rules::OPEN.name, bridge);
        }
        for subnet in &network.subnets {
            let set = if subnet.range.addr().is_ipv4() {
                rules::MASQ4
            } else {
                rules::MASQ6
            };
            self.put_element(set.name, range(&subnet.range));
        }
    }

    /// What an attachment needs: its published ports, and what was opened for it.
    pub fn attachment(&mut self, attachment: &Attachment) {
        attachment
            .links
            .iter()
            .for_each(|link| self.opened(attachment, link));
        for mapping in &attachment.ports {
            for address in &attachment.addresses {
                for (host, container) in mapping.pairs() {
                    let port = [&[mapping.proto.number(), 0, 0, 0][..], &word(host)].concat();
                    let (set, key) = match (mapping.host_ip, address.ip) {
                        (None, IpAddr::V4(_)) => (rules::PUBLISH4, port),
                        (None, IpAddr::V6(_)) => (rules::PUBLISH6, port),
                        (Some(ip @ IpAddr::V4(_)), IpAddr::V4(_)) => {
                            (rules::PUBLISH_IP4, [octets(ip), port].concat())
                        }
                        (Some(ip @ IpAddr::V6(_)), IpAddr::V6(_)) => {
                            (rules::PUBLISH_IP6, [octets(ip), port].concat())
                        }
                        _ => continue,
                    };
                    let value = Some([&octets(address.ip)[..], &word(container)].concat());
                    self.put_element(
                        set.name,
                        Element {
                            key,
                            value,
                            end: None,
                        },
                    );
                }
            }
        }
    }

    /// What a link opens: from each address to each of the same family.
    pub fn opened(&mut self, from: &Attachment, link: &Link) {
        for from in from.addresses.iter().map(|address| address.ip) {
            for to in link
                .to_addresses
                .iter()
                .filter(|to| to.is_ipv4() == from.is_ipv4())
            {
                let set = if to.is_ipv4() {
                    rules::ALLOW4
                } else {
                    rules::ALLOW6
                };
                let port = [&[link.proto.number(), 0, 0, 0][..], &word(link.port)].concat();
                self.put(set.name, [octets(from), octets(*to), port].concat());
            }
        }
    }

    fn batch(&self, mut each: impl FnMut(&mut Batch, &'static str, &[Element])) -> Batch {
        let mut batch = Batch::new(TABLE);
        for (set, elements) in &self.0 {
            let elements: Vec<Element> = elements.iter().cloned().collect();
            each(&mut batch, set, &elements);
        }
        batch
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A port as a field of a concatenation: filled up to a word.
fn word(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn ifname(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// From the first address to the one after the last, which the range that ends with all ones has not.
fn range(range: &IpNet) -> Element {
    let mut end = octets(range.broadcast());
    let mut carried = true;
    for byte in end.iter_mut().rev() {
        if carried {
            (*byte, carried) = byte.overflowing_add(1);
        }
    }
    let end = if carried { Vec::new() } else { end };
    Element {
        key: octets(range.network()),
        value: None,
        end: Some(end),
    }
}

/// The packet filter of this host.
#[derive(Debug)]
pub struct Filter(Nft);

impl Filter {
    /// Opens it.
    ///
    /// # Errors
    /// Unsupported, where the kernel has no nf_tables.
    pub fn open() -> Result<Filter> {
        Nft::open().map(Filter).map_err(failed)
    }

    /// Adds elements; where the table is missing, makes it first, and says so.
    ///
    /// # Errors
    /// What the kernel says; a conflict where a key is there with another value.
    pub fn add(&self, wanted: &Wanted) -> Result<bool> {
        let batch = || wanted.batch(|batch, set, elements| batch.add(set, elements));
        match self.0.commit(batch()) {
            Err(Errno::ENOENT) => {
                self.install()?;
                self.0.commit(batch()).map_err(failed)?;
                Ok(true)
            }
            Err(Errno::EEXIST | Errno::EBUSY) => {
                let hint = "run plynet reconcile";
                Err(Error::conflict(format!(
                    "a port is translated to somebody else already: {hint}"
                )))
            }
            other => other.map(|()| false).map_err(failed),
        }
    }

    /// Removes elements; those that are not there, or belong to somebody else, are left alone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, wanted: &Wanted) -> Result<()> {
        let batch =
            |wanted: &Wanted| wanted.batch(|batch, set, elements| batch.remove(set, elements));
        match self.0.commit(batch(wanted)) {
            Err(Errno::ENOENT) => {}
            other => return other.map_err(failed),
        }
        let mut there = self.present()?;
        for (set, elements) in &mut there.0 {
            let empty = BTreeSet::new();
            let unwanted = wanted.0.get(set).unwrap_or(&empty);
            elements.retain(|element| unwanted.contains(element));
        }
        there.0.retain(|_, elements| !elements.is_empty());
        self.0.commit(batch(&there)).map_err(failed)
    }

    /// The elements of all sets.
    ///
    /// # Errors
    /// What the kernel says, except that there is no table.
    pub fn present(&self) -> Result<Wanted> {
        let mut present = Wanted::new();
        for set in SETS {
            match self.0.elements(TABLE, set.name) {
                Ok(elements) if elements.is_empty() => {}
                Ok(elements) => drop(present.0.insert(set.name, elements.into_iter().collect())),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(present)
    }

    /// Makes the table with all rules, or makes it anew where they differ; elements and the user's chain stay.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn install(&self) -> Result<()> {
        let mut batch = Batch::new(TABLE);
        batch.table();
        for set in &SETS {
            batch.set(set);
        }
        for (chain, hook) in CHAINS {
            batch.chain(chain, hook);
        }
        for (chain, _) in CHAINS.iter().filter(|(chain, _)| *chain != USER_CHAIN) {
            batch.flush(chain);
        }
        for (chain, expressions, remark) in rules::rules() {
            batch.rule(chain, &expressions, remark);
        }
        self.0.commit(batch).map_err(failed)
    }

    /// Are all rules there, and no others? The user's own do not count.
    ///
    /// # Errors
    /// What the kernel says, except that there is no table.
    pub fn is_whole(&self) -> Result<bool> {
        let mut seen = match self.0.rules(TABLE) {
            Err(Errno::ENOENT) => return Ok(false),
            other => other.map_err(failed)?,
        };
        seen.retain(|rule| rule.chain != USER_CHAIN);
        let expected = rules::rules().into_iter();
        let mut expected: Vec<RuleSeen> = expected
            .map(|(chain, _, remark)| RuleSeen {
                chain: chain.into(),
                remark: remark.into(),
            })
            .collect();
        // The order of chains means nothing, that of the rules in each does.
        seen.sort_by(|a, b| a.chain.cmp(&b.chain));
        expected.sort_by(|a, b| a.chain.cmp(&b.chain));
        Ok(seen == expected)
    }

    /// Chains of others that drop what passes through the host, unless a rule of theirs accepts it: our own word does
    /// not count there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn in_the_way(&self) -> Result<Vec<Dropping>> {
        let mut chains = self.0.dropping(HookPoint::Forward).map_err(failed)?;
        chains.retain(|chain| chain.table != TABLE);
        Ok(chains)
    }

    /// Removes the table, unless there are rules of the user in it.
    ///
    /// # Errors
    /// What the kernel says, except that there is no table.
    pub fn retire(&self) -> Result<()> {
        match self.0.rules(TABLE) {
            Ok(rules) if rules.iter().any(|rule| rule.chain == USER_CHAIN) => return Ok(()),
            Ok(_) => {}
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        }
        let mut batch = Batch::new(TABLE);
        batch.remove_table();
        match self.0.commit(batch) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}

fn failed(errno: Errno) -> Error {
    Error::kernel("nf_tables", errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_before_the_next() {
        let of = |text: &str| range(&text.parse().unwrap());
        let net = of("10.89.0.0/24");
        assert_eq!(
            (net.key, net.end.unwrap()),
            (vec![10, 89, 0, 0], vec![10, 89, 1, 0])
        );
        assert!(of("255.255.255.0/24").end.unwrap().is_empty());
        assert_eq!(of("10.255.255.0/24").end.unwrap(), [11, 0, 0, 0]);
    }

    #[test]
    fn every_rule_says_what_it_is_for_once_in_its_chain() {
        let words: Vec<_> = rules::rules()
            .into_iter()
            .map(|(chain, _, remark)| (chain, remark))
            .collect();
        let unique: BTreeSet<_> = words.iter().collect();
        assert_eq!(unique.len(), words.len());
        assert!(
            words
                .iter()
                .all(|(chain, _)| CHAINS.iter().any(|(name, _)| name == chain))
        );
    }
}

//! PURE: what one network knows by name. Names, aliases and services, and the way back from an address.
//!
//! A name is known alone, in each of the zone's domains, and as `NAME.NETWORK`, in any case. Several containers under
//! one alias are a service: all their addresses, beginning with another one at each answer. Whatever belongs to the
//! network and is not known does not exist (NXDOMAIN), and everything else is somebody else's to answer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::Query;
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnet::IpNet;

/// How long an answer may be remembered: a container that is made anew under its name has another address.
pub const TTL_SECONDS: u32 = 1;

/// The domain of all networks; each has one below it.
pub const DOMAIN: &str = "plynet";
/// The domain that podman tells its containers to search.
pub const PODMAN_DOMAIN: &str = "dns.podman";

/// The domain of a network, for the `search` line of resolv.conf(5).
pub fn domain(network: &str) -> String {
    format!("{network}.{DOMAIN}")
}

/// One container in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its own name.
    pub name: String,
    /// Other names, which it may share with others.
    pub aliases: Vec<String>,
    /// Its addresses in this network.
    pub addresses: Vec<IpAddr>,
}

/// The names of one network.
#[derive(Debug, Default)]
pub struct Zone {
    names: HashMap<Name, Known>,
    /// In these, whatever is not known does not exist. The first is in the answers to reverse questions.
    domains: Vec<Name>,
    /// Its names are known in here too, but others may be somebody else's: the network may be called `com`.
    shared: Option<Name>,
    subnets: Vec<IpNet>,
    closed: bool,
}

/// What a name stands for. With nothing in it, other names end in it.
#[derive(Debug, Default)]
struct Known {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    pointers: Vec<Name>,
}

/// What a zone says of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// These records.
    Records(Vec<Record>),
    /// The name exists and has no such record.
    NoData,
    /// There is no such name.
    NoName,
    /// The zone has no say in it.
    Elsewhere,
}

impl Zone {
    /// The zone of a network with these subnets. A `closed` one answers for every name: its containers are not to reach
    /// the outside.
    pub fn new(network: &str, subnets: Vec<IpNet>, closed: bool) -> Zone {
        let domains = [&domain(network), PODMAN_DOMAIN];
        let domains: Vec<Name> = domains.into_iter().filter_map(absolute).collect();
        let names = domains
            .iter()
            .map(|domain| (domain.clone(), Known::default()));
        Zone {
            names: names.collect(),
            shared: absolute(network),
            domains,
            subnets,
            closed,
        }
    }

    /// Makes a container known. What cannot be a name in DNS is not one.
    pub fn add(&mut self, member: &Member) {
        for name in [&member.name].into_iter().chain(&member.aliases) {
            for name in self.forms(name) {
                self.stems(&name);
                let known = self.names.entry(name).or_default();
                for address in &member.addresses {
                    match address {
                        IpAddr::V4(v4) => push_new(&mut known.v4, *v4),
                        IpAddr::V6(v6) => push_new(&mut known.v6, *v6),
                    }
                }
            }
        }
        let canonical = self
            .domains
            .first()
            .and_then(|domain| within(&member.name, domain));
        let Some(canonical) = canonical else {
            return;
        };
        for address in &member.addresses {
            let known = self.names.entry(Name::from(*address)).or_default();
            push_new(&mut known.pointers, canonical.clone());
        }
    }

    /// A name as it is, and in each domain.
    fn forms(&self, name: &str) -> Vec<Name> {
        let domains = self.domains.iter().chain(&self.shared);
        let in_domains = domains.filter_map(|domain| within(name, domain));
        in_domains.chain(absolute(name)).collect()
    }

    /// The names between this one and its domain exist too (RFC 8020).
    fn stems(&mut self, name: &Name) {
        let Some(domain) = self.domains.iter().find(|domain| domain.zone_of(name)) else {
            return;
        };
        let end = domain.num_labels();
        let mut stem = name.base_name();
        while stem.num_labels() > end {
            self.names.entry(stem.clone()).or_default();
            stem = stem.base_name();
        }
    }

    /// Answers a question. `turn` says which address of a service comes first.
    pub fn answer(&self, query: &Query, turn: usize) -> Answer {
        let Some(known) = self.names.get(query.name()) else {
            return if self.closed || self.is_ours(query.name()) {
                Answer::NoName
            } else {
                Answer::Elsewhere
            };
        };
        let records = known.records(query, turn);
        if records.is_empty() {
            Answer::NoData
        } else {
            Answer::Records(records)
        }
    }

    fn is_ours(&self, name: &Name) -> bool {
        let reverse = || {
            let net = name.parse_arpa_name().ok()?;
            Some(self.subnets.iter().any(|subnet| subnet.contains(&net)))
        };
        // Names of other networks are nobody's business, of other servers neither.
        let all = || absolute(DOMAIN).is_some_and(|domain| domain.zone_of(name));
        self.domains.iter().any(|domain| domain.zone_of(name))
            || all()
            || reverse().unwrap_or(false)
    }
}

impl Known {
    fn records(&self, query: &Query, turn: usize) -> Vec<Record> {
        let wanted = query.query_type();
        let is = |kind| wanted == kind || wanted == RecordType::ANY;
        let mut data = Vec::new();
        if is(RecordType::A) {
            data.extend(rotated(&self.v4, turn).map(|address| RData::A(A(*address))));
        }
        if is(RecordType::AAAA) {
            data.extend(rotated(&self.v6, turn).map(|address| RData::AAAA(AAAA(*address))));
        }
        if is(RecordType::PTR) {
            data.extend(
                self.pointers
                    .iter()
                    .map(|name| RData::PTR(PTR(name.clone()))),
            );
        }
        // The name as it was asked for: some resolvers compare the case of its letters.
        let record = |data| Record::from_rdata(query.name().clone(), TTL_SECONDS, data);
        data.into_iter().map(record).collect()
    }
}

/// The elements in order, beginning with another one at each turn.
fn rotated<T>(list: &[T], turn: usize) -> impl Iterator<Item = &T> {
    let (head, tail) = list.split_at(turn.checked_rem(list.len()).unwrap_or(0));
    tail.iter().chain(head)
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

/// A name that ends at the root, whatever is written.
fn absolute(text: &str) -> Option<Name> {
    let mut name = Name::from_str_relaxed(text).ok()?;
    name.set_fqdn(true);
    (!name.is_root()).then_some(name)
}

fn within(text: &str, domain: &Name) -> Option<Name> {
    let mut name = absolute(text)?;
    name.set_fqdn(false);
    name.append_domain(domain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, aliases: &[&str], addresses: &[&str]) -> Member {
        Member {
            name: name.into(),
            aliases: aliases.iter().map(|alias| alias.to_string()).collect(),
            addresses: addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
        }
    }

    fn zone(closed: bool) -> Zone {
        let subnets = vec![
            "10.1.0.0/24".parse().unwrap(),
            "fd00:1::/64".parse().unwrap(),
        ];
        let mut zone = Zone::new("blue", subnets, closed);
        zone.add(&member(
            "web",
            &["www", "front"],
            &["10.1.0.2", "fd00:1::2"],
        ));
        zone.add(&member("api", &["front", "a.b"], &["10.1.0.3"]));
        zone.add(&member("api2", &["front"], &["10.1.0.4"]));
        zone
    }

    /// The answer in words.
    fn say(zone: &Zone, name: &str, kind: RecordType, turn: usize) -> String {
        let query = Query::query(Name::from_ascii(name).unwrap(), kind);
        match zone.answer(&query, turn) {
            Answer::Records(records) => {
                let words: Vec<_> = records
                    .iter()
                    .map(|record| record.data.to_string())
                    .collect();
                words.join(" ")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn names_aliases_and_domains_in_any_case() {
        let zone = zone(false);
        for name in [
            "web.",
            "WWW.",
            "web.dns.podman.",
            "wWw.Blue.",
            "web.blue.plynet.",
            "www.DNS.podman.",
        ] {
            assert_eq!(say(&zone, name, RecordType::A, 0), "10.1.0.2", "{name}");
            assert_eq!(say(&zone, name, RecordType::AAAA, 0), "fd00:1::2", "{name}");
            assert_eq!(
                say(&zone, name, RecordType::ANY, 0),
                "10.1.0.2 fd00:1::2",
                "{name}"
            );
            assert_eq!(say(&zone, name, RecordType::MX, 0), "NoData", "{name}");
        }
        assert_eq!(say(&zone, "api.", RecordType::AAAA, 0), "NoData");
    }

    #[test]
    fn a_service_is_all_its_addresses_in_rotating_order() {
        let zone = zone(false);
        let turns = [0, 1, 2, 3, usize::MAX].map(|turn| say(&zone, "front.", RecordType::A, turn));
        assert_eq!(turns[0], "10.1.0.2 10.1.0.3 10.1.0.4");
        assert_eq!(turns[1], "10.1.0.3 10.1.0.4 10.1.0.2");
        assert_eq!(turns[2], "10.1.0.4 10.1.0.2 10.1.0.3");
        assert_eq!(turns[3], turns[0]);
        assert_eq!(turns[4], turns[0]);
        assert_eq!(say(&zone, "front.", RecordType::AAAA, 5), "fd00:1::2");
    }

    #[test]
    fn the_way_back() {
        let zone = zone(false);
        let name = Name::from("10.1.0.2".parse::<IpAddr>().unwrap()).to_ascii();
        assert_eq!(say(&zone, &name, RecordType::PTR, 0), "web.blue.plynet.");
        assert_eq!(say(&zone, &name, RecordType::A, 0), "NoData");
        let name = Name::from("fd00:1::2".parse::<IpAddr>().unwrap()).to_ascii();
        assert_eq!(say(&zone, &name, RecordType::PTR, 0), "web.blue.plynet.");
        assert_eq!(
            say(&zone, "9.0.1.10.in-addr.arpa.", RecordType::PTR, 0),
            "NoName"
        );
        assert_eq!(
            say(&zone, "9.0.2.10.in-addr.arpa.", RecordType::PTR, 0),
            "Elsewhere"
        );
        assert_eq!(
            say(&zone, "10.in-addr.arpa.", RecordType::PTR, 0),
            "Elsewhere"
        );
    }

    #[test]
    fn what_does_not_exist_and_what_is_not_ours() {
        let open = zone(false);
        assert_eq!(say(&open, "nobody.dns.podman.", RecordType::A, 0), "NoName");
        assert_eq!(say(&open, "x.web.blue.plynet.", RecordType::A, 0), "NoName");
        assert_eq!(say(&open, "web.red.plynet.", RecordType::A, 0), "NoName");
        assert_eq!(say(&open, "plynet.", RecordType::SOA, 0), "NoName");
        assert_eq!(say(&open, "nobody.", RecordType::A, 0), "Elsewhere");
        assert_eq!(say(&open, "nobody.blue.", RecordType::A, 0), "Elsewhere");
        assert_eq!(say(&open, "example.org.", RecordType::A, 0), "Elsewhere");
        assert_eq!(say(&open, ".", RecordType::NS, 0), "Elsewhere");
        let closed = zone(true);
        assert_eq!(say(&closed, "example.org.", RecordType::A, 0), "NoName");
        assert_eq!(say(&closed, "web.", RecordType::A, 0), "10.1.0.2");
    }

    #[test]
    fn the_names_between_a_name_and_its_domain_exist() {
        let zone = zone(false);
        assert_eq!(say(&zone, "a.b.blue.plynet.", RecordType::A, 0), "10.1.0.3");
        assert_eq!(say(&zone, "b.blue.plynet.", RecordType::A, 0), "NoData");
        assert_eq!(say(&zone, "blue.plynet.", RecordType::A, 0), "NoData");
        assert_eq!(say(&zone, "b.", RecordType::A, 0), "Elsewhere");
    }

    #[test]
    fn what_cannot_be_a_name_is_left_out() {
        let mut zone = zone(false);
        let long = "x".repeat(64);
        zone.add(&member(&long, &["", ".", "a..b", "ok"], &["10.1.0.9"]));
        assert_eq!(say(&zone, "ok.", RecordType::A, 0), "10.1.0.9");
        assert_eq!(
            say(&zone, "9.0.1.10.in-addr.arpa.", RecordType::PTR, 0),
            "NoName"
        );
    }
}

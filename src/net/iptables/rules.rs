//! What networks and attachments mean as rules, each written just as `iptables-save` shows it: so wanted and present
//! rules are compared as text.
//!
//! Invariant: [`wanted`] is a pure function of what is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::super::intent::{Attachment, Link};
use super::super::network::Network;

/// A network by iptables with its attachments.
pub type Live = (Network, Vec<Attachment>);

/// A table and a chain.
type Place = (&'static str, &'static str);

const RAW: Place = ("raw", "PLY");
const NAT: Place = ("nat", "PLY");
const POST: Place = ("nat", "PLY-POST");
const FILTER: Place = ("filter", "PLY");
/// The user's own chain: made once, asked first for all that is forwarded, never written.
const USER: Place = ("filter", "PLY-USER");

/// Our chains.
const CHAINS: [Place; 5] = [RAW, NAT, POST, USER, FILTER];

/// How a packet is sent there, from chains of others.
const JUMPS: [(Place, &str); 5] = [
    (("raw", "PREROUTING"), "-j PLY"),
    (("nat", "PREROUTING"), "-m addrtype --dst-type LOCAL -j PLY"),
    (("nat", "OUTPUT"), "-m addrtype --dst-type LOCAL -j PLY"),
    (("nat", "POSTROUTING"), "-j PLY-POST"),
    (TOP, "-j PLY"),
];

/// The chain whose jump must come before the rules of others, of which one may end a packet's way.
const TOP: Place = ("filter", "FORWARD");

/// Our chains and our jumps, of one family.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rules {
    chains: BTreeMap<Place, Vec<String>>,
    /// Somebody else's rule is above the jump at [`TOP`].
    buried: bool,
}

impl Rules {
    /// Nothing, not even a chain.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Those among what `iptables-save` shows.
    pub fn seen(saved: &str) -> Rules {
        let mut rules = Rules::default();
        let (mut table, mut above) = ("", false);
        for line in saved.lines() {
            let ours = |chain: &str| {
                let mut chains = CHAINS.into_iter();
                chains.find(|place| *place == (table, chain))
            };
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some((chain, _)) = line.strip_prefix(':').and_then(|l| l.split_once(' '))
            {
                ours(chain).map(|place| rules.chains.entry(place).or_default());
            } else if let Some((chain, rule)) =
                line.strip_prefix("-A ").and_then(|l| l.split_once(' '))
            {
                let jump = || {
                    JUMPS
                        .into_iter()
                        .find(|jump| *jump == ((table, chain), rule))
                };
                if let Some(place) = ours(chain).or_else(|| jump().map(|(place, _)| place)) {
                    rules.put(place, format_args!("{rule}"));
                } else if (table, chain) == TOP && rules.at(&TOP).is_empty() {
                    above = true;
                }
            }
        }
        rules.buried = above && !rules.at(&TOP).is_empty();
        rules
    }

    fn put(&mut self, place: Place, rule: std::fmt::Arguments<'_>) {
        self.chains.entry(place).or_default().push(rule.to_string());
    }

    fn at(&self, place: &Place) -> &[String] {
        self.chains.get(place).map_or(&[], Vec::as_slice)
    }

    /// What is wrong with those that are `present`, in words: these must be there, in this order, and besides them only
    /// some of `allowed` may be.
    pub fn complaint(&self, allowed: &Rules, present: &Rules) -> Option<String> {
        let (mut missing, mut extra, mut disordered) = (0, 0, false);
        let places: BTreeSet<&Place> = self.chains.keys().chain(present.chains.keys()).collect();
        for place in places.into_iter().filter(|place| **place != USER) {
            let (wanted, there) = (self.at(place), present.at(place));
            let known: BTreeSet<&String> = wanted.iter().collect();
            let seen: BTreeSet<&String> = there.iter().collect();
            let may: BTreeSet<&String> = allowed.at(place).iter().collect();
            missing += known.difference(&seen).count();
            extra += seen.difference(&may).count();
            let both = |rules: &[String]| -> Vec<String> {
                let kept = rules
                    .iter()
                    .filter(|r| known.contains(r) && seen.contains(r));
                kept.cloned().collect()
            };
            disordered |= both(wanted) != both(there);
        }
        match (missing, extra) {
            (0, 0) if disordered => Some("rules are not in order, or twice there".into()),
            (0, 0) => self
                .must_rise(present)
                .then(|| "rules of others are above ours in FORWARD".into()),
            (missing, 0) => Some(format!("{missing} rules are missing")),
            (0, extra) => Some(format!("{extra} rules belong to nobody")),
            (missing, extra) => Some(format!(
                "{missing} rules are missing, {extra} belong to nobody"
            )),
        }
    }

    fn must_rise(&self, present: &Rules) -> bool {
        present.buried && self.chains.contains_key(&TOP)
    }

    /// What `iptables-restore --noflush` must be told where these are wanted and others `present`; empty: nothing.
    pub fn instead_of(&self, present: &Rules) -> String {
        let mut text = String::new();
        for table in ["raw", "nat", "filter"] {
            let change = self.change(present, table);
            if !change.is_empty() {
                line(&mut text, format_args!("*{table}\n{change}COMMIT"));
            }
        }
        text
    }

    /// In one table: chains are made before rules lead to them, and go after all that did.
    fn change(&self, present: &Rules, table: &str) -> String {
        let [mut made, mut written, mut emptied, mut gone] = [const { String::new() }; 4];
        let differs = |place: &Place| self.chains.get(place) != present.chains.get(place);
        let moves = |place: &Place| *place == TOP && self.must_rise(present);
        let jumps = JUMPS.iter().filter(|(at, _)| at.0 == table);
        for ((_, chain), _) in jumps.filter(|(at, _)| differs(at) || moves(at)) {
            let place = (table, *chain);
            let of = |rules: &Rules| rules.chains.get(&place).cloned().unwrap_or_default();
            of(present)
                .iter()
                .for_each(|rule| line(&mut written, format_args!("-D {chain} {rule}")));
            of(self)
                .iter()
                .for_each(|rule| line(&mut written, format_args!("-I {chain} {rule}")));
        }
        for place in CHAINS.iter().filter(|at| at.0 == table && differs(at)) {
            let chain = place.1;
            match (self.chains.get(place), present.chains.get(place)) {
                (Some(_), Some(_)) if *place == USER => {}
                (Some(rules), _) => {
                    // What is declared is emptied.
                    line(&mut made, format_args!(":{chain} - [0:0]"));
                    rules
                        .iter()
                        .for_each(|rule| line(&mut written, format_args!("-A {chain} {rule}")));
                }
                // With rules of the user in it, it stays.
                (None, Some(rules)) if *place == USER && !rules.is_empty() => {}
                (None, _) => {
                    line(&mut emptied, format_args!("-F {chain}"));
                    line(&mut gone, format_args!("-X {chain}"));
                }
            }
        }
        [made, written, emptied, gone].concat()
    }
}

/// All our chains and jumps, for one family; nothing where no network has addresses of it.
pub fn wanted(live: &[Live], v4: bool) -> Rules {
    let has = |(network, _): &Live| {
        let mut subnets = network.subnets.iter();
        subnets.any(|subnet| subnet.gateway.is_ipv4() == v4)
    };
    let mut rules = Rules::default();
    if !live.iter().any(has) {
        return rules;
    }
    for place in CHAINS {
        rules.chains.insert(place, Vec::new());
    }
    for (place, jump) in JUMPS {
        rules.put(place, format_args!("{jump}"));
    }
    rules.put(FILTER, format_args!("-j {}", USER.1));
    for (network, attachments) in live {
        let bridge = &network.bridge;
        if v4 {
            rules.put(RAW, format_args!("-d 127.0.0.0/8 -i {bridge} -j DROP"));
        }
        translate(&mut rules, network, v4);
        attachments
            .iter()
            .for_each(|attachment| publish(&mut rules, attachment, v4));
        forward(&mut rules, network, attachments, live, v4);
    }
    // Only after all that may not go to another network.
    for (network, _) in live {
        rules.put(FILTER, format_args!("-i {} -j ACCEPT", network.bridge));
    }
    rules
}

fn translate(rules: &mut Rules, network: &Network, v4: bool) {
    let bridge = &network.bridge;
    if v4 {
        rules.put(
            POST,
            format_args!("-s 127.0.0.0/8 -o {bridge} -j MASQUERADE"),
        );
    }
    let subnets = network.subnets.iter();
    for subnet in subnets.filter(|subnet| subnet.gateway.is_ipv4() == v4) {
        let (range, gateway) = (subnet.range.trunc(), one(subnet.gateway));
        for proto in ["udp", "tcp"] {
            rules.put(
                NAT,
                format_args!("-d {gateway} -i {bridge} -p {proto} -m {proto} --dport 53 -j RETURN"),
            );
        }
        if !network.internal {
            let published = "-m conntrack --ctstate DNAT";
            rules.put(
                POST,
                format_args!("-s {range} -d {range} {published} -j MASQUERADE"),
            );
            rules.put(POST, format_args!("-s {range} ! -o {bridge} -j MASQUERADE"));
        }
    }
}

fn forward(rules: &mut Rules, network: &Network, members: &[Attachment], live: &[Live], v4: bool) {
    let bridge = &network.bridge;
    let is_open = |network: &Network| !network.isolate && !network.internal;
    rules.put(
        FILTER,
        format_args!("-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
    );
    rules.put(FILTER, format_args!("-i {bridge} -o {bridge} -j ACCEPT"));
    for (other, attachments) in live {
        for from in attachments {
            let leads_here = |link: &&Link| members.iter().any(|one| one.key == link.to);
            for link in from.links.iter().filter(leads_here) {
                open(rules, [&other.bridge, bridge], from, link, v4);
            }
        }
    }
    if network.internal {
        rules.put(FILTER, format_args!("-i {bridge} -j DROP"));
    } else {
        rules.put(
            FILTER,
            format_args!("-o {bridge} -m conntrack --ctstate DNAT -j ACCEPT"),
        );
        for (other, _) in live
            .iter()
            .filter(|(other, _)| other != network && is_open(network) && is_open(other))
        {
            rules.put(
                FILTER,
                format_args!("-i {} -o {bridge} -j ACCEPT", other.bridge),
            );
        }
    }
    rules.put(FILTER, format_args!("-o {bridge} -j DROP"));
}

/// What a link opens: from each address to each of the same family.
fn open(
    rules: &mut Rules,
    [from_bridge, to_bridge]: [&str; 2],
    from: &Attachment,
    link: &Link,
    v4: bool,
) {
    let (proto, port) = (link.proto, link.port);
    let sources = from.addresses.iter().map(|address| address.ip);
    for source in sources.filter(|ip| ip.is_ipv4() == v4) {
        for dest in link.to_addresses.iter().filter(|ip| ip.is_ipv4() == v4) {
            let (source, dest) = (one(source), one(*dest));
            let rule = format!(
                "-s {source} -d {dest} -i {from_bridge} -o {to_bridge} -p {proto} -m {proto} --dport {port} -j ACCEPT"
            );
            // Two names may be given to one port.
            if !rules.at(&FILTER).contains(&rule) {
                rules.put(FILTER, format_args!("{rule}"));
            }
        }
    }
}

fn publish(rules: &mut Rules, attachment: &Attachment, v4: bool) {
    let addresses = attachment.addresses.iter();
    for address in addresses.filter(|address| address.ip.is_ipv4() == v4) {
        let of = |ip: &IpAddr| ip.is_ipv4() == v4;
        for mapping in attachment
            .ports
            .iter()
            .filter(|mapping| mapping.host_ip.as_ref().is_none_or(of))
        {
            let on = match mapping.host_ip {
                Some(ip) => format!("-d {} ", one(ip)),
                None if v4 => String::new(),
                None => "! -d ::1/128 ".into(),
            };
            for (host, container) in mapping.pairs() {
                let to = SocketAddr::new(address.ip, container);
                let proto = mapping.proto;
                rules.put(
                    NAT,
                    format_args!(
                        "{on}-p {proto} -m {proto} --dport {host} -j DNAT --to-destination {to}"
                    ),
                );
            }
        }
    }
}

/// One address is shown as a range.
fn one(ip: IpAddr) -> ipnet::IpNet {
    ip.into()
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "# of some host\n*filter\n:FORWARD DROP [1:2]\n:PLY-USER - [0:0]\n:PLY - [0:0]\n\
        -A FORWARD -j PLY\n-A FORWARD -s 10.1.2.3/32 -j ACCEPT\n-A PLY-USER -j DROP\n-A PLY -j PLY-USER\n\
        -A PLY -i ply1 -j ACCEPT\nCOMMIT\n";

    #[test]
    fn what_is_not_ours_is_not_seen_and_stays() {
        let present = Rules::seen(SAVED);
        let user = ["-j DROP".to_string()];
        assert_eq!((present.chains.len(), present.at(&USER)), (3, &user[..]));
        assert_eq!(
            Rules::default().instead_of(&present),
            "*filter\n-D FORWARD -j PLY\n-F PLY\n-X PLY\nCOMMIT\n"
        );
    }

    #[test]
    fn only_what_differs_is_written() {
        let wanted = Rules::seen(SAVED);
        assert_eq!(wanted.instead_of(&Rules::seen(SAVED)), "");
        assert_eq!(wanted.complaint(&wanted, &Rules::seen(SAVED)), None);
        let said = |saved: String| {
            let present = Rules::seen(&saved);
            (
                wanted.complaint(&wanted, &present).unwrap(),
                wanted.instead_of(&present),
            )
        };
        let written =
            "*filter\n:PLY - [0:0]\n-A PLY -j PLY-USER\n-A PLY -i ply1 -j ACCEPT\nCOMMIT\n";
        let rule = "-A PLY -i ply1 -j ACCEPT\n";
        let lacking = said(SAVED.replace(rule, ""));
        assert_eq!(lacking, ("1 rules are missing".into(), written.into()));
        let foreign = said(SAVED.replace(rule, &format!("-A PLY -j DROP\n{rule}")));
        assert_eq!(foreign, ("1 rules belong to nobody".into(), written.into()));
        let twice = said(SAVED.replace(rule, &format!("{rule}{rule}")));
        let words = "rules are not in order, or twice there";
        assert_eq!(twice, (words.into(), written.into()));
        let jump = said(SAVED.replace("-A FORWARD -j PLY\n", ""));
        let written = "*filter\n-I FORWARD -j PLY\nCOMMIT\n";
        assert_eq!(jump, ("1 rules are missing".into(), written.into()));
        let above = said(SAVED.replace(
            "-A FORWARD -j PLY\n",
            "-A FORWARD -j X\n-A FORWARD -j PLY\n",
        ));
        let written = "*filter\n-D FORWARD -j PLY\n-I FORWARD -j PLY\nCOMMIT\n";
        let words = "rules of others are above ours in FORWARD";
        assert_eq!(above, (words.into(), written.into()));
    }
}

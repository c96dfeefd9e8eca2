//! The constant rules. Containers and networks are elements of the sets and maps below, never rules, so a packet costs
//! the same with one container and with a thousand, and a port can have one owner only: it is a key.
//!
//! ```text
//! publish4       proto . port         : address . port     published on all addresses of the host
//! publish_ip4    address . proto . port : address . port   published on one of them
//! masq4          ranges of the networks with a way out     (all of these also with 6)
//! bridges        our bridges      internal  those without a way out    open  those that let each other in
//! same           bridge . bridge  a bridge and itself: traffic that stays on its network
//! allow4         from . to . proto . port                  what a link opens
//! ```

use crate::sys::nft::expr::{DNAT, Expr, KNOWN, LOCAL, Load, NONE, Verdict};
use crate::sys::nft::{Field, Hook, HookPoint, Set};

/// The table, of family inet.
pub const TABLE: &str = "plynet";
/// The user's own chain: made once, asked first for all that is forwarded, never emptied.
pub const USER_CHAIN: &str = "PLY-USER";

const fn set(name: &'static str, key: &'static [Field]) -> Set {
    Set {
        name,
        key,
        value: &[],
        ranges: false,
    }
}

const fn map(name: &'static str, key: &'static [Field], value: &'static [Field]) -> Set {
    Set {
        name,
        key,
        value,
        ranges: false,
    }
}

use Field::{Ifname, Ipv4, Ipv6, Proto, Service};

/// Published on every address, IPv4.
pub const PUBLISH4: Set = map("publish4", &[Proto, Service], &[Ipv4, Service]);
/// Published on every address, IPv6.
pub const PUBLISH6: Set = map("publish6", &[Proto, Service], &[Ipv6, Service]);
/// Published on one address, IPv4.
pub const PUBLISH_IP4: Set = map("publish_ip4", &[Ipv4, Proto, Service], &[Ipv4, Service]);
/// Published on one address, IPv6.
pub const PUBLISH_IP6: Set = map("publish_ip6", &[Ipv6, Proto, Service], &[Ipv6, Service]);
/// Ranges that are masqueraded, IPv4.
pub const MASQ4: Set = Set {
    ranges: true,
    ..set("masq4", &[Ipv4])
};
/// Ranges that are masqueraded, IPv6.
pub const MASQ6: Set = Set {
    ranges: true,
    ..set("masq6", &[Ipv6])
};
/// Our bridges.
pub const BRIDGES: Set = set("bridges", &[Ifname]);
/// Bridges without a way out.
pub const INTERNAL: Set = set("internal", &[Ifname]);
/// Bridges of networks that are not isolated.
pub const OPEN: Set = set("open", &[Ifname]);
/// Each bridge with itself.
pub const SAME: Set = set("same", &[Ifname, Ifname]);
/// What links open, IPv4.
pub const ALLOW4: Set = set("allow4", &[Ipv4, Ipv4, Proto, Service]);
/// What links open, IPv6.
pub const ALLOW6: Set = set("allow6", &[Ipv6, Ipv6, Proto, Service]);

/// All sets and maps.
pub const SETS: [Set; 12] = [
    PUBLISH4,
    PUBLISH6,
    PUBLISH_IP4,
    PUBLISH_IP6,
    MASQ4,
    MASQ6,
    BRIDGES,
    INTERNAL,
    OPEN,
    SAME,
    ALLOW4,
    ALLOW6,
];

/// Chains, and where they are hung up. A chain is named before one that jumps to it.
pub const CHAINS: [(&str, Option<Hook>); 8] = [
    (USER_CHAIN, None),
    ("publish", None),
    ("into", None),
    ("early", hook("filter", HookPoint::Prerouting, -300)),
    ("prerouting", hook("nat", HookPoint::Prerouting, -100)),
    ("output", hook("nat", HookPoint::Output, -100)),
    ("postrouting", hook("nat", HookPoint::Postrouting, 100)),
    ("forwarding", hook("filter", HookPoint::Forward, 0)),
];

const fn hook(kind: &'static str, at: HookPoint, priority: i32) -> Option<Hook> {
    Some(Hook { kind, at, priority })
}

/// A rule: its chain, what it is made of, and what it is for. The words are how the rule is known again.
pub type Rule = (&'static str, Vec<Expr>, &'static str);

const V4: [Expr; 2] = [Expr::Load(Load::Family, 0), Expr::Is(0, &[2])];
const V6: [Expr; 2] = [Expr::Load(Load::Family, 0), Expr::Is(0, &[10])];
const LOOPBACK4: (&[u8], &[u8]) = (&[255, 0, 0, 0], &[127, 0, 0, 0]);
const LOOPBACK6: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const DROP: Expr = Expr::Verdict(Verdict::Drop);
const ACCEPT: Expr = Expr::Verdict(Verdict::Accept);
const RETURN: Expr = Expr::Verdict(Verdict::Return);

fn from(set: &Set) -> [Expr; 2] {
    [Expr::Load(Load::InName, 0), Expr::In(0, set.name)]
}

fn to(set: &Set) -> [Expr; 2] {
    [Expr::Load(Load::OutName, 0), Expr::In(0, set.name)]
}

/// Interface names fill four registers each.
fn stays_on_its_network() -> [Expr; 3] {
    [
        Expr::Load(Load::InName, 0),
        Expr::Load(Load::OutName, 4),
        Expr::In(0, SAME.name),
    ]
}

/// The connection's destination was translated: it came for a published port.
fn was_published() -> [Expr; 3] {
    [
        Expr::Load(Load::CtStatus, 0),
        Expr::Mask(0, DNAT),
        Expr::IsNot(0, NONE),
    ]
}

/// All rules, chain by chain, in order.
pub fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    rules.extend(incoming());
    rules.extend(publish());
    rules.extend(outgoing());
    rules.extend(forwarding());
    rules
}

fn incoming() -> [Rule; 4] {
    let (mask, value) = LOOPBACK4;
    let spoofed = [
        Expr::Load(Load::Dest4, 0),
        Expr::Mask(0, mask),
        Expr::Is(0, value),
        DROP,
    ];
    let asks_us = [
        Expr::Load(Load::DestPort, 0),
        Expr::Is(0, &[0, 53]),
        Expr::Load(Load::DestTypeHere, 0),
        Expr::Is(0, LOCAL),
        RETURN,
    ];
    let local = [
        Expr::Load(Load::DestType, 0),
        Expr::Is(0, LOCAL),
        Expr::Verdict(Verdict::Jump("publish")),
    ];
    [
        // The bridges route 127/8, for ports published there; from a container nothing goes to it.
        (
            "early",
            [&from(&BRIDGES)[..], &V4, &spoofed].concat(),
            "loopback is the host's own",
        ),
        // Names are answered by the gateway, whoever publishes port 53.
        (
            "prerouting",
            [&from(&BRIDGES)[..], &asks_us].concat(),
            "names",
        ),
        ("prerouting", local.to_vec(), "published ports"),
        ("output", local.to_vec(), "published ports, from the host"),
    ]
}

fn publish() -> [Rule; 5] {
    let key4 = [Expr::Load(Load::Proto, 0), Expr::Load(Load::DestPort, 1)];
    let key_ip4 = [
        Expr::Load(Load::Dest4, 0),
        Expr::Load(Load::Proto, 1),
        Expr::Load(Load::DestPort, 2),
    ];
    let key_ip6 = [
        Expr::Load(Load::Dest6, 0),
        Expr::Load(Load::Proto, 4),
        Expr::Load(Load::DestPort, 5),
    ];
    let dnat4 = Expr::Dnat {
        v6: false,
        address: 0,
        port: 1,
    };
    let dnat6 = Expr::Dnat {
        v6: true,
        address: 0,
        port: 4,
    };
    let go = |family: &[Expr], key: &[Expr], map: &Set, dnat| {
        let map = Expr::Map(0, map.name, 0);
        [family, key, &[map, dnat]].concat()
    };
    let loopback6 = [Expr::Load(Load::Dest6, 0), Expr::Is(0, LOOPBACK6), RETURN];
    [
        (
            "publish",
            go(&V4, &key_ip4, &PUBLISH_IP4, dnat4),
            "on one address",
        ),
        (
            "publish",
            go(&V4, &key4, &PUBLISH4, dnat4),
            "on all addresses",
        ),
        // What comes from ::1 cannot leave the host: the kernel has no route_localnet for IPv6.
        ("publish", [&V6[..], &loopback6].concat(), "not ::1"),
        (
            "publish",
            go(&V6, &key_ip6, &PUBLISH_IP6, dnat6),
            "on one address, IPv6",
        ),
        (
            "publish",
            go(&V6, &key4, &PUBLISH6, dnat6),
            "on all addresses, IPv6",
        ),
    ]
}

fn outgoing() -> [Rule; 5] {
    let (mask, value) = LOOPBACK4;
    let loopback = [
        Expr::Load(Load::Source4, 0),
        Expr::Mask(0, mask),
        Expr::Is(0, value),
    ];
    let away = |source, dest, masq: &Set| {
        let way = [
            Expr::Load(source, 0),
            Expr::In(0, masq.name),
            Expr::Load(dest, 0),
        ];
        [&way[..], &[Expr::NotIn(0, masq.name), Expr::Masquerade]].concat()
    };
    let masquerade = [Expr::Masquerade];
    // Where br_netfilter translates inside of a bridge, the interface a packet came in by is not known any more.
    let hairpin = |family: &[Expr], source, dest, masq: &Set| {
        let within = [
            Expr::Load(source, 0),
            Expr::In(0, masq.name),
            Expr::Load(dest, 0),
            Expr::In(0, masq.name),
        ];
        [&was_published()[..], family, &within, &masquerade].concat()
    };
    let own = [&V4[..], &loopback, &to(&BRIDGES), &masquerade].concat();
    [
        // Else the answer would go straight to the asker, who expects it from the host.
        (
            "postrouting",
            hairpin(&V4, Load::Source4, Load::Dest4, &MASQ4),
            "hairpin",
        ),
        (
            "postrouting",
            hairpin(&V6, Load::Source6, Load::Dest6, &MASQ6),
            "hairpin, IPv6",
        ),
        ("postrouting", own, "from 127.0.0.1"),
        (
            "postrouting",
            [&V4[..], &away(Load::Source4, Load::Dest4, &MASQ4)].concat(),
            "the way out",
        ),
        (
            "postrouting",
            [&V6[..], &away(Load::Source6, Load::Dest6, &MASQ6)].concat(),
            "the way out, IPv6",
        ),
    ]
}

fn forwarding() -> [Rule; 12] {
    let known = [
        Expr::Load(Load::CtState, 0),
        Expr::Mask(0, KNOWN),
        Expr::IsNot(0, NONE),
        ACCEPT,
    ];
    let jump = |chain| Expr::Verdict(Verdict::Jump(chain));
    let linked4 = [
        Expr::Load(Load::Source4, 0),
        Expr::Load(Load::Dest4, 1),
        Expr::Load(Load::Proto, 2),
        Expr::Load(Load::DestPort, 3),
        Expr::In(0, ALLOW4.name),
        ACCEPT,
    ];
    let linked6 = [
        Expr::Load(Load::Source6, 0),
        Expr::Load(Load::Dest6, 4),
        Expr::Load(Load::Proto, 8),
        Expr::Load(Load::DestPort, 9),
        Expr::In(0, ALLOW6.name),
        ACCEPT,
    ];
    [
        (
            "forwarding",
            vec![jump(USER_CHAIN)],
            "the user's rules first",
        ),
        ("forwarding", known.to_vec(), "answers"),
        (
            "forwarding",
            [&to(&BRIDGES)[..], &[jump("into")]].concat(),
            "to a container",
        ),
        (
            "forwarding",
            [&from(&INTERNAL)[..], &[DROP]].concat(),
            "no way out",
        ),
        (
            "into",
            [&stays_on_its_network()[..], &[ACCEPT]].concat(),
            "the same network",
        ),
        ("into", [&V4[..], &linked4].concat(), "links"),
        ("into", [&V6[..], &linked6].concat(), "links, IPv6"),
        (
            "into",
            [&from(&INTERNAL)[..], &[DROP]].concat(),
            "out of an internal network",
        ),
        (
            "into",
            [&to(&INTERNAL)[..], &[DROP]].concat(),
            "into an internal network",
        ),
        (
            "into",
            [&was_published()[..], &[ACCEPT]].concat(),
            "for a published port",
        ),
        (
            "into",
            [&from(&OPEN)[..], &to(&OPEN), &[ACCEPT]].concat(),
            "between open networks",
        ),
        ("into", vec![DROP], "everything else"),
    ]
}

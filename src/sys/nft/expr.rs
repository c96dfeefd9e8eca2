//! [`Expr`]: what a rule is made of, one after the other. A packet that an expression does not fit is done with the
//! rule. Values go through registers of four bytes, from 0 on.

use super::super::netlink::Messages;
use super::DATA_VALUE;

/// `NFT_REG32_00`
const FIRST_REGISTER: u32 = 8;
const NAME: u16 = 1;
const DATA: u16 = 2;

/// A part of a packet or of its surroundings, to be loaded into a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// The name of the interface it came in by, 16 bytes.
    InName,
    /// The name of the interface it goes out by, 16 bytes.
    OutName,
    /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10), one byte.
    Family,
    /// TCP, UDP and so on, one byte.
    Proto,
    /// Source address of IPv4.
    Source4,
    /// Destination address of IPv4.
    Dest4,
    /// Source address of IPv6.
    Source6,
    /// Destination address of IPv6.
    Dest6,
    /// Destination port, two bytes.
    DestPort,
    /// State of its connection, see [`KNOWN`].
    CtState,
    /// Status of its connection, see [`DNAT`].
    CtStatus,
    /// What the destination address is to this host (`RTN_*`).
    DestType,
    /// As [`Load::DestType`], but looking only at the interface it came in by.
    DestTypeHere,
}

/// States of connections: established, and related to such a one, as an ICMP error is.
pub const KNOWN: &[u8] = &(2u32 | 4).to_ne_bytes();
/// Status of a connection whose destination was translated.
pub const DNAT: &[u8] = &(1u32 << 5).to_ne_bytes();
/// What an address is to the host that has it.
pub const LOCAL: &[u8] = &2u32.to_ne_bytes();
/// No bit of four bytes.
pub const NONE: &[u8] = &[0; 4];

/// Where a rule ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Through, as far as this hook goes.
    Accept,
    /// Away with it.
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// On with another chain, and back.
    Jump(&'static str),
}

/// A part of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Loads into a register.
    Load(Load, u32),
    /// The register holds these bytes.
    Is(u32, &'static [u8]),
    /// The register does not hold these bytes.
    IsNot(u32, &'static [u8]),
    /// Leaves only these bits in the register.
    Mask(u32, &'static [u8]),
    /// The registers from this one on are a key in the set.
    In(u32, &'static str),
    /// The registers from this one on are no key in the set.
    NotIn(u32, &'static str),
    /// The registers from the first one on are a key in the map; its value goes to the registers from the second on.
    Map(u32, &'static str, u32),
    /// Translates the destination: to the address and the port in these registers. IPv6 if so.
    Dnat {
        /// To IPv6.
        v6: bool,
        /// Where the address is.
        address: u32,
        /// Where the port is.
        port: u32,
    },
    /// Translates the source to an address of the interface it goes out by.
    Masquerade,
    /// Ends here.
    Verdict(Verdict),
}

fn register(n: u32) -> u32 {
    FIRST_REGISTER + n
}

impl Expr {
    /// Adds its name and data.
    pub(super) fn put(&self, m: &mut Messages) {
        match *self {
            Expr::Load(load, to) => put_load(m, load, register(to)),
            Expr::Is(at, value) => put_compare(m, register(at), 0, value),
            Expr::IsNot(at, value) => put_compare(m, register(at), 1, value),
            Expr::Mask(at, bits) => put_mask(m, register(at), bits),
            Expr::In(at, set) => put_lookup(m, register(at), set, None, false),
            Expr::NotIn(at, set) => put_lookup(m, register(at), set, None, true),
            Expr::Map(at, set, to) => put_lookup(m, register(at), set, Some(register(to)), false),
            Expr::Dnat { v6, address, port } => named(m, "nat", |m| {
                m.put_be32(1, 1).put_be32(2, if v6 { 10 } else { 2 });
                m.put_be32(3, register(address)).put_be32(5, register(port));
            }),
            Expr::Masquerade => named(m, "masq", |_| {}),
            Expr::Verdict(verdict) => named(m, "immediate", |m| {
                m.put_be32(1, 0).nest(2, |m| put_verdict(m, verdict));
            }),
        }
    }
}

fn named(m: &mut Messages, name: &str, data: impl FnOnce(&mut Messages)) {
    m.put_str(NAME, name).nest(DATA, data);
}

fn put_load(m: &mut Messages, load: Load, to: u32) {
    const NETWORK: u32 = 1;
    const TRANSPORT: u32 = 2;
    let meta = |m: &mut Messages, key: u32| {
        named(m, "meta", |m| {
            m.put_be32(2, key).put_be32(1, to);
        });
    };
    let payload = |m: &mut Messages, base: u32, offset: u32, len: u32| {
        named(m, "payload", |m| {
            m.put_be32(1, to)
                .put_be32(2, base)
                .put_be32(3, offset)
                .put_be32(4, len);
        });
    };
    let ct = |m: &mut Messages, key: u32| {
        named(m, "ct", |m| {
            m.put_be32(2, key).put_be32(1, to);
        });
    };
    let fib = |m: &mut Messages, flags: u32| {
        named(m, "fib", |m| {
            m.put_be32(3, flags).put_be32(2, 3).put_be32(1, to);
        });
    };
    match load {
        Load::InName => meta(m, 6),
        Load::OutName => meta(m, 7),
        Load::Family => meta(m, 15),
        Load::Proto => meta(m, 16),
        Load::Source4 => payload(m, NETWORK, 12, 4),
        Load::Dest4 => payload(m, NETWORK, 16, 4),
        Load::Source6 => payload(m, NETWORK, 8, 16),
        Load::Dest6 => payload(m, NETWORK, 24, 16),
        Load::DestPort => payload(m, TRANSPORT, 2, 2),
        Load::CtState => ct(m, 0),
        Load::CtStatus => ct(m, 2),
        Load::DestType => fib(m, 2),
        Load::DestTypeHere => fib(m, 2 | 8),
    }
}

fn put_compare(m: &mut Messages, at: u32, operation: u32, value: &[u8]) {
    named(m, "cmp", |m| {
        m.put_be32(1, at).put_be32(2, operation).nest(3, |m| {
            m.put(DATA_VALUE, value);
        });
    });
}

fn put_mask(m: &mut Messages, at: u32, mask: &[u8]) {
    let zeros = vec![0; mask.len()];
    named(m, "bitwise", |m| {
        m.put_be32(1, at)
            .put_be32(2, at)
            .put_be32(3, mask.len() as u32);
        for (kind, bytes) in [(4, mask), (5, &zeros)] {
            m.nest(kind, |m| {
                m.put(DATA_VALUE, bytes);
            });
        }
    });
}

fn put_lookup(m: &mut Messages, at: u32, set: &str, to: Option<u32>, not: bool) {
    named(m, "lookup", |m| {
        m.put_str(1, set).put_be32(2, at);
        if let Some(to) = to {
            m.put_be32(3, to);
        }
        if not {
            m.put_be32(5, 1);
        }
    });
}

fn put_verdict(m: &mut Messages, verdict: Verdict) {
    const IN_DATA: u16 = 2;
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3i32, Some(chain)),
        Verdict::Return => (-5i32, None),
    };
    m.nest(IN_DATA, |m| {
        m.put(1, &code.to_be_bytes());
        if let Some(chain) = chain {
            m.put_str(2, chain);
        }
    });
}

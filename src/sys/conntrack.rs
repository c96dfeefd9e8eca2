//! Connection tracking: which flows the kernel knows, and making it forget one (ctnetlink).

use std::net::IpAddr;

use super::errno::{Errno, Result};
use super::netlink::{Attributes, Family, Messages, Reply, Socket, flag};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const HEADER_BYTES: usize = 4;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// An attribute that holds others.
const NESTED: u16 = 0x8000;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// One direction of a flow, as its packets look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Where they come from.
    pub from: (IpAddr, u16),
    /// Where they go.
    pub to: (IpAddr, u16),
    /// The number of the protocol in the header of IP.
    pub proto: u8,
}

/// A flow. Where an address is translated, the reply does not come from where the original goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As its first packet was before any translation.
    pub original: Tuple,
    /// As its answers are.
    pub reply: Tuple,
    family: u8,
    /// What names it to the kernel: attributes, as they came.
    name: Vec<(u16, Vec<u8>)>,
}

/// Connection tracking in one network namespace.
#[derive(Debug)]
pub struct Conntrack(Socket);

impl Conntrack {
    /// Of this thread's namespace.
    ///
    /// # Errors
    /// As socket(2) says.
    pub fn open() -> Result<Conntrack> {
        Socket::open(Family::Netfilter).map(Conntrack)
    }

    /// All flows of one family that have ports.
    ///
    /// # Errors
    /// What the kernel says: EINVAL or EOPNOTSUPP where it does not know ctnetlink, EPERM.
    pub fn flows(&self, ipv4: bool) -> Result<Vec<Flow>> {
        let family = if ipv4 { AF_INET } else { AF_INET6 };
        let mut question = Messages::new();
        question.begin(SUBSYSTEM << 8 | GET, flag::DUMP, &[family, 0, 0, 0]);
        let replies = self.0.ask(&question)?;
        Ok(replies
            .iter()
            .filter_map(|reply| parse(family, reply))
            .collect())
    }

    /// Forgets flows: the next packet of each is looked at as a first one. What is gone already is no failure.
    ///
    /// # Errors
    /// What the kernel says of the first it does not forget.
    pub fn forget(&self, flows: &[Flow]) -> Result<()> {
        let mut messages = Messages::new();
        for flow in flows {
            let header = [flow.family, 0, 0, 0];
            messages.begin(SUBSYSTEM << 8 | DELETE, flag::ACK, &header);
            for (kind, value) in &flow.name {
                messages.put(*kind, value);
            }
        }
        let answers = self.0.exchange(&messages)?;
        let failed = answers.into_iter().filter_map(Result::err);
        failed
            .filter(|errno| *errno != Errno::ENOENT)
            .map(Err)
            .next()
            .unwrap_or(Ok(()))
    }
}

fn parse(family: u8, reply: &Reply) -> Option<Flow> {
    let attributes = reply.attributes(HEADER_BYTES);
    let kinds = [(TUPLE_ORIG, NESTED), (ZONE, 0), (ID, 0)];
    let name = kinds
        .iter()
        .filter_map(|(kind, nested)| Some((kind | nested, attributes.get(*kind)?.to_vec())));
    Some(Flow {
        original: tuple(attributes.get(TUPLE_ORIG)?)?,
        reply: tuple(attributes.get(TUPLE_REPLY)?)?,
        family,
        name: name.collect(),
    })
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    const IP: u16 = 1;
    const PROTO: u16 = 2;
    let addresses = Attributes(Attributes(bytes).get(IP)?);
    let proto = Attributes(Attributes(bytes).get(PROTO)?);
    let ip = |v4: u16, v6: u16| match addresses.get(v4) {
        Some(bytes) => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        None => Some(IpAddr::from(<[u8; 16]>::try_from(addresses.get(v6)?).ok()?)),
    };
    let port = |kind| Some(u16::from_be_bytes(proto.get(kind)?.try_into().ok()?));
    Some(Tuple {
        from: (ip(1, 3)?, port(2)?),
        to: (ip(2, 4)?, port(3)?),
        proto: *proto.get(1)?.first()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_read_and_pieces_are_not() {
        let attribute = |kind: u16, value: &[u8]| {
            let len = u16::try_from(value.len() + 4).unwrap();
            let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let ips = [attribute(1, &[10, 0, 0, 1]), attribute(2, &[10, 0, 0, 2])].concat();
        let ports = [
            attribute(1, &[17]),
            attribute(2, &[0, 53]),
            attribute(3, &[1, 0]),
        ]
        .concat();
        let bytes = [attribute(1, &ips), attribute(2, &ports)].concat();
        let seen = tuple(&bytes).unwrap();
        assert_eq!(seen.from, ("10.0.0.1".parse().unwrap(), 53));
        assert_eq!(seen.to, ("10.0.0.2".parse().unwrap(), 256));
        assert_eq!(seen.proto, 17);
        // Cut off, it is none; the last two bytes only fill a word.
        for end in 0..bytes.len() - 2 {
            assert_eq!(tuple(&bytes[..end]), None);
        }
    }
}

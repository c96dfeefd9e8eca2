//! Ranges of addresses: checked as a user gave them, or found free. Pure; what is in use is passed in.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::error::{Error, Kind, Result};
use super::network::Subnet;

/// Length of the prefix of a range that was found for a user.
const FOUND_PREFIX4: u8 = 24;
const FOUND_PREFIX6: u8 = 64;

/// A range that is in use, and by what, in words.
pub type Used = (IpNet, String);

/// A range as it was given, with its gateway.
///
/// # Errors
/// Usage; a conflict with what uses an overlapping range.
pub fn check(range: IpNet, gateway: Option<IpAddr>, used: &[Used]) -> Result<Subnet> {
    let bad = |why: String| Err(Error::usage(format!("subnet {range}: {why}")));
    let (addr, most) = (range.addr(), range.max_prefix_len());
    if addr != range.network() {
        return bad(format!(
            "has host bits set; did you mean {}?",
            range.trunc()
        ));
    }
    if range.prefix_len() > most - 2 {
        return bad(format!(
            "is too small: /{} is the smallest with room for a gateway and a container",
            most - 2
        ));
    }
    if addr.is_loopback() || addr.is_multicast() || addr.is_unspecified() {
        return bad("cannot be a network of containers".into());
    }
    let gateway = gateway.unwrap_or_else(|| nth(&range, 1));
    if !is_host(&range, gateway) {
        return bad(format!("gateway {gateway} is no address of a host in it"));
    }
    match used.iter().find(|(other, _)| overlap(&range, other)) {
        Some((other, who)) => Err(Error::conflict(format!(
            "subnet {range} overlaps {other} of {who}; choose another --subnet"
        ))),
        None => Ok(Subnet {
            range,
            gateway,
            lease_range: None,
        }),
    }
}

/// Do two ranges have an address in common?
pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// A private range of IPv4 that overlaps nothing in use.
///
/// # Errors
/// A conflict when there is none.
pub fn find4(used: &[Used]) -> Result<Subnet> {
    let tens = (90..=254).flat_map(|b| (0..=255).map(move |c| Ipv4Addr::new(10, b, c, 0)));
    let middle = (16..=31).flat_map(|b| (0..=255).map(move |c| Ipv4Addr::new(172, b, c, 0)));
    let last = (0..=255).map(|c| Ipv4Addr::new(192, 168, c, 0));
    let ranges = tens.chain(middle).chain(last);
    let mut ranges = ranges
        .filter_map(|first| Ipv4Net::new(first, FOUND_PREFIX4).ok())
        .map(IpNet::V4);
    let free = ranges.find(|range| !used.iter().any(|(other, _)| overlap(range, other)));
    let none = "no private range of IPv4 is free: all of 10.90.0.0/9, 172.16.0.0/12 and 192.168.0.0/16 is in use";
    check(
        free.ok_or_else(|| Error::new(Kind::Conflict, none))?,
        None,
        used,
    )
}

/// A unique local range of IPv6 (RFC 4193), drawn at random.
///
/// # Errors
/// A conflict, by incredible chance.
pub fn find6(used: &[Used]) -> Result<Subnet> {
    let random = RandomState::new().build_hasher().finish();
    let random = u128::from(random & ((1 << 56) - 1));
    let first = Ipv6Addr::from(0xfd << 120 | random << 64);
    let range =
        Ipv6Net::new(first, FOUND_PREFIX6).map_err(|_| Error::new(Kind::Other, "prefix"))?;
    check(IpNet::V6(range), None, used)
}

/// The address that many after the first of the range.
pub fn nth(range: &IpNet, n: u128) -> IpAddr {
    offset(range.network(), n)
}

/// The address that many after another, of the same family.
pub fn offset(ip: IpAddr, n: u128) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits().wrapping_add(n as u32)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits().wrapping_add(n)).into(),
    }
}

/// Its number, to count with.
pub fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// Can a host have this address of the range? Not the first, which names the range, and not the last of IPv4, which
/// means everybody.
pub fn is_host(range: &IpNet, ip: IpAddr) -> bool {
    let everybody = ip.is_ipv4() && ip == range.broadcast();
    range.contains(&ip) && ip != range.network() && !everybody
}

/// First and last address that may be given to containers.
pub fn hosts(subnet: &Subnet) -> (IpAddr, IpAddr) {
    let range = &subnet.range;
    let last = number(range.broadcast()) - number(range.network());
    let last = if range.addr().is_ipv4() {
        last - 1
    } else {
        last
    };
    let (first, last) = (nth(range, 1), nth(range, last));
    match subnet.lease_range {
        Some((from, to)) => (from.max(first), to.min(last)),
        None => (first, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(range: &str) -> Vec<Used> {
        vec![(range.parse().unwrap(), "network other".into())]
    }

    fn refused(range: &str, gateway: Option<&str>) -> (u8, String) {
        let gateway = gateway.map(|g| g.parse().unwrap());
        let error = check(range.parse().unwrap(), gateway, &used("10.1.0.0/16")).unwrap_err();
        (error.kind.code(), error.to_string())
    }

    #[test]
    fn ranges_that_cannot_work_are_refused() {
        for (range, gateway, code, words) in [
            ("10.0.0.1/24", None, 2, "did you mean 10.0.0.0/24?"),
            ("10.0.0.0/31", None, 2, "too small"),
            ("10.0.0.0/32", None, 2, "too small"),
            ("10.0.0.0/24", Some("10.0.1.1"), 2, "gateway 10.0.1.1"),
            ("10.0.0.0/24", Some("10.0.0.0"), 2, "gateway"),
            ("10.0.0.0/24", Some("10.0.0.255"), 2, "gateway"),
            ("127.0.0.0/24", None, 2, "cannot be"),
            ("224.0.0.0/24", None, 2, "cannot be"),
            (
                "10.1.2.0/24",
                None,
                4,
                "overlaps 10.1.0.0/16 of network other",
            ),
            ("10.0.0.0/8", None, 4, "overlaps"),
        ] {
            let (got, text) = refused(range, gateway);
            assert!(got == code && text.contains(words), "{range}: {got} {text}");
        }
    }

    #[test]
    fn a_free_range_is_found() {
        assert_eq!(find4(&[]).unwrap().range.to_string(), "10.90.0.0/24");
        assert_eq!(
            find4(&used("10.90.0.0/16")).unwrap().range.to_string(),
            "10.91.0.0/24"
        );
        assert_eq!(
            find4(&used("10.0.0.0/8")).unwrap().range.to_string(),
            "172.16.0.0/24"
        );
        assert_eq!(find4(&used("0.0.0.0/0")).unwrap_err().kind.code(), 4);
        let six = find6(&[]).unwrap();
        assert!(six.range.to_string().starts_with("fd") && six.range.prefix_len() == 64);
    }

    #[test]
    fn hosts_are_between_the_ends() {
        let subnet = check("10.0.0.0/30".parse().unwrap(), None, &[]).unwrap();
        let (first, last) = hosts(&subnet);
        assert_eq!(
            (first.to_string(), last.to_string()),
            ("10.0.0.1".into(), "10.0.0.2".into())
        );
    }
}

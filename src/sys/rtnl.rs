//! rtnetlink(7): links, addresses and routes. Changes are collected in a [`Changes`] and sent in one call.

use std::net::IpAddr;

mod parse;
mod route;

use parse::address;
pub use route::RouteKind;

use super::errno::{Errno, Result};
use super::netlink::{Family, Messages, Reply, Socket, flag};
use super::netns::Netns;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
/// Statistics are most of what the kernel says of a link.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const VETH_INFO_PEER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// The address can be used at once, without asking the link whether somebody has it.
const IFA_F_NODAD: u32 = 2;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_NOWHERE: u8 = 255;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;

const IFF_UP: u32 = 1;
const LINK_HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const ROUTE_HEADER_BYTES: usize = 12;

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is: `bridge`, `veth`; empty for hardware.
    pub kind: String,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// The group it was put in; 0 if in none.
    pub group: u32,
    /// It is switched on.
    pub up: bool,
    /// Its Ethernet address; empty where it has none.
    pub address: Vec<u8>,
    /// Greatest packet in bytes.
    pub mtu: u32,
}

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads to; with prefix 0 it is a default route.
    pub to: IpAddr,
    /// Length of the prefix.
    pub prefix: u8,
    /// Over this link.
    pub link: Option<u32>,
    /// By this router.
    pub gateway: Option<IpAddr>,
}

/// A pair of links to be made, one here and one in another namespace.
#[derive(Debug)]
pub struct Veth<'a> {
    /// Our end.
    pub name: &'a str,
    /// The bridge it becomes a port of, if of any.
    pub master: Option<u32>,
    /// Our end's group.
    pub group: u32,
    /// Greatest packet in bytes, for both.
    pub mtu: Option<u32>,
    /// The other end.
    pub peer: &'a str,
    /// Its Ethernet address.
    pub peer_address: [u8; 6],
    /// Its namespace, as an fd of this process.
    pub namespace: i32,
}

/// Changes, to be made one after the other.
#[derive(Debug, Default)]
pub struct Changes(Messages);

fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER_BYTES] {
    let mut header = [0; LINK_HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

const NEW: u16 = flag::CREATE | flag::EXCL | flag::ACK;

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn family(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    family as u8
}

impl Changes {
    /// None yet.
    pub fn new() -> Changes {
        Changes::default()
    }

    /// Makes a bridge, switched off. It does not learn which port wants which multicast: without somebody who asks for
    /// that all of it goes to all ports anyhow, and for each port that comes or goes the kernel would go through the
    /// timers of all others.
    pub fn bridge(&mut self, name: &str, address: [u8; 6], group: u32, mtu: Option<u32>) {
        let m = self.0.begin(RTM_NEWLINK, NEW, &link_header(0, 0, 0));
        m.put_str(IFLA_IFNAME, name)
            .put(IFLA_ADDRESS, &address)
            .put_u32(IFLA_GROUP, group);
        if let Some(mtu) = mtu {
            m.put_u32(IFLA_MTU, mtu);
        }
        m.nest(IFLA_LINKINFO, |m| {
            m.put_str(IFLA_INFO_KIND, "bridge")
                .nest(IFLA_INFO_DATA, |m| {
                    m.put(IFLA_BR_MCAST_SNOOPING, &[0]);
                });
        });
    }

    /// Makes a pair of links, both off.
    pub fn veth(&mut self, veth: &Veth<'_>) {
        // One queue in each direction. The kernel uses no more either, but makes one for each processor first, with a
        // directory of its own, and waits for all processors when it takes them away again.
        let same = |m: &mut Messages| {
            if let Some(mtu) = veth.mtu {
                m.put_u32(IFLA_MTU, mtu);
            }
            m.put_u32(IFLA_NUM_TX_QUEUES, 1)
                .put_u32(IFLA_NUM_RX_QUEUES, 1);
        };
        let m = self.0.begin(RTM_NEWLINK, NEW, &link_header(0, 0, 0));
        m.put_str(IFLA_IFNAME, veth.name);
        m.put_u32(IFLA_GROUP, veth.group);
        if let Some(master) = veth.master {
            m.put_u32(IFLA_MASTER, master);
        }
        same(m);
        m.nest(IFLA_LINKINFO, |m| {
            m.put_str(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |m| {
                m.nest(VETH_INFO_PEER, |m| {
                    m.raw(&link_header(0, 0, 0)).put_str(IFLA_IFNAME, veth.peer);
                    m.put(IFLA_ADDRESS, &veth.peer_address);
                    m.put(IFLA_NET_NS_FD, &veth.namespace.to_ne_bytes());
                    same(m);
                });
            });
        });
    }

    /// Lets a port of a bridge send back what came in by it. To be asked for before the port is switched on: of a link
    /// that is on without a carrier the kernel takes each change to all routes of the host.
    pub fn hairpin(&mut self, name: &str) {
        let m = self
            .0
            .begin(RTM_NEWLINK, flag::ACK, &link_header(0, 0, 0))
            .put_str(IFLA_IFNAME, name);
        m.nest(IFLA_LINKINFO, |m| {
            m.put_str(IFLA_INFO_SLAVE_KIND, "bridge")
                .nest(IFLA_INFO_SLAVE_DATA, |m| {
                    m.put(IFLA_BRPORT_MODE, &[1]);
                });
        });
    }

    /// Switches a link on.
    pub fn up(&mut self, index: u32) {
        self.0
            .begin(RTM_NEWLINK, flag::ACK, &link_header(index, IFF_UP, IFF_UP));
    }

    /// As [`Changes::up`], for one that is known by its name only.
    pub fn up_named(&mut self, name: &str) {
        self.0
            .begin(RTM_NEWLINK, flag::ACK, &link_header(0, IFF_UP, IFF_UP))
            .put_str(IFLA_IFNAME, name);
    }

    /// Makes a link a port of a bridge.
    pub fn master(&mut self, index: u32, bridge: u32) {
        self.0
            .begin(RTM_NEWLINK, flag::ACK, &link_header(index, 0, 0))
            .put_u32(IFLA_MASTER, bridge);
    }

    /// Puts a link in a group.
    pub fn group(&mut self, name: &str, group: u32) {
        let m = self.0.begin(RTM_NEWLINK, flag::ACK, &link_header(0, 0, 0));
        m.put_str(IFLA_IFNAME, name).put_u32(IFLA_GROUP, group);
    }

    /// Removes all links of a group.
    pub fn remove_group(&mut self, group: u32) {
        self.0
            .begin(RTM_DELLINK, flag::ACK, &link_header(0, 0, 0))
            .put_u32(IFLA_GROUP, group);
    }

    /// Removes a link, and its other end with it.
    pub fn remove_link(&mut self, name: &str) {
        self.0
            .begin(RTM_DELLINK, flag::ACK, &link_header(0, 0, 0))
            .put_str(IFLA_IFNAME, name);
    }

    /// Gives a link an address, which can be used at once.
    pub fn address(&mut self, link: u32, ip: IpAddr, prefix: u8) {
        let mut header = [0; ADDRESS_HEADER_BYTES];
        header[0] = family(ip);
        header[1] = prefix;
        header[4..].copy_from_slice(&link.to_ne_bytes());
        let m = self.0.begin(RTM_NEWADDR, NEW, &header);
        m.put(IFA_LOCAL, &octets(ip)).put(IFA_ADDRESS, &octets(ip));
        if ip.is_ipv6() {
            m.put_u32(IFA_FLAGS, IFA_F_NODAD);
        }
    }
}

/// A socket for links, addresses and routes of the namespace in which it was opened.
#[derive(Debug)]
pub struct Rtnl(Socket);

impl Rtnl {
    /// Opens it in this thread's namespace.
    ///
    /// # Errors
    /// As socket(2) says.
    pub fn open() -> Result<Rtnl> {
        Ok(Rtnl(Socket::open(Family::Route)?))
    }

    /// Makes the changes. What is there already is no failure.
    ///
    /// # Errors
    /// What the kernel says of the first that failed; the ones after it were tried.
    pub fn apply(&self, changes: &Changes) -> Result<()> {
        let there = |answer: &Result<()>| *answer == Err(Errno::EEXIST);
        let answers = self.0.exchange(&changes.0)?;
        answers
            .into_iter()
            .find(|a| a.is_err() && !there(a))
            .unwrap_or(Ok(()))
    }

    /// Makes the changes.
    ///
    /// # Errors
    /// What the kernel says of the first that failed, EEXIST included.
    pub fn apply_new(&self, changes: &Changes) -> Result<()> {
        let answers = self.0.exchange(&changes.0)?;
        answers.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    /// Makes the changes. What is not there is no failure.
    ///
    /// # Errors
    /// What the kernel says of the first that failed otherwise.
    pub fn apply_present(&self, changes: &Changes) -> Result<()> {
        let answers = self.0.exchange(&changes.0)?;
        let failed = |answer: &Result<()>| !matches!(answer, Ok(()) | Err(Errno::ENODEV));
        answers.into_iter().find(failed).unwrap_or(Ok(()))
    }

    /// The link of this name.
    ///
    /// # Errors
    /// What the kernel says, except that it is not there.
    pub fn link(&self, name: &str) -> Result<Option<Link>> {
        let mut question = Messages::new();
        question
            .begin(RTM_GETLINK, flag::ACK, &link_header(0, 0, 0))
            .put_str(IFLA_IFNAME, name)
            .put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        match self.0.ask(&question) {
            Err(Errno::ENODEV) => Ok(None),
            other => Ok(other?.iter().find_map(Link::parse)),
        }
    }

    /// The number of the link of this name: all that is needed of it most of the time, and much cheaper.
    ///
    /// # Errors
    /// What the kernel says, except that it is not there.
    pub fn number(&self, name: &str) -> Result<Option<u32>> {
        match rustix::net::netdevice::name_to_index(&self.0, name) {
            Err(rustix::io::Errno::NODEV) => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    /// The namespace that this socket speaks of.
    ///
    /// # Errors
    /// EPERM for who may not configure it.
    pub fn netns(&self) -> Result<Netns> {
        Netns::of_socket(&self.0)
    }

    /// All links.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn links(&self) -> Result<Vec<Link>> {
        let replies = self.dump(RTM_GETLINK, &[0; LINK_HEADER_BYTES])?;
        Ok(replies.iter().filter_map(Link::parse).collect())
    }

    /// Routes of the main table, both families.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn routes(&self) -> Result<Vec<Route>> {
        let replies = self.dump(RTM_GETROUTE, &[0; ROUTE_HEADER_BYTES])?;
        Ok(replies.iter().filter_map(Route::parse).collect())
    }

    /// Addresses of the links: number of the link, address, length of the prefix.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn addresses(&self) -> Result<Vec<(u32, IpAddr, u8)>> {
        let replies = self.dump(RTM_GETADDR, &[0; ADDRESS_HEADER_BYTES])?;
        let parse = |reply: &Reply| {
            let link = u32::from_ne_bytes(reply.body.get(4..8)?.try_into().ok()?);
            let attributes = reply.attributes(ADDRESS_HEADER_BYTES);
            let ip = attributes
                .get(IFA_LOCAL)
                .or_else(|| attributes.get(IFA_ADDRESS))?;
            Some((link, address(ip)?, *reply.body.get(1)?))
        };
        Ok(replies.iter().filter_map(parse).collect())
    }

    /// A dump that no change interrupted, if there is a quiet moment at all.
    fn dump(&self, kind: u16, header: &[u8]) -> Result<Vec<Reply>> {
        let mut question = Messages::new();
        question.begin(kind, flag::DUMP, header);
        self.0.ask(&question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there() {
        let rtnl = Rtnl::open().unwrap();
        let lo = rtnl.link("lo").unwrap().unwrap();
        assert_eq!((lo.index, lo.kind.as_str()), (1, ""));
        assert!(rtnl.links().unwrap().contains(&lo));
        assert_eq!(rtnl.link("no-such-link").unwrap(), None);
        assert_eq!(rtnl.number("lo"), Ok(Some(1)));
        assert_eq!(rtnl.number("no-such-link"), Ok(None));
        rtnl.routes().unwrap();
        rtnl.addresses().unwrap();
    }
}

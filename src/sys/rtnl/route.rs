//! Routes that are to be made.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    Changes, NEW, ROUTE_HEADER_BYTES, RT_SCOPE_LINK, RT_SCOPE_NOWHERE, RT_TABLE_MAIN, RTA_DST,
    RTA_GATEWAY, RTA_OIF, RTA_PRIORITY, RTM_DELROUTE, RTM_NEWROUTE, RTN_UNICAST, RTPROT_STATIC,
    family, flag, octets,
};

/// What becomes of a packet that takes a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// It goes on its way.
    #[default]
    Unicast,
    /// It is dropped.
    Blackhole,
    /// It is refused: nobody is there.
    Unreachable,
    /// It is refused: that is not allowed.
    Prohibit,
}

impl RouteKind {
    /// As rtnetlink(7) has it.
    fn number(self) -> u8 {
        match self {
            RouteKind::Unicast => RTN_UNICAST,
            RouteKind::Blackhole => 6,
            RouteKind::Unreachable => 7,
            RouteKind::Prohibit => 8,
        }
    }
}

impl Changes {
    /// A route to everywhere.
    pub fn default_route(&mut self, gateway: IpAddr, link: u32, metric: Option<u32>) {
        let everywhere = match gateway {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let (gateway, link) = (Some(gateway), Some(link));
        self.route((everywhere, 0), gateway, link, metric, RouteKind::Unicast);
    }

    /// A route to all addresses that begin as `to` does; without a gateway, they are on the link.
    pub fn route(
        &mut self,
        to: (IpAddr, u8),
        gateway: Option<IpAddr>,
        link: Option<u32>,
        metric: Option<u32>,
        kind: RouteKind,
    ) {
        let (prefix, length) = to;
        let scope = match (gateway, link, prefix) {
            (None, Some(_), IpAddr::V4(_)) => RT_SCOPE_LINK,
            _ => 0,
        };
        let header = header(to, scope, kind);
        let m = self.0.begin(RTM_NEWROUTE, NEW, &header);
        if length > 0 {
            m.put(RTA_DST, &octets(prefix));
        }
        if let Some(gateway) = gateway {
            m.put(RTA_GATEWAY, &octets(gateway));
        }
        if let Some(metric) = metric {
            m.put_u32(RTA_PRIORITY, metric);
        }
        if let Some(link) = link {
            m.put_u32(RTA_OIF, link);
        }
    }

    /// Takes back a route that hangs on no link, and so does not go with one.
    pub fn remove_route(&mut self, to: (IpAddr, u8), metric: Option<u32>, kind: RouteKind) {
        let header = header(to, RT_SCOPE_NOWHERE, kind);
        let m = self.0.begin(RTM_DELROUTE, flag::ACK, &header);
        m.put(RTA_DST, &octets(to.0));
        if let Some(metric) = metric {
            m.put_u32(RTA_PRIORITY, metric);
        }
    }
}

fn header(to: (IpAddr, u8), scope: u8, kind: RouteKind) -> [u8; ROUTE_HEADER_BYTES] {
    let mut header = [0; ROUTE_HEADER_BYTES];
    header[0] = family(to.0);
    header[1] = to.1;
    header[4..8].copy_from_slice(&[RT_TABLE_MAIN, RTPROT_STATIC, scope, kind.number()]);
    header
}

//! Flows of UDP through published ports. UDP says no goodbye, so the kernel goes on translating a flow as it began for
//! as long as packets come: to a container that is gone, or past one that has just come.

use super::error::{Error, Result};
use super::host::Host;
use super::intent::Attachment;
use super::port::Proto;
use crate::sys::conntrack::{Conntrack, Flow};

impl Host {
    /// Forgets the flows that went to these containers, whose ports are not published any more.
    pub(super) fn forget_flows_to<'a>(&self, gone: impl Iterator<Item = &'a Attachment>) {
        told(forget(gone, |attachment, flow, container| {
            let (ip, port) = flow.reply.from;
            let ours = attachment.addresses.iter().any(|address| address.ip == ip);
            Ok(ours && port == container)
        }));
    }

    /// Forgets the flows that began when nobody had the ports of these containers, which ended at the host.
    pub(super) fn forget_flows_past<'a>(&self, come: impl Iterator<Item = &'a Attachment>) {
        told(forget(come, |_, flow, _| {
            let untranslated = flow.reply.from == flow.original.to;
            Ok(untranslated && self.has_address(flow.original.to.0)?)
        }));
    }

    fn has_address(&self, ip: std::net::IpAddr) -> Result<bool> {
        let addresses = self.rtnl.addresses();
        let addresses = addresses.map_err(|errno| Error::kernel("addresses of the host", errno))?;
        Ok(addresses.iter().any(|(_, own, _)| *own == ip))
    }
}

/// Containers come and go all the same: what is left ends by itself when a peer is silent for long enough.
fn told(forgotten: Result<()>) {
    if let Err(error) = forgotten {
        log::info!("flows of UDP to published ports stay: {error}");
    }
}

/// Forgets the flows to published ports of which `which` (attachment, flow, port of the container) is true.
fn forget<'a>(
    attachments: impl Iterator<Item = &'a Attachment>,
    which: impl Fn(&Attachment, &Flow, u16) -> Result<bool>,
) -> Result<()> {
    let udp = |one: &&Attachment| one.ports.iter().any(|port| port.proto == Proto::Udp);
    let attachments: Vec<&Attachment> = attachments.filter(udp).collect();
    if attachments.is_empty() {
        return Ok(());
    }
    let failed = |errno| Error::kernel("connection tracking", errno);
    let conntrack = Conntrack::open().map_err(failed)?;
    for ipv4 in [true, false] {
        let mut flows = Vec::new();
        for flow in conntrack.flows(ipv4).map_err(failed)? {
            for attachment in &attachments {
                if let Some(container) = published(attachment, &flow)
                    && which(attachment, &flow, container)?
                {
                    flows.push(flow.clone());
                }
            }
        }
        conntrack.forget(&flows).map_err(failed)?;
    }
    Ok(())
}

/// The port of the container that a flow of UDP to its destination is meant for.
fn published(attachment: &Attachment, flow: &Flow) -> Option<u16> {
    let (ip, port) = flow.original.to;
    let udp = attachment.ports.iter().filter(|mapping| {
        mapping.proto == Proto::Udp
            && flow.original.proto == Proto::Udp.number()
            && mapping.host_ip.is_none_or(|host| host == ip)
    });
    let mut pairs = udp.flat_map(|mapping| mapping.pairs());
    pairs
        .find(|(host, _)| *host == port)
        .map(|(_, container)| container)
}

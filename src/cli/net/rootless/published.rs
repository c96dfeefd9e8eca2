//! Published ports of a plain user, as far as they concern the machine outside of his namespaces.
//!
//! The holder follows the claims of ports. For pasta, which forwards what is listened on inside, it listens on each
//! claimed port; nobody is ever accepted, as the firewall translates before that. slirp4netns it tells.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use super::{Place, slirp};
use crate::cli::failure::Failure;
use crate::net::book::Book;
use crate::net::claims::PortClaim;
use crate::net::decide;
use crate::net::error::Kind;
use crate::net::port::{PortMapping, Proto};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::inotify::Inotify;
use crate::sys::{process, sockets};

/// pasta looks once a second which ports are not listened on any more.
const LINGERING: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// The pause before slirp4netns is told again.
const AGAIN: Duration = Duration::from_millis(200);

/// So often, if nothing else happens.
const TRIES: u32 = 50;

/// Ports of the machine, before the namespaces are entered: they must be free, and the user's to have.
pub(super) fn check(place: &Place, ports: &[PortMapping]) -> Result<(), Failure> {
    let until = Instant::now() + LINGERING;
    for mapping in ports {
        let of_a_container = |(port, _)| {
            let claim = format!("{}-{port}", mapping.proto);
            place.layout().ports().join(claim).exists()
        };
        // Who has it is known inside.
        if mapping.pairs().any(of_a_container) {
            continue;
        }
        loop {
            match decide::probe(mapping, false) {
                Err(error) if error.kind == Kind::Conflict && Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                }
                Err(error) if error.kind == Kind::Permission => {
                    let words = "ports below net.ipv4.ip_unprivileged_port_start are not a plain user's to publish";
                    return Err(Failure::new(5, format!("port {mapping}: {words}")));
                }
                other => break other?,
            }
        }
        if place.slirp().exists() && mapping.host_ip.is_some() {
            log::warn!(
                "port {mapping}: slirp4netns publishes on all addresses or none; from outside it is not reached"
            );
        }
    }
    Ok(())
}

/// Listens on nothing but to be seen.
#[derive(Debug)]
enum Sign {
    Tcp(#[allow(dead_code)] TcpListener), // Held, never read.
    Udp(#[allow(dead_code)] UdpSocket),   // As above.
}

/// Follows the claims until a signal ends this process.
pub(super) fn keep(place: &Place) -> ! {
    if let Err(error) = follow(place) {
        log::error!("published ports are not followed: {error}");
    }
    process::wait_for_the_end()
}

fn follow(place: &Place) -> io::Result<()> {
    let book = Book::open(place.layout()).map_err(io::Error::other)?;
    let inotify = Inotify::new()?;
    let epoll = Epoll::new()?;
    epoll.add(&inotify, 0, Interest::Read)?;
    let mut signs = BTreeMap::new();
    let (mut tokens, mut tries) = (Vec::new(), 0);
    loop {
        // Also the run directory, where a new way out shows itself. What is watched already is so only once.
        for dir in [book.layout.run(), &book.layout.ports()] {
            inotify.watch(dir)?;
        }
        let claims = book.claimed_ports(|dir| drop(inotify.watch(dir)));
        let claims = claims.map_err(io::Error::other)?;
        let mut again = None;
        if place.slirp().exists() {
            signs.clear();
            if let Err(error) = slirp::publish(&place.slirp(), &claims) {
                log::warn!("slirp4netns: {error}");
                // It may not listen yet, or is dead; who starts another one makes another socket.
                tries += 1;
                again = (tries < TRIES).then_some(AGAIN);
            } else {
                tries = 0;
            }
        } else {
            show(&claims, &mut signs);
        }
        epoll.wait(&mut tokens, again)?;
        inotify.take(|_| tries = 0);
    }
}

/// Listens on what is claimed, and on nothing else.
fn show(claims: &[PortClaim], signs: &mut BTreeMap<PortClaim, Vec<Sign>>) {
    signs.retain(|claim, _| claims.contains(claim));
    for claim in claims {
        signs.entry(*claim).or_insert_with(|| listen(*claim));
    }
}

fn listen(claim: PortClaim) -> Vec<Sign> {
    let every: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let addresses = match claim.host_ip {
        Some(ip) => vec![ip],
        None => every.to_vec(),
    };
    let listen = |ip| {
        let address = SocketAddr::new(ip, claim.port);
        match claim.proto {
            Proto::Tcp => sockets::tcp_server(address).map(Sign::Tcp),
            Proto::Udp => sockets::udp_server(address).map(Sign::Udp),
        }
    };
    // Where somebody inside listens already, or there is no IPv6, there is nothing to add.
    addresses
        .into_iter()
        .filter_map(|ip| listen(ip).ok())
        .collect()
}

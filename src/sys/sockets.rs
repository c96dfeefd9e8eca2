//! Sockets as a server on addresses that come and go needs them: none of these calls waits.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// What may wait at a UDP socket of a server, in bytes of the kernel's memory: some thousand datagrams of many clients.
const WAITING: usize = 2 << 20;

/// A UDP socket on an address that this host need not have yet, such as an IPv6 address that is still being checked.
///
/// # Errors
/// As socket(2) and bind(2) say.
pub fn udp_server(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, SocketType::DGRAM)?;
    // Who may not have more than others makes do with that.
    let _ = sockopt::set_socket_recv_buffer_size_force(&socket, WAITING);
    bind(&socket, address)?;
    Ok(socket.into())
}

/// As [`udp_server`], for connections.
///
/// # Errors
/// As socket(2), bind(2) and listen(2) say.
pub fn tcp_server(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// A UDP socket that talks to `peer` only, from a port nobody can guess.
///
/// # Errors
/// As socket(2) and connect(2) say.
pub fn udp_client(peer: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(peer, SocketType::DGRAM)?;
    rustix::net::connect(&socket, &peer)?;
    Ok(socket.into())
}

/// A connection that is being made: writable when it is there or has failed.
///
/// # Errors
/// As socket(2) and connect(2) say.
pub fn tcp_client(peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(peer, SocketType::STREAM)?;
    match rustix::net::connect(&socket, &peer) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = (kind == SocketType::STREAM).then_some(ipproto::TCP);
    Ok(rustix::net::socket_with(family, kind, flags, protocol)?)
}

fn bind(socket: impl AsFd, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => {
            sockopt::set_ipv6_v6only(&socket, true)?;
            sockopt::set_ipv6_freebind(&socket, true)?;
        }
    }
    Ok(rustix::net::bind(&socket, &address)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_nobody_has_yet_can_be_served() {
        let address = "192.0.2.1:0".parse().unwrap();
        assert!(udp_server(address).is_ok());
        assert!(tcp_server(address).is_ok());
    }

    #[test]
    fn nothing_waits() {
        let server = tcp_server("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(
            server.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let client = tcp_client(server.local_addr().unwrap()).unwrap();
        assert!(client.peer_addr().is_ok());
        let server = udp_server("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = udp_client(server.local_addr().unwrap()).unwrap();
        client.send(b"x").unwrap();
        assert_eq!(
            client.recv(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }
}

//! An echo request of ICMP and its answer, by a socket that needs no privilege where the namespace allows it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};

use super::errno::{Errno, Result};
use super::sysctl::Sysctls;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Lets the group of this process ping in this thread's network namespace.
///
/// # Errors
/// As [`Sysctls::set`].
pub fn allow_ping() -> Result<()> {
    let group = rustix::process::getegid().as_raw();
    let range = format!("{group}\t{group}");
    let set = Sysctls::usual()?.set("net/ipv4/ping_group_range", &range);
    set.map(drop)
}

/// Asks `ip` and waits for its answer.
///
/// # Errors
/// EAGAIN when none comes in time; what the network says, such as EHOSTUNREACH.
pub fn ping(ip: Ipv4Addr, patience: Duration) -> Result<()> {
    let (family, flags) = (AddressFamily::INET, SocketFlags::CLOEXEC);
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::ICMP))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
    connect(&socket, &SocketAddrV4::new(ip, 0))?;
    // Checksum and identifier are the kernel's; this is the first of its sequence.
    send(
        &socket,
        &[ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 1],
        SendFlags::empty(),
    )?;
    let mut answer = [0; 64];
    let (len, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    match answer.get(..len) {
        Some([ECHO_REPLY, ..]) => Ok(()),
        _ => Err(Errno::EIO),
    }
}

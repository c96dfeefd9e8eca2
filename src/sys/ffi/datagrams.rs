//! Many datagrams by one call: recvmmsg(2) and sendmmsg(2), the latter with UDP_SEGMENT.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::sys::errno::Result;

/// Messages that one call takes or gives.
pub const MESSAGES_MAX: usize = 64;

/// A message to be sent: its bytes in pieces and, if they are several datagrams, how many bytes each of them has; the
/// last may have fewer.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'a> {
    /// Where to.
    pub peer: SocketAddr,
    /// What.
    pub pieces: &'a [IoSlice<'a>],
    /// Bytes of each datagram.
    pub segment: Option<u16>,
}

/// Room for `struct sockaddr_in` and `struct sockaddr_in6`.
#[repr(C, align(4))]
#[derive(Clone, Copy)]
struct Name([u8; 28]);

/// Bytes of `struct sockaddr_in`.
const NAME4: u32 = 16;
/// Bytes of `struct sockaddr_in6`.
const NAME6: u32 = 28;

impl Name {
    const NONE: Name = Name([0; 28]);

    fn of(address: SocketAddr) -> (Name, u32) {
        let Name(mut bytes) = Name::NONE;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let (family, length) = match address {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, NAME4)
            }
            SocketAddr::V6(v6) => {
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, NAME6)
            }
        };
        bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        (Name(bytes), length)
    }

    fn address(&self) -> Option<SocketAddr> {
        let Name([f0, f1, p0, p1, rest @ ..]) = self;
        let port = u16::from_be_bytes([*p0, *p1]);
        match i32::from(u16::from_ne_bytes([*f0, *f1])) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(*rest.first_chunk::<4>()?);
                Some(SocketAddr::new(IpAddr::V4(ip), port))
            }
            libc::AF_INET6 => {
                let (flow, rest) = rest.split_first_chunk::<4>()?;
                let (ip, scope) = rest.split_first_chunk::<16>()?;
                let scope = u32::from_ne_bytes(*scope.first_chunk()?);
                let flow = u32::from_ne_bytes(*flow);
                let address = SocketAddrV6::new(Ipv6Addr::from(*ip), port, flow, scope);
                Some(SocketAddr::V6(address))
            }
            _ => None,
        }
    }
}

/// The control message that says where a message is to be cut.
#[repr(C)]
#[derive(Clone, Copy)]
struct Segment {
    header: libc::cmsghdr,
    size: u16,
    rest: [u16; 3],
}

fn empty() -> libc::mmsghdr {
    // SAFETY: plain numbers and pointers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// recvmmsg(2) without waiting: fills the first `each` bytes of `rooms` with the first datagram, the next with the
/// second, and adds the length and the sender of each to `arrived`. What is longer than its room is cut.
pub fn recvmmsg(
    socket: BorrowedFd<'_>,
    rooms: &mut [u8],
    each: usize,
    arrived: &mut Vec<(usize, SocketAddr)>,
) -> Result<()> {
    let mut names = [Name::NONE; MESSAGES_MAX];
    let mut pieces = [const { std::mem::MaybeUninit::<libc::iovec>::uninit() }; MESSAGES_MAX];
    let mut messages = [empty(); MESSAGES_MAX];
    let mut count = 0;
    for (room, (message, (name, piece))) in rooms
        .chunks_exact_mut(each)
        .zip(messages.iter_mut().zip(names.iter_mut().zip(&mut pieces)))
    {
        let header = &mut message.msg_hdr;
        header.msg_name = (&raw mut *name).cast();
        header.msg_namelen = size_of::<Name>() as u32;
        header.msg_iov = piece.write(libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: room.len(),
        });
        header.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: each of the first `count` headers points to a name, a piece and a room of its own, all of the lengths
    // given and borrowed until the call is over.
    let ret = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let taken = check(ret.into())?;
    for (message, name) in messages[..taken].iter().zip(&names) {
        // What has no address of the internet came from nowhere: nothing is sent there.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let length = (message.msg_len as usize).min(each);
        arrived.push((length, name.address().unwrap_or(nowhere)));
    }
    Ok(())
}

/// sendmmsg(2) without waiting: how many of the first [`MESSAGES_MAX`] parcels were sent; the error is that of the
/// first.
pub fn sendmmsg(socket: BorrowedFd<'_>, parcels: &[Parcel<'_>]) -> Result<usize> {
    let parcels = &parcels[..parcels.len().min(MESSAGES_MAX)];
    let mut names = [Name::NONE; MESSAGES_MAX];
    let mut segments = [Segment {
        // SAFETY: plain numbers.
        header: unsafe { std::mem::zeroed() },
        size: 0,
        rest: [0; 3],
    }; MESSAGES_MAX];
    let mut messages = [empty(); MESSAGES_MAX];
    for (parcel, (message, (name, segment))) in parcels
        .iter()
        .zip(messages.iter_mut().zip(names.iter_mut().zip(&mut segments)))
    {
        let header = &mut message.msg_hdr;
        let (address, length) = Name::of(parcel.peer);
        *name = address;
        header.msg_name = (&raw mut *name).cast();
        header.msg_namelen = length;
        // IoSlice is struct iovec, as its documentation promises. The kernel only reads what is sent.
        header.msg_iov = parcel.pieces.as_ptr().cast_mut().cast();
        header.msg_iovlen = parcel.pieces.len() as _;
        if let Some(size) = parcel.segment {
            segment.header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<u16>()) as _;
            segment.header.cmsg_level = libc::SOL_UDP;
            segment.header.cmsg_type = libc::UDP_SEGMENT;
            segment.size = size;
            header.msg_control = (&raw mut *segment).cast();
            header.msg_controllen = size_of::<Segment>() as _;
        }
    }
    // SAFETY: each of the headers of `parcels` points to a name, pieces and at most one control message, all of the
    // lengths given and alive until the call is over, which only reads them.
    let ret = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            parcels.len() as u32,
            libc::MSG_DONTWAIT as _,
        )
    };
    check(ret.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_there_and_back() {
        for text in ["10.1.2.3:53", "[fd00::1]:5353"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Name::of(address).0.address(), Some(address));
        }
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 8, 9).into();
        assert_eq!(Name::of(scoped).0.address(), Some(scoped));
        assert_eq!(Name::NONE.address(), None);
    }
}

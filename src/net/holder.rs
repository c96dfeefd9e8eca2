//! Which process has a port: looked up in /proc when somebody is to be told, and never before.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::port::Proto;

/// The state of a TCP socket that listens, in /proc/net/tcp.
const LISTENS: &str = "0A";

/// A process that is not shown to this user.
pub const UNKNOWN: &str = "a process";

/// Who has a port of this network namespace on an address, or with none on any: `process 12 (name)`. Others' processes
/// are not shown to a plain user, so he may hear of [`UNKNOWN`] only.
pub fn of(proto: Proto, ip: Option<IpAddr>, port: u16) -> String {
    let sockets = ["", "6"].map(|family| format!("/proc/thread-self/net/{proto}{family}"));
    let holds = |line: &&str| holds(line, proto, ip, port);
    let inode = sockets.iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        let line = table.lines().find(holds)?;
        line.split_whitespace().nth(9).map(str::to_string)
    });
    let found = inode.and_then(|inode| process_with(Path::new(&format!("socket:[{inode}]"))));
    found.unwrap_or_else(|| UNKNOWN.into())
}

/// Is it podman's monitor, which keeps the published ports of its container from others, and answers on none?
pub fn is_monitor(who: &str) -> bool {
    who.ends_with("(conmon)")
}

/// Is this line of /proc/net/tcp or udp about a socket that has the port there?
fn holds(line: &str, proto: Proto, wanted: Option<IpAddr>, port: u16) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let Some((ip, own)) = words.next().and_then(address) else {
        return false;
    };
    let state = words.nth(1);
    let meets = |wanted: IpAddr| ip.is_unspecified() || ip == wanted;
    own == port && wanted.is_none_or(meets) && (proto == Proto::Udp || state == Some(LISTENS))
}

/// `0100007F:0035`: each word of an address as this processor has it in memory.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let word = |n: usize| {
        Some(
            u32::from_str_radix(ip.get(8 * n..8 * n + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        _ => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            IpAddr::from(<[u8; 16]>::try_from(words).ok()?).to_canonical()
        }
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?))
}

fn process_with(socket: &Path) -> Option<String> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    // Not `self`, which is a name of another.
    let mut processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut links = files
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| link == socket)
    };
    let pid = processes.find(has)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("process {pid} ({})", name.trim().escape_debug()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_process_is_found_by_its_port() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::]:0").unwrap();
        let ours = format!("process {} (", std::process::id());
        let of = |proto, ip: Option<&str>, port| of(proto, ip.map(|ip| ip.parse().unwrap()), port);
        let port = tcp.local_addr().unwrap().port();
        for ip in [None, Some("127.0.0.1")] {
            assert!(of(Proto::Tcp, ip, port).starts_with(&ours));
        }
        assert_eq!(of(Proto::Tcp, Some("127.0.0.2"), port), "a process");
        // Who listens on every address has each of them.
        let port = udp.local_addr().unwrap().port();
        for ip in ["127.0.0.2", "::1", "192.0.2.1"] {
            assert!(of(Proto::Udp, Some(ip), port).starts_with(&ours), "{ip}");
        }
    }

    #[test]
    fn lines_of_the_kernel() {
        let line =
            "  0: 0100007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 77 1";
        let at = |ip: &str| Some(ip.parse().unwrap());
        assert!(holds(line, Proto::Tcp, at("127.0.0.1"), 53));
        assert!(!holds(line, Proto::Tcp, at("127.0.0.2"), 53));
        assert!(!holds(line, Proto::Tcp, None, 54));
        let connected = line.replace(" 0A ", " 01 ");
        assert!(!holds(&connected, Proto::Tcp, None, 53));
        assert!(holds(&connected, Proto::Udp, None, 53));
        assert!(!holds(
            "  sl  local_address rem_address   st",
            Proto::Tcp,
            None,
            53
        ));
    }
}

//! A host of its own: a network and mount namespace, bridges, the run directory, and a responder.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use plyfs::net::book::Book;
use plyfs::net::intent::{Address, Attachment, Key, Mac};
use plyfs::net::layout::Layout;
use plyfs::net::network::{Network, Subnet};
use rustix::process::{Pid, Signal};

use crate::support::env::{Scratch, cannot_run, isolated};
use crate::support::ffi;

/// Longer waits mean that it will never happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` on a fresh host, or says why it cannot.
pub fn on_host(name: &str, test: impl FnOnce(&Host) + Send) {
    if !rustix::process::geteuid().is_root() {
        return cannot_run(name, "needs root (network namespaces)");
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return cannot_run(name, "iproute2 is not installed");
    }
    isolated(|| {
        ffi::unshare_network().unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        test(&Host::new());
    });
}

pub fn run(program: &str, args: &[&str]) {
    let ran = Command::new(program).args(args).output().unwrap();
    let words = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{program} {args:?}: {words}");
}

pub struct Host {
    scratch: Scratch,
    pub book: Book,
}

impl Host {
    fn new() -> Host {
        let scratch = Scratch::new();
        let layout = Layout::new(&scratch.path().join("root"), &scratch.path().join("run"));
        let host = Host {
            scratch,
            book: Book::open(layout).unwrap(),
        };
        fs::write(host.at("resolv.conf"), "").unwrap();
        rustix::mount::mount_bind(host.at("resolv.conf"), "/etc/resolv.conf").unwrap();
        host
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The host's own resolvers from now on.
    pub fn resolvers(&self, servers: &[&str]) {
        let lines: Vec<_> = servers
            .iter()
            .map(|server| format!("nameserver {server}\n"))
            .collect();
        fs::write("/etc/resolv.conf", lines.concat()).unwrap();
    }

    /// A network with these ranges, its bridge and its gateways.
    pub fn network(&self, name: &str, ranges: &[&str]) -> Network {
        let bridge = format!("br-{name}");
        run("ip", &["link", "add", &bridge, "type", "bridge"]);
        let subnet = |range: &&str| {
            let range: ipnet::IpNet = range.parse().unwrap();
            // Of IPv6, the first is the range itself.
            let gateway = range.hosts().nth(range.network().is_ipv6().into()).unwrap();
            let address = format!("{gateway}/{}", range.prefix_len());
            run("ip", &["addr", "add", &address, "dev", &bridge, "nodad"]);
            Subnet {
                range,
                gateway,
                lease_range: None,
            }
        };
        let network = Network {
            routes: Vec::new(),
            metric: None,
            name: name.into(),
            subnets: ranges.iter().map(subnet).collect(),
            bridge: bridge.clone(),
            internal: false,
            isolate: true,
            mtu: None,
            dns: true,
            dns_servers: Vec::new(),
            firewall: Default::default(),
            labels: Default::default(),
        };
        run("ip", &["link", "set", &bridge, "up"]);
        fs::create_dir_all(self.book.layout.attachments(name)).unwrap();
        self.write_network(&network);
        network
    }

    pub fn write_network(&self, network: &Network) {
        let path = self.book.layout.live_network(&network.name);
        plyfs::net::book::write(&path, network, false).unwrap();
    }

    /// Attaches a container, as far as names are concerned.
    pub fn attach(&self, network: &str, name: &str, aliases: &[&str], addresses: &[&str]) -> Key {
        let address = |ip: &&str| Address {
            ip: ip.parse().unwrap(),
            prefix: 24,
            gateway: IpAddr::from([0; 4]),
        };
        let mut attachment = Attachment {
            key: Key::new(network, name),
            name: name.into(),
            aliases: aliases.iter().map(|alias| alias.to_string()).collect(),
            netns: "/proc/self/ns/net".into(),
            netns_inode: 1,
            host_interface: "veth".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: addresses.iter().map(address).collect(),
            ports: Vec::new(),
            firewall: Default::default(),
            no_route: false,
            labels: Default::default(),
            links: Vec::new(),
            linked_by: Vec::new(),
            leaving: false,
            done: false,
        };
        let flying = self.book.begin(&attachment).unwrap();
        attachment.done = true;
        self.book.done(&attachment).unwrap();
        drop(flying);
        attachment.key
    }

    pub fn detach(&self, key: &Key) {
        self.book.hold(key).unwrap().unwrap().forget().unwrap();
    }

    /// `plynet` for this host.
    pub fn plynet(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plynet"));
        command.arg("--root").arg(self.book.layout.root());
        command.arg("--run").arg(self.book.layout.run()).args(args);
        command
    }

    /// A responder that ends with the value.
    pub fn serve(&self) -> Serving {
        let child = self
            .plynet(&["dns", "serve", "--foreground"])
            .spawn()
            .unwrap();
        Serving(child)
    }

    /// Who serves names.
    pub fn responder(&self) -> Option<u32> {
        plyfs::net::dns::life::alive(&self.book.layout).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A daemon that a test has started and not ended.
        if let Ok(Some(pid)) = plyfs::net::dns::life::alive(&self.book.layout) {
            kill(pid);
        }
    }
}

pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Waits for something that must happen.
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A responder in the foreground.
pub struct Serving(Child);

impl Serving {
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// --- asking ----------------------------------------------------------------------------------------------------------

pub fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

pub fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

pub fn socket(server: &str) -> UdpSocket {
    let server = SocketAddr::new(server.parse().unwrap(), 53);
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks by UDP, and tries again while nobody listens.
pub fn by_udp(server: &str, message: &Message) -> Message {
    let socket = socket(server);
    let bytes = message.to_vec().unwrap();
    let mut buffer = [0; 65535];
    let mut length = None;
    until("a reply by UDP", || {
        length = socket
            .send(&bytes)
            .and_then(|_| socket.recv(&mut buffer))
            .ok();
        length.is_some()
    });
    let reply = Message::from_vec(&buffer[..length.unwrap()]).unwrap();
    assert_eq!(reply.id, message.id);
    reply
}

pub fn tcp(server: &str) -> TcpStream {
    let stream = TcpStream::connect((server, 53)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn send_tcp(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &bytes].concat()).unwrap();
}

pub fn read_tcp(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap()
}

/// The answer by UDP in words: its code unless all is well, and the data of its records.
pub fn ask(server: &str, name: &str, kind: RecordType) -> String {
    words(&by_udp(server, &question(name, kind)))
}

pub fn words(reply: &Message) -> String {
    let data: Vec<_> = reply
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    match (reply.response_code, data.join(" ")) {
        (hickory_proto::op::ResponseCode::NoError, data) => data,
        (code, data) => format!("{code:?}{data}"),
    }
}

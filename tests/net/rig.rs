//! A host of its own, containers (a network namespace is all of a container that matters here), and an outside.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use plyfs::sys::netns::Netns;
use plyfs::sys::sysctl::Sysctls;
use rustix::process::{Pid, Signal};

use crate::support::env::{Scratch, cannot_run, isolated};
use crate::support::{ffi, userns};

/// What gets through arrives within this time; what does not is waited for so long.
pub const PATIENCE: Duration = Duration::from_millis(1500);

/// Addresses of the host and of the outside on the link between them.
pub const HOST: &str = "192.0.2.1";
pub const OUTSIDE: &str = "192.0.2.2";
pub const HOST6: &str = "2001:db8::1";
pub const OUTSIDE6: &str = "2001:db8::2";

/// Runs `test` on a fresh host, or says why it cannot.
pub fn on_host(name: &str, test: impl FnOnce(&Host) + Send) {
    let root = rustix::process::geteuid().is_root();
    if !root {
        return cannot_run(name, "needs root (network namespaces)");
    }
    if let Some(missing) = ["ip", "nft"]
        .into_iter()
        .find(|p| Command::new(p).arg("-V").output().is_err())
    {
        return cannot_run(
            name,
            &format!("{missing} is not installed (iproute2, nftables)"),
        );
    }
    isolated(|| {
        ffi::unshare_network().unwrap();
        // Inside of a user namespace, /sys and /proc of the machine show what this user may see of this namespace.
        run("ip", &["link", "set", "lo", "up"]);
        test(&Host::new());
    });
}

/// Is there iptables? Says so if not.
pub fn has_iptables(name: &str) -> bool {
    let has = Command::new("iptables").arg("-V").output().is_ok();
    if !has {
        cannot_run(name, "iptables is not installed");
    }
    has
}

/// Runs a program of the system; what it said.
pub fn run(program: &str, args: &[&str]) -> String {
    let ran = Command::new(program).args(args).output().unwrap();
    let words = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{program} {args:?}: {words}");
    String::from_utf8(ran.stdout).unwrap()
}

/// A network namespace with a name.
pub struct Container {
    pub name: String,
    pub netns: Netns,
}

impl Container {
    /// The file that stands for the namespace, as long as the container lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.number()).into()
    }

    /// Does something in the namespace.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.netns.within(work).unwrap()
    }

    /// Answers every connection to this port, until the test ends, with its name and the address it sees.
    pub fn serve(&self, port: u16) {
        let name = self.name.clone();
        let listener = self.within(|| TcpListener::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let peer = stream
                    .peer_addr()
                    .map(|peer| peer.ip().to_canonical().to_string());
                let _ = stream.write_all(format!("{name} {}", peer.unwrap_or_default()).as_bytes());
                // What was asked must be read, or the end is a reset.
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
    }

    /// Answers datagrams likewise.
    pub fn serve_udp(&self, port: u16) {
        let name = self.name.clone();
        let socket = self.within(|| UdpSocket::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(name.as_bytes(), peer);
            }
        });
    }

    /// What the other end says first; none if there is no way.
    pub fn get(&self, ip: &str, port: u16) -> Option<String> {
        self.within(|| get(ip, port))
    }
}

/// As [`Container::get`], from the host.
pub fn get(ip: &str, port: u16) -> Option<String> {
    let address = SocketAddr::new(ip.parse().unwrap(), port);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who forwards connections may do so only when something is said.
    let _ = stream.write_all(b"?");
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// As [`get`], by UDP.
pub fn get_udp(ip: &str, port: u16) -> Option<String> {
    let ip: IpAddr = ip.parse().unwrap();
    let any = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"?", (ip, port)).ok()?;
    let mut buffer = [0; 64];
    let (len, _) = socket.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

pub struct Host {
    scratch: Scratch,
    run_dirs: RefCell<Vec<PathBuf>>,
}

impl Host {
    fn new() -> Host {
        Host {
            scratch: Scratch::new(),
            run_dirs: RefCell::new(Vec::new()),
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A namespace, not attached to anything.
    pub fn container(&self, name: &str) -> Container {
        Container {
            name: name.into(),
            netns: Netns::create().unwrap(),
        }
    }

    /// A container that is attached; what it was told comes with it.
    pub fn attached(&self, network: &str, name: &str, more: &[&str]) -> (Container, String) {
        let container = self.container(name);
        let told = self.attach(network, &container, more);
        (container, told)
    }

    pub fn attach(&self, network: &str, container: &Container, more: &[&str]) -> String {
        self.ok(&[&self.attach_words(network, container)[..], &words(more)].concat())
    }

    pub fn attach_words(&self, network: &str, container: &Container) -> Vec<String> {
        let path = container.path().to_string_lossy().into_owned();
        words(&[
            "attach",
            network,
            "--name",
            &container.name,
            "--netns",
            &path,
        ])
    }

    /// `plynet` for this host.
    pub fn plynet<T: AsRef<str>>(&self, args: &[T]) -> Command {
        let mut command = Command::new(program());
        command
            .arg("--root")
            .arg(self.at("root"))
            .arg("--run")
            .arg(self.at("run"));
        if !self.run_dirs.borrow().contains(&self.at("run")) {
            self.run_dirs.borrow_mut().push(self.at("run"));
        }
        command.args(args.iter().map(AsRef::as_ref));
        command
    }

    pub fn output<T: AsRef<str>>(&self, args: &[T]) -> Output {
        self.plynet(args).output().unwrap()
    }

    /// Runs plynet, which succeeds; what it says, without the end of the line.
    pub fn ok<T: AsRef<str>>(&self, args: &[T]) -> String {
        let out = self.output(args);
        let (said, complained) = (text(&out.stdout), text(&out.stderr));
        let shown: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        assert!(
            out.status.success(),
            "plynet {shown:?}: {} {said} {complained}",
            out.status
        );
        said.trim_end().to_string()
    }

    /// Runs plynet, which fails with this code; its one line.
    pub fn fails<T: AsRef<str>>(&self, code: i32, args: &[T]) -> String {
        let out = self.output(args);
        let complained = text(&out.stderr);
        let shown: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        assert_eq!(
            out.status.code(),
            Some(code),
            "plynet {shown:?}: {complained}"
        );
        assert!(
            complained.starts_with("plynet: ") && complained.lines().count() == 1,
            "{shown:?}: {complained}"
        );
        complained.trim_end().to_string()
    }

    /// Runs plynet, which fails with a report on standard output.
    pub fn fails_quietly<T: AsRef<str>>(&self, args: &[T]) {
        let out = self.output(args);
        assert_eq!(
            out.status.code(),
            Some(1),
            "{}{}",
            text(&out.stdout),
            text(&out.stderr)
        );
    }

    /// A neighbour that is no container, with a route for each family to the host.
    pub fn outside(&self) -> Container {
        let outside = self.container("outside");
        run(
            "ip",
            &["link", "add", "up0", "type", "veth", "peer", "name", "out0"],
        );
        let path = outside.path();
        run(
            "ip",
            &["link", "set", "out0", "netns", &path.to_string_lossy()],
        );
        for (address, device) in [
            (format!("{HOST}/24"), "up0"),
            (format!("{HOST6}/64"), "up0"),
        ] {
            run("ip", &["addr", "add", &address, "dev", device, "nodad"]);
        }
        let quick = |link: &str| {
            // Its own address is good at once.
            let sysctls = Sysctls::usual().unwrap();
            sysctls
                .set(&format!("net/ipv6/conf/{link}/accept_dad"), "0")
                .unwrap();
            run("ip", &["link", "set", link, "up"]);
        };
        quick("up0");
        outside.within(|| {
            for address in [format!("{OUTSIDE}/24"), format!("{OUTSIDE6}/64")] {
                run("ip", &["addr", "add", &address, "dev", "out0", "nodad"]);
            }
            run("ip", &["link", "set", "lo", "up"]);
            quick("out0");
        });
        outside
    }

    /// Links of the host besides the loopback and those of the outside.
    pub fn links(&self) -> Vec<String> {
        let all = run("ip", &["-brief", "link"]);
        let names = all.lines().filter_map(|line| line.split(['@', ' ']).next());
        names
            .filter(|name| !["lo", "up0"].contains(name))
            .map(str::to_string)
            .collect()
    }

    pub fn ruleset(&self) -> String {
        run("nft", &["list", "ruleset"])
    }

    /// What is left of the run directory, besides the files that belong to the host itself.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for dir in ["net", "port"] {
            let dir = self.at("run").join(dir);
            if !dir.exists() {
                continue;
            }
            left.extend(
                fs::read_dir(dir)
                    .unwrap()
                    .map(|entry| entry.unwrap().path().display().to_string()),
            );
        }
        left
    }

    /// Nothing is in the kernel, nothing in the run directory, and plynet finds that right.
    pub fn is_clean(&self) {
        assert_eq!(self.links(), Vec::<String>::new());
        assert_eq!(self.ruleset(), "");
        assert_eq!(self.left(), Vec::<String>::new());
        assert_eq!(self.ok(&["doctor"]), "all is well");
    }

    /// As [`Host::is_clean`], where iptables has left its own tables, but none of our chains.
    pub fn is_clean_of_iptables(&self) {
        let left = run("iptables-save", &[]) + &run("ip6tables-save", &[]);
        assert!(!left.contains("PLY"), "{left}");
        assert_eq!(self.links(), Vec::<String>::new());
        assert_eq!(self.left(), Vec::<String>::new());
        assert_eq!(self.ok(&["doctor"]), "all is well");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A responder that a test has started and not ended.
        for run in self.run_dirs.borrow().iter() {
            let layout = plyfs::net::layout::Layout::new(run, run);
            if let Ok(Some(pid)) = plyfs::net::dns::life::alive(&layout) {
                let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The program under test; elsewhere for a user who cannot reach where it was built.
pub fn program() -> PathBuf {
    match userns::is_inside() {
        true => userns::program().with_file_name("plynet"),
        false => env!("CARGO_BIN_EXE_plynet").into(),
    }
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// br_netfilter sees what stays on a bridge, or not; where the kernel has none, nothing to switch.
pub fn bridge_netfilter(on: bool) {
    for name in [
        "net/bridge/bridge-nf-call-iptables",
        "net/bridge/bridge-nf-call-ip6tables",
    ] {
        let _ = Sysctls::usual()
            .unwrap()
            .set(name, if on { "1" } else { "0" });
    }
}

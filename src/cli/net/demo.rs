//! `plynet demo`: two containers, a host, and a neighbour outside, all in fresh namespaces. Nothing of it is to be seen
//! on the machine, and nothing is left.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::cli::failure::{Failure, reason};
use crate::net::dns::client;
use crate::net::dns::life::Starter;
use crate::net::error::Error;
use crate::net::host::Host;
use crate::net::intent::{Intent, Report};
use crate::net::network::DEFAULT_NETWORK;
use crate::sys::errno::Errno;
use crate::sys::netns::Netns;
use crate::sys::rtnl::{Changes, Rtnl, Veth};
use crate::sys::{ping, process};

const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PATIENCE: Duration = Duration::from_secs(3);
const LOOPBACK: u32 = 1;

/// Shows it.
///
/// # Errors
/// One line that says what did not work.
pub fn run() -> Result<u8, Failure> {
    let namespace = "a network namespace for the demo";
    if process::effective_ids().0 == 0 {
        let host = Netns::create().and_then(|fresh| fresh.enter());
        host.map_err(|errno| Error::kernel(namespace, errno))?;
    } else {
        process::enter_own_network().map_err(|errno| Error::kernel(namespace, errno))?;
    }
    let scratch = scratch()?;
    let outcome = show(scratch.path());
    scratch
        .close()
        .map_err(|error| Failure::failed(format!("scratch directory: {error}")))?;
    outcome.map(|()| 0)
}

/// A directory that is ours, at the first place that lets us have one: who changes to another user may have kept a
/// TMPDIR that is not his.
fn scratch() -> Result<TempDir, Failure> {
    let usual = std::env::temp_dir();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let others = ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from);
    let made = tempfile::tempdir_in(&usual);
    let mut others = runtime.into_iter().chain(others);
    made.or_else(|error| {
        others
            .find_map(|dir| tempfile::tempdir_in(dir).ok())
            .ok_or(error)
    })
    .map_err(|error| {
        let why = format!("{} (TMPDIR can name another)", reason(&error));
        Failure::at("scratch directory in", &usual, why)
    })
}

fn show(dir: &Path) -> Result<(), Failure> {
    let mut host = Host::open(&dir.join("root"), &dir.join("run"))?;
    host.starter = std::env::current_exe()
        .ok()
        .map(|program| Starter { program });
    let outside = neighbour().map_err(|errno| Error::kernel("the neighbour", errno))?;
    let (web, db) = (container()?, container()?);
    let mut intent = Intent::new(DEFAULT_NETWORK, "web", path(&web));
    intent.ports = vec!["8080:80".parse()?];
    let intents = [intent, Intent::new(DEFAULT_NETWORK, "db", path(&db))];
    for report in host.attach(&intents)? {
        println!("{}", attached(&report));
    }
    serve(&web)?;
    let gateway = host.book.network(DEFAULT_NETWORK)?.gateways().next();
    let gateway = gateway.ok_or_else(|| Failure::failed("the network has no gateway"))?;
    let ip = within(&db, || resolve(gateway, "web"))??;
    within(&db, || {
        ping::allow_ping().and_then(|()| ping::ping(ip, PATIENCE))
    })?
    .map_err(|errno| Failure::failed(format!("db pings web: {errno}")))?;
    println!("db pings web by name: {ip} answers");
    println!("db asks web: {}", within(&db, || get(ip, 80))??);
    println!(
        "outside asks {HOST}:8080: {}",
        within(&outside, || get(HOST, 8080))??
    );
    println!(
        "the host asks 127.0.0.1:8080: {}",
        get(Ipv4Addr::LOCALHOST, 8080)?
    );
    let unpublished = within(&outside, || get(ip, 80))?;
    println!(
        "outside asks {ip}:80: {}",
        if unpublished.is_err() {
            "no way"
        } else {
            "an answer!"
        }
    );
    for intent in &intents {
        host.detach(&intent.key)?;
    }
    let findings = host.reconcile(true)?;
    println!(
        "detached; left behind: {}",
        if findings.is_empty() {
            "nothing"
        } else {
            "something"
        }
    );
    Ok(())
}

fn attached(report: &Report) -> String {
    let addresses: Vec<String> = report
        .addresses
        .iter()
        .map(|address| address.ip.to_string())
        .collect();
    let ports: Vec<String> = report
        .ports
        .iter()
        .map(|port| format!(", publishes {port}"))
        .collect();
    format!(
        "{} is on network {}: {}{}",
        report.name,
        report.network,
        addresses.join(" "),
        ports.concat()
    )
}

fn container() -> Result<Netns, Failure> {
    Ok(Netns::create()
        .map_err(|errno| Error::kernel("a network namespace for a container", errno))?)
}

fn path(netns: &Netns) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), netns.number())
}

fn within<T>(netns: &Netns, work: impl FnOnce() -> T) -> Result<T, Failure> {
    Ok(netns
        .within(work)
        .map_err(|errno| Error::kernel("network namespace", errno))?)
}

/// Somebody on a wire to the host, who has no part in its networks.
fn neighbour() -> Result<Netns, Errno> {
    let outside = Netns::create()?;
    let rtnl = Rtnl::open()?;
    let mut changes = Changes::new();
    changes.up(LOOPBACK);
    changes.veth(&Veth {
        name: "up0",
        master: None,
        group: 0,
        mtu: None,
        peer: "out0",
        peer_address: [2, 0, 0, 0, 0, 2],
        namespace: outside.number(),
    });
    rtnl.apply_new(&changes)?;
    dress(&rtnl, "up0", HOST, None)?;
    outside.within(|| dress(&Rtnl::open()?, "out0", OUTSIDE, Some(HOST)))??;
    Ok(outside)
}

fn dress(rtnl: &Rtnl, link: &str, ip: Ipv4Addr, gateway: Option<Ipv4Addr>) -> Result<(), Errno> {
    let index = rtnl.link(link)?.ok_or(Errno::ENODEV)?.index;
    let mut changes = Changes::new();
    changes.address(index, ip.into(), 24);
    changes.up(index);
    if let Some(gateway) = gateway {
        changes.default_route(gateway.into(), index, None);
    }
    rtnl.apply(&changes)
}

/// Answers on port 80 of a container, until this process ends.
fn serve(netns: &Netns) -> Result<(), Failure> {
    let bound = within(netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)))?;
    let listener = bound.map_err(|error| Failure::failed(format!("port 80 of web: {error}")))?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream
                .peer_addr()
                .map(|peer| peer.ip().to_string())
                .unwrap_or_default();
            // Who asked may be gone.
            let _ = stream.write_all(format!("hello {peer}, I am web").as_bytes());
        }
    });
    Ok(())
}

fn resolve(gateway: IpAddr, name: &str) -> Result<Ipv4Addr, Failure> {
    let found = client::ask(gateway, name, "A")?;
    let address = found.iter().find_map(|record| record.data.parse().ok());
    address.ok_or_else(|| Failure::new(3, format!("no address by the name {name}")))
}

fn get(ip: Ipv4Addr, port: u16) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{ip}:{port}: {error}"));
    let address = SocketAddr::from((ip, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

//! The firewall by iptables, for hosts whose other rules are there: chains `PLY` in the tables raw, nat and filter.
//!
//! Unlike nf_tables there are no maps, so each call writes our chains anew from what is at rest, by one
//! `iptables-restore --noflush` for each family. Chains of others are not touched, but for one jump to ours at the top.
//! `PLY-USER` is made once and never written. Invariant: rendering and writing happen under one lock, so the last to
//! write has seen what all others have put at rest.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use super::book::Book;
use super::error::{Error, Kind, Result};
use super::intent::{Attachment, Key};
use super::network::{Firewall, Network};
use crate::sys::process;

/// Where a packet is sent to our chains: table, chain, what it must be, our chain.
const JUMPS: [(&str, &str, &str, &str); 5] = [
    ("raw", "PREROUTING", "", "PLY"),
    ("nat", "PREROUTING", "-m addrtype --dst-type LOCAL", "PLY"),
    ("nat", "OUTPUT", "-m addrtype --dst-type LOCAL", "PLY"),
    ("nat", "POSTROUTING", "", "PLY-POST"),
    ("filter", "FORWARD", "", "PLY"),
];

/// A network by iptables with its attachments.
type Live = (Network, Vec<Attachment>);

/// Writes the chains as they should be now; `leaving` does not count any more. Without any network of iptables, they
/// and the jumps to them go.
///
/// # Errors
/// Unsupported where there is no iptables; what it says.
pub fn sync(book: &Book, leaving: Option<&Key>) -> Result<()> {
    let _writing = book.write_firewall()?;
    let mut live = Vec::new();
    for name in book.live()? {
        let Some(network) = book.find_network(&name)? else {
            continue;
        };
        let mut attachments = book.attachments(&name)?;
        attachments.retain(|one| !one.leaving && Some(&one.key) != leaving);
        if network.firewall == Firewall::Iptables && !attachments.is_empty() {
            live.push((network, attachments));
        }
    }
    for v4 in [true, false] {
        let has = |(network, _): &Live| {
            network
                .subnets
                .iter()
                .any(|subnet| subnet.gateway.is_ipv4() == v4)
        };
        if live.iter().any(has) {
            if !jumps(v4, "-C", true) {
                make(v4)?;
            }
            restore(v4, &render(&live, v4))?;
        } else if jumps(v4, "-C", false) {
            unmake(v4)?;
        }
    }
    Ok(())
}

fn program(v4: bool, name: &str) -> String {
    format!("{}{name}", if v4 { "iptables" } else { "ip6tables" })
}

/// Does this to the jumps; whether to all, or at least to one.
fn jumps(v4: bool, verb: &str, all: bool) -> bool {
    let mut done = JUMPS.iter().map(|(table, chain, test, ours)| {
        let words = format!("-w -t {table} {verb} {chain} {test} -j {ours}");
        quietly(v4, &words)
    });
    if all {
        done.all(|done| done)
    } else {
        done.any(|done| done)
    }
}

fn quietly(v4: bool, words: &str) -> bool {
    let mut command = process::program(program(v4, ""));
    command
        .args(words.split_ascii_whitespace())
        .stdin(Stdio::null());
    command.output().is_ok_and(|out| out.status.success())
}

/// Makes chains and jumps, where they are missing.
fn make(v4: bool) -> Result<()> {
    for words in [
        "-t raw -N PLY",
        "-t nat -N PLY",
        "-t nat -N PLY-POST",
        "-N PLY",
        "-N PLY-USER",
    ] {
        // It may be there; if it cannot be made, writing it fails below.
        quietly(v4, &format!("-w {words}"));
    }
    for (table, chain, test, ours) in JUMPS {
        if !quietly(v4, &format!("-w -t {table} -C {chain} {test} -j {ours}")) {
            run(
                v4,
                "",
                &format!("-w -t {table} -I {chain} {test} -j {ours}"),
                "",
            )?;
        }
    }
    Ok(())
}

fn unmake(v4: bool) -> Result<()> {
    for (table, chain, test, ours) in JUMPS {
        while quietly(v4, &format!("-w -t {table} -D {chain} {test} -j {ours}")) {}
    }
    let chains = [
        "*raw\n-F PLY\n-X PLY\nCOMMIT",
        "*nat\n-F PLY\n-F PLY-POST\n-X PLY\n-X PLY-POST\nCOMMIT",
        "*filter\n-F PLY\n-X PLY\nCOMMIT\n",
    ];
    restore(v4, &chains.join("\n"))?;
    // With rules of the user in it, it stays.
    quietly(v4, "-w -X PLY-USER");
    Ok(())
}

fn restore(v4: bool, text: &str) -> Result<()> {
    run(v4, "-restore", "--noflush --wait", text)
}

fn run(v4: bool, name: &str, words: &str, input: &str) -> Result<()> {
    let program = program(v4, name);
    let failed = |why: String| Error::new(Kind::Other, format!("{program}: {why}"));
    let mut command: Command = process::program(&program);
    command
        .args(words.split_ascii_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(Kind::Unsupported, format!("{program} is not installed"))
        }
        _ => failed(error.to_string()),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input.as_bytes())
            .map_err(|error| failed(error.to_string()))?;
    }
    let out = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(failed(
            String::from_utf8_lossy(&out.stderr)
                .trim()
                .replace('\n', " "),
        )),
    }
}

/// All our chains, for one family.
fn render(live: &[Live], v4: bool) -> String {
    let mut raw = String::from("*raw\n:PLY - [0:0]\n");
    let mut nat = String::from("*nat\n:PLY - [0:0]\n:PLY-POST - [0:0]\n");
    let mut filter = String::from("*filter\n:PLY - [0:0]\n-A PLY -j PLY-USER\n");
    for (network, attachments) in live {
        let bridge = &network.bridge;
        if v4 {
            line(
                &mut raw,
                format_args!("-A PLY -i {bridge} -d 127.0.0.0/8 -j DROP"),
            );
        }
        translate(&mut nat, network, v4);
        attachments
            .iter()
            .for_each(|attachment| publish(&mut nat, attachment, v4));
        forward(&mut filter, network, live);
    }
    // Only after all that may not go to another network.
    for (network, _) in live {
        line(
            &mut filter,
            format_args!("-A PLY -i {} -j ACCEPT", network.bridge),
        );
    }
    format!("{raw}COMMIT\n{nat}COMMIT\n{filter}COMMIT\n")
}

fn translate(nat: &mut String, network: &Network, v4: bool) {
    let bridge = &network.bridge;
    if v4 {
        line(
            nat,
            format_args!("-A PLY-POST -s 127.0.0.0/8 -o {bridge} -j MASQUERADE"),
        );
    }
    for subnet in network
        .subnets
        .iter()
        .filter(|subnet| subnet.gateway.is_ipv4() == v4)
    {
        let (range, gateway) = (subnet.range, subnet.gateway);
        for proto in ["udp", "tcp"] {
            line(
                nat,
                format_args!("-A PLY -i {bridge} -d {gateway} -p {proto} --dport 53 -j RETURN"),
            );
        }
        if !network.internal {
            let published = "-m conntrack --ctstate DNAT";
            line(
                nat,
                format_args!("-A PLY-POST -s {range} -d {range} {published} -j MASQUERADE"),
            );
            line(
                nat,
                format_args!("-A PLY-POST -s {range} ! -o {bridge} -j MASQUERADE"),
            );
        }
    }
}

fn forward(filter: &mut String, network: &Network, live: &[Live]) {
    let bridge = &network.bridge;
    let is_open = |network: &Network| !network.isolate && !network.internal;
    line(
        filter,
        format_args!("-A PLY -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
    );
    line(
        filter,
        format_args!("-A PLY -i {bridge} -o {bridge} -j ACCEPT"),
    );
    if network.internal {
        line(filter, format_args!("-A PLY -i {bridge} -j DROP"));
    } else {
        line(
            filter,
            format_args!("-A PLY -o {bridge} -m conntrack --ctstate DNAT -j ACCEPT"),
        );
        for (other, _) in live
            .iter()
            .filter(|(other, _)| is_open(network) && is_open(other))
        {
            line(
                filter,
                format_args!("-A PLY -i {} -o {bridge} -j ACCEPT", other.bridge),
            );
        }
    }
    line(filter, format_args!("-A PLY -o {bridge} -j DROP"));
}

fn publish(nat: &mut String, attachment: &Attachment, v4: bool) {
    for address in attachment
        .addresses
        .iter()
        .filter(|address| address.ip.is_ipv4() == v4)
    {
        let of = |ip: &IpAddr| ip.is_ipv4() == v4;
        for mapping in attachment
            .ports
            .iter()
            .filter(|mapping| mapping.host_ip.as_ref().is_none_or(of))
        {
            let on = match mapping.host_ip {
                Some(ip) => format!(" -d {ip}"),
                None if v4 => String::new(),
                None => " ! -d ::1".into(),
            };
            for (host, container) in mapping.pairs() {
                let to = std::net::SocketAddr::new(address.ip, container);
                let proto = mapping.proto;
                line(
                    nat,
                    format_args!(
                        "-A PLY{on} -p {proto} --dport {host} -j DNAT --to-destination {to}"
                    ),
                );
            }
        }
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{words}");
}

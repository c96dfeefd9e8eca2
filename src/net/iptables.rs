//! The firewall by iptables, for hosts whose other rules are there: chains `PLY` in the tables raw, nat and filter.
//!
//! Unlike nf_tables there are no maps, so each call asks `iptables-save` and, where what it shows is not what is
//! wanted, writes that chain anew, by one `iptables-restore --noflush` for each family. Chains of others are not
//! touched, but for one jump to ours at the top. Invariant: asking and writing happen under one lock, so the last to
//! write has seen what all others have put at rest. Read [`rules`] first.

pub mod rules;

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::book::{Book, Claiming};
use super::error::{Error, Kind, Result};
use super::intent::Attachment;
use super::network::Firewall;
use crate::sys::process;
use rules::{Live, Rules};

/// Makes the rules what they should be now. Without any network of iptables, chains and jumps go.
///
/// # Errors
/// Unsupported where there is no iptables; what it says.
pub fn sync(book: &Book) -> Result<()> {
    let writing = book.write_firewall()?;
    let live = live(book, |one| !one.leaving)?;
    for v4 in [true, false] {
        let wanted = rules::wanted(&live, v4);
        let change = wanted.instead_of(&present(v4, &wanted)?);
        if !change.is_empty() {
            let restore = command(v4, "-restore", &["--noflush", "--wait"]);
            run(restore, Some(&writing), &change)?;
        }
    }
    Ok(())
}

/// What is not as it should be, in words, for each family. Rules of attachments on their way may be there or not.
///
/// # Errors
/// Unsupported where there is no iptables; what it says.
pub fn complaints(book: &Book) -> Result<Vec<String>> {
    let _still = book.write_firewall()?;
    let (done, all) = (live(book, |one| one.done)?, live(book, |_| true)?);
    let mut complaints = Vec::new();
    for v4 in [true, false] {
        let (wanted, allowed) = (rules::wanted(&done, v4), rules::wanted(&all, v4));
        let present = present(v4, &allowed)?;
        let complaint = wanted.complaint(&allowed, &present);
        complaints.extend(complaint.map(|words| format!("{}: {words}", program(v4, ""))));
    }
    Ok(complaints)
}

/// The networks of iptables by name, each with the attachments that count, if there are any.
fn live(book: &Book, counts: impl Fn(&Attachment) -> bool) -> Result<Vec<Live>> {
    let mut names = book.live()?;
    names.sort();
    let mut live = Vec::new();
    for name in names {
        let network = book.find_network(&name)?;
        let Some(network) = network.filter(|one| one.firewall == Firewall::Iptables) else {
            continue;
        };
        let mut attachments = book.attachments(&name)?;
        attachments.retain(&counts);
        if !attachments.is_empty() {
            live.push((network, attachments));
        }
    }
    Ok(live)
}

fn program(v4: bool, name: &str) -> String {
    format!("{}{name}", if v4 { "iptables" } else { "ip6tables" })
}

/// What is there. A family of which nothing is wanted may be unknown to the kernel.
fn present(v4: bool, wanted: &Rules) -> Result<Rules> {
    match run(command(v4, "-save", &[]), None, "") {
        Err(_) if wanted.is_empty() => Ok(Rules::default()),
        saved => saved.map(|saved| Rules::seen(&saved)),
    }
}

fn command(v4: bool, name: &str, words: &[&str]) -> Command {
    let mut command = process::program(program(v4, name));
    command.args(words);
    command
}

/// What a program says. Who `holds` a lock shares it: if we are killed, it is free when the program has ended, too, so
/// nobody reads what is still being written.
fn run(mut command: Command, holds: Option<&Claiming>, input: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |why: String| Error::new(Kind::Other, format!("{program}: {why}"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(lock) = holds {
        lock.share(&mut command);
    }
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
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match out.status.success() {
        true => Ok(words(&out.stdout)),
        false => Err(failed(words(&out.stderr).trim().replace('\n', " "))),
    }
}

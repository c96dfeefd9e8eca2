//! `plynet dns`: ask the responder, see how it is, be it.

use std::net::IpAddr;

use clap::Subcommand;
use serde_json::json;

use super::args::Globals;
use crate::cli::failure::{self, Failure};
use crate::cli::logging::{self, Sink};
use crate::net::dns::{client, life};
use crate::net::host::Host;
use crate::net::layout::Layout;
use crate::net::network::DEFAULT_NETWORK;
use crate::sys::process::{self, Daemon, Outcome, Reporter};

/// What can be done with names.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Ask what a network knows by a name, or who has an address
    Query {
        /// A name, or an address
        name: String,
        /// The network
        #[arg(long, value_name = "NET", default_value = DEFAULT_NETWORK)]
        network: String,
        /// The type of the records: A, AAAA, PTR, ANY ...
        #[arg(long = "type", value_name = "TYPE", default_value = "A")]
        kind: String,
    },
    /// Say who answers, and for which networks
    Status,
    /// Answer names until nobody is attached to a network that has them; attach starts this by itself
    Serve {
        /// Do not become a daemon
        #[arg(long)]
        foreground: bool,
    },
}

/// Does it.
///
/// # Errors
/// Those of the responder.
pub fn run(globals: &Globals, verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Query {
            name,
            network,
            kind,
        } => query(globals, &name, &network, &kind),
        Verb::Status => status(globals),
        Verb::Serve { foreground: true } => {
            logging::start(Sink::Stderr, false);
            life::Responder::new(globals.host()?.book.layout)?.serve()?;
            Ok(0)
        }
        Verb::Serve { foreground: false } => daemon(globals),
    }
}

fn query(globals: &Globals, name: &str, network: &str, kind: &str) -> Result<u8, Failure> {
    let host = globals.host()?;
    host.keep_answering();
    let network = host.book.network(network)?;
    let gateway = network.gateways().next().filter(|_| network.dns);
    host.check_names(&network)?;
    let nameless = || Failure::new(3, format!("network {} has no names", network.name));
    let gateway = gateway.ok_or_else(nameless)?;
    // Else whoever has that address elsewhere would be asked.
    if !host.book.live()?.contains(&network.name) {
        let words = format!("nobody is attached to network {}", network.name);
        return Err(Failure::new(3, words));
    }
    let found = client::ask(gateway, name, kind)?;
    if globals.json {
        println!("{}", json!(found));
        return Ok(0);
    }
    for record in found {
        println!(
            "{} {} {} {}",
            record.name, record.ttl, record.kind, record.data
        );
    }
    Ok(0)
}

fn status(globals: &Globals) -> Result<u8, Failure> {
    let host = globals.host()?;
    let present = life::look(&host.book.layout)?;
    let alive = present.as_ref().map(|present| present.pid);
    let networks = networks(&host)?;
    let deaf = present.unwrap_or_default().deaf.into_iter();
    let unheard: Vec<String> = deaf.map(|deaf| deaf.to_string()).collect();
    if globals.json {
        let networks = networks.iter().map(|(name, gateways, containers)| {
            json!({ "network": name, "addresses": gateways, "containers": containers })
        });
        let networks: Vec<_> = networks.collect();
        println!(
            "{}",
            json!({ "responder": alive, "networks": networks, "unheard": unheard })
        );
        return Ok(0);
    }
    match alive {
        Some(pid) => println!("responder: process {pid}"),
        None => println!("responder: none"),
    }
    for (name, gateways, containers) in networks {
        let gateways: Vec<String> = gateways.iter().map(IpAddr::to_string).collect();
        println!(
            "{name} on {}: {containers} containers",
            gateways.join(" and ")
        );
    }
    unheard.iter().for_each(|words| println!("{words}"));
    Ok(0)
}

/// Networks with names that somebody uses: name, addresses, containers.
fn networks(host: &Host) -> Result<Vec<(String, Vec<IpAddr>, usize)>, Failure> {
    let mut networks = Vec::new();
    for name in host.book.live()? {
        let network = host.book.network(&name)?;
        let containers = host.book.attachments(&name)?.len();
        if network.dns && containers > 0 {
            networks.push((name, network.gateways().collect(), containers));
        }
    }
    Ok(networks)
}

fn daemon(globals: &Globals) -> Result<u8, Failure> {
    let layout = globals.host()?.book.layout;
    // A daemon's working directory is the root.
    let absolute = |dir| {
        std::path::absolute(dir)
            .map_err(|error| Failure::at("directory", dir, failure::reason(&error)))
    };
    let layout = Layout::new(&absolute(layout.root())?, &absolute(layout.run())?);
    let forked = process::fork_daemon();
    let reporter = match forked.map_err(|errno| Failure::failed(format!("daemon: {errno}")))? {
        Daemon::Child(reporter) => reporter,
        Daemon::Parent(waiter) => {
            return match waiter.wait() {
                Outcome::Ready => Ok(0),
                Outcome::Failed(code, text) => Err(Failure::new(code, text)),
                Outcome::Died(how) => Err(Failure::failed(format!("the daemon ended {how}"))),
            };
        }
    };
    process::ignore_hangup();
    logging::start(Sink::Syslog, false);
    match life::Responder::new(layout) {
        Ok(responder) => serve(responder, reporter),
        Err(error) => {
            reporter.failed(error.kind.code(), &error.to_string());
            Ok(error.kind.code())
        }
    }
}

fn serve(responder: life::Responder, reporter: Reporter) -> Result<u8, Failure> {
    // Fewer files than clients are allowed is no reason not to serve.
    if let Err(errno) = process::raise_file_limit() {
        log::warn!("limit of files: {errno}");
    }
    reporter.ready();
    if let Err(error) = responder.serve() {
        log::error!("{error}");
    }
    Ok(0)
}

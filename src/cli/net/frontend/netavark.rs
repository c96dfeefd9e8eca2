//! In place of podman's `netavark`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::failure::{Failure, reason, shown};
use crate::cli::logging::{self, Sink};
use crate::cli::net::args::Globals;
use crate::net::error::Kind;
use crate::net::frontend::netavark::{self, Request, VERSION};
use crate::net::network::Firewall;

/// As podman calls it; what is of no use here is taken and dropped.
#[derive(Debug, Parser)]
#[command(name = "netavark", version = concat!("1.4.0 (plynet ", env!("CARGO_PKG_VERSION"), ")"))]
struct Order {
    /// Options instead of standard input
    #[arg(short, long, global = true)]
    file: Option<PathBuf>,
    #[arg(short, long, global = true, hide = true)]
    config: Option<PathBuf>,
    #[arg(short, long, global = true, hide = true)]
    rootless: Option<String>,
    #[arg(short, long, global = true, hide = true)]
    aardvark_binary: Option<PathBuf>,
    #[arg(long, global = true, hide = true)]
    plugin_directory: Vec<PathBuf>,
    /// none: not one rule is written; iptables: its chains; else nf_tables
    #[arg(long, global = true)]
    firewall_driver: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Attach a container to its networks
    Setup { netns: PathBuf },
    /// Detach it
    Teardown { netns: PathBuf },
    /// Ask other servers for unknown names from now on
    Update {
        network: String,
        #[arg(long, num_args = 0..)]
        network_dns_servers: Vec<String>,
    },
    /// Say which version this is
    Version,
}

/// The program.
pub fn main(args: &[OsString]) -> ExitCode {
    logging::start(Sink::Stderr, false);
    let order = match Order::try_parse_from(args) {
        Ok(order) => order,
        Err(error) if error.exit_code() == 0 => {
            // Who reads no more has what he wants.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            println!("{}", netavark::failure(error.to_string().trim()));
            return ExitCode::from(2);
        }
    };
    match run(&order) {
        Ok(text) => {
            if !text.is_empty() {
                println!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{}", netavark::failure(&failure.to_string()));
            ExitCode::from(failure.code)
        }
    }
}

fn run(order: &Order) -> Result<String, Failure> {
    let globals = Globals {
        root: None,
        run: None,
        json: false,
    };
    match &order.verb {
        Verb::Version => Ok(serde_json::json!({
            "version": VERSION, "plynet": env!("CARGO_PKG_VERSION"), "default_fw_driver": "nftables",
        })
        .to_string()),
        Verb::Setup { netns } => {
            let text = order.text()?;
            let request = Request::parse(&text)?;
            // Only now does it matter, and only once is it worth saying.
            for field in netavark::unheeded(&text) {
                log::warn!("{field} is not heeded");
            }
            let plan = request.plan(netns, order.firewall())?;
            let mut host = globals.host()?;
            host.engine = true;
            for network in &plan.networks {
                host.adopt_network(network)?;
            }
            Ok(netavark::reply(&host.attach(&plan.intents)?))
        }
        Verb::Teardown { .. } => {
            let (host, request) = (globals.host()?, Request::parse(&order.text()?)?);
            // One that cannot be detached does not keep the others.
            let ended = request.keys().into_iter().map(|key| host.detach(&key).map(drop));
            ended.collect::<Vec<_>>().into_iter().collect::<Result<(), _>>()?;
            Ok(String::new())
        }
        Verb::Update { network, network_dns_servers } => {
            let words = network_dns_servers.iter().flat_map(|words| words.split(','));
            let server = |text: &str| {
                let bad = |_| Failure::usage(format!("{}: no address", text.escape_debug()));
                text.parse::<IpAddr>().map_err(bad)
            };
            let servers: Result<Vec<_>, _> = words.filter(|word| !word.is_empty()).map(server).collect();
            match globals.host()?.ask_elsewhere(network, servers?) {
                // Nobody is attached: podman says it again when somebody is.
                Err(error) if error.kind == Kind::NotFound => {}
                other => other?,
            }
            Ok(String::new())
        }
    }
}

impl Order {
    /// The request, as it came.
    fn text(&self) -> Result<String, Failure> {
        match &self.file {
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Failure::failed(format!("options {}: {}", shown(path), reason(&error)))
            }),
            None => std::io::read_to_string(std::io::stdin())
                .map_err(|error| Failure::failed(format!("standard input: {}", reason(&error)))),
        }
    }

    fn firewall(&self) -> Firewall {
        let asked = std::env::var("NETAVARK_FW").ok();
        match self.firewall_driver.as_deref().or(asked.as_deref()) {
            Some("none") => Firewall::None,
            Some("iptables") => Firewall::Iptables,
            _ => Firewall::Nftables,
        }
    }
}

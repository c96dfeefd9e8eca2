//! `plynet network ...`

use super::args::{CreateArgs, Globals, NetworkVerb};
use super::say;
use crate::cli::failure::Failure;
use crate::cli::store::output::table;
use crate::net::network::{Network, Spec};

/// Does what was asked for.
///
/// # Errors
/// One line and the code of its kind.
pub fn run(globals: &Globals, verb: NetworkVerb) -> Result<u8, Failure> {
    let host = globals.host()?;
    match verb {
        NetworkVerb::Create(args) => {
            let network = host.create_network(&spec(args))?;
            say(globals, &network, || network.name.clone())
        }
        NetworkVerb::Ls => {
            let networks = host.book.networks()?;
            say(globals, &networks, || listed(&networks))
        }
        NetworkVerb::Inspect { names } => {
            let found: Result<Vec<_>, _> =
                names.iter().map(|name| inspected(&host, name)).collect();
            let json = serde_json::to_string_pretty(&found?).map_err(Failure::failed)?;
            say(
                &Globals {
                    json: false,
                    root: None,
                    run: None,
                },
                &(),
                || json,
            )
        }
        NetworkVerb::Rm { names } => {
            for name in &names {
                host.remove_network(name)?;
            }
            say(globals, &names, || names.join("\n"))
        }
        NetworkVerb::Prune => {
            let pruned = host.prune_networks()?;
            say(globals, &pruned, || pruned.join("\n"))
        }
    }
}

fn inspected(host: &crate::net::host::Host, name: &str) -> Result<serde_json::Value, Failure> {
    crate::net::name::check("network", name)?;
    let network = host.book.network(name)?;
    let attachments = host.book.attachments(name)?;
    Ok(serde_json::json!({ "network": network, "attachments": attachments }))
}

fn spec(args: CreateArgs) -> Spec {
    let firewall = args.firewall();
    Spec {
        name: args.name,
        subnets: args.subnet,
        ipv6: args.ipv6,
        gateways: args.gateway,
        bridge: args.bridge,
        internal: args.internal,
        open: !args.isolate,
        mtu: args.mtu,
        no_dns: !args.dns,
        dns_servers: args.dns_server,
        firewall,
        labels: args.label.into_iter().collect(),
    }
}

fn listed(networks: &[Network]) -> String {
    let row = |network: &Network| {
        let ranges: Vec<String> = network
            .subnets
            .iter()
            .map(|subnet| subnet.range.to_string())
            .collect();
        let kind = match (network.internal, network.isolate) {
            (true, _) => "internal",
            (false, true) => "isolated",
            (false, false) => "open",
        };
        vec![
            network.name.clone(),
            network.bridge.clone(),
            kind.into(),
            ranges.join(" "),
        ]
    };
    table(
        &["name", "bridge", "kind", "subnets"],
        &networks.iter().map(row).collect::<Vec<_>>(),
    )
}

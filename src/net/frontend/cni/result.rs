//! What a plugin answers: interfaces, addresses, routes and name servers, in the version that was asked in.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::config::Config;
use super::failure::{CONFIG, Failure, OTHER};
use super::{NEWEST, VERSIONS};
use crate::net::dns::zone;
use crate::net::intent::Report;

/// What VERSION prints, to one who speaks `version`.
pub fn versions(version: &str) -> String {
    let version = if version.is_empty() { NEWEST } else { version };
    json!({ "cniVersion": version, "supportedVersions": VERSIONS }).to_string()
}

/// What ADD prints.
pub fn added(config: &Config, report: &Report, netns: &Path) -> String {
    // What other plugins have done comes first.
    let mut result = config
        .prev_result
        .clone()
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}));
    if let Some(object) = result.as_object_mut() {
        extend(object, config, report, netns);
    }
    result.to_string()
}

fn extend(result: &mut Map<String, Value>, config: &Config, report: &Report, netns: &Path) {
    result.insert("cniVersion".into(), json!(config.cni_version));
    let mut interfaces = taken(result, "interfaces");
    let mut ips = taken(result, "ips");
    let mut routes = taken(result, "routes");
    let container = interfaces.len() + 2;
    interfaces.push(json!({ "name": report.bridge }));
    interfaces.push(json!({ "name": report.host_interface }));
    interfaces.push(json!({ "name": report.interface, "mac": report.mac, "sandbox": netns }));
    for address in &report.addresses {
        let mut ip = json!({
            "address": format!("{}/{}", address.ip, address.prefix),
            "gateway": address.gateway,
            "interface": container,
        });
        if config.cni_version.starts_with("0.") {
            ip["version"] = json!(if address.ip.is_ipv4() { "4" } else { "6" });
        }
        ips.push(ip);
        let all = if address.ip.is_ipv4() {
            "0.0.0.0/0"
        } else {
            "::/0"
        };
        routes.push(json!({ "dst": all, "gw": address.gateway }));
    }
    let dns = match &config.dns {
        Some(dns) if dns.get("nameservers").is_some() => dns.clone(),
        _ if report.dns_servers.is_empty() => json!({}),
        _ => json!({ "nameservers": report.dns_servers, "search": [zone::domain(&config.name)] }),
    };
    for (name, value) in [("interfaces", interfaces), ("ips", ips), ("routes", routes)] {
        result.insert(name.into(), value.into());
    }
    result.insert("dns".into(), dns);
}

fn taken(result: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match result.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// CHECK: is what ADD has said still true?
///
/// # Errors
/// Config when the runtime does not say what ADD has said; else what differs.
pub fn compare(config: &Config, report: &Report) -> Result<(), Failure> {
    let Some(before) = &config.prev_result else {
        return Err(Failure::new(CONFIG, "CHECK needs prevResult"));
    };
    let empty = Vec::new();
    let all = |name: &str| before.get(name).and_then(Value::as_array).unwrap_or(&empty);
    let is_ours = |interface: &&Value| {
        interface["name"] == json!(report.interface) && interface.get("sandbox").is_some()
    };
    let at = all("interfaces")
        .iter()
        .position(|interface| is_ours(&interface));
    let missing = || {
        Failure::new(
            CONFIG,
            format!("prevResult has no interface {}", report.interface),
        )
    };
    let at = at.ok_or_else(missing)?;
    let ours = all("ips").iter().filter(|ip| ip["interface"] == json!(at));
    for ip in ours {
        let text = ip["address"].as_str().unwrap_or_default();
        let address: Option<IpAddr> = text.split('/').next().and_then(|ip| ip.parse().ok());
        if !report
            .addresses
            .iter()
            .any(|known| Some(known.ip) == address)
        {
            let words = format!(
                "address {text} of prevResult is not that of {}",
                report.interface
            );
            return Err(Failure::new(OTHER, words));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::intent::{Address, Mac};

    fn report() -> Report {
        let address = |ip: &str, prefix, gateway: &str| Address {
            ip: ip.parse().unwrap(),
            prefix,
            gateway: gateway.parse().unwrap(),
        };
        Report {
            network: "blue".into(),
            name: "web".into(),
            interface: "eth0".into(),
            host_interface: "veth1".into(),
            bridge: "ply-blue".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec![
                address("10.1.0.2", 24, "10.1.0.1"),
                address("fd01::2", 64, "fd01::1"),
            ],
            ports: Vec::new(),
            dns_servers: vec!["10.1.0.1".parse().unwrap()],
        }
    }

    fn said(config: &str) -> Value {
        let config = Config::parse(config).unwrap();
        serde_json::from_str(&added(&config, &report(), Path::new("/run/netns/x"))).unwrap()
    }

    #[test]
    fn each_version_has_its_form() {
        let new = said(r#"{"cniVersion":"1.1.0","name":"blue"}"#);
        let wanted = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{ "name": "ply-blue" }, { "name": "veth1" },
                { "name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/x" }],
            "ips": [{ "address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 2 },
                { "address": "fd01::2/64", "gateway": "fd01::1", "interface": 2 }],
            "routes": [{ "dst": "0.0.0.0/0", "gw": "10.1.0.1" }, { "dst": "::/0", "gw": "fd01::1" }],
            "dns": { "nameservers": ["10.1.0.1"], "search": ["blue.plynet"] },
        });
        assert_eq!(new, wanted);
        let old = said(r#"{"cniVersion":"0.4.0","name":"blue","dns":{"nameservers":["9.9.9.9"]}}"#);
        assert_eq!(
            (&old["ips"][0]["version"], &old["ips"][1]["version"]),
            (&json!("4"), &json!("6"))
        );
        assert_eq!(old["dns"], json!({ "nameservers": ["9.9.9.9"] }));
    }

    #[test]
    fn what_came_before_stays() {
        let both = said(
            r#"{"cniVersion":"1.0.0","name":"blue","prevResult":
            {"interfaces":[{"name":"lo","sandbox":"/run/netns/x"}],"ips":[{"address":"127.0.0.1/8","interface":0}]}}"#,
        );
        assert_eq!(both["interfaces"].as_array().unwrap().len(), 4);
        assert_eq!(
            (&both["ips"][0]["interface"], &both["ips"][1]["interface"]),
            (&json!(0), &json!(3))
        );
    }

    #[test]
    fn check_compares_with_what_add_has_said() {
        let config = |result: &Value| {
            let text = json!({ "cniVersion": "1.1.0", "name": "blue", "prevResult": result });
            Config::parse(&text.to_string()).unwrap()
        };
        let mut result = said(r#"{"cniVersion":"1.1.0","name":"blue"}"#);
        assert_eq!(compare(&config(&result), &report()), Ok(()));
        result["ips"][0]["address"] = json!("10.1.0.3/24");
        assert_eq!(
            compare(&config(&result), &report()).unwrap_err().code,
            OTHER
        );
        result["interfaces"] = json!([]);
        assert_eq!(
            compare(&config(&result), &report()).unwrap_err().code,
            CONFIG
        );
        let none = Config::parse(r#"{"cniVersion":"1.1.0","name":"blue"}"#).unwrap();
        assert_eq!(compare(&none, &report()).unwrap_err().code, CONFIG);
    }

    #[test]
    fn versions_are_told() {
        let told: Value = serde_json::from_str(&versions("1.0.0")).unwrap();
        assert_eq!(
            told,
            json!({ "cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"] })
        );
    }
}

//! What a newer podman says and nobody here listens to: no failure, but its user is told.

use serde_json::Value;

/// What a request may have; some of it is of no use here.
const REQUEST: &[&str] = &[
    "container_hostname",
    "container_id",
    "container_name",
    "dns_servers",
    "network_info",
    "networks",
    "port_mappings",
];

/// What is asked of a network for a container. Options are named one by one.
const WISH: &[&str] = &[
    "aliases",
    "interface_name",
    "name",
    "options",
    "static_ips",
    "static_mac",
];

/// A network.
const INFO: &[&str] = &[
    "created",
    "dns_enabled",
    "driver",
    "id",
    "internal",
    "ipam_options",
    "ipv6_enabled",
    "labels",
    "name",
    "network_dns_servers",
    "network_interface",
    "options",
    "routes",
    "subnets",
];

/// The fields of a request that are not heeded, in words.
pub fn fields(text: &str) -> Vec<String> {
    let Ok(request) = serde_json::from_str::<Value>(text) else {
        return Vec::new();
    };
    let mut found = strange(&request, REQUEST, "");
    for (name, wish) in entries(&request["networks"]) {
        let of = format!(" of network {}", name.escape_debug());
        found.extend(strange(wish, WISH, &of));
        found.extend(strange(&wish["options"], &[], &of));
    }
    for (name, info) in entries(&request["network_info"]) {
        let of = format!(" of network {}", name.escape_debug());
        found.extend(strange(info, INFO, &of));
    }
    found
}

/// A map by name, or a list of what has a name.
fn entries(value: &Value) -> Vec<(&str, &Value)> {
    match value {
        Value::Object(map) => map.iter().map(|(name, one)| (name.as_str(), one)).collect(),
        Value::Array(list) => {
            let named = list
                .iter()
                .map(|one| (one["name"].as_str().unwrap_or_default(), one));
            named.collect()
        }
        _ => Vec::new(),
    }
}

fn strange(value: &Value, known: &[&str], of: &str) -> Vec<String> {
    let fields = value.as_object().into_iter().flat_map(|map| map.keys());
    let strange = fields.filter(|field| !known.contains(&field.as_str()));
    strange
        .map(|field| format!("{}{of}", field.escape_debug()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_named_with_its_network() {
        let text = r#"{"container_id":"1","frob":1,"networks":{"n":{"static_ips":[],
            "options":{"host_interface_name":"x"}}},"network_info":[{"name":"n","subnets":[],"quux":{}}]}"#;
        let wanted = [
            "frob",
            "host_interface_name of network n",
            "quux of network n",
        ];
        assert_eq!(fields(text), wanted);
        assert!(fields("{").is_empty());
    }
}

//! The words of podman's `netavark`, said to the program as podman says them: those that podman 4 does not use, too.

use std::io::Write;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use plyfs::net::dns::client;
use serde_json::{Value, json};

use crate::cni::{fresh, run};
use crate::support::env::cannot_run;

/// So often a server outside is waited for, a quarter of a second each time.
const TRIES: usize = 80;

struct Netavark(PathBuf);

impl Netavark {
    fn on_host(name: &str, test: impl FnOnce(&Netavark) + Send) {
        if !rustix::process::geteuid().is_root() {
            return cannot_run(name, "needs root (network namespaces)");
        }
        fresh(|scratch| {
            let program = scratch.path().join("netavark");
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_plynet"), &program).unwrap();
            test(&Netavark(program));
        });
    }

    /// What it says, and its exit code.
    fn call(&self, words: &[&str], request: &Value) -> (Value, i32) {
        let mut command = Command::new(&self.0);
        command
            .args(["--config", "/run/containers/networks"])
            .args(["--rootless=false", "--aardvark-binary=/usr/bin/true"])
            .args(words);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        // A call without a request does not read.
        let _ = child
            .stdin
            .take()
            .unwrap()
            .write_all(request.to_string().as_bytes());
        let said = child.wait_with_output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        let value = match text.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap(),
        };
        (value, said.status.code().unwrap())
    }

    fn ok(&self, words: &[&str], request: &Value) -> Value {
        let (said, code) = self.call(words, request);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    }
}

/// Of links but the loopback, and of rules.
fn nothing_is_left() {
    let left = run("ip", &["-brief", "link"]);
    assert!(
        left.starts_with("lo ") && left.lines().count() == 1,
        "{left}"
    );
    assert_eq!(run("nft", &["list", "ruleset"]), "");
}

/// A container on two networks, in the lists of netavark 2.
fn request() -> Value {
    json!({
        "container_id": "0123456789abcdef", "container_name": "web",
        "port_mappings": [{ "host_ip": "", "host_port": 8080, "container_port": 80, "protocol": "tcp", "range": 1 }],
        "networks": [
            { "name": "blue", "static_ips": ["10.73.0.9"], "interface_name": "eth0", "aliases": ["www"] },
            { "name": "inner", "static_ips": ["10.74.0.9"], "interface_name": "eth1" },
        ],
        "network_info": [
            { "name": "blue", "id": "1", "driver": "bridge", "network_interface": "podman1", "dns_enabled": true,
              "internal": false,
              "ipv6_enabled": false, "subnets": [{ "subnet": "10.73.0.0/24", "gateway": "10.73.0.1" }] },
            { "name": "inner", "id": "2", "driver": "bridge", "network_interface": "podman2", "dns_enabled": false,
              "internal": true,
              "ipv6_enabled": false, "subnets": [{ "subnet": "10.74.0.0/24", "gateway": "10.74.0.1" }] },
        ],
    })
}

#[test]
fn lists_of_networks() {
    Netavark::on_host("lists_of_networks", |netavark| {
        run("ip", &["netns", "add", "web"]);
        let told = netavark.ok(&["setup", "/run/netns/web"], &request());
        let blue = &told["blue"];
        assert_eq!(blue["dns_server_ips"], json!(["10.73.0.1"]), "{told}");
        let at = |network: &str, interface: &str| {
            told[network]["interfaces"][interface]["subnets"][0].clone()
        };
        let on_blue = json!({ "gateway": "10.73.0.1", "ipnet": "10.73.0.9/24" });
        let on_inner = json!({ "gateway": "10.74.0.1", "ipnet": "10.74.0.9/24" });
        assert_eq!(
            (at("blue", "eth0"), at("inner", "eth1")),
            (on_blue, on_inner)
        );
        let routes = run("ip", &["-n", "web", "route"]);
        assert!(
            routes.contains("default via 10.73.0.1 dev eth0"),
            "{routes}"
        );
        for name in ["web", "www", "0123456789ab"] {
            let found = client::ask("10.73.0.1".parse().unwrap(), name, "A").unwrap();
            assert_eq!(found[0].data, "10.73.0.9", "{name}");
        }
        // Said twice: the second is refused, and the first stays.
        let (said, code) = netavark.call(&["setup", "/run/netns/web"], &request());
        assert!(code == 4 && said["error"].is_string(), "{code} {said}");
        assert!(run("ip", &["-n", "web", "-brief", "link"]).contains("eth1"));
        for _ in 0..2 {
            assert_eq!(
                netavark.ok(&["teardown", "/run/netns/web"], &request()),
                Value::Null
            );
        }
        nothing_is_left();
    });
}

#[test]
fn update_changes_who_is_asked_outside() {
    Netavark::on_host("update_changes_who_is_asked_outside", |netavark| {
        run("ip", &["netns", "add", "web"]);
        netavark.ok(&["setup", "/run/netns/web"], &request());
        for server in ["127.0.0.61", "127.0.0.62"] {
            let outside = UdpSocket::bind((server, 53)).unwrap();
            outside
                .set_read_timeout(Some(Duration::from_millis(250)))
                .unwrap();
            netavark.ok(
                &["update", "blue", "--network-dns-servers", server],
                &Value::Null,
            );
            let asked = (0..TRIES).any(|_| {
                let mut question = [0; 512];
                let ask = || client::ask("10.73.0.1".parse().unwrap(), "far.example", "A").is_ok();
                std::thread::scope(|scope| {
                    scope.spawn(ask);
                    let received = outside.recv(&mut question);
                    received.is_ok_and(|len| question[..len].windows(7).any(|w| w == b"example"))
                })
            });
            assert!(asked, "{server} was not asked");
        }
        let wrong = |words: &[&str]| {
            let (said, code) = netavark.call(words, &Value::Null);
            (code, said["error"].as_str().unwrap_or_default().to_string())
        };
        let (code, text) = wrong(&["update", "blue", "--network-dns-servers", "nonsense"]);
        assert!(code == 2 && text.contains("nonsense"), "{code} {text}");
        // Of a network without containers there is nothing to change.
        let nobody = &["update", "nowhere", "--network-dns-servers", "10.0.0.1"];
        assert_eq!(netavark.ok(nobody, &Value::Null), Value::Null);
        let told = netavark.ok(&["version"], &Value::Null);
        assert!(told["version"].is_string(), "{told}");
        netavark.ok(&["teardown", "/run/netns/web"], &request());
    });
}

#[test]
fn routes_of_a_network() {
    Netavark::on_host("routes_of_a_network", |netavark| {
        run("ip", &["netns", "add", "web"]);
        let mut asked = request();
        asked["network_info"][0]["routes"] = json!([
            { "destination": "10.99.0.0/16", "gateway": "10.73.0.7" },
            { "destination": "10.98.0.0/16", "gateway": "10.73.0.8", "metric": 7 },
            { "destination": "10.97.0.0/16", "route_type": "blackhole" },
            { "destination": "10.96.0.0/16", "route_type": "unreachable", "metric": 8 },
            { "destination": "10.95.0.0/16", "route_type": "prohibit" },
        ]);
        asked["network_info"][0]["options"] = json!({ "metric": "200" });
        netavark.ok(&["setup", "/run/netns/web"], &asked);
        let routes = run("ip", &["-n", "web", "route"]);
        for route in [
            "default via 10.73.0.1 dev eth0 proto static metric 200",
            "10.99.0.0/16 via 10.73.0.7 dev eth0 proto static",
            "10.98.0.0/16 via 10.73.0.8 dev eth0 proto static metric 7",
            "blackhole 10.97.0.0/16 proto static",
            "unreachable 10.96.0.0/16 proto static metric 8",
            "prohibit 10.95.0.0/16 proto static",
        ] {
            assert!(routes.contains(route), "{route}: {routes}");
        }
        netavark.ok(&["teardown", "/run/netns/web"], &asked);
        assert_eq!(run("ip", &["-n", "web", "route"]), "");
        asked["network_info"][0]["options"] = json!({ "no_default_route": "true" });
        asked["networks"].as_array_mut().unwrap().truncate(1);
        netavark.ok(&["setup", "/run/netns/web"], &asked);
        let routes = run("ip", &["-n", "web", "route"]);
        assert!(
            !routes.contains("default") && routes.contains("10.99.0.0/16"),
            "{routes}"
        );
        netavark.ok(&["teardown", "/run/netns/web"], &asked);
    });
}

/// As `podman network create --ipam-driver none` makes them: who is on it gives himself an address.
#[test]
fn networks_without_addresses() {
    Netavark::on_host("networks_without_addresses", |netavark| {
        let bare = |container: &str| {
            json!({
                "container_id": container, "container_name": container,
                "port_mappings": [{ "host_port": 8080, "container_port": 80, "protocol": "tcp" }],
                "networks": { "bare": { "static_ips": [], "interface_name": "eth0" } },
                "network_info": { "bare": { "name": "bare", "driver": "bridge", "network_interface": "podman1",
                    "internal": false, "dns_enabled": true, "ipam_options": { "driver": "none" } } },
            })
        };
        let mut macs = Vec::new();
        for (n, name) in ["a", "b"].into_iter().enumerate() {
            run("ip", &["netns", "add", name]);
            let told = netavark.ok(&["setup", &format!("/run/netns/{name}")], &bare(name));
            let eth0 = &told["bare"]["interfaces"]["eth0"];
            assert_eq!(eth0["subnets"], json!([]), "{told}");
            macs.push(eth0["mac_address"].clone());
            let link = run("ip", &["-n", name, "-brief", "link", "show", "eth0"]);
            assert!(link.contains("UP"), "{link}");
            let own = format!("10.75.0.{}/24", n + 2);
            run("ip", &["-n", name, "addr", "add", &own, "dev", "eth0"]);
        }
        assert_ne!(macs[0], macs[1]);
        let ping = ["busybox", "ping", "-c", "1", "-W", "2", "10.75.0.3"];
        run("ip", &[&["netns", "exec", "a"], &ping[..]].concat());
        for name in ["a", "b"] {
            let place = format!("/run/netns/{name}");
            assert_eq!(netavark.ok(&["teardown", &place], &bare(name)), Value::Null);
        }
        nothing_is_left();
    });
}

/// What netavark can and plynet cannot is refused by its name, and what would only be nicer is told.
#[test]
fn what_cannot_be_done_is_named() {
    Netavark::on_host("what_cannot_be_done_is_named", |netavark| {
        run("ip", &["netns", "add", "web"]);
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut asked = request();
            change(&mut asked["network_info"][0]);
            let (said, code) = netavark.call(&["setup", "/run/netns/web"], &asked);
            assert_eq!(code, 2, "{said}");
            said["error"].as_str().unwrap().to_string()
        };
        let rows: [(Value, &str); 4] = [
            (
                json!({ "driver": "macvlan" }),
                "network blue: driver macvlan: only bridge",
            ),
            (
                json!({ "options": { "mode": "unmanaged" } }),
                "network blue: mode unmanaged: only managed",
            ),
            (
                json!({ "subnets": [], "ipam_options": { "driver": "dhcp" } }),
                "network blue: ipam driver dhcp: only",
            ),
            (json!({ "subnets": [] }), "network blue: it has no subnet"),
        ];
        for (change, words) in rows {
            let said = refused(&|info| {
                for (field, value) in change.as_object().unwrap() {
                    info[field] = value.clone();
                }
            });
            assert!(said.starts_with(words), "{said}");
        }
        let mut asked = request();
        asked["networks"][0]["options"] = json!({ "host_interface_name": "web0" });
        asked["network_info"][0]["options"] = json!({ "vlan": "7" });
        let mut command = Command::new(&netavark.0);
        command.args(["--file", "/run/asked", "setup", "/run/netns/web"]);
        std::fs::write("/run/asked", asked.to_string()).unwrap();
        let said = command.output().unwrap();
        let told = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success(), "{told}");
        for words in [
            "host_interface_name of network blue is not heeded",
            "network blue: option vlan is not heeded",
        ] {
            assert!(told.contains(words), "{told}");
        }
        netavark.ok(&["teardown", "/run/netns/web"], &asked);
    });
}

/// Books of a host that is gone, with containers that are gone, are in nobody's way; those of living ones are.
#[test]
fn another_host_in_the_same_directory() {
    Netavark::on_host("another_host_in_the_same_directory", |netavark| {
        run("ip", &["netns", "add", "web"]);
        run("ip", &["netns", "add", "host"]);
        netavark.ok(&["setup", "/run/netns/web"], &request());
        let elsewhere = plyfs::sys::netns::Netns::open("/run/netns/host".as_ref()).unwrap();
        let setup = || {
            elsewhere
                .within(|| netavark.call(&["setup", "/run/netns/new"], &request()))
                .unwrap()
        };
        run("ip", &["netns", "add", "new"]);
        let (said, code) = setup();
        assert!(
            code == 4
                && said["error"]
                    .as_str()
                    .unwrap()
                    .contains("another network namespace"),
            "{said}"
        );
        run("ip", &["netns", "del", "web"]);
        let (said, code) = setup();
        assert_eq!(code, 0, "{said}");
        let (said, code) = elsewhere
            .within(|| netavark.call(&["teardown", "/run/netns/new"], &request()))
            .unwrap();
        assert_eq!(code, 0, "{said}");
    });
}

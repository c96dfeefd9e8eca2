//! A CNI runtime of ours, which does what the specification says a runtime does, with plynet as the plugin: alone, with
//! Debian's `host-local` giving out the addresses, and in a list with Debian's `tuning` and `portmap`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::env::{Scratch, cannot_run, isolated};
use crate::support::ffi;

const DEBIAN: &str = "/usr/lib/cni";

fn on_host(name: &str, test: impl FnOnce(&Runtime) + Send) {
    if !rustix::process::geteuid().is_root() {
        return cannot_run(name, "needs root (network namespaces)");
    }
    if !PathBuf::from(DEBIAN).join("host-local").exists() {
        return cannot_run(name, "containernetworking-plugins is not installed");
    }
    fresh(|scratch| {
        std::fs::create_dir(scratch.path().join("bin")).unwrap();
        let plugin = scratch.path().join("bin/plynet");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_plynet"), &plugin).unwrap();
        test(&Runtime {
            path: format!("{}:{DEBIAN}", scratch.path().join("bin").display()),
        });
    });
}

/// Runs `test` on a machine without links, whose books of plynet, and names of namespaces, are the test's own.
pub fn fresh(test: impl FnOnce(&Scratch) + Send) {
    isolated(|| {
        ffi::unshare_network().unwrap();
        let mut scratch = Scratch::new();
        for (at, place) in [("run", "/run"), ("lib", "/var/lib")] {
            let own = scratch.tmpfs(at, "16m");
            rustix::mount::mount_bind(&own, place).unwrap();
        }
        run("ip", &["link", "set", "lo", "up"]);
        test(&scratch);
    });
}

pub fn run(program: &str, args: &[&str]) -> String {
    let ran = Command::new(program).args(args).output().unwrap();
    let words = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{program} {args:?}: {words}");
    String::from_utf8(ran.stdout).unwrap()
}

struct Runtime {
    path: String,
}

/// A container, as a runtime knows it.
struct Container {
    id: &'static str,
    netns: String,
}

impl Container {
    fn new(id: &'static str) -> Container {
        run("ip", &["netns", "add", id]);
        Container {
            id,
            netns: format!("/run/netns/{id}"),
        }
    }

    fn ip(&self, args: &[&str]) -> String {
        run("ip", &[&["-n", self.id], args].concat())
    }

    fn reaches(&self, address: &str) -> bool {
        let ping = [
            "netns", "exec", self.id, "busybox", "ping", "-c", "1", "-W", "2", address,
        ];
        Command::new("ip")
            .args(ping)
            .output()
            .unwrap()
            .status
            .success()
    }
}

impl Runtime {
    /// Calls one plugin, as §4 of the specification has it.
    fn call(
        &self,
        command: &str,
        config: &Value,
        container: Option<&Container>,
    ) -> Result<Value, Value> {
        let kind = config["type"].as_str().unwrap();
        let mut dirs = self.path.split(':');
        let program =
            dirs.find_map(|dir| Some(PathBuf::from(dir).join(kind)).filter(|p| p.exists()));
        let mut plugin = Command::new(program.unwrap());
        plugin
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_PATH", &self.path);
        plugin.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if let Some(container) = container {
            plugin
                .env("CNI_CONTAINERID", container.id)
                .env("CNI_IFNAME", "eth0");
            plugin.env("CNI_NETNS", &container.netns);
        }
        let pipes = plugin
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        // A call that is refused for its environment does not read.
        let _ = child
            .stdin
            .take()
            .unwrap()
            .write_all(config.to_string().as_bytes());
        let said = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let value = match text.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| panic!("{command}: {text}")),
        };
        if said.status.success() {
            Ok(value)
        } else {
            Err(value)
        }
    }

    /// Calls a list of plugins: in order, each with the result of the one before; DEL backwards.
    fn list(
        &self,
        command: &str,
        plugins: &[Value],
        container: &Container,
        before: &Value,
    ) -> Result<Value, Value> {
        let mut result = before.clone();
        let mut order: Vec<&Value> = plugins.iter().collect();
        if command == "DEL" {
            order.reverse();
        }
        for plugin in order {
            let mut config = plugin.clone();
            if !result.is_null() {
                config["prevResult"] = result.clone();
            }
            let said = self.call(command, &config, Some(container))?;
            if command == "ADD" {
                result = said;
            }
        }
        Ok(result)
    }
}

fn config(version: &str, more: Value) -> Value {
    let mut config = json!({ "cniVersion": version, "name": "blue", "type": "plynet",
        "ipam": { "type": "plynet", "subnet": "10.71.0.0/24" } });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn links() -> String {
    let all = run("ip", &["-o", "link"]);
    all.lines()
        .filter_map(|line| line.split(": ").nth(1))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_life_in_each_version() {
    on_host("a_life_in_each_version", |runtime| {
        for version in ["0.4.0", "1.0.0", "1.1.0"] {
            let config = config(
                version,
                json!({ "runtimeConfig": {
                "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }],
                "aliases": { "blue": ["www"] } } }),
            );
            let before = links();
            let (a, b) = (Container::new("a"), Container::new("b"));
            let said = runtime.call("ADD", &config, Some(&a)).unwrap();
            assert_eq!(said["cniVersion"], version);
            assert_eq!(said["ips"][0].get("version").is_some(), version == "0.4.0");
            let at = said["ips"][0]["interface"].as_u64().unwrap() as usize;
            assert_eq!(said["interfaces"][at]["sandbox"], json!(a.netns));
            let address = said["ips"][0]["address"].as_str().unwrap();
            assert!(a.ip(&["addr", "show", "dev", "eth0"]).contains(address));
            assert_eq!(said["dns"]["nameservers"][0], "10.71.0.1");
            // The port is taken, and that is said; nothing is left of the attempt.
            let taken = runtime.call("ADD", &config, Some(&b)).unwrap_err();
            assert_eq!(taken["code"], 101, "{taken}");
            assert!(!b.ip(&["-o", "link"]).contains("eth0"));
            let mut free = config.clone();
            free["runtimeConfig"] = json!({});
            runtime.call("ADD", &free, Some(&b)).unwrap();
            assert!(b.reaches(address.split('/').next().unwrap()));
            let twice = runtime.call("ADD", &free, Some(&b)).unwrap_err();
            assert!(
                twice["code"].as_u64().unwrap() >= 100 || twice["code"] == 7,
                "{twice}"
            );
            // CHECK holds, until something is missing.
            let mut checked = config.clone();
            checked["prevResult"] = said.clone();
            runtime.call("CHECK", &checked, Some(&a)).unwrap();
            a.ip(&["route", "del", "default"]);
            assert!(runtime.call("CHECK", &checked, Some(&a)).is_err());
            assert_eq!(
                runtime.call("CHECK", &config, Some(&b)).unwrap_err()["code"],
                7
            );
            // GC leaves what is named; DEL may be repeated, also when the namespace is gone.
            let mut gc = free.clone();
            gc["cni.dev/valid-attachments"] = json!([{ "containerID": "a", "ifname": "eth0" }]);
            runtime.call("GC", &gc, None).unwrap();
            assert!(!b.ip(&["-o", "link"]).contains("eth0"));
            assert!(a.ip(&["-o", "link"]).contains("eth0"));
            run("ip", &["netns", "del", "a"]);
            let gone = Container {
                id: "a",
                netns: String::new(),
            };
            for _ in 0..2 {
                assert_eq!(
                    runtime.call("DEL", &config, Some(&gone)).unwrap(),
                    Value::Null
                );
            }
            run("ip", &["netns", "del", "b"]);
            assert_eq!(links(), before);
        }
    });
}

#[test]
fn beside_plugins_of_debian() {
    on_host("beside_plugins_of_debian", |runtime| {
        let ipam =
            json!({ "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.72.0.0/24" }]] } });
        let plynet = config("0.4.0", ipam);
        let tuning = json!({ "cniVersion": "0.4.0", "name": "blue", "type": "tuning",
            "sysctl": { "net.ipv4.conf.eth0.arp_filter": "1" } });
        let list = [plynet, tuning];
        let a = Container::new("a");
        let said = runtime.list("ADD", &list, &a, &Value::Null).unwrap();
        assert_eq!(said["ips"][0]["address"], "10.72.0.2/24", "{said}");
        let leases = std::path::Path::new("/var/lib/cni/networks/blue");
        assert!(leases.join("10.72.0.2").exists());
        assert!(a.reaches("10.72.0.1"));
        runtime.list("CHECK", &list, &a, &said).unwrap();
        runtime.list("DEL", &list, &a, &said).unwrap();
        runtime.list("DEL", &list, &a, &said).unwrap();
        assert!(!leases.join("10.72.0.2").exists());
        // A container that cannot be attached gives its address back.
        let mut port = list[0].clone();
        port["runtimeConfig"] = json!({ "mac": "nonsense" });
        assert_eq!(runtime.call("ADD", &port, Some(&a)).unwrap_err()["code"], 7);
        assert!(!leases.join("10.72.0.3").exists());
        let mut missing = list[0].clone();
        missing["ipam"]["type"] = json!("nowhere");
        assert_eq!(
            runtime.call("ADD", &missing, Some(&a)).unwrap_err()["code"],
            7
        );
    });
}

#[test]
fn what_a_runtime_may_get_wrong() {
    on_host("what_a_runtime_may_get_wrong", |runtime| {
        let told = runtime
            .call(
                "VERSION",
                &json!({ "type": "plynet", "cniVersion": "1.0.0" }),
                None,
            )
            .unwrap();
        assert_eq!(
            told["supportedVersions"],
            json!(["0.4.0", "1.0.0", "1.1.0"])
        );
        let good = config("1.1.0", json!({}));
        let a = Container::new("a");
        let code = |command: &str, config: &Value, container| {
            let said = runtime.call(command, config, container).unwrap_err();
            assert!(
                said["msg"].is_string() && said["cniVersion"].is_string(),
                "{said}"
            );
            said["code"].as_u64().unwrap()
        };
        runtime.call("STATUS", &good, None).unwrap();
        assert_eq!(
            code("STATUS", &config("1.1.0", json!({ "ipam": {} })), None),
            50
        );
        assert_eq!(code("ADD", &good, None), 4);
        assert_eq!(code("NONSENSE", &good, Some(&a)), 4);
        assert_eq!(code("ADD", &config("9.0.0", json!({})), Some(&a)), 1);
        assert_eq!(
            code("ADD", &config("1.1.0", json!({ "mtu": "x" })), Some(&a)),
            6
        );
        assert_eq!(
            code("ADD", &config("1.1.0", json!({ "name": "../x" })), Some(&a)),
            7
        );
        assert_eq!(
            code("ADD", &config("1.1.0", json!({ "ipam": {} })), Some(&a)),
            7
        );
        let nowhere = Container {
            id: "x",
            netns: "/run/netns/nowhere".into(),
        };
        assert!(code("ADD", &good, Some(&nowhere)) > 2);
        let file = Container {
            id: "x",
            netns: "/etc/passwd".into(),
        };
        assert!(code("ADD", &good, Some(&file)) > 2);
        assert_eq!(links(), "lo");
        assert_eq!(code("CHECK", &good, Some(&a)), 3);
    });
}

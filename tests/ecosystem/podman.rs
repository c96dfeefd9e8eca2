//! podman 4 of Debian, with plynet where its netavark is, as root and as a plain user, and as a plugin of CNI.

use std::path::Path;
use std::process::Command;

use crate::support::env;

/// The scripts, which share `setting.sh`.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ecosystem");

/// What is needed by all of them.
const TOOLS: [&str; 5] = ["podman", "crun", "ip", "nft", "busybox"];

/// Runs a script in namespaces of its own; it says what is expected.
fn runs(name: &str, script: &str, tools: &[&str], expected: &str) {
    if !rustix::process::geteuid().is_root() {
        return env::cannot_run(name, "needs root (namespaces)");
    }
    let has = |tool: &&&str| Command::new(tool).arg("--version").output().is_ok();
    if let Some(tool) = TOOLS.iter().chain(tools).find(|tool| !has(tool)) {
        return env::cannot_run(name, &format!("{tool} is not installed"));
    }
    if !Path::new("/usr/lib/podman/rootlessport").exists() {
        return env::cannot_run(name, "podman's helpers are not where Debian has them");
    }
    let scratch = env::Scratch::new();
    let ran = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private", "bash"])
        .arg(Path::new(SCRIPTS).join(script))
        .arg(scratch.path())
        .arg(env!("CARGO_BIN_EXE_plynet"))
        .output()
        .expect("unshare runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (said, complaints) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{complaints}");
    assert_eq!(said, expected, "{complaints}");
}

#[test]
fn podman_with_plynet_as_its_netavark() {
    let expected = "\
== networks
== two containers
search dns.podman
nameserver 10.77.0.1
nameserver 192.0.2.9
hello
hello
name = web.blue.plynet
no such name on another network
no way into another network
== published
hello
hello
hello
hello
hello
1 packets received
== a port twice
port 8080/tcp of the host is taken by container
== without addresses
LOWER_UP
== another network for one that publishes
hello
hello
hello
hello
== restart
hello
hello
== gone
nothing is left
";
    let name = "podman_with_plynet_as_its_netavark";
    runs(name, "podman.sh", &[], expected);
}

#[test]
fn a_plain_users_podman() {
    let expected = "\
== two containers
search dns.podman
nameserver 10.77.0.1
nameserver 192.0.2.9
hello
hello
no way into another network
== published
hello
hello
== out
root:x:0:0:root:/:/bin/sh
== the user's own networks, beside podman's
10.90.0.2/24
client blue
other red
web blue
== restart
hello
hello
== gone
nothing is left
";
    let name = "a_plain_users_podman";
    let newuidmap = Path::new("/usr/bin/newuidmap");
    if !newuidmap.exists() {
        return env::cannot_run(name, "newuidmap is not installed (uidmap)");
    }
    runs(name, "podman_rootless.sh", &["slirp4netns"], expected);
}

#[test]
fn podmans_cni() {
    let expected = "\
== two networks
search blue.plynet
nameserver 10.77.0.1
nameserver 192.0.2.9
hello
hello
blue 10.77.0.4
red 10.78.0.2
no way into another network
10.99.0.0/16 via 10.78.0.9 dev eth0
== published, by portmap and by plynet
hello
hello
other
other
1 packets received
== other plugins
1
1
all is well
== restart
hello
hello
other
== gone
nothing is left
";
    let name = "podmans_cni";
    if !Path::new("/usr/lib/cni/portmap").exists() {
        return env::cannot_run(name, "containernetworking-plugins is not installed");
    }
    runs(name, "podman_cni.sh", &["iptables"], expected);
}

//! podman 4 of Debian, with plynet where its netavark is.

use std::path::Path;
use std::process::Command;

use crate::support::env;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ecosystem/podman.sh");

const SEEN: &str = "\
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
== restart
hello
hello
== gone
nothing is left
";

#[test]
fn podman_with_plynet_as_its_netavark() {
    const NAME: &str = "podman_with_plynet_as_its_netavark";
    if !rustix::process::geteuid().is_root() {
        return env::cannot_run(NAME, "needs root (namespaces)");
    }
    let has = |tool: &&&str| Command::new(tool).arg("--version").output().is_ok();
    if let Some(tool) = ["podman", "crun", "ip", "nft", "busybox"]
        .iter()
        .find(|tool| !has(tool))
    {
        return env::cannot_run(NAME, &format!("{tool} is not installed"));
    }
    if !Path::new("/usr/lib/podman/rootlessport").exists() {
        return env::cannot_run(NAME, "podman's helpers are not where Debian has them");
    }
    let scratch = env::Scratch::new();
    let ran = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--propagation",
            "private",
            "bash",
            SCRIPT,
        ])
        .arg(scratch.path())
        .arg(env!("CARGO_BIN_EXE_plynet"))
        .output()
        .expect("unshare runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (said, complaints) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{complaints}");
    assert_eq!(said, SEEN, "{complaints}");
}

//! The socket by which slirp4netns is told which ports of the machine lead into the namespace (slirp4netns(1), "API
//! socket"): one connection for each request, in JSON. IPv4 only, and all addresses of the machine.

use std::io::{Error, Read, Result, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::net::claims::PortClaim;

const PATIENCE: Duration = Duration::from_secs(2);

/// A port that is forwarded.
#[derive(Debug, Deserialize)]
struct Forwarded {
    id: u64,
    proto: String,
    host_port: u16,
}

impl Forwarded {
    fn is(&self, claim: &PortClaim) -> bool {
        self.proto == claim.proto.word() && self.host_port == claim.port
    }
}

/// Has these ports forwarded, and no others. A port that cannot be is no reason to leave out the rest.
///
/// # Errors
/// What the socket, or slirp4netns, says.
pub(super) fn publish(socket: &Path, claims: &[PortClaim]) -> Result<()> {
    let all = || claims.iter().filter(|claim| claim.host_ip.is_none());
    let listed = call(socket, &json!({ "execute": "list_hostfwd" }))?;
    let there: Vec<Forwarded> = serde_json::from_value(listed["entries"].clone())?;
    let mut outcome = Ok(());
    let unwanted = there.iter().filter(|one| !all().any(|claim| one.is(claim)));
    let remove =
        |one: &Forwarded| json!({ "execute": "remove_hostfwd", "arguments": { "id": one.id } });
    let missing = all().filter(|claim| !there.iter().any(|one| one.is(claim)));
    let add = |claim: &PortClaim| {
        let port = claim.port;
        let arguments = json!({ "proto": claim.proto, "host_port": port, "guest_port": port });
        json!({ "execute": "add_hostfwd", "arguments": arguments })
    };
    for request in unwanted.map(remove).chain(missing.map(add)) {
        outcome = outcome.and(call(socket, &request).map(drop));
    }
    outcome
}

fn call(socket: &Path, request: &Value) -> Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.to_string().as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let mut said: Value = serde_json::from_str(&text)?;
    match said.get("error") {
        Some(error) => Err(Error::other(format!("{request}: {error}"))),
        // The list comes without "return" up to version 1.2, at least.
        None => Ok(match said.get_mut("return") {
            Some(value) => value.take(),
            None => said,
        }),
    }
}

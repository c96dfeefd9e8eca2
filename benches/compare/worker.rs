//! One run in a process of its own: namespaces and working directories of runs do not meet, and what a run leaves
//! behind ends with it.

use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::place::Place;
use crate::scenario::{self, Run, Scenario, Site};
use crate::servers::Server;

/// What the process is told.
#[derive(Serialize, Deserialize)]
struct Order {
    scenario: String,
    server: String,
    root: std::path::PathBuf,
    size: u64,
}

/// Name of a row, and its figure.
pub type Figures = Vec<(String, f64)>;

/// Starts a run and waits for its figures.
pub fn start(
    place: &Place,
    scenario: &Scenario,
    server: Server,
    size: u64,
) -> Result<Figures, String> {
    let site = place.site(size);
    let order = Order {
        scenario: scenario.name.into(),
        server: server.name().into(),
        root: site.root,
        size,
    };
    let own = std::env::current_exe().unwrap();
    let mut command = match server {
        Server::Rootless => {
            let mut command = Command::new("unshare");
            command
                .args(["--user", "--map-root-user", "--mount"])
                .arg(own);
            command
        }
        _ => Command::new(own),
    };
    command
        .arg("--run")
        .arg(serde_json::to_string(&order).unwrap());
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let out = command.output().map_err(|e| e.to_string())?;
    if !out.status.success() {
        return Err(out.status.to_string());
    }
    serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())
}

/// The process of a run.
pub fn main(order: &str) {
    let order: Order = serde_json::from_str(order).unwrap();
    let scenarios = scenario::all();
    let scenario = scenarios.iter().find(|s| s.name == order.scenario).unwrap();
    let site = Site {
        root: order.root,
        size: order.size,
    };
    let mut run = Run::new(site, Server::named(&order.server));
    (scenario.run)(&mut run);
    println!("{}", serde_json::to_string(&run.end()).unwrap());
}

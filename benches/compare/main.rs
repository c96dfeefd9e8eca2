//! plyfs beside the kernel's overlayfs and fuse-overlayfs 2.0, in one run on one machine.
//!
//! ```sh
//! cargo bench --bench compare                               # all of it; root, an idle machine, some 20 minutes
//! cargo bench --bench compare -- --quick                    # smaller and once: does it work?
//! cargo bench --bench compare -- --only git,"find fresh"    # some rows
//! cargo bench --bench compare -- --docs                     # and the table and the chart of docs/ are replaced
//! ```
//!
//! A scenario makes its lower layers once. Then it runs for each server by turns, as often as there are repeats: with
//! an upper layer of its own, on layers of which nothing is cached, in a process and a mount namespace of its own. A
//! run looks at what it reads and at what it made, so a mount that answers wrongly fails instead of winning.
//!
//! Read in this order: `scenario` (what a run is given), `walk` (a family of scenarios), `servers`, `worker` (a run),
//! `place` (where layers live), `rings`, `table`, `targets`, `chart`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // What goes wrong here is told by the panic.

use std::path::PathBuf;

use clap::Parser;

use place::Place;
use rings::Offer;
use scenario::Scenario;
use servers::Server;
use table::Table;

mod build;
mod change;
mod chart;
mod copyup;
mod data;
mod deep;
mod ffi;
mod listing;
mod memory;
mod place;
mod programs;
mod random;
mod rings;
mod scenario;
mod servers;
mod small;
mod table;
mod targets;
mod walk;
mod worker;

/// What to measure, and what to write.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Only scenarios with one of these words in their name or in that of a row, comma separated
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each server runs
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Smaller, and each server once
    #[arg(long)]
    quick: bool,
    /// Whom to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Server::ALL)]
    servers: Vec<Server>,
    /// Where the image with the layers is made; in memory, so that no disk is measured
    #[arg(long, default_value = "/dev/shm")]
    place: PathBuf,
    /// Write every figure here
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the table as Markdown here
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Draw the ratios here
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Replace the table of docs/performance.md and the chart docs/performance.svg
    #[arg(long)]
    docs: bool,
    /// Measure nothing: take the figures from files that --json wrote, for different rows
    #[arg(long, value_delimiter = ',')]
    from: Vec<PathBuf>,
    /// List scenarios and rows
    #[arg(long)]
    list: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// This process is one run
    #[arg(long, hide = true)]
    run: Option<String>,
}

impl Options {
    fn wants(&self, scenario: &Scenario) -> bool {
        let names = || scenario.rows.iter().copied().chain([scenario.name]);
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|w| names().any(|name| name.contains(w)))
    }

    /// Part of the full size that things have.
    fn size(&self) -> u64 {
        if self.quick { 10 } else { 100 }
    }

    fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.repeats.max(1) }
    }
}

fn main() {
    let options = Options::parse();
    if let Some(run) = &options.run {
        return worker::main(run);
    }
    let scenarios = scenario::all();
    if options.list {
        for scenario in &scenarios {
            println!("{}: {}", scenario.name, scenario.rows.join(", "));
        }
        return;
    }
    let table = if options.from.is_empty() {
        if !place::in_own_namespace() {
            return place::enter_own_namespace();
        }
        measure(&options, &scenarios)
    } else {
        let tables = options.from.iter().map(|path| Table::read(path));
        tables.reduce(Table::joined).expect("a file")
    };
    print!("{}", table.text());
    write(&options, &table);
}

fn measure(options: &Options, scenarios: &[Scenario]) -> Table {
    place::warn_if_busy();
    if options.servers.contains(&Server::Peer) {
        servers::install_peer();
    }
    let mut servers = options.servers.clone();
    let with_rings = servers.contains(&Server::Rings).then(Offer::new);
    if let Some(Err(why)) = &with_rings {
        eprintln!("{}: CANNOT RUN HERE: {why}", Server::Rings.name());
        servers.retain(|server| *server != Server::Rings);
    }
    let place = Place::new(&options.place);
    let mut table = Table::new(options, &servers);
    for scenario in scenarios.iter().filter(|s| options.wants(s)) {
        let start = std::time::Instant::now();
        if let Some(missing) = scenario.missing_program() {
            eprintln!("{}: CANNOT RUN HERE: no {missing}", scenario.name);
            continue;
        }
        place.build(scenario, options.size());
        for _ in 0..options.rounds() {
            for server in &servers {
                place.cool();
                place.refresh();
                match worker::start(&place, scenario, *server, options.size()) {
                    Ok(figures) => table.add(*server, figures),
                    Err(why) => {
                        eprintln!("{}: {server:?} FAILED: {why}", scenario.name);
                        table.fail(*server, scenario);
                    }
                }
            }
        }
        eprint!("{}", table.progress(scenario, start.elapsed()));
    }
    table
}

fn write(options: &Options, table: &Table) {
    let docs = |name: &str| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(name)
    };
    let write = |path: &PathBuf, text: String| {
        std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    };
    if let Some(path) = &options.json {
        write(path, table.json());
    }
    if let Some(path) = &options.markdown {
        write(path, table.markdown());
    }
    if let Some(path) = &options.svg {
        write(path, chart::svg(table));
    }
    if options.docs {
        let path = docs("performance.md");
        let text = std::fs::read_to_string(&path).unwrap();
        write(&path, table::replaced(&text, &table.markdown()));
        write(&docs("performance.svg"), chart::svg(table));
    }
}

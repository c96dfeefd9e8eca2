//! The figures: medians, ratios, and the forms in which they are given away.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Options;
use crate::scenario::{self, Scenario};
use crate::servers::Server;
use crate::targets;
use crate::worker::Figures;

const START: &str = "<!-- compare: start -->";
const END: &str = "<!-- compare: end -->";

/// All figures of a run.
#[derive(Serialize, Deserialize)]
pub struct Table {
    machine: String,
    repeats: usize,
    percent_of_full_size: u64,
    servers: Vec<String>,
    /// By row, then by server; seconds, or bytes of memory.
    figures: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    /// Runs that failed: scenario and server.
    failed: Vec<(String, String)>,
}

impl Table {
    pub fn new(options: &Options, servers: &[Server]) -> Table {
        Table {
            machine: machine(),
            repeats: options.rounds(),
            percent_of_full_size: options.size(),
            servers: servers.iter().map(|server| server.name().into()).collect(),
            figures: BTreeMap::new(),
            failed: Vec::new(),
        }
    }

    /// What [`Table::json`] wrote.
    pub fn read(path: &Path) -> Table {
        let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// With the rows of another.
    pub fn joined(mut self, other: Table) -> Table {
        self.repeats = self.repeats.min(other.repeats);
        let names = Server::ALL.map(Server::name).into_iter();
        let in_either = |name: &&str| self.has(name) || other.has(name);
        self.servers = names.filter(in_either).map(String::from).collect();
        self.figures.extend(other.figures);
        self.failed.extend(other.failed);
        self
    }

    pub fn add(&mut self, server: Server, figures: Figures) {
        for (row, figure) in figures {
            let of_row = self.figures.entry(row).or_default();
            of_row.entry(server.name().into()).or_default().push(figure);
        }
    }

    pub fn fail(&mut self, server: Server, scenario: &Scenario) {
        self.failed
            .push((scenario.name.into(), server.name().into()));
    }

    fn has(&self, server: &str) -> bool {
        self.servers.iter().any(|name| name == server)
    }

    /// Half of the runs were no worse.
    pub fn median(&self, row: &str, server: Server) -> Option<f64> {
        let mut all = self.figures.get(row)?.get(server.name())?.clone();
        all.sort_by(f64::total_cmp);
        let middle = all.len() / 2;
        if all.len().is_multiple_of(2) {
            Some(f64::midpoint(
                *all.get(middle.checked_sub(1)?)?,
                all[middle],
            ))
        } else {
            all.get(middle).copied()
        }
    }

    /// Ratio of medians.
    pub fn ratio(&self, row: &str, of: Server, to: Server) -> Option<f64> {
        Some(self.median(row, of)? / self.median(row, to)?)
    }

    /// Rows in their order, as far as measured.
    pub fn rows(&self) -> impl Iterator<Item = &'static str> {
        let all = scenario::all()
            .into_iter()
            .flat_map(|scenario| scenario.rows);
        all.copied().filter(|row| self.figures.contains_key(*row))
    }

    /// Who was measured, in the order of the columns.
    pub fn server_columns(&self) -> Vec<Server> {
        self.servers
            .iter()
            .map(|name| Server::named(name))
            .collect()
    }

    fn head(&self) -> Vec<String> {
        let mut head = vec![String::from("row")];
        for server in self.server_columns() {
            head.push(server.name().into());
            if server != Server::Kernel {
                head.push("x kernel".into());
            }
            if server.is_plyfs() {
                head.push("x fo2".into());
            }
        }
        head.push("target".into());
        head
    }

    fn cells(&self, row: &str) -> Vec<String> {
        let times = |of, to| {
            self.ratio(row, of, to)
                .map_or("-".into(), |ratio| format!("{ratio:.2}"))
        };
        let mut cells = vec![String::from(row)];
        for server in self.server_columns() {
            cells.push(
                self.median(row, server)
                    .map_or("-".into(), |figure| shown(row, figure)),
            );
            if server != Server::Kernel {
                cells.push(times(server, Server::Kernel));
            }
            if server.is_plyfs() {
                cells.push(times(server, Server::Peer));
            }
        }
        cells.push(targets::verdicts(self, row));
        cells
    }

    /// The rows of one scenario, as they come in.
    pub fn progress(&self, scenario: &Scenario, took: Duration) -> String {
        let mut text = format!("{} ({:.0} s)\n", scenario.name, took.as_secs_f64());
        for row in scenario.rows {
            let of = |server: &Server| {
                let figure = self
                    .median(row, *server)
                    .map_or("-".into(), |figure| shown(row, figure));
                format!("{figure:>9}")
            };
            let columns: Vec<_> = self.server_columns().iter().map(of).collect();
            writeln!(
                text,
                "  {row:42} {}  {}",
                columns.join(" "),
                targets::verdicts(self, row)
            )
            .unwrap();
        }
        text
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let rows: Vec<_> = [self.head()]
            .into_iter()
            .chain(self.rows().map(|row| self.cells(row)))
            .collect();
        let columns = rows.first().map_or(0, Vec::len);
        let width = |i: usize| rows.iter().map(|row| row[i].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end()).unwrap();
        }
        text + "\n" + &self.summary()
    }

    /// What no row says.
    fn summary(&self) -> String {
        let mut text = format!("{}; medians of {}", self.machine, self.repeats);
        if self.percent_of_full_size != 100 {
            write!(
                text,
                "; {} % of the full size: not for comparisons",
                self.percent_of_full_size
            )
            .unwrap();
        }
        text += ".\n";
        if let Some(mean) = targets::metadata_mean(self, Server::Plyfs) {
            let verdict = if mean >= 3.0 { "holds" } else { "**missed**" };
            let rings = targets::metadata_mean(self, Server::Rings)
                .map_or(String::new(), |mean| format!(", rings {mean:.2}"));
            writeln!(
                text,
                "Names and attributes, geometric mean: {mean:.2} times faster than fuse-overlayfs 2.0 (>= 3) {verdict}{rings}."
            )
            .unwrap();
        }
        for (scenario, server) in &self.failed {
            writeln!(text, "FAILED: {scenario} on {server}.").unwrap();
        }
        text
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let head = self.head();
        let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        for row in self.rows() {
            writeln!(text, "| {} |", self.cells(row).join(" | ")).unwrap();
        }
        text + "\n" + &self.summary()
    }

    /// For a machine.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap() + "\n"
    }
}

/// The document with another table between its marks.
pub fn replaced(document: &str, table: &str) -> String {
    let (before, rest) = document
        .split_once(START)
        .expect("the mark where the table starts");
    let (_, after) = rest.split_once(END).expect("the mark where the table ends");
    format!("{before}{START}\n{table}{END}{after}")
}

fn shown(row: &str, figure: f64) -> String {
    match figure {
        _ if row.starts_with("memory") => format!("{:.1} MiB", figure / f64::from(1 << 20)),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.2} ms", s * 1e3),
    }
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version: String = release
        .trim()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    format!(
        "Linux {}, {cpus} CPUs, ext4 in memory",
        version.trim_end_matches('.')
    )
}

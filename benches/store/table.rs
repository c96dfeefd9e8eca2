//! The figures, side by side, with what they are to reach.

use std::fmt::Write;

use serde_json::json;

use crate::measure::{Costs, Kind};

/// One comparison.
struct Row {
    what: String,
    ours: String,
    other: String,
    value: f64,
    /// The value is to be no larger.
    bar: f64,
    unit: &'static str,
}

impl Row {
    fn holds(&self) -> bool {
        self.value <= self.bar
    }

    fn cells(&self) -> [String; 5] {
        let Row { unit, .. } = self;
        [
            self.what.clone(),
            self.ours.clone(),
            self.other.clone(),
            format!("{:.2}{unit}", self.value),
            format!(
                "{}{unit} {}",
                self.bar,
                if self.holds() { "holds" } else { "MISSED" }
            ),
        ]
    }
}

/// All comparisons.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

const HEAD: [&str; 5] = [
    "what",
    "plyfs, CPU / wall",
    "beside it",
    "value",
    "to reach",
];

impl Table {
    /// Two sides: their ratio is to be no larger than `bar`.
    pub fn ratio(
        &mut self,
        what: &str,
        kind: Kind,
        ours: &Costs,
        peer: &str,
        theirs: &Costs,
        bar: f64,
    ) {
        let how = match kind {
            Kind::Wall => "wall",
            Kind::Cpu => "CPU",
        };
        self.rows.push(Row {
            what: format!("{what}, {how}"),
            ours: both(ours),
            other: format!("{peer} {}", both(theirs)),
            value: ours.median(kind) / theirs.median(kind),
            bar,
            unit: " x",
        });
    }

    /// One side: it is to take no longer than `bar` milliseconds.
    pub fn within(&mut self, what: &str, ours: &Costs, bar: f64) {
        self.rows.push(Row {
            what: format!("{what}, wall"),
            ours: both(ours),
            other: String::new(),
            value: ours.median(Kind::Wall) * 1e3,
            bar,
            unit: " ms",
        });
    }

    /// A share of something, to be no larger than `bar` percent.
    pub fn share(&mut self, what: &str, ours: String, of: String, percent: f64, bar: f64) {
        self.rows.push(Row {
            what: what.into(),
            ours,
            other: of,
            value: percent,
            bar,
            unit: " %",
        });
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let rows: Vec<_> = self.rows.iter().map(Row::cells).collect();
        let head = HEAD.map(String::from);
        let all = || [&head].into_iter().chain(&rows);
        let widths = [0, 1, 2, 3, 4].map(|i| all().map(|row| row[i].len()).max().unwrap_or(0));
        let mut text = String::new();
        for row in all() {
            let cells = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(text, "{}", line.trim_end()).unwrap();
        }
        text
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|---|---|---|---|---|\n", HEAD.join(" | "));
        for row in &self.rows {
            writeln!(text, "| {} |", row.cells().join(" | ")).unwrap();
        }
        text
    }

    /// For a machine.
    pub fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            json!({
                "what": row.what, "plyfs": row.ours, "beside": row.other, "value": row.value,
                "unit": row.unit.trim(), "bar": row.bar, "holds": row.holds(),
            })
        });
        serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).unwrap()
    }
}

/// Time of the processor, and on the clock.
fn both(costs: &Costs) -> String {
    let [cpu, wall] = [Kind::Cpu, Kind::Wall].map(|kind| seconds(costs.median(kind)));
    format!("{cpu} / {wall}")
}

fn seconds(s: f64) -> String {
    if s < 1.0 {
        format!("{:.1} ms", s * 1e3)
    } else {
        format!("{s:.2} s")
    }
}

//! The ratios as bars, on a scale where twice as fast is as far from the kernel as twice as slow.

use std::fmt::Write;

use crate::servers::Server;
use crate::table::Table;

/// Rows of the chart, and what it calls them.
const ROWS: &[(&str, &str)] = &[
    ("stat warm", "stat, warm"),
    ("stat fresh", "stat, new mount"),
    ("find fresh", "find, new mount"),
    ("missing names, warm", "missing names, warm"),
    (
        "missing name fresh, 500 layers",
        "missing names, 500 layers",
    ),
    ("readdir fresh", "readdir of 50,000 names"),
    ("open+read+close warm", "open+read+close, warm"),
    ("create", "create"),
    ("create, merged parent", "create in a merged directory"),
    ("mkdir", "mkdir"),
    ("rename", "rename"),
    ("unlink", "unlink"),
    ("tar -x", "tar -x"),
    ("rm -rf", "rm -rf"),
    ("rm -rf of lower files", "rm -rf of lower files"),
    ("append to small lower files", "append to lower files"),
    ("chmod of lower files", "chmod of lower files"),
    ("4k writes", "4k writes"),
    ("4k writes, O_DIRECT, aio", "4k writes, O_DIRECT, aio"),
    ("read of a lower file, warm", "read of a large file, warm"),
    ("write", "write of a large file"),
    ("sqlite, rollback journal", "sqlite, rollback journal"),
    ("sqlite, WAL", "sqlite, WAL"),
    ("git status warm", "git status, warm"),
    ("python start, warm", "python start"),
    ("C build", "C build"),
];

const COLUMNS: &[(Server, &str)] = &[
    (Server::Plyfs, "#2a6fb0"),
    (Server::Rings, "#1d9a8a"),
    (Server::Rootless, "#7fb3dd"),
    (Server::Peer, "#d98b3a"),
];

const LABELS: f64 = 230.0;
const WIDTH: f64 = 860.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 64.0;
const BAR: f64 = 7.0;
const GAP: f64 = 9.0;
/// The scale reaches from 1/16 to 32 times the kernel's time; what is beyond ends at the border.
const LEAST: f64 = -4.0;
const MOST: f64 = 5.0;

fn x(ratio: f64) -> f64 {
    let place = (ratio.log2().clamp(LEAST, MOST) - LEAST) / (MOST - LEAST);
    LABELS + place * (WIDTH - LABELS - RIGHT)
}

/// The chart of a table.
pub fn svg(table: &Table) -> String {
    let has = |row: &&(&str, &str)| table.ratio(row.0, Server::Plyfs, Server::Kernel).is_some();
    let rows: Vec<_> = ROWS.iter().filter(has).collect();
    let measured = table.server_columns();
    let columns: Vec<_> = COLUMNS
        .iter()
        .filter(|(server, _)| measured.contains(server))
        .collect();
    let bars = columns.len() as f64 * BAR;
    let step = bars + GAP;
    let height = TOP + rows.len() as f64 * step + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"14\">Time beside kernel overlayfs = 1 (less is faster)</text>\n"
    );
    legend(&mut svg, &columns);
    scale(&mut svg, height);
    for (i, (row, label)) in rows.iter().enumerate() {
        let y = TOP + i as f64 * step;
        let middle = y + bars / 2.0 + 4.0;
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{middle:.0}\" text-anchor=\"end\">{label}</text>",
            LABELS - 8.0
        )
        .unwrap();
        for (n, (server, colour)) in columns.iter().enumerate() {
            if let Some(ratio) = table.ratio(row, *server, Server::Kernel) {
                bar(&mut svg, ratio, y + n as f64 * BAR, colour);
            }
        }
    }
    svg + "</svg>\n"
}

fn bar(svg: &mut String, ratio: f64, y: f64, colour: &str) {
    let (from, to) = (x(ratio.min(1.0)), x(ratio.max(1.0)));
    let (width, height) = ((to - from).max(1.0), BAR - 1.0);
    writeln!(
        svg,
        "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\">\
         <title>{ratio:.2}</title></rect>"
    )
    .unwrap();
    let at = if ratio < 1.0 { x(1.0) + 4.0 } else { to + 4.0 };
    writeln!(
        svg,
        "<text x=\"{at:.1}\" y=\"{:.1}\" font-size=\"7\" fill=\"#444\">{ratio:.2}</text>",
        y + BAR - 1.0
    )
    .unwrap();
}

fn legend(svg: &mut String, columns: &[&(Server, &str)]) {
    for (n, (server, colour)) in columns.iter().enumerate() {
        let at = LABELS + 145.0 * n as f64;
        writeln!(
            svg,
            "<rect x=\"{at}\" y=\"28\" width=\"12\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"37\">{}</text>",
            at + 17.0,
            server.name()
        )
        .unwrap();
    }
}

fn scale(svg: &mut String, height: f64) {
    for power in LEAST as i32..=MOST as i32 {
        let at = x(f64::from(power).exp2());
        let colour = if power == 0 { "#222" } else { "#ddd" };
        let label = if power < 0 {
            format!("1/{}", 1 << -power)
        } else {
            (1 << power).to_string()
        };
        writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"58\" y2=\"{height}\" stroke=\"{colour}\"/>\
             <text x=\"{at:.1}\" y=\"54\" font-size=\"9\" text-anchor=\"middle\" fill=\"#666\">{label}</text>"
        )
        .unwrap();
    }
}

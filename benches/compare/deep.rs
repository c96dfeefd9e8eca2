//! Stacks of many layers: mounting them, and names that the top, the bottom, or no layer has.

use std::fs;
use std::path::Path;

use crate::place::must;
use crate::scenario::{Run, Scenario, Site};
use crate::servers;

const NAMES: usize = 2_000;

pub fn scenarios() -> Vec<Scenario> {
    macro_rules! of_depth {
        ($depth:literal) => {
            Scenario {
                name: concat!("depth ", $depth),
                rows: &[
                    concat!("mount, ", $depth, " layers"),
                    concat!("unmount, ", $depth, " layers"),
                    concat!("lookup fresh, ", $depth, " layers"),
                    concat!("missing name fresh, ", $depth, " layers"),
                    concat!("readdir fresh, ", $depth, " layers"),
                ],
                programs: &[],
                build: |site| build(site, $depth),
                run: |r| run(r, $depth),
            }
        };
    }
    vec![of_depth!(1), of_depth!(10), of_depth!(100), of_depth!(500)]
}

/// All layers have directory `d`, and share its names.
fn build(site: &Site, depth: usize) {
    for n in 1..=depth {
        fs::create_dir(site.lower(n).join("d")).unwrap();
    }
    for i in 0..site.scaled(NAMES) {
        fs::write(
            site.lower(i * 7 % depth + 1).join(format!("d/name-{i}")),
            "1",
        )
        .unwrap();
    }
}

fn run(run: &mut Run, depth: usize) {
    let row = |what: &str| format!("{what}, {depth} layers");
    let names = run.site.scaled(NAMES);
    std::env::set_current_dir(&run.site.root).unwrap();
    let options = servers::options(run.server, depth, "");
    let server = run.server;
    // Once unmeasured: what the run before left for the kernel to do is done then, and the program is in memory.
    must(&mut server.mount_command(&options));
    must(&mut server.unmount_command());
    run.time(&row("mount"), || must(&mut server.mount_command(&options)));
    assert_eq!(fs::read_dir("m/d").unwrap().count(), names);
    run.time(&row("unmount"), || must(&mut server.unmount_command()));
    std::env::set_current_dir("/").unwrap();
    let dir = run.mount(depth).join("d");
    run.time(&row("lookup fresh"), || look(&dir, names, true));
    let dir = run.mount(depth).join("d");
    run.time(&row("missing name fresh"), || look(&dir, names, false));
    let dir = run.mount(depth).join("d");
    assert_eq!(
        run.time(&row("readdir fresh"), || fs::read_dir(&dir)
            .unwrap()
            .count()),
        names
    );
}

fn look(dir: &Path, names: usize, there: bool) {
    let prefix = if there { "name" } else { "none" };
    for i in 0..names {
        let found = fs::symlink_metadata(dir.join(format!("{prefix}-{i}")));
        assert_eq!(found.is_ok(), there, "{prefix}-{i}");
    }
}

//! Hard link farms: one inode under a thousand names, in several directories and layers.

use super::support::scenario::Scenario;

const NAMES: usize = 1000;

#[test]
fn t079_a_thousand_names_of_one_file() {
    Scenario::new(
        "T079",
        "each name of a lower hard link farm goes its own way",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1).file("d0/n0", "shared").mode("d0/n0", 0o644);
        l.lower(2).file("below", "shared below");
        for n in 1..NAMES {
            l.lower(1).link("d0/n0", &format!("d{}/n{n}", n % 10));
        }
        for n in 0..50 {
            l.lower(2).link("below", &format!("d{}/below{n}", n % 10));
        }
    })
    .steps(|s| {
        for n in (0..NAMES).step_by(7) {
            let path = format!("d{}/n{n}", n % 10);
            match n % 5 {
                0 => s.write(&path, "its own").ok(),
                1 => s.chmod(&path, 0o600).ok(),
                2 => s.unlink(&path).ok(),
                3 => s.rename(&path, &format!("d{}/moved{n}", (n + 1) % 10)).ok(),
                _ => s.link(&path, &format!("d0/linked{n}")).ok(),
            }
        }
        for n in 0..NAMES {
            s.read(&format!("d{}/n{n}", n % 10)).noted();
        }
        for n in 0..50 {
            s.rename(&format!("d{}/below{n}", n % 10), "one-after-the-other")
                .ok();
            s.read("one-after-the-other").is("\"shared below\"");
        }
        s.work_residue().is("");
    });
}

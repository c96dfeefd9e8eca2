//! kill -9 at random moments: whatever was being done, the store is then as before or as after, and nothing is lost.
//!
//! `PLYFS_KILLS=100` kills more often than a usual run does. The seed is printed; `PLYFS_SEED` repeats it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::{Shop, names, one};
use crate::support::dice::Dice;

/// Kills of a usual run, for each verb and driver.
const KILLS: u32 = 6;

pub fn kills() -> u32 {
    let asked = std::env::var("PLYFS_KILLS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

impl Shop<'_> {
    /// Starts a call and kills it after a random part of the time that it usually takes; true when it was done by then.
    pub fn killed(&self, dice: &mut Dice, usual: Duration, args: &[&str]) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plyfs"));
        command.arg("--root").arg(self.root());
        command.args(["--progress", "none"]).args(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let micros = usize::try_from(usual.as_micros()).unwrap().max(1);
        std::thread::sleep(Duration::from_micros(dice.roll(micros) as u64));
        child.kill().unwrap();
        child.wait().unwrap().success()
    }

    /// How long a call takes.
    pub fn time(&self, args: &[&str]) -> Duration {
        let start = Instant::now();
        self.ok(args);
        start.elapsed()
    }

    /// Whatever happened, the store is whole, and after gc there is nothing in it that nobody knows.
    pub fn is_whole(&self) {
        let said = self.call(&["store", "check"]);
        assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
        self.ok(&["store", "gc"]);
        self.is_clean();
        for place in ["tmp", "trash"] {
            assert_eq!(fs::read_dir(self.root().join(place)).unwrap().count(), 0);
        }
    }

    /// A container with changes, the same each time.
    fn changed(&self, base: &str) -> String {
        let container = self.ok(&["--sync", "none", "container", "create", "--layer", base]);
        let changes = match self.driver {
            "overlay" => "upper",
            _ => "root",
        };
        let changes = self.root().join(self.driver).join(&container).join(changes);
        for i in 0..60 {
            fs::write(changes.join(format!("new{i}")), "x".repeat(5000)).unwrap();
        }
        container
    }
}

pub fn both(name: &'static str, test: impl Fn(&Shop, &mut Dice, &str) + Sync) {
    for driver in ["overlay", "vfs"] {
        one(name, driver, false, |shop| {
            let mut dice = Dice::new(seed());
            let base = shop.dir("base", "for i in $(seq 60); do echo $i > f$i; done");
            let base = shop.ok(&["layer", "create", "--from-dir", &base]);
            test(shop, &mut dice, &base);
        });
    }
}

fn seed() -> u64 {
    let asked = std::env::var("PLYFS_SEED").ok();
    let seed = asked.and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("PLYFS_SEED={seed}");
    seed
}

fn has_changes(tree: &Path) -> bool {
    names(tree)
        .split(' ')
        .filter(|name| name.starts_with("new"))
        .count()
        == 60
}

#[test]
fn killed_commits_lose_nothing() {
    both("killed_commits_lose_nothing", |shop, dice, base| {
        for rm in [false, true] {
            let words = |container: &str| {
                let mut words = vec!["container".to_string(), "commit".into(), container.into()];
                words.extend(rm.then(|| "--rm".to_string()));
                words
            };
            let warm = words(&shop.changed(base));
            let warm: Vec<&str> = warm.iter().map(String::as_str).collect();
            let usual = shop.time(&warm);
            for _ in 0..kills() {
                let container = shop.changed(base);
                let before = shop.ids("layer");
                let args = words(&container);
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                shop.killed(dice, usual, &args);
                shop.is_whole();
                let layers = shop.ids("layer");
                let made: Vec<&String> = layers.iter().filter(|id| !before.contains(id)).collect();
                assert!(made.len() <= 1);
                for id in &made {
                    assert!(has_changes(
                        &shop.root().join(shop.driver).join(id).join("root")
                    ));
                }
                let kept = shop.ids("container").contains(&container);
                if kept {
                    let changes =
                        shop.json(&["container", "inspect", &container])["changes"].clone();
                    assert!(has_changes(Path::new(changes.as_str().unwrap())));
                    shop.ok(&["container", "rm", &container]);
                }
                assert!(kept || (rm && made.len() == 1), "the changes are lost");
                for id in made {
                    shop.ok(&["layer", "rm", id]);
                }
            }
        }
    });
}

#[test]
fn killed_creations_and_removals_are_before_or_after() {
    both("killed_creations_and_removals", |shop, dice, base| {
        let dir = shop.place.at("files/base");
        let create = [
            "layer",
            "create",
            "--parent",
            base,
            "--from-dir",
            dir.to_str().unwrap(),
            "--name",
            "n",
        ];
        let usual = shop.time(&create);
        let usual_rm = shop.time(&["layer", "rm", "n"]);
        for _ in 0..kills() {
            shop.killed(dice, usual, &create);
            shop.is_whole();
            if shop.call(&["layer", "inspect", "n"]).code != Some(0) {
                // Published, perhaps, but not named: names come last.
                for id in shop.ids("layer").iter().filter(|id| *id != base) {
                    shop.ok(&["layer", "rm", id]);
                }
                shop.ok(&create);
            }
            let container = shop.changed("n");
            shop.killed(dice, usual_rm, &["container", "rm", &container]);
            shop.is_whole();
            if shop.ids("container").contains(&container) {
                shop.ok(&["container", "rm", &container]);
            }
            shop.killed(dice, usual_rm, &["layer", "rm", "n"]);
            shop.is_whole();
            for id in shop.ids("layer").iter().filter(|id| *id != base) {
                shop.ok(&["layer", "rm", id]);
            }
        }
    });
}

#[test]
fn killed_garbage_collections_go_on_later() {
    both("killed_garbage_collections", |shop, dice, base| {
        let junk = |shop: &Shop| {
            for place in ["trash/a", "trash/b", "tmp/1-1/content", "overlay/0f/root"] {
                let place = shop.root().join(place);
                fs::create_dir_all(&place).unwrap();
                for i in 0..40 {
                    fs::write(place.join(i.to_string()), "").unwrap();
                }
            }
        };
        junk(shop);
        let usual = shop.time(&["store", "gc"]);
        for _ in 0..kills() {
            junk(shop);
            shop.killed(dice, usual, &["store", "gc"]);
            shop.is_whole();
            assert_eq!(shop.ids("layer"), [base]);
        }
    });
}

#[test]
fn an_interrupted_call_cleans_up_after_itself() {
    both("an_interrupted_call_cleans_up", |shop, _, base| {
        let dir = shop.dir("many", "seq 8000 | xargs touch");
        let tmp = shop.root().join("tmp");
        for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_plyfs"));
            command.arg("--root").arg(shop.root());
            command.args(["--progress", "none"]);
            command.args(["layer", "create", "--parent", base, "--from-dir", &dir]);
            let child = command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let started = || {
                let mut staged = fs::read_dir(&tmp).unwrap().flatten();
                staged.any(|entry| entry.path().join("content/root/1").exists())
            };
            crate::tool::wait_until("the copy's beginning", started);
            crate::tool::signal(child.id(), signal);
            let output = child.wait_with_output().unwrap();
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(
                (output.status.code(), err.as_str()),
                (Some(1), "plyfs: interrupted\n")
            );
            assert!(output.stdout.is_empty());
            shop.is_clean();
            assert_eq!(shop.ids("layer"), [base]);
        }
    });
}

#[test]
fn many_work_at_a_time_while_garbage_is_collected() {
    both("many_work_at_a_time", |shop, _, base| {
        std::thread::scope(|scope| {
            for worker in 0..4 {
                scope.spawn(move || {
                    for _ in 0..5 {
                        let container = shop.changed(base);
                        let mut commit = vec!["--sync", "none", "container", "commit", &container];
                        commit.extend((worker % 2 == 0).then_some("--rm"));
                        let layer = shop.ok(&commit);
                        assert!(has_changes(
                            &shop.root().join(shop.driver).join(&layer).join("root")
                        ));
                        shop.ok(&["layer", "rm", &layer]);
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..10 {
                    let said = shop.call(&["store", "gc"]);
                    assert!(matches!(said.code, Some(0 | 8)), "{said:?}");
                    assert_eq!(said.out, "", "nothing of this is garbage");
                }
            });
        });
        shop.is_whole();
    });
}

#[test]
fn killed_dedups_change_nothing_that_shows() {
    both("killed_dedups", |shop, dice, _| {
        let fill = "for d in 1 2 3 4; do mkdir d$d; for i in $(seq 40); do echo $d $i > d$d/f$i; done; done; \
                    for i in $(seq 30); do echo pair $i > p$i; ln p$i d1/p$i; ln p$i d2/p$i; done";
        let make = |name: &str| shop.layer_of(name, fill);
        let warm = [make("warm1"), make("warm2")];
        let usual = shop.time(&["store", "dedup"]);
        let mut layers = warm.to_vec();
        for round in 0..kills() {
            layers.push(make(&format!("more{round}")));
            let before: Vec<_> = layers.iter().map(|layer| shop.looks(layer)).collect();
            let tars: Vec<_> = layers
                .iter()
                .map(|layer| shop.ok(&["layer", "diff", layer]))
                .collect();
            // Some are forgotten, so that the kill may come while they are made.
            if round % 3 == 0 {
                let index = shop
                    .root()
                    .join("meta/layers")
                    .join(&layers[0])
                    .join("index");
                fs::remove_file(index).unwrap();
            }
            shop.killed(dice, usual, &["store", "dedup"]);
            shop.is_whole();
            let after: Vec<_> = layers.iter().map(|layer| shop.looks(layer)).collect();
            assert_eq!(after, before);
            let exported: Vec<_> = layers
                .iter()
                .map(|layer| shop.ok(&["layer", "diff", layer]))
                .collect();
            assert_eq!(exported, tars);
            assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
        }
        shop.ok(&["store", "dedup"]);
        assert_eq!(shop.dedup(&[])["linked"]["files"], 0);
        shop.is_whole();
    });
}

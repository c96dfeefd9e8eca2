//! A store, and the program at work on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Cost, costs, run};

/// A store in a directory of its own.
pub struct Shop {
    at: PathBuf,
}

impl Shop {
    /// Makes one.
    pub fn new(at: &Path, driver: &str) -> Shop {
        let shop = Shop { at: at.into() };
        shop.run(&["--driver", driver, "store", "init"]);
        shop
    }

    /// A call.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plyfs"));
        command.arg("-q").arg("--root").arg(self.at.join("store"));
        command.arg("--run").arg(self.at.join("run")).args(args);
        command
    }

    /// What a call costs.
    pub fn run(&self, args: &[&str]) -> Cost {
        run(&mut self.command(args))
    }

    /// What a call prints, without the last newline.
    pub fn say(&self, args: &[&str]) -> String {
        let mut command = self.command(args);
        let out = command.output().unwrap();
        let complaint = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{command:?}: {complaint}");
        String::from_utf8(out.stdout).unwrap().trim_end().into()
    }

    /// What a call prints, and what it costs.
    pub fn tell(&self, args: &[&str]) -> (String, Cost) {
        let mut said = String::new();
        let cost = costs(|| said = self.say(args));
        (said, cost)
    }

    /// Removes it and all that is in it.
    pub fn destroy(self) {
        for part in ["store", "run"] {
            let part = self.at.join(part);
            if part.exists() {
                std::fs::remove_dir_all(part).unwrap();
            }
        }
    }

    /// Where the changes of a container of driver `overlay` are.
    pub fn upper(&self, container: &str) -> PathBuf {
        self.at.join("store/overlay").join(container).join("upper")
    }

    /// The tree of a layer of driver `overlay`.
    pub fn layer(&self, id: &str) -> PathBuf {
        self.at.join("store/overlay").join(id).join("root")
    }

    /// Where a container of driver `vfs` is.
    pub fn tree(&self, container: &str) -> PathBuf {
        self.at.join("store/vfs").join(container).join("root")
    }

    /// Everything it takes on disk.
    pub fn disk_usage(&self) -> u64 {
        let mut du = Command::new("du");
        let out = du
            .args(["-s", "--block-size=1"])
            .arg(self.at.join("store"))
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }
}

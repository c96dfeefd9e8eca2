//! Links the unwinder into the programs.
//!
//! Rust asks for it as `libgcc_s.so`, and to load that library at each start costs 0.2 ms of a processor: a tenth of all
//! that `plynet attach` does, and as much of a short `plyfs` command. GCC brings the same code as an archive, so a linker
//! script of that name, which is found first, leads there. Where the archive is missing all stays as it was.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var(name).unwrap_or_default();
    let native = variable("HOST") == variable("TARGET");
    if !native || variable("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    let Some(unwinder) = unwinder() else { return };
    let dir = PathBuf::from(variable("OUT_DIR"));
    let script = format!("GROUP ( \"{}\" -lgcc )\n", unwinder.display());
    if fs::write(dir.join("libgcc_s.so"), script).is_ok() {
        println!("cargo::rustc-link-search=native={}", dir.display());
    }
}

/// Where the compiler that links has it.
fn unwinder() -> Option<PathBuf> {
    let answer = Command::new("cc")
        .arg("-print-file-name=libgcc_eh.a")
        .output()
        .ok()?;
    let path = String::from_utf8(answer.stdout).ok()?;
    // A compiler without it says the bare name again.
    Some(Path::new(path.trim()).to_path_buf()).filter(|path| path.is_absolute() && path.exists())
}

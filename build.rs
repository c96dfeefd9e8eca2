//! Links what each start of a program would load.
//!
//! Rust asks for the unwinder as `libgcc_s.so`, and to load that library at each start costs 0.2 ms of a processor: a
//! tenth of all that `plynet attach` does, and as much of a short `plyfs` command. GCC brings the same code as an
//! archive, so a linker script of that name, which is found first, leads there. The programs take the C library the
//! same way, as they run for two milliseconds and look nothing up by its plug-ins: without a dynamic linker they start
//! in 0.2 ms less, and a daemon keeps 0.7 MB less in memory. Where an archive is missing all stays as it was.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var(name).unwrap_or_default();
    let native = variable("HOST") == variable("TARGET");
    if !native || variable("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let Some(unwinder) = archive("libgcc_eh.a") else {
        return;
    };
    if lead(&out.join("libgcc_s.so"), &[&unwinder]).is_ok() {
        println!("cargo::rustc-link-search=native={}", out.display());
    }
    // Elsewhere it is not tried.
    if variable("CARGO_CFG_TARGET_ARCH") != "x86_64" {
        return;
    }
    let (Some(library), Some(mathematics)) = (archive("libc.a"), archive("libm.a")) else {
        return;
    };
    // Of the programs alone, so in a directory of its own: tests and libraries are linked as usual.
    let dir = out.join("static");
    let leads = lead(&dir.join("libm.so"), &[&mathematics])
        .and_then(|()| lead(&dir.join("libc.so"), &[&library, &unwinder]));
    if leads.is_ok() {
        let search = format!("-L{}", dir.display());
        // What nobody has is at address zero: there is nobody who could bring it later.
        for word in ["-static-pie", "-Wl,-z,nodynamic-undefined-weak", &search] {
            println!("cargo::rustc-link-arg-bins={word}");
        }
    }
}

/// Where the compiler that links has it.
fn archive(name: &str) -> Option<PathBuf> {
    let question = format!("-print-file-name={name}");
    let answer = Command::new("cc").arg(question).output().ok()?;
    let path = String::from_utf8(answer.stdout).ok()?;
    // A compiler without it says the bare name again.
    Some(Path::new(path.trim()).to_path_buf()).filter(|path| path.is_absolute() && path.exists())
}

/// Makes a library of that name that is these archives.
fn lead(name: &Path, archives: &[&Path]) -> io::Result<()> {
    let mut script = "GROUP ( ".to_string();
    for archive in archives {
        script += &format!("\"{}\" ", archive.display());
    }
    fs::create_dir_all(name.parent().unwrap_or(name))?;
    fs::write(name, script + "-lgcc )\n")
}

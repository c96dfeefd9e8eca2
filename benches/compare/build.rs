//! A compiler and an interpreter, whose files come from the view.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::place::must;
use crate::scenario::{Run, Scenario, Site};

const UNITS: usize = 60;
const HEADERS: usize = 100;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "C build",
            rows: &["C build"],
            programs: &["gcc"],
            build: sources,
            run: compile,
        },
        Scenario {
            name: "python",
            rows: &["python start, fresh", "python start, warm"],
            programs: &["python3"],
            build: interpreter,
            run: start,
        },
    ]
}

fn sources(site: &Site) {
    let (headers, units) = (site.lower(2).join("include"), site.lower(1).join("src"));
    fs::create_dir(&headers).unwrap();
    fs::create_dir(&units).unwrap();
    for i in 0..HEADERS {
        let text = format!(
            "#ifndef H{i}\n#define H{i}\nstatic inline int f{i}(int x) {{ return x * {i} + 1; }}\n#endif\n"
        );
        fs::write(headers.join(format!("h{i}.h")), text).unwrap();
    }
    for i in 0..site.scaled(UNITS) {
        let mut text =
            String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
        for h in 0..HEADERS {
            text += &format!("#include <h{h}.h>\n");
        }
        text += &format!("int unit{i}(int x) {{ return f{}(x); }}\n", i % HEADERS);
        fs::write(units.join(format!("u{i}.c")), text).unwrap();
    }
    let units = site.scaled(UNITS);
    let declared: String = (0..units).map(|i| format!("int unit{i}(int);\n")).collect();
    let called: String = (0..units)
        .map(|i| format!("sum += unit{i}(1);\n"))
        .collect();
    let main = format!(
        "#include <stdio.h>\n{declared}int main(void) {{ int sum = 0;\n{called}printf(\"%d\\n\", sum); }}\n"
    );
    fs::write(site.lower(1).join("src/main.c"), main).unwrap();
}

fn compile(run: &mut Run) {
    let units = run.site.scaled(UNITS);
    let merged = run.mount(2);
    let gcc = || {
        let mut gcc = Command::new("gcc");
        // Headers that only lower layers have, before those of the system: the search fails there first, as it does.
        gcc.arg("-I")
            .arg(merged.join("src"))
            .arg("-I")
            .arg(merged.join("include"))
            .current_dir(&merged);
        gcc
    };
    let names: Vec<String> = (0..units)
        .map(|i| format!("u{i}"))
        .chain(["main".into()])
        .collect();
    run.time("C build", || {
        fs::create_dir(merged.join("obj")).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (names, gcc) = (&names, &gcc);
                scope.spawn(move || {
                    for name in names.iter().skip(thread).step_by(2) {
                        must(gcc().args([
                            "-c",
                            "-o",
                            &format!("obj/{name}.o"),
                            &format!("src/{name}.c"),
                        ]));
                    }
                });
            }
        });
        must(
            gcc()
                .args(["-o", "program"])
                .args(names.iter().map(|name| format!("obj/{name}.o"))),
        );
    });
    let merged = run.mount(2);
    let out = Command::new(merged.join("program")).output().unwrap();
    let sum: usize = (0..units).map(|i| i % HEADERS + 1).sum();
    assert_eq!(String::from_utf8_lossy(&out.stdout), format!("{sum}\n"));
}

/// The modules that a small program of everyday has.
const PROGRAM: &str = "import argparse, collections, hashlib, json, logging, os, re, subprocess, tempfile, urllib.request
print(json.dumps({'sum': sum(range(10))}), __import__('sys').prefix)";

fn interpreter(site: &Site) {
    let ask = "import os, sys, sysconfig; print(os.path.realpath(sys.executable), sysconfig.get_path('stdlib'), sysconfig.get_config_var('LIBDIR'), sep='\\n')";
    let out = Command::new("python3").args(["-c", ask]).output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    let [program, library, shared] = out.lines().map(Path::new).collect::<Vec<_>>()[..] else {
        panic!("python3 says: {out}");
    };
    let lower = site.lower(1);
    fs::create_dir_all(lower.join("bin")).unwrap();
    fs::create_dir_all(lower.join("lib")).unwrap();
    fs::copy(program, lower.join("bin/python3")).unwrap();
    copy(
        library,
        &lower.join("lib").join(library.file_name().unwrap()),
    );
    for entry in fs::read_dir(shared).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("libpython") && entry.path().is_file() {
            fs::copy(entry.path(), lower.join("lib").join(entry.file_name())).unwrap();
        }
    }
    // As the package of a distribution brings it.
    let mut compile = Command::new("python3");
    compile.args([
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
    ]);
    must(
        compile
            .arg(lower.join("lib"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null()),
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if [
            "test",
            "tests",
            "site-packages",
            "dist-packages",
            "idlelib",
            "__pycache__",
        ]
        .iter()
        .any(|skip| name == *skip)
        {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else if entry.path().exists() {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

fn start(run: &mut Run) {
    let merged = run.mount(1);
    let python = || {
        let mut python = Command::new(merged.join("bin/python3"));
        python
            .env("PYTHONHOME", &merged)
            .env("LD_LIBRARY_PATH", merged.join("lib"));
        let out = python.args(["-B", "-c", PROGRAM]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert_eq!(
            said,
            format!("{{\"sum\": 45}} {}\n", merged.display()),
            "{out:?}"
        );
    };
    // The layer's own files are in memory after this; the view of them is fresh.
    python();
    run.mount(1);
    run.time("python start, fresh", python);
    run.time("python start, warm", || (0..5).for_each(|_| python()));
}

//! The `plyfs` program: everything is in [`plyfs::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    plyfs::cli::main(std::env::args_os().collect())
}

//! The `plynet` program: everything is in [`plyfs::cli::net`].

use std::process::ExitCode;

fn main() -> ExitCode {
    plyfs::cli::net::main(std::env::args_os().collect())
}

//! plynet by other names: as a CNI plugin, which the environment says, or in place of podman's `netavark`, which its
//! own name says. Here is reading, running and printing; what the words mean is in [`crate::net::frontend`].

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

mod cni;
mod delegate;
mod netavark;

/// The program as one of these, if it was called so.
pub fn called(args: &[OsString]) -> Option<ExitCode> {
    let name = args.first().and_then(|name| Path::new(name).file_name());
    if name == Some(OsStr::new("netavark")) {
        return Some(netavark::main(args));
    }
    std::env::var_os("CNI_COMMAND").map(|_| cni::main())
}

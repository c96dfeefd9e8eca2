//! Words on a terminal: the only room that prints, exits, and knows clap.
//!
//! What does not live here: anything about layers or FUSE. Read [`call`] first (which of the ways to call this
//! program is it?), then one file per subcommand: [`mount`], [`unmount`], [`run`]; [`store`] has the verbs of the
//! store.

use std::ffi::OsString;
use std::process::ExitCode;

pub mod call;
pub mod changes;
pub mod failure;
pub mod logging;
pub mod mount;
pub mod net;
pub mod remark;
pub mod run;
pub mod scratch;
pub mod stats;
pub mod store;
pub mod unmount;
pub mod view;

use call::Call;
use remark::complain;

/// The program: `args` with its own name first.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let outcome = match call::parse(args) {
        Ok(Call::Print { text, code }) => {
            if code == 0 {
                println!("{text}");
            } else {
                eprintln!("{text}");
            }
            return ExitCode::from(code);
        }
        Ok(Call::Mount(order)) => mount::mount(order),
        Ok(Call::Unmount(order)) => unmount::unmount(&order),
        Ok(Call::Run(order)) => run::run(order),
        Ok(Call::Store(order)) => store::run(*order),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.code)
        }
    }
}

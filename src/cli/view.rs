//! Where the command line meets the overlay: options in, a filesystem and its changes out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::changes::{Change, Kind};
use super::failure::Failure;
use crate::fs::adapter::Adapter;
use crate::fs::settings::Settings;
use crate::layer::layer::Problem;
use crate::overlay::Overlay;
use crate::overlay::mount::MountError;
use crate::overlay::options::{MountFlags, Options};
use crate::overlay::view::changes::ChangeKind;
use crate::sys::process;

/// How long an upper layer may stay in use before that is an error. FUSE tells a daemon of its unmount and does not
/// wait for it, so whoever mounts again at once (engines do) may find the last daemon still letting go.
const LETTING_GO: Duration = Duration::from_secs(2);

/// Opens the layers, to serve them from this process.
///
/// # Errors
/// One line that names path and option.
pub fn open(options: &Options) -> Result<Arc<Overlay>, Failure> {
    process::clear_umask();
    let deadline = Instant::now() + LETTING_GO;
    let mut pause = Duration::from_millis(1);
    loop {
        match Overlay::new(options) {
            Ok(overlay) => return Ok(Arc::new(overlay)),
            Err(error) if is_in_use(&error) && Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(error) => return Err(Failure::failed(error)),
        }
    }
}

fn is_in_use(error: &MountError) -> bool {
    matches!(error, MountError::Layer(error) if matches!(error.problem, Problem::InUse))
}

/// What answers the kernel.
pub fn filesystem(overlay: &Arc<Overlay>, options: &Options, flags: &MountFlags) -> Adapter {
    let settings = Settings {
        timeout: options.timeout,
        acl: !options.noacl,
        passthrough: flags.passthrough.unwrap_or(true),
        lower_passthrough: flags.lower_passthrough,
        noopen: flags.noopen.unwrap_or_else(process::is_rootless_root),
        rings: flags.rings,
    };
    Adapter::new(Arc::clone(overlay), settings)
}

/// What was changed since the upper layer was empty.
///
/// # Errors
/// One line.
pub fn changes(overlay: &Overlay) -> Result<Vec<Change>, Failure> {
    let changes = overlay.changes().map_err(Failure::failed)?;
    let shown = |change: crate::overlay::view::changes::Change| Change {
        kind: match change.kind {
            ChangeKind::Added => Kind::Added,
            ChangeKind::Modified => Kind::Modified,
            ChangeKind::Deleted => Kind::Deleted,
        },
        path: OsString::from_vec(change.path).into(),
        directory: change.dir,
    };
    Ok(changes.into_iter().map(shown).collect())
}

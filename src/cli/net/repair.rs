//! `plynet reconcile` and `plynet doctor`.

use super::args::Globals;
use super::say;
use crate::cli::failure::Failure;
use crate::net::reconcile::Finding;

/// Mends, and says what; with `dry` only says.
///
/// # Errors
/// One line and the code of its kind.
pub fn reconcile(globals: &Globals, dry: bool) -> Result<u8, Failure> {
    let findings = globals.host()?.reconcile(dry)?;
    say(globals, &findings, || listed(&findings))
}

/// Says what is not as it should be; exit code 1 if anything is.
///
/// # Errors
/// One line and the code of its kind.
pub fn doctor(globals: &Globals) -> Result<u8, Failure> {
    let host = globals.host()?;
    let mut findings = host.reconcile(true)?;
    let remarks = host.remarks()?;
    findings.extend(remarks.into_iter().map(|what| Finding {
        what,
        mended: false,
    }));
    say(globals, &findings, || match findings.as_slice() {
        [] => "all is well".into(),
        _ => listed(&findings),
    })?;
    Ok(u8::from(!findings.is_empty()))
}

fn listed(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| match finding.mended {
        true => format!("mended: {}", finding.what),
        false => finding.what.clone(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

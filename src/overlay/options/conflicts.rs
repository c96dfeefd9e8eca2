//! Which words of `-o` do not go together.

use super::words::{Collected, NOT_YET};
use super::*;

impl Collected {
    /// §20: what cannot be asked for together, then what does not exist yet.
    pub(super) fn check_conflicts(&mut self, mode: Mode) -> Result<(), OptionError> {
        let on = |switch: Option<bool>| switch == Some(true);
        let redirect = self.redirect_dir.as_deref();
        let creates_or_follows = matches!(redirect, Some("on" | "follow"));
        let user = self.xattr == Some(XattrMode::User);
        // In compatible mode metacopy and nfs_export are ignored, so they conflict with nothing.
        let strict = mode == Mode::Native;
        let conflicts = [
            (
                strict && on(self.metacopy) && !matches!(redirect, None | Some("on")),
                "metacopy=on",
                "redirect_dir=on",
            ),
            (
                strict && on(self.metacopy) && on(self.nfs_export),
                "metacopy=on",
                "nfs_export=off",
            ),
            (
                strict && self.index == Some(false) && on(self.nfs_export),
                "nfs_export=on",
                "index=on",
            ),
            (
                user && creates_or_follows,
                "userxattr",
                "redirect_dir=nofollow",
            ),
            (
                strict && user && on(self.metacopy),
                "userxattr",
                "metacopy=off",
            ),
            (user && on(self.verity), "userxattr", "verity=off"),
            (
                on(self.flags.noopen) && on(self.flags.passthrough),
                "noopen=on",
                "passthrough=off",
            ),
            (
                on(self.flags.noopen) && self.flags.lower_passthrough,
                "noopen=on",
                "lower_passthrough=off",
            ),
            (
                self.flags.lower_passthrough && self.flags.passthrough == Some(false),
                "lower_passthrough=on",
                "passthrough=on",
            ),
        ];
        if let Some((_, option, needs)) = conflicts.iter().find(|(is, _, _)| *is) {
            return Err(OptionError::new(*option, format!("needs {needs}")));
        }
        if let Some(error) = self.unsupported.take() {
            return Err(error);
        }
        self.check_features(strict)
    }

    /// What does not exist, which an engine may ask for all the same.
    fn check_features(&mut self, strict: bool) -> Result<(), OptionError> {
        let on = |switch: Option<bool>| switch == Some(true);
        if !strict && on(self.metacopy) {
            // Engines say it to the kernel; without it other mount programs can read the layers, too.
            let error = OptionError::new("metacopy=on", "of no use to an engine");
            self.warnings.push(format!("{error}, ignored"));
        }
        let features = [
            (on(self.verity), "verity=on", false),
            (on(self.nfs_export), "nfs_export=on", true),
        ];
        for (_, option, harmless) in features.iter().filter(|(asked, _, _)| *asked) {
            let error = OptionError::new(*option, NOT_YET);
            if strict || !harmless {
                return Err(error);
            }
            self.warnings.push(format!("{error}, ignored"));
        }
        Ok(())
    }
}

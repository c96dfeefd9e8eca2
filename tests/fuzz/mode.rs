//! In which ways both sides are mounted. A further set of options is one more line of `MODES`.

/// One way to mount, and with whose rights.
#[derive(Debug)]
pub struct Mode {
    pub name: &'static str,
    /// In a user namespace, with marks in `user.overlay.`.
    pub user: bool,
    /// The layers may hold devices.
    pub devices: bool,
    /// Many files of the layers have several names, which stay one file (14.2).
    pub index: bool,
    /// Options of plyfs and of the kernel beside the layers.
    pub plyfs: &'static str,
    pub kernel: &'static str,
    /// Seeds and operations of a plain `cargo test`.
    pub quick: (u64, usize),
}

/// All modes, by name in `PLYFS_FUZZ_MODE`.
pub const MODES: &[Mode] = &[
    Mode {
        plyfs: "",
        ..Mode::root("root", 60)
    },
    Mode {
        plyfs: "passthrough=off",
        ..Mode::root("cached", 30)
    },
    Mode {
        plyfs: "noopen=on",
        ..Mode::root("noopen", 30)
    },
    Mode {
        plyfs: "rings=on",
        ..Mode::root("rings", 30)
    },
    Mode {
        plyfs: "redirect_dir=on",
        kernel: "index=off,redirect_dir=on,metacopy=off,xino=off",
        ..Mode::root("redirect", 30)
    },
    Mode {
        plyfs: "metacopy=on",
        kernel: "index=off,redirect_dir=on,metacopy=on,xino=off",
        ..Mode::root("metacopy", 30)
    },
    Mode {
        index: true,
        plyfs: "index=on",
        kernel: "index=on,redirect_dir=off,metacopy=off,xino=off",
        ..Mode::root("index", 40)
    },
    Mode {
        index: true,
        plyfs: "index=on,metacopy=on",
        kernel: "index=on,redirect_dir=on,metacopy=on,xino=off",
        ..Mode::root("all", 30)
    },
    Mode {
        user: true,
        devices: false,
        plyfs: "userxattr",
        kernel: "userxattr,index=off,xino=off",
        ..Mode::root("user", 50)
    },
];

impl Mode {
    /// The real root, with marks in `trusted.overlay.`.
    const fn root(name: &'static str, seeds: u64) -> Mode {
        Mode {
            name,
            user: false,
            devices: true,
            index: false,
            plyfs: "",
            kernel: "index=off,redirect_dir=off,metacopy=off,xino=off",
            quick: (seeds, 300),
        }
    }

    /// The xattr of a mark in this mode.
    pub fn mark(&self, suffix: &str) -> String {
        format!(
            "{}.overlay.{suffix}",
            if self.user { "user" } else { "trusted" }
        )
    }
}

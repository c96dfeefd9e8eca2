//! Words of `-o` that mean nothing here, and those that will some day.

/// Words that are somebody else's business or change nothing here.
const ACCEPTED: [&str; 2] = [
    // mount(8), fstab, systemd
    "defaults auto noauto user nouser users owner group nofail _netdev comment async lazytime nolazytime iversion \
     noiversion silent loud mand nomand private slave shared helper uhelper",
    // libfuse and fuse-overlayfs
    "default_permissions subtype threaded max_idle_threads clone_fd fast_ino fast_ino_check writeback noxattrs \
     plugins ino32_t auto_unmount",
];

/// Words that ask for what does not exist yet. Ignoring them would show a wrong view.
pub(super) const UNSUPPORTED: &[&str] = &["allow_root"];

/// Does a word mean nothing here?
pub(super) fn is_accepted(word: &str) -> bool {
    let listed = ACCEPTED
        .iter()
        .any(|list| list.split(' ').any(|w| w == word));
    listed || word.starts_with("x-") || word.starts_with("X-")
}

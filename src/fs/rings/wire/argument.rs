//! The fixed arguments of requests, each with the fields that matter and where they are.

use super::{Argument, at};

/// Makes a struct of numbers, and how to read it.
macro_rules! arguments {
    ($($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $field:ident: $kind:ident at $place:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$what])* pub $field: $kind,)*
        }

        impl $name {
            /// Reads it.
            pub fn decode(bytes: &Argument) -> $name {
                $name {
                    $($field: $kind::from_ne_bytes(at(bytes, $place)),)*
                }
            }
        }
    )*};
}

arguments! {
    /// `struct fuse_in_header`: what all requests begin with.
    Header {
        /// Which operation.
        opcode: u32 at 4,
        /// Which request.
        unique: u64 at 8,
        /// About which node.
        node: u64 at 16,
        /// The caller's user,
        uid: u32 at 24,
        /// group,
        gid: u32 at 28,
        /// and thread.
        pid: u32 at 32,
    }

    /// `struct fuse_getattr_in`
    Getattr {
        /// `Getattr::FH`
        flags: u32 at 0,
        /// Open file.
        fh: u64 at 8,
    }

    /// `struct fuse_setattr_in`
    Setattr {
        /// Which of the fields are meant: `Setattr::MODE` and so on.
        valid: u32 at 0,
        /// Open file.
        fh: u64 at 8,
        /// New size.
        size: u64 at 16,
        /// New time of access: seconds.
        atime: i64 at 32,
        /// New time of modification: seconds.
        mtime: i64 at 40,
        /// New time of change: seconds.
        ctime: i64 at 48,
        /// And nanoseconds.
        atime_nsec: u32 at 56,
        /// And nanoseconds.
        mtime_nsec: u32 at 60,
        /// And nanoseconds.
        ctime_nsec: u32 at 64,
        /// New mode.
        mode: u32 at 68,
        /// New owner.
        uid: u32 at 76,
        /// New group.
        gid: u32 at 80,
    }

    /// `struct fuse_mknod_in`
    Mknod {
        /// Type and permissions.
        mode: u32 at 0,
        /// Device number.
        rdev: u32 at 4,
        /// The caller's umask.
        umask: u32 at 8,
    }

    /// `struct fuse_mkdir_in`
    Mkdir {
        /// Permissions.
        mode: u32 at 0,
        /// The caller's umask.
        umask: u32 at 4,
    }

    /// `struct fuse_rename_in`
    Rename {
        /// Directory to move to.
        parent: u64 at 0,
    }

    /// `struct fuse_rename2_in`
    Rename2 {
        /// Directory to move to.
        parent: u64 at 0,
        /// Those of renameat2(2).
        flags: u32 at 8,
    }

    /// `struct fuse_link_in`
    Link {
        /// What shall have another name.
        node: u64 at 0,
    }

    /// `struct fuse_open_in`
    Open {
        /// Those of open(2).
        flags: u32 at 0,
        /// `Open::KILL_SUIDGID`
        open_flags: u32 at 4,
    }

    /// `struct fuse_create_in`
    Create {
        /// Those of open(2).
        flags: u32 at 0,
        /// Type and permissions.
        mode: u32 at 4,
        /// The caller's umask.
        umask: u32 at 8,
        /// `Open::KILL_SUIDGID`
        open_flags: u32 at 12,
    }

    /// `struct fuse_read_in`
    Read {
        /// Open file or directory.
        fh: u64 at 0,
        /// Where from.
        offset: u64 at 8,
        /// How many bytes.
        size: u32 at 16,
        /// Those of open(2) now.
        flags: u32 at 32,
    }

    /// `struct fuse_write_in`
    Write {
        /// Open file.
        fh: u64 at 0,
        /// Where to.
        offset: u64 at 8,
        /// How many bytes.
        size: u32 at 16,
        /// `Write::KILL_SUIDGID`
        write_flags: u32 at 20,
        /// Those of open(2) now.
        flags: u32 at 32,
    }

    /// `struct fuse_release_in`
    Release {
        /// Open file or directory.
        fh: u64 at 0,
        /// Those of open(2) now.
        flags: u32 at 8,
    }

    /// `struct fuse_flush_in`
    Flush {
        /// Open file.
        fh: u64 at 0,
    }

    /// `struct fuse_fsync_in`
    Fsync {
        /// Open file or directory.
        fh: u64 at 0,
        /// `Fsync::DATA`
        flags: u32 at 8,
    }

    /// `struct fuse_setxattr_in`, as long as nobody agreed on FUSE_SETXATTR_EXT.
    Setxattr {
        /// Bytes of the value.
        size: u32 at 0,
        /// Those of setxattr(2).
        flags: u32 at 4,
    }

    /// `struct fuse_getxattr_in`, of GETXATTR and LISTXATTR.
    Getxattr {
        /// Bytes that there is room for; 0: how many are there?
        size: u32 at 0,
    }

    /// `struct fuse_access_in`
    Access {
        /// As of access(2).
        mask: u32 at 0,
    }

    /// `struct fuse_ioctl_in`
    Ioctl {
        /// Open file or directory.
        fh: u64 at 0,
        /// `FUSE_IOCTL_*`
        flags: u32 at 8,
        /// Which.
        command: u32 at 12,
        /// Its argument.
        argument: u64 at 16,
        /// Bytes that came along.
        in_size: u32 at 24,
        /// Bytes that may be answered.
        out_size: u32 at 28,
    }

    /// `struct fuse_poll_in`
    Poll {
        /// Open file.
        fh: u64 at 0,
        /// What the kernel calls it in a notification.
        kh: u64 at 8,
        /// `FUSE_POLL_*`
        flags: u32 at 16,
        /// Those of poll(2).
        events: u32 at 20,
    }

    /// `struct fuse_fallocate_in`
    Fallocate {
        /// Open file.
        fh: u64 at 0,
        /// From where.
        offset: u64 at 8,
        /// How many bytes.
        length: u64 at 16,
        /// That of fallocate(2).
        mode: u32 at 24,
    }

    /// `struct fuse_lseek_in`
    Lseek {
        /// Open file.
        fh: u64 at 0,
        /// From where.
        offset: u64 at 8,
        /// As of lseek(2).
        whence: u32 at 16,
    }

    /// `struct fuse_copy_file_range_in`
    CopyFileRange {
        /// Open file to copy from,
        fh_in: u64 at 0,
        /// and where.
        offset_in: u64 at 8,
        /// File to copy to,
        node_out: u64 at 16,
        /// open as,
        fh_out: u64 at 24,
        /// and where.
        offset_out: u64 at 32,
        /// How many bytes.
        length: u64 at 40,
        /// Those of copy_file_range(2).
        flags: u64 at 48,
    }
}

impl Getattr {
    /// `fh` is meant.
    pub const FH: u32 = 1 << 0;
}

impl Setattr {
    /// `mode` is meant.
    pub const MODE: u32 = 1 << 0;
    /// `uid` is meant.
    pub const UID: u32 = 1 << 1;
    /// `gid` is meant.
    pub const GID: u32 = 1 << 2;
    /// `size` is meant.
    pub const SIZE: u32 = 1 << 3;
    /// `atime` is meant.
    pub const ATIME: u32 = 1 << 4;
    /// `mtime` is meant.
    pub const MTIME: u32 = 1 << 5;
    /// `fh` is meant.
    pub const FH: u32 = 1 << 6;
    /// The time of access is now.
    pub const ATIME_NOW: u32 = 1 << 7;
    /// The time of modification is now.
    pub const MTIME_NOW: u32 = 1 << 8;
    /// Set-id bits go.
    pub const KILL_SUIDGID: u32 = 1 << 11;

    /// Is a field meant?
    pub fn has(&self, field: u32) -> bool {
        self.valid & field != 0
    }
}

impl Open {
    /// Set-id bits go, as the file is cut.
    pub const KILL_SUIDGID: u32 = 1 << 0;
}

impl Write {
    /// Set-id bits go.
    pub const KILL_SUIDGID: u32 = 1 << 2;
}

impl Fsync {
    /// Only what is needed to read the data again.
    pub const DATA: u32 = 1 << 0;
}

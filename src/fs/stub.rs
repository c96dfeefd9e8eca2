//! Temporary stand-in for the adapter: an empty root directory.
#![allow(missing_docs)]
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::overlay::options::Options;

pub struct Overlay;
impl Overlay {
    pub fn open(options: &Options) -> Result<Overlay, String> {
        for l in &options.lower {
            let m = l
                .metadata()
                .map_err(|e| format!("lowerdir {}: {e}", l.display()))?;
            if !m.is_dir() {
                return Err(format!("lowerdir {}: Not a directory", l.display()));
            }
        }
        Ok(Overlay)
    }
}
pub struct Stub(#[allow(dead_code)] Arc<Overlay>);
impl Stub {
    pub fn new(overlay: Arc<Overlay>) -> Stub {
        Stub(overlay)
    }
}
impl fuser::Filesystem for Stub {
    fn getattr(
        &self,
        _req: &fuser::Request,
        ino: fuser::INodeNo,
        _fh: Option<fuser::FileHandle>,
        reply: fuser::ReplyAttr,
    ) {
        let t = SystemTime::UNIX_EPOCH;
        reply.attr(
            &Duration::ZERO,
            &fuser::FileAttr {
                ino,
                size: 0,
                blocks: 0,
                atime: t,
                mtime: t,
                ctime: t,
                crtime: t,
                kind: fuser::FileType::Directory,
                perm: 0o755,
                nlink: 1,
                uid: 0,
                gid: 0,
                rdev: 0,
                blksize: 4096,
                flags: 0,
            },
        );
    }
}

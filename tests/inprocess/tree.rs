//! A whole merged tree as text, read through a [`Client`]. On the way it is proved that listing, lookup and
//! attributes tell the same.

use std::collections::BTreeMap;

use plyfs::overlay::node::NodeId;
use plyfs::sys::errno::Result;
use plyfs::sys::stat::FileType;

use super::client::{Client, flags};

/// Which inode numbers are part of the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    No,
    /// Those of regular files and directories, which survive a remount on any namespace of marks.
    FilesAndDirs,
    All,
}

/// One line per path.
pub type Tree = BTreeMap<String, String>;

impl Client {
    /// The tree below the root.
    pub fn tree(&self, numbers: Numbers) -> Tree {
        let mut tree = Tree::new();
        self.walk("", &mut tree, numbers);
        tree
    }

    fn walk(&self, path: &str, tree: &mut Tree, numbers: Numbers) {
        let id = self.id(path).unwrap();
        let line = self
            .line(id, numbers)
            .unwrap_or_else(|e| panic!("{path}: {e:?}"));
        tree.insert(path.into(), line);
        let is_dir = self.overlay.getattr(id, None).unwrap().stat.is_dir();
        if !is_dir {
            return;
        }
        for (name, listed) in self.list(id).unwrap() {
            let child = match path {
                "" => name,
                _ => format!("{path}/{name}"),
            };
            let attr = self
                .stat(&child)
                .unwrap_or_else(|e| panic!("{child} is listed: {e:?}"));
            assert_eq!(listed.kind, attr.stat.kind, "8.4: d_type of {child}");
            if self.has_lasting_number(attr.stat.kind) {
                assert_eq!(listed.ino, attr.ino, "8.4: d_ino of {child}");
            }
            self.walk(&child, tree, numbers);
        }
    }

    /// An object as one line.
    pub fn line(&self, id: NodeId, numbers: Numbers) -> Result<String> {
        let attr = self.overlay.getattr(id, None)?;
        let s = attr.stat;
        let mut line = format!("{:?} {:04o} {}:{}", s.kind, s.perm, s.uid, s.gid);
        line += &format!(" mtime={}.{:09}", s.mtime.sec, s.mtime.nsec);
        match s.kind {
            FileType::Dir => {}
            FileType::File => {
                let data = self.start_of(id)?;
                let data = data.escape_ascii();
                line += &format!(" nlink={} size={} \"{data}\"", attr.nlink, s.size);
            }
            FileType::Symlink => {
                let target = self.overlay.readlink(id)?;
                line += &format!(" nlink={} -> {}", attr.nlink, target.escape_ascii());
            }
            _ => line += &format!(" nlink={} {:?}", attr.nlink, s.rdev),
        }
        for name in self.xattrs_of(id)? {
            line += &format!(" {name}={}", self.xattr_of(id, &name)?.escape_ascii());
        }
        let durable = matches!(s.kind, FileType::File | FileType::Dir);
        if numbers == Numbers::All || (numbers == Numbers::FilesAndDirs && durable) {
            line += &format!(" ino={}", attr.ino);
        }
        Ok(line)
    }
}

impl Client {
    /// The content of a file, but not all of a long one.
    fn start_of(&self, id: NodeId) -> Result<Vec<u8>> {
        let opened = self.overlay.open(id, flags::READ, false)?;
        let mut data = vec![0; 4096];
        let read = self.overlay.read(opened.handle, &mut data, 0);
        self.close(opened);
        data.truncate(read?);
        Ok(data)
    }
}

/// What differs between two trees; empty when equal.
pub fn differences(a: &Tree, b: &Tree) -> String {
    let mut text = String::new();
    for path in a
        .keys()
        .chain(b.keys().filter(|path| !a.contains_key(*path)))
    {
        if a.get(path) != b.get(path) {
            text += &format!(
                "\n  {path:?}\n    - {:?}\n    + {:?}",
                a.get(path),
                b.get(path)
            );
        }
    }
    text
}

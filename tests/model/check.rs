//! What is compared between and after the steps: listings, the whole tree, the upper layer on disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use plyfs::overlay::node::NodeId;
use plyfs::overlay::view::attr::Attr;
use plyfs::overlay::view::list::Dirent;
use plyfs::overlay::view::lookup::Entry;
use plyfs::sys::errno::Result as Answer;
use plyfs::sys::stat::FileType;

use crate::act::{OpenDir, Pair, Wrong, same_data};
use crate::draw::{SLOTS, Slot};
use crate::inprocess::client::flags;
use crate::model::{Id, Kind, ROOT};

/// An entry of a listing, with what a lookup said of it.
type Met = (String, Option<(NodeId, Attr)>);

impl Pair<'_> {
    pub fn open_dir(&mut self, path: &str, slot: Slot) -> Result<(), Wrong> {
        self.dirs[slot] = None;
        let Ok(id) = self.model.find(path) else {
            return Ok(());
        };
        if self.model.get(id).is_dir() {
            let node = self.client().id(path).map_err(|e| format!("{e:?}"))?;
            self.dirs[slot] = Some(OpenDir {
                node,
                id,
                offset: 0,
                before: BTreeMap::new(),
                ever: BTreeSet::new(),
                got: Vec::new(),
            });
        }
        Ok(())
    }

    /// Notes what names the open directories have now.
    pub fn note_names(&mut self) {
        for dir in self.dirs.iter_mut().flatten() {
            dir.ever.extend(self.model.children(dir.id).into_keys());
        }
    }

    /// Some entries. Since the last rewind: no name twice, none that was never there, and in the end all that were
    /// there all the time (8.3).
    pub fn read_dir(&mut self, slot: Slot, count: usize, plus: bool) -> Result<(), Wrong> {
        let Some(mut dir) = self.dirs[slot].take() else {
            return Ok(());
        };
        let now = self.model.children(dir.id);
        if dir.offset == 0 {
            dir.before = now.clone();
            dir.ever = now.keys().cloned().collect();
            dir.got.clear();
        }
        let entries = self.some_entries(&mut dir, count, plus);
        let entries = entries.map_err(|e| format!("{e:?}"))?;
        let ended = entries.len() < count;
        for (name, met) in entries {
            if let (Some((node, attr)), Some(id)) = (met, now.get(&name)) {
                self.met(*id, node, &attr)
                    .map_err(|e| format!("readdirplus of {name}: {e}"))?;
            }
            if name != "." && name != ".." {
                dir.got.push(name);
            }
        }
        let distinct: BTreeSet<_> = dir.got.iter().cloned().collect();
        if distinct.len() != dir.got.len() || !distinct.is_subset(&dir.ever) {
            return Err(format!("listed {:?} of {:?}", dir.got, dir.ever));
        }
        let lost =
            |(name, id): &(&String, &Id)| now.get(*name) == Some(id) && !distinct.contains(*name);
        if ended && dir.before.iter().any(|entry| lost(&entry)) {
            return Err(format!("listed only {:?} of {:?}", dir.got, dir.before));
        }
        self.dirs[slot] = Some(dir);
        Ok(())
    }

    fn some_entries(&self, dir: &mut OpenDir, count: usize, plus: bool) -> Answer<Vec<Met>> {
        let client = self.client();
        let mut entries = Vec::new();
        let mut next = dir.offset;
        let mut take = |entry: Dirent<'_>, found: Option<Entry>| {
            if entries.len() == count {
                return false;
            }
            next = entry.next;
            let found = found.map(|found| client.met(found));
            let name = String::from_utf8_lossy(entry.name).into_owned();
            entries.push((name, found.map(|found| (found.id, found.attr))));
            true
        };
        match plus {
            true => client.overlay.readdirplus(dir.node, dir.offset, take)?,
            false => client
                .overlay
                .readdir(dir.node, dir.offset, |entry| take(entry, None))?,
        }
        dir.offset = next;
        Ok(entries)
    }

    /// The kernel forgets what it holds no descriptor of.
    pub fn forget(&mut self, id: Id) {
        let open = self.files.iter().flatten().any(|open| open.id == id);
        let listed = self.dirs.iter().flatten().any(|dir| dir.id == id);
        if open || listed || id == ROOT {
            return;
        }
        if let Some(node) = self.known.remove(&id) {
            self.client().forget(node);
            self.lose_number(id);
        }
    }

    /// Where marks are few, what is no file or directory keeps the number of its origin as long as it is known (22.14).
    fn lose_number(&mut self, id: Id) {
        let object = self.model.get(id);
        if object.upper && !self.client().has_lasting_number(object.file_type()) {
            self.model.get_mut(id).ino = None;
        }
    }

    /// A directory that is copied to be renamed copies up what nobody knows.
    pub fn lose_unknown_numbers(&mut self) {
        for id in self.model.reachable() {
            if !self.known.contains_key(&id) {
                self.lose_number(id);
            }
        }
    }

    pub fn remount(&mut self) -> Result<(), Wrong> {
        self.let_go();
        let known: Vec<_> = self.known.drain().map(|(id, _)| id).collect();
        for id in known {
            self.lose_number(id);
        }
        if !self.view.has_stable_numbers() {
            for object in self.model.all_mut() {
                object.ino = None;
            }
        }
        self.view.remount();
        self.compare()
    }

    /// Closes everything.
    pub fn let_go(&mut self) {
        for slot in 0..SLOTS {
            self.close(slot);
            self.dirs[slot] = None;
        }
    }

    /// The whole tree is that of the model, and no number stands for two objects.
    pub fn compare(&mut self) -> Result<(), Wrong> {
        self.compare_below(ROOT, "")?;
        let mut owner = HashMap::new();
        for id in self.model.reachable() {
            let object = self.model.get(id);
            let first = *owner.entry(object.ino).or_insert(id);
            if first != id && !(object.is_shared() && self.model.get(first).is_shared()) {
                return Err(format!("7: two objects have the number {:?}", object.ino));
            }
        }
        self.compare_upper()
    }

    fn compare_below(&mut self, id: Id, path: &str) -> Result<(), Wrong> {
        self.compare_one(id, path)
            .map_err(|e| format!("{path:?}: {e}"))?;
        let children = self.model.children(id);
        if !self.model.get(id).is_dir() {
            return Ok(());
        }
        let node = self
            .known
            .get(&id)
            .copied()
            .unwrap_or(plyfs::overlay::node::ROOT);
        let listed = self
            .client()
            .list(node)
            .map_err(|e| format!("list {path:?}: {e:?}"))?;
        if !listed.keys().eq(children.keys()) {
            let (expected, got): (Vec<_>, Vec<_>) =
                (children.keys().collect(), listed.keys().collect());
            return Err(format!(
                "entries of {path:?}:\n    expected {expected:?}\n    got      {got:?}"
            ));
        }
        for (name, child) in children {
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}/{name}")
            };
            self.compare_below(child, &below)?;
            let (object, entry) = (self.model.get(child), &listed[&name]);
            let kind = object.file_type();
            if entry.kind != kind {
                return Err(format!("{below:?}: 8.4: d_type {:?}", entry.kind));
            }
            if self.client().has_lasting_number(kind) && Some(entry.ino) != object.ino {
                return Err(format!(
                    "{below:?}: 8.4: d_ino {}, st_ino {:?}",
                    entry.ino, object.ino
                ));
            }
        }
        Ok(())
    }

    fn compare_one(&mut self, id: Id, path: &str) -> Result<(), Wrong> {
        let client = self.client();
        let node = client.id(path).map_err(|e| format!("{e:?}"))?;
        let attr = client
            .overlay
            .getattr(node, None)
            .map_err(|e| format!("{e:?}"))?;
        self.met(id, node, &attr)?;
        self.same_xattrs(id, node)?;
        match &self.model.get(id).kind {
            Kind::File(data) => {
                let opened = self.client().overlay.open(node, flags::READ, false);
                let opened = opened.map_err(|e| format!("open: {e:?}"))?;
                let got = self.client().read_handle(opened.handle);
                self.client().close(opened);
                same_data(data, &got.map_err(|e| format!("read: {e:?}"))?)
            }
            Kind::Symlink(target) => {
                let got = self.client().overlay.readlink(node);
                same_data(
                    target.as_bytes(),
                    &got.map_err(|e| format!("readlink: {e:?}"))?,
                )
            }
            Kind::Dir(_) | Kind::Fifo => Ok(()),
        }
    }

    pub fn same_xattrs(&self, id: Id, node: NodeId) -> Result<(), Wrong> {
        if !matches!(
            self.model.get(id).file_type(),
            FileType::File | FileType::Dir
        ) {
            return Ok(());
        }
        let client = self.client();
        let names = client.xattrs_of(node).map_err(|e| format!("{e:?}"))?;
        let read = |name: String| Ok((name.clone(), client.xattr_of(node, &name)?));
        let got: Answer<BTreeMap<_, _>> = names.into_iter().map(read).collect();
        let (expected, got) = (
            &self.model.get(id).xattrs,
            got.map_err(|e| format!("{e:?}"))?,
        );
        match *expected == got {
            true => Ok(()),
            false => Err(format!(
                "attributes:\n    expected {expected:?}\n    got      {got:?}"
            )),
        }
    }

    /// The upper layer on disk has what was made or had to be copied up (9), whiteouts, and nothing else.
    fn compare_upper(&self) -> Result<(), Wrong> {
        let mut expected = BTreeSet::new();
        self.upper_paths(ROOT, "", &mut expected);
        let mut got = BTreeSet::new();
        paths_on_disk(&self.view.layers.upper, "", &mut got);
        let needless: Vec<_> = got.difference(&expected).collect();
        let missing: Vec<_> = expected.difference(&got).collect();
        match needless.is_empty() && missing.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "the upper layer has {needless:?} and lacks {missing:?} (9)"
            )),
        }
    }

    fn upper_paths(&self, dir: Id, path: &str, paths: &mut BTreeSet<String>) {
        for (name, child) in self.model.children(dir) {
            let below = format!("{path}/{name}");
            if self.model.get(child).upper {
                paths.insert(below.clone());
            }
            self.upper_paths(child, &below, paths);
        }
    }
}

fn paths_on_disk(dir: &Path, path: &str, paths: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let stat = entry.metadata().unwrap();
        if stat.file_type().is_char_device() && stat.rdev() == 0 {
            continue;
        }
        let below = format!("{path}/{}", entry.file_name().to_str().unwrap());
        if stat.is_dir() {
            paths_on_disk(&entry.path(), &below, paths);
        }
        paths.insert(below);
    }
}

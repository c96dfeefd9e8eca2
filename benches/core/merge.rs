//! The pure rule: what layers, seen together, say of a name.

use divan::{Bencher, black_box};
use plyfs::layer::mark::DirMarks;
use plyfs::overlay::node::ROOT;
use plyfs::overlay::view::merge::{Merge, Next, Probe};

use crate::rig::Rig;

/// A directory that this many layers have.
#[divan::bench(args = [1, 10, 100])]
fn directory(bencher: Bencher, layers: usize) {
    let rig = Rig::new(1, |_, _| {});
    let stat = rig.overlay.getattr(ROOT, None).unwrap().stat;
    let marks = DirMarks::default();
    bencher.bench(|| {
        let mut merge = Merge::default();
        for layer in 0..layers {
            merge.step(layer, black_box(Probe::Dir { stat, marks }));
        }
        merge.finish()
    });
}

/// A file that only the last of so many layers has.
#[divan::bench(args = [1, 10, 100])]
fn file(bencher: Bencher, layers: usize) {
    let rig = Rig::new(1, |_, dir| std::fs::write(dir.join("f"), "").unwrap());
    let stat = rig.overlay.getattr(rig.id("f"), None).unwrap().stat;
    let metacopy = false;
    bencher.bench(|| {
        let mut merge = Merge::default();
        for layer in 1..layers {
            assert_eq!(merge.step(layer, black_box(Probe::Absent)), Next::Ask);
        }
        merge.step(layers, black_box(Probe::NonDir { stat, metacopy }));
        merge.finish()
    });
}

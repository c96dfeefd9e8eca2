//! How the upper layer carries a rename out (overlay-semantics 13.4), also where its filesystem lacks a
//! kind of rename (13.10).
//!
//! Invariant: the source's lower object never shows, and a crash loses nothing: the kernel's steps and
//! those with a `.wh.` file are all or nothing. What stands in for them leaves the old state before its
//! last step, but for this: the object has both names, or an empty directory that was to go is gone.

use super::slot::Slot;
use crate::layer::mark::WhiteoutForm;
use crate::overlay::Overlay;
use crate::overlay::view::seen::Seen;
use crate::sys::at::At;
use crate::sys::dir::RenameMode;
use crate::sys::errno::{Errno, Result};

/// A way to rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// renameat2 alone.
    Plain(RenameMode),
    /// Source and the whiteout at the target change places, then the whiteout goes.
    ExchangeAndDrop,
    /// The `.wh.` file of the source, then the rename.
    MarkFirst,
    /// A whiteout at the target, where nothing shows or an empty directory; then both change places.
    CoverTarget,
    /// A second name for the object, then a whiteout over the first.
    LinkFirst,
    /// None is safe.
    Impossible,
}

/// What is to be renamed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Layers below have the source's name.
    pub positive: bool,
    /// A whiteout is in the target's place.
    pub over_whiteout: bool,
    /// The source is a directory.
    pub dir: bool,
    /// Something shows at the target.
    pub victim: bool,
}

/// What there is to do it with.
#[derive(Clone, Copy, Debug)]
struct Means {
    form: WhiteoutForm,
    exchange: bool,
    whiteout: bool,
}

fn step(facts: Facts, means: Means) -> Step {
    let Facts {
        positive,
        over_whiteout,
        dir,
        victim,
    } = facts;
    match (positive, over_whiteout, dir) {
        (false, true, true) => Step::ExchangeAndDrop,
        (false, _, _) => Step::Plain(RenameMode::Replace),
        // The whiteout moves to the source's name: no new one is made.
        (true, true, _) if means.exchange => Step::Plain(RenameMode::Exchange),
        _ if means.form == WhiteoutForm::Name => Step::MarkFirst,
        _ if means.form == WhiteoutForm::Device && means.whiteout => {
            Step::Plain(RenameMode::Whiteout)
        }
        _ if means.exchange && (dir || !victim) => Step::CoverTarget,
        (_, _, false) => Step::LinkFirst,
        _ => Step::Impossible,
    }
}

impl Overlay {
    /// Renames within the upper layer so that what is below the source stays hidden.
    ///
    /// # Errors
    /// EXDEV where the upper filesystem cannot do it safely; those of rename and of making a whiteout.
    pub(super) fn move_covering(
        &self,
        from: &Slot<'_>,
        (to, to_seen): (&Slot<'_>, &Seen),
        facts: Facts,
    ) -> Result<()> {
        let work = self.work()?;
        let means = Means {
            form: work.whiteouts.form,
            exchange: work.whiteouts.can.exchange,
            whiteout: work.whiteouts.can.whiteout,
        };
        if facts.positive {
            self.announce_whiteout(from)?;
        }
        let rename = |mode| from.dir.rename(from.name, to.dir, to.name, mode);
        match step(facts, means) {
            Step::Plain(mode) => rename(mode),
            Step::ExchangeAndDrop => {
                rename(RenameMode::Exchange)?;
                from.dir.unlink(from.name)
            }
            Step::MarkFirst => {
                let made = self.put_marker(from)?;
                let renamed = rename(RenameMode::Replace);
                if renamed.is_err() && made {
                    self.drop_marker(from);
                }
                renamed
            }
            Step::CoverTarget => {
                self.hide(to, to_seen)?;
                let renamed = rename(RenameMode::Exchange);
                if renamed.is_err() && !facts.victim {
                    to.dir.unlink(to.name)?;
                }
                renamed
            }
            Step::LinkFirst => {
                let whiteout = work.whiteout()?;
                let linked = work.link(At::child(from.dir, from.name));
                let link = linked.map_err(|errno| match errno {
                    Errno::EPERM | Errno::EOPNOTSUPP | Errno::EMLINK => Errno::EXDEV,
                    errno => errno,
                })?;
                link.replace(to.dir, to.name)?;
                whiteout.replace(from.dir, from.name)
            }
            Step::Impossible => Err(Errno::EXDEV),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Means = Means {
        form: WhiteoutForm::Device,
        exchange: true,
        whiteout: true,
    };

    fn facts(positive: bool, over_whiteout: bool, dir: bool) -> Facts {
        Facts {
            positive,
            over_whiteout,
            dir,
            victim: false,
        }
    }

    #[test]
    fn t041_to_t044_the_table_of_steps() {
        use RenameMode::{Exchange, Replace, Whiteout};
        for (positive, whiteout, dir, expected) in [
            (false, false, false, Step::Plain(Replace)),
            (false, false, true, Step::Plain(Replace)),
            (false, true, false, Step::Plain(Replace)),
            (false, true, true, Step::ExchangeAndDrop),
            (true, false, false, Step::Plain(Whiteout)),
            (true, false, true, Step::Plain(Whiteout)),
            (true, true, false, Step::Plain(Exchange)),
            (true, true, true, Step::Plain(Exchange)),
        ] {
            let step = step(facts(positive, whiteout, dir), KERNEL);
            assert_eq!(step, expected, "{positive} {whiteout} {dir}");
        }
    }

    #[test]
    fn t118_steps_of_a_filesystem_that_can_do_less() {
        let device = |exchange| Means {
            exchange,
            whiteout: false,
            ..KERNEL
        };
        let names = Means {
            form: WhiteoutForm::Name,
            ..device(false)
        };
        let positive = |dir, victim| Facts {
            victim,
            ..facts(true, false, dir)
        };
        for (dir, victim, with_exchange, without) in [
            (false, false, Step::CoverTarget, Step::LinkFirst),
            (false, true, Step::LinkFirst, Step::LinkFirst),
            (true, false, Step::CoverTarget, Step::Impossible),
            (true, true, Step::CoverTarget, Step::Impossible),
        ] {
            assert_eq!(step(positive(dir, victim), names), Step::MarkFirst);
            assert_eq!(step(positive(dir, victim), device(true)), with_exchange);
            assert_eq!(step(positive(dir, victim), device(false)), without);
        }
        assert_eq!(
            step(facts(true, true, false), device(false)),
            Step::LinkFirst
        );
        let marked = Means {
            form: WhiteoutForm::Attribute,
            ..KERNEL
        };
        assert_eq!(step(positive(false, false), marked), Step::CoverTarget);
    }
}

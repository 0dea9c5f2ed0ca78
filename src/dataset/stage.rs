//! Makes the stick's dataset equal to the server's where there is room for what is new beside what is old: everything
//! new is written aside first, so that the stick is half-done only for the moment of renaming.

use super::meta;
use super::publish::Compare;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::tree::copy::{Copied, Ownership};
use crate::tree::manifest::Listed;
use crate::tree::pairs::Pair;
use crate::tree::remove;
use crate::tree::replicate::{New, Policy, Take, replicate};
use crate::tree::walk::{Step, Walk};

/// Only what the stick lacks or has otherwise is taken.
struct Stage<'a> {
    compare: Compare<'a>,
    each: &'a mut dyn FnMut(&Listed) -> Result<()>,
    /// The stick has files or directories that the server does not have.
    surplus: bool,
}

impl Policy for Stage<'_> {
    fn choose(&mut self, walk: &Walk, pair: Pair) -> Result<Take> {
        self.compare.take_left(walk, pair, Take::Nothing)
    }

    fn placed(&mut self, walk: &Walk, pair: Pair, _: Take, copied: Option<Copied>) -> Result<()> {
        let Some(left) = pair.left else {
            self.surplus = true;
            return Ok(());
        };
        let (entry, sha256) = match (copied, pair.right) {
            (Some(copied), _) => (copied.entry, copied.sha256),
            (None, right) => (right.unwrap_or(left), self.compare.hash_of(walk, &left)?),
        };
        (self.each)(&Listed::of(walk.path(), &entry, Some(sha256)))
    }

    fn keeps_empty(&mut self, _: &Walk, left: Option<Entry>, right: Option<Entry>) -> bool {
        self.surplus |= left.is_none();
        left.is_some() && right.is_none()
    }
}

/// Copies what the stick lacks or has otherwise to the same relative places in `aside`, durably;
/// `each` is told every file as it will be on the stick. The stick's dataset itself is not touched. `true`: it has
/// files or directories that the server does not have.
///
/// # Errors
/// `Unreadable`, `Io`, `Busy`, `Interrupted`; those of `each`.
pub fn stage(
    (server, stick): (&Dir, &Dir),
    aside: New<'_>,
    compare: Compare<'_>,
    each: &mut dyn FnMut(&Listed) -> Result<()>,
) -> Result<bool> {
    let mut policy = Stage { compare, each, surplus: false };
    let root = aside.root;
    replicate((Some(server), Some(stick)), aside, meta::NAME, &mut policy)?;
    root.sync_all()?;
    Ok(policy.surplus)
}

/// Moves what was staged to its places: a directory that the stick does not have as a whole, else file by file. A crash
/// leaves a mixture of whole old and whole new files, under the `incomplete` mark.
///
/// # Errors
/// `Io`, `Interrupted`.
pub fn settle(aside: &Dir, stick: &Dir, owned: Ownership) -> Result<()> {
    let mut walk = Walk::new(Some(aside), None)?;
    let mut targets = vec![stick.again()?];
    while let Some(step) = walk.step()? {
        let (Some(target), Some(from)) = (targets.last(), walk.left()) else {
            return Err(Error::Failed { why: "no target directory".to_owned(), next: "report it" });
        };
        match step {
            Step::Enter { .. } => {
                make_way(target, walk.name(), Kind::Dir)?;
                if target.look(walk.name())?.is_none() {
                    // The walk finds nothing to enter there any more, and leaves it again.
                    from.rename_new(walk.name(), target, walk.name())?;
                }
                let made = target.make(walk.name(), owned.dir_mode)?;
                targets.push(made);
            }
            Step::Leave => drop(targets.pop()),
            Step::File { .. } => {
                make_way(target, walk.name(), Kind::File)?;
                from.rename(walk.name(), target, walk.name())?;
            }
            Step::Skipped(..) => {}
        }
    }
    Ok(())
}

/// Removes what is in the way of a file or directory: something of another kind with its name.
///
/// # Errors
/// `Io`, `Interrupted`.
pub fn make_way(target: &Dir, name: &[u8], kind: Kind) -> Result<()> {
    match target.look(name)? {
        Some(entry) if entry.kind != kind => remove::tree(target, name),
        _ => Ok(()),
    }
}

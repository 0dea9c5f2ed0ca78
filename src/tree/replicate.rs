//! The one loop that makes a tree out of two others: walk both, make directories, link or copy files. What is taken from where is a policy's.

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::flow::EarlyFlush;
use crate::os::progress::Progress;
use crate::tree::copy::{self, Copied, Ownership};
use crate::tree::pairs::Pair;
use crate::tree::walk::{Step, Walk};

/// Where a file of the new tree comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The left tree's is copied.
    CopyLeft,
    /// The right tree's gets a second name.
    LinkRight,
    /// There is none.
    Nothing,
}

/// What a tree is made of.
pub trait Policy {
    /// Where the file comes from that the walk has met.
    ///
    /// # Errors
    /// Of looking at it.
    fn choose(&mut self, walk: &Walk, pair: Pair) -> Result<Take>;

    /// Is told of each file, once it is in its place. `copied`: if it was copied. Where no further link was possible, what was to be linked is copied too.
    ///
    /// # Errors
    /// They end the work.
    fn placed(&mut self, walk: &Walk, pair: Pair, took: Take, copied: Option<Copied>) -> Result<()>;

    /// Whether a directory that nothing came into is made all the same; the walk is leaving it.
    fn keeps_empty(&mut self, walk: &Walk, left: Option<Entry>, right: Option<Entry>) -> bool;

    /// Is told of each directory with all of its files in it, the root last. `right`: the right tree's of that path.
    ///
    /// # Errors
    /// They end the work.
    fn finish_dir(&mut self, _right: Option<&Dir>, _made: &Dir) -> Result<()> {
        Ok(())
    }
}

/// Everything of the left tree is copied.
pub struct All;

impl Policy for All {
    fn choose(&mut self, _: &Walk, pair: Pair) -> Result<Take> {
        Ok(if pair.left.is_some() { Take::CopyLeft } else { Take::Nothing })
    }

    fn placed(&mut self, _: &Walk, _: Pair, _: Take, _: Option<Copied>) -> Result<()> {
        Ok(())
    }

    fn keeps_empty(&mut self, _: &Walk, left: Option<Entry>, _: Option<Entry>) -> bool {
        left.is_some()
    }
}

/// The directories from the root of the new tree down to where the walk is, each made when something comes into it.
struct Targets<'a> {
    root: &'a Dir,
    owned: Ownership,
    below: Vec<Target>,
}

struct Target {
    name: Vec<u8>,
    dir: Option<Dir>,
    left: Option<Entry>,
    right: Option<Entry>,
}

impl Targets<'_> {
    fn dir(&mut self) -> Result<&Dir> {
        for depth in 0..self.below.len() {
            let made = match self.below.get(depth) {
                Some(Target { name, dir: None, .. }) => {
                    let above = depth.checked_sub(1).and_then(|above| self.below.get(above)?.dir.as_ref());
                    let made = above.unwrap_or(self.root).make(name, self.owned.dir_mode)?;
                    made.set_owner_mode(self.owned.owner, self.owned.dir_mode)?;
                    made
                }
                _ => continue,
            };
            if let Some(target) = self.below.get_mut(depth) {
                target.dir = Some(made);
            }
        }
        Ok(self.below.last().and_then(|target| target.dir.as_ref()).unwrap_or(self.root))
    }

    /// Whether a file of the other tree has the name of the directory where the walk is.
    fn is_taken(&self) -> Result<bool> {
        let Some((Target { name, dir: None, .. }, above)) = self.below.split_last() else { return Ok(false) };
        let above = above.last().map_or(Some(self.root), |above| above.dir.as_ref());
        let entry = above.map(|above| above.look(name)).transpose()?.flatten();
        Ok(entry.is_some_and(|entry| entry.kind != Kind::Dir))
    }
}

/// The tree that is made.
pub struct New<'a> {
    /// Its empty root.
    pub root: &'a Dir,
    /// Whose it is.
    pub owned: Ownership,
    /// Is told what was copied.
    pub progress: &'a mut Progress,
}

/// Makes a tree. The file `except` directly below the roots is passed over. What is neither file nor directory is passed over
/// too, and so are droppings. The flush of what was written has begun by the end; it is the caller's to finish it.
///
/// # Errors
/// `Unreadable` for the left tree, `Io`, `Busy`, `Interrupted`; those of the policy.
pub fn replicate(
    (left, right): (Option<&Dir>, Option<&Dir>),
    new: New<'_>,
    except: &[u8],
    policy: &mut impl Policy,
) -> Result<()> {
    let New { root: to, owned, progress } = new;
    let flushed = |error| to.not_flushed(error);
    let mut walk = Walk::new(left, right)?;
    let mut targets = Targets { root: to, owned, below: Vec::new() };
    let mut early = EarlyFlush::new(to).map_err(flushed)?;
    while let Some(step) = walk.step()? {
        match step {
            Step::Enter { left, right } => {
                targets.below.push(Target { name: walk.name().to_vec(), dir: None, left, right });
            }
            Step::Leave => leave(&walk, &mut targets, policy)?,
            Step::File { left, right } if walk.path() != except => {
                let pair = Pair::of(left, right);
                let took = policy.choose(&walk, pair)?;
                let copied = place(&walk, took, &mut targets, progress)?;
                early.wrote(copied.map_or(0, |copied| copied.entry.size)).map_err(flushed)?;
                policy.placed(&walk, pair, took, copied)?;
            }
            _ => {}
        }
    }
    policy.finish_dir(right, to)?;
    progress.flush();
    early.end().map_err(flushed)
}

fn leave(walk: &Walk, targets: &mut Targets<'_>, policy: &mut impl Policy) -> Result<()> {
    if let Some(Target { dir, left, right, .. }) = targets.below.last() {
        let empty = dir.is_none();
        if (policy.keeps_empty(walk, *left, *right) && !targets.is_taken()?) || !empty {
            let right = match (right, walk.right()) {
                (Some(Entry { kind: Kind::Dir, .. }), Some(above)) => above.sub(walk.name())?,
                _ => None,
            };
            policy.finish_dir(right.as_ref(), targets.dir()?)?;
        }
    }
    targets.below.pop();
    Ok(())
}

fn place(walk: &Walk, took: Take, targets: &mut Targets<'_>, progress: &mut Progress) -> Result<Option<Copied>> {
    let name = walk.name();
    let gone = || Error::Failed { why: format!("{} is gone", walk.shown()), next: "run it again" };
    let owned = targets.owned;
    match took {
        Take::Nothing => Ok(None),
        Take::CopyLeft => {
            let from = walk.left().ok_or_else(gone)?;
            copy::copy((from, name), (targets.dir()?, name), owned, progress).map(Some)
        }
        Take::LinkRight => {
            let from = walk.right().ok_or_else(gone)?;
            let to = targets.dir()?;
            if from.link(name, to, name)? {
                return Ok(None);
            }
            copy::copy((from, name), (to, name), owned, progress).map(Some)
        }
    }
}

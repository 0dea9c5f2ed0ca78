//! Makes the stick's dataset equal to the server's where there is room for what is new beside what is old: everything
//! new is written aside first, so that the stick is half-done only for the moment of renaming.

use super::meta;
use super::publish::Compare;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::flow::EarlyFlush;
use crate::os::progress::Progress;
use crate::tree::copy::{self, Ownership};
use crate::tree::manifest::Listed;
use crate::tree::remove;
use crate::tree::walk::{Step, Walk};

/// The directories from the root of what is staged down to where the walk is; made only when something goes into them.
struct Path {
    root: Dir,
    below: Vec<(Vec<u8>, Option<Dir>)>,
}

impl Path {
    fn dir(&mut self, mode: u32) -> Result<&Dir> {
        for depth in 0..self.below.len() {
            let made = match self.below.get(depth) {
                Some((name, None)) => {
                    let above = depth.checked_sub(1).and_then(|above| self.below.get(above)?.1.as_ref());
                    above.unwrap_or(&self.root).make(name, mode)?
                }
                _ => continue,
            };
            if let Some((_, dir)) = self.below.get_mut(depth) {
                *dir = Some(made);
            }
        }
        Ok(self.below.last().and_then(|(_, dir)| dir.as_ref()).unwrap_or(&self.root))
    }
}

/// Copies what the stick lacks or has otherwise into the empty directory `aside`, at the same relative places, durably;
/// `each` is told every file as it will be on the stick. The stick's dataset itself is not touched. `true`: it has
/// files or directories that the server does not have.
///
/// # Errors
/// `Unreadable`, `Io`, `Busy`, `Interrupted`; those of `each`.
pub fn stage(
    server: &Dir,
    stick: &Dir,
    aside: &Dir,
    owned: Ownership,
    mut compare: Compare<'_>,
    each: &mut dyn FnMut(&Listed) -> Result<()>,
    progress: &mut Progress,
) -> Result<bool> {
    let mut walk = Walk::new(Some(server), Some(stick))?;
    let mut path = Path { root: aside.again()?, below: Vec::new() };
    let mut early = EarlyFlush::new(aside).map_err(|error| aside.not_flushed(error))?;
    let mut surplus = false;
    while let Some(step) = walk.step()? {
        match step {
            Step::Enter { left, right } => {
                surplus |= left.is_none();
                path.below.push((walk.name().to_vec(), None));
                if left.is_some() && right.is_none() {
                    path.dir(owned.dir_mode)?;
                }
            }
            Step::Leave => drop(path.below.pop()),
            Step::File { left: Some(left @ Entry { kind: Kind::File, .. }), right } if walk.path() != meta::NAME => {
                let Some(from) = walk.left() else {
                    continue;
                };
                let right = right.filter(|right| right.kind == Kind::File);
                let there = match right {
                    Some(right) if compare.same(&walk, &left, &right)? => Some(right),
                    _ => None,
                };
                let (entry, sha256) = match there {
                    Some(there) => (there, compare.hash_of(&walk, &left)?),
                    None => {
                        let name = walk.name();
                        let copied = copy::copy(from, name, path.dir(owned.dir_mode)?, name, owned, progress)?;
                        early.wrote(copied.entry.size).map_err(|error| aside.not_flushed(error))?;
                        (copied.entry, copied.sha256)
                    }
                };
                let path = walk.path().to_vec();
                each(&Listed { path, size: entry.size, mtime: entry.mtime, sha256: Some(sha256) })?;
            }
            Step::File { right: Some(Entry { kind: Kind::File, .. }), .. } if walk.path() != meta::NAME => {
                surplus = true
            }
            _ => {}
        }
    }
    progress.flush();
    early.end().map_err(|error| aside.not_flushed(error))?;
    aside.sync_all()?;
    Ok(surplus)
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

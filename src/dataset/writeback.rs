//! Makes the stick's dataset equal to the server's.
//!
//! Files are written under temporary names in `/.toolmaster/tmp` and flushed before they get their own names: all of
//! them at once where there is room (`stage.rs`), else in batches. So a pulled stick holds whole old files and whole
//! new ones. Which of them are ours is on record (`base.rs`)
//! before the first change; the next run finishes the work.

use std::fs::File;
use std::rc::Rc;

use log::warn;

use super::base::Known;
use super::meta;
use super::publish::Compare;
use super::stage::{make_way, settle, stage};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::tree::copy::{self, Ownership};
use crate::tree::manifest::{Listed, Writer};
use crate::tree::remove;
use crate::tree::same::Limits;
use crate::tree::walk::{Step, Walk};

/// A stick has no owners of ours.
pub const STICK: Ownership = Ownership { owner: None, file_mode: 0o644, dir_mode: 0o755 };
/// Bytes written between two flushes; so much room is needed beside what is replaced.
pub const BATCH_BYTES: u64 = 64 * 1024 * 1024;
/// As [`Order::batch`]: everything is written aside before anything is renamed.
pub const ALL: u64 = u64::MAX;
/// Files between two flushes; each holds a descriptor of its directory.
const BATCH_FILES: usize = 200;

/// In which order, and in how large pieces, so that it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Deletions before copies: where names fold, or else there is no room.
    pub delete_first: bool,
    /// Bytes between two flushes.
    pub batch: u64,
    /// What is replaced goes before its new content is written: the last resort of a full stick.
    pub clear: bool,
}

/// The two trees and where temporary files go.
pub struct Sides<'a> {
    /// The server's dataset.
    pub server: &'a Dir,
    /// The stick's dataset.
    pub stick: &'a Dir,
    /// `/.toolmaster/tmp` on the stick.
    pub temp: &'a Dir,
}

/// Finds out, path by path in walk order, what was edited on a PC since writing was cut off; that is left alone.
pub struct Edited {
    /// What was on record before this run.
    pub known: Known,
    /// What the stick's filesystem can keep.
    pub limits: Limits,
}

impl Edited {
    fn is(&mut self, walk: &Walk, right: Option<&Entry>) -> Result<bool> {
        while self.known.before(Some(walk.path()))?.is_some() {}
        let remembered = self.known.at(walk.path())?;
        remembered.changed_on_stick(&self.known, right, self.limits, || match walk.right() {
            Some(dir) => copy::hash(dir, walk.name()),
            None => Err(Error::Interrupted),
        })
    }
}

/// Carries it out; `list` gets the files as they are on the stick afterwards. `mark` is called before the stick's
/// dataset is touched. `edited`: what was edited is to be left alone; one for each of the two passes.
///
/// # Errors
/// `Io`, `Unreadable`, `Busy`, `Interrupted`; then the stick is half-done, and marked as such. Those of `mark`.
pub fn run(
    sides: &Sides<'_>,
    order: Order,
    mut compare: Compare<'_>,
    edited: Option<[Edited; 2]>,
    list: &mut Writer<File>,
    mark: &dyn Fn() -> Result<()>,
    progress: &mut Progress,
) -> Result<()> {
    let aside = if order.batch == ALL && edited.is_none() { Some(empty_aside(sides.temp)?) } else { None };
    let surplus = match &aside {
        Some(aside) => {
            let mut each = |file: &Listed| push(list, file, sides.stick);
            stage(sides.server, sides.stick, aside, STICK, compare.again(), &mut each, progress)?
        }
        None => true,
    };
    mark()?;
    let [mut copies, mut deletions] = edited.map_or([None, None], |passes| passes.map(Some));
    if surplus && order.delete_first {
        delete(sides, deletions.as_mut())?;
        sides.temp.sync_all()?;
    }
    match &aside {
        Some(aside) => settle(aside, sides.stick, STICK)?,
        None => copy_all(sides, order, &mut compare, copies.as_mut(), list, progress)?,
    }
    if surplus && !order.delete_first {
        delete(sides, deletions.as_mut())?;
    }
    progress.flush();
    sides.temp.sync_all()
}

/// Where what is new is put first. What the other dataset left there are empty directories: they are not this one's.
fn empty_aside(temp: &Dir) -> Result<Dir> {
    remove::tree(temp, b"next")?;
    temp.make(b"next", STICK.dir_mode)
}

fn push(list: &mut Writer<File>, file: &Listed, stick: &Dir) -> Result<()> {
    list.push(file).map_err(|error| Error::io("write the list of", stick.path(), error))
}

/// Files that lie under temporary names until the next flush.
struct Batch<'a> {
    temp: &'a Dir,
    staged: Vec<(Rc<Dir>, Vec<u8>)>,
    bytes: u64,
    order: Order,
}

impl Batch<'_> {
    fn temp_name(index: usize) -> Vec<u8> {
        format!("{index}").into_bytes()
    }

    /// Gives all of them their own names, once their contents are on the medium.
    fn flush(&mut self) -> Result<()> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.temp.sync_all()?;
        for (index, (target, name)) in self.staged.drain(..).enumerate() {
            self.temp.rename(&Batch::temp_name(index), &target, &name)?;
        }
        self.bytes = 0;
        Ok(())
    }
}

fn copy_all(
    sides: &Sides<'_>,
    order: Order,
    compare: &mut Compare<'_>,
    mut edited: Option<&mut Edited>,
    list: &mut Writer<File>,
    progress: &mut Progress,
) -> Result<()> {
    let mut batch = Batch { temp: sides.temp, staged: Vec::new(), bytes: 0, order };
    let mut targets = vec![Some(Rc::new(sides.stick.again()?))];
    let mut walk = Walk::new(Some(sides.server), Some(sides.stick))?;
    while let Some(step) = walk.step()? {
        let target = targets.last().cloned().flatten();
        match (step, target) {
            (Step::Enter { left: Some(_), right }, Some(target)) => {
                if right.is_none() {
                    make_way(&target, walk.name(), Kind::Dir)?;
                }
                targets.push(Some(Rc::new(target.make(walk.name(), STICK.dir_mode)?)));
            }
            (Step::Enter { .. }, _) => targets.push(None),
            (Step::Leave, _) => drop(targets.pop()),
            (Step::File { left: Some(left @ Entry { kind: Kind::File, .. }), right }, Some(target))
                if walk.path() != meta::NAME =>
            {
                let right = right.filter(|right| right.kind == Kind::File);
                let edited = match &mut edited {
                    Some(edited) => edited.is(&walk, right.as_ref())?,
                    None => false,
                };
                let file = one_file(&walk, left, right, edited, &target, &mut batch, compare, progress)?;
                push(list, &file, sides.stick)?;
            }
            _ => {}
        }
    }
    batch.flush()
}

#[allow(clippy::too_many_arguments, reason = "one step of the loop above, cut out to fit a screen")]
fn one_file(
    walk: &Walk,
    left: Entry,
    right: Option<Entry>,
    edited: bool,
    target: &Rc<Dir>,
    batch: &mut Batch<'_>,
    compare: &mut Compare<'_>,
    progress: &mut Progress,
) -> Result<Listed> {
    let Some(server) = walk.left() else {
        return Err(Error::Failed { why: "no source directory".to_owned(), next: "report it" });
    };
    let name = walk.name();
    let listed = |entry: Entry, sha256| Listed {
        path: walk.path().to_vec(),
        size: entry.size,
        mtime: entry.mtime,
        sha256: Some(sha256),
    };
    let there = match right {
        Some(right) if !edited && compare.same(walk, &left, &right)? => Some(right),
        _ => None,
    };
    if edited || there.is_some() {
        return Ok(listed(there.unwrap_or(left), compare.hash_of(walk, &left)?));
    }
    if right.is_none() {
        make_way(target, name, Kind::File)?;
    } else if batch.order.clear {
        target.remove(name)?;
    }
    let temp_name = Batch::temp_name(batch.staged.len());
    let copied = copy::copy(server, name, batch.temp, &temp_name, STICK, progress)?;
    batch.staged.push((Rc::clone(target), name.to_vec()));
    batch.bytes = batch.bytes.saturating_add(copied.entry.size);
    if batch.bytes >= batch.order.batch || batch.staged.len() >= BATCH_FILES {
        batch.flush()?;
    }
    Ok(listed(copied.entry, copied.sha256))
}

/// Removes from the stick what the server does not have, but for what was edited.
///
/// # Errors
/// `Io`, `Interrupted`.
pub fn delete(sides: &Sides<'_>, mut edited: Option<&mut Edited>) -> Result<()> {
    let mut only_on_stick = vec![false];
    let mut walk = Walk::new(Some(sides.server), Some(sides.stick))?;
    while let Some(step) = walk.step()? {
        match step {
            Step::Enter { left, .. } => only_on_stick.push(left.is_none()),
            Step::Leave => {
                if only_on_stick.pop() == Some(true)
                    && let Some(parent) = walk.right()
                    && !remove::dir_with_droppings(parent, walk.name())?
                    && edited.is_none()
                {
                    warn!("left on the stick: {}: something is in it that is not ours to delete", walk.shown());
                }
            }
            Step::File { left, right: Some(right @ Entry { kind: Kind::File, .. }) }
                if left.is_none_or(|left| left.kind != Kind::File) && walk.path() != meta::NAME =>
            {
                let edited = match &mut edited {
                    Some(edited) => edited.is(&walk, Some(&right))?,
                    None => false,
                };
                if let Some(parent) = walk.right().filter(|_| !edited) {
                    parent.remove(walk.name())?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

//! Makes the stick's dataset equal to the server's.
//!
//! Files are written under temporary names in `/.toolmaster/tmp` and flushed before they get their own names: all of
//! them at once where there is room (`stage.rs`), else in batches. So a pulled stick holds whole old files and whole
//! new ones. Which of them are ours is on record (`stick_state.rs`)
//! before the first change; the next run finishes the work.

use std::fs::File;
use std::rc::Rc;

use log::info;

use super::meta;
use super::publish::Compare;
use super::stage::{make_way, settle, stage};
use super::stick_state::known::{Known, Rule};
use super::stick_state::push;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::tree::copy::{self, Ownership};
use crate::tree::manifest::{Listed, Writer};
use crate::tree::remove;
use crate::tree::replicate::New;
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
    /// How a file is held against that.
    pub rule: Rule,
}

/// An edited file, with what the common state said of it: it keeps that.
type WasEdited = Option<Option<Listed>>;

impl Edited {
    fn look(&mut self, walk: &Walk, right: Option<&Entry>) -> Result<WasEdited> {
        let remembered = self.known.past(walk.path())?;
        let edited = remembered.changed_on_stick(&self.known, right, self.rule, || match walk.right() {
            Some(dir) => copy::hash(dir, walk.name()),
            None => Err(Error::Interrupted),
        })?;
        Ok(edited.then_some(remembered.base))
    }
}

/// How it is done.
pub struct Work<'a> {
    /// In which order.
    pub order: Order,
    /// How two files are compared.
    pub compare: Compare<'a>,
    /// What was edited is left alone; one for each of the two passes.
    pub edited: Option<[Edited; 2]>,
    /// Is called before the stick's dataset is touched.
    pub mark: &'a dyn Fn() -> Result<()>,
}

/// Carries it out; `list` gets the files as they are on the stick afterwards.
///
/// # Errors
/// `Io`, `Unreadable`, `Busy`, `Interrupted`; then the stick is half-done, and marked as such. Those of `mark`.
pub fn run(sides: &Sides<'_>, work: Work<'_>, list: &mut Writer<File>, progress: &mut Progress) -> Result<()> {
    let Work { order, mut compare, edited, mark } = work;
    let aside = if order.batch == ALL && edited.is_none() { Some(empty_aside(sides.temp)?) } else { None };
    let surplus = match &aside {
        Some(aside) => {
            let mut each = |file: &Listed| push(list, file, sides.stick);
            stage((sides.server, sides.stick), New { root: aside, owned: STICK, progress }, compare.again(), &mut each)?
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
        None => {
            let mut batch = Batch { temp: sides.temp, staged: Vec::new(), bytes: 0, order, progress };
            copy_all(sides, &mut batch, &mut compare, copies.as_mut(), list)?;
            batch.flush()?;
        }
    }
    if surplus && !order.delete_first {
        delete(sides, deletions.as_mut())?;
    }
    progress.flush();
    sides.temp.sync_all()
}

/// Where what is new is put first. What the other dataset left there are empty directories: they are not this one's.
///
/// # Errors
/// `Io`.
pub fn empty_aside(temp: &Dir) -> Result<Dir> {
    remove::tree(temp, b"next")?;
    temp.make(b"next", STICK.dir_mode)
}

/// Files that lie under temporary names until the next flush.
struct Batch<'a> {
    temp: &'a Dir,
    staged: Vec<(Rc<Dir>, Vec<u8>)>,
    bytes: u64,
    order: Order,
    progress: &'a mut Progress,
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

    /// Copies the left file of a step under a temporary name. `there`: the target has one of that name.
    fn copy(&mut self, walk: &Walk, there: bool, target: &Rc<Dir>) -> Result<copy::Copied> {
        let name = walk.name();
        let Some(server) = walk.left() else {
            return Err(Error::Failed { why: format!("{} is gone", walk.shown()), next: "run it again" });
        };
        if !there {
            make_way(target, name, Kind::File)?;
        } else if self.order.clear {
            target.remove(name)?;
        }
        let temp_name = Batch::temp_name(self.staged.len());
        let copied = copy::copy((server, name), (self.temp, &temp_name), STICK, self.progress)?;
        self.staged.push((Rc::clone(target), name.to_vec()));
        self.bytes = self.bytes.saturating_add(copied.entry.size);
        if self.bytes >= self.order.batch || self.staged.len() >= BATCH_FILES {
            self.flush()?;
        }
        Ok(copied)
    }
}

fn copy_all(
    sides: &Sides<'_>,
    batch: &mut Batch<'_>,
    compare: &mut Compare<'_>,
    mut edited: Option<&mut Edited>,
    list: &mut Writer<File>,
) -> Result<()> {
    let mut targets = vec![Some(Rc::new(sides.stick.again()?))];
    let mut walk = Walk::new(Some(sides.server), Some(sides.stick))?;
    // The file at which the walk was last that somebody edited on the stick: no directory takes its place.
    let mut edited_file = Vec::new();
    while let Some(step) = walk.step()? {
        let target = targets.last().cloned().flatten();
        match (step, target) {
            (Step::Enter { left: Some(_), right: None }, _) if edited_file == walk.path() => targets.push(None),
            (Step::Enter { left: Some(_), right }, Some(target)) => {
                if right.is_none() {
                    make_way(&target, walk.name(), Kind::Dir)?;
                }
                targets.push(Some(Rc::new(target.make(walk.name(), STICK.dir_mode)?)));
            }
            (Step::Enter { .. }, _) => targets.push(None),
            (Step::Leave, _) => drop(targets.pop()),
            (Step::File { left, right }, target) if walk.path() != meta::NAME => {
                let is_dir = right.is_some_and(|right| right.kind == Kind::Dir);
                let (mut left, right) = (Entry::file(left), Entry::file(right));
                if is_dir && edited.is_some() && !target.as_ref().is_none_or(|target| is_empty(target, walk.name())) {
                    // What is in a directory in its way may be somebody's work: the decision that follows is about that.
                    left = None;
                }
                let was = match &mut edited {
                    Some(edited) => edited.look(&walk, right.as_ref())?,
                    None => None,
                };
                if was.is_some() {
                    edited_file = walk.path().to_vec();
                }
                let listed = match (was, left, target) {
                    (Some(base), ..) => base,
                    (None, Some(left), Some(target)) => Some(one_file(&walk, (left, right), &target, batch, compare)?),
                    _ => None,
                };
                listed.map_or(Ok(()), |listed| push(list, &listed, sides.stick))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether nothing is in a directory.
fn is_empty(parent: &Dir, name: &[u8]) -> bool {
    let names = parent.sub(name).ok().flatten().map(|dir| dir.names());
    matches!(names, Some(Ok(names)) if names.iter().next().is_none())
}

/// Copies one file of the server to the stick, if it is not there already; as it is there then.
fn one_file(
    walk: &Walk,
    (left, right): (Entry, Option<Entry>),
    target: &Rc<Dir>,
    batch: &mut Batch<'_>,
    compare: &mut Compare<'_>,
) -> Result<Listed> {
    if let Some(right) = right
        && compare.same(walk, &left, &right)?
    {
        return Ok(Listed::of(walk.path(), &right, Some(compare.hash_of(walk, &left)?)));
    }
    let copied = batch.copy(walk, right.is_some(), target)?;
    Ok(Listed::of(walk.path(), &copied.entry, Some(copied.sha256)))
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
                    && !parent.remove_dir(walk.name())?
                    && edited.is_none()
                {
                    info!("left on the stick: {}: something is in it that is not ours to delete", walk.shown());
                }
            }
            Step::File { left, right: Some(right @ Entry { kind: Kind::File, .. }) }
                if left.is_none_or(|left| left.kind != Kind::File) && walk.path() != meta::NAME =>
            {
                let edited = match &mut edited {
                    Some(edited) => edited.look(&walk, Some(&right))?,
                    None => None,
                };
                if let Some(parent) = walk.right().filter(|_| edited.is_none()) {
                    parent.remove(walk.name())?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

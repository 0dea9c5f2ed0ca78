//! A terminal's side of a DIST stick: is the stick whole, what would change, and the new generation built beside the
//! present one and exchanged with it (SPEC 6, dist-sync).

mod build;

use std::hash::{DefaultHasher, Hash, Hasher};

use log::warn;

use build::Generation;

use super::Dataset;
use super::meta;
use super::taken::{self, Taken};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::text::Shown;
use crate::tree::copy;
use crate::tree::manifest::{Listed, path_order};
use crate::tree::remove;
use crate::tree::same::{Limits, Same, same};
use crate::tree::stream::Stream;
use crate::tree::walk::{Side, Step, Walk};

/// Which files are read, and how two are compared.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// What the stick's filesystem can keep.
    pub limits: Limits,
    /// `--checksum`: all of the stick's files are held against the manifest, and contents are compared.
    pub checksum: bool,
    /// What would be copied is held against the manifest already when it is looked at: nothing will be copied.
    pub dry_run: bool,
}

/// What a terminal would get.
#[derive(Clone, Copy, Debug, Default)]
pub struct Need {
    /// Files on the stick.
    pub on_stick: u64,
    /// Files on the terminal.
    pub on_terminal: u64,
    /// Files to copy.
    pub files: u64,
    /// Bytes to copy.
    pub bytes: u64,
    /// Files that the terminal loses.
    pub deleted: u64,
    /// Directories.
    pub dirs: u64,
    /// The terminal's dataset as it was looked at: see [`fingerprint`].
    pub fingerprint: u64,
}

/// Looks at both sides. `listed`: the stick's manifest of this dataset, if it has one; every file of it must be there
/// with its size (with `--checksum`: its content).
///
/// # Errors
/// `Refused` if the stick is not what its manifest says; `Unreadable`, `Io`.
pub fn inspect(
    stick: &Dir,
    local: Option<&Dir>,
    mut listed: Option<&mut Stream>,
    how: How,
    dataset: Dataset,
) -> Result<Need> {
    let mut need = Need::default();
    let mut print = Print::default();
    let mut walk = Walk::new(Some(stick), local)?;
    while let Some(step) = walk.step()? {
        print.add(&walk, step);
        let (left, right) = match step {
            Step::File { left, right } if walk.path() != meta::NAME => (Entry::file(left), Entry::file(right)),
            Step::Enter { left: Some(_), .. } => {
                need.dirs += 1;
                continue;
            }
            Step::Skipped(side, what) => {
                let place = if side == Side::Left { "on the stick" } else { "on the terminal" };
                warn!("{}: skipped {place}: {} ({what})", dataset.name(), walk.shown());
                continue;
            }
            _ => continue,
        };
        need.on_terminal += u64::from(right.is_some());
        need.deleted += u64::from(left.is_none() && right.is_some());
        let Some(left) = left else { continue };
        need.on_stick += 1;
        let head = match listed.as_deref_mut() {
            Some(listed) => pass_listed(&walk, &left, listed, dataset)?,
            None => None,
        };
        let as_written = || is_as_written(&walk, head.as_ref(), dataset);
        if how.checksum {
            as_written()?;
        }
        if !right.map_or(Ok(false), |right| is_same(&walk, &left, &right, head.as_ref(), how))? {
            if how.dry_run && !how.checksum {
                as_written()?;
            }
            need.files += 1;
            need.bytes = need.bytes.saturating_add(left.size);
        }
    }
    need.fingerprint = print.0.finish();
    match listed.and_then(|listed| listed.head()) {
        Some(missing) => Err(not_whole(dataset, &missing.path, "is missing")),
        None => Ok(need),
    }
}

/// A terminal's dataset as one number: names, sizes, times and inodes, without droppings. Links that are added to its
/// files do not change it.
///
/// # Errors
/// `Io`, `Interrupted`.
pub fn fingerprint(local: &Dir) -> Result<u64> {
    let mut print = Print::default();
    let mut walk = Walk::new(None, Some(local))?;
    while let Some(step) = walk.step()? {
        print.add(&walk, step);
    }
    Ok(print.0.finish())
}

#[derive(Default)]
struct Print(DefaultHasher);

impl Print {
    /// Adds what the right tree has.
    fn add(&mut self, walk: &Walk, step: Step) {
        match step {
            Step::File { right, .. } => {
                if let Some(Entry { ino, size, mtime, .. }) = Entry::file(right) {
                    (walk.path(), ino, size, mtime).hash(&mut self.0);
                }
            }
            Step::Enter { right: Some(Entry { kind: Kind::Dir, ino, .. }), .. } => (walk.path(), ino).hash(&mut self.0),
            Step::Skipped(Side::Right, what) => (walk.path(), what).hash(&mut self.0),
            _ => {}
        }
    }
}

/// What the manifest, which is passed up to it, says of a file of the stick.
fn pass_listed(walk: &Walk, left: &Entry, listed: &mut Stream, dataset: Dataset) -> Result<Option<Listed>> {
    match listed.head() {
        Some(head) if path_order(&head.path, walk.path()).is_lt() => {
            return Err(not_whole(dataset, &head.path, "is missing"));
        }
        Some(head) if head.path == walk.path() => {}
        _ => {
            warn!("{}: {} is not in the stick's manifest: it could not be checked", dataset.name(), walk.shown());
            return Ok(None);
        }
    }
    match listed.take()? {
        Some(head) if head.size != left.size => {
            Err(not_whole(dataset, &head.path, "has another size than the server wrote"))
        }
        head => Ok(head),
    }
}

/// Reads a file of the stick and holds it against the manifest.
fn is_as_written(walk: &Walk, head: Option<&Listed>, dataset: Dataset) -> Result<()> {
    let Some((sha256, dir)) = head.and_then(|head| head.sha256).zip(walk.left()) else { return Ok(()) };
    if copy::hash(dir, walk.name())? == sha256 {
        return Ok(());
    }
    Err(not_whole(dataset, walk.path(), "is not what the server wrote"))
}

/// Whether the terminal has a file of the stick already. With `--checksum` the stick's has been read by now.
fn is_same(walk: &Walk, left: &Entry, right: &Entry, head: Option<&Listed>, how: How) -> Result<bool> {
    if same((left.size, left.mtime), (right.size, right.mtime), how.limits) != Same::Yes {
        return Ok(false);
    }
    let (true, Some(on_stick), Some(here)) = (how.checksum, walk.left(), walk.right()) else { return Ok(true) };
    let here = match copy::hash(here, walk.name()) {
        Ok(sha256) => sha256,
        // What the terminal's disk can't read any more is written anew.
        Err(Error::Unreadable { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    match head.and_then(|head| head.sha256) {
        Some(sha256) => Ok(sha256 == here),
        None => Ok(copy::hash(on_stick, walk.name())? == here),
    }
}

fn not_whole(dataset: Dataset, path: &[u8], what: &str) -> Error {
    Error::Refused {
        why: format!("the stick is not whole: {}/{} {what}", dataset.name(), Shown(path)),
        next: "fill it again at the server; the terminal keeps what it has".to_owned(),
    }
}

/// Where the terminal has a dataset.
pub struct Place {
    /// The directory that it is in.
    pub parent: Dir,
    /// Its name there.
    pub name: Vec<u8>,
    /// A directory on the same file system for what is being built.
    pub aside: Dir,
}

impl Place {
    /// The dataset, if there is one.
    ///
    /// # Errors
    /// `Io`.
    pub fn live(&self) -> Result<Option<Dir>> {
        self.parent.sub(&self.name)
    }

    /// Ends what a run that was cut off has left: an exchange that it had not noted yet, and what it had built or replaced.
    ///
    /// # Errors
    /// `Io`, `Interrupted`.
    pub fn settle(&self, dataset: Dataset) -> Result<()> {
        let aside = &self.aside;
        let live = self.live()?.map(|live| live.entry()).transpose()?.map(|live| live.ino);
        match taken::next(aside, dataset)? {
            Some(next) if Some(next.inode) == live => {
                if let (Some(old), Some(replaced)) = (aside.sub(dataset.name().as_bytes())?, next.replaced) {
                    match fingerprint(&old) {
                        Ok(print) if print == replaced => {}
                        Err(Error::Interrupted) => return Err(Error::Interrupted),
                        _ => self.keep_saved(dataset)?,
                    }
                }
                taken::confirm(aside, dataset)?;
            }
            _ => taken::withdraw(aside, dataset)?,
        }
        remove::tree(aside, dataset.name().as_bytes())
    }

    /// Keeps a generation, into which a program has saved something while it was not live any more, under another name.
    fn keep_saved(&self, dataset: Dataset) -> Result<()> {
        let (aside, name) = (&self.aside, dataset.name());
        let Some(saved) = aside.look(name.as_bytes())? else { return Ok(()) };
        let kept = format!("{name}.saved-{}", saved.ino);
        aside.rename_new(name.as_bytes(), aside, kept.as_bytes())?;
        aside.sync()?;
        warn!("{name}: something was saved on the terminal meanwhile; it is kept in {}", aside.shown(kept.as_bytes()));
        Ok(())
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The terminal has what the stick has.
    Done,
    /// The terminal's dataset had been edited since it was looked at; it stands.
    Edited,
}

/// What is to take the place of the terminal's dataset.
pub struct Source<'a> {
    /// Which dataset.
    pub dataset: Dataset,
    /// The stick's.
    pub stick: &'a Dir,
    /// Its manifest from its start, if it has one.
    pub listed: Option<Stream>,
    /// Whether what was read from the stick may be believed.
    pub check_read: &'a dyn Fn() -> Result<()>,
}

/// Replaces the terminal's dataset by the stick's: built in `aside`, made durable, exchanged. What is copied must have
/// the hash that the manifest says. `look`: the fingerprint of the terminal's dataset when it was looked at. `taken`: what is
/// to be on record then.
///
/// A crash leaves the old dataset, or the new one with the old one in `aside`, which [`Place::settle`] removes.
///
/// # Errors
/// `Refused` if a file is not what the server wrote; `Unreadable`, `Io`, `Interrupted`: the old dataset stands.
pub fn replace(
    mut source: Source<'_>,
    place: &Place,
    (look, taken): (u64, Taken),
    how: How,
    progress: &mut Progress,
) -> Result<Replaced> {
    let Place { parent, name, aside } = place;
    let dataset = source.dataset;
    let live = place.live()?;
    let new_name = dataset.name().as_bytes();
    remove::tree(aside, new_name)?;
    let new = aside.make(new_name, 0o755)?;
    let built = Generation::new(dataset, live.as_ref(), parent, &new, how)
        .and_then(|mut generation| generation.fill(&mut source, progress));
    if let Err(error) = built.and_then(|()| new.sync_all()).and_then(|()| (source.check_read)()) {
        remove::tree(aside, new_name)?;
        return Err(error);
    }
    let replaced = live.as_ref().map(|_| look);
    taken::announce(aside, dataset, &Taken { inode: new.entry()?.ino, replaced, ..taken })?;
    let exchange = || {
        match live {
            Some(_) => aside.exchange(new_name, parent, name)?,
            None => aside.rename_new(new_name, parent, name)?,
        }
        parent.sync()?;
        aside.sync()
    };
    exchange()?;
    if let Some(old) = &live
        && fingerprint(old)? != look
    {
        exchange()?;
        taken::withdraw(aside, dataset)?;
        source.listed = None;
        let as_built =
            inspect(source.stick, Some(&new), None, How { checksum: false, dry_run: false, ..how }, dataset)?;
        if as_built.files > 0 || as_built.deleted > 0 {
            place.keep_saved(dataset)?;
        }
        remove::tree(aside, new_name)?;
        return Ok(Replaced::Edited);
    }
    taken::confirm(aside, dataset)?;
    remove::tree(aside, new_name)?;
    Ok(Replaced::Done)
}

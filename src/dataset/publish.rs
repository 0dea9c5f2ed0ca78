//! Builds a copy of the stick's dataset on the server, inside its `undo/` place, and exchanges it with the live one.
//!
//! What a crash leaves, step by step: while building, a directory in `undo/` whose `.json` says that it is not done
//! (the next run removes it); after the exchange, the new dataset live and the old one in its undo place (the next run
//! notes that it is done). At no instant is the live dataset missing or mixed.

use log::info;

use super::Dataset;
use super::history::{Place, meta_temp};
use super::meta::{self, Meta};
use super::server::Server;
use super::survey::{fingerprint, look_of};
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::flow::EarlyFlush;
use crate::os::progress::Progress;
use crate::tree::copy::{self, Copied, Ownership};
use crate::tree::manifest::Listed;
use crate::tree::same::{Limits, Same, same};
use crate::tree::stream::Stream;
use crate::tree::walk::{Step, Walk};

/// What arrives on the server brings no owner, no setuid and no executable bit (SPEC 6).
pub fn server_ownership(owner: (u32, u32)) -> Ownership {
    Ownership { owner: Some(owner), file_mode: 0o644, dir_mode: 0o755 }
}

/// How two files are compared, and what is already known of the contents.
pub struct Compare<'a> {
    /// What the stick's filesystem can keep.
    pub limits: Limits,
    /// `--checksum`.
    pub checksum: bool,
    /// The last common state, whose hashes need not be computed again.
    pub base: Option<&'a mut Stream>,
}

impl Compare<'_> {
    /// The same once more, for a first part of the work that ends before the rest begins.
    pub fn again(&mut self) -> Compare<'_> {
        Compare { limits: self.limits, checksum: self.checksum, base: self.base.as_deref_mut() }
    }

    /// Whether the two files of a step are the same, as the survey saw it.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn same(&self, walk: &Walk, left: &Entry, right: &Entry) -> Result<bool> {
        if same((left.size, left.mtime), (right.size, right.mtime), self.limits) != Same::Yes {
            return Ok(false);
        }
        match (walk.left(), walk.right()) {
            (Some(left), Some(right)) if self.checksum => {
                Ok(copy::hash(left, walk.name())? == copy::hash(right, walk.name())?)
            }
            _ => Ok(true),
        }
    }

    /// The hash that the last common state has of a file, if it is still that file by size and time.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn known_hash(&mut self, path: &[u8], entry: &Entry) -> Result<Option<[u8; 32]>> {
        let Some(base) = self.base.as_mut() else {
            return Ok(None);
        };
        let Some(head) = base.find(path)? else {
            return Ok(None);
        };
        let unchanged = same((head.size, head.mtime), (entry.size, entry.mtime), self.limits) == Same::Yes;
        Ok(if unchanged && !self.checksum { head.sha256 } else { None })
    }
}

impl Compare<'_> {
    /// The hash of a step's left file, from the last common state or by reading it.
    ///
    /// # Errors
    /// `Unreadable`, `Interrupted`.
    pub fn hash_of(&mut self, walk: &Walk, left: &Entry) -> Result<[u8; 32]> {
        match (self.known_hash(walk.path(), left)?, walk.left()) {
            (Some(sha256), _) => Ok(sha256),
            (None, Some(dir)) => copy::hash(dir, walk.name()),
            (None, None) => Err(Error::Failed { why: "no source directory".to_owned(), next: "report it" }),
        }
    }
}

/// Is told a file at a time.
pub type Each<'a> = &'a mut dyn FnMut(&Listed) -> Result<()>;

/// Copies the dataset of the stick (or one that is kept) into the empty directory `to`; `each` is told every file as it
/// is on the stick.
/// Files that the server's live dataset already has are linked, not copied. `meta.json` is not copied.
///
/// # Errors
/// `Unreadable` for the stick's files, `Io`, `Busy`, `Interrupted`; those of `each`.
pub fn build(
    stick: &Dir,
    live: Option<&Dir>,
    to: &Dir,
    owned: Ownership,
    mut compare: Compare<'_>,
    mut each: Option<Each<'_>>,
    progress: &mut Progress,
) -> Result<()> {
    to.set_owner_mode(owned.owner, owned.dir_mode)?;
    let mut walk = Walk::new(Some(stick), live)?.side_by_side();
    let mut targets = vec![Some(to.again()?)];
    let mut early = EarlyFlush::new(to).map_err(|error| to.not_flushed(error))?;
    while let Some(step) = walk.step()? {
        let target = targets.last().and_then(Option::as_ref);
        match (step, target) {
            (Step::Enter { left: Some(_), .. }, Some(target)) => {
                let made = target.make(walk.name(), owned.dir_mode)?;
                made.set_owner_mode(owned.owner, owned.dir_mode)?;
                targets.push(Some(made));
            }
            (Step::Enter { .. }, _) => targets.push(None),
            (Step::Leave, _) => drop(targets.pop()),
            (Step::File { left: Some(left @ Entry { kind: Kind::File, .. }), right }, Some(target))
                if walk.path() != meta::NAME =>
            {
                let right = right.filter(|right| right.kind == Kind::File);
                let placed = place_file(&mut walk, left, right, target, owned, &compare, progress)?;
                early.wrote(placed.map_or(0, |copied| copied.entry.size)).map_err(|error| to.not_flushed(error))?;
                if let Some(each) = &mut each {
                    each(&listed(&walk, left, placed, &mut compare)?)?;
                }
            }
            _ => {}
        }
    }
    early.end().map_err(|error| to.not_flushed(error))
}

/// Links or copies one file. `None`: it was linked.
fn place_file(
    walk: &mut Walk,
    left: Entry,
    right: Option<Entry>,
    target: &Dir,
    owned: Ownership,
    compare: &Compare<'_>,
    progress: &mut Progress,
) -> Result<Option<Copied>> {
    if let (Some(right), Some(live)) = (right, walk.right())
        && compare.same(walk, &left, &right)?
        && live.link(walk.name(), target, walk.name())?
    {
        return Ok(None);
    }
    walk.read_ahead();
    let name = walk.name();
    let Some(stick) = walk.left() else {
        return Err(Error::Failed { why: "no source directory".to_owned(), next: "report it" });
    };
    copy::copy(stick, name, target, name, owned, progress).map(Some)
}

/// How a file that was copied, or else linked, is listed.
fn listed(walk: &Walk, left: Entry, copied: Option<Copied>, compare: &mut Compare<'_>) -> Result<Listed> {
    // Another size than the walk saw: it was being written to when the walk met it; what was copied counts.
    let size = copied.map_or(left.size, |copied| copied.entry.size);
    let sha256 = match (copied, compare.known_hash(walk.path(), &left)?, walk.right()) {
        (Some(copied), ..) => Some(copied.sha256),
        (None, Some(sha256), _) => Some(sha256),
        (None, None, Some(live)) => Some(copy::hash(live, walk.name())?),
        (None, None, None) => None,
    };
    Ok(Listed { path: walk.path().to_vec(), size, mtime: left.mtime, sha256 })
}

/// What came of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchanged {
    /// The new dataset is live, the old one in its undo place.
    Done,
    /// The old one had been edited since it was looked at; it is live again.
    Edited,
}

/// Exchanges the dataset that was built in `place` with the live one, durably, and looks once more whether the live
/// one is still what the decision was made on (`print`).
///
/// # Errors
/// `Io`; then the next run finds out from the inode which of the two is live.
pub fn exchange(server: &Server, dataset: Dataset, place: &mut Place, print: u64) -> Result<Exchanged> {
    let (parent, live_name) = server.place(dataset);
    let Some(new) = place.run().sub(place.name())? else {
        return Err(Error::Failed { why: format!("{}: what was built is gone", dataset.name()), next: "run it again" });
    };
    // One syncfs for all that was built, then the intent, then the exchange. The run's directory was opened before the first write.
    place.run().sync_all()?;
    place.part.new_ino = new.entry()?.ino;
    place.part.left = look_of(&new)?;
    place.save()?;
    let live = server.dataset(dataset)?;
    match &live {
        Some(_) => place.run().exchange(place.name(), parent, live_name)?,
        None => place.run().rename_new(place.name(), parent, live_name)?,
    }
    parent.sync()?;
    place.run().sync()?;
    if let Some(old) = &live
        && fingerprint(old)? != print
    {
        place.run().exchange(place.name(), parent, live_name)?;
        parent.sync()?;
        place.run().sync()?;
        info!("{}: edited on the server meanwhile: exchanged back", dataset.name());
        return Ok(Exchanged::Edited);
    }
    Ok(Exchanged::Done)
}

/// Writes the server's `meta.json` with a new time, durably. The temporary file lies in the undo place, never in the
/// live dataset.
///
/// # Errors
/// `Io`.
pub fn write_server_meta(live: &Dir, place: &Place, time: i64) -> Result<()> {
    let content = Meta::read(live)?.with_time(time);
    let owner = live.entry()?.owner;
    atomic::write_via(place.run(), &meta_temp(place.dataset()), live, meta::NAME, &content, 0o644)?;
    own_meta(live, owner)
}

/// Puts a `meta.json` into a dataset that is being built.
///
/// # Errors
/// `Io`.
pub fn put_meta(to: &Dir, content: &[u8], owner: (u32, u32)) -> Result<()> {
    atomic::write(to, meta::NAME, content, 0o644)?;
    own_meta(to, owner)
}

fn own_meta(dir: &Dir, owner: (u32, u32)) -> Result<()> {
    let (file, _) = dir.read(meta::NAME)?;
    crate::os::dir::set_owner_mode(&file, Some(owner), 0o644)
        .map_err(|error| Error::io("set the owner of", &dir.path_of(meta::NAME), error))
}

//! Builds the stick's dataset on the server, inside its `undo/` place, and exchanges it with the live one.
//!
//! What a crash leaves, step by step: while building, a directory in `undo/` whose `.json` says that it is not done
//! (the next run removes it); after the exchange, the new dataset live and the old one in its undo place (the next run takes out of that
//! what was not replaced, and notes that it is done). At no instant is the live dataset missing or mixed.

use std::collections::HashMap;
use std::fs::File;

use log::{info, warn};

use super::Dataset;
use super::meta::{self, Meta};
use super::server::Server;
use super::stick_state::push;
use super::strip;
use super::survey::{Lost, fingerprint, look_of};
use super::undo::{List, Place, meta_temp};
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::attributes;
use crate::os::dir::{Dir, Entry, Kind};
use crate::text::Shown;
use crate::tree::copy::{self, Copied, Ownership};
use crate::tree::droppings::is_dropping;
use crate::tree::manifest::{Listed, Writer};
use crate::tree::pairs::Pair;
use crate::tree::replicate::{New, Policy, Take, replicate};
use crate::tree::same::{Limits, Same, same};
use crate::tree::stream::Stream;
use crate::tree::walk::Walk;

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
    /// The common state, whose hashes need not be computed again.
    pub base: Option<&'a mut Stream>,
    /// Files that are not the same, whatever their size and time say.
    pub rotten: Option<&'a HashMap<Vec<u8>, u64>>,
}

impl<'a> Compare<'a> {
    /// By size and time alone, or with `checksum` by contents.
    pub fn plain(limits: Limits, checksum: bool) -> Compare<'a> {
        Compare { limits, checksum, base: None, rotten: None }
    }

    /// With what is known of contents.
    pub fn with(limits: Limits, checksum: bool, base: Option<&'a mut Stream>) -> Compare<'a> {
        Compare { base, ..Compare::plain(limits, checksum) }
    }

    /// The same once more, for a first part of the work that ends before the rest begins.
    pub fn again(&mut self) -> Compare<'_> {
        Compare { limits: self.limits, checksum: self.checksum, base: self.base.as_deref_mut(), rotten: self.rotten }
    }

    /// Whether the two files of a step are the same, as the survey saw it.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn same(&self, walk: &Walk, left: &Entry, right: &Entry) -> Result<bool> {
        if same((left.size, left.mtime), (right.size, right.mtime), self.limits) != Same::Yes {
            return Ok(false);
        }
        if self.rotten.is_some_and(|rotten| rotten.contains_key(walk.path())) {
            return Ok(false);
        }
        match (walk.left(), walk.right()) {
            (Some(left), Some(right)) if self.checksum => {
                Ok(copy::hash(left, walk.name())? == copy::hash(right, walk.name())?)
            }
            _ => Ok(true),
        }
    }

    /// Where the left file of a step comes from, if there is one; `same`: where the right one is the same.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn take_left(&self, walk: &Walk, pair: Pair, same: Take) -> Result<Take> {
        Ok(match (pair.left, pair.right) {
            (Some(left), Some(right)) if self.same(walk, &left, &right)? => same,
            (Some(_), _) => Take::CopyLeft,
            (None, _) => Take::Nothing,
        })
    }

    /// The hash that the common state has of a file, if it is still that file by size and time.
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

    /// Whether a file has the size and time that the common state says, and another content than that: an edit that nobody could see.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn is_hidden_edit(&mut self, path: &[u8], entry: &Entry, sha256: [u8; 32]) -> Result<bool> {
        // With `--checksum` everybody could: the survey has counted it.
        if self.checksum {
            return Ok(false);
        }
        let Some(head) = self.base.as_mut().map(|base| base.find(path)).transpose()?.flatten() else {
            return Ok(false);
        };
        let unchanged = same((head.size, head.mtime), (entry.size, entry.mtime), self.limits) == Same::Yes;
        Ok(unchanged && head.sha256.is_some_and(|listed| listed != sha256))
    }

    /// The hash of a step's left file, from the common state or by reading it.
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

/// The three lists of a place whose dataset is about to be exchanged.
pub struct Lists<'a> {
    place: &'a Place,
    brought: Writer<File>,
    replaced: Writer<File>,
    before: Writer<File>,
    added: Vec<String>,
    /// What is replaced and was edited behind its size and time.
    hidden: Lost,
}

/// What the lists have told by their end.
pub struct Listing {
    /// The first names of what comes new.
    pub added: Vec<String>,
    /// What was replaced and had been edited behind its size and time.
    pub hidden: Lost,
}

/// So many files that come new are named in a run's record; the list beside it has all.
const ADDED: usize = 1000;

impl<'a> Lists<'a> {
    /// Starts them.
    ///
    /// # Errors
    /// `Io`.
    pub fn start(place: &'a Place) -> Result<Lists<'a>> {
        let start = |list| place.start_list(list);
        Ok(Lists {
            place,
            brought: start(List::Brought)?,
            replaced: start(List::Replaced)?,
            before: start(List::Before)?,
            added: Vec::new(),
            hidden: Lost::default(),
        })
    }

    /// Notes what becomes of a file of the loser (`right`) and what takes its place.
    ///
    /// # Errors
    /// `Io`.
    pub fn note(&mut self, path: &[u8], right: Option<Entry>, took: Take, copied: Option<Copied>) -> Result<()> {
        let run = self.place.run();
        let listed = |entry: Entry, sha256| Listed::of(path, &entry, sha256);
        if let Some(right) = right {
            push(&mut self.before, &listed(right, None), run)?;
            if took != Take::LinkRight {
                push(&mut self.replaced, &listed(right, None), run)?;
            }
        }
        if right.is_none() && copied.is_some() {
            self.note_added(path);
        }
        match copied {
            Some(copied) if took == Take::CopyLeft => {
                push(&mut self.brought, &listed(copied.entry, Some(copied.sha256)), run)
            }
            _ => Ok(()),
        }
    }

    fn note_added(&mut self, path: &[u8]) {
        if self.added.len() < ADDED {
            self.added.push(Shown(path).to_string());
        }
    }

    /// Notes what is about to take the loser's place; `new`: there is nothing of that name.
    ///
    /// # Errors
    /// `Io`.
    pub fn bring(&mut self, path: &[u8], entry: Option<Entry>, new: bool) -> Result<()> {
        let Some(entry) = entry else { return Ok(()) };
        if new {
            self.note_added(path);
        }
        push(&mut self.brought, &Listed::of(path, &entry, None), self.place.run())
    }

    /// Notes a file that was copied into the directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn keep(&mut self, path: &[u8], copied: Copied) -> Result<()> {
        push(&mut self.replaced, &Listed::of(path, &copied.entry, Some(copied.sha256)), self.place.run())
    }

    /// Ends them; the flush of all that was built makes them durable.
    ///
    /// # Errors
    /// `Io`.
    pub fn end(self) -> Result<Listing> {
        for list in [self.brought, self.replaced, self.before] {
            self.place.end_list(list, false)?;
        }
        Ok(Listing { added: self.added, hidden: self.hidden })
    }
}

/// The stick's files come in; what the live dataset has already is linked.
struct TakeIn<'a, 'b> {
    compare: Compare<'a>,
    lists: &'a mut Lists<'b>,
    /// Is told each file as it is on the stick.
    on_stick: &'a mut Writer<File>,
}

impl Policy for TakeIn<'_, '_> {
    fn choose(&mut self, walk: &Walk, pair: Pair) -> Result<Take> {
        self.compare.take_left(walk, pair, Take::LinkRight)
    }

    fn placed(&mut self, walk: &Walk, pair: Pair, took: Take, copied: Option<Copied>) -> Result<()> {
        self.lists.note(walk.path(), pair.right, took, copied)?;
        if let (Some(right), Some(live)) = (pair.right.filter(|_| took != Take::LinkRight), walk.right()) {
            let sha256 = copy::hash(live, walk.name())?;
            if self.compare.is_hidden_edit(walk.path(), &right, sha256)? {
                self.lists.hidden.add(walk.path());
            }
        }
        let Some(left) = pair.left else { return Ok(()) };
        let read = copied.filter(|_| took == Take::CopyLeft);
        // Another size than the walk saw: it was being written to when the walk met it; what was copied counts.
        let size = read.map_or(left.size, |copied| copied.entry.size);
        let sha256 = match read {
            Some(copied) => copied.sha256,
            None => match (self.compare.known_hash(walk.path(), &left)?, walk.right()) {
                (Some(sha256), _) => sha256,
                (None, Some(live)) => copy::hash(live, walk.name())?,
                (None, None) => return Ok(()),
            },
        };
        let listed = Listed { path: walk.path().to_vec(), size, mtime: left.mtime, sha256: Some(sha256) };
        push(self.on_stick, &listed, self.lists.place.run())
    }

    fn keeps_empty(&mut self, walk: &Walk, left: Option<Entry>, _: Option<Entry>) -> bool {
        left.is_some() || holds_odd_things(walk)
    }

    fn finish_dir(&mut self, live: Option<&Dir>, made: &Dir) -> Result<()> {
        live.map_or(Ok(()), |live| carry_over(live, made))
    }
}

/// Builds the stick's dataset. `meta.json` is left out.
///
/// # Errors
/// `Unreadable` for the stick's files, `Io`, `Busy`, `Interrupted`.
pub fn take_in(
    (stick, live): (&Dir, Option<&Dir>),
    new: New<'_>,
    compare: Compare<'_>,
    (lists, on_stick): (&mut Lists<'_>, &mut Writer<File>),
) -> Result<()> {
    new.root.set_owner_mode(new.owned.owner, new.owned.dir_mode)?;
    let mut policy = TakeIn { compare, lists, on_stick };
    replicate((Some(stick), live), new, meta::NAME, &mut policy)
}

/// What the stick (left) has otherwise than its new state (right) is copied.
struct Keep<'a, 'b> {
    compare: Compare<'a>,
    lists: &'a mut Lists<'b>,
    /// Is told each file of the stick.
    on_stick: &'a mut Writer<File>,
}

impl Policy for Keep<'_, '_> {
    fn choose(&mut self, walk: &Walk, pair: Pair) -> Result<Take> {
        self.compare.take_left(walk, pair, Take::Nothing)
    }

    fn placed(&mut self, walk: &Walk, pair: Pair, took: Take, copied: Option<Copied>) -> Result<()> {
        if let Some(left) = pair.left {
            let sha256 = match copied {
                Some(copied) => Some(copied.sha256),
                None => self.compare.known_hash(walk.path(), &left)?,
            };
            push(self.on_stick, &Listed::of(walk.path(), &left, sha256), self.lists.place.run())?;
        }
        if let (Some(copied), Some(left)) = (copied, pair.left) {
            self.lists.keep(walk.path(), copied)?;
            if self.compare.is_hidden_edit(walk.path(), &left, copied.sha256)? {
                self.lists.hidden.add(walk.path());
            }
        }
        let brings = took == Take::CopyLeft || pair.left.is_none();
        self.lists.bring(walk.path(), pair.right.filter(|_| brings), pair.left.is_none())
    }

    /// Only directories that the stick is about to lose.
    fn keeps_empty(&mut self, _: &Walk, left: Option<Entry>, right: Option<Entry>) -> bool {
        left.is_some() && right.is_none()
    }
}

/// Copies what the stick is about to lose. `meta.json` is left out.
///
/// # Errors
/// `Unreadable` for the stick's files, `Io`, `Busy`, `Interrupted`.
pub fn keep_replaced(
    (stick, source): (&Dir, &Dir),
    new: New<'_>,
    compare: Compare<'_>,
    (lists, on_stick): (&mut Lists<'_>, &mut Writer<File>),
) -> Result<()> {
    let mut policy = Keep { compare, lists, on_stick };
    replicate((Some(stick), Some(source)), new, meta::NAME, &mut policy)
}

/// Gives a new directory what the live one has beside files: its mode, owner, ACL and attributes, links and other odd things, droppings.
///
/// # Errors
/// `Io`.
pub fn carry_over(live: &Dir, made: &Dir) -> Result<()> {
    attributes::copy(live, made).map_err(|error| Error::io("set the attributes of", made.path(), error))?;
    for name in live.names()?.iter() {
        match live.look(name)? {
            Some(entry) if is_dropping(name) || matches!(entry.kind, Kind::Other(_)) => carry(live, name, entry, made)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether the live directory that a walk is leaving has something beside files and directories: that stays in its place, and so does the directory.
pub fn holds_odd_things(walk: &Walk) -> bool {
    let Some(Ok(Some(dir))) = walk.right().map(|above| above.sub(walk.name())) else { return false };
    let Ok(names) = dir.names() else { return false };
    let is_odd =
        |name: &[u8]| is_dropping(name) || matches!(dir.look(name), Ok(Some(Entry { kind: Kind::Other(_), .. })));
    names.iter().any(is_odd)
}

/// What has taken its name in the new directory is in its way: then it goes where what is replaced goes.
fn carry(live: &Dir, name: &[u8], entry: Entry, made: &Dir) -> Result<()> {
    if made.look(name)?.is_some() {
        return Ok(());
    }
    if entry.kind != Kind::Dir {
        return live.link(name, made, name).map(drop);
    }
    let Some(from) = live.sub(name)? else { return Ok(()) };
    let to = made.make(name, 0o755)?;
    attributes::copy(&from, &to).map_err(|error| Error::io("set the attributes of", to.path(), error))?;
    for inner in from.names()?.iter() {
        if let Some(entry) = from.look(inner)? {
            carry(&from, inner, entry, &to)?;
        }
    }
    Ok(())
}

/// What came of an exchange.
#[derive(Debug, PartialEq, Eq)]
pub enum Exchanged {
    /// The new dataset is live, and its undo place keeps what was replaced.
    Done,
    /// The old one had been edited since it was looked at; it is live again. What was saved into the new one while that was live.
    Edited(Lost),
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
        let saved = strip::keep_saved(place, Some(old))?;
        if saved.files > 0 {
            warn!(
                "{}: {} file(s) that a program saved meanwhile are kept in undo/{}",
                dataset.name(),
                saved.files,
                place.when()
            );
            place.part.done = true;
            place.save()?;
        }
        return Ok(Exchanged::Edited(saved));
    }
    strip::strip(place, &new)?;
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

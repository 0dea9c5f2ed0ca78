//! The two ways in which a winner replaces the loser, step by step (SPEC 6). What a crash after each step leaves is
//! said at the step.

use std::collections::HashMap;
use std::fs::File;

use log::{info, warn};

use super::assess::Assessment;
use super::hooks;
use super::session::{Session, on_stick};
use crate::dataset::meta::{self, Meta};
use crate::dataset::publish::{self, Compare, Exchanged, Listing, Lists, take_in};
use crate::dataset::server::Server;
use crate::dataset::stick_state::known::Rule;
use crate::dataset::stick_state::{StickState, push};
use crate::dataset::strip::each_file;
use crate::dataset::survey::{Change, Lost, Survey};
use crate::dataset::undo::{self, List, Part, Place, Run, Side};
use crate::dataset::{Dataset, writeback};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::tree::copy;
use crate::tree::manifest::{Listed, Writer};
use crate::tree::pairs::Pairs;
use crate::tree::replicate::New;
use crate::tree::same::{Same, same};
use crate::tree::stream::Stream;
use crate::tree::walk::Walk;

/// One dataset on both sides, and what was found there.
pub struct Sides<'a> {
    /// Which.
    pub dataset: Dataset,
    /// On the stick.
    pub stick: &'a Dir,
    /// On the server, if it has one.
    pub live: Option<&'a Dir>,
}

/// What is to be written to the stick, and how.
pub struct Writing<'a> {
    /// What the stick becomes equal to.
    pub source: &'a Dir,
    /// How much that is.
    pub change: &'a Change,
    /// In which order it fits.
    pub order: writeback::Order,
    /// What was edited on the stick is left alone; one for each of the two passes.
    pub edited: Option<[writeback::Edited; 2]>,
    /// Files that are written again whatever their size and time say.
    pub rotten: Option<&'a HashMap<Vec<u8>, u64>>,
    /// Of what time the state is that the stick gets, unix seconds.
    pub time: i64,
}

impl<'a> Writing<'a> {
    /// All of `source`.
    pub fn all(source: &'a Dir, change: &'a Change, order: writeback::Order, time: i64) -> Writing<'a> {
        Writing { source, change, order, edited: None, rotten: None, time }
    }
}

/// What came of replacing the server's dataset.
pub enum Replaced {
    /// It is replaced.
    Done,
    /// It was edited meanwhile and stands.
    Edited,
}

/// Brings to an end what a run that was cut off left of a dataset, under its lock.
///
/// # Errors
/// `Io`.
pub fn recover(server: &Server, dataset: Dataset) -> Result<()> {
    let taken_back =
        undo::recover(server, dataset, |uuid| StickState::open(server, uuid, "", None, false)?.promote(dataset))?;
    if taken_back {
        hooks::not_due(server, dataset)?;
    }
    Ok(())
}

impl Session<'_> {
    /// As [`recover`]; what it noted may be of this session's stick.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn recover(&self, dataset: Dataset) -> Result<()> {
        recover(self.server, dataset)?;
        self.state.look_again(dataset, &on_stick(self.stick.stick())?)
    }

    /// Makes the place in `undo/` for what is about to be replaced.
    ///
    /// # Errors
    /// `Io`.
    pub fn place(&self, dataset: Dataset, side: Side, change: &Change, lost: &Lost) -> Result<Place> {
        let undo = self.server.undo()?;
        let superblock = self.stick.stick().superblock();
        let run = Run { job: self.name, side, uuid: &superblock.uuid, label: &superblock.label };
        let mut part = Part::new(&undo, run, change, self.env.clock, self.asked.belief)?;
        part.add_lost(lost);
        Place::new(&undo, &mut self.undo_name.borrow_mut(), self.env.clock, dataset, part)
    }

    /// Whether contents count even where size and time are the same: also where nobody ever held the two sides against each other.
    fn by_content(&self, base: Option<&Stream>) -> bool {
        self.asked.checksum || (base.is_none() && self.name == undo::INGEST)
    }

    /// The stick's dataset becomes the server's.
    ///
    /// # Errors
    /// Whatever stops it; the server's dataset is then the old one, unless the exchange was done.
    pub fn server_side(&self, sides: &Sides<'_>, assessed: &Assessment) -> Result<Replaced> {
        let undo = self.server.undo()?;
        let found = &assessed.found;
        let mut place = self.place(sides.dataset, Side::Server, &found.to_server, &assessed.lost)?;
        // A crash up to the exchange leaves an unfinished place, which the next run removes.
        let built = self.build(sides, assessed, &place);
        match built.and_then(|listing| hooks::due(self.server, sides.dataset).map(|()| listing)) {
            Ok(listing) => {
                place.part.added = listing.added;
                place.part.add_lost(&listing.hidden);
            }
            Err(error) => {
                place.discard(&undo)?;
                return Err(error);
            }
        }
        if let Exchanged::Edited(saved) = publish::exchange(self.server, sides.dataset, &mut place, found.fingerprint)?
        {
            hooks::not_due(self.server, sides.dataset)?;
            if saved.files == 0 {
                place.discard(&undo)?;
            } else {
                self.undo_name.take();
            }
            return Ok(Replaced::Edited);
        }
        // The new dataset is live. A crash from here on: the next run finds it by its inode and does the next two steps.
        self.state.promote(sides.dataset)?;
        place.part.done = true;
        place.save()?;
        self.keep_odd_meta(sides.stick, &place, "stick")?;
        // Then the stick's time; without it the contents are equal all the same.
        self.set_stick_meta(sides, assessed.time)?;
        undo::prune(&undo, sides.dataset, self.asked.belief, None)?;
        Ok(Replaced::Done)
    }

    fn build(&self, sides: &Sides<'_>, assessed: &Assessment, place: &Place) -> Result<Listing> {
        let owner = self.server.owner_of(sides.live)?;
        let to = place.run().make(place.name(), 0o755)?;
        let mut base = self.known(sides.dataset)?.base;
        let compare = Compare::with(self.stick.stick().limits(), self.by_content(base.as_ref()), base.as_mut());
        let change = &assessed.found.to_server;
        let mut progress =
            Progress::new(format!("{}: from the stick", sides.dataset.name()), change.bytes, change.files);
        let mut next = self.state.start(sides.dataset, "next", assessed.time)?;
        let mut lists = Lists::start(place)?;
        let owned = publish::server_ownership(owner);
        let new = New { root: &to, owned, progress: &mut progress };
        take_in((sides.stick, sides.live), new, compare, (&mut lists, &mut next))?;
        let listing = lists.end()?;
        self.state.end(next)?;
        publish::put_meta(&to, &Meta::read(sides.stick)?.with_time(assessed.time), owner)?;
        self.stick.check_read().map(|()| listing)
    }

    /// The server's dataset becomes the stick's.
    ///
    /// # Errors
    /// Whatever stops it; if the stick was being written to by then, the next run finishes it.
    pub fn stick_side(
        &self,
        sides: &Sides<'_>,
        live: &Dir,
        assessed: &Assessment,
        order: writeback::Order,
    ) -> Result<()> {
        let undo = self.server.undo()?;
        let found = &assessed.found;
        let place = self.place(sides.dataset, Side::Stick, &found.to_stick, &assessed.lost)?;
        let place = self.keep_stick(sides, live, place, assessed.time)?;
        // What the stick holds and is to hold is on record: from here on a pulled stick is finished by the next run.
        self.keep_odd_meta(live, &place, "server")?;
        publish::write_server_meta(live, &place, assessed.time)?;
        self.write_back(sides, Writing::all(live, &found.to_stick, order, assessed.time))?;
        self.set_stick_meta(sides, assessed.time)?;
        self.state.promote(sides.dataset)?;
        undo::prune(&undo, sides.dataset, self.asked.belief, None)
    }

    /// Keeps in `undo/` what of the stick's dataset is about to be replaced by `source`, and records what the stick is to hold.
    ///
    /// # Errors
    /// Whatever stops it. What is kept by then stays: that the stick is about to change may be on record already, and then
    /// the next run changes it without keeping it once more.
    pub fn keep_stick(&self, sides: &Sides<'_>, source: &Dir, mut place: Place, time: i64) -> Result<Place> {
        let kept = self.keep(sides, source, &mut place, time).and_then(|()| {
            let mut planned = self.state.start(sides.dataset, "planned", time)?;
            list_files(source, &mut planned, |_, _| Ok(None))?;
            self.state.end(planned)
        });
        if let Err(error) = kept {
            place.discard(&self.server.undo()?)?;
            return Err(error);
        }
        self.state.add_intent(sides.dataset)?;
        Ok(place)
    }

    /// Copies to `undo/` what the stick has otherwise than `source`, and lists all that it has.
    fn keep(&self, sides: &Sides<'_>, source: &Dir, place: &mut Place, time: i64) -> Result<()> {
        let owned = publish::server_ownership(self.server.owner_of(sides.live)?);
        let kept = place.run().make(place.name(), 0o755)?;
        kept.set_owner_mode(owned.owner, owned.dir_mode)?;
        let mut base = self.known(sides.dataset)?.base;
        let compare = Compare::with(self.stick.stick().limits(), self.by_content(base.as_ref()), base.as_mut());
        let mut before = self.state.start(sides.dataset, "before", time)?;
        let mut lists = Lists::start(place)?;
        let mut progress = Progress::new(format!("{}: what the stick held", sides.dataset.name()), 0, 0);
        let new = New { root: &kept, owned, progress: &mut progress };
        publish::keep_replaced((sides.stick, source), new, compare, (&mut lists, &mut before))?;
        let listing = lists.end()?;
        place.part.added = listing.added;
        place.part.add_lost(&listing.hidden);
        place.remove_list(List::Before)?;
        self.state.end(before)?;
        if let Some(Entry { kind: Kind::File, .. }) = sides.stick.look(meta::NAME)? {
            copy::copy((sides.stick, meta::NAME), (&kept, meta::NAME), owned, &mut progress)?;
        }
        kept.sync_all()?;
        self.stick.check_read()?;
        place.part.done = true;
        place.save()
    }

    /// Keeps in `undo/` what the server did not write to a DIST stick, before it is filled again; gives the run that keeps it. Without a common state, or
    /// where it is too much to be named, that is all that the stick has otherwise than the server.
    ///
    /// # Errors
    /// `Io`, `Unreadable`; then nothing on the stick was changed.
    pub fn keep_edits(&self, sides: &Sides<'_>, live: &Dir, found: &Survey) -> Result<Option<String>> {
        let (lost, older) = (&found.lost_on_stick, &found.older_on_stick);
        let meta = Meta::read(sides.stick)?.differs(&Meta::read(live)?);
        if lost.files == 0 && older.files == 0 && !meta {
            return Ok(None);
        }
        let mut place = self.place(sides.dataset, Side::Stick, &found.to_stick, lost)?;
        let all = found.since.is_none() || lost.paths().count() as u64 != lost.files;
        let kept = if all { self.keep(sides, live, &mut place, 0) } else { self.keep_some(sides, lost, &place) };
        let place = self.kept(place, kept)?;
        let (name, when) = (sides.dataset.name(), place.when());
        for (files, what) in [(lost, "were not written by the server"), (older, "are older than the server's")] {
            if files.files > 0 {
                let names = files.names.join(", ");
                warn!("{name}: {} file(s) on the stick {what}; they are kept in undo/{when}: {names}", files.files);
            }
        }
        if meta {
            warn!("{name}: the stick's meta.json said something else than the server's; it is kept in undo/{when}");
        }
        Ok(Some(when))
    }

    /// Ends a place of what was kept before it is told or gone; after an error there is none.
    fn kept(&self, mut place: Place, kept: Result<()>) -> Result<Place> {
        if let Err(error) = kept {
            place.discard(&self.server.undo()?)?;
            return Err(error);
        }
        place.part.done = true;
        place.part.told = true;
        place.save()?;
        Ok(place)
    }

    /// Copies these files of the stick, and its `meta.json`.
    fn keep_some(&self, sides: &Sides<'_>, lost: &Lost, place: &Place) -> Result<()> {
        let owned = publish::server_ownership(self.server.owner_of(sides.live)?);
        let kept = place.run().make(place.name(), owned.dir_mode)?;
        let mut progress = Progress::new(format!("{}: what was edited on the stick", sides.dataset.name()), 0, 0);
        for path in lost.paths().chain([meta::NAME]) {
            let Some((from, name)) = sides.stick.below(path)? else { continue };
            if from.look(name)?.is_some_and(|entry| entry.kind == Kind::File) {
                let to = kept.made_below(path, owned.dir_mode)?;
                copy::copy((&from, name), (&to, name), owned, &mut progress)?;
            }
        }
        kept.sync_all()
    }

    /// Finishes what a pulled stick cut off: everything that was not edited since becomes the server's present state. What was edited keeps the common state
    /// that it had before.
    ///
    /// # Errors
    /// As [`Session::stick_side`].
    pub fn finish(&self, sides: &Sides<'_>, live: &Dir, assessed: &Assessment, order: writeback::Order) -> Result<()> {
        let rule = Rule { limits: self.stick.stick().limits(), checksum: self.asked.checksum };
        self.keep_planned(sides, live, assessed)?;
        // What was edited is told by the lists as they are before this run adds its own.
        let edited = || Ok::<_, Error>(writeback::Edited { known: self.known(sides.dataset)?, rule });
        let edited = [edited()?, edited()?];
        // That the stick may come to hold the present state goes on record too. As what it held before stands "nothing":
        // cut off twice, a file that is missing was lost by us, not deleted on a PC.
        let before = self.state.start(sides.dataset, "before", assessed.time)?;
        self.state.end(before)?;
        let mut planned = self.state.start(sides.dataset, "planned", assessed.time)?;
        list_files(live, &mut planned, |_, _| Ok(None))?;
        self.state.end(planned)?;
        self.state.add_intent(sides.dataset)?;
        let work = Writing::all(live, &assessed.found.to_stick, order, assessed.time);
        self.write_back(sides, Writing { edited: Some(edited), ..work })?;
        self.state.promote(sides.dataset)
    }

    /// Keeps in `undo/` what the run that was cut off left on the stick, or wrote there, and the server has replaced or deleted since. What that run was
    /// about to replace it had kept itself.
    fn keep_planned(&self, sides: &Sides<'_>, live: &Dir, assessed: &Assessment) -> Result<()> {
        let mut place = None;
        let copied = self.copy_planned(sides, live, assessed, &mut place);
        let Some(place) = place else { return copied };
        let whole = copied.and_then(|()| place.run().sync_all()).and_then(|()| self.stick.check_read());
        self.kept(place, whole)?;
        // What is decided next has a place of its own: a new dataset must not be built where this is kept.
        self.undo_name.take();
        Ok(())
    }

    /// Copies it to a place that is made for the first file.
    fn copy_planned(
        &self,
        sides: &Sides<'_>,
        live: &Dir,
        assessed: &Assessment,
        kept: &mut Option<Place>,
    ) -> Result<()> {
        let rule = Rule { limits: self.stick.stick().limits(), checksum: self.asked.checksum };
        let (mut known, mut base) = (self.known(sides.dataset)?, self.known(sides.dataset)?.base);
        let compare = Compare::with(rule.limits, self.by_content(base.as_ref()), base.as_mut());
        let mut progress = Progress::new(format!("{}: what the stick held", sides.dataset.name()), 0, 0);
        let owned = publish::server_ownership(self.server.owner_of(sides.live)?);
        let mut pairs = Pairs::new(Some(sides.stick), Some(live), meta::NAME)?;
        while let Some(pair) = pairs.take()? {
            let walk = pairs.walk();
            let (Some(left), Some(dir)) = (pair.left, walk.left()) else { continue };
            let remembered = known.past(walk.path())?;
            let stays = pair.right.map_or(Ok(false), |right| compare.same(walk, &left, &right))?;
            if stays || !remembered.is_as_planned(&left, rule, || copy::hash(dir, walk.name()))? {
                continue;
            }
            let place = match kept {
                Some(place) => place,
                None => {
                    kept.insert(self.place(sides.dataset, Side::Stick, &assessed.found.to_stick, &Lost::default())?)
                }
            };
            let to = place.run().make(place.name(), owned.dir_mode)?.made_below(walk.path(), owned.dir_mode)?;
            copy::copy((dir, walk.name()), (&to, walk.name()), owned, &mut progress)?;
        }
        Ok(())
    }

    /// Makes the stick's dataset equal to `source`; the list `next` says what it holds afterwards. What somebody renames or deletes in `source` meanwhile
    /// may be in the list and not on the stick, or under no name on it at all: then it is done once more.
    ///
    /// # Errors
    /// As [`writeback::run`]; `Busy` if the source does not come to rest.
    pub fn write_back(&self, sides: &Sides<'_>, mut work: Writing<'_>) -> Result<()> {
        let name = sides.dataset.name();
        for last in [false, false, true] {
            let edited = work.edited.take();
            // What was edited on the stick is listed as it was before.
            let was_edited = edited.is_some();
            self.write_once(sides, &work, edited)?;
            // Where somebody saves one file after the other, the stick is whole after the last try too, only a moment older.
            if was_edited
                || self.is_as_listed(sides.dataset, sides.stick)?
                    && (last || self.is_as_listed(sides.dataset, work.source)?)
            {
                return Ok(());
            }
            info!("{name}: the server's files were edited meanwhile: the stick is written to once more");
        }
        Err(Error::Busy {
            why: format!("{name}: the server's files are being edited"),
            next: "wait until that is done and plug the stick in again",
        })
    }

    /// Whether a side holds just the files that the list `next` says.
    fn is_as_listed(&self, dataset: Dataset, side: &Dir) -> Result<bool> {
        let limits = self.stick.stick().limits();
        let Some(mut list) = self.state.next(dataset)? else { return Ok(false) };
        let mut equal = true;
        each_file(side, |walk, entry| {
            let listed = list.take()?;
            let is_it = |listed: &Listed| {
                listed.path == walk.path()
                    && same((listed.size, listed.mtime), (entry.size, entry.mtime), limits) != Same::No
            };
            equal &= listed.as_ref().is_some_and(is_it);
            Ok(())
        })?;
        Ok(equal && list.head().is_none())
    }

    fn write_once(&self, sides: &Sides<'_>, work: &Writing<'_>, edited: Option<[writeback::Edited; 2]>) -> Result<()> {
        let dataset = sides.dataset;
        let mut base = self.known(dataset)?.base;
        let compare = Compare {
            rotten: work.rotten,
            ..Compare::with(self.stick.stick().limits(), self.by_content(base.as_ref()), base.as_mut())
        };
        let (bytes, files) = (work.change.bytes, work.change.files);
        let mut progress = Progress::new(format!("{}: to the stick", dataset.name()), bytes, files);
        let mut list = self.state.start(dataset, "next", work.time)?;
        let trees = writeback::Sides { server: work.source, stick: sides.stick, temp: self.temp };
        let how = writeback::Work { order: work.order, compare, edited, mark: &|| self.mark() };
        writeback::run(&trees, how, &mut list, &mut progress)?;
        self.state.end(list)
    }

    /// A `meta.json` that is no JSON object is replaced by one; what somebody wrote into it is kept in `undo/`.
    fn keep_odd_meta(&self, winner: &Dir, place: &Place, side: &str) -> Result<()> {
        if !Meta::read(winner)?.is_odd() {
            return Ok(());
        }
        let dataset = place.dataset();
        warn!("{}: the {side}'s meta.json is no JSON object; it is kept in undo/{}", dataset.name(), place.when());
        let name = undo::odd_meta(dataset);
        place.run().remove(&name)?;
        copy::copy_plainly(winner, meta::NAME, place.run(), &name)?;
        place.run().sync_all()
    }

    fn set_stick_meta(&self, sides: &Sides<'_>, time: i64) -> Result<()> {
        let (parent, name) = self.server.place(sides.dataset);
        let live = parent.sub(name)?;
        let content = Meta::read(live.as_ref().unwrap_or(sides.stick))?.with_time(time);
        self.stick.set_file(self.temp, sides.stick, meta::NAME, &content)
    }

    /// Records that both sides hold the same files now.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn record_common(&self, sides: &Sides<'_>, time: i64) -> Result<()> {
        let mut base = self.known(sides.dataset)?.base;
        let mut compare = Compare::with(self.stick.stick().limits(), self.asked.checksum, base.as_mut());
        let mut next = self.state.start(sides.dataset, "next", time)?;
        list_files(sides.stick, &mut next, |walk, entry| compare.hash_of(walk, entry).map(Some))?;
        self.state.end(next)?;
        self.stick.check_read()?;
        self.state.promote(sides.dataset)?;
        info!("{}: noted as the common state of stick and server", sides.dataset.name());
        Ok(())
    }
}

/// Lists the files of a dataset.
fn list_files(
    dir: &Dir,
    writer: &mut Writer<File>,
    mut hash: impl FnMut(&Walk, &Entry) -> Result<Option<[u8; 32]>>,
) -> Result<()> {
    each_file(dir, |walk, entry| {
        let sha256 = hash(walk, &entry)?;
        push(writer, &Listed::of(walk.path(), &entry, sha256), dir)
    })
}

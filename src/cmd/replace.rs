//! The two ways in which a winner replaces the loser, step by step (SPEC 6). What a crash after each step leaves is
//! said at the step.

use std::cell::RefCell;
use std::fs::File;

use log::info;

use super::receipt::{self, Facts};
use super::verdict::Asked;
use super::{Env, Report};
use crate::dataset::base::{Known, Records, write_stick_manifest};
use crate::dataset::history::{self, Part, Place, Side};
use crate::dataset::meta::{self, Meta};
use crate::dataset::publish::{self, Compare, Exchanged, build};
use crate::dataset::server::Server;
use crate::dataset::survey::{Change, Survey};
use crate::dataset::{Dataset, dirt, room, writeback};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::os::random;
use crate::stick::chain::{Stick, WritableStick};
use crate::tree::copy;
use crate::tree::manifest::{Listed, State, Writer};
use crate::tree::walk::{Step, Walk};

/// What both ways need.
pub struct Job<'a> {
    /// The command.
    pub name: &'static str,
    /// Settings and clock.
    pub env: &'a Env,
    /// The server.
    pub server: &'a Server,
    /// The stick.
    pub stick: &'a WritableStick,
    /// `/.toolmaster/tmp` on the stick.
    pub temp: &'a Dir,
    /// What the server remembers of the stick.
    pub records: &'a Records,
    /// The run's id, for manifests.
    pub run: &'a str,
    /// The name of the run's directory below `undo/`, once there is one.
    pub undo_name: RefCell<Option<String>>,
    /// What the operator asked for.
    pub asked: Asked<'a>,
}

/// One dataset on both sides, and what was found there.
pub struct Pair<'a> {
    /// Which.
    pub dataset: Dataset,
    /// On the stick.
    pub stick: &'a Dir,
    /// On the server, if it has one.
    pub live: Option<&'a Dir>,
    /// What was found.
    pub found: &'a Survey,
    /// The loser had changed since the last common state.
    pub lost: bool,
    /// The new time of both sides, unix seconds.
    pub time: i64,
}

/// Makes a stick writable, works on it, and ends that in order: its manifest, its receipt, its temporary directory, its
/// mount.
///
/// # Errors
/// Of the work; else of its end.
pub fn on_stick<T>(
    name: &'static str,
    env: &Env,
    server: &Server,
    stick: Stick,
    asked: Asked<'_>,
    report: &mut Report,
    work: impl FnOnce(&Job<'_>, &mut Report) -> Result<T>,
) -> Result<T> {
    let records = Records::open(server.state.as_ref(), &stick.superblock().uuid, &server.id, false)?;
    stick.check_writable()?;
    let asked = Asked { dirty: dirt::note(&records, stick.superblock().dirty)?, ..asked };
    let stick = stick.writable(!asked.dirty)?;
    let temp = stick.temp()?;
    let run = random::id()?;
    let undo_name = RefCell::new(None);
    let job = Job { name, env, server, stick: &stick, temp: &temp, records: &records, run: &run, undo_name, asked };
    let worked = work(&job, report);
    // The receipt says what is on the medium, so that comes first. A stick pulled in between has the one of before.
    let sealed = job.seal().and_then(|()| stick.stick().root().sync_all());
    let error = worked.as_ref().err().or(sealed.as_ref().err());
    let facts = Facts { server: &server.id, believed: asked.belief.believed, error };
    receipt::leave(&stick, &temp, env, report, facts);
    drop(temp);
    let ended = stick.end_temp();
    let released = stick.release();
    // Only an ingest that took or renewed everything settles what was doubtful about the stick.
    let settled = name == history::INGEST && worked.is_ok() && sealed.is_ok();
    let forgotten = if released.is_ok() { dirt::forget(&records, settled) } else { Ok(()) };
    let worked = worked?;
    sealed.and(ended).and(released).and(forgotten).map(|()| worked)
}

/// Brings to an end what a run that was cut off left of a dataset, under its lock.
///
/// # Errors
/// `Io`.
pub fn recover(server: &Server, dataset: Dataset) -> Result<()> {
    history::recover(server, dataset, |uuid| {
        Records::open(server.state.as_ref(), uuid, &server.id, false)?.promote(dataset)
    })
}

impl Job<'_> {
    /// Makes the place in `undo/` for what is about to be replaced.
    ///
    /// # Errors
    /// `Io`.
    pub fn place(&self, pair: &Pair<'_>, side: Side, change: &Change) -> Result<Place> {
        let undo = self.server.undo()?;
        let superblock = self.stick.stick().superblock();
        let stick = (superblock.uuid.as_str(), superblock.label.as_str());
        let part = Part::new(&undo, self.env.clock, self.name, side, stick, change, pair.lost)?;
        Place::new(&undo, &mut self.undo_name.borrow_mut(), self.env.clock, pair.dataset, part)
    }

    /// If nothing on the stick is half-done, its manifest says so.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn seal(&self) -> Result<()> {
        let mut runs = std::collections::BTreeMap::new();
        for dataset in Dataset::ALL {
            if self.records.has_pending(dataset)? {
                return Ok(());
            }
            runs.extend(self.records.base_run(dataset)?.map(|run| (dataset.name().to_owned(), run)));
        }
        match self.stick.stick().manifest() {
            Some(header) if header.state == State::Complete && header.runs == runs => Ok(()),
            None if runs.is_empty() => Ok(()),
            _ => self.set_stick_manifest(State::Complete),
        }
    }

    /// Copies the stick's dataset into a place in `undo/`, with a record of that name.
    fn build(&self, pair: &Pair<'_>, place: &Place, record: &str) -> Result<(Dir, (u32, u32))> {
        let owner = match pair.live {
            Some(live) => live.entry()?.owner,
            None => self.server.owner()?,
        };
        let to = place.run().make(place.name(), 0o755)?;
        let mut base = self.records.base(pair.dataset)?;
        let compare =
            Compare { limits: self.stick.stick().limits(), checksum: self.asked.checksum, base: base.as_mut() };
        let change = &pair.found.to_server;
        let mut progress =
            Progress::new(format!("{}: from the stick", pair.dataset.name()), change.bytes, change.files);
        let mut list = self.records.start(pair.dataset, record, self.run)?;
        let owned = publish::server_ownership(owner);
        let mut each =
            |file: &Listed| list.push(file).map_err(|error| Error::io("write the list of", pair.stick.path(), error));
        build(pair.stick, pair.live, &to, owned, compare, Some(&mut each), &mut progress)?;
        self.records.end(list)?;
        Ok((to, owner))
    }

    /// The stick's dataset becomes the server's.
    ///
    /// # Errors
    /// Whatever stops it; the server's dataset is then the old one, unless the exchange was done.
    pub fn server_side(&self, pair: &Pair<'_>) -> Result<Exchanged> {
        let undo = self.server.undo()?;
        let mut place = self.place(pair, Side::Server, &pair.found.to_server)?;
        // A crash up to the exchange leaves an unfinished place, which the next run removes.
        let built = self
            .build(pair, &place, "next")
            .and_then(|(to, owner)| publish::put_meta(&to, &Meta::read(pair.stick)?.with_time(pair.time), owner))
            .and_then(|()| self.stick.check_read());
        if let Err(error) = built {
            place.discard(&undo)?;
            return Err(error);
        }
        if publish::exchange(self.server, pair.dataset, &mut place, pair.found.fingerprint)? == Exchanged::Edited {
            place.discard(&undo)?;
            return Ok(Exchanged::Edited);
        }
        // The new dataset is live. A crash from here on: the next run finds it by its inode and does the next two steps.
        self.records.promote(pair.dataset)?;
        place.part.done = true;
        place.save()?;
        // Then the stick's time; without it the contents are equal all the same.
        self.set_stick_meta(pair)?;
        history::prune(&undo, pair.dataset, self.asked.belief, false, None)?;
        Ok(Exchanged::Done)
    }

    /// The server's dataset becomes the stick's.
    ///
    /// # Errors
    /// Whatever stops it; if the stick was being written to by then, the next run finishes it.
    pub fn stick_side(&self, pair: &Pair<'_>, live: &Dir) -> Result<()> {
        let undo = self.server.undo()?;
        let limits = self.stick.stick().limits();
        let order = room::on_stick(pair.stick, pair.dataset, &pair.found.to_stick, limits)?;
        let place = self.place(pair, Side::Stick, &pair.found.to_stick)?;
        let place = self.keep_stick(pair, live, place)?;
        // What the stick holds and is to hold is on record: from here on a pulled stick is finished by the next run.
        publish::write_server_meta(live, &place, pair.time)?;
        self.write_back(pair.dataset, live, pair.stick, &pair.found.to_stick, order, None)?;
        self.set_stick_meta(pair)?;
        self.records.promote(pair.dataset)?;
        history::prune(&undo, pair.dataset, self.asked.belief, false, None)
    }

    /// Keeps the stick's dataset in `undo/` and records that it is about to become `source`.
    ///
    /// # Errors
    /// Whatever stops it. What is kept by then stays: that the stick is about to change may be on record already, and then
    /// the next run changes it without keeping it once more.
    pub fn keep_stick(&self, pair: &Pair<'_>, source: &Dir, mut place: Place) -> Result<Place> {
        if let Err(error) = self.keep(pair, &mut place) {
            place.discard(&self.server.undo()?)?;
            return Err(error);
        }
        self.plan(pair.dataset, source)?;
        Ok(place)
    }

    fn keep(&self, pair: &Pair<'_>, place: &mut Place) -> Result<()> {
        let (kept, owner) = self.build(pair, place, "before")?;
        if let Some(Entry { kind: Kind::File, .. }) = pair.stick.look(meta::NAME)? {
            let mut progress = Progress::new("meta.json".to_owned(), 0, 0);
            let owned = publish::server_ownership(owner);
            copy::copy(pair.stick, meta::NAME, &kept, meta::NAME, owned, &mut progress)?;
        }
        kept.sync_all()?;
        self.stick.check_read()?;
        place.part.done = true;
        place.save()
    }

    /// Records what the stick is to hold, and that it may be half-done from now on.
    fn plan(&self, dataset: Dataset, source: &Dir) -> Result<()> {
        let mut planned = self.records.start(dataset, "planned", self.run)?;
        list(source, &mut planned, |_, _| Ok(None))?;
        self.records.end(planned)?;
        self.records.add_pending(dataset)
    }

    /// Finishes what a pulled stick cut off: everything that was not edited since becomes the server's present state.
    ///
    /// # Errors
    /// As [`Job::stick_side`].
    pub fn finish(&self, pair: &Pair<'_>, live: &Dir, known: &dyn Fn() -> Result<Known>) -> Result<()> {
        let limits = self.stick.stick().limits();
        let order = room::on_stick(pair.stick, pair.dataset, &pair.found.to_stick, limits)?;
        // What was edited is told by the records as they are before this run adds its own.
        let edited = [writeback::Edited { known: known()?, limits }, writeback::Edited { known: known()?, limits }];
        // That the stick may come to hold the present state goes on record too. As what it held before stands "nothing":
        // cut off twice, a file that is missing was lost by us, not deleted on a PC.
        let before = self.records.start(pair.dataset, "before", self.run)?;
        self.records.end(before)?;
        self.plan(pair.dataset, live)?;
        self.write_back(pair.dataset, live, pair.stick, &pair.found.to_stick, order, Some(edited))?;
        self.records.promote(pair.dataset)
    }

    /// Makes the stick's dataset equal to `source`; the record `next` lists it afterwards.
    ///
    /// # Errors
    /// As [`writeback::run`].
    pub fn write_back(
        &self,
        dataset: Dataset,
        source: &Dir,
        stick: &Dir,
        change: &Change,
        order: writeback::Order,
        edited: Option<[writeback::Edited; 2]>,
    ) -> Result<()> {
        let mut base = self.records.base(dataset)?;
        let limits = self.stick.stick().limits();
        let compare = Compare { limits, checksum: self.asked.checksum, base: base.as_mut() };
        let mut progress = Progress::new(format!("{}: to the stick", dataset.name()), change.bytes, change.files);
        let mut list = self.records.start(dataset, "next", self.run)?;
        let sides = writeback::Sides { server: source, stick, temp: self.temp };
        let mark = || self.set_stick_manifest(State::Incomplete);
        writeback::run(&sides, order, compare, edited, &mut list, &mark, &mut progress)?;
        self.records.end(list)
    }

    fn set_stick_meta(&self, pair: &Pair<'_>) -> Result<()> {
        let (parent, name) = self.server.place(pair.dataset);
        let live = parent.sub(name)?;
        let content = Meta::read(live.as_ref().unwrap_or(pair.stick))?.with_time(pair.time);
        self.stick.set_file(self.temp, pair.stick, meta::NAME, &content)
    }

    fn set_stick_manifest(&self, state: State) -> Result<()> {
        let name = b"manifest";
        self.temp.remove(name)?;
        let file = self.temp.create(name, 0o644)?;
        write_stick_manifest(self.records, state, file, &self.temp.path_of(name))?;
        self.stick.set_manifest(self.temp, name)
    }

    /// Records that both sides hold the same files now.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn record_common(&self, pair: &Pair<'_>) -> Result<()> {
        let mut base = self.records.base(pair.dataset)?;
        let mut compare =
            Compare { limits: self.stick.stick().limits(), checksum: self.asked.checksum, base: base.as_mut() };
        let mut next = self.records.start(pair.dataset, "next", self.run)?;
        list(pair.stick, &mut next, |walk, entry| {
            let known = compare.known_hash(walk.path(), entry)?;
            match (known, walk.left()) {
                (Some(sha256), _) => Ok(Some(sha256)),
                (None, Some(dir)) => copy::hash(dir, walk.name()).map(Some),
                (None, None) => Ok(None),
            }
        })?;
        self.records.end(next)?;
        self.stick.check_read()?;
        self.records.promote(pair.dataset)?;
        info!("{}: noted as the common state of stick and server", pair.dataset.name());
        Ok(())
    }
}

/// Lists the files of a dataset.
fn list(
    dir: &Dir,
    writer: &mut Writer<File>,
    mut hash: impl FnMut(&Walk, &Entry) -> Result<Option<[u8; 32]>>,
) -> Result<()> {
    let mut walk = Walk::new(Some(dir), None)?;
    while let Some(step) = walk.step()? {
        let Step::File { left: Some(entry), .. } = step else {
            continue;
        };
        if walk.path() != meta::NAME {
            let sha256 = hash(&walk, &entry)?;
            let listed = Listed { path: walk.path().to_vec(), size: entry.size, mtime: entry.mtime, sha256 };
            writer.push(&listed).map_err(|error| Error::io("write the list of", dir.path(), error))?;
        }
    }
    Ok(())
}

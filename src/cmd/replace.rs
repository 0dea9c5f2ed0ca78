//! The two ways in which a winner replaces the loser, step by step (SPEC 6). What a crash after each step leaves is
//! said at the step.

use std::cell::RefCell;
use std::fs::File;

use log::{info, warn};

use super::Env;
use super::verdict::Asked;
use crate::dataset::base::{Known, Records, write_stick_manifest};
use crate::dataset::history::{self, Part, Place, Side};
use crate::dataset::meta::{self, Meta};
use crate::dataset::publish::{self, Compare, Exchanged, build};
use crate::dataset::server::Server;
use crate::dataset::survey::{Change, Survey};
use crate::dataset::{Dataset, room, writeback};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::stick::chain::WritableStick;
use crate::tree::copy;
use crate::tree::manifest::{Listed, State, Writer};
use crate::tree::walk::{Step, Walk};

/// What both ways need.
pub struct Job<'a> {
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

impl Job<'_> {
    fn place(&self, pair: &Pair<'_>, side: Side, change: &Change) -> Result<Place> {
        let undo = self.server.undo()?;
        let unix = self.env.clock.now();
        let superblock = self.stick.stick().superblock();
        let part = Part {
            seq: history::next_seq(&undo)?,
            time: self.env.clock.log_time(unix),
            unix,
            job: "ingest".to_owned(),
            side,
            uuid: superblock.uuid.to_string(),
            label: superblock.label.to_string(),
            done: false,
            new_ino: 0,
            copied: change.files,
            replaced: change.replaced,
            deleted: change.deleted,
            lost: pair.lost,
            acknowledged: false,
        };
        Place::new(&undo, &mut self.undo_name.borrow_mut(), self.env.clock, pair.dataset, part)
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
        build(pair.stick, pair.live, &to, owned, compare, &mut each, &mut progress)?;
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
            .and_then(|(to, owner)| publish::put_meta(&to, &Meta::read(pair.stick)?.with_time(pair.time), owner));
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
        history::prune(&undo, pair.dataset, self.asked.belief, false)?;
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
        let mut place = self.place(pair, Side::Stick, &pair.found.to_stick)?;
        if let Err(error) = self.keep_stick(pair, live, &mut place) {
            place.discard(&undo)?;
            return Err(error);
        }
        // What the stick holds and is to hold is on record: from here on a pulled stick is finished by the next run.
        publish::write_server_meta(live, place.run(), pair.time)?;
        self.write_back(pair.dataset, live, pair.stick, &pair.found.to_stick, order, None)?;
        self.set_stick_meta(pair)?;
        self.records.promote(pair.dataset)?;
        history::prune(&undo, pair.dataset, self.asked.belief, false)
    }

    /// Keeps the stick's dataset in `undo/` and records what is about to happen to it.
    fn keep_stick(&self, pair: &Pair<'_>, live: &Dir, place: &mut Place) -> Result<()> {
        let (kept, _) = self.build(pair, place, "before")?;
        if let Some(Entry { kind: Kind::File, .. }) = pair.stick.look(meta::NAME)? {
            let mut progress = Progress::new("meta.json".to_owned(), 0, 0);
            let owned = publish::server_ownership(live.entry()?.owner);
            copy::copy(pair.stick, meta::NAME, &kept, meta::NAME, owned, &mut progress)?;
        }
        kept.sync_all()?;
        place.part.done = true;
        place.save()?;
        self.plan(pair.dataset, live)
    }

    /// Records what the stick is to hold, and that it may be half-done from now on.
    fn plan(&self, dataset: Dataset, live: &Dir) -> Result<()> {
        let mut planned = self.records.start(dataset, "planned", self.run)?;
        list(live, &mut planned, |_, _| Ok(None))?;
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

    /// Writes the server's dataset to the stick, with the record `next` of what it holds then.
    ///
    /// # Errors
    /// As [`Job::stick_side`].
    pub fn write_back(
        &self,
        dataset: Dataset,
        live: &Dir,
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
        let sides = writeback::Sides { server: live, stick, temp: self.temp };
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

    /// Replaces the stick's manifest.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn set_stick_manifest(&self, state: State) -> Result<()> {
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

/// Logs what a winner's files would do to the other side: the dry run's plan.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn log_plan(dataset: Dataset, winner: &Dir, loser: Option<&Dir>, side: &str, compare: &Compare<'_>) -> Result<()> {
    let name = dataset.name();
    let mut walk = Walk::new(Some(winner), loser)?;
    while let Some(step) = walk.step()? {
        let Step::File { left, right } = step else {
            continue;
        };
        if walk.path() == meta::NAME {
            continue;
        }
        let file = |entry: Option<Entry>| entry.filter(|entry| entry.kind == Kind::File);
        match (file(left), file(right)) {
            (Some(left), Some(right)) if compare.same(&walk, &left, &right)? => {}
            (Some(left), _) => info!("plan: {name}: copy to {side}: {} ({} bytes)", walk.shown(), left.size),
            (None, Some(_)) => info!("plan: {name}: delete on {side}: {}", walk.shown()),
            (None, None) => warn!("{name}: {} vanished", walk.shown()),
        }
    }
    Ok(())
}

//! Puts back what a run replaced on the server: a new generation is built from what is kept and what is live, in this run's own undo
//! place, and exchanged with the live one as an ingest does it. So the kept one stays, and this can itself be undone.
//!
//! What a crash leaves: before the exchange the present dataset, and an unfinished place that the next run removes;
//! after it the old data live again, and the next run notes that it is done (`undo::recover`).
//!
//! What is known of sticks stays as it is. To the next ingest the server has changed since it last met a stick:
//! a stick whose data the undone run had taken gets the old data, too.

use std::cell::RefCell;
use std::collections::HashSet;

use log::{info, warn};

use super::hooks;
use super::overlay::{self, Fate, Found, Overlay};
use super::replace::recover;
use crate::clock::Belief;
use crate::dataset::meta::{self, Meta};
use crate::dataset::publish::{self, Exchanged, Listing, Lists, carry_over, holds_odd_things};
use crate::dataset::room::{self, Load};
use crate::dataset::server::Server;
use crate::dataset::survey::{Lost, fingerprint, look_of};
use crate::dataset::undo::{self, Part, Place, Pruning, Run, Side};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry};
use crate::os::progress::Progress;
use crate::report::Env;
use crate::tree::copy::Copied;
use crate::tree::pairs::{Pair, Pairs};
use crate::tree::replicate::{New, Policy, Take, replicate};
use crate::tree::same::Limits;
use crate::tree::walk::Walk;

/// What putting back on either side needs.
pub struct PutBack<'a> {
    /// Settings and clock.
    pub env: &'a Env,
    /// The server.
    pub server: &'a Server,
    /// The clock's worth.
    pub belief: &'a Belief,
    /// `--force`.
    pub force: bool,
    /// Nothing is to be changed.
    pub dry_run: bool,
    /// The name of this run's own directory below `undo/`, once there is one.
    pub undo_name: RefCell<Option<String>>,
}

impl PutBack<'_> {
    /// What may go for room while `place` is put back.
    pub fn pruning(&self, place: &Place) -> Pruning<'_> {
        Pruning { belief: self.belief, spare: Some(place.part.seq), dry_run: self.dry_run }
    }
}

/// What was done with a dataset.
pub struct Done {
    /// Something was put back.
    pub changed: bool,
    /// Files that came back.
    pub files: u64,
    /// Files that went.
    pub deleted: u64,
    /// Bytes that came back.
    pub bytes: u64,
    /// Files that somebody had edited since, and that went.
    pub lost: Lost,
    /// The run that keeps what went.
    pub kept_in: Option<String>,
}

impl Done {
    /// What was found, once it is done.
    pub fn of(found: &Found, changed: bool) -> Done {
        let change = &found.change;
        let (files, deleted, bytes) = (change.files, change.deleted, change.bytes);
        let lost = if changed { found.lost.clone() } else { Lost::default() };
        Done { changed, files, deleted, bytes, lost, kept_in: None }
    }
}

/// The run that is to be put back, what is live, and what putting back does.
struct Seen<'a> {
    from: &'a Place,
    kept: Option<Dir>,
    live: Option<Dir>,
    found: Found,
    print: u64,
    time: i64,
}

/// Puts one dataset back, under its lock.
///
/// # Errors
/// SPEC 3; then the live dataset stands.
pub fn put_back(run: &PutBack<'_>, place: &Place) -> Result<Done> {
    let dataset = place.dataset();
    let name = dataset.name();
    let _lock = run.server.lock(dataset)?;
    if !run.dry_run {
        recover(run.server, dataset)?;
    }
    still_there(run.server, place)?;
    // Somebody may edit the server's files while we work: look anew, twice.
    for _ in 0..3 {
        let seen = see(run, place)?;
        let change = &seen.found.change;
        if change.files == 0 && change.deleted == 0 {
            tell_of_edits(place, &seen.found);
            info!("{name}: the server holds what {} replaced already: nothing to do", place.when());
            return Ok(Done::of(&seen.found, false));
        }
        refuse_empty(run, place, seen.found.remaining, "the server")?;
        refuse_part(run, place, seen.live.as_ref())?;
        tell_of_edits(place, &seen.found);
        let load = Load { files: change.files, dirs: change.dirs, bytes: change.bytes, listed: seen.found.remaining };
        room::on_server(run.server, dataset, load, run.pruning(place))?;
        let done = Done::of(&seen.found, true);
        if run.dry_run {
            plan(place, seen.kept.as_ref(), seen.live.as_ref(), Limits::EXT, "server")?;
            return Ok(done);
        }
        let Some(own) = exchange(run, &seen)? else {
            continue;
        };
        info!(
            "{name}: what {} replaced on the server is put back: {} file(s) copied ({} bytes), {} deleted; what it held until now is kept in undo/ as {own}",
            place.when(),
            done.files,
            done.bytes,
            done.deleted
        );
        if seen.found.remaining > 0 {
            info!("{name}: a stick that was not edited since gets it at its next ingest");
        } else {
            warn!(
                "{name}: it is empty on the server now, so the next TM-INGEST stick with files of it is taken in: empty that one on a PC before it is plugged in"
            );
        }
        return Ok(Done { kept_in: Some(own), ..done });
    }
    Err(Error::Busy {
        why: format!("{name}: the server's files are being edited"),
        next: "wait until that is done and run it again",
    })
}

/// Logs what would happen to each file.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn plan(place: &Place, kept: Option<&Dir>, now: Option<&Dir>, limits: Limits, side: &str) -> Result<()> {
    let name = place.dataset().name();
    overlay::look(place, kept, now, limits, |walk, fate, left, _| {
        match (fate, left) {
            (Fate::Restore, Some(kept)) => {
                info!("plan: {name}: copy to {side}: {} ({} bytes)", walk.shown(), kept.size);
            }
            _ => info!("plan: {name}: delete on {side}: {}", walk.shown()),
        }
        Ok(())
    })
    .map(drop)
}

/// Says what was changed since the run.
pub fn tell_of_edits(place: &Place, found: &Found) {
    let name = place.dataset().name();
    if found.lost.files > 0 {
        warn!(
            "{name}: {} file(s) were edited since {}; as they are now they are kept in undo/: {}",
            found.lost.files,
            place.when(),
            found.lost.names.join(", ")
        );
    }
    if found.left.files > 0 {
        warn!(
            "{name}: {} file(s) that {} brought were edited since and stay: {}",
            found.left.files,
            place.when(),
            found.left.names.join(", ")
        );
    }
}

/// Under the dataset's lock: the same place once more. A run in between may have removed it.
///
/// # Errors
/// `NoSource`, `Io`.
pub fn still_there(server: &Server, place: &Place) -> Result<()> {
    let found = match server.undo_if_there()? {
        Some(undo) => undo::list(&undo, place.dataset())?,
        None => Vec::new(),
    };
    if found.iter().any(|other| other.part.seq == place.part.seq && other.when() == place.when()) {
        return Ok(());
    }
    Err(Error::NoSource {
        why: format!("{}: {} was removed from undo/ meanwhile", place.dataset().name(), place.when()),
        next: "take another one from \"toolmaster undo list\"",
    })
}

/// Putting back what leaves no file empties the other side: nobody does that by accident.
///
/// # Errors
/// `Refused`.
pub fn refuse_empty(run: &PutBack<'_>, place: &Place, remaining: u64, side: &str) -> Result<()> {
    if remaining > 0 || run.force {
        return Ok(());
    }
    Err(Error::Refused {
        why: format!(
            "{}: {} found no files on {side}: putting that back would empty it",
            place.dataset().name(),
            place.when()
        ),
        next: "use --force if that is what you want".to_owned(),
    })
}

/// What a run replaced is only a part of a dataset: put back into an empty one it would look like all of it, and the next stick would lose the rest.
fn refuse_part(run: &PutBack<'_>, place: &Place, live: Option<&Dir>) -> Result<()> {
    if Pairs::new(live, None, meta::NAME)?.take()?.is_some() {
        return Ok(());
    }
    // The run itself emptied it: then it replaced all that there was.
    let emptied = live.map(look_of).transpose()?.is_some_and(|look| look == place.part.left);
    if run.force || emptied || !place.part.partial {
        return Ok(());
    }
    Err(Error::Refused {
        why: format!(
            "{}: the server's dataset is empty, and what {} replaced is only a part of it",
            place.dataset().name(),
            place.when()
        ),
        next: "plug in a TM-INGEST stick that holds it, or restore a snapshot; with --force the part alone is put back"
            .to_owned(),
    })
}

fn see<'a>(run: &PutBack<'_>, place: &'a Place) -> Result<Seen<'a>> {
    let (kept, live) = (place.kept()?, run.server.dataset(place.dataset())?);
    let found = overlay::look(place, kept.as_ref(), live.as_ref(), Limits::EXT, |_, _, _, _| Ok(()))?;
    let print = live.as_ref().map_or(Ok(0), fingerprint)?;
    let time =
        |dir: &Option<Dir>| Ok(dir.as_ref().map(Meta::read).transpose()?.map_or(0, |meta| meta.time(0, run.belief)));
    let times = [time(&kept)?, time(&live)?];
    Ok(Seen { from: place, kept, live, found, print, time: run.belief.next(&times) })
}

/// Builds the new generation and exchanges it. `None`: the live one was edited meanwhile and is live again; else the
/// name under which what goes is kept.
fn exchange(run: &PutBack<'_>, seen: &Seen<'_>) -> Result<Option<String>> {
    let dataset = seen.from.dataset();
    let undo = run.server.undo()?;
    let of = &seen.from.part;
    let put = Run { job: "undo", side: Side::Server, uuid: &of.uuid, label: &of.label };
    let mut part = Part::new(&undo, put, &seen.found.change, run.env.clock, run.belief)?;
    part.add_lost(&seen.found.lost);
    let mut place = Place::new(&undo, &mut run.undo_name.borrow_mut(), run.env.clock, dataset, part)?;
    match build(run, seen, &place).and_then(|added| hooks::due(run.server, dataset).map(|()| added)) {
        Ok(listing) => place.part.added = listing.added,
        Err(error) => {
            place.discard(&undo)?;
            return Err(error);
        }
    }
    if let Exchanged::Edited(saved) = publish::exchange(run.server, dataset, &mut place, seen.print)? {
        hooks::not_due(run.server, dataset)?;
        if saved.files == 0 {
            place.discard(&undo)?;
        } else {
            run.undo_name.take();
        }
        return Ok(None);
    }
    place.part.done = true;
    // The operator was told before it was done.
    place.part.told = true;
    place.save()?;
    undo::prune(&undo, dataset, run.belief, Some(of.seq))?;
    undo::late(&undo, dataset)?;
    Ok(Some(place.when()))
}

/// What comes back is copied, what stays is linked.
struct Back<'a, 'b> {
    overlay: Overlay,
    lists: &'a mut Lists<'b>,
    /// Directories out of which something went.
    thinned: HashSet<Vec<u8>>,
}

impl Policy for Back<'_, '_> {
    fn choose(&mut self, walk: &Walk, pair: Pair) -> Result<Take> {
        let judged = self.overlay.judge(walk.path(), pair)?;
        Ok(match (judged.fate, pair.right) {
            (Fate::Restore, _) => Take::CopyLeft,
            (Fate::Stay, Some(_)) => Take::LinkRight,
            (Fate::Stay, None) => Take::Nothing,
            (Fate::Drop, _) => {
                self.thinned.insert(above(walk.path()));
                Take::Nothing
            }
        })
    }

    fn placed(&mut self, walk: &Walk, pair: Pair, took: Take, copied: Option<Copied>) -> Result<()> {
        self.lists.note(walk.path(), pair.right, took, copied)
    }

    /// A directory that is empty because the run's files went goes with them.
    fn keeps_empty(&mut self, walk: &Walk, left: Option<Entry>, _: Option<Entry>) -> bool {
        let keeps = left.is_some() || !self.thinned.contains(walk.path()) || holds_odd_things(walk);
        if !keeps {
            self.thinned.insert(above(walk.path()));
        }
        keeps
    }

    fn finish_dir(&mut self, live: Option<&Dir>, made: &Dir) -> Result<()> {
        live.map_or(Ok(()), |live| carry_over(live, made))
    }
}

/// The path of the directory that a path's last name is in.
pub fn above(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.get(..end).unwrap_or_default().to_vec()
}

fn build(run: &PutBack<'_>, seen: &Seen<'_>, place: &Place) -> Result<Listing> {
    let owner = run.server.owner_of(seen.live.as_ref())?;
    let owned = publish::server_ownership(owner);
    let to = place.run().make(place.name(), owned.dir_mode)?;
    to.set_owner_mode(owned.owner, owned.dir_mode)?;
    let change = &seen.found.change;
    let mut progress = Progress::new(format!("{}: from undo/", place.dataset().name()), change.bytes, change.files);
    let mut lists = Lists::start(place)?;
    let overlay = Overlay::of(seen.from, Limits::EXT)?;
    let mut policy = Back { overlay, lists: &mut lists, thinned: HashSet::new() };
    let new = New { root: &to, owned, progress: &mut progress };
    replicate((seen.kept.as_ref(), seen.live.as_ref()), new, meta::NAME, &mut policy)?;
    let listing = lists.end()?;
    let keys = |dir: &Option<Dir>| dir.as_ref().map(Meta::read).transpose();
    let meta = match keys(&seen.kept)? {
        Some(meta) if meta.mtime.is_some() => meta,
        _ => keys(&seen.live)?.unwrap_or_default(),
    };
    publish::put_meta(&to, &meta.with_time(seen.time), owner).map(|()| listing)
}

//! Puts back what a run replaced on the server: a new generation is built from the kept one, in this run's own undo
//! place, and exchanged with the live one as an ingest does it. So the kept one stays, and this can itself be undone.
//!
//! What a crash leaves: before the exchange the present dataset, and an unfinished place that the next run removes;
//! after it the old data live again, and the next run notes that it is done (`history::recover`).
//!
//! The records of sticks stay as they are. To the next ingest the server has changed since it last met a stick, and its
//! time is newer: a stick whose data the undone run had taken gets the old data, too.

use log::{info, warn};

use super::super::plan::log_plan;
use super::{Done, Run, refuse_empty, still_there};
use crate::dataset::base::Known;
use crate::dataset::history::{self, Part, Place, Side};
use crate::dataset::meta::Meta;
use crate::dataset::publish::{self, Compare, Exchanged};
use crate::dataset::survey::{How, Survey, look_of, survey};
use crate::dataset::{Dataset, room};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::progress::Progress;
use crate::tree::same::Limits;

const COMPARE: Compare<'_> = Compare { limits: Limits::EXT, checksum: false, base: None };

/// The kept dataset, the live one, and what making the live one equal to it means.
struct Seen<'a> {
    from: &'a Place,
    kept: Option<Dir>,
    live: Option<Dir>,
    found: Survey,
    time: i64,
    /// It was edited since the last run that replaced it.
    lost: bool,
}

/// Puts one dataset back, under its lock.
pub fn put_back(run: &Run<'_>, place: &Place) -> Result<Done> {
    let dataset = place.dataset();
    let name = dataset.name();
    let _lock = run.server.lock(dataset)?;
    still_there(run.server, place)?;
    // Somebody may edit the server's files while we work: look anew, twice.
    for _ in 0..3 {
        let seen = see(run, place)?;
        let change = &seen.found.to_server;
        if change.files == 0 && change.deleted == 0 {
            info!("{name}: the server holds what {} replaced already: nothing to do", place.when());
            return Ok(Done { changed: false, files: 0, deleted: 0, bytes: 0 });
        }
        refuse_empty(run, place, seen.found.stick_files, "the server")?;
        room::on_server(run.server, dataset, &seen.found, run.belief, run.dry_run, Some(place.part.seq))?;
        let done = Done { changed: true, files: change.files, deleted: change.deleted, bytes: change.bytes };
        if run.dry_run {
            log_plan(dataset, seen.kept.as_ref(), seen.live.as_ref(), "server", &COMPARE)?;
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
        info!("{name}: a stick that was not edited since gets it at its next ingest");
        return Ok(done);
    }
    Err(Error::Busy {
        why: format!("{name}: the server's files are being edited"),
        next: "wait until that is done and run it again",
    })
}

fn see<'a>(run: &Run<'_>, place: &'a Place) -> Result<Seen<'a>> {
    let dataset = place.dataset();
    let (kept, live) = (place.kept()?, run.server.dataset(dataset)?);
    let nothing = Known { base: None, pending: Vec::new() };
    let how = How { limits: Limits::EXT, checksum: false, belief: run.belief, tell: false };
    // The kept dataset stands where a stick's would.
    let found = survey(kept.as_ref(), live.as_ref(), nothing, how)?;
    let time = |dir: &Option<Dir>, newest| {
        Ok(dir.as_ref().map(Meta::read).transpose()?.map_or(0, |meta| meta.time(newest, run.belief)))
    };
    let times = [time(&kept, found.stick_newest)?, time(&live, found.server_newest)?];
    let lost = live.as_ref().map(|live| edited(run, place, live)).transpose()?.unwrap_or(false);
    Ok(Seen { from: place, kept, live, found, time: run.belief.next(&times), lost })
}

/// Whether the live dataset is no longer what the last run that replaced it left, by names, sizes and times of files
/// (`meta.json` apart, which runs in the other direction renew). Such edits are kept like any others that lost.
fn edited(run: &Run<'_>, place: &Place, live: &Dir) -> Result<bool> {
    let Some(undo) = run.server.undo_if_there()? else {
        return Ok(false);
    };
    let name = place.dataset().name();
    let look = look_of(live)?;
    if !place.part.left.is_empty() && place.part.left != look {
        info!("{name}: the server's files have changed since {}", place.when());
    }
    let mut runs = history::list(&undo, place.dataset())?;
    runs.retain(|place| place.part.done && place.part.side == Side::Server);
    Ok(runs.last().is_some_and(|last| !last.part.left.is_empty() && last.part.left != look))
}

/// Builds the new generation and exchanges it. `None`: the live one was edited meanwhile and is live again; else the
/// name under which it is kept.
fn exchange(run: &Run<'_>, seen: &Seen<'_>) -> Result<Option<String>> {
    let dataset = seen.from.dataset();
    let undo = run.server.undo()?;
    let of = &seen.from.part;
    let change = &seen.found.to_server;
    let part = Part::new(&undo, run.env.clock, "undo", Side::Server, (&of.uuid, &of.label), change, seen.lost)?;
    let mut place = Place::new(&undo, &mut run.undo_name.borrow_mut(), run.env.clock, dataset, part)?;
    if let Err(error) = build(run, seen, &place) {
        place.discard(&undo)?;
        return Err(error);
    }
    if publish::exchange(run.server, dataset, &mut place, seen.found.fingerprint)? == Exchanged::Edited {
        place.discard(&undo)?;
        return Ok(None);
    }
    place.part.done = true;
    place.save()?;
    if seen.lost {
        warn!("{}: the server's files had been edited since the last run; they are kept in undo/", dataset.name());
    }
    history::prune(&undo, dataset, run.belief, false, Some(of.seq))?;
    Ok(Some(place.when()))
}

fn build(run: &Run<'_>, seen: &Seen<'_>, place: &Place) -> Result<()> {
    let dataset: Dataset = seen.from.dataset();
    let owner = match &seen.live {
        Some(live) => live.entry()?.owner,
        None => run.server.owner()?,
    };
    let owned = publish::server_ownership(owner);
    let to = place.run().make(place.name(), owned.dir_mode)?;
    to.set_owner_mode(owned.owner, owned.dir_mode)?;
    let mut meta = Meta::default();
    if let Some(kept) = &seen.kept {
        let change = &seen.found.to_server;
        let mut progress = Progress::new(format!("{}: from undo/", dataset.name()), change.bytes, change.files);
        publish::build(kept, seen.live.as_ref(), &to, owned, COMPARE, None, &mut progress)?;
        meta = Meta::read(kept)?;
    }
    publish::put_meta(&to, &meta.with_time(seen.time), owner)
}

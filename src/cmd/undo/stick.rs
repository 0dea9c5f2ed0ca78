//! Puts back what a run replaced on a stick: the stick's own earlier data, with a newer time than the server's.
//!
//! The last common state stays what it was, so to the next ingest these are files that changed on the stick alone (or,
//! if the server's changed too, the newer ones): it takes them. Until the stick is whole, it is on record that its
//! writing was cut off. What a crash leaves by then: the next ingest makes the stick equal to the server again, which it
//! was before; what it held is in `undo/` as before, and putting it back can be repeated.

use std::path::{Path, PathBuf};

use log::{info, warn};

use super::super::plan::log_plan;
use super::super::replace::{Job, Pair, on_stick};
use super::super::verdict::{Asked, open_on_stick, unfit};
use super::super::{Env, Report};
use super::{Done, Run, each, refuse_empty, still_there};
use crate::dataset::base::{Known, Records};
use crate::dataset::history::{self, Part, Place, Side};
use crate::dataset::meta::{self, Meta};
use crate::dataset::publish::Compare;
use crate::dataset::survey::{How, Survey, survey};
use crate::dataset::{Dataset, room, writeback};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::stick::chain::{Probed, Stick};
use crate::stick::find::find;
use crate::stick::role::Role;
use crate::tree::copy;
use crate::tree::same::Limits;
use crate::tree::walk::{Step, Walk};

/// So many edited files are named.
const NAMED: u64 = 20;

/// The device that was named, or the one with the label.
pub fn device(env: &Env, named: Option<&Path>) -> Result<PathBuf> {
    named.map_or_else(|| find(Role::Ingest, &env.settings), |device| Ok(device.to_owned()))
}

/// Opens the stick that a run replaced data on, read-only.
pub fn open(env: &Env, part: &Part, device: &Path) -> Result<Stick> {
    let probed = Probed::open(device, &env.settings, env.clock)?;
    let uuid = &probed.superblock().uuid;
    if *uuid != *part.uuid {
        return Err(Error::Refused {
            why: format!("validation failed for {}: it is the stick {uuid}, not {}", device.display(), part.uuid),
            next: "plug in the stick that \"toolmaster undo list\" names, or use --to".to_owned(),
        });
    }
    probed.mount(Role::Ingest, &env.settings)?.prove()
}

/// Puts back what a run replaced on one stick.
pub fn put_back(run: &Run<'_>, places: &[Place], device: Option<&Path>, report: &mut Report) -> Result<()> {
    let Some(first) = places.first() else {
        return Ok(());
    };
    let device = self::device(run.env, device)?;
    report.device = Some(device.clone());
    let stick = open(run.env, &first.part, &device)?;
    report.probed(&device, stick.superblock());
    if run.dry_run {
        let planned = stick.check_writable().and_then(|()| {
            let records = Records::open(run.server.state.as_ref(), &stick.superblock().uuid, &run.server.id, true)?;
            each(places, report, |place| plan(run, &stick, &records, place))
        });
        return planned.and(stick.release());
    }
    let asked = Asked { force: run.force, checksum: false, dirty: false, belief: run.belief };
    on_stick("undo", run.env, run.server, stick, asked, report, |job, report| {
        job.undo_name.replace(run.undo_name.take());
        each(places, report, |place| one(run, job, place))
    })
}

/// The three trees, and what making the stick equal to the kept one means.
struct Seen {
    kept: Option<Dir>,
    live: Option<Dir>,
    /// Against the server's: what keeping the stick's present files takes.
    to_keep: Survey,
    /// Against the kept ones.
    found: Survey,
    time: i64,
    edited: bool,
    /// All is as it was put back already, and the next ingest would take it.
    settled: bool,
}

fn see(run: &Run<'_>, stick: &Stick, records: &Records, place: &Place, on_stick: Option<&Dir>) -> Result<Seen> {
    let dataset = place.dataset();
    let limits = stick.limits();
    let known = records.known_and_put(dataset, stick.manifest().as_ref())?;
    let edited = is_edited(run, dataset, on_stick, known, limits)?;
    let (kept, live) = (place.kept()?, run.server.dataset(dataset)?);
    let nothing = || Known { base: None, pending: Vec::new() };
    let how = How { limits, checksum: false, belief: run.belief, tell: false };
    let to_keep = survey(on_stick, live.as_ref(), nothing(), How { tell: true, ..how })?;
    let found = survey(on_stick, kept.as_ref(), nothing(), how)?;
    refuse_empty(run, place, found.server_files, "the stick")?;
    unfit(dataset, found.unfit_for_stick.as_ref(), "the stick")?;
    unfit(dataset, to_keep.unfit_for_server.as_ref(), "the server")?;
    let time = |dir: Option<&Dir>, newest| {
        Ok(dir.map(Meta::read).transpose()?.map_or(0, |meta| meta.time(newest, run.belief)))
    };
    let times = [
        time(on_stick, found.stick_newest)?,
        time(kept.as_ref(), found.server_newest)?,
        time(live.as_ref(), to_keep.server_newest)?,
    ];
    let change = &found.to_stick;
    let in_force = to_keep.different == 0 || times[0] > times[2];
    let settled = change.files == 0 && change.deleted == 0 && in_force && !records.has_pending(dataset)?;
    Ok(Seen { kept, live, time: run.belief.next(&times), to_keep, found, edited, settled })
}

/// Whether somebody edited the stick since the server last wrote to it or read from it; then it is refused, unless
/// `--force` says that this is known.
fn is_edited(run: &Run<'_>, dataset: Dataset, on_stick: Option<&Dir>, known: Known, limits: Limits) -> Result<bool> {
    let name = dataset.name();
    let why = if known.is_known() {
        let edited = name_edited(dataset, on_stick, known, limits)?;
        if edited == 0 {
            return Ok(false);
        }
        format!("{name}: {edited} file(s) on the stick were edited since the server last met it")
    } else {
        format!("{name}: the server has no record of what it last left on the stick")
    };
    if run.force {
        warn!("{why}: they are replaced all the same (--force), and kept in undo/");
        return Ok(true);
    }
    Err(Error::Refused { why, next: "ingest the stick first, or use --force: its files are kept in undo/".to_owned() })
}

/// Counts the files that were edited on the stick, and names the first of them.
fn name_edited(dataset: Dataset, on_stick: Option<&Dir>, mut known: Known, limits: Limits) -> Result<u64> {
    let mut count = 0;
    let mut name = |path: &[u8], how: &str| {
        count += 1;
        if count <= NAMED {
            warn!("{}: {how} on the stick: {}", dataset.name(), crate::text::Shown(path));
        }
    };
    let mut walk = Walk::new(on_stick, None)?;
    loop {
        let step = walk.step()?;
        let file = match step {
            Some(Step::File { left: Some(entry @ Entry { kind: Kind::File, .. }), .. }) => Some(entry),
            Some(_) => continue,
            None => None,
        };
        let bound = file.map(|_| walk.path());
        while let Some((path, remembered)) = known.before(bound)? {
            if remembered.changed_on_stick(&known, None, limits, || Err(Error::Interrupted))? {
                name(&path, "deleted");
            }
        }
        let (Some(entry), Some(dir)) = (file, walk.left()) else {
            return Ok(count);
        };
        if walk.path() == meta::NAME {
            continue;
        }
        let remembered = known.at(walk.path())?;
        if remembered.changed_on_stick(&known, Some(&entry), limits, || copy::hash(dir, walk.name()))? {
            name(walk.path(), if remembered.base.is_some() { "edited" } else { "added" });
        }
    }
}

fn done(seen: &Seen) -> Done {
    let change = &seen.found.to_stick;
    Done { changed: !seen.settled, files: change.files, deleted: change.deleted, bytes: change.bytes }
}

fn plan(run: &Run<'_>, stick: &Stick, records: &Records, place: &Place) -> Result<Done> {
    let on_stick = open_on_stick(stick, place.dataset())?;
    let seen = see(run, stick, records, place, on_stick.as_ref())?;
    room::on_server(run.server, place.dataset(), &seen.to_keep, run.belief, true, None)?;
    if let Some(on_stick) = &on_stick {
        room::on_stick(on_stick, place.dataset(), &seen.found.to_stick, stick.limits())?;
    }
    let compare = Compare { limits: stick.limits(), checksum: false, base: None };
    log_plan(place.dataset(), seen.kept.as_ref(), on_stick.as_ref(), "stick", &compare)?;
    Ok(done(&seen))
}

/// Puts one dataset back, under its lock.
fn one(run: &Run<'_>, job: &Job<'_>, place: &Place) -> Result<Done> {
    let dataset = place.dataset();
    let name = dataset.name();
    let stick = job.stick.stick();
    let _lock = run.server.lock(dataset)?;
    still_there(run.server, place)?;
    let on_stick = open_on_stick(stick, dataset)?;
    let seen = see(run, stick, job.records, place, on_stick.as_ref())?;
    let on_stick = match on_stick {
        Some(on_stick) => on_stick,
        None => stick.root().make(name.as_bytes(), 0o755)?,
    };
    let done = done(&seen);
    if !done.changed {
        info!("{name}: the stick holds what {} replaced already: nothing to do", place.when());
        return Ok(done);
    }
    let Some(kept) = &seen.kept else {
        return Err(Error::Failed { why: format!("{name}: what was kept is gone from undo/"), next: "report it" });
    };
    let order = room::on_stick(&on_stick, dataset, &seen.found.to_stick, stick.limits())?;
    room::on_server(run.server, dataset, &seen.to_keep, run.belief, false, Some(place.part.seq))?;
    let live = seen.live.as_ref();
    let Seen { to_keep, time, edited, .. } = &seen;
    let pair = Pair { dataset, stick: &on_stick, live, found: to_keep, lost: *edited, time: *time };
    let own = replace(job, &pair, kept, &seen, order)?;
    history::prune(&run.server.undo()?, dataset, run.belief, false, Some(place.part.seq))?;
    info!(
        "{name}: what {} replaced on the stick is put back: {} file(s) copied ({} bytes), {} deleted; what it held until now is kept in undo/ as {own}",
        place.when(),
        done.files,
        done.bytes,
        done.deleted
    );
    info!("{name}: the stick is newer than the server now: its next ingest takes it");
    Ok(done)
}

/// Keeps the stick's present dataset and writes the kept one to it; gives the name of the new undo run.
fn replace(job: &Job<'_>, pair: &Pair<'_>, kept: &Dir, seen: &Seen, order: writeback::Order) -> Result<String> {
    let change = &seen.found.to_stick;
    // A crash in here leaves an unfinished place, which the next run removes.
    let place = job.keep_stick(pair, kept, job.place(pair, Side::Stick, change)?)?;
    // From here on a crash leaves a stick that the next ingest makes the server's again.
    job.write_back(pair.dataset, kept, pair.stick, change, order, None)?;
    let content = Meta::read(kept)?.with_time(pair.time);
    job.stick.set_file(job.temp, pair.stick, meta::NAME, &content)?;
    // The stick is whole. From here on the next ingest takes it; its manifest comes last, with both datasets.
    job.records.settle_put(pair.dataset)?;
    Ok(place.when())
}

//! Puts back what a run replaced on a stick: the stick's own earlier data, with a newer time than the server's.
//!
//! The common state stays what it was, so to the next ingest these are files that changed on the stick alone (or,
//! if the server's changed too, the newer ones): it takes them. Until the stick is whole, it is on record that its
//! writing was cut off. What a crash leaves by then: the next ingest makes the stick equal to the server again, which it
//! was before; what it held is in `undo/` as before, and putting it back can be repeated.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use log::{info, warn};

use super::assess::{Asked, open_on_stick, unfit};
use super::overlay::{self, Fate, Found, Overlay};
use super::put_back_server::{Done, PutBack, above, plan, refuse_empty, still_there, tell_of_edits};
use super::session::{Manner, Session, Visit, check_spare, looked_at, on_stick, with_stick};
use crate::dataset::Dataset;
use crate::dataset::meta::{self, Meta};
use crate::dataset::publish::{self, Lists};
use crate::dataset::room::{self, Load};
use crate::dataset::stage::settle;
use crate::dataset::stick_state::known::{Known, Rule};
use crate::dataset::stick_state::{StickState, push};
use crate::dataset::survey::{Lost, fits};
use crate::dataset::undo::{self, List, Part, Place, Side};
use crate::dataset::writeback::{ALL, STICK, empty_aside};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::report::{Env, Report};
use crate::stick::chain::{Probed, Stick};
use crate::stick::find::find;
use crate::stick::role::Role;
use crate::tree::copy::{self, Copied};
use crate::tree::manifest::{Listed, Writer};
use crate::tree::pairs::{Pair, Pairs};
use crate::tree::replicate::{New, Policy, Take, replicate};
use crate::tree::same::Limits;
use crate::tree::stream::Stream;
use crate::tree::walk::{Step, Walk};

/// So many edited files are named.
const NAMED: u64 = 20;

/// The device that was named, or the one with the label.
///
/// # Errors
/// `NoSource`, `Usage`.
pub fn device(env: &Env, named: Option<&Path>) -> Result<PathBuf> {
    named.map_or_else(|| find(Role::Ingest, &env.settings), |device| Ok(device.to_owned()))
}

/// Opens the stick that a run replaced data on, read-only.
///
/// # Errors
/// `Refused` if it is another one; those of opening a stick.
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

/// Puts back what a run replaced on one stick. `each` works on one place after the other.
///
/// # Errors
/// SPEC 3.
pub fn put_back(
    run: &PutBack<'_>,
    places: &[Place],
    device: Option<&Path>,
    report: &mut Report,
    each: impl Fn(&[Place], &mut Report, &mut dyn FnMut(&Place) -> Result<Done>) -> Result<()>,
) -> Result<()> {
    let Some(first) = places.first() else {
        return Ok(());
    };
    let device = self::device(run.env, device)?;
    report.device = Some(device.clone());
    let stick = open(run.env, &first.part, &device)?;
    report.probed(&device, stick.superblock());
    if run.dry_run {
        let planned = stick.check_writable().and_then(|()| check_spare(&stick)).and_then(|()| {
            let state = looked_at(run.server, &stick)?;
            each(places, report, &mut |place| dry(run, &stick, &state, place))
        });
        return planned.and(stick.release());
    }
    let asked = Asked {
        consent: run.force,
        checksum: false,
        dirty: false,
        belief: run.belief,
        clock: run.env.clock,
        dry_run: false,
    };
    let manner = Manner { receipt: true, settles: false, is_ours: false };
    let visit = Visit { name: "undo", env: run.env, server: run.server, asked, manner };
    with_stick(visit, stick, report, |session, report| {
        session.undo_name.replace(run.undo_name.take());
        each(places, report, &mut |place| one(run, session, place))
    })
}

/// What is kept, and what making the stick's dataset as it was means.
struct Seen {
    kept: Option<Dir>,
    found: Found,
    time: i64,
    edited: bool,
    /// All is as it was put back already, and the next ingest would take it.
    settled: bool,
}

fn see(run: &PutBack<'_>, stick: &Stick, state: &StickState, place: &Place, now: Option<&Dir>) -> Result<Seen> {
    let dataset = place.dataset();
    let limits = stick.limits();
    let known = state.known_and_put(dataset, &on_stick(stick)?)?;
    let edited = is_edited(run, dataset, now, known, limits)?;
    let (kept, live) = (place.kept()?, run.server.dataset(dataset)?);
    let found = overlay::look(place, kept.as_ref(), now, limits, |_, _, _, _| Ok(()))?;
    refuse_empty(run, place, found.remaining, "the stick")?;
    unfit(dataset, fits(kept.as_ref(), limits)?.as_ref(), "the stick")?;
    unfit(dataset, fits(now, Limits::EXT)?.as_ref(), "the server")?;
    let time = |dir: Option<&Dir>| Ok(dir.map(Meta::read).transpose()?.map_or(0, |meta| meta.time(0, run.belief)));
    let times = [time(now)?, time(kept.as_ref())?, time(live.as_ref())?];
    let change = &found.change;
    let settled = change.files == 0 && change.deleted == 0 && times[0] > times[2] && !state.is_half_done(dataset)?;
    Ok(Seen { kept, time: run.belief.next(&times), found, edited, settled })
}

/// Whether somebody edited the stick since the server last wrote to it or read from it; then it is refused, unless
/// `--force` says that this is known.
fn is_edited(run: &PutBack<'_>, dataset: Dataset, now: Option<&Dir>, known: Known, limits: Limits) -> Result<bool> {
    let name = dataset.name();
    let why = if known.is_known() {
        let edited = name_edited(dataset, now, known, limits)?;
        if edited == 0 {
            return Ok(false);
        }
        format!("{name}: {edited} file(s) on the stick were edited since the server last met it")
    } else {
        format!("{name}: the server has no record of what it last left on the stick")
    };
    if run.force {
        warn!("{why}: what of them stands in the way is replaced all the same (--force), and kept in undo/");
        return Ok(true);
    }
    Err(Error::Refused { why, next: "ingest the stick first, or use --force: its files are kept in undo/".to_owned() })
}

/// Counts the files that were edited on the stick, and names the first of them.
fn name_edited(dataset: Dataset, now: Option<&Dir>, mut known: Known, limits: Limits) -> Result<u64> {
    let rule = Rule { limits, checksum: false };
    let mut count = 0;
    let mut name = |path: &[u8], how: &str| {
        count += 1;
        if count <= NAMED {
            warn!("{}: {how} on the stick: {}", dataset.name(), crate::text::Shown(path));
        }
    };
    let mut pairs = Pairs::new(now, None, meta::NAME)?;
    loop {
        let entry = pairs.take()?.and_then(|pair| pair.left);
        let walk = pairs.walk();
        let bound = entry.map(|_| walk.path());
        while let Some((path, remembered)) = known.before(bound)? {
            if remembered.changed_on_stick(&known, None, rule, || Err(Error::Interrupted))? {
                name(&path, "deleted");
            }
        }
        let (Some(entry), Some(dir)) = (entry, walk.left()) else {
            return Ok(count);
        };
        let remembered = known.at(walk.path())?;
        if remembered.changed_on_stick(&known, Some(&entry), rule, || copy::hash(dir, walk.name()))? {
            name(walk.path(), if remembered.base.is_some() { "edited" } else { "added" });
        }
    }
}

/// Whether the stick has room for what comes back beside what it holds, and the server for what the stick holds.
fn check_room(run: &PutBack<'_>, place: &Place, seen: &Seen, now: &Dir, limits: Limits) -> Result<()> {
    let (dataset, found) = (place.dataset(), &seen.found);
    let files = found.change.files.saturating_add(found.change.deleted);
    let load = Load { files, dirs: 0, bytes: found.replaced_bytes, listed: found.remaining.saturating_mul(3) };
    room::on_server(run.server, dataset, load, run.pruning(place))?;
    if room::on_stick(now, dataset, &found.change, limits, 0)?.batch == ALL {
        return Ok(());
    }
    Err(Error::Failed {
        why: format!("{}: not enough room on the stick for what comes back beside what it holds", dataset.name()),
        next: "make room there and run it again; nothing was changed",
    })
}

fn dry(run: &PutBack<'_>, stick: &Stick, state: &StickState, place: &Place) -> Result<Done> {
    let now = open_on_stick(stick, place.dataset())?;
    let seen = see(run, stick, state, place, now.as_ref())?;
    if let Some(now) = &now {
        check_room(run, place, &seen, now, stick.limits())?;
    }
    plan(place, seen.kept.as_ref(), now.as_ref(), stick.limits(), "stick")?;
    Ok(Done::of(&seen.found, !seen.settled))
}

/// Puts one dataset back, under its lock.
fn one(run: &PutBack<'_>, session: &Session<'_>, place: &Place) -> Result<Done> {
    let dataset = place.dataset();
    let name = dataset.name();
    let stick = session.stick.stick();
    let _lock = run.server.lock(dataset)?;
    session.recover(dataset)?;
    still_there(run.server, place)?;
    let now = open_on_stick(stick, dataset)?;
    let seen = see(run, stick, session.state, place, now.as_ref())?;
    let now = match now {
        Some(now) => now,
        None => stick.root().make(name.as_bytes(), 0o755)?,
    };
    let done = Done::of(&seen.found, !seen.settled);
    if !done.changed {
        info!("{name}: the stick holds what {} replaced already: nothing to do", place.when());
        return Ok(done);
    }
    check_room(run, place, &seen, &now, stick.limits())?;
    tell_of_edits(place, &seen.found);
    let own = replace(session, place, &now, &seen)?;
    undo::prune(&run.server.undo()?, dataset, run.belief, Some(place.part.seq))?;
    info!(
        "{name}: what {} replaced on the stick is put back: {} file(s) copied ({} bytes), {} deleted; what it held until now is kept in undo/ as {own}",
        place.when(),
        done.files,
        done.bytes,
        done.deleted
    );
    info!("{name}: the stick is newer than the server now: its next ingest takes it");
    Ok(Done { kept_in: Some(own), ..done })
}

/// Keeps what of the stick's dataset goes, and makes the dataset as it was; gives the name of the new undo run.
fn replace(session: &Session<'_>, from: &Place, now: &Dir, seen: &Seen) -> Result<String> {
    let dataset = from.dataset();
    let kept = seen.kept.as_ref();
    let lost = if seen.edited { seen.found.lost.clone() } else { Lost::default() };
    // A crash in here leaves an unfinished place, which the next run removes.
    let mut place = session.place(dataset, Side::Stick, &seen.found.change, &lost)?;
    if let Err(error) = keep(session, from, &mut place, now, seen) {
        place.discard(&session.server.undo()?)?;
        return Err(error);
    }
    session.state.add_intent(dataset)?;
    // From here on a crash leaves a stick that the next ingest makes the server's again.
    write(session, from, (now, kept), seen.time)?;
    let meta = match kept.map(Meta::read).transpose()? {
        Some(meta) if meta.mtime.is_some() => meta,
        _ => Meta::read(now)?,
    };
    session.stick.set_file(session.temp, now, meta::NAME, &meta.with_time(seen.time))?;
    // The stick is whole. From here on the next ingest takes it; its manifest comes last, with the common state as it was.
    session.state.settle_put(dataset)?;
    Ok(place.when())
}

/// What goes is copied to `undo/`; lists what the stick holds and is to hold.
struct KeepForPut<'a, 'b> {
    overlay: Overlay,
    lists: &'a mut Lists<'b>,
    before: &'a mut Writer<File>,
    planned: &'a mut Writer<File>,
    place: &'a Dir,
    /// What tells edits of the stick, where there are any.
    known: Option<Known>,
    rule: Rule,
    /// The file that was chosen last is such an edit, and stays.
    stays: bool,
}

impl KeepForPut<'_, '_> {
    /// Whether somebody edited a file of the stick.
    fn is_edited(&mut self, walk: &Walk, left: &Entry) -> Result<bool> {
        let (Some(known), Some(dir)) = (&mut self.known, walk.left()) else { return Ok(false) };
        let remembered = known.past(walk.path())?;
        remembered.changed_on_stick(known, Some(left), self.rule, || copy::hash(dir, walk.name()))
    }
}

impl Policy for KeepForPut<'_, '_> {
    fn choose(&mut self, walk: &Walk, pair: Pair) -> Result<Take> {
        let judged = self.overlay.judge(walk.path(), pair.mirrored())?;
        // An edit that stays stays one, also if this is cut off: it is in neither list of what we did.
        self.stays = judged.fate == Fate::Stay && pair.left.map_or(Ok(false), |left| self.is_edited(walk, &left))?;
        if self.stays {
            return Ok(Take::Nothing);
        }
        let after = match judged.fate {
            Fate::Restore => pair.right,
            Fate::Stay => pair.left,
            Fate::Drop => None,
        };
        after.map_or(Ok(()), |after| push(self.planned, &Listed::of(walk.path(), &after, None), self.place))?;
        if judged.fate == Fate::Restore {
            self.lists.bring(walk.path(), pair.right, pair.left.is_none())?;
        }
        Ok(if judged.fate != Fate::Stay && pair.left.is_some() { Take::CopyLeft } else { Take::Nothing })
    }

    fn placed(&mut self, walk: &Walk, pair: Pair, _: Take, copied: Option<Copied>) -> Result<()> {
        let Some(left) = pair.left.filter(|_| !self.stays) else { return Ok(()) };
        let sha256 = copied.map(|copied| copied.sha256);
        push(self.before, &Listed::of(walk.path(), &left, sha256), self.place)?;
        copied.map_or(Ok(()), |copied| self.lists.keep(walk.path(), copied))
    }

    fn keeps_empty(&mut self, _: &Walk, _: Option<Entry>, _: Option<Entry>) -> bool {
        false
    }
}

fn keep(session: &Session<'_>, from: &Place, place: &mut Place, now: &Dir, seen: &Seen) -> Result<()> {
    let (dataset, state, time) = (from.dataset(), session.state, seen.time);
    let stick = session.stick.stick();
    let live = session.server.dataset(dataset)?;
    let owned = publish::server_ownership(session.server.owner_of(live.as_ref())?);
    let to = place.run().make(place.name(), owned.dir_mode)?;
    to.set_owner_mode(owned.owner, owned.dir_mode)?;
    let mut before = state.start(dataset, "before", time)?;
    let mut planned = state.start(dataset, "planned", time)?;
    let mut lists = Lists::start(place)?;
    let mut progress = Progress::new(format!("{}: what the stick held", dataset.name()), 0, 0);
    let known = seen.edited.then(|| state.known_and_put(dataset, &on_stick(stick)?)).transpose()?;
    let mut policy = KeepForPut {
        overlay: Overlay::of(from, stick.limits())?,
        lists: &mut lists,
        before: &mut before,
        planned: &mut planned,
        place: place.run(),
        known,
        rule: Rule { limits: stick.limits(), checksum: false },
        stays: false,
    };
    let new = New { root: &to, owned, progress: &mut progress };
    replicate((Some(now), seen.kept.as_ref()), new, meta::NAME, &mut policy)?;
    place.part.added = lists.end()?.added;
    place.remove_list(List::Before)?;
    state.end(before)?;
    state.end(planned)?;
    if let Some(Entry { kind: Kind::File, .. }) = now.look(meta::NAME)? {
        copy::copy((now, meta::NAME), (&to, meta::NAME), owned, &mut progress)?;
    }
    to.sync_all()?;
    session.stick.check_read()?;
    place.part.done = true;
    place.part.told = true;
    place.save()
}

/// What comes back is written aside on the stick; lists what the stick holds then.
struct StageForPut<'a> {
    overlay: Overlay,
    next: &'a mut Writer<File>,
    stick: &'a Dir,
}

impl Policy for StageForPut<'_> {
    fn choose(&mut self, walk: &Walk, pair: Pair) -> Result<Take> {
        let judged = self.overlay.judge(walk.path(), pair)?;
        if let (Fate::Stay, Some(right)) = (judged.fate, pair.right) {
            push(self.next, &Listed::of(walk.path(), &right, None), self.stick)?;
        }
        Ok(if judged.fate == Fate::Restore { Take::CopyLeft } else { Take::Nothing })
    }

    fn placed(&mut self, walk: &Walk, _: Pair, _: Take, copied: Option<Copied>) -> Result<()> {
        let Some(copied) = copied else { return Ok(()) };
        push(self.next, &Listed::of(walk.path(), &copied.entry, Some(copied.sha256)), self.stick)
    }

    fn keeps_empty(&mut self, _: &Walk, left: Option<Entry>, right: Option<Entry>) -> bool {
        left.is_some() && right.is_none()
    }
}

/// Makes the stick's dataset as it was: what comes back is written aside and renamed, then what the run brought is deleted.
fn write(session: &Session<'_>, from: &Place, (now, kept): (&Dir, Option<&Dir>), time: i64) -> Result<()> {
    let limits = session.stick.stick().limits();
    let mut next = session.state.start(from.dataset(), "next", time)?;
    let aside = empty_aside(session.temp)?;
    let mut progress = Progress::new(format!("{}: to the stick", from.dataset().name()), 0, 0);
    let mut policy = StageForPut { overlay: Overlay::of(from, limits)?, next: &mut next, stick: now };
    let new = New { root: &aside, owned: STICK, progress: &mut progress };
    replicate((kept, Some(now)), new, meta::NAME, &mut policy)?;
    aside.sync_all()?;
    session.mark()?;
    drop_brought(from, kept, now, limits)?;
    settle(&aside, now, STICK)?;
    session.temp.sync_all()?;
    session.state.end(next)
}

/// Deletes what the run brought, and the directories that are empty for it.
fn drop_brought(from: &Place, kept: Option<&Dir>, now: &Dir, limits: Limits) -> Result<()> {
    let mut overlay = Overlay::of(from, limits)?;
    let mut thinned = dirs_of_brought(from)?;
    let mut walk = Walk::new(kept, Some(now))?;
    while let Some(step) = walk.step()? {
        match step {
            Step::File { left, right } if walk.path() != meta::NAME => {
                let judged = overlay.judge(walk.path(), Pair::of(left, right))?;
                if let (Fate::Drop, Some(dir)) = (judged.fate, walk.right()) {
                    dir.remove(walk.name())?;
                    thinned.insert(above(walk.path()));
                }
            }
            Step::Leave if thinned.contains(walk.path()) => {
                if let Some(dir) = walk.right()
                    && dir.remove_dir(walk.name())?
                {
                    thinned.insert(above(walk.path()));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The directories that the run brought files into, also those whose files are gone: a putting back that was cut off
/// between a directory's last file and the directory leaves such a one.
fn dirs_of_brought(from: &Place) -> Result<HashSet<Vec<u8>>> {
    let mut dirs = HashSet::new();
    let mut brought = from.list(List::Brought)?;
    while let Some(listed) = brought.as_mut().map_or(Ok(None), Stream::take)? {
        let mut dir = above(&listed.path);
        while !dir.is_empty() && !dirs.contains(&dir) {
            let next = above(&dir);
            dirs.insert(std::mem::replace(&mut dir, next));
        }
    }
    Ok(dirs)
}

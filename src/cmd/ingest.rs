//! `ingest`: what a TM-INGEST stick brings is taken, or the stick is brought up to date (SPEC 6).

use std::path::PathBuf;

use argh::FromArgs;
use log::info;
use serde_json::json;

use super::{Env, Report, each_of, note_kept, open_stick};
use crate::dataset::decide::Decision;
use crate::dataset::publish::Compare;
use crate::dataset::room::{self, Load};
use crate::dataset::server::Server;
use crate::dataset::stick_state::StickState;
use crate::dataset::survey::Lost;
use crate::dataset::undo::{self, INGEST};
use crate::dataset::{Dataset, meta, writeback};
use crate::error::{Error, Result};
use crate::exchange::assess::{
    Asked, Assessment, SERVER_WINS, STICK_WINS, assess, doubt_clock, no_winner, open_on_stick, say, unfit,
};
use crate::exchange::hooks;
use crate::exchange::plan::log_plan;
use crate::exchange::replace::{Replaced, Sides};
use crate::exchange::session::{
    Manner, Session, Visit, check_spare, consents, looked_at, on_stick, tell_alone, with_stick,
};
use crate::os::dir::{Dir, Entry};
use crate::stick::chain::Stick;
use crate::stick::role::Role;

/// Take in what a TM-INGEST stick brings, or bring the stick up to date.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "ingest")]
pub struct Args {
    /// the stick's device, such as /dev/sda1; without it the one stick with the label is taken
    #[argh(option)]
    device: Option<PathBuf>,
    /// log what would be done and change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// the stick wins, whatever is newer
    #[argh(switch)]
    force: bool,
    /// compare contents even where size and time are the same
    #[argh(switch)]
    checksum: bool,
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; the first dataset's error if both fail.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("ingest");
    let result = ingest(args, env, &mut report);
    if !args.dry_run {
        let told = std::mem::take(&mut report.told);
        report.end(env, result.as_ref().err());
        note_told(env, &told)?;
    }
    result?;
    info!("ingest completed (dry_run={} force={})", u8::from(args.dry_run), u8::from(args.force));
    Ok(())
}

/// The record names what was lost: the next run need not.
fn note_told(env: &Env, told: &[(Dataset, Vec<String>)]) -> Result<()> {
    if told.iter().all(|(_, runs)| runs.is_empty()) {
        return Ok(());
    }
    let server = Server::open(&env.settings, false)?;
    for (dataset, runs) in told.iter().filter(|(_, runs)| !runs.is_empty()) {
        let _lock = server.lock(*dataset)?;
        undo::note_told(&server.undo()?, *dataset, runs)?;
    }
    Ok(())
}

fn ingest(args: &Args, env: &Env, report: &mut Report) -> Result<()> {
    let server = Server::open(&env.settings, args.dry_run)?;
    let stick = open_stick(args.device.as_deref(), Role::Ingest, env, report)?;
    if stick.manifest().is_none() {
        info!("the stick has no manifest (a new one, or one of the original system): it could not be checked");
    }
    if args.dry_run {
        return dry(args, env, &server, stick);
    }
    let worked = take_or_renew(args, env, &server, stick, report);
    worked.and(hooks::run_due(&server))
}

fn take_or_renew(args: &Args, env: &Env, server: &Server, stick: Stick, report: &mut Report) -> Result<()> {
    let belief = match server.belief(env.clock) {
        Err(error) if error.is_full() => return Err(tell_alone((env, server), stick, report, error)),
        belief => belief?,
    };
    doubt_clock(&belief, env.clock);
    let (consent, checksum, clock) = (args.force, args.checksum, env.clock);
    let asked = Asked { consent, checksum, dirty: false, belief: &belief, clock, dry_run: false };
    let manner = Manner { receipt: true, settles: true, is_ours: false };
    let visit = Visit { name: INGEST, env, server, asked, manner };
    with_stick(visit, stick, report, |session, report| {
        let taken = session.take_consent(&consents(session.stick.stick())?)?;
        session.tell_of_consent(&taken)?;
        let worked = each_dataset(|dataset| {
            let dir = open_on_stick(session.stick.stick(), dataset);
            let had = matches!(dir, Ok(Some(_)));
            let mut kept = Kept::default();
            let entry = dir.and_then(|dir| work(session, dataset, dir.as_ref(), &mut kept));
            note_entry(report, dataset, &entry, &kept);
            entry.map(|_| had)
        });
        if worked.is_ok() {
            session.state.forget_consent()?;
        } else if !report.datasets.values().any(|dataset| dataset["outcome"] == STICK_WINS) {
            session.give_consent_back(&taken)?;
        }
        worked
    })
}

/// What of the loser's is kept and told of.
#[derive(Default)]
struct Kept {
    /// Content that was lost: files, the first of their names.
    files: u64,
    names: Vec<String>,
    /// The runs that keep it.
    runs: Vec<String>,
    /// What the winner has in a newer version, and the run that keeps it.
    older: Lost,
    older_in: String,
}

/// Adds what became of a dataset to the run's record.
fn note_entry(report: &mut Report, dataset: Dataset, entry: &Result<Done>, kept: &Kept) {
    let mut value = match entry {
        Ok(Done { word, reason, files, deleted, bytes }) => {
            report.bytes = report.bytes.saturating_add(*bytes);
            json!({"outcome": word, "reason": reason, "copied": files, "deleted": deleted, "bytes": bytes})
        }
        Err(error) => json!({"outcome": error.result_word(), "reason": error.to_string(),
            "copied": 0, "deleted": 0, "bytes": 0}),
    };
    value["lost"] = 0.into();
    if kept.files > 0 {
        let places: Vec<String> = kept.runs.iter().map(|when| format!("undo/{when}/{}", dataset.name())).collect();
        note_kept(&mut value, "lost", kept.files, &places.join(", "), &kept.names);
    }
    if kept.older.files > 0 {
        let place = format!("undo/{}/{}", kept.older_in, dataset.name());
        note_kept(&mut value, "older", kept.older.files, &place, &kept.older.names);
    }
    report.datasets.insert(dataset.name().to_owned(), value);
    report.told.push((dataset, kept.runs.clone()));
}

/// Both datasets of a stick; `work` says whether the stick has it.
fn each_dataset(work: impl FnMut(Dataset) -> Result<bool>) -> Result<()> {
    if each_of(&Dataset::ALL, work)? > 0 {
        return Ok(());
    }
    Err(Error::NoSource {
        why: "the stick has neither master/ nor docviewer/".to_owned(),
        next: "put the datasets on it in a PC",
    })
}

/// What was done with a dataset.
struct Done {
    word: &'static str,
    reason: &'static str,
    files: u64,
    deleted: u64,
    bytes: u64,
}

/// Works on one dataset under its lock.
fn work(session: &Session<'_>, dataset: Dataset, on_stick: Option<&Dir>, kept: &mut Kept) -> Result<Done> {
    let _lock = session.server.lock(dataset)?;
    session.recover(dataset)?;
    let worked = make_equal(session, dataset, on_stick, kept);
    let undo = session.server.undo()?;
    // A program may have saved into the old directory until now.
    undo::late(&undo, dataset)?;
    // This run's, also if it failed after it had replaced something, and what a run that was cut off told nobody.
    for place in undo::untold(&undo, dataset)? {
        kept.files = kept.files.saturating_add(place.part.lost_files);
        kept.names.extend(place.part.lost_names.iter().cloned());
        kept.runs.push(place.when());
    }
    worked
}

fn make_equal(session: &Session<'_>, dataset: Dataset, on_stick: Option<&Dir>, kept: &mut Kept) -> Result<Done> {
    for (dir, place) in [(on_stick, "the stick"), (session.server.dataset(dataset)?.as_ref(), "the server")] {
        dir.map_or(Ok(()), |dir| meta::make_way(dir, dataset, place))?;
    }
    finish_cut_off(session, dataset, on_stick)?;
    exchange(session, dataset, on_stick, kept)
}

fn exchange(session: &Session<'_>, dataset: Dataset, on_stick: Option<&Dir>, kept: &mut Kept) -> Result<Done> {
    let name = dataset.name();
    let stick = session.stick.stick();
    let consent = session.asked.consent || session.state.consents_still(dataset, stick.root())?;
    let asked = Asked { consent, ..session.asked };
    // Somebody may edit the server's files while we work: decide anew, twice.
    for attempt in 0..3 {
        let live = session.server.dataset(dataset)?;
        let known = || session.known(dataset);
        let assessed = assess(asked, stick, &known, (on_stick, live.as_ref()), attempt == 0)?;
        let (word, reason) = say(dataset, &assessed, asked.clock);
        if let Some(error) = no_winner(dataset, &assessed) {
            return Err(error);
        }
        let found = &assessed.found;
        let change = if word == SERVER_WINS { &found.to_stick } else { &found.to_server };
        let done = Done { word, reason, files: change.files, deleted: change.deleted, bytes: change.bytes };
        let Some(on_stick) = on_stick else {
            return Ok(Done { files: 0, deleted: 0, bytes: 0, ..done });
        };
        let sides = Sides { dataset, stick: on_stick, live: live.as_ref() };
        let fit = Fit { server: session.server, stick, asked };
        let order = fit.check(&sides, &assessed)?;
        match (assessed.decision, &live) {
            (Decision::StickWins(_), _) => match session.server_side(&sides, &assessed)? {
                Replaced::Done => {}
                Replaced::Edited => continue,
            },
            (Decision::ServerWins(_), Some(live)) => {
                let Some(order) = order else { continue };
                session.stick_side(&sides, live, &assessed, order)?;
            }
            _ => {
                if found.different == 0 && found.stick_files > 0 && !assessed.settled {
                    session.record_common(&sides, assessed.time)?;
                }
                return Ok(Done { files: 0, deleted: 0, bytes: 0, ..done });
            }
        }
        kept.older = assessed.older;
        kept.older_in = session.undo_name.borrow().clone().unwrap_or_default();
        info!("{name}: {} file(s) copied ({} bytes), {} deleted", done.files, done.bytes, done.deleted);
        return Ok(done);
    }
    Err(Error::Busy {
        why: format!("{name}: the server's files are being edited"),
        next: "wait until that is done and run it again",
    })
}

/// Whether the winner can replace the loser: names, room, write protection.
struct Fit<'a> {
    server: &'a Server,
    stick: &'a Stick,
    asked: Asked<'a>,
}

impl Fit<'_> {
    /// Refuses what can't be done, before the first byte is written. For a stick that is to be written to, also in which order it can.
    fn check(&self, sides: &Sides<'_>, assessed: &Assessment) -> Result<Option<writeback::Order>> {
        let (found, dataset) = (&assessed.found, sides.dataset);
        if let (Decision::StickWins(_) | Decision::ServerWins(_), Some(live)) = (assessed.decision, sides.live) {
            let meta_alone = matches!(assessed.decision, Decision::ServerWins(_));
            unprotected(dataset, found.protected.as_deref(), live, meta_alone)?;
        }
        match (assessed.decision, sides.live) {
            (Decision::StickWins(_), _) => {
                unfit(dataset, found.unfit_for_server.as_ref(), "the server")?;
                self.room_on_server(dataset, Load::taking_in(found))?;
                Ok(None)
            }
            (Decision::ServerWins(_), Some(_)) => {
                if let Some(path) = &found.protected_on_stick {
                    return Err(Error::Failed {
                        why: format!(
                            "{}: {path} on the stick is protected against changes; nothing was changed",
                            dataset.name()
                        ),
                        next: "take the protection away (chattr -i) and plug it in again",
                    });
                }
                unfit(dataset, found.unfit_for_stick.as_ref(), "the stick")?;
                unfit(dataset, found.unfit_for_server.as_ref(), "the server")?;
                self.room_on_server(dataset, Load::keeping(found))?;
                room::on_stick(sides.stick, dataset, &found.to_stick, self.stick.limits(), 0).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn room_on_server(&self, dataset: Dataset, load: Load) -> Result<()> {
        room::on_server(self.server, dataset, load, self.asked.pruning())
    }
}

/// Refuses to begin where something of the server's is protected against changes. `meta_alone`: only the time is written there.
fn unprotected(dataset: Dataset, first: Option<&str>, live: &Dir, meta_alone: bool) -> Result<()> {
    let immutable = |entry: Option<Entry>| entry.is_some_and(|entry| entry.immutable);
    let path = match first {
        Some(path) if !meta_alone => path.to_owned(),
        Some(_) if live.entry()?.immutable || immutable(live.look(meta::NAME)?) => live.shown(meta::NAME),
        _ => return Ok(()),
    };
    Err(Error::Failed {
        why: format!("{}: {path} on the server is protected against changes; nothing was changed", dataset.name()),
        next: "take the protection away (chattr -i) and run it again",
    })
}

/// If the stick was pulled while it was being written to, that is finished before anything is decided.
fn finish_cut_off(session: &Session<'_>, dataset: Dataset, on_stick: Option<&Dir>) -> Result<()> {
    let live = session.server.dataset(dataset)?;
    let (Some(on_stick), Some(live), true) = (on_stick, &live, session.state.is_half_done(dataset)?) else {
        return Ok(());
    };
    let stick = session.stick.stick();
    let known = || session.known(dataset);
    let assessed = assess(session.asked, stick, &known, (Some(on_stick), Some(live)), false)?;
    let found = &assessed.found;
    if found.server_files == 0 || found.stick_files == 0 {
        return Ok(());
    }
    let edited = found.since.map_or(0, |since| since.stick);
    info!("{}: an earlier run was cut off while it wrote to the stick: finishing it first", dataset.name());
    if edited > 0 {
        info!("{}: {edited} file(s) edited on the stick since then are left as they are", dataset.name());
    }
    unfit(dataset, found.unfit_for_stick.as_ref(), "the stick")?;
    let order = room::on_stick(on_stick, dataset, &found.to_stick, stick.limits(), 0)?;
    session.finish(&Sides { dataset, stick: on_stick, live: Some(live) }, live, &assessed, order)
}

/// Looks at everything, says what would be done, changes nothing.
fn dry(args: &Args, env: &Env, server: &Server, stick: Stick) -> Result<()> {
    let planned = stick.check_writable().and_then(|()| check_spare(&stick)).and_then(|()| {
        let state = looked_at(server, &stick)?;
        let belief = server.belief(env.clock)?;
        doubt_clock(&belief, env.clock);
        let superblock = stick.superblock();
        let dirty = state.is_doubtful(superblock.dirty, superblock.use_count)?;
        let consent = args.force || !consents(&stick)?.is_empty();
        let (checksum, clock) = (args.checksum, env.clock);
        let asked = Asked { consent, checksum, dirty, belief: &belief, clock, dry_run: true };
        each_dataset(|dataset| {
            let dir = open_on_stick(&stick, dataset)?;
            let consent = asked.consent || state.consents_still(dataset, stick.root())?;
            let fit = Fit { server, stick: &stick, asked: Asked { consent, ..asked } };
            plan(&fit, &state, dataset, dir.as_ref())?;
            Ok(dir.is_some())
        })
    });
    planned.and(stick.release())
}

fn plan(fit: &Fit<'_>, state: &StickState, dataset: Dataset, from: Option<&Dir>) -> Result<()> {
    let &Fit { stick, asked, .. } = fit;
    let live = fit.server.dataset(dataset)?;
    let known = || state.known(dataset, &on_stick(stick)?);
    let assessed = assess(asked, stick, &known, (from, live.as_ref()), true)?;
    if state.is_half_done(dataset)? {
        info!(
            "{}: an earlier run was cut off while it wrote to the stick: that would be finished first",
            dataset.name()
        );
    }
    say(dataset, &assessed, asked.clock);
    if let Some(error) = no_winner(dataset, &assessed) {
        return Err(error);
    }
    let Some(from) = from else { return Ok(()) };
    fit.check(&Sides { dataset, stick: from, live: live.as_ref() }, &assessed)?;
    let by_content = asked.checksum || !assessed.found.based;
    let compare = Compare::plain(stick.limits(), by_content);
    match assessed.decision {
        Decision::StickWins(_) => log_plan(dataset, Some(from), live.as_ref(), "server", &compare),
        Decision::ServerWins(_) => log_plan(dataset, live.as_ref(), Some(from), "stick", &compare),
        _ => Ok(()),
    }
}

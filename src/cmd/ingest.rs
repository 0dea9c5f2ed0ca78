//! `ingest`: what a TM-INGEST stick brings is taken, or the stick is brought up to date (SPEC 6).

use std::path::PathBuf;

use argh::FromArgs;
use log::info;
use serde_json::json;

use super::plan::log_plan;
use super::replace::{Job, Pair, on_stick, recover};
use super::verdict::{
    Asked, SERVER_WINS, STICK_WINS, Seen, distrust, doubt_clock, no_winner, open_on_stick, say, see, unfit,
};
use super::{Env, Report, each_of, hooks, open_stick};
use crate::dataset::base::{Known, Records};
use crate::dataset::decide::Decision;
use crate::dataset::history::INGEST;
use crate::dataset::publish::{Compare, Exchanged};
use crate::dataset::server::Server;
use crate::dataset::{Dataset, dirt, room};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
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
        report.end(env, result.as_ref().err());
    }
    result?;
    info!("ingest completed (dry_run={} force={})", u8::from(args.dry_run), u8::from(args.force));
    Ok(())
}

fn ingest(args: &Args, env: &Env, report: &mut Report) -> Result<()> {
    let server = Server::open(&env.settings, args.dry_run)?;
    let stick = open_stick(args.device.as_deref(), Role::Ingest, env, report)?;
    if stick.manifest().is_none() {
        info!("the stick has no manifest (a new one, or one of the original system): it could not be checked");
    }
    if args.dry_run { dry(args, env, &server, stick) } else { wet(args, env, &server, stick, report) }
}

/// Works on a stick that may be written to, then runs the site's hooks.
fn wet(args: &Args, env: &Env, server: &Server, stick: Stick, report: &mut Report) -> Result<()> {
    let belief = server.belief(env.clock)?;
    doubt_clock(&belief, env.clock);
    let asked = Asked { force: args.force, checksum: args.checksum, dirty: false, belief: &belief };
    let mut changed = Vec::new();
    let worked = on_stick(INGEST, env, server, stick, asked, report, |job, report| {
        each_dataset(|dataset| {
            let dir = open_on_stick(job.stick.stick(), dataset);
            let had = matches!(dir, Ok(Some(_)));
            let entry = dir.and_then(|dir| work(job, dataset, dir.as_ref()));
            note_entry(report, dataset, &entry);
            if entry.as_ref().is_ok_and(|done| done.word == STICK_WINS) {
                changed.push(dataset.name());
            }
            entry.map(|_| had)
        })
    });
    if !changed.is_empty() {
        hooks::run(&changed);
    }
    worked
}

/// Adds what became of a dataset to the run's record.
fn note_entry(report: &mut Report, dataset: Dataset, entry: &Result<Done>) {
    let value = match entry {
        Ok(Done { word, reason, files, deleted, bytes }) => {
            report.bytes = report.bytes.saturating_add(*bytes);
            json!({"outcome": word, "reason": reason, "copied": files, "deleted": deleted, "bytes": bytes})
        }
        Err(error) => json!({"outcome": error.result_word(), "reason": error.to_string(),
            "copied": 0, "deleted": 0, "bytes": 0}),
    };
    report.datasets.insert(dataset.name().to_owned(), value);
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
fn work(job: &Job<'_>, dataset: Dataset, on_stick: Option<&Dir>) -> Result<Done> {
    let name = dataset.name();
    let _lock = job.server.lock(dataset)?;
    recover(job.server, dataset)?;
    let stick = job.stick.stick();
    let known = || job.records.known(dataset, stick.manifest().as_ref());
    finish_cut_off(job, dataset, on_stick, &known)?;
    // Somebody may edit the server's files while we work: decide anew, twice.
    for attempt in 0..3 {
        let live = job.server.dataset(dataset)?;
        let seen = see(job.asked, stick, known()?, (on_stick, live.as_ref()), attempt == 0)?;
        let (word, reason) = say(dataset, &seen);
        if let Some(error) = no_winner(dataset, seen.decision) {
            return Err(error);
        }
        let change = if word == SERVER_WINS { &seen.found.to_stick } else { &seen.found.to_server };
        let done = Done { word, reason, files: change.files, deleted: change.deleted, bytes: change.bytes };
        let Some(on_stick) = on_stick else {
            return Ok(Done { files: 0, deleted: 0, bytes: 0, ..done });
        };
        let lost =
            matches!(seen.decision, Decision::StickWins { lost: true, .. } | Decision::ServerWins { lost: true, .. });
        let live = live.as_ref();
        let Seen { found, time, .. } = &seen;
        let pair = Pair { dataset, stick: on_stick, live, found, lost, time: *time };
        match (seen.decision, live) {
            (Decision::StickWins { .. }, _) => {
                unfit(dataset, found.unfit_for_server.as_ref(), "the server")?;
                room::on_server(job.server, dataset, found, job.asked.belief, false, None)?;
                if job.server_side(&pair).map_err(|error| distrust(dataset, reason, error))? == Exchanged::Edited {
                    continue;
                }
            }
            (Decision::ServerWins { .. }, Some(live)) => {
                unfit(dataset, found.unfit_for_stick.as_ref(), "the stick")?;
                room::on_server(job.server, dataset, found, job.asked.belief, false, None)?;
                job.stick_side(&pair, live)?;
            }
            _ => {
                if found.different == 0 && found.stick_files > 0 && !seen.settled {
                    job.record_common(&pair)?;
                }
                return Ok(Done { files: 0, deleted: 0, bytes: 0, ..done });
            }
        }
        info!("{name}: {} file(s) copied ({} bytes), {} deleted", done.files, done.bytes, done.deleted);
        return Ok(done);
    }
    Err(Error::Busy {
        why: format!("{name}: the server's files are being edited"),
        next: "wait until that is done and run it again",
    })
}

/// If the stick was pulled while it was being written to, that is finished before anything is decided.
fn finish_cut_off(
    job: &Job<'_>,
    dataset: Dataset,
    on_stick: Option<&Dir>,
    known: &dyn Fn() -> Result<Known>,
) -> Result<()> {
    let live = job.server.dataset(dataset)?;
    let (Some(on_stick), Some(live), true) = (on_stick, &live, job.records.has_pending(dataset)?) else {
        return Ok(());
    };
    let stick = job.stick.stick();
    let seen = see(job.asked, stick, known()?, (Some(on_stick), Some(live)), false)?;
    if seen.found.server_files == 0 || seen.found.stick_files == 0 {
        return Ok(());
    }
    let edited = seen.found.since.map_or(0, |since| since.stick);
    info!("{}: an earlier run was cut off while it wrote to the stick: finishing it first", dataset.name());
    if edited > 0 {
        info!("{}: {edited} file(s) edited on the stick since then are left as they are", dataset.name());
    }
    unfit(dataset, seen.found.unfit_for_stick.as_ref(), "the stick")?;
    let Seen { found, time, .. } = &seen;
    let pair = Pair { dataset, stick: on_stick, live: Some(live), found, lost: false, time: *time };
    job.finish(&pair, live, known)
}

/// Looks at everything, says what would be done, changes nothing.
fn dry(args: &Args, env: &Env, server: &Server, stick: Stick) -> Result<()> {
    let planned = stick.check_writable().and_then(|()| {
        let records = Records::open(server.state.as_ref(), &stick.superblock().uuid, &server.id, true)?;
        let belief = server.belief(env.clock)?;
        doubt_clock(&belief, env.clock);
        let dirty = dirt::is_doubtful(&records, stick.superblock().dirty)?;
        let asked = Asked { force: args.force, checksum: args.checksum, dirty, belief: &belief };
        each_dataset(|dataset| {
            let dir = open_on_stick(&stick, dataset)?;
            plan(asked, server, &stick, &records, dataset, dir.as_ref())?;
            Ok(dir.is_some())
        })
    });
    planned.and(stick.release())
}

fn plan(
    asked: Asked<'_>,
    server: &Server,
    stick: &Stick,
    records: &Records,
    dataset: Dataset,
    on_stick: Option<&Dir>,
) -> Result<()> {
    let live = server.dataset(dataset)?;
    let known = records.known(dataset, stick.manifest().as_ref())?;
    let seen = see(asked, stick, known, (on_stick, live.as_ref()), true)?;
    if records.has_pending(dataset)? {
        info!(
            "{}: an earlier run was cut off while it wrote to the stick: that would be finished first",
            dataset.name()
        );
    }
    say(dataset, &seen);
    if let Some(error) = no_winner(dataset, seen.decision) {
        return Err(error);
    }
    let compare = Compare { limits: stick.limits(), checksum: asked.checksum, base: None };
    match (seen.decision, on_stick, &live) {
        (Decision::StickWins { .. }, Some(on_stick), live) => {
            unfit(dataset, seen.found.unfit_for_server.as_ref(), "the server")?;
            room::on_server(server, dataset, &seen.found, asked.belief, true, None)?;
            log_plan(dataset, Some(on_stick), live.as_ref(), "server", &compare)
        }
        (Decision::ServerWins { .. }, Some(on_stick), Some(live)) => {
            unfit(dataset, seen.found.unfit_for_stick.as_ref(), "the stick")?;
            room::on_stick(on_stick, dataset, &seen.found.to_stick, stick.limits())?;
            log_plan(dataset, Some(live), Some(on_stick), "stick", &compare)
        }
        _ => Ok(()),
    }
}

//! `dist-export`: fills a TM-DIST stick with the server's datasets (SPEC 6).

use std::cell::RefCell;
use std::path::PathBuf;

use argh::FromArgs;
use log::{info, warn};
use serde_json::json;

use super::plan::log_plan;
use super::replace::{Job, Pair, recover};
use super::verdict::{Asked, open_on_stick, unfit};
use super::{Env, Report, each_of, open_stick};
use crate::dataset::base::{Known, Records};
use crate::dataset::meta;
use crate::dataset::publish::Compare;
use crate::dataset::server::Server;
use crate::dataset::survey::{How, Survey, survey};
use crate::dataset::{Dataset, room};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::random;
use crate::stick::chain::Stick;
use crate::stick::role::Role;
use crate::tree::manifest::Header;

/// Fill a TM-DIST stick with the server's datasets.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "dist-export")]
pub struct Args {
    /// the stick's device, such as /dev/sda1; without it the one stick with the label is taken
    #[argh(option)]
    device: Option<PathBuf>,
    /// log what would be done and change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// leave the stick's master/ as it is
    #[argh(switch)]
    skip_master: bool,
    /// leave the stick's docviewer/ as it is
    #[argh(switch)]
    skip_doc: bool,
    /// compare contents even where size and time are the same
    #[argh(switch)]
    checksum: bool,
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; the first dataset's error if both fail.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("dist-export");
    let result = export(args, env, &mut report);
    if !args.dry_run {
        report.end(env, result.as_ref().err());
    }
    result?;
    info!("dist export completed (dry_run={})", u8::from(args.dry_run));
    Ok(())
}

impl Args {
    fn datasets(&self) -> Result<Vec<Dataset>> {
        let skipped = |dataset| if dataset == Dataset::Master { self.skip_master } else { self.skip_doc };
        let wanted: Vec<_> = Dataset::ALL.into_iter().filter(|dataset| !skipped(*dataset)).collect();
        if wanted.is_empty() {
            return Err(Error::Usage("--skip-master and --skip-doc together leave nothing to do".to_owned()));
        }
        Ok(wanted)
    }
}

fn export(args: &Args, env: &Env, report: &mut Report) -> Result<()> {
    let wanted = args.datasets()?;
    let server = Server::open(&env.settings, args.dry_run)?;
    let stick = open_stick(args.device.as_deref(), Role::Dist, env, report)?;
    let belief = server.belief(env.clock)?;
    let asked = Asked { force: false, dirty: false, checksum: args.checksum, belief: &belief };
    if args.dry_run {
        let planned = stick.check_writable().and_then(|()| {
            each_of(&wanted, |dataset| plan(asked, &server, &stick, dataset))
                .and_then(|there| some_source(&wanted, there))
        });
        return planned.and(stick.release());
    }
    let stick = stick.writable(true)?;
    let records = Records::open(server.state.as_ref(), &stick.stick().superblock().uuid, &server.id, false)?;
    let temp = stick.temp()?;
    let run = random::id()?;
    let job = Job {
        name: "dist-export",
        env,
        server: &server,
        stick: &stick,
        temp: &temp,
        records: &records,
        run: &run,
        undo_name: RefCell::new(None),
        asked,
    };
    let told = stick.stick().manifest();
    let worked = each_of(&wanted, |dataset| work(&job, told.as_ref(), dataset, report));
    // Only a stick on which nothing is half-done gets a manifest that says so.
    let worked = match worked {
        Ok(there) => some_source(&wanted, there).and(job.seal()),
        Err(error) => Err(error),
    };
    drop(temp);
    let ended = stick.end_temp();
    let released = stick.release();
    worked.and(ended).and(released)
}

/// One missing source of two is a warning; none at all is not.
fn some_source(wanted: &[Dataset], there: usize) -> Result<()> {
    if there > 0 {
        return Ok(());
    }
    let names: Vec<_> = wanted.iter().map(|dataset| dataset.name()).collect();
    Err(Error::NoSource {
        why: format!("the server has no {}", names.join(" and no ")),
        next: "take them in with a TM-INGEST stick first",
    })
}

/// The server's dataset and what the stick would get from it. None: the server has no such dataset.
fn look(asked: Asked<'_>, server: &Server, stick: &Stick, dataset: Dataset) -> Result<Option<(Dir, Survey, bool)>> {
    let name = dataset.name();
    let Some(live) = server.dataset(dataset)? else {
        warn!("{name}: not on the server; the stick's is left as it is");
        return Ok(None);
    };
    let on_stick = open_on_stick(stick, dataset)?;
    let how = How { limits: stick.limits(), checksum: asked.checksum, belief: asked.belief, tell: true };
    let known = Known { base: None, pending: Vec::new() };
    let found = survey(on_stick.as_ref(), Some(&live), known, how)?;
    if found.server_files == 0 && found.stick_files > 0 {
        return Err(Error::NoSource {
            why: format!("{name}: empty on the server, but not on the stick"),
            next: "check the server's data; to empty the stick, format it anew",
        });
    }
    unfit(dataset, found.unfit_for_stick.as_ref(), "the stick")?;
    let unchanged = on_stick.is_some() && found.to_stick.files == 0 && found.to_stick.deleted == 0;
    Ok(Some((live, found, unchanged)))
}

fn plan(asked: Asked<'_>, server: &Server, stick: &Stick, dataset: Dataset) -> Result<bool> {
    let Some((live, found, _)) = look(asked, server, stick, dataset)? else { return Ok(false) };
    let on_stick = open_on_stick(stick, dataset)?;
    room::on_stick(stick.root(), dataset, &found.to_stick, stick.limits())?;
    let compare = Compare { limits: stick.limits(), checksum: asked.checksum, base: None };
    log_plan(dataset, Some(&live), on_stick.as_ref(), "stick", &compare)?;
    Ok(true)
}

/// Works on one dataset under its lock. `told`: the stick's manifest as it was. `false`: the server has none.
fn work(job: &Job<'_>, told: Option<&Header>, dataset: Dataset, report: &mut Report) -> Result<bool> {
    let name = dataset.name();
    let _lock = job.server.lock(dataset)?;
    recover(job.server, dataset)?;
    let stick = job.stick.stick();
    let Some((live, found, unchanged)) = look(job.asked, job.server, stick, dataset)? else { return Ok(false) };
    let change = &found.to_stick;
    let order = room::on_stick(stick.root(), dataset, change, stick.limits())?;
    let on_stick = stick.root().make(name.as_bytes(), 0o755)?;
    let run = told.filter(|told| told.is_complete()).and_then(|told| told.runs.get(name));
    // After a run that was cut off directories may be left that the files do not show.
    let cut_off = told.is_some_and(|told| !told.is_complete());
    if unchanged && run.is_some() && run == job.records.base_run(dataset)?.as_ref() {
        info!("{name}: nothing to do: equal contents");
    } else if unchanged && !cut_off {
        let live = Some(&live);
        job.record_common(&Pair { dataset, stick: &on_stick, live, found: &found, lost: false, time: 0 })?;
    } else {
        job.write_back(dataset, &live, &on_stick, change, order, None)?;
        job.records.promote(dataset)?;
        info!("{name}: {} file(s) copied ({} bytes), {} deleted", change.files, change.bytes, change.deleted);
    }
    same_meta(job, &live, &on_stick)?;
    report.bytes = report.bytes.saturating_add(change.bytes);
    report.datasets.insert(
        name.to_owned(),
        json!({"outcome": if unchanged { "nothing to do" } else { "exported" },
            "copied": change.files, "deleted": change.deleted, "bytes": change.bytes}),
    );
    Ok(true)
}

/// The stick's `meta.json` is the server's, byte for byte.
fn same_meta(job: &Job<'_>, live: &Dir, on_stick: &Dir) -> Result<()> {
    match (meta::bytes(live)?, meta::bytes(on_stick)?) {
        (server, stick) if server == stick => Ok(()),
        (Some(content), _) => job.stick.set_file(job.temp, on_stick, meta::NAME, &content),
        (None, _) => on_stick.remove(meta::NAME),
    }
}

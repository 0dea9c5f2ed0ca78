//! `dist-export`: fills a TM-DIST stick with the server's datasets (SPEC 6).

use std::collections::HashMap;
use std::path::PathBuf;

use argh::FromArgs;
use log::{info, warn};
use serde_json::json;

use super::{Env, Report, each_of, note_kept, open_stick};
use crate::dataset::publish::Compare;
use crate::dataset::server::Server;
use crate::dataset::stick_state::known::Known;
use crate::dataset::survey::{How, Survey, survey};
use crate::dataset::{Dataset, meta, room, writeback};
use crate::error::{Error, Result};
use crate::exchange::assess::{Asked, open_on_stick, unfit};
use crate::exchange::hooks;
use crate::exchange::plan::log_plan;
use crate::exchange::replace::{Sides, Writing};
use crate::exchange::session::{self, Manner, Session, Visit, with_stick};
use crate::os::dir::Dir;
use crate::os::progress::Progress;
use crate::stick::chain::Stick;
use crate::stick::role::Role;
use crate::tree::copy;
use crate::tree::pairs::{Pair, Pairs};
use crate::tree::stream::Stream;

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
    let (checksum, clock, dry_run) = (args.checksum, env.clock, args.dry_run);
    let asked = Asked { consent: false, dirty: false, checksum, belief: &belief, clock, dry_run };
    if args.dry_run {
        let planned = stick
            .check_writable()
            .and_then(|()| session::check_spare(&stick))
            .and_then(|()| plan(asked, &server, &stick, &wanted));
        return planned.and(stick.release());
    }
    let manner = Manner { receipt: false, settles: true, is_ours: true };
    let visit = Visit { name: "dist-export", env, server: &server, asked, manner };
    let worked = with_stick(visit, stick, report, |session, report| fill(session, &wanted, report));
    worked.and(hooks::run_due(&server))
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

/// A dataset of the server's and what the stick would get from it.
struct Load {
    dataset: Dataset,
    live: Dir,
    found: Survey,
    /// The stick has all of it already.
    unchanged: bool,
    order: writeback::Order,
}

/// What is to be done with each dataset, and whether all of it fits. A dataset that is refused is left out: the other is still done.
fn look_at_all(
    asked: Asked<'_>,
    server: &Server,
    stick: &Stick,
    known: &dyn Fn(Dataset) -> Result<Known>,
    wanted: &[Dataset],
) -> Result<(Vec<Load>, Result<usize>)> {
    let mut loads: Vec<Load> = Vec::new();
    let looked = each_of(wanted, |dataset| {
        let load = look(asked, server, stick, known, dataset)?;
        let there = load.is_some();
        loads.extend(load);
        Ok(there)
    });
    // Together they need more than each for itself.
    let mut reserved = 0;
    for load in &mut loads {
        let found = &load.found;
        let keeps = found.lost_on_stick.files > 0 || found.older_on_stick.files > 0;
        let needed = if keeps { room::Load::keeping(found) } else { room::Load::listing(found) };
        room::on_server(server, load.dataset, needed, asked.pruning())?;
        load.order = room::on_stick(stick.root(), load.dataset, &load.found.to_stick, stick.limits(), reserved)?;
        reserved += room::growth_on_stick(stick.root(), &load.found.to_stick)?;
    }
    Ok((loads, looked))
}

/// None: neither the server nor the stick has such a dataset.
fn look(
    asked: Asked<'_>,
    server: &Server,
    stick: &Stick,
    known: &dyn Fn(Dataset) -> Result<Known>,
    dataset: Dataset,
) -> Result<Option<Load>> {
    let name = dataset.name();
    let on_stick = open_on_stick(stick, dataset)?;
    let live = server.dataset(dataset)?;
    let known = || known(dataset);
    let how = How { limits: stick.limits(), checksum: asked.checksum, belief: asked.belief, tell: true, strict: false };
    let found = survey(on_stick.as_ref(), live.as_ref(), &known, how)?;
    if found.server_files == 0 && found.stick_files > 0 {
        let how = if live.is_some() { "empty" } else { "missing" };
        return Err(Error::NoSource {
            why: format!("{name}: {how} on the server, but not on the stick"),
            next: "check the server's data; to empty the stick, format it anew",
        });
    }
    let Some(live) = live else {
        warn!("{name}: not on the server; the stick's is left as it is");
        return Ok(None);
    };
    unfit(dataset, found.unfit_for_stick.as_ref(), "the stick")?;
    let unchanged = on_stick.is_some() && found.to_stick.files == 0 && found.to_stick.deleted == 0;
    let order = writeback::Order { delete_first: false, batch: writeback::ALL, clear: false };
    Ok(Some(Load { dataset, live, found, unchanged, order }))
}

fn plan(asked: Asked<'_>, server: &Server, stick: &Stick, wanted: &[Dataset]) -> Result<()> {
    let state = session::looked_at(server, stick)?;
    let known = |dataset| state.known(dataset, &session::on_stick(stick)?);
    let (loads, looked) = look_at_all(asked, server, stick, &known, wanted)?;
    for load in loads {
        let on_stick = open_on_stick(stick, load.dataset)?;
        let compare = Compare::plain(stick.limits(), asked.checksum);
        log_plan(load.dataset, Some(&load.live), on_stick.as_ref(), "stick", &compare)?;
        if let (Some(dir), true) = (&on_stick, load.unchanged) {
            let mut base = state.known(load.dataset, &session::on_stick(stick)?)?.base;
            rotten(load.dataset, dir, &load.live, base.as_mut())?;
        }
    }
    some_source(wanted, looked?)
}

/// Fills the stick under both datasets' locks.
fn fill(session: &Session<'_>, wanted: &[Dataset], report: &mut Report) -> Result<()> {
    let _locks = wanted.iter().map(|dataset| session.server.lock(*dataset)).collect::<Result<Vec<_>>>()?;
    for dataset in wanted {
        session.recover(*dataset)?;
        // What is no directory is refused later, and the other dataset is still done.
        if let Ok(Some(dir)) = open_on_stick(session.stick.stick(), *dataset) {
            meta::make_way(&dir, *dataset, "the stick")?;
        }
    }
    let (loads, looked) =
        look_at_all(session.asked, session.server, session.stick.stick(), &|dataset| session.known(dataset), wanted)?;
    let mut first_error = None;
    for load in &loads {
        match (work(session, load, report), &first_error) {
            (Ok(()), _) => {}
            (Err(Error::Interrupted), _) => return Err(Error::Interrupted),
            (Err(error), None) => first_error = Some(error),
            (Err(error), Some(_)) => log::error!("{error}"),
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => some_source(wanted, looked?),
    }
}

fn work(session: &Session<'_>, load: &Load, report: &mut Report) -> Result<()> {
    let &Load { dataset, ref live, ref found, .. } = load;
    let name = dataset.name();
    let stick = session.stick.stick();
    let on_stick = stick.root().make(name.as_bytes(), 0o755)?;
    // It is the server's since now, also if nothing has to be copied.
    let time = session.server.next_export(session.env.clock.now())?;
    let sides = Sides { dataset, stick: &on_stick, live: Some(live) };
    let rotten = if load.unchanged {
        let mut base = session.known(dataset)?.base;
        rotten(dataset, &on_stick, live, base.as_mut())?
    } else {
        Rotten::new()
    };
    // After a run that was cut off directories may be left that the files do not show.
    let written = !load.unchanged || !rotten.is_empty() || session.state.was_cut_off();
    let mut change = found.to_stick;
    let kept = session.keep_edits(&sides, live, found)?;
    if written {
        for size in rotten.values() {
            change.count_again(*size);
        }
        let order = match rotten.is_empty() {
            true => load.order,
            false => room::on_stick(stick.root(), dataset, &change, stick.limits(), 0)?,
        };
        session.state.add_plain_intent(dataset)?;
        let work = Writing::all(live, &change, order, time);
        session.write_back(&sides, Writing { rotten: Some(&rotten), ..work })?;
        session.state.promote(dataset)?;
        info!("{name}: {} file(s) copied ({} bytes), {} deleted", change.files, change.bytes, change.deleted);
    } else {
        session.record_common(&sides, time)?;
        info!("{name}: nothing to do: equal contents");
    }
    let outcome = if written { "exported" } else { "nothing to do" };
    same_meta(session, live, &on_stick)?;
    report.bytes = report.bytes.saturating_add(change.bytes);
    let mut value = json!({"outcome": outcome, "copied": change.files, "deleted": change.deleted, "bytes": change.bytes, "lost": 0});
    if let Some(when) = kept {
        let place = format!("undo/{when}/{name}");
        for (key, files) in [("lost", &found.lost_on_stick), ("older", &found.older_on_stick)] {
            if files.files > 0 {
                note_kept(&mut value, key, files.files, &place, &files.names);
            }
        }
    }
    report.datasets.insert(name.to_owned(), value);
    Ok(())
}

/// Files that are to be written again, and their sizes.
type Rotten = HashMap<Vec<u8>, u64>;

/// The files of the stick that are not what they were, though their size and time are: each is read, and held against the stick's manifest (`base`) or
/// else against the server's file.
fn rotten(dataset: Dataset, stick: &Dir, live: &Dir, mut base: Option<&mut Stream>) -> Result<Rotten> {
    let mut rotten = Rotten::new();
    let mut progress = Progress::new(format!("{}: reading the stick", dataset.name()), 0, 0);
    let mut pairs = Pairs::new(Some(stick), Some(live), meta::NAME)?;
    while let Some(pair) = pairs.take()? {
        let (Pair { left: Some(left), right: Some(_), .. }, walk) = (pair, pairs.walk()) else { continue };
        let (Some(on_stick), Some(on_server)) = (walk.left(), walk.right()) else { continue };
        let listed = base.as_mut().map(|base| base.find(walk.path())).transpose()?.flatten();
        let expected = match listed.filter(|listed| listed.size == left.size).and_then(|listed| listed.sha256) {
            Some(sha256) => sha256,
            None => copy::hash(on_server, walk.name())?,
        };
        let is_sound = match copy::hash(on_stick, walk.name()) {
            Ok(sha256) => sha256 == expected,
            Err(Error::Unreadable { .. }) => false,
            Err(error) => return Err(error),
        };
        if !is_sound {
            warn!("{}: rotten on the stick, to be written again: {}", dataset.name(), walk.shown());
            rotten.insert(walk.path().to_vec(), left.size);
        }
        progress.add_bytes(left.size);
        progress.add_file();
    }
    Ok(rotten)
}

/// The stick's `meta.json` is the server's, byte for byte.
fn same_meta(session: &Session<'_>, live: &Dir, on_stick: &Dir) -> Result<()> {
    match (meta::bytes(live)?, meta::bytes(on_stick)?) {
        (server, stick) if server == stick => Ok(()),
        (Some(content), _) => session.stick.set_file(session.temp, on_stick, meta::NAME, &content),
        (None, _) => on_stick.remove(meta::NAME),
    }
}

//! `snapshot`: the server's data, the database's dump and the site's settings at one moment (SPEC 7).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::{info, warn};

use super::{Env, Report};
use crate::clock::Belief;
use crate::database::{dump, own};
use crate::dataset::Dataset;
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::bound;
use crate::os::dir::{Dir, Entry, set_mtime};
use crate::os::progress::Progress;
use crate::settings::pg_uri::PgUri;
use crate::snapshot::build::{Previous, Taken, is_change, take};
use crate::snapshot::generation::{self, Generation, MANIFEST};
use crate::snapshot::part::{self, Filled, Part};
use crate::snapshot::{rot, settings_files};
use crate::tree::copy;
use crate::tree::manifest::counts::Counts;
use crate::tree::manifest::{Header, Listed, Writer};
use crate::tree::remove;

/// A dataset that is changed while it is read is read so often.
const ATTEMPTS: u32 = 3;

/// Take a snapshot of the server's data, with a dump of the database.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "snapshot")]
pub struct Args {
    /// the directory of the snapshots
    #[argh(option)]
    dest: Option<PathBuf>,
    /// the database, as postgresql://user:password@host:port/name
    #[argh(option)]
    pg_uri: Option<String>,
    /// a further option for pg_dump; may be given several times
    #[argh(option)]
    pg_option: Vec<String>,
    /// keep snapshots of so many days, and always the newest seven
    #[argh(option)]
    retention_days: Option<u32>,
    /// take it, and acknowledge that what is empty in it is meant to be
    #[argh(switch)]
    accept: bool,
    /// log what would be done and change nothing
    #[argh(switch)]
    pub dry_run: bool,
}

impl Args {
    /// As the timer runs it, but into the directory of a backup's snapshots.
    pub fn for_backup(dest: PathBuf) -> Args {
        let pg_option = Vec::new();
        Args { dest: Some(dest), pg_uri: None, pg_option, retention_days: None, accept: false, dry_run: false }
    }
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; then there is no new snapshot and none was removed.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("snapshot");
    let result = snapshot(args, env, &mut report);
    if !args.dry_run {
        report.end(env, result.as_ref().err());
    }
    let dest = result?;
    info!("snapshot completed (dry_run={}) dest={}", u8::from(args.dry_run), dest.display());
    Ok(())
}

/// All that a snapshot is taken from.
struct Sources {
    server: Server,
    datasets: Vec<Dataset>,
    uri: PgUri,
    belief: Belief,
    days: u32,
    /// The new snapshot's number.
    number: u64,
    /// What was found rotten in an older one.
    rotten: BTreeSet<Vec<u8>>,
}

fn snapshot(args: &Args, env: &Env, report: &mut Report) -> Result<PathBuf> {
    dump::check_options(&args.pg_option)?;
    let path = args.dest.clone().unwrap_or_else(|| env.settings.snapshot_root.clone());
    let server = Server::open(&env.settings, args.dry_run)?;
    let uri = own::database(&env.settings, args.pg_uri.as_deref())?;
    let belief = server.belief(env.clock)?;
    let days = args.retention_days.unwrap_or(env.settings.snapshot_retention_days);
    let root = server.snapshots(&path)?;
    let _lock = server.lock_snapshots()?;
    let previous = match &root {
        Some(root) => generation::list(root)?.pop(),
        None => None,
    };
    // Before the dump, which takes long: what is missing is known by now.
    let datasets = datasets(&server, root.as_ref(), previous.as_ref())?;
    let number = server.next_snapshot_number(previous.as_ref().map_or(0, Generation::number))?;
    let rotten = server.state.as_ref().map_or_else(|| Ok(BTreeSet::new()), rot::noted)?;
    let sources = Sources { server, datasets, uri, belief, days, number, rotten };
    let Some(root) = root.filter(|_| !args.dry_run) else {
        return plan(args, env, &sources, &path);
    };
    let built = generation::start(&root)?;
    let taken = build(args, env, &sources, &root, &built, previous.as_ref(), report);
    // Its number counts as used before anybody can see it.
    let taken = taken.and_then(|()| sources.server.raise_snapshot_number(number));
    let name = match taken.and_then(|()| generation::publish(&root, &built, env.clock)) {
        Ok(name) => name,
        Err(error) => {
            if let Err(more) = generation::discard(&root) {
                warn!("{more}");
            }
            return Err(error);
        }
    };
    if let Some(state) = &sources.server.state {
        rot::cured(state, &sources.rotten)?;
    }
    tell_emptied(args, &sources, &root)?;
    generation::prune(&root, days, &sources.belief, env.clock, false)?;
    if sources.belief.believed {
        bound::by_age(&env.settings.log_dir, env.settings.log_retention_days, sources.belief.now);
    }
    Ok(path.join(name))
}

/// Says what was emptied: a snapshot of that is one all the same, and `status` stays red until it is filled again or acknowledged.
fn tell_emptied(args: &Args, sources: &Sources, root: &Dir) -> Result<()> {
    let server = &sources.server;
    for (part, last) in generation::emptied(root, |part| server.accepted_empty(part.name()))? {
        let (part, last) = (part.name(), &last.name);
        if args.accept {
            server.accept_empty(part, sources.number)?;
            info!("{part}: empty, as acknowledged; snapshot {last} holds the last of it and stays");
        } else {
            warn!(
                "{part}: empty or missing now, filled in snapshot {last}, which stays -> put it back from there; if it is meant to be empty: sudo toolmaster snapshot --accept"
            );
        }
    }
    Ok(())
}

/// The datasets that there are; one that is missing is a warning. A server that has neither, and had none before, has nothing to take.
fn datasets(server: &Server, root: Option<&Dir>, previous: Option<&Generation>) -> Result<Vec<Dataset>> {
    let mut datasets = Vec::new();
    for dataset in Dataset::ALL {
        match server.dataset(dataset)? {
            Some(_) => datasets.push(dataset),
            None => warn!("{}: not on the server, and not in the snapshot", dataset.name()),
        }
    }
    let had = match (previous, root) {
        (Some(previous), Some(root)) => !previous.filled(root)?.is_empty(),
        _ => false,
    };
    if datasets.is_empty() && !had {
        return Err(Error::NoSource {
            why: "the server has neither master nor docviewer".to_owned(),
            next: "take them in with a TM-INGEST stick first",
        });
    }
    Ok(datasets)
}

fn plan(args: &Args, env: &Env, sources: &Sources, path: &Path) -> Result<PathBuf> {
    info!("plan: dump {} with pg_dump", sources.uri);
    dump::rehearse(&sources.uri, &dump_options(args))?;
    for dataset in &sources.datasets {
        let (parent, name) = sources.server.place(*dataset);
        info!("plan: take {}", parent.path_of(name).display());
    }
    for item in settings_files::list(Path::new("/etc"), &env.settings.server_root)? {
        info!("plan: take settings/{}", crate::text::Shown(&item.path));
    }
    if let Some(root) = sources.server.snapshots(path)? {
        let had = generation::list(&root)?.pop().map_or_else(|| Ok(Filled::new()), |newest| newest.filled(&root))?;
        for dataset in Dataset::ALL {
            let live = sources.server.dataset(dataset)?;
            let has = live.map_or(Ok(false), |live| part::has_files(&live))?;
            if !has && Part::of(dataset.name()).is_some_and(|part| had.contains(&part)) {
                warn!("{}: empty or missing now, filled in the newest snapshot", dataset.name());
            }
        }
        generation::prune(&root, sources.days, &sources.belief, env.clock, args.dry_run)?;
    }
    Ok(path.to_owned())
}

/// Builds it, in the order of its manifest: the dump, the datasets, the settings.
fn build(
    args: &Args,
    env: &Env,
    sources: &Sources,
    root: &Dir,
    built: &Dir,
    previous: Option<&Generation>,
    report: &mut Report,
) -> Result<()> {
    let fail = |error| Error::io("write", &built.path_of(MANIFEST), error);
    let taken = Some(env.clock.now());
    let (dumped, counts) = take_dump(args, sources, built)?;
    // No ingest and no undo exchanges a directory that is being read, nor brings master of one time and docviewer of another.
    // They lock them in this order too.
    let locks = [sources.server.lock(Dataset::Master)?, sources.server.lock(Dataset::Docviewer)?];
    // Opened only now: a directory from before the dump may have been exchanged and removed meanwhile. In walk order: docviewer before master.
    let mut live = Vec::new();
    for dataset in sources.datasets.iter().rev() {
        let dir = sources.server.dataset(*dataset)?.ok_or_else(|| went_away(*dataset))?;
        live.push((*dataset, dir));
    }
    let filled = filled(&live, built)?;
    let header = Header {
        seq: Some(sources.number),
        taken,
        filled: Some(part::words(&filled)),
        database: counts.map(Box::new),
        ..Header::complete(&sources.server.id)
    };
    let mut list = Writer::new(built.create(MANIFEST, 0o600)?, &header).map_err(fail)?;
    for listed in &dumped {
        list.push(listed).map_err(fail)?;
    }
    for (dataset, live) in &live {
        let before = Before { root, generation: previous, rotten: &sources.rotten };
        let taken = take_at_rest(*dataset, live, before, built, &mut list)?;
        let name = dataset.name();
        info!(
            "{name}: {} file(s), of these {} copied ({} bytes, {} as clones), the others shared",
            taken.files, taken.copied, taken.bytes, taken.cloned
        );
        report.bytes = report.bytes.saturating_add(taken.bytes);
        let value = serde_json::json!({"outcome": "taken", "files": taken.files, "copied": taken.copied, "cloned": taken.cloned, "bytes": taken.bytes});
        report.datasets.insert(name.to_owned(), value);
    }
    drop(locks);
    // The manifest's first line was written before they were taken.
    if part::look(built)? != filled {
        return Err(Error::Busy {
            why: "a dataset was emptied or filled while the snapshot was taken".to_owned(),
            next: "wait until nobody works there and run it again",
        });
    }
    take_settings(env, built, &mut list)?;
    list.finish().and_then(|file| file.sync_all()).map_err(fail)
}

/// The parts that the snapshot will hold.
fn filled(live: &[(Dataset, Dir)], built: &Dir) -> Result<Filled> {
    let mut filled = part::of_dump_in(built)?;
    for (dataset, dir) in live {
        if part::has_files(dir)? {
            filled.extend(Part::of(dataset.name()));
        }
    }
    Ok(filled)
}

fn went_away(dataset: Dataset) -> Error {
    Error::Busy {
        why: format!("{} went away while the snapshot was taken", dataset.name()),
        next: "check the server's data and run it again",
    }
}

fn dump_options(args: &Args) -> dump::Options {
    // The timer's run may come before the database is up.
    let wait = std::env::var_os("INVOCATION_ID").is_some();
    dump::Options { pg_options: args.pg_option.clone(), wait, ..dump::Options::default() }
}

/// The dump's files as the manifest lists them, in its order, and what the database counted.
fn take_dump(args: &Args, sources: &Sources, built: &Dir) -> Result<(Vec<Listed>, Option<Counts>)> {
    let dir = built.make(b"db", 0o700)?;
    let counts = dump::dump(&sources.uri, &dump_options(args), &dir)?;
    let listed = |name: &[u8]| {
        let (_, entry) = dir.read(name)?;
        Ok(Listed::of(&[b"db/", name].concat(), &entry, Some(copy::hash(&dir, name)?)))
    };
    Ok(([dump::GLOBALS, dump::DUMP].into_iter().map(listed).collect::<Result<_>>()?, counts))
}

/// The snapshots that are there, and what of the newest is not shared on.
#[derive(Clone, Copy)]
struct Before<'a> {
    root: &'a Dir,
    generation: Option<&'a Generation>,
    rotten: &'a BTreeSet<Vec<u8>>,
}

/// Takes a dataset, from the beginning again if somebody changes it meanwhile: locks hold our own runs only.
fn take_at_rest(
    dataset: Dataset,
    live: &Dir,
    before: Before<'_>,
    built: &Dir,
    list: &mut Writer<File>,
) -> Result<Taken> {
    let fail = |error| Error::io("write", &built.path_of(MANIFEST), error);
    let mark = list.mark().map_err(fail)?;
    let mut attempt = 1;
    loop {
        let error = match take_dataset(dataset, live, before, built, list) {
            Err(error) if is_change(&error) => error,
            taken => return taken,
        };
        if attempt == ATTEMPTS {
            return Err(Error::Busy {
                why: format!("{} is being changed while the snapshot is taken, last: {error}", dataset.name()),
                next: "wait until nobody works there and run it again",
            });
        }
        warn!("{}: read once more: {error}", dataset.name());
        remove::tree(built, dataset.name().as_bytes())?;
        list.back_to(mark).map_err(fail)?;
        attempt += 1;
    }
}

fn take_dataset(
    dataset: Dataset,
    live: &Dir,
    before: Before<'_>,
    built: &Dir,
    list: &mut Writer<File>,
) -> Result<Taken> {
    let name = dataset.name();
    let to = built.make(name.as_bytes(), 0o755)?;
    let entry = live.entry()?;
    to.set_owner_mode(Some(entry.owner), entry.mode & 0o777)?;
    let previous = match before.generation {
        Some(previous) => match previous.dir(before.root)?.sub(name.as_bytes())? {
            Some(dir) => {
                let files = previous.files(before.root, dataset.prefix())?;
                Some(Previous { dir, files, rotten: before.rotten.clone() })
            }
            None => None,
        },
        None => None,
    };
    let mut progress = Progress::new(format!("{name}: into the snapshot"), 0, 0);
    take(live, previous, &to, dataset.prefix(), list, &mut progress)
}

fn take_settings(env: &Env, built: &Dir, list: &mut Writer<File>) -> Result<()> {
    let settings = built.make(b"settings", 0o700)?;
    for item in settings_files::list(Path::new("/etc"), &env.settings.server_root)? {
        let name = item.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let target = settings.made_below(&item.path, 0o700)?;
        let fail = |error| Error::io("write", &target.path_of(name), error);
        let mut file = target.create(name, 0o600)?;
        file.write_all(&item.content).and_then(|()| set_mtime(&file, item.mtime)).map_err(fail)?;
        let entry = Entry::of_file(&file).map_err(fail)?;
        let path = [b"settings/", &item.path[..]].concat();
        list.push(&Listed::of(&path, &entry, Some(copy::hash_bytes(&item.content))))
            .map_err(|error| Error::io("write the list of", built.path(), error))?;
    }
    Ok(())
}

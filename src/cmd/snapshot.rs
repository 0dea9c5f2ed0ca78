//! `snapshot`: the server's data, the database's dump and the site's settings at one moment (SPEC 7).

use std::fs::File;
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
use crate::os::dir::{Dir, Entry};
use crate::os::progress::Progress;
use crate::settings::pg_uri::PgUri;
use crate::snapshot::build::{Previous, Taken, is_change, take};
use crate::snapshot::generation::{self, Generation, MANIFEST};
use crate::snapshot::settings_files;
use crate::tree::copy::{self, Ownership};
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
    /// log what would be done and change nothing
    #[argh(switch)]
    pub dry_run: bool,
}

impl Args {
    /// As the timer runs it, but into the directory of a backup's snapshots.
    pub fn for_backup(dest: PathBuf) -> Args {
        Args { dest: Some(dest), pg_uri: None, pg_option: Vec::new(), retention_days: None, dry_run: false }
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
    let sources = Sources { server, datasets, uri, belief, days };
    let Some(root) = root.filter(|_| !args.dry_run) else {
        return plan(args, env, &sources, &path);
    };
    let built = generation::start(&root)?;
    let taken = build(args, env, &sources, &root, &built, previous.as_ref(), report);
    let name = match taken.and_then(|()| generation::publish(&root, &built, env.clock)) {
        Ok(name) => name,
        Err(error) => {
            if let Err(more) = generation::discard(&root) {
                warn!("{more}");
            }
            return Err(error);
        }
    };
    generation::prune(&root, days, &sources.belief, env.clock, false)?;
    if sources.belief.believed {
        bound::by_age(&env.settings.log_dir, env.settings.log_retention_days, sources.belief.now);
    }
    Ok(path.join(name))
}

/// The datasets that there are; one missing of two is a warning.
fn datasets(server: &Server, root: Option<&Dir>, previous: Option<&Generation>) -> Result<Vec<Dataset>> {
    let mut datasets = Vec::new();
    for dataset in Dataset::ALL {
        match source(server, dataset, root, previous)? {
            Some(_) => datasets.push(dataset),
            None => warn!("{}: not on the server, and not in the snapshot", dataset.name()),
        }
    }
    if datasets.is_empty() {
        return Err(Error::NoSource {
            why: "the server has neither master nor docviewer".to_owned(),
            next: "take them in with a TM-INGEST stick first",
        });
    }
    Ok(datasets)
}

/// A dataset's directory. One that is empty while the previous snapshot's was not is refused, so that nobody notices too
/// late.
fn source(server: &Server, dataset: Dataset, root: Option<&Dir>, previous: Option<&Generation>) -> Result<Option<Dir>> {
    let name = dataset.name();
    let Some(live) = server.dataset(dataset)? else { return Ok(None) };
    let had = match (previous, root) {
        (Some(previous), Some(root)) => match previous.dir(root)?.sub(name.as_bytes())? {
            Some(old) => generation::has_files(&old)?,
            None => false,
        },
        _ => false,
    };
    if had && !generation::has_files(&live)? {
        return Err(Error::NoSource {
            why: format!("{name}: empty on the server, but not in the previous snapshot"),
            next: "check the server's data; no snapshot was taken",
        });
    }
    Ok(Some(live))
}

fn plan(args: &Args, env: &Env, sources: &Sources, path: &Path) -> Result<PathBuf> {
    info!("plan: dump {} with pg_dump", sources.uri);
    for dataset in &sources.datasets {
        let (parent, name) = sources.server.place(*dataset);
        info!("plan: take {}", parent.path_of(name).display());
    }
    for item in settings_files::list(Path::new("/etc"), &env.settings.server_root)? {
        info!("plan: take settings/{}", crate::text::Shown(&item.path));
    }
    if let Some(root) = sources.server.snapshots(path)? {
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
    let (dumped, counts) = take_dump(args, sources, built)?;
    let seq = previous.and_then(|previous| previous.header.as_ref()?.seq).unwrap_or(0);
    let taken = Some(env.clock.now());
    let header = Header {
        seq: Some(seq.saturating_add(1)),
        taken,
        database: counts.map(Box::new),
        ..Header::complete(&sources.server.id)
    };
    let file = built.create(MANIFEST, 0o600)?;
    let fail = |error| Error::io("write", &built.path_of(MANIFEST), error);
    let mut list = Writer::new(file, &header).map_err(fail)?;
    for listed in &dumped {
        list.push(listed).map_err(fail)?;
    }
    // No ingest and no undo exchanges a directory that is being read, nor brings master of one time and docviewer of another.
    // They lock them in this order too.
    let locks = [sources.server.lock(Dataset::Master)?, sources.server.lock(Dataset::Docviewer)?];
    // In walk order: docviewer before master.
    for dataset in sources.datasets.iter().rev() {
        // Opened only now: a directory from before the dump may have been exchanged and removed meanwhile.
        let live = source(&sources.server, *dataset, Some(root), previous)?.ok_or_else(|| Error::Busy {
            why: format!("{} went away while the snapshot was taken", dataset.name()),
            next: "check the server's data and run it again",
        })?;
        let taken = take_at_rest(*dataset, &live, root, built, previous, &mut list)?;
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
    take_settings(env, built, &mut list)?;
    list.finish().and_then(|file| file.sync_all()).map_err(fail)
}

/// The dump's files as the manifest lists them, in its order, and what the database counted.
fn take_dump(args: &Args, sources: &Sources, built: &Dir) -> Result<(Vec<Listed>, Option<Counts>)> {
    let dir = built.make(b"db", 0o700)?;
    // The timer's run may come before the database is up.
    let wait = std::env::var_os("INVOCATION_ID").is_some();
    let options = dump::Options { pg_options: args.pg_option.clone(), wait, ..dump::Options::default() };
    let counts = dump::dump(&sources.uri, &options, &dir)?;
    let listed = |name: &[u8]| {
        let (_, entry) = dir.read(name)?;
        Ok(Listed::of(&[b"db/", name].concat(), &entry, Some(copy::hash(&dir, name)?)))
    };
    Ok(([dump::GLOBALS, dump::DUMP].into_iter().map(listed).collect::<Result<_>>()?, counts))
}

/// Takes a dataset, from the beginning again if somebody changes it meanwhile: locks hold our own runs only.
fn take_at_rest(
    dataset: Dataset,
    live: &Dir,
    root: &Dir,
    built: &Dir,
    previous: Option<&Generation>,
    list: &mut Writer<File>,
) -> Result<Taken> {
    let fail = |error| Error::io("write", &built.path_of(MANIFEST), error);
    let mark = list.mark().map_err(fail)?;
    let mut attempt = 1;
    loop {
        let error = match take_dataset(dataset, live, root, built, previous, list) {
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
    root: &Dir,
    built: &Dir,
    previous: Option<&Generation>,
    list: &mut Writer<File>,
) -> Result<Taken> {
    let name = dataset.name();
    let to = built.make(name.as_bytes(), 0o755)?;
    let entry = live.entry()?;
    to.set_owner_mode(Some(entry.owner), entry.mode & 0o777)?;
    let previous = match previous {
        Some(previous) => match previous.dir(root)?.sub(name.as_bytes())? {
            Some(dir) => Some(Previous { dir, files: previous.files(root, dataset.prefix())? }),
            None => None,
        },
        None => None,
    };
    let mut progress = Progress::new(format!("{name}: into the snapshot"), 0, 0);
    take(live, previous, &to, dataset.prefix(), list, &mut progress)
}

fn take_settings(env: &Env, built: &Dir, list: &mut Writer<File>) -> Result<()> {
    let settings = built.make(b"settings", 0o700)?;
    let owned = Ownership { owner: None, file_mode: 0o600, dir_mode: 0o700 };
    for item in settings_files::list(Path::new("/etc"), &env.settings.server_root)? {
        let mut target = settings.again()?;
        let mut parts: Vec<&[u8]> = item.path.split(|byte| *byte == b'/').collect();
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            target = target.make(part, owned.dir_mode)?;
        }
        let mut progress = Progress::new("settings".to_owned(), 0, 0);
        let (from, from_name) = &item.at;
        let copied = copy::copy((&Dir::open(from)?, from_name), (&target, name), owned, &mut progress)?;
        let path = [b"settings/", &item.path[..]].concat();
        let Entry { size, mtime, .. } = copied.entry;
        list.push(&Listed { path, size, mtime, sha256: Some(copied.sha256) })
            .map_err(|error| Error::io("write the list of", built.path(), error))?;
    }
    Ok(())
}

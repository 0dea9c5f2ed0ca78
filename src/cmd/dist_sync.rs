//! `dist-sync`: a terminal reads a TM-DIST stick (SPEC 6). The stick is only ever mounted read-only.

use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::{info, warn};
use serde_json::json;

use super::plan::log_plan;
use super::{Env, Report, each_of, open_stick};
use crate::dataset::publish::Compare;
use crate::dataset::receive::{self, Need};
use crate::dataset::room;
use crate::dataset::{Dataset, meta};
use crate::error::{Error, Result};
use crate::os::block::Block;
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::lock::Lock;
use crate::os::progress::Progress;
use crate::stick::control;
use crate::stick::role::Role;
use crate::tree::manifest::Header;
use crate::tree::remove;
use crate::tree::same::Limits;

/// Read a TM-DIST stick into this terminal.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "dist-sync")]
pub struct Args {
    /// the stick's device, such as /dev/sda1; without it the one stick with the label is taken
    #[argh(option)]
    device: Option<PathBuf>,
    /// where the stick is mounted already
    #[argh(option)]
    mountpoint: Option<PathBuf>,
    /// log what would be done and change nothing
    #[argh(switch)]
    pub dry_run: bool,
    /// compare contents even where size and time are the same
    #[argh(switch)]
    checksum: bool,
}

/// A directory of the terminal's own beside its datasets, for what is being built, and the lock.
const ASIDE: &[u8] = b".toolmaster";

/// Carries it out.
///
/// # Errors
/// SPEC 3; the first dataset's error if both fail.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("dist-sync");
    let result = sync(args, env, &mut report);
    if !args.dry_run {
        report.end(env, result.as_ref().err());
    }
    let source = result?;
    if args.dry_run {
        info!("dist sync completed source={} dry_run=1", source.display());
    } else {
        info!("dist sync completed source={}", source.display());
    }
    Ok(())
}

fn sync(args: &Args, env: &Env, report: &mut Report) -> Result<PathBuf> {
    if let Some(mountpoint) = &args.mountpoint {
        if args.device.is_some() {
            return Err(Error::Usage("--device and --mountpoint exclude each other".to_owned()));
        }
        let root = Dir::open(mountpoint)?;
        // The record has where the stick is in the place of what it is.
        report.device = Some(mountpoint.clone());
        if let Some(why) = control::role_trouble(&root, Role::Dist) {
            let why = format!("validation failed for {}: {why}", mountpoint.display());
            return Err(Error::Refused { why, next: "plug in the right stick".to_owned() });
        }
        if env.settings.require_enrolled {
            let why = format!(
                "validation failed for {}: where it is mounted it can't be seen to be enrolled",
                mountpoint.display()
            );
            return Err(Error::Refused { why, next: "unmount it and use --device".to_owned() });
        }
        // FAT's limits also fit every other filesystem. Who may not open its device must do without that check.
        let watched = Block::under(&root).map(|block| (block.watch(), block));
        let check_read = || watched.as_ref().map_or(Ok(()), |(watch, block)| block.check(watch, &root));
        both(args, env, &Source { root: &root, limits: Limits::FAT, check_read: &check_read }, report)?;
        return Ok(mountpoint.clone());
    }
    let stick = open_stick(args.device.as_deref(), Role::Dist, env, report)?;
    let source = Source { root: stick.root(), limits: stick.limits(), check_read: &|| stick.check_read() };
    let done = both(args, env, &source, report);
    done.and(stick.release())?;
    Ok(report.device.clone().unwrap_or_default())
}

/// The stick, by whomever it was mounted.
struct Source<'a> {
    root: &'a Dir,
    limits: Limits,
    /// Whether all that was read from it may be believed.
    check_read: &'a dyn Fn() -> Result<()>,
}

fn both(args: &Args, env: &Env, source: &Source<'_>, report: &mut Report) -> Result<()> {
    let manifest = control::whole_manifest(source.root)?;
    if manifest.is_none() {
        warn!("the stick has no manifest: it could not be checked");
    }
    let there = each_of(&Dataset::ALL, |dataset| one(args, env, source, manifest.as_ref(), dataset, report))?;
    if there > 0 {
        return Ok(());
    }
    Err(Error::NoSource {
        why: "the stick has neither master/ nor docviewer/".to_owned(),
        next: "fill it at the server (plug it in there)",
    })
}

/// One dataset. `false`: the stick does not have it.
fn one(
    args: &Args,
    env: &Env,
    source: &Source<'_>,
    manifest: Option<&Header>,
    dataset: Dataset,
    report: &mut Report,
) -> Result<bool> {
    let &Source { root, limits, check_read } = source;
    let name = dataset.name();
    let claimed = manifest.is_some_and(|header| header.runs.contains_key(name));
    let stick = match root.look(name.as_bytes())? {
        Some(Entry { kind: Kind::Dir, .. }) => root.sub(name.as_bytes())?,
        None if !claimed => None,
        _ => {
            let why = format!("the stick is not whole: {name} is no directory on it");
            return Err(Error::Refused { why, next: "fill it again at the server".to_owned() });
        }
    };
    let Some(stick) = stick else {
        warn!("{name}: not on the stick; the terminal keeps its own");
        return Ok(false);
    };
    let local = if dataset == Dataset::Master { &env.settings.local_master_dir } else { &env.settings.local_doc_dir };
    let files = || if claimed { control::manifest_files(root, dataset.prefix()).map(Some) } else { Ok(None) };
    if manifest.is_some() && !claimed {
        warn!("{name}: not in the stick's manifest: it could not be checked");
    }
    if args.dry_run {
        let live = Dir::open_if_there(local)?;
        let need = inspected(args, &stick, live.as_ref(), files()?, limits, dataset)?;
        if let Some(live) = &live {
            room::on_terminal(live, dataset, &need)?;
        }
        let compare = Compare { limits, checksum: args.checksum, base: None };
        log_plan(dataset, Some(&stick), live.as_ref(), "terminal", &compare)?;
        return Ok(true);
    }
    let place = Place::open(local)?;
    let _lock = Lock::file(&place.aside, "lock")?;
    // What a run that was cut off had built, or had already replaced.
    remove::tree(&place.aside, name.as_bytes())?;
    let live = place.parent.sub(&place.name)?;
    let need = inspected(args, &stick, live.as_ref(), files()?, limits, dataset)?;
    let unchanged = need.files == 0 && need.deleted == 0 && live.is_some();
    if unchanged && same_meta(&stick, live.as_ref())? {
        info!("{name}: nothing to do: equal contents");
    } else {
        room::on_terminal(&place.parent, dataset, &need)?;
        let mut base = files()?;
        let compare = Compare { limits, checksum: args.checksum, base: base.as_mut() };
        let mut progress = Progress::new(format!("{name}: from the stick"), need.bytes, need.files);
        let to = receive::Place { parent: &place.parent, name: &place.name, aside: &place.aside };
        receive::replace(&stick, &to, compare, files()?, dataset, &mut progress, check_read)?;
        info!("{name}: {} file(s) copied ({} bytes), {} deleted", need.files, need.bytes, need.deleted);
    }
    report.bytes = report.bytes.saturating_add(need.bytes);
    report.datasets.insert(
        name.to_owned(),
        json!({"outcome": if unchanged { "nothing to do" } else { "synced" },
            "copied": need.files, "deleted": need.deleted, "bytes": need.bytes}),
    );
    Ok(true)
}

fn inspected(
    args: &Args,
    stick: &Dir,
    live: Option<&Dir>,
    mut files: Option<crate::tree::stream::Stream>,
    limits: Limits,
    dataset: Dataset,
) -> Result<Need> {
    let compare = Compare { limits, checksum: args.checksum, base: None };
    let need = receive::inspect(stick, live, files.as_mut(), &compare, dataset)?;
    if need.on_stick == 0 && need.on_terminal > 0 {
        return Err(Error::NoSource {
            why: format!("{}: empty on the stick, but not on the terminal", dataset.name()),
            next: "fill the stick again at the server",
        });
    }
    Ok(need)
}

fn same_meta(stick: &Dir, live: Option<&Dir>) -> Result<bool> {
    let on_terminal = match live {
        Some(live) => meta::bytes(live)?,
        None => None,
    };
    Ok(meta::bytes(stick)? == on_terminal)
}

/// Where a dataset is on the terminal.
struct Place {
    parent: Dir,
    name: Vec<u8>,
    aside: Dir,
}

impl Place {
    /// Makes what is missing down to the dataset's parent: a new terminal has nothing yet.
    fn open(local: &Path) -> Result<Place> {
        let not_real = || Error::Config {
            why: format!("{} is not a real directory", local.display()),
            next: "put a real directory there, no link and no mount",
        };
        let (Some(parent), Some(name)) = (local.parent(), local.file_name()) else { return Err(not_real()) };
        std::fs::create_dir_all(parent).map_err(|error| Error::io("make the directory", parent, error))?;
        let parent = Dir::open(parent)?;
        let name = name.as_encoded_bytes().to_vec();
        let dev = parent.entry()?.dev;
        match parent.look(&name)? {
            None => {}
            Some(Entry { kind: Kind::Dir, dev: its, .. }) if its == dev => {}
            Some(_) => return Err(not_real()),
        }
        let aside = parent.make(ASIDE, 0o700)?;
        Ok(Place { parent, name, aside })
    }
}

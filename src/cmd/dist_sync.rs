//! `dist-sync`: a terminal reads a TM-DIST stick (SPEC 6). The stick is only ever mounted read-only.

use std::path::PathBuf;

use argh::FromArgs;
use log::{error, info, warn};
use serde_json::json;

use super::{Env, Report, each_of, open_stick};
use crate::dataset::publish::Compare;
use crate::dataset::receive::{self, How, Need, Place, Replaced};
use crate::dataset::room;
use crate::dataset::taken::{self, Age, Taken};
use crate::dataset::terminal::{self, Terminal};
use crate::dataset::{Dataset, meta};
use crate::error::{Error, Result};
use crate::exchange::plan::log_plan;
use crate::os::block::Block;
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::stick::control;
use crate::stick::role::Role;
use crate::tree::manifest::Header;
use crate::tree::same::Limits;
use crate::tree::stream::Stream;

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
    /// read every file of the stick, and compare contents even where size and time are the same
    #[argh(switch)]
    checksum: bool,
    /// take a stick that is older than what the terminal has
    #[argh(switch)]
    force: bool,
}

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
    terminal::check(&env.settings)?;
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
    let terminal = Terminal::open(&env.settings, args.dry_run)?;
    let run = Run { args, source, manifest: manifest.as_ref(), terminal: &terminal };
    let mut looked = Vec::new();
    let there = each_of(&Dataset::ALL, |dataset| {
        let seen = run.look(dataset, true)?;
        let there = seen.is_some();
        looked.extend(seen.map(|seen| (dataset, seen)));
        Ok(there)
    });
    if matches!(there, Err(Error::Interrupted)) {
        return Err(Error::Interrupted);
    }
    let worked = run.work(&looked, report);
    match (there, worked) {
        (Err(first), worked) => {
            worked.unwrap_or_else(|second| error!("{second}"));
            Err(first)
        }
        (Ok(0), Ok(())) => Err(Error::NoSource {
            why: "the stick has neither master/ nor docviewer/".to_owned(),
            next: "fill it at the server (plug it in there)",
        }),
        (Ok(_), worked) => worked,
    }
}

/// A run on a stick that is mounted and proven.
struct Run<'a> {
    args: &'a Args,
    source: &'a Source<'a>,
    manifest: Option<&'a Header>,
    terminal: &'a Terminal,
}

/// A dataset of the stick beside the terminal's.
struct Seen {
    stick: Dir,
    need: Need,
    /// The terminal has it already.
    equal: bool,
    /// What the terminal took last.
    had: Option<Taken>,
}

impl Run<'_> {
    fn how(&self) -> How {
        How { limits: self.source.limits, checksum: self.args.checksum, dry_run: self.args.dry_run }
    }

    /// The stick's manifest of a dataset from its start, if it has one.
    fn listed(&self, dataset: Dataset) -> Result<Option<Stream>> {
        match self.manifest {
            Some(header) if header.runs.contains_key(dataset.name()) => {
                control::manifest_files(self.source.root, dataset.prefix()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Looks at a dataset. `None`: the stick does not have it. Nothing is changed.
    fn look(&self, dataset: Dataset, first: bool) -> Result<Option<Seen>> {
        let (name, root) = (dataset.name(), self.source.root);
        let mut listed = self.listed(dataset)?;
        let stick = match root.look(name.as_bytes())? {
            Some(Entry { kind: Kind::Dir, .. }) => root.sub(name.as_bytes())?,
            None if listed.is_none() => None,
            _ => {
                let why = format!("the stick is not whole: {name} is no directory on it");
                return Err(Error::Refused { why, next: "fill it again at the server".to_owned() });
            }
        };
        let Some(stick) = stick else {
            warn!("{name}: not on the stick; the terminal keeps its own");
            return Ok(None);
        };
        if first && self.manifest.is_some() && listed.is_none() {
            warn!("{name}: not in the stick's manifest: it could not be checked");
        }
        let (live, had) = self.terminal.has(dataset)?;
        let need = receive::inspect(&stick, live.as_ref(), listed.as_mut(), self.how(), dataset)?;
        if need.on_stick == 0 && need.on_terminal > 0 {
            return Err(Error::NoSource {
                why: format!("{name}: empty on the stick, but not on the terminal"),
                next: "fill the stick again at the server",
            });
        }
        let same_files = need.files == 0 && need.deleted == 0 && live.is_some();
        let taken = Taken::from(self.manifest, dataset);
        let age = had.as_ref().filter(|_| need.on_terminal > 0).map_or(Age::Fine, |had| taken.age(had));
        // An older stick with the same files has nothing to give, not even its meta.json.
        let equal = same_files && (matches!(age, Age::Older(..)) || same_meta(&stick, live.as_ref())?);
        match age {
            Age::Older(time, had) if !equal => self.older(dataset, time, had)?,
            Age::Foreign => {
                let had = had.as_ref().map_or("", |had| &had.server);
                info!("{name}: the stick is the server {}'s; what the terminal has is {had}'s", taken.server);
            }
            _ => {}
        }
        Ok(Some(Seen { stick, need, equal, had }))
    }

    fn older(&self, dataset: Dataset, time: i64, had: i64) -> Result<()> {
        let name = dataset.name();
        let why = format!(
            "{name}: the stick is older than what the terminal has: it is {} export(s) behind",
            had.saturating_sub(time)
        );
        if self.args.force {
            warn!("{why}; taken all the same (--force)");
            return Ok(());
        }
        let next = "take a newer stick, or fill this one again at the server; --force takes it as it is".to_owned();
        Err(Error::Refused { why, next })
    }

    /// Makes the terminal what the stick is, once all of it has been looked at and fits.
    fn work(&self, looked: &[(Dataset, Seen)], report: &mut Report) -> Result<()> {
        self.room(looked.iter().map(|(_, seen)| seen))?;
        if self.args.dry_run {
            (self.source.check_read)()?;
            let compare = Compare::plain(self.source.limits, self.args.checksum);
            for (dataset, seen) in looked.iter().filter(|(_, seen)| !seen.equal) {
                let (live, _) = self.terminal.has(*dataset)?;
                log_plan(*dataset, Some(&seen.stick), live.as_ref(), "terminal", &compare)?;
            }
            return Ok(());
        }
        let datasets: Vec<Dataset> = looked.iter().map(|(dataset, _)| *dataset).collect();
        let seen = |dataset| looked.iter().find(|(its, _)| *its == dataset).map(|(_, seen)| seen);
        each_of(&datasets, |dataset| match seen(dataset) {
            Some(seen) => self.one(dataset, seen, report).map(|()| true),
            None => Ok(false),
        })
        .map(drop)
    }

    fn room<'s>(&self, looked: impl IntoIterator<Item = &'s Seen>) -> Result<()> {
        let needs: Vec<Need> = looked.into_iter().filter(|seen| !seen.equal).map(|seen| seen.need).collect();
        match &self.terminal.on {
            Some(on) if !needs.is_empty() => room::on_terminal(on, &needs),
            _ => Ok(()),
        }
    }

    /// Works on one dataset. What was edited on the terminal since it was looked at is looked at anew.
    fn one(&self, dataset: Dataset, seen: &Seen, report: &mut Report) -> Result<()> {
        let Some(place) = self.terminal.place(dataset) else { return Ok(()) };
        let name = dataset.name();
        let mut anew = None;
        for _ in 0..3 {
            let seen = anew.as_ref().unwrap_or(seen);
            if self.replace(dataset, place, seen)? == Replaced::Done {
                let need = &seen.need;
                report.bytes = report.bytes.saturating_add(need.bytes);
                report.datasets.insert(
                    name.to_owned(),
                    json!({"outcome": if seen.equal { "nothing to do" } else { "synced" },
                        "copied": need.files, "deleted": need.deleted, "bytes": need.bytes}),
                );
                return Ok(());
            }
            warn!("{name}: edited on the terminal meanwhile: exchanged back");
            let Some(seen) = self.look(dataset, false)? else { return Ok(()) };
            self.room([&seen])?;
            anew = Some(seen);
        }
        Err(Error::Busy {
            why: format!("{name}: something keeps writing to it on the terminal"),
            next: "close the programs that save there and run it again",
        })
    }

    fn replace(&self, dataset: Dataset, place: &Place, seen: &Seen) -> Result<Replaced> {
        let (name, need) = (dataset.name(), &seen.need);
        let taken = Taken::from(self.manifest, dataset);
        if seen.equal {
            info!("{name}: nothing to do: equal contents");
            let inode = place.live()?.map(|live| live.entry()).transpose()?.map_or(0, |live| live.ino);
            if let Some(newer) = taken.renewed(seen.had.as_ref(), inode) {
                taken::note(&place.aside, dataset, &newer)?;
            }
            return Ok(Replaced::Done);
        }
        let mut progress = Progress::new(format!("{name}: from the stick"), need.bytes, need.files);
        let source = receive::Source {
            dataset,
            stick: &seen.stick,
            listed: self.listed(dataset)?,
            check_read: self.source.check_read,
        };
        let done = receive::replace(source, place, (need.fingerprint, taken), self.how(), &mut progress)?;
        if done == Replaced::Done {
            info!("{name}: {} file(s) copied ({} bytes), {} deleted", need.files, need.bytes, need.deleted);
        }
        Ok(done)
    }
}

fn same_meta(stick: &Dir, live: Option<&Dir>) -> Result<bool> {
    let on_terminal = match live {
        Some(live) => meta::bytes(live)?,
        None => None,
    };
    Ok(meta::bytes(stick)? == on_terminal)
}

//! `backup`: the newest snapshot as an archive on a TM-BACKUP stick, read back and verified before it counts (SPEC 7).

use std::io::BufWriter;
use std::path::PathBuf;

use argh::FromArgs;
use log::{info, warn};
use serde_json::json;

use super::{Env, Report, open_stick};
use crate::clock::DAY;
use crate::dataset::Dataset;
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::snapshot::archive::{self, Checked, Source, Written};
use crate::snapshot::generation::{self, Generation};
use crate::snapshot::shelf;
use crate::stick::chain::{Stick, WritableStick};
use crate::stick::role::Role;
use crate::text::{Bytes, Shown, hex};
use crate::tree::manifest::Header;

/// Write the newest snapshot to a TM-BACKUP stick.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "backup")]
pub struct Args {
    /// the stick's device, such as /dev/sda1; without it the one stick with the label is taken
    #[argh(option)]
    device: Option<PathBuf>,
    /// the directory of the snapshots
    #[argh(option)]
    snapshot_dir: Option<PathBuf>,
    /// archives that stay on the stick; 0 keeps all
    #[argh(option)]
    retention: Option<u32>,
    /// take a snapshot first if the newest is older than this, such as 24h
    #[argh(option, from_str_fn(hours))]
    fresh: Option<i64>,
    /// log what would be done and change nothing
    #[argh(switch)]
    pub dry_run: bool,
}

/// `24h`, in seconds.
fn hours(text: &str) -> std::result::Result<i64, String> {
    let number = text.strip_suffix('h').and_then(|number| number.parse::<i64>().ok());
    number
        .filter(|hours| (1..=10_000).contains(hours))
        .map(|hours| hours * 3600)
        .ok_or_else(|| "a number of hours, such as 24h".to_owned())
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; then the stick's archives are as they were.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("backup");
    let result = backup(args, env, &mut report);
    if !args.dry_run {
        report.end(env, result.as_ref().err());
    }
    let (name, size) = result?;
    info!("backup export completed archive={name} size={size} dry_run={}", u8::from(args.dry_run));
    Ok(())
}

/// What is to be written, and what is on the stick.
struct Work {
    snapshot: Generation,
    dir: Dir,
    /// The archive's name on the stick.
    name: String,
    /// Its largest possible size, bytes.
    estimate: u64,
    retention: u32,
}

fn backup(args: &Args, env: &Env, report: &mut Report) -> Result<(String, u64)> {
    let server = Server::open(&env.settings, args.dry_run)?;
    let stick = open_stick(args.device.as_deref(), Role::Backup, env, report)?;
    check_owner(&stick, &server)?;
    freshen(args, env, &server)?;
    let work = newest(args, env, &server)?;
    if args.dry_run {
        let planned = stick.check_writable().and_then(|()| plan(&work, &stick));
        return planned.and(stick.release()).map(|()| (work.name, work.estimate));
    }
    let stick = stick.writable()?;
    let belief = server.belief(env.clock)?;
    let size = export(&server, &work, stick, belief.believed)?;
    report.bytes = size;
    report
        .datasets
        .insert("archive".to_owned(), json!({"outcome": "written and verified", "name": work.name, "bytes": size}));
    Ok((work.name, size))
}

/// A stick that another server wrote stays as it is until it is restored from or adopted.
fn check_owner(stick: &Stick, server: &Server) -> Result<()> {
    match stick.server()? {
        Some(id) if id != server.id => Err(Error::Refused {
            why: format!("the stick holds backups of another server ({})", Shown(id.as_bytes())),
            next: "restore from it, or make it this server's with \"toolmaster stick adopt\"".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Takes a snapshot first if the newest is too old (`--fresh`); by hand only says how old it is.
fn freshen(args: &Args, env: &Env, server: &Server) -> Result<()> {
    let Some(root) = server.snapshots(&snapshot_dir(args, env))? else { return Ok(()) };
    let newest = generation::list(&root)?.pop();
    let taken = newest
        .as_ref()
        .and_then(|newest| newest.header.as_ref()?.taken.or_else(|| env.clock.of_dir_name(&newest.name)));
    let age = taken.map(|taken| env.clock.now().saturating_sub(taken));
    match (age, args.fresh) {
        (Some(age), Some(fresh)) if age <= fresh => Ok(()),
        (_, Some(_)) if args.dry_run => {
            info!("plan: take a snapshot first");
            Ok(())
        }
        (_, Some(_)) => {
            if let Err(error) = super::snapshot::run(&super::snapshot::Args::for_backup(snapshot_dir(args, env)), env) {
                warn!("{error}");
                warn!("no fresh snapshot could be taken: the newest one is backed up");
            }
            Ok(())
        }
        (Some(age), None) if age > DAY => {
            warn!("the newest snapshot is {} hours old", age / 3600);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn snapshot_dir(args: &Args, env: &Env) -> PathBuf {
    args.snapshot_dir.clone().unwrap_or_else(|| env.settings.snapshot_dir.clone())
}

fn newest(args: &Args, env: &Env, server: &Server) -> Result<Work> {
    let path = snapshot_dir(args, env);
    let none = || Error::NoSource {
        why: format!("there is no snapshot in {}", path.display()),
        next: "take one first: sudo tool-snapshot.sh",
    };
    let root = server.snapshots(&path)?.ok_or_else(none)?;
    let snapshot = generation::list(&root)?.pop().ok_or_else(none)?;
    let dir = snapshot.dir(&root)?;
    check_not_empty(&dir)?;
    let name = format!("{}_full.tar.zst", snapshot.name.get(..10).unwrap_or_default());
    let estimate = archive::estimate(&dir)?;
    let retention = args.retention.unwrap_or(env.settings.backup_retention);
    Ok(Work { snapshot, dir, name, estimate, retention })
}

/// A server with neither data nor tables has nothing to back up; its archive must not push out a good one.
fn check_not_empty(snapshot: &Dir) -> Result<()> {
    for dataset in Dataset::ALL {
        if let Some(dir) = snapshot.sub(dataset.name().as_bytes())?
            && generation::has_files(&dir)?
        {
            return Ok(());
        }
    }
    if shelf::dump_has_tables(snapshot)? {
        return Ok(());
    }
    Err(Error::NoSource {
        why: "the newest snapshot holds neither files nor tables".to_owned(),
        next: "take the data in first; the stick is as it was",
    })
}

fn plan(work: &Work, stick: &Stick) -> Result<()> {
    info!("plan: write snapshot {} as {} (at most {})", work.snapshot.name, work.name, Bytes(work.estimate));
    shelf::check_room(stick.root(), work.estimate, stick.limits(), 0)?;
    for name in shelf::surplus(stick.root(), &work.name, work.retention)? {
        info!("plan: remove {name} from the stick");
    }
    Ok(())
}

fn export(server: &Server, work: &Work, stick: WritableStick, believed: bool) -> Result<u64> {
    if let Some(size) = same_archive(work, stick.stick())? {
        info!("{} is on the stick already, and sound", work.name);
        stick.release()?;
        return Ok(size);
    }
    make_room(work, &stick, believed)?;
    let written = match write(work, &stick) {
        Ok(written) => written,
        Err(error) => return Err(give_up(stick, error)),
    };
    // What counts is what the medium holds, not what memory holds.
    let stick = stick.afresh()?;
    if let Err(error) = stick.written_temp().and_then(|temp| verify(&temp, ARCHIVE, work)) {
        return Err(give_up(stick, error));
    }
    let named = name_it(work, &stick, &written).and_then(|()| {
        stick.set_server(&server.id)?;
        let surplus =
            if believed { shelf::surplus(stick.stick().root(), &work.name, work.retention)? } else { Vec::new() };
        for name in surplus {
            shelf::remove(stick.stick().root(), &name)?;
            info!("{name} removed from the stick: more than {} archives", work.retention);
        }
        stick.end_temp()
    });
    named.and(stick.release()).map(|()| written.bytes)
}

/// Takes away what was begun; the archives that were there are as they were.
fn give_up(stick: WritableStick, error: Error) -> Error {
    if let Err(more) = stick.end_temp().and(stick.release()) {
        warn!("{more}");
    }
    error
}

const ARCHIVE: &[u8] = b"archive";

/// The size of the archive of that name if it is of this very snapshot and sound.
fn same_archive(work: &Work, stick: &Stick) -> Result<Option<u64>> {
    let Some((_, entry)) = stick.root().read_if_there(work.name.as_bytes())? else { return Ok(None) };
    match verify(stick.root(), work.name.as_bytes(), work) {
        Ok(()) => Ok(Some(entry.size)),
        Err(error) => {
            info!("{} on the stick is written anew: {error}", work.name);
            Ok(None)
        }
    }
}

/// Reads an archive as a whole and holds it against its own manifest, and that against the snapshot's.
fn verify(dir: &Dir, name: &[u8], work: &Work) -> Result<()> {
    let (file, entry) = dir.read(name)?;
    let mut progress = Progress::new(format!("{}: reading it back", work.name), entry.size, 0);
    let Checked { manifest, .. } = archive::read(file, whole(&dir.shown(name)), &mut progress)?;
    let id = |header: &Option<Header>| header.as_ref().map(|header| (header.server.clone(), header.seq));
    if id(&manifest) == id(&work.snapshot.header) {
        return Ok(());
    }
    Err(Error::Failed { why: format!("{} is of another snapshot", dir.shown(name)), next: "run it again" })
}

/// To be read from end to end, written nowhere.
fn whole(shown: &str) -> Source<'_> {
    Source { shown, sha256: None, target: None, only: None }
}

/// If only archives beyond the retention are in the way, they go first, once the newest that stays is verified.
fn make_room(work: &Work, stick: &WritableStick, believed: bool) -> Result<()> {
    let root = stick.stick().root();
    let limits = stick.stick().limits();
    let Err(error) = shelf::check_room(root, work.estimate, limits, 0) else { return Ok(()) };
    let surplus = if believed { shelf::surplus(root, &work.name, work.retention)? } else { Vec::new() };
    let freed = shelf::size_of(root, &surplus)?;
    let Some(newest) = shelf::newest(root)?.filter(|_| freed > 0) else { return Err(error) };
    shelf::check_room(root, work.estimate, limits, freed)?;
    let (file, entry) = root.read(newest.as_bytes())?;
    let mut progress = Progress::new(format!("{newest}: verifying it"), entry.size, 0);
    archive::read(file, whole(&newest), &mut progress)?;
    for name in surplus {
        shelf::remove(root, &name)?;
        info!("{name} removed from the stick to make room; {newest} is sound");
    }
    root.sync_all()
}

fn write(work: &Work, stick: &WritableStick) -> Result<Written> {
    let temp = stick.temp()?;
    let file = temp.create(ARCHIVE, 0o644)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut progress = Progress::new(format!("{}: writing it", work.name), work.estimate, 0);
    let written = archive::write(&work.dir, &work.snapshot.name, &mut out, &mut progress)?;
    let fail = |error| Error::io("write", &temp.path_of(ARCHIVE), error);
    out.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all()).map_err(fail)?;
    Ok(written)
}

/// Gives the verified archive its name, with its checksum beside it.
fn name_it(work: &Work, stick: &WritableStick, written: &Written) -> Result<()> {
    let root = stick.stick().root();
    let temp = stick.written_temp()?;
    let checksum = format!("{}  {}\n", hex(&written.sha256), work.name);
    let sums = format!("{}.sha256", work.name);
    // An older archive's checksum goes first, so that no crash leaves one that belies the archive beside it.
    root.remove(sums.as_bytes())?;
    if let Some(Entry { kind: Kind::Dir, .. }) = root.look(work.name.as_bytes())? {
        return Err(Error::Refused {
            why: format!("{} on the stick is a directory", work.name),
            next: "remove it on a PC".to_owned(),
        });
    }
    temp.rename(ARCHIVE, root, work.name.as_bytes())?;
    root.sync()?;
    stick.set_file(&temp, root, sums.as_bytes(), checksum.as_bytes())
}

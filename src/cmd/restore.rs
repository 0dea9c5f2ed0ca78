//! `restore`: a backup or a snapshot comes back, verified while it is extracted (SPEC 7).

mod list;
mod target;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::{info, warn};

use self::target::Target;
use super::{Env, Report, open_stick};
use crate::database::load::{self, Source as DumpSource};
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::flow::Once;
use crate::os::progress::Progress;
use crate::settings::pg_uri::PgUri;
use crate::snapshot::archive::{self, Checked, Pattern, Source};
use crate::snapshot::generation::MANIFEST;
use crate::snapshot::{rot, shelf, unproven};
use crate::stick::role::Role;
use crate::text::{Bytes, Shown};

/// Bring back a backup or a snapshot, whole or in part.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "restore")]
pub struct Args {
    /// a TM-BACKUP stick: its newest archive
    #[argh(option)]
    device: Option<PathBuf>,
    /// an archive file; together with --device its name on the stick
    #[argh(option)]
    archive: Option<PathBuf>,
    /// a snapshot's directory, or its name in the list
    #[argh(option)]
    snapshot: Option<PathBuf>,
    /// the new or empty directory that gets the files
    #[argh(option)]
    dest: Option<PathBuf>,
    /// load the dump into this empty database, postgresql://user:password@host:port/name
    #[argh(option)]
    pg_uri: Option<String>,
    /// only this file or directory with all in it; or a pattern with * and ?, such as '*.pdf'
    #[argh(option)]
    only: Option<String>,
    /// with --list: show the files that this path or pattern takes
    #[argh(positional)]
    files: Option<String>,
    /// say which snapshots there are on this server, with --device which archives on the stick, and what is in them
    #[argh(switch)]
    list: bool,
    /// print the list as JSON
    #[argh(switch)]
    json: bool,
    /// read and verify everything, write nothing
    #[argh(switch)]
    check: bool,
}

impl Args {
    /// Whether it only looks: then nothing is logged in files.
    pub fn looks_only(&self) -> bool {
        self.check || self.list
    }
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; nothing in the destination looks restored then.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("restore");
    match (args.list, args.files.is_some() || args.json) {
        (true, _) => return list::list(args, env, &mut report),
        (false, true) => {
            return Err(Error::Usage("a file's name and --json go with --list; to restore a file: --only".to_owned()));
        }
        (false, false) => {}
    }
    let result = restore(args, env, &mut report);
    if !args.check {
        report.end(env, result.as_ref().err());
    }
    let checked = result?;
    if !checked.is_proven() {
        warn!("it has no manifest (the original system made it): it could not be checked");
    }
    let (files, content) = (checked.files, Bytes(checked.content));
    match &args.dest {
        Some(dest) if args.only.is_some() => {
            let written = checked.written;
            info!("restore completed dest={} files={written} (of {files} that were read)", dest.display());
        }
        Some(dest) => info!("restore completed dest={} files={files} ({content})", dest.display()),
        None if !checked.is_proven() => {
            info!("restore check completed files={files} ({content}): all of it can be read")
        }
        None => info!("restore check completed files={files} ({content}): all of it is sound"),
    }
    Ok(())
}

fn restore(args: &Args, env: &Env, report: &mut Report) -> Result<Checked> {
    let source = source(args)?;
    let target = Target::new(args, env)?;
    let mut owner = None;
    let checked = match bring(args, env, source, target.as_ref(), &mut owner, report) {
        Ok(checked) => checked,
        Err(error) => {
            target.iter().for_each(Target::give_up);
            return Err(error);
        }
    };
    report.bytes = checked.content;
    let Some(target) = target else { return Ok(checked) };
    target.finish()?;
    if let (Some(owner), Some((_, uuid)), None) = (&owner, &report.stick, &args.only)
        && let Err(error) = take_over(owner, uuid, env)
    {
        warn!("{error}");
    }
    Ok(checked)
}

/// What is read.
enum From<'a> {
    /// A stick: the archive of that name, or the newest.
    Stick(&'a Path, Option<&'a Path>),
    Archive(&'a Path),
    Snapshot(&'a Path),
}

fn source(args: &Args) -> Result<From<'_>> {
    match (&args.device, &args.archive, &args.snapshot) {
        (Some(device), archive, None) => Ok(From::Stick(device, archive.as_deref())),
        (None, Some(archive), None) => Ok(From::Archive(archive)),
        (None, None, Some(snapshot)) => Ok(From::Snapshot(snapshot)),
        _ => Err(Error::Usage("name one of --device, --archive and --snapshot".to_owned())),
    }
}

/// Reads it all, and with a target brings it there, durably, the database last. `owner`: whose the stick is.
fn bring(
    args: &Args,
    env: &Env,
    source: From<'_>,
    target: Option<&Target>,
    owner: &mut Option<String>,
    report: &mut Report,
) -> Result<Checked> {
    let into = target.map(|target| &target.unfinished);
    let checked = match source {
        From::Stick(device, archive) => {
            let (checked, server) = from_stick(args, env, device, archive, into, report)?;
            *owner = server;
            checked
        }
        From::Archive(archive) => {
            let file = File::open(archive).map_err(|error| Error::io("open", archive, error))?;
            read(args, Once::new(file), archive, checksum_beside(archive)?, into)?
        }
        From::Snapshot(snapshot) => from_snapshot(args, env, &named(snapshot, env), into)?,
    };
    if let Some(target) = target {
        target.unfinished.sync_all()?;
        if let Some(uri) = &target.database {
            load_dump(&target.unfinished, uri, target.again)?;
        }
    }
    Ok(checked)
}

fn read(
    args: &Args,
    input: impl Read + Send + 'static,
    shown: &Path,
    sha256: Option<[u8; 32]>,
    into: Option<&Dir>,
) -> Result<Checked> {
    let shown = Shown(shown.as_os_str().as_encoded_bytes()).to_string();
    let mut progress = Progress::new(shown.clone(), 0, 0);
    let only = args.only.as_deref().map(Pattern::new);
    archive::read(input, Source { shown: &shown, sha256, target: into, only: only.as_ref() }, &mut progress)
}

/// What the file beside an archive says of it, wherever the archive lies.
fn checksum_beside(archive: &Path) -> Result<Option<[u8; 32]>> {
    let path = archive.canonicalize().map_err(|error| Error::io("open", archive, error))?;
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(dir), Some(name)) => shelf::checksum(&Dir::open(dir)?, name),
        _ => Ok(None),
    }
}

/// Also says whose the stick is.
fn from_stick(
    args: &Args,
    env: &Env,
    device: &Path,
    archive: Option<&Path>,
    into: Option<&Dir>,
    report: &mut Report,
) -> Result<(Checked, Option<String>)> {
    let stick = open_stick(Some(device), Role::Backup, env, report)?;
    let work = || {
        let root = stick.root();
        let name = match archive {
            Some(name) => name.to_string_lossy().into_owned(),
            None => shelf::newest(root)?.ok_or_else(|| Error::NoSource {
                why: "there is no archive on the stick".to_owned(),
                next: "plug in one with a backup on it",
            })?,
        };
        if name.contains('/') {
            return Err(Error::Usage("with --device, --archive is a name on the stick".to_owned()));
        }
        info!("reading {name}");
        let sha256 = shelf::checksum(root, &name)?;
        let (file, _) = root.read(name.as_bytes())?;
        read(args, file, &root.path_of(name.as_bytes()), sha256, into)
    };
    let done = work().map(|checked| (checked, stick.server().ok().flatten()));
    let released = stick.release();
    done.and_then(|done| released.map(|()| done))
}

/// A stick of another server, such as the one that this one replaces, takes our backups once all of it is here. Where
/// no server is, there is nothing to note.
fn take_over(owner: &str, uuid: &str, env: &Env) -> Result<()> {
    if !env.settings.server_root.exists() {
        return Ok(());
    }
    let server = Server::open(&env.settings, false)?;
    if owner != server.id {
        server.note_restored(uuid)?;
        info!("the stick was another server's ({}): from now on it takes this one's backups", Shown(owner.as_bytes()));
    }
    Ok(())
}

/// A bare name is one of this server's snapshots, as the list has it.
fn named(snapshot: &Path, env: &Env) -> PathBuf {
    let ours = env.settings.snapshot_root.join(snapshot);
    let is_name = snapshot.parent() == Some(Path::new("")) && !snapshot.exists() && ours.is_dir();
    if is_name { ours } else { snapshot.to_owned() }
}

/// A snapshot takes the same way as an archive of it, without lying anywhere in between: one piece of code proves both.
fn from_snapshot(args: &Args, env: &Env, snapshot: &Path, into: Option<&Dir>) -> Result<Checked> {
    // `latest` is a link.
    let path = snapshot.canonicalize().map_err(|error| Error::io("open", snapshot, error))?;
    let dir = Dir::open(&path)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (reader, mut writer) = std::io::pipe().map_err(|error| Error::io("make", Path::new("a pipe"), error))?;
    let written = std::thread::spawn(move || {
        let mut progress = Progress::new(name.clone(), 0, 0);
        let manifest = unproven::manifest_of(&dir, "")?;
        archive::write_listed(&dir, &manifest, &name, &mut writer, &mut progress)?;
        writer.flush().map_err(|error| Error::io("write to", Path::new("a pipe"), error))
    });
    let checked = read(args, reader, &path, None, into);
    let written = written.join().unwrap_or_else(|_| {
        Err(Error::Failed { why: "reading the snapshot ended early".to_owned(), next: "run it again" })
    });
    // If the snapshot itself is at fault, that says more than the archive that was cut off by it.
    let done = match written {
        Err(error @ (Error::Refused { .. } | Error::Unreadable { .. })) => Err(error),
        written => checked.and_then(|checked| written.map(|()| checked)),
    };
    if let Err(Error::Refused { .. } | Error::Unreadable { .. }) = done
        && let Err(more) = note_rotten(env, &path)
    {
        warn!("{more}");
    }
    done
}

/// Notes what is rotten in one of this server's snapshots, so that the next one does not share it on.
fn note_rotten(env: &Env, snapshot: &Path) -> Result<()> {
    let is_root = |root: &&std::path::PathBuf| root.canonicalize().is_ok_and(|root| snapshot.parent() == Some(&root));
    if ![&env.settings.snapshot_root, &env.settings.snapshot_dir].iter().any(is_root) {
        return Ok(());
    }
    let server = Server::open(&env.settings, false)?;
    let Some(state) = &server.state else { return Ok(()) };
    let mut progress = Progress::new("looking for the fault".to_owned(), 0, 0);
    match rot::examine(&Dir::open(snapshot)?, Some(state), &mut progress) {
        Err(Error::Failed { .. }) => Ok(()),
        examined => examined,
    }
}

/// `again`: a run that was cut off may have loaded it already; it is then left as it is.
fn load_dump(dir: &Dir, uri: &PgUri, again: bool) -> Result<()> {
    let source = DumpSource::of(dir, MANIFEST)?.ok_or_else(|| Error::NoSource {
        why: "there is no db/pg_dump.sql in it".to_owned(),
        next: "leave --pg-uri out; the files can be restored",
    })?;
    if again && load::holds(uri, &source)? {
        info!("database {}: a run that was cut off had loaded it", uri.database());
        return Ok(());
    }
    let found = load::load(uri, &source, |_| Ok(()))?;
    info!("database {}: {} table(s), {} row(s)", uri.database(), found.tables(), found.rows());
    Ok(())
}

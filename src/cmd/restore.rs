//! `restore`: a backup or a snapshot comes back, verified while it is extracted (SPEC 7).

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;
use log::{info, warn};

use super::{Env, Report, open_stick};
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::progress::Progress;
use crate::settings::pg_uri::PgUri;
use crate::snapshot::archive::{self, Checked, Source};
use crate::snapshot::{client, dump, load, shelf};
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
    /// a snapshot's directory
    #[argh(option)]
    snapshot: Option<PathBuf>,
    /// the new or empty directory that gets the files
    #[argh(option)]
    dest: Option<PathBuf>,
    /// load the dump into this empty database, postgresql://user:password@host:port/name
    #[argh(option)]
    pg_uri: Option<String>,
    /// only this file, or this directory with all in it, such as master
    #[argh(option)]
    only: Option<String>,
    /// read and verify everything, write nothing
    #[argh(switch)]
    pub check: bool,
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; what lies in the destination then is sound, file by file, but not all there is.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("restore");
    let result = restore(args, env, &mut report);
    if !args.check {
        report.end(env, result.as_ref().err());
    }
    let checked = result?;
    if checked.manifest.is_none() {
        warn!("it has no manifest (the original system made it): it could not be checked");
    }
    let (files, content) = (checked.files, Bytes(checked.content));
    match &args.dest {
        Some(dest) => info!("restore completed dest={} files={files} ({content})", dest.display()),
        None => info!("restore check completed files={files} ({content}): all of it is sound"),
    }
    Ok(())
}

/// Where it comes back to.
struct Target {
    dir: Option<Dir>,
    database: Option<PgUri>,
}

fn restore(args: &Args, env: &Env, report: &mut Report) -> Result<Checked> {
    let target = target(args, env)?;
    let mut owner = None;
    let checked = match (&args.device, &args.archive, &args.snapshot) {
        (Some(device), archive, None) => {
            let (checked, server) = from_stick(args, env, device, archive.as_deref(), &target, report)?;
            owner = server;
            checked
        }
        (None, Some(archive), None) => {
            let file = File::open(archive).map_err(|error| Error::io("open", archive, error))?;
            read(args, file, archive, checksum_beside(archive)?, &target)?
        }
        (None, None, Some(snapshot)) => from_snapshot(args, snapshot, &target)?,
        _ => return Err(Error::Usage("name one of --device, --archive and --snapshot".to_owned())),
    };
    report.bytes = checked.content;
    if let Some(dir) = &target.dir {
        dir.sync_all()?;
        if let Some(uri) = &target.database {
            load_dump(dir, uri)?;
        }
        if let (Some(owner), Some((_, uuid)), None) = (&owner, &report.stick, &args.only)
            && let Err(error) = take_over(owner, uuid, env)
        {
            warn!("{error}");
        }
    }
    Ok(checked)
}

/// The destination must be empty, and so must the database, before anything is read.
fn target(args: &Args, env: &Env) -> Result<Target> {
    let dest = match (&args.dest, args.check) {
        (None, true) if args.pg_uri.is_none() => return Ok(Target { dir: None, database: None }),
        (_, true) => {
            return Err(Error::Usage("--check writes nothing: it goes without --dest and --pg-uri".to_owned()));
        }
        (None, false) => return Err(Error::Usage("--dest is missing (or --check)".to_owned())),
        (Some(dest), false) => dest,
    };
    let database = match &args.pg_uri {
        Some(text) => Some(client::database(&env.settings, Some(text))?),
        None => None,
    };
    if let Some(uri) = &database
        && !load::is_empty(uri)?
    {
        return Err(Error::Refused {
            why: format!("the database {} is not empty", uri.database()),
            next: "name an empty one, such as a new one made with createdb".to_owned(),
        });
    }
    match std::fs::create_dir(dest) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("make the directory", dest, error));
        }
        _ => {}
    }
    let dir = Dir::open(dest)?;
    if dir.names()?.is_empty() {
        return Ok(Target { dir: Some(dir), database });
    }
    Err(Error::Refused {
        why: format!("{} is not empty", dest.display()),
        next: "name a new or an empty directory".to_owned(),
    })
}

fn read(
    args: &Args,
    input: impl Read + Send + 'static,
    shown: &Path,
    sha256: Option<[u8; 32]>,
    target: &Target,
) -> Result<Checked> {
    let shown = Shown(shown.as_os_str().as_encoded_bytes()).to_string();
    let mut progress = Progress::new(shown.clone(), 0, 0);
    let only = args.only.as_deref().map(|only| only.trim_matches('/').as_bytes());
    archive::read(input, Source { shown: &shown, sha256, target: target.dir.as_ref(), only }, &mut progress)
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
    target: &Target,
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
        read(args, file, &root.path_of(name.as_bytes()), sha256, target)
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

/// A snapshot takes the same way as an archive of it, without lying anywhere in between: one piece of code proves both.
fn from_snapshot(args: &Args, snapshot: &Path, target: &Target) -> Result<Checked> {
    // `latest` is a link.
    let path = snapshot.canonicalize().map_err(|error| Error::io("open", snapshot, error))?;
    let dir = Dir::open(&path)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (reader, mut writer) = std::io::pipe().map_err(|error| Error::io("make", Path::new("a pipe"), error))?;
    let written = std::thread::spawn(move || {
        let mut progress = Progress::new(name.clone(), 0, 0);
        archive::write(&dir, &name, &mut writer, &mut progress)?;
        writer.flush().map_err(|error| Error::io("write to", Path::new("a pipe"), error))
    });
    let checked = read(args, reader, &path, None, target);
    let written = written.join().unwrap_or_else(|_| {
        Err(Error::Failed { why: "reading the snapshot ended early".to_owned(), next: "run it again" })
    });
    // If the snapshot itself is at fault, that says more than the archive that was cut off by it.
    match written {
        Err(error @ (Error::Refused { .. } | Error::Unreadable { .. })) => Err(error),
        written => checked.and_then(|checked| written.map(|()| checked)),
    }
}

fn load_dump(dir: &Dir, uri: &PgUri) -> Result<()> {
    const NAME: &[u8] = b"pg_dump.sql";
    let db = dir.sub(b"db")?.ok_or_else(|| Error::NoSource {
        why: "there is no db/pg_dump.sql in it".to_owned(),
        next: "leave --pg-uri out; the files are restored",
    })?;
    let (file, _) = db.read(NAME)?;
    let contents = load::load(uri, file, &db.shown(NAME), dump::LIMIT)?;
    info!("database {}: {} table(s), {} row(s)", uri.database(), contents.tables.len(), contents.rows());
    Ok(())
}

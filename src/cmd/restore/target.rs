//! Where a restore brings things to. They come to a directory of their own inside the destination and move to their names
//! there once all of it is whole and durable, so that a run that is cut off leaves nothing that looks restored, and the
//! next one begins anew in the same place.

use std::path::{Path, PathBuf};

use log::warn;

use super::Args;
use crate::cmd::Env;
use crate::database::{counts, own};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::settings::pg_uri::PgUri;
use crate::snapshot::generation::MANIFEST;
use crate::tree::remove;

/// What is being restored lies in it.
const UNFINISHED: &[u8] = b".toolmaster-restore";
/// What a snapshot has at its top: the only names that a run which was cut off while it moved them may have left.
const TOP: [&[u8]; 5] = [MANIFEST, b"db", b"docviewer", b"master", b"settings"];

/// The destination.
pub struct Target {
    dest: Dir,
    /// Where things lie until all of them are there.
    pub unfinished: Dir,
    /// The database that gets the dump.
    pub database: Option<PgUri>,
    /// A run was cut off here.
    pub again: bool,
}

impl Target {
    /// The destination must be empty, but for what a run that was cut off left there; and so must the database, before
    /// anything is read. None: `--check` writes nothing.
    ///
    /// # Errors
    /// `Usage`, `Refused` if one of them is not empty, `Io`, those of the database.
    pub fn new(args: &Args, env: &Env) -> Result<Option<Target>> {
        let dest = match (&args.dest, args.check) {
            (None, true) if args.pg_uri.is_none() => return Ok(None),
            (_, true) => {
                return Err(Error::Usage("--check writes nothing: it goes without --dest and --pg-uri".to_owned()));
            }
            (None, false) => return Err(Error::Usage("--dest is missing (or --check)".to_owned())),
            (Some(dest), false) => dest,
        };
        let database = args.pg_uri.as_deref().map(|text| own::database(&env.settings, Some(text))).transpose()?;
        let again = Dir::open_if_there(dest)?.map(|dir| dir.look(UNFINISHED)).transpose()?.flatten().is_some();
        // A run that was cut off may have filled it already; that is found out once there is a dump to compare it with.
        if let Some(uri) = database.as_ref().filter(|_| !again)
            && !counts::is_empty(uri)?
        {
            return Err(Error::Refused {
                why: format!("the database {} is not empty", uri.database()),
                next: "name an empty one, such as a new one made with createdb".to_owned(),
            });
        }
        let (dest, unfinished) = open(dest, again)?;
        Ok(Some(Target { dest, unfinished, database, again }))
    }

    /// Moves all that was brought to its names, the manifest last. A crash in between leaves some of them; the next run
    /// brings them anew.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(self) -> Result<()> {
        let Target { dest, unfinished, .. } = self;
        let names = unfinished.names()?;
        let (last, first): (Vec<&[u8]>, Vec<&[u8]>) = names.iter().partition(|name| *name == MANIFEST);
        for name in first.into_iter().chain(last) {
            unfinished.rename_new(name, &dest, name)?;
        }
        dest.sync()?;
        dest.remove_dir(UNFINISHED)?;
        dest.sync()
    }

    /// After an error: says where the files are that came through, since of a damaged archive they may be all there is.
    pub fn give_up(&self) {
        if !self.dest.remove_dir(UNFINISHED).is_ok_and(|removed| removed) {
            let place = self.unfinished.path().display();
            warn!("what came through by then is in {place}, each file sound; the next run removes it");
        }
    }
}

fn open(path: &Path, again: bool) -> Result<(Dir, Dir)> {
    if let Some(snapshot) = snapshot_around(path) {
        return Err(Error::Refused {
            why: format!("{} lies in a snapshot, {}", path.display(), snapshot.display()),
            next: "name a directory elsewhere; a snapshot stays as it was taken".to_owned(),
        });
    }
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("make the directory", path, error));
        }
        _ => {}
    }
    let dest = Dir::open(path)?;
    let ours = |name: &[u8]| again && (name == UNFINISHED || TOP.contains(&name));
    if !dest.names()?.iter().all(ours) {
        return Err(Error::Refused {
            why: format!("{} is not empty", path.display()),
            next: "name a new or an empty directory".to_owned(),
        });
    }
    // The mark goes last, and the manifest, which says that all is there, first.
    for name in TOP.into_iter().chain([UNFINISHED]) {
        remove::tree(&dest, name)?;
    }
    let unfinished = dest.make(UNFINISHED, 0o700)?;
    Ok((dest, unfinished))
}

/// The snapshot that a path lies in, if it does: what is restored into one makes it another.
fn snapshot_around(path: &Path) -> Option<PathBuf> {
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(_) => path.parent()?.canonicalize().ok()?,
    };
    let is_snapshot = |dir: &&Path| {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        crate::clock::parse_dir_name(name).is_some() && dir.join("db").join("pg_dump.sql").exists()
    };
    real.ancestors().find(is_snapshot).map(Path::to_owned)
}

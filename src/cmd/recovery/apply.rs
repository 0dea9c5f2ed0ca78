//! Puts what is staged in its place: the datasets and the clock's record, the settings, the database, the server's id. It needs no
//! stick, and each step can be done again.

use log::{info, warn};

use super::held::{self, holds};
use super::settings;
use super::{AGAIN, Failure, Phase, Place, Record};
use crate::cmd::Env;
use crate::database::client::Client;
use crate::database::{counts, load, own};
use crate::dataset::Dataset;
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Kind, set_owner_mode};
use crate::settings::pg_uri::PgUri;
use crate::snapshot::generation::{self, MANIFEST};
use crate::tree::walk::{Step, Walk};

/// Finishes a recovery that was staged, whoever runs it; nothing to do if all is in its place already. `no_database`: the operator
/// gives up on the dump, and it ends without.
///
/// # Errors
/// `NoSource` if none was begun; `Refused` if the server has come to hold data, `Failed` if that can't be put in its place which follows
/// the datasets; `Io`.
pub fn apply(env: &Env, no_database: bool) -> Result<Record> {
    let none = || Error::NoSource {
        why: "no recovery has been begun on this server".to_owned(),
        next: "plug in a TM-BACKUP stick with a file RESTORE on it",
    };
    let server = Server::open(&env.settings, false)?;
    let _lock = super::lock(&server)?;
    let (place, mut record) = super::under_way(&server)?.ok_or_else(none)?;
    if record.phase == Phase::Applied {
        return Ok(record);
    }
    // No snapshot is taken of what is half there. A snapshot locks in this order too.
    let _snapshots = server.lock_snapshots()?;
    let _datasets = [server.lock(Dataset::Master)?, server.lock(Dataset::Docviewer)?];
    record.failed = None;
    place.save(&record)?;
    let done = put_in_place(env, &server, &place, &mut record, no_database);
    if let Err(error) = &done {
        record.failed = Some(Failure::of(error));
        if let Err(more) = place.save(&record) {
            warn!("{more}");
        }
    }
    done.map(|()| record)
}

/// An operator has made anew what was left out of the database, or does without it.
///
/// # Errors
/// `NoSource` if nothing was left out, `Refused` while a recovery is half done; `Io`, `Busy`.
pub fn accept_left_out(env: &Env) -> Result<()> {
    let server = Server::open(&env.settings, false)?;
    let _lock = super::lock(&server)?;
    // What it will leave out stands there before it is in its place.
    if super::half_done(&server)?.is_some() {
        return Err(Error::Refused {
            why: "a recovery is half done".to_owned(),
            next: "let it come to its end first: sudo toolmaster recover".to_owned(),
        });
    }
    if server.left_out()?.is_empty() {
        return Err(Error::NoSource {
            why: "no recovery has left anything out of the database".to_owned(),
            next: "nothing is to be done",
        });
    }
    server.note_left_out(&[])
}

fn put_in_place(env: &Env, server: &Server, place: &Place, record: &mut Record, no_database: bool) -> Result<()> {
    let staged = place.staged()?;
    if record.phase == Phase::Staged {
        held::files(server)?;
        check_database(env, &staged, no_database)?;
        record.phase = Phase::Placing;
        place.save(record)?;
    }
    if record.phase == Phase::Placing {
        for dataset in Dataset::ALL {
            if let Some(ino) = record.inodes.get(dataset.name()) {
                put_dataset(server, &staged, dataset, *ino)?;
            }
        }
        // A later clock than this is not asked for, an earlier one is not believed.
        if let Some(taken) = record.taken {
            server.note_seen(taken)?;
        }
        // The numbers of its snapshots are used: sticks have archives of them.
        if let Some(number) = generation::header(&staged)?.and_then(|header| header.seq) {
            server.raise_snapshot_number(number)?;
        }
        record.phase = Phase::Placed;
        place.save(record)?;
    }
    // Each is tried, whatever became of the other.
    let settings = settings::bring_back(env, &staged);
    let database = if no_database {
        warn!("the database stays as it is: the recovery ends without it, as you asked");
        Ok(())
    } else {
        load_database(env, server, &staged, record)
    };
    for (what, done) in [("the settings", settings), ("the database", database)] {
        done.map_err(|error| missing(what, error))?;
    }
    if let Some(id) = &record.server {
        server.set_id(id)?;
        info!("this server is {id} now");
    }
    record.phase = Phase::Applied;
    place.save(record)
}

/// The datasets are in their places, something else is not.
fn missing(what: &str, error: Error) -> Error {
    if matches!(error, Error::Interrupted) {
        return error;
    }
    let said = error.to_string();
    let (why, next) = said.split_once(" -> ").unwrap_or((&said, ""));
    let why = why.strip_prefix(held::HOLDS).unwrap_or(why);
    let why = format!("master and docviewer are in their place, but {what} is still missing: {why} ({next})");
    Error::Failed { why, next: AGAIN }
}

/// Refuses a database that holds something, as long as nothing is in its place. One that does not answer keeps the datasets from nobody.
fn check_database(env: &Env, staged: &Dir, no_database: bool) -> Result<()> {
    if no_database || load::Source::of(staged, MANIFEST)?.is_none() {
        return Ok(());
    }
    match own::database(&env.settings, None).and_then(|uri| is_empty(&uri).map(|empty| (empty, uri))) {
        Ok((false, uri)) => Err(holds(&format!("the database {} is not empty", uri.database()))),
        Ok((true, _)) => Ok(()),
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(error) => {
            warn!("the datasets come first, the database does not answer: {error}");
            Ok(())
        }
    }
}

/// At the first start the database may take its time.
fn is_empty(uri: &PgUri) -> Result<bool> {
    if std::env::var_os("INVOCATION_ID").is_some() {
        Client::psql(uri)?.wait()?;
    }
    counts::is_empty(uri)
}

/// Loads the dump, whole or not at all. A run that was cut off after that finds it there.
fn load_database(env: &Env, server: &Server, staged: &Dir, record: &mut Record) -> Result<()> {
    let Some(source) = load::Source::of(staged, MANIFEST)? else {
        warn!("the archive holds no db/pg_dump.sql: the database stays as it is");
        return Ok(());
    };
    let uri = own::database(&env.settings, None)?;
    if !is_empty(&uri)? {
        if !load::holds(&uri, &source)? {
            return Err(holds(&format!("the database {} is not empty", uri.database())));
        }
        info!("database {}: a run that was cut off had loaded it", uri.database());
        // Of a person's load nobody has noted it.
        if server.left_out()?.is_empty() {
            server.note_left_out(&load::left_out(&source)?)?;
        }
        record.tables = u64::try_from(counts::count(&uri)?.tables()).unwrap_or_default();
        return Ok(());
    }
    // Before anybody sees the database: a run that is killed after that is finished by one that can't know any more what failed.
    let found = load::load(&uri, &source, |left_out| server.note_left_out(left_out))?;
    record.tables = u64::try_from(found.tables()).unwrap_or_default();
    info!("database {}: {} table(s), {} row(s)", uri.database(), record.tables, found.rows());
    Ok(())
}

/// Exchanges a dataset's empty directory with the staged one. What lies under the staged name has another inode afterwards: that is
/// how a run that was cut off knows, whatever became of the live one since.
fn put_dataset(server: &Server, staged: &Dir, dataset: Dataset, ino: u64) -> Result<()> {
    let name = dataset.name().as_bytes();
    let Some(new) = staged.sub(name)? else { return Ok(()) };
    if new.entry()?.ino != ino {
        return Ok(());
    }
    let (parent, live_name) = server.place(dataset);
    if let Some(live) = server.dataset(dataset)? {
        held::in_dataset(&live)?;
        let live = live.entry()?;
        own(&new, live.owner, live.mode)?;
        new.sync_all()?;
        staged.exchange(name, parent, live_name)?;
    } else {
        own(&new, server.owner()?, 0o755)?;
        new.sync_all()?;
        staged.rename_new(name, parent, live_name)?;
    }
    parent.sync()?;
    staged.sync()?;
    info!("{}: in its place", dataset.name());
    Ok(())
}

/// Gives a staged dataset to the owner of the place that it gets, as an ingest does.
fn own(dataset: &Dir, owner: (u32, u32), mode: u32) -> Result<()> {
    dataset.set_owner_mode(Some(owner), mode & 0o777)?;
    // As which all of it came out of the archive.
    if owner == (0, 0) {
        return Ok(());
    }
    let mut walk = Walk::new(Some(dataset), None)?;
    while let Some(step) = walk.step()? {
        let Some(dir) = walk.left() else { continue };
        match step {
            Step::Enter { left: Some(entry), .. } => {
                if let Some(sub) = dir.sub(walk.name())? {
                    sub.set_owner_mode(Some(owner), entry.mode & 0o777)?;
                }
            }
            Step::File { left: Some(entry), .. } if entry.kind == Kind::File => {
                let (file, _) = dir.read(walk.name())?;
                set_owner_mode(&file, Some(owner), entry.mode & 0o777)
                    .map_err(|error| Error::io("set the owner of", &dir.path_of(walk.name()), error))?;
            }
            _ => {}
        }
    }
    Ok(())
}

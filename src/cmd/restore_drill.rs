//! `restore-drill`: proves that the newest snapshot's dump can be restored, in a database of its own (SPEC 7).

use argh::FromArgs;
use log::info;
use serde_json::json;

use super::{Env, Report};
use crate::database::dump::DUMP;
use crate::database::load::{self, Source};
use crate::database::own;
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::lock::Lock;
use crate::os::progress::Progress;
use crate::snapshot::generation::{self, MANIFEST, PARTS};
use crate::snapshot::rot;
use crate::text::Bytes;
use crate::tree::verify;

/// Restore the newest snapshot's dump into a scratch database, compare, and drop it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "restore-drill")]
pub struct Args {
    /// the database server, as postgresql://user:password@host:5432/database
    #[argh(option)]
    pg_uri: Option<String>,
}

/// Held by a drill; not the name of a snapshot.
const LOCK: &str = ".restore-drill.lock";
const NEW_SNAPSHOT: &str = "make a new snapshot with tool-snapshot.sh, and keep this one and the log";

/// Carries it out.
///
/// # Errors
/// SPEC 3: `NoSource` without a snapshot, `Failed` if its dump can't be restored.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let mut report = Report::new("restore-drill");
    let result = drill(args, env, &mut report);
    report.end(env, result.as_ref().err());
    result
}

fn drill(args: &Args, env: &Env, report: &mut Report) -> Result<()> {
    let root = &env.settings.snapshot_root;
    let no_snapshot = || Error::NoSource {
        why: format!("there is no complete snapshot in {}", root.display()),
        next: "make one with tool-snapshot.sh",
    };
    let dir = Dir::open_if_there(root)?.ok_or_else(no_snapshot)?;
    let (snapshot, source) = newest(&dir)?.ok_or_else(no_snapshot)?;
    let (entry, shown) = (source.dir.read(DUMP)?.1, source.dir.shown(DUMP));
    let uri = own::database(&env.settings, args.pg_uri.as_deref())?;
    let _lock = Lock::file(&dir, LOCK)?;
    info!("{shown}: {}, into a scratch database beside {uri}", Bytes(entry.size));
    let files = read_files(&snapshot, env);
    let found = load::drill(&uri, &source).map_err(damaged)?;
    report.bytes = entry.size;
    let (tables, rows, objects) = (found.tables(), found.rows(), found.large_objects);
    let value = json!({"outcome": "restored", "tables": tables, "rows": rows, "large_objects": objects});
    report.datasets.insert("db".to_owned(), value);
    let files = files?;
    info!("restore drill completed dump={shown} files={files} tables={tables} rows={rows} large_objects={objects}");
    Ok(())
}

/// The newest snapshot, and its dump.
fn newest(root: &Dir) -> Result<Option<(Dir, Source)>> {
    let Some(newest) = generation::list(root)?.pop() else { return Ok(None) };
    let dir = newest.dir(root)?;
    match Source::of(&dir, MANIFEST)? {
        Some(source) => Ok(Some((dir, source))),
        None => Err(Error::Failed {
            why: format!("there is no db/pg_dump.sql in the newest snapshot, {}", dir.path().display()),
            next: NEW_SNAPSHOT,
        }),
    }
}

/// Reads every file of a snapshot against its manifest, and notes what is rotten; how many there are. What the original system made has none.
fn read_files(snapshot: &Dir, env: &Env) -> Result<u64> {
    let server = Server::open(&env.settings, false)?;
    let Some(state) = &server.state else { return Ok(0) };
    let mut progress = Progress::new("reading the newest snapshot".to_owned(), 0, 0);
    rot::examine(snapshot, Some(state), &mut progress)?;
    Ok(verify::measure(snapshot, &PARTS)?.0)
}

/// The server's own snapshot is not refused: it has failed.
fn damaged(error: Error) -> Error {
    match error {
        Error::Refused { why, .. } => Error::Failed { why, next: NEW_SNAPSHOT },
        error => error,
    }
}

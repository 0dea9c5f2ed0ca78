//! What a server holds. One that holds anything is never made another: a stick that was left in by chance, or carried to the
//! wrong server, restores nothing.
//!
//! It holds data if there is a file in `master/` or `docviewer/` (`meta.json` and PC droppings do not count), anything in `undo/`, a
//! snapshot with files or tables in it, or a table, view, sequence or large object in its database. A server that was just
//! provisioned holds none, nor does one whose timer has taken snapshots of nothing.

use crate::cmd::Env;
use crate::dataset::Dataset;
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::snapshot::{generation, part};

/// Refuses a server that holds data. Its database is asked by [`super::apply`]: a stick's job does not reach it.
///
/// # Errors
/// `Refused`, `Io`, `Unreadable`.
pub fn check(server: &Server, env: &Env) -> Result<()> {
    files(server)?;
    if let Some(undo) = server.undo_if_there()?
        && !undo.names()?.is_empty()
    {
        return Err(holds(&format!("{} keeps data of before", undo.path().display())));
    }
    for path in [&env.settings.snapshot_root, &env.settings.snapshot_dir] {
        let Some(root) = Dir::open_if_there(path)? else { continue };
        for snapshot in generation::list(&root)? {
            let dir = snapshot.dir(&root)?;
            if holds_anything(&dir)? {
                return Err(holds(&format!("there is the snapshot {}", dir.path().display())));
            }
        }
    }
    Ok(())
}

/// Refuses a server with files in a dataset.
///
/// # Errors
/// As [`check`].
pub fn files(server: &Server) -> Result<()> {
    for dataset in Dataset::ALL {
        if let Some(dir) = server.dataset(dataset)? {
            in_dataset(&dir)?;
        }
    }
    Ok(())
}

/// Refuses a dataset with files.
///
/// # Errors
/// As [`check`].
pub fn in_dataset(live: &Dir) -> Result<()> {
    if part::has_files(live)? {
        return Err(holds(&format!("there are files in {}", live.path().display())));
    }
    Ok(())
}

/// How that begins which a server that holds data is told.
pub const HOLDS: &str = "this server holds data already, so nothing was restored: ";

/// What a server that holds data is told.
pub fn holds(what: &str) -> Error {
    Error::Refused {
        why: format!("{HOLDS}{what}"),
        next: "remove the file RESTORE from the stick; to look into the backup, use \"toolmaster restore\"".to_owned(),
    }
}

/// Whether a snapshot holds files or tables: else there is nothing in it to keep.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn holds_anything(snapshot: &Dir) -> Result<bool> {
    Ok(!part::look(snapshot)?.is_empty())
}

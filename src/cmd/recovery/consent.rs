//! The operator's consent to a recovery: a file on the stick.

use log::{info, warn};

use crate::error::Result;
use crate::os::dir::{Dir, Entry, Kind};
use crate::text::Shown;

/// The file by which an operator consents, in capitals or not; Windows hides the ending that Notepad adds.
const CONSENT: [&[u8]; 2] = [b"RESTORE", b"RESTORE.txt"];
/// What it is called once that has been done.
const DONE: &str = "RESTORE-done.txt";

/// The files by which the operator consents. A directory or a link of that name is none: nobody means that by it.
///
/// # Errors
/// `Io`.
pub fn on(root: &Dir) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for name in root.names()?.iter().filter(|name| CONSENT.iter().any(|known| name.eq_ignore_ascii_case(known))) {
        match root.look(name)? {
            Some(Entry { kind: Kind::File, .. }) => found.push(name.to_vec()),
            _ => warn!("{} is no file, so it is no consent to restore", root.shown(name)),
        }
    }
    Ok(found)
}

/// Gives each consent another name: from then on the stick takes backups again, and restores nothing.
///
/// # Errors
/// `Io`.
pub fn take_back(root: &Dir) -> Result<()> {
    for name in on(root)? {
        let mut free = (1..).map(|number| match number {
            1 => DONE.to_owned(),
            _ => DONE.replace(".txt", &format!("-{number}.txt")),
        });
        let free = free.find(|free| root.look(free.as_bytes()).is_ok_and(|there| there.is_none()));
        let Some(free) = free else { continue };
        root.rename(&name, root, free.as_bytes())?;
        info!("{} on the stick is called {free} now: it restores nothing any more", Shown(&name));
    }
    root.sync()?;
    root.sync_all()
}

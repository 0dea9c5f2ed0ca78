//! The operator's consent to a recovery: a file `RESTORE` on the stick, or on the boot partition of the new machine's disk, which a PC
//! writes while it makes that disk: a stick with ext4 it can't write to.

use std::path::Path;

use log::{info, warn};

use crate::error::Result;
use crate::os::dir::{Dir, Entry, Kind};

/// The file's name without its endings: Notepad, WordPad and Explorer add some, and hide them.
const NAME: &[u8] = b"RESTORE";
/// Where Raspberry Pi OS and our image have the boot partition; on a PC it is the drive `bootfs`.
const BOOT: &str = "/boot/firmware";
/// What it is called once that has been done.
const DONE: &str = "RESTORE-done.txt";

/// The files by which the operator consents. A directory or a link of that name is none: nobody means that by it.
///
/// # Errors
/// `Io`.
pub fn on(root: &Dir) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for name in root.names()?.iter().filter(|name| is_consent(name)) {
        match root.look(name)? {
            Some(Entry { kind: Kind::File, .. }) => found.push(name.to_vec()),
            _ => warn!("{} is no file, so it is no consent to restore", root.shown(name)),
        }
    }
    Ok(found)
}

fn is_consent(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'.').next().unwrap_or_default().trim_ascii().eq_ignore_ascii_case(NAME)
}

/// Whether the boot partition has one. A machine without such a partition has none.
pub fn is_on_boot() -> bool {
    let found = Dir::open_if_there(Path::new(BOOT)).and_then(|dir| dir.map(|dir| on(&dir)).transpose());
    match found {
        Ok(found) => found.is_some_and(|names| !names.is_empty()),
        Err(error) => {
            warn!("{error}");
            false
        }
    }
}

/// Takes the boot partition's back. Where that is not possible nothing more is restored either: the server holds data now.
pub fn take_back_on_boot() {
    let done = Dir::open_if_there(Path::new(BOOT)).and_then(|dir| dir.map_or(Ok(()), |dir| take_back(&dir)));
    if let Err(error) = done {
        warn!("the file RESTORE stays on the boot partition: {error}");
    }
}

/// Gives each consent another name: from then on it restores nothing.
///
/// # Errors
/// `Io`.
pub fn take_back(root: &Dir) -> Result<()> {
    let names = on(root)?;
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        let mut free = (1..).map(|number| match number {
            1 => DONE.to_owned(),
            _ => DONE.replace(".txt", &format!("-{number}.txt")),
        });
        let free = free.find(|free| root.look(free.as_bytes()).is_ok_and(|there| there.is_none()));
        let Some(free) = free else { continue };
        root.rename(&name, root, free.as_bytes())?;
        info!("{} is called {free} now: it restores nothing any more", root.shown(&name));
    }
    root.sync()?;
    root.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_and_capitals_do_not_count() {
        for name in ["RESTORE", "restore", "Restore.TXT", "RESTORE.txt.txt", "RESTORE.rtf", "RESTORE .txt", "restore."]
        {
            assert!(is_consent(name.as_bytes()), "{name}");
        }
        for name in
            ["RESTORE-done.txt", "RESTORED", "._RESTORE.txt", ".RESTORE", "~$RESTORE.rtf", "NO RESTORE", "RESTORE_"]
        {
            assert!(!is_consent(name.as_bytes()), "{name}");
        }
    }
}

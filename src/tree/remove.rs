//! Removes what is not wanted any more.

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::signal;
use crate::tree::same::is_dropping;

/// Deeper than anything that a walk would have let in.
const MAX_DEPTH: usize = 128;

/// Removes a name and all that is below it, links themselves and never what they point to.
///
/// # Errors
/// `Io`, `Interrupted`; what is gone by then is gone.
pub fn tree(parent: &Dir, name: &[u8]) -> Result<()> {
    below(parent, name, 0)
}

fn below(parent: &Dir, name: &[u8], depth: usize) -> Result<()> {
    signal::check()?;
    if depth > MAX_DEPTH {
        let why = format!("{} is nested too deeply to be removed", parent.shown(name));
        return Err(Error::Failed { why, next: "remove it by hand" });
    }
    match parent.look(name)? {
        Some(Entry { kind: Kind::Dir, .. }) => {
            if let Some(dir) = parent.sub(name)? {
                for inner in dir.names()?.iter() {
                    below(&dir, inner, depth + 1)?;
                }
            }
            parent.remove_dir(name).map(drop)
        }
        Some(_) => parent.remove(name),
        None => Ok(()),
    }
}

/// Removes a directory that holds nothing but what PCs leave behind. `false`: something else is in it.
///
/// # Errors
/// `Io`, `Interrupted`.
pub fn dir_with_droppings(parent: &Dir, name: &[u8]) -> Result<bool> {
    if parent.remove_dir(name)? {
        return Ok(true);
    }
    let Some(dir) = parent.sub(name)? else {
        return Ok(true);
    };
    for inner in dir.names()?.iter().filter(|inner| is_dropping(inner)) {
        tree(&dir, inner)?;
    }
    parent.remove_dir(name)
}

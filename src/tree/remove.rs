//! Removes what is not wanted any more.

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::signal;

/// Deeper than anything that a walk would have let in.
const MAX_DEPTH: usize = 128;

/// Removes a name and all that is below it, links themselves and never what they point to.
///
/// # Errors
/// `Failed` at a mount point, of which nothing is touched: it may show a share of the network or a second disk, and the
/// directory that it was mounted in has been renamed since. `Io`, `Interrupted`; what is gone by then is gone.
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
        Some(Entry { mount_root: true, .. }) => Err(mounted(parent, name)),
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

fn mounted(parent: &Dir, name: &[u8]) -> Error {
    Error::Failed {
        why: format!("{} is a mount point, and nothing below it is removed", parent.shown(name)),
        next: "unmount it and run it again",
    }
}

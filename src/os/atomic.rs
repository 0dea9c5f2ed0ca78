//! A small file that is either the old one or the new one, whatever happens in between.

use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::dir::{Dir, set_owner_mode, temp_name};
use crate::error::{Error, Result};

/// Replaces `name` in `dir` by `content`: written as `temp_name` in `temp_dir` (same filesystem), flushed, renamed,
/// and the directory flushed. A crash before the rename leaves the old file and a temporary one, which the next
/// call replaces; after it, the new file.
///
/// # Errors
/// `Io`; then the old file stands.
pub fn write_via(temp_dir: &Dir, temp_name: &[u8], dir: &Dir, name: &[u8], content: &[u8], mode: u32) -> Result<()> {
    replace(temp_dir, temp_name, dir, name, content, (None, mode))
}

fn replace(
    temp_dir: &Dir,
    temp_name: &[u8],
    dir: &Dir,
    name: &[u8],
    content: &[u8],
    (owner, mode): (Option<(u32, u32)>, u32),
) -> Result<()> {
    fill(temp_dir, temp_name, content, (owner, mode))?;
    temp_dir.rename(temp_name, dir, name)?;
    dir.sync()
}

/// Writes a temporary file and flushes it.
fn fill(dir: &Dir, temp: &[u8], content: &[u8], (owner, mode): (Option<(u32, u32)>, u32)) -> Result<()> {
    dir.remove(temp)?;
    let mut file = dir.create(temp, mode)?;
    let fail = |error: std::io::Error| Error::io("write", &dir.path_of(temp), error);
    file.write_all(content).map_err(fail)?;
    set_owner_mode(&file, owner, mode).map_err(fail)?;
    file.sync_all().map_err(fail)
}

/// As [`write_via`] with the temporary file beside the final one.
///
/// # Errors
/// `Io`; then the old file stands.
pub fn write(dir: &Dir, name: &[u8], content: &[u8], mode: u32) -> Result<()> {
    write_via(dir, &temp_name(name), dir, name, content, mode)
}

/// Removes a file and, before it, what an interrupted [`write`] has left beside it.
///
/// # Errors
/// `Io`.
pub fn remove(dir: &Dir, name: &[u8]) -> Result<()> {
    dir.remove(&temp_name(name))?;
    dir.remove(name)
}

/// Makes `name` where nothing has that name, with all of its content; durable when this returns. A crash leaves nothing of that name, and a temporary
/// file, which the next call replaces.
///
/// # Errors
/// `Io`, also if the name has come to be there meanwhile.
pub fn make(dir: &Dir, name: &[u8], content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    let temp = temp_name(name);
    fill(dir, &temp, content, (owner, mode))?;
    dir.rename_new(&temp, dir, name)?;
    dir.sync()
}

/// Keeps what is about to be replaced, if it is there, under its name with `ending`; what was kept there first stays.
///
/// # Errors
/// `Io`.
pub fn keep(dir: &Dir, name: &[u8], ending: &[u8]) -> Result<()> {
    let kept = [name, ending].concat();
    if dir.look(name)?.is_some() && dir.look(&kept)?.is_none() {
        dir.link(name, dir, &kept)?;
    }
    Ok(())
}

/// As [`write`], with the owner and mode of the file that is there.
///
/// # Errors
/// `Io`; then the old file stands.
pub fn rewrite(dir: &Dir, name: &[u8], content: &[u8]) -> Result<()> {
    let (old, _) = dir.read(name)?;
    let metadata = old.metadata().map_err(|error| Error::io("read", &dir.path_of(name), error))?;
    let like_it = (Some((metadata.uid(), metadata.gid())), metadata.mode() & 0o7777);
    replace(dir, &temp_name(name), dir, name, content, like_it)
}

//! After an exchange the old directory shares its unchanged files with the live one. They are taken out of it here, so that what `undo/` keeps is exactly
//! what was replaced or deleted and no edit of a live file reaches it (SPEC 6). And what a program saved into the old directory since is found.
//!
//! A crash in between leaves some of the shared files; the next run goes on, by the same lists. Nothing is removed that is not live as well, or was
//! live when the exchange was made.

use super::meta;
use super::survey::Lost;
use super::undo::{List, Place, share_temp};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::tree::copy::{self, Ownership};
use crate::tree::droppings::is_dropping;
use crate::tree::manifest::Listed;
use crate::tree::pairs::Pairs;
use crate::tree::remove;
use crate::tree::stream::Stream;
use crate::tree::walk::{Step, Walk};

/// Takes out of the kept directory what is live.
///
/// # Errors
/// `Io`, `Unreadable`, `Interrupted`.
pub fn strip(place: &mut Place, live: &Dir) -> Result<()> {
    let Some(kept) = place.kept()? else { return Ok(()) };
    let (mut replaced, mut before) = (place.list(List::Replaced)?, place.list(List::Before)?);
    let mut walk = Walk::new(Some(&kept), Some(live))?;
    while let Some(step) = walk.step()? {
        match step {
            Step::File { left: Some(old @ Entry { kind: Kind::File, .. }), right } if walk.path() != meta::NAME => {
                let is_live = right.is_some_and(|right| right.ino == old.ino && right.dev == old.dev);
                let is_kept = is_listed(replaced.as_mut(), walk.path(), &old)?;
                let was_live = is_listed(before.as_mut(), walk.path(), &old)?;
                let Some(dir) = walk.left() else { continue };
                if is_live || (was_live && !is_kept) {
                    dir.remove(walk.name())?;
                } else if old.links > 1 {
                    unshare(place, dir, walk.name(), &old)?;
                }
            }
            Step::Leave => leave(&walk)?,
            _ => {}
        }
    }
    carried(&kept, live)?;
    kept.sync_all()?;
    place.remove_list(List::Before)
}

/// A file that has another name somewhere, perhaps among the live ones, is kept as a copy.
fn unshare(place: &Place, dir: &Dir, name: &[u8], old: &Entry) -> Result<()> {
    let (run, temp) = (place.run(), share_temp(place.dataset()));
    run.remove(&temp)?;
    let owned = Ownership { owner: Some(old.owner), file_mode: old.mode & 0o7777, dir_mode: 0o755 };
    let mut progress = Progress::new(format!("{}: what has two names", place.dataset().name()), old.size, 1);
    copy::copy((dir, name), (run, &temp), owned, &mut progress)?;
    run.sync_all()?;
    run.rename(&temp, dir, name)
}

/// A directory that is live too goes once it is empty.
fn leave(walk: &Walk) -> Result<()> {
    let (Some(old), Some(live)) = (walk.left(), walk.right()) else { return Ok(()) };
    let is_dir = |entry: Option<Entry>| entry.is_some_and(|entry| entry.kind == Kind::Dir);
    if !is_dir(old.look(walk.name())?) || !is_dir(live.look(walk.name())?) {
        return Ok(());
    }
    if let (Some(old), Some(live)) = (old.sub(walk.name())?, live.sub(walk.name())?) {
        carried(&old, &live)?;
    }
    old.remove_dir(walk.name()).map(drop)
}

/// Links and droppings that were carried over.
fn carried(old: &Dir, live: &Dir) -> Result<()> {
    for name in old.names()?.iter() {
        match (old.look(name)?, live.look(name)?) {
            (Some(Entry { kind: Kind::Dir, .. }), Some(Entry { kind: Kind::Dir, .. })) if is_dropping(name) => {
                if let (Some(inner), Some(live)) = (old.sub(name)?, live.sub(name)?) {
                    all(&inner, &live)?;
                }
                old.remove_dir(name)?;
            }
            (Some(entry), Some(live))
                if entry.ino == live.ino
                    && (matches!(entry.kind, Kind::Other(_)) || (entry.kind == Kind::File && is_dropping(name))) =>
            {
                old.remove(name)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn all(old: &Dir, live: &Dir) -> Result<()> {
    for name in old.names()?.iter() {
        match (old.look(name)?, live.look(name)?) {
            (Some(Entry { kind: Kind::Dir, .. }), Some(Entry { kind: Kind::Dir, .. })) => {
                if let (Some(inner), Some(live)) = (old.sub(name)?, live.sub(name)?) {
                    all(&inner, &live)?;
                }
                old.remove_dir(name)?;
            }
            (Some(entry), Some(live)) if entry.ino == live.ino => old.remove(name)?,
            _ => {}
        }
    }
    Ok(())
}

/// What is in the kept directory and no run put there. It is on record as lost from then on.
///
/// # Errors
/// `Io`, `Unreadable`, `Interrupted`.
pub fn late(place: &mut Place) -> Result<Lost> {
    let Some(kept) = place.kept()? else { return Ok(Lost::default()) };
    let mut replaced = place.list(List::Replaced)?;
    // A stick's files are copied here; no program ever had their directory open.
    if replaced.is_none() || place.part.side == super::undo::Side::Stick {
        return Ok(Lost::default());
    }
    let mut lost = Lost::default();
    each_file(&kept, |walk, entry| {
        if !is_listed(replaced.as_mut(), walk.path(), &entry)? {
            lost.add(walk.path());
        }
        Ok(())
    })?;
    if lost.files > 0 {
        place.part.add_lost(&lost);
        place.save()?;
        list_kept(place, &kept)?;
    }
    Ok(lost)
}

/// Lists what is in the kept directory now. A crash before it is done finds the same things lost once more.
fn list_kept(place: &Place, kept: &Dir) -> Result<()> {
    let mut list = place.start_list(List::Replaced)?;
    each_file(kept, |walk, entry| {
        list.push(&Listed::of(walk.path(), &entry, None))
            .map_err(|error| Error::io("write a list of", kept.path(), error))
    })?;
    place.end_list(list, true)
}

/// Tells each file of a dataset but its `meta.json`.
///
/// # Errors
/// `Io`; those of `tell`.
pub fn each_file(dir: &Dir, mut tell: impl FnMut(&Walk, Entry) -> Result<()>) -> Result<()> {
    let mut pairs = Pairs::new(Some(dir), None, meta::NAME)?;
    while let Some(pair) = pairs.take()? {
        pair.left.map_or(Ok(()), |entry| tell(pairs.walk(), entry))?;
    }
    Ok(())
}

/// What was saved into a dataset that had been live for a moment and is not any more: all that the run did not bring and that is not `live` either. The
/// rest is removed.
///
/// # Errors
/// `Io`, `Unreadable`, `Interrupted`.
pub fn keep_saved(place: &mut Place, live: Option<&Dir>) -> Result<Lost> {
    let mut lost = Lost::default();
    let Some(kept) = place.kept()? else { return Ok(lost) };
    let mut brought = place.list(List::Brought)?;
    let mut ours = Vec::new();
    let mut pairs = Pairs::new(Some(&kept), live, meta::NAME)?;
    while let Some(pair) = pairs.take()? {
        let (Some(entry), path) = (pair.left, pairs.walk().path()) else { continue };
        let linked = pair.right.is_some_and(|right| right.ino == entry.ino);
        if is_listed(brought.as_mut(), path, &entry)? || linked {
            ours.push(path.to_vec());
        } else {
            lost.add(path);
        }
    }
    if lost.files == 0 {
        return Ok(lost);
    }
    for path in ours {
        if let Some((dir, name)) = kept.below(&path)? {
            remove::tree(&dir, name)?;
        }
    }
    kept.remove(meta::NAME)?;
    place.part.add_lost(&lost);
    list_kept(place, &kept)?;
    Ok(lost)
}

fn is_listed(list: Option<&mut Stream>, path: &[u8], entry: &Entry) -> Result<bool> {
    let Some(list) = list else { return Ok(false) };
    Ok(list.find(path)?.is_some_and(|listed| listed.size == entry.size && listed.mtime == entry.mtime))
}

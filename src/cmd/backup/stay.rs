//! What becomes of the archives that are on the stick: which go, when, and which may not be replaced.

use log::info;

use super::work::Work;
use super::{progress, proof, write_to};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::flow::Once;
use crate::os::progress::Progress;
use crate::snapshot::archive;
use crate::snapshot::part::Filled;
use crate::snapshot::retention::{Fate, LAST_WITH};
use crate::snapshot::shelf::{self, Archive};
use crate::stick::chain::{Stick, WritableStick};
use crate::text::hex;

/// The archives beyond the retention once the new one is there, none while the clock that named them is not believed.
pub(super) fn surplus(work: &Work, archives: &[Archive], believed: bool) -> Vec<String> {
    if !believed {
        return Vec::new();
    }
    let mut surplus = Vec::new();
    for (name, fate) in shelf::fates(archives, &work.name, &work.filled, work.retention) {
        match fate {
            Fate::Surplus => surplus.push(name.to_owned()),
            Fate::Kept(why) if why == LAST_WITH => info!("{name} stays on the stick beyond the retention: {why}"),
            Fate::Kept(_) => {}
        }
    }
    surplus
}

/// The surplus archives that must go before the new one fits; nothing where it fits as it is. Of those that stay,
/// the newest must be sound; it never goes before the new one is there.
///
/// # Errors
/// `Failed` with the needed and the free bytes if that does not help either, `Refused` if the newest is damaged.
pub(super) fn first_to_go(work: &Work, stick: &Stick, archives: &[Archive], believed: bool) -> Result<Vec<String>> {
    let (root, limits) = (stick.root(), stick.limits());
    if shelf::check_room(root, work.estimate, limits, 0).is_ok() {
        return Ok(Vec::new());
    }
    // That was the most it can be. What it will be, to the byte, only compressing it can tell.
    let needed = write_to(work, &mut std::io::sink(), &mut progress(work, "measuring it"))?.bytes;
    let Err(error) = shelf::check_room(root, needed, limits, 0) else { return Ok(Vec::new()) };
    // The one of the same name goes at the end, by being replaced.
    let newest = archives.iter().rfind(|archive| archive.name != work.name);
    let Some(newest) = newest.map(|archive| archive.name.clone()) else { return Err(error) };
    // What only the new one would have besides is not on the stick yet.
    let nothing = Filled::new();
    let fates = shelf::fates(archives, &work.name, &nothing, work.retention).filter(|_| believed);
    let surplus = fates.filter(|(name, fate)| *fate == Fate::Surplus && *name != newest);
    let surplus: Vec<String> = surplus.map(|(name, _)| name.to_owned()).collect();
    let freed = shelf::size_of(root, &surplus)?;
    shelf::check_room(root, needed, limits, freed).map_err(|_| error)?;
    let (file, entry) = root.read(newest.as_bytes())?;
    let mut progress = Progress::new(format!("{newest}: verifying it"), entry.size, 0);
    archive::read(Once::new(file), proof::whole(&newest, shelf::checksum(root, &newest)?), &mut progress).map_err(
        |error| match error {
            Error::Refused { why, .. } => Error::Refused {
                why: format!("{why}; so no older archive is removed to make room"),
                next: "use another stick; nothing on this one was changed".to_owned(),
            },
            error => error,
        },
    )?;
    info!("{newest} on the stick is sound");
    Ok(surplus)
}

/// Removes them, and forgets them.
pub(super) fn make_room(work: &Work, stick: &WritableStick, archives: &mut Vec<Archive>, believed: bool) -> Result<()> {
    let root = stick.stick().root();
    let surplus = first_to_go(work, stick.stick(), archives, believed)?;
    for name in &surplus {
        shelf::remove(root, name)?;
        info!("{name} removed from the stick to make room");
    }
    archives.retain(|archive| !surplus.contains(&archive.name));
    if surplus.is_empty() { Ok(()) } else { root.sync_all() }
}

/// The name under which the archive of the day that is to be replaced stays, if it holds the last of something: its day and time.
pub(super) fn kept_name(work: &Work, root: &Dir, archives: &[Archive], clock: Clock) -> Result<Option<String>> {
    if !shelf::is_last_with(archives, &work.name, &work.filled) {
        return Ok(None);
    }
    let day = work.name.get(..10).unwrap_or_default();
    let taken = archives.iter().find(|archive| archive.name == work.name);
    let taken = taken.and_then(|archive| archive.header.as_ref()?.taken).map(|taken| clock.dir_name(taken));
    let time = taken.filter(|taken| taken.starts_with(day)).unwrap_or_else(|| format!("{day}_000000"));
    let mut names = (1..).map(|number| match number {
        1 => format!("{time}_full.tar.zst"),
        _ => format!("{time}-{number}_full.tar.zst"),
    });
    Ok(names.find(|name| root.look(name.as_bytes()).is_ok_and(|there| there.is_none())))
}

/// Gives the archive that is to be replaced that name. Its checksum is there first: a crash in between leaves one of nothing, or the old one
/// of nothing, which the next run replaces.
pub(super) fn keep(stick: &WritableStick, temp: &Dir, name: &str, kept: &str) -> Result<()> {
    let root = stick.stick().root();
    if let Some(sha256) = shelf::checksum(root, name)? {
        let line = format!("{}  {kept}\n", hex(&sha256));
        stick.set_file(temp, root, shelf::checksum_name(kept).as_bytes(), line.as_bytes())?;
    }
    root.rename_new(name.as_bytes(), root, kept.as_bytes())?;
    root.sync()?;
    info!("{name} is called {kept} now and stays: it holds the last of something that the new one lacks");
    root.remove(shelf::checksum_name(name).as_bytes())
}

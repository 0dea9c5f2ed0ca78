//! What becomes of the archives that are on the stick: which go, when, and which may not be replaced.

use log::{info, warn};

use super::work::Work;
use super::{progress, proof, write_to};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::flow::Once;
use crate::os::progress::Progress;
use crate::snapshot::archive;
use crate::snapshot::part::{Filled, Part};
use crate::snapshot::retention::{Fate, LAST_WITH};
use crate::snapshot::shelf::{self, Archive};
use crate::stick::chain::{Stick, WritableStick};
use crate::text::hex;

/// The archives beyond the retention once the new one is there, none while the clock that named them is not believed.
///
/// # Errors
/// `Interrupted`, `Io`.
pub(super) fn surplus(work: &Work, root: &Dir, archives: &[Archive], believed: bool) -> Result<Vec<String>> {
    if !believed {
        return Ok(Vec::new());
    }
    let mut vouching = Vouching { work, root, filled: &work.filled, sound: Vec::new() };
    let archives = vouching.proved(archives, |archives| going(work, archives, &work.filled))?;
    let mut surplus = Vec::new();
    for (name, fate) in shelf::fates(&archives, &work.name, &work.filled, work.retention) {
        match fate {
            Fate::Surplus => surplus.push(name.to_owned()),
            Fate::Kept(why) if why == LAST_WITH => info!("{name} stays on the stick beyond the retention: {why}"),
            Fate::Kept(_) => {}
        }
    }
    Ok(surplus)
}

/// Those that go beside a newest one that holds `filled`.
fn going(work: &Work, archives: &[Archive], filled: &Filled) -> Vec<String> {
    let fates = shelf::fates(archives, &work.name, filled, work.retention);
    fates.filter(|(_, fate)| *fate == Fate::Surplus).map(|(name, _)| name.to_owned()).collect()
}

/// Proves those archives that stay instead of others with something that the newest one lacks.
struct Vouching<'a> {
    work: &'a Work,
    root: &'a Dir,
    /// What the newest one holds.
    filled: &'a Filled,
    /// The names of those that are proved.
    sound: Vec<String>,
}

impl Vouching<'_> {
    /// Reads them. Of a rotten one nobody knows what it holds, so that it takes no other's place. `going`: which go.
    ///
    /// # Errors
    /// `Interrupted`, `Io`.
    fn proved(&mut self, archives: &[Archive], going: impl Fn(&[Archive]) -> Vec<String>) -> Result<Vec<Archive>> {
        let mut archives = archives.to_vec();
        while let Some(name) = self.next(&archives, &going(&archives)) {
            match read(self.root, &name) {
                Ok(()) => self.sound.push(name),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(error) => {
                    warn!("{error}");
                    warn!("{name} takes no older archive's place");
                    archives
                        .iter_mut()
                        .filter(|archive| archive.name == name)
                        .for_each(|archive| archive.filled = None);
                }
            }
        }
        Ok(archives)
    }

    /// The next to be read.
    fn next(&self, archives: &[Archive], going: &[String]) -> Option<String> {
        let holds = |archive: &Archive, part| archive.filled.as_ref().is_some_and(|filled| filled.contains(part));
        let goes = |part| archives.iter().any(|archive| going.contains(&archive.name) && holds(archive, part));
        let stays = |archive: &Archive| archive.name != self.work.name && !going.contains(&archive.name);
        let lacking = Part::ALL.iter().filter(|part| !self.filled.contains(part) && goes(part));
        lacking
            .filter_map(|part| archives.iter().rev().find(|archive| stays(archive) && holds(archive, part)))
            .find(|archive| !self.sound.contains(&archive.name))
            .map(|archive| archive.name.clone())
    }
}

/// Reads an archive of the stick from end to end.
fn read(root: &Dir, name: &str) -> Result<()> {
    let (file, entry) = root.read(name.as_bytes())?;
    let mut progress = Progress::new(format!("{name}: verifying it"), entry.size, 0);
    archive::read(Once::new(file), proof::whole(name, shelf::checksum(root, name)?), &mut progress).map(drop)
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
    let gone = |archives: &[Archive]| {
        let mut gone = if believed { going(work, archives, &nothing) } else { Vec::new() };
        gone.retain(|name| *name != newest);
        gone
    };
    let freed = shelf::size_of(root, &gone(archives))?;
    if shelf::check_room(root, needed, limits, freed).is_err() {
        return Err(error);
    }
    read(root, &newest).map_err(|error| match error {
        Error::Refused { why, .. } => Error::Refused {
            why: format!("{why}; so no older archive is removed to make room"),
            next: "use another stick; nothing on this one was changed".to_owned(),
        },
        error => error,
    })?;
    info!("{newest} on the stick is sound");
    let mut vouching = Vouching { work, root, filled: &nothing, sound: vec![newest.clone()] };
    let surplus = gone(&vouching.proved(archives, gone)?);
    let freed = shelf::size_of(root, &surplus)?;
    shelf::check_room(root, needed, limits, freed).map_err(|_| error)?;
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
    let is_last = |archives: &[Archive]| shelf::is_last_with(archives, &work.name, &work.filled);
    let replaced = |archives: &[Archive]| if is_last(archives) { Vec::new() } else { vec![work.name.clone()] };
    let mut vouching = Vouching { work, root, filled: &work.filled, sound: Vec::new() };
    if !is_last(&vouching.proved(archives, replaced)?) {
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

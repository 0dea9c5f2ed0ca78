//! Generations: snapshots by name and sequence number, how a new one appears, and the link `latest`.

use log::{info, warn};

use super::part::{self, Filled, Part};
use super::retention::{self, Fate, Known};
use crate::clock::{Belief, Clock, parse_dir_name};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::tree::manifest::{Header, Reader};
use crate::tree::remove;
use crate::tree::stream::Stream;

/// A snapshot's manifest.
pub const MANIFEST: &[u8] = b"manifest.json";
/// What a snapshot holds beside its manifest, in the order of a walk.
pub const PARTS: [&str; 4] = ["db", "docviewer", "master", "settings"];
/// The link to the newest snapshot.
const LATEST: &[u8] = b"latest";
/// What is being built; no reader takes it for a snapshot.
const BUILDING: &[u8] = b".building";

/// One snapshot.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Its directory's name, `YYYY-MM-DD_HHMMSS`, with `-N` if there were two in a second.
    pub name: String,
    /// The first line of its manifest; none for one that the original system made.
    pub header: Option<Header>,
}

impl Generation {
    /// Its number; 0 if the original system made it.
    pub fn number(&self) -> u64 {
        self.header.as_ref().and_then(|header| header.seq).unwrap_or(0)
    }

    /// Its place in the order: the original system's first, by name.
    fn order(&self) -> (u64, &str) {
        (self.number(), &self.name)
    }

    /// When it was taken, unix seconds; of one that the original system made what its name says.
    pub fn taken(&self, clock: Clock) -> Option<i64> {
        self.header.as_ref().and_then(|header| header.taken).or_else(|| clock.of_dir_name(&self.name))
    }

    /// Which parts of it hold anything: its manifest says so, else it is looked at.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn filled(&self, root: &Dir) -> Result<Filled> {
        match self.header.as_ref().and_then(part::of_header) {
            Some(filled) => Ok(filled),
            None => part::look(&self.dir(root)?),
        }
    }

    /// Its directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn dir(&self, root: &Dir) -> Result<Dir> {
        let name = self.name.as_bytes();
        root.sub(name)?.ok_or_else(|| Error::io("open", &root.path_of(name), std::io::ErrorKind::NotFound))
    }

    /// The files of its manifest below `prefix`; none if it has no manifest.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn files(&self, root: &Dir, prefix: &'static [u8]) -> Result<Option<Stream>> {
        if self.header.is_none() {
            return Ok(None);
        }
        let dir = self.dir(root)?;
        let (file, _) = dir.read(MANIFEST)?;
        Stream::new(file, dir.shown(MANIFEST), prefix).map(Some)
    }
}

/// The first line of a snapshot's manifest; none if it has no manifest.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn header(snapshot: &Dir) -> Result<Option<Header>> {
    let Some((file, _)) = snapshot.read_if_there(MANIFEST)? else { return Ok(None) };
    match Reader::new(file) {
        Ok(reader) => Ok(Some(reader.header().clone())),
        Err(source) => Err(Error::Unreadable { path: snapshot.shown(MANIFEST), source }),
    }
}

/// All complete snapshots, the newest last: by sequence number, never by name, which the clock made.
///
/// # Errors
/// `Io`.
pub fn list(root: &Dir) -> Result<Vec<Generation>> {
    let mut generations = Vec::new();
    for name in root.names()?.iter() {
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| parse_dir_name(name).is_some()) else { continue };
        let Ok(Some(dir)) = root.sub(name.as_bytes()) else { continue };
        let header = match header(&dir) {
            Err(error @ Error::Unreadable { .. }) => {
                warn!("snapshot {name} is not used: {error}");
                continue;
            }
            header => header?,
        };
        if header.as_ref().is_none_or(Header::is_complete) {
            generations.push(Generation { name: name.to_owned(), header });
        }
    }
    generations.sort_by(|a, b| a.order().cmp(&b.order()));
    Ok(generations)
}

/// The parts that the newest snapshot lacks although an older one has them, each with the last one that does. That one is never pruned, so
/// this is known as long as it is so. `accepted`: the number of the snapshot with which an operator acknowledged that a part is empty.
///
/// # Errors
/// `Io`, `Unreadable`, those of `accepted`.
pub fn emptied(root: &Dir, accepted: impl Fn(Part) -> Result<u64>) -> Result<Vec<(Part, Generation)>> {
    let generations = list(root)?;
    let filled = generations.iter().map(|generation| generation.filled(root)).collect::<Result<Vec<_>>>()?;
    let mut found = Vec::new();
    for (part, at) in part::emptied(&filled) {
        let Some(last) = generations.get(at) else { continue };
        // It may have been filled again since it was acknowledged.
        if accepted(part)? <= last.number() {
            found.push((part, last.clone()));
        }
    }
    Ok(found)
}

/// An empty directory to build a snapshot in, cleared of what a run that was cut off left there.
///
/// # Errors
/// `Io`.
pub fn start(root: &Dir) -> Result<Dir> {
    discard(root)?;
    root.make(BUILDING, 0o700)
}

/// Removes what is being built.
///
/// # Errors
/// `Io`.
pub fn discard(root: &Dir) -> Result<()> {
    remove::tree(root, BUILDING)
}

/// Makes what was built a snapshot: durable first, then by name, then `latest`. A crash in between leaves rubbish under
/// the building name, or a snapshot that `latest` does not name yet; both are put right by the next run.
///
/// # Errors
/// `Io`.
pub fn publish(root: &Dir, built: &Dir, clock: Clock) -> Result<String> {
    built.sync_all()?;
    let mut names = clock.dir_names();
    let name = loop {
        match names.next() {
            Some(name) if root.look(name.as_bytes())?.is_some() => {}
            Some(name) => break name,
            None => return Err(Error::Failed { why: "no name left for a snapshot".to_owned(), next: "report it" }),
        }
    };
    root.rename_new(BUILDING, root, name.as_bytes())?;
    root.sync()?;
    root.replace_link(LATEST, &name)?;
    root.sync()?;
    Ok(name)
}

/// Removes the snapshots that retention gives up. The name goes first, so that nobody reads half a snapshot.
///
/// # Errors
/// `Io`.
pub fn prune(root: &Dir, days: u32, belief: &Belief, clock: Clock, dry_run: bool) -> Result<()> {
    let generations = list(root)?;
    let mut known = Vec::new();
    for generation in &generations {
        let Some(named) = clock.of_dir_name(&generation.name) else { continue };
        known.push(Known { name: generation.name.clone(), named, filled: generation.filled(root)? });
    }
    for (snapshot, fate) in known.iter().zip(retention::decide(&known, days, belief)) {
        match fate {
            Fate::Surplus if dry_run => info!("plan: remove snapshot {}", snapshot.name),
            Fate::Surplus => {
                root.rename(snapshot.name.as_bytes(), root, BUILDING)?;
                remove::tree(root, BUILDING)?;
                info!("snapshot {} removed: older than {days} days", snapshot.name);
            }
            Fate::Kept(why) if why == retention::LAST_WITH => {
                info!("snapshot {} stays however old: {why}", snapshot.name);
            }
            Fate::Kept(_) => {}
        }
    }
    Ok(())
}

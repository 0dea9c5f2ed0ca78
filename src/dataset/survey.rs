//! Looks at both sides of a dataset once and gathers everything that a decision and its room need. Changes nothing.

use std::hash::{DefaultHasher, Hash, Hasher};

use log::warn;

use super::base::{Known, Remembered};
use super::decide::Since;
use super::meta;
use crate::clock::Belief;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::tree::copy;
use crate::tree::same::{Folded, Limits, Same, same, unfit_name};
use crate::tree::walk::{Side, Step, UNREADABLE, Walk};

/// Files that one side would get from the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Files to copy.
    pub files: u64,
    /// Of these, how many replace another.
    pub replaced: u64,
    /// Files to delete.
    pub deleted: u64,
    /// Bytes to copy.
    pub bytes: u64,
    /// Bytes of files that are deleted.
    pub freed: u64,
    /// Bytes by which replaced files grow.
    pub growth: u64,
    /// Largest file to copy.
    pub largest: u64,
    /// Directories that may have to be made.
    pub dirs: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Files that count on the stick.
    pub stick_files: u64,
    /// Files that count on the server.
    pub server_files: u64,
    /// Newest plausible time of a file on the stick, unix seconds.
    pub stick_newest: i64,
    /// Newest plausible time of a file on the server, unix seconds.
    pub server_newest: i64,
    /// Number of files that differ in content or are on one side only.
    pub different: u64,
    /// Changes since the last common state, if there is one.
    pub since: Option<Since>,
    /// What the server would get.
    pub to_server: Change,
    /// What the stick would get.
    pub to_stick: Change,
    /// The first file on the stick that can't be read.
    pub unreadable: Option<String>,
    /// The first name of the stick that the server can't hold, and why.
    pub unfit_for_server: Option<(String, &'static str)>,
    /// The first name of the server that the stick can't hold, and why.
    pub unfit_for_stick: Option<(String, &'static str)>,
    /// What the server's directory looked like.
    pub fingerprint: u64,
}

/// How to look.
#[derive(Clone, Copy)]
pub struct How<'a> {
    /// What the stick's filesystem can keep.
    pub limits: Limits,
    /// `--checksum`: contents count even where size and time are the same.
    pub checksum: bool,
    /// Which times are plausible.
    pub belief: &'a Belief,
    /// Whether what is skipped is told to the operator.
    pub tell: bool,
}

/// Looks at a dataset on the stick (left) and the server (right).
///
/// # Errors
/// `Io`, `Unreadable` for the server's files, `Refused` for a stick that can't be walked.
pub fn survey(stick: Option<&Dir>, server: Option<&Dir>, mut known: Known, how: How<'_>) -> Result<Survey> {
    let mut found = Survey { since: known.is_known().then(Since::default), ..Survey::default() };
    let mut walk = Walk::new(stick, server)?.tolerant().side_by_side();
    let mut print = DefaultHasher::new();
    let mut folded = vec![Folded::default()];
    while let Some(step) = walk.step()? {
        match step {
            Step::Enter { left, right } => {
                print_entry(&mut print, walk.path(), right);
                found.check_names(&walk, left, right, how.limits, folded.last_mut());
                found.to_server.dirs += u64::from(left.is_some());
                found.to_stick.dirs += u64::from(left.is_none());
                folded.push(Folded::default());
            }
            Step::Leave => drop(folded.pop()),
            Step::Skipped(_, UNREADABLE) => found.unreadable(&walk),
            Step::Skipped(side, what) => {
                if how.tell {
                    let place = if side == Side::Left { "on the stick" } else { "on the server" };
                    warn!("skipped {place}: {} ({what})", walk.shown());
                }
            }
            Step::File { left, right } => {
                let (left, right) = (only_file(left), only_file(right));
                print_entry(&mut print, walk.path(), right);
                if walk.path() == meta::NAME {
                    continue;
                }
                found.check_names(&walk, left, right, how.limits, folded.last_mut());
                found.gone(&mut known, Some(walk.path()))?;
                let remembered = known.at(walk.path())?;
                found.file(&walk, left, right, &known, &remembered, how)?;
            }
        }
    }
    found.gone(&mut known, None)?;
    found.fingerprint = print.finish();
    Ok(found)
}

/// The fingerprint of a server's dataset, as [`Survey::fingerprint`]: names, sizes, times, inodes. Links that are
/// added to its files do not change it.
///
/// # Errors
/// `Io`.
pub fn fingerprint(server: &Dir) -> Result<u64> {
    let mut print = DefaultHasher::new();
    let mut walk = Walk::new(None, Some(server))?;
    while let Some(step) = walk.step()? {
        if let Step::Enter { right, .. } | Step::File { right, .. } = step {
            print_entry(&mut print, walk.path(), right);
        }
    }
    Ok(print.finish())
}

/// What a server's dataset looks like to people: names, and sizes and times of files, without `meta.json`. As text, to
/// be compared with what an earlier run wrote down.
///
/// # Errors
/// `Io`.
pub fn look_of(server: &Dir) -> Result<String> {
    let mut print = DefaultHasher::new();
    let mut walk = Walk::new(None, Some(server))?;
    while let Some(step) = walk.step()? {
        if let Step::Enter { right: Some(entry), .. } | Step::File { right: Some(entry), .. } = step
            && walk.path() != meta::NAME
        {
            print_entry(&mut print, walk.path(), Some(Entry { ino: 0, ..entry }));
        }
    }
    Ok(format!("{:016x}", print.finish()))
}

fn print_entry(print: &mut DefaultHasher, path: &[u8], entry: Option<Entry>) {
    let Some(entry) = entry else { return };
    let file = entry.kind == Kind::File;
    // A directory's time and size change with its names, which are in the print themselves.
    (path, file, entry.ino, if file { (entry.size, entry.mtime) } else { (0, 0) }).hash(print);
}

fn only_file(entry: Option<Entry>) -> Option<Entry> {
    entry.filter(|entry| entry.kind == Kind::File)
}

/// A file's hash, read at most once.
struct Lazy<'a> {
    dir: Option<&'a Dir>,
    name: &'a [u8],
    sha256: Option<[u8; 32]>,
}

impl Lazy<'_> {
    fn get(&mut self) -> Result<[u8; 32]> {
        match (self.sha256, self.dir) {
            (Some(sha256), _) => Ok(sha256),
            (None, Some(dir)) => {
                let sha256 = copy::hash(dir, self.name)?;
                self.sha256 = Some(sha256);
                Ok(sha256)
            }
            (None, None) => Err(Error::Failed { why: "no directory".to_owned(), next: "report it" }),
        }
    }
}

impl Survey {
    /// Paths that are on record and on neither side any more, up to where the walk is.
    fn gone(&mut self, known: &mut Known, bound: Option<&[u8]>) -> Result<()> {
        while let Some((_, remembered)) = known.before(bound)? {
            let Some(since) = &mut self.since else {
                continue;
            };
            let never = || Err(Error::Interrupted);
            if remembered.changed_on_stick(known, None, Limits::EXT, never)? {
                since.stick += 1;
                remembered.count_lost(None, since);
            }
            since.server += u64::from(remembered.changed_on_server(None, Limits::EXT, never)?);
            count_base(&remembered, since);
        }
        Ok(())
    }

    fn file(
        &mut self,
        walk: &Walk,
        stick: Option<Entry>,
        server: Option<Entry>,
        known: &Known,
        remembered: &Remembered,
        how: How<'_>,
    ) -> Result<()> {
        let mut stick_hash = Lazy { dir: walk.left(), name: walk.name(), sha256: None };
        let mut server_hash = Lazy { dir: walk.right(), name: walk.name(), sha256: None };
        self.count_side(stick, server, how.belief);
        // The stick's own read errors make it doubtful, not the run: whoever wins, copying it will say so again.
        let equal = match (stick, server) {
            (Some(a), Some(b)) => match same((a.size, a.mtime), (b.size, b.mtime), how.limits) {
                Same::No => false,
                Same::Yes if !how.checksum => true,
                Same::Yes | Same::Content => {
                    let sha256 = server_hash.get()?;
                    self.or_doubt(stick_hash.get())?.is_some_and(|stick| stick == sha256)
                }
            },
            _ => false,
        };
        self.different += u64::from(!equal);
        self.count_copies(stick, server, equal, how);
        if self.since.is_none() {
            return Ok(());
        }
        let on_stick = remembered.changed_on_stick(known, stick.as_ref(), how.limits, || stick_hash.get());
        let on_stick = self.or_doubt(on_stick)?.unwrap_or(true);
        let on_server = remembered.changed_on_server(server.as_ref(), how.limits, || server_hash.get())?;
        if let Some(since) = &mut self.since {
            since.stick += u64::from(on_stick);
            since.server += u64::from(on_server);
            if on_stick {
                remembered.count_lost(stick.as_ref(), since);
            }
            count_base(remembered, since);
        }
        Ok(())
    }

    /// Something on the stick can't even be looked at: it differs, and the stick is doubtful. What is on record of it is
    /// counted when its name is passed, on the server's side or as gone.
    fn unreadable(&mut self, walk: &Walk) {
        warn!("cannot read {} on the stick", walk.shown());
        self.unreadable.get_or_insert_with(|| walk.shown());
        self.stick_files += 1;
        self.different += 1;
    }

    fn or_doubt<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Unreadable { path, source }) => {
                if self.unreadable.is_none() {
                    warn!("cannot read {path}: {source}");
                    self.unreadable = Some(path);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn count_side(&mut self, stick: Option<Entry>, server: Option<Entry>, belief: &Belief) {
        let newest = |so_far: i64, entry: Entry| {
            let time = entry.mtime.div_euclid(1_000_000_000);
            if belief.plausible(time) { so_far.max(time) } else { so_far }
        };
        if let Some(entry) = stick {
            self.stick_files += 1;
            self.stick_newest = newest(self.stick_newest, entry);
        }
        if let Some(entry) = server {
            self.server_files += 1;
            self.server_newest = newest(self.server_newest, entry);
        }
    }

    /// What each side would get: a file is copied unless size, time and (with `--checksum`) content are the same.
    fn count_copies(&mut self, stick: Option<Entry>, server: Option<Entry>, equal: bool, how: How<'_>) {
        let timed = match (stick, server) {
            (Some(a), Some(b)) => same((a.size, a.mtime), (b.size, b.mtime), how.limits) == Same::Yes,
            _ => false,
        };
        if !(equal && timed) {
            self.to_server.count(stick, server);
            self.to_stick.count(server, stick);
        }
    }

    fn check_names(
        &mut self,
        walk: &Walk,
        stick: Option<Entry>,
        server: Option<Entry>,
        limits: Limits,
        folded: Option<&mut Folded>,
    ) {
        if stick.is_some() && self.unfit_for_server.is_none() {
            self.unfit_for_server = unfit_name(walk.name(), Limits::EXT).map(|why| (walk.shown(), why));
        }
        let Some(entry) = server else { return };
        let collides = limits.windows_names && folded.is_some_and(|folded| !folded.insert(walk.name()));
        let why = if collides {
            Some("differs only in case from another name beside it")
        } else if entry.kind == Kind::File && entry.size > limits.max_size {
            Some("larger than the stick's filesystem allows")
        } else {
            unfit_name(walk.name(), limits)
        };
        if self.unfit_for_stick.is_none() {
            self.unfit_for_stick = why.map(|why| (walk.shown(), why));
        }
    }
}

impl Change {
    fn count(&mut self, source: Option<Entry>, target: Option<Entry>) {
        match (source, target) {
            (Some(source), target) => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(source.size);
                self.largest = self.largest.max(source.size);
                self.replaced += u64::from(target.is_some());
                let grows = source.size.saturating_sub(target.map_or(0, |target| target.size));
                self.growth = self.growth.saturating_add(grows);
            }
            (None, Some(target)) => {
                self.deleted += 1;
                self.freed = self.freed.saturating_add(target.size);
            }
            (None, None) => {}
        }
    }
}

fn count_base(remembered: &Remembered, since: &mut Since) {
    if let Some(base) = &remembered.base {
        since.base.0 += 1;
        since.base.1 = since.base.1.saturating_add(base.size);
    }
}

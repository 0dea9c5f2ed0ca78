//! Looks at both sides of a dataset once and gathers everything that a decision and its room need. Changes nothing.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use log::warn;

use super::decide::Since;
use super::meta;
use super::moved;
use super::stick_state::known::{Known, Rule};
use crate::clock::Belief;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::text::Shown;
use crate::tree::copy;
use crate::tree::pairs::Pairs;
use crate::tree::same::{Folded, Limits, Same, is_newer, same, unfit_name};
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
    /// Bytes of replaced and deleted files that have another name: to be kept, they are copied.
    pub shared: u64,
}

/// Content that goes if its side loses (SPEC 6, *lost*).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files.
    pub files: u64,
    /// The first of their names, safe to print.
    pub names: Vec<String>,
    /// The first of them: path and size. Where these are all, the winner is looked through for their content.
    paths: Vec<(Vec<u8>, u64)>,
}

/// So many lost files are named.
const NAMED: usize = 200;
/// So many lost files are looked for under other names.
const SOUGHT: usize = 10_000;

impl Lost {
    /// Adds a file.
    pub fn add(&mut self, path: &[u8]) {
        self.files += 1;
        if self.names.len() < NAMED {
            self.names.push(Shown(path).to_string());
        }
    }

    fn candidate(&mut self, walk: &Walk, entry: Entry) {
        self.add(walk.path());
        if self.paths.len() < SOUGHT {
            self.paths.push((walk.path().to_vec(), entry.size));
        }
    }

    /// The paths of the first of them.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.iter().map(|(path, _)| &path[..])
    }

    /// Without what the winner has under another name, or had in the common state: that content is not lost.
    ///
    /// # Errors
    /// `Io`, `Unreadable`, `Interrupted`.
    pub fn not_elsewhere(self, loser: &Dir, winner: &Dir, known: &dyn Fn() -> Result<Known>) -> Result<Lost> {
        if self.files == 0 || self.files > self.paths.len() as u64 {
            return Ok(self);
        }
        let mut there: HashSet<(u64, [u8; 32])> = HashSet::new();
        let sizes: HashSet<u64> = self.paths.iter().map(|(_, size)| *size).collect();
        let mut pairs = Pairs::new(Some(winner), None, meta::NAME)?;
        while let Some(pair) = pairs.take()? {
            if let Some(entry) = pair.left
                && sizes.contains(&entry.size)
                && let Some(dir) = pairs.walk().left()
                && let Ok(sha256) = copy::hash(dir, pairs.walk().name())
            {
                there.insert((entry.size, sha256));
            }
        }
        if let Some(mut base) = known()?.base {
            while let Some(listed) = base.take()? {
                there
                    .extend(listed.sha256.filter(|_| sizes.contains(&listed.size)).map(|sha256| (listed.size, sha256)));
            }
        }
        let there_sizes: HashSet<u64> = there.iter().map(|(size, _)| *size).collect();
        let mut lost = Lost::default();
        for (path, size) in self.paths {
            // Nothing is read that can't be there.
            let is_there = match loser.below(&path)?.filter(|_| there_sizes.contains(&size)) {
                Some((dir, name)) => copy::hash(&dir, name).is_ok_and(|sha256| there.contains(&(size, sha256))),
                None => false,
            };
            if !is_there {
                lost.add(&path);
                lost.paths.push((path, size));
            }
        }
        Ok(lost)
    }
}

/// Files and bytes, of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Files that are gone, empty or all zero.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// All files.
    pub of_files: u64,
    /// All bytes.
    pub of_bytes: u64,
}

impl Gone {
    /// Whether it is more than half.
    pub fn is_most(&self) -> bool {
        self.files > self.of_files / 2 || self.bytes > self.of_bytes / 2
    }

    fn add(&mut self, size: u64, gone: bool) {
        self.of_files += 1;
        self.of_bytes = self.of_bytes.saturating_add(size);
        if gone {
            self.files += 1;
            self.bytes = self.bytes.saturating_add(size);
        }
    }
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
    /// There is a common state.
    pub based: bool,
    /// Changes since the common state, or since writing that was cut off, if either is known.
    pub since: Option<Since>,
    /// The server's content that the stick never had, if the stick wins.
    pub lost_on_server: Lost,
    /// The stick's content that the server never had, if the server wins.
    pub lost_on_stick: Lost,
    /// Without a common state: files of the server of which the stick has a newer version.
    pub older_on_server: Lost,
    /// Without a common state: files of the stick, not of the server's making, of which the server has a newer version.
    pub older_on_stick: Lost,
    /// What of the common state, or else of the server's dataset, is gone from the stick.
    pub gone: Gone,
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
    /// The first name on the server that is protected against changes (`chattr +i`).
    pub protected: Option<String>,
    /// The same on the stick.
    pub protected_on_stick: Option<String>,
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
    /// Without a common state contents count as well: two files that nobody ever held against each other are not one by size and time.
    pub strict: bool,
}

impl How<'_> {
    /// How a file is held against a list.
    pub fn rule(&self) -> Rule {
        Rule { limits: self.limits, checksum: self.checksum }
    }
}

/// Looks at a dataset on the stick (left) and the server (right), and counts a file that only has another name as not gone. `known` gives the same lists
/// twice, if need be.
///
/// # Errors
/// `Io`, `Unreadable` for the server's files, `Refused` for a stick that can't be walked.
pub fn survey(
    stick: Option<&Dir>,
    server: Option<&Dir>,
    known: &dyn Fn() -> Result<Known>,
    how: How<'_>,
) -> Result<Survey> {
    let mut found = look(stick, server, known()?, how)?;
    if let (true, Some(stick), Some(server)) = (found.gone.is_most(), stick, server) {
        let moved = moved::moved(stick, server, known, how)?;
        found.gone.files = found.gone.files.saturating_sub(moved.files);
        found.gone.bytes = found.gone.bytes.saturating_sub(moved.bytes);
    }
    Ok(found)
}

fn look(stick: Option<&Dir>, server: Option<&Dir>, mut known: Known, how: How<'_>) -> Result<Survey> {
    let since = known.is_known().then(Since::default);
    let mut found = Survey { based: known.base.is_some(), since, ..Survey::default() };
    if let Some(server) = server.filter(|server| server.entry().is_ok_and(|entry| entry.immutable)) {
        found.protected = Some(server.shown(b""));
    }
    if let Some(stick) = stick.filter(|stick| stick.entry().is_ok_and(|entry| entry.immutable)) {
        found.protected_on_stick = Some(stick.shown(b""));
    }
    let mut walk = Walk::new(stick, server)?.tolerant();
    let mut print = DefaultHasher::new();
    let mut folded = vec![Folded::default()];
    while let Some(step) = walk.step()? {
        match step {
            Step::Enter { left, right } => {
                print_entry(&mut print, walk.path(), right);
                found.note_protected(&walk, left, right);
                found.check_names(&walk, (left, right), how.limits, folded.last_mut());
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
                let (left, right) = (Entry::file(left), Entry::file(right));
                print_entry(&mut print, walk.path(), right);
                found.note_protected(&walk, left, right);
                if walk.path() == meta::NAME {
                    continue;
                }
                found.check_names(&walk, (left, right), how.limits, folded.last_mut());
                found.gone(&mut known, Some(walk.path()))?;
                found.file(&walk, (left, right), &mut known, how)?;
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

/// The first name of a dataset that a filesystem can't hold, and why.
///
/// # Errors
/// `Io`.
pub fn fits(dataset: Option<&Dir>, limits: Limits) -> Result<Option<(String, &'static str)>> {
    let mut found = Survey::default();
    let mut walk = Walk::new(None, dataset)?;
    let mut folded = vec![Folded::default()];
    while let Some(step) = walk.step()? {
        match step {
            Step::Enter { right, .. } => {
                found.check_names(&walk, (None, right), limits, folded.last_mut());
                folded.push(Folded::default());
            }
            Step::Leave => drop(folded.pop()),
            Step::File { right, .. } => found.check_names(&walk, (None, Entry::file(right)), limits, folded.last_mut()),
            Step::Skipped(..) => {}
        }
    }
    Ok(found.unfit_for_stick)
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
    fn note_protected(&mut self, walk: &Walk, stick: Option<Entry>, server: Option<Entry>) {
        let immutable = |entry: Option<Entry>| entry.is_some_and(|entry| entry.immutable);
        if immutable(server) {
            self.protected.get_or_insert_with(|| walk.shown());
        }
        if immutable(stick) {
            self.protected_on_stick.get_or_insert_with(|| walk.shown());
        }
    }

    /// Paths that are on record and on neither side any more, up to where the walk is.
    fn gone(&mut self, known: &mut Known, bound: Option<&[u8]>) -> Result<()> {
        while let Some((_, remembered)) = known.before(bound)? {
            let Some(since) = &mut self.since else {
                continue;
            };
            let (never, rule) = (|| Err(Error::Interrupted), Rule { limits: Limits::EXT, checksum: false });
            let on_stick = remembered.changed_on_stick(known, None, rule, never)?;
            since.stick += u64::from(on_stick);
            since.server += u64::from(remembered.changed_on_server(None, rule, never)?);
            if let Some(base) = &remembered.base {
                self.gone.add(base.size, on_stick);
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        walk: &Walk,
        (stick, server): (Option<Entry>, Option<Entry>),
        known: &mut Known,
        how: How<'_>,
    ) -> Result<()> {
        let remembered = &known.at(walk.path())?;
        let mut stick_hash = Lazy { dir: walk.left(), name: walk.name(), sha256: None };
        let mut server_hash = Lazy { dir: walk.right(), name: walk.name(), sha256: None };
        self.count_side(stick, server, how.belief);
        // The stick's own read errors make it doubtful, not the run: whoever wins, copying it will say so again.
        let equal = match (stick, server) {
            (Some(a), Some(b)) => match same((a.size, a.mtime), (b.size, b.mtime), how.limits) {
                Same::No => false,
                Same::Yes if !(how.checksum || (how.strict && self.since.is_none())) => true,
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
            // Without a common state: what the winner lacks, or has older.
            if let Some(server) = server.filter(|_| !equal) {
                let newer = stick.is_some_and(|stick| is_newer(stick.mtime, server.mtime, how.limits));
                // What it has otherwise than it last wrote to that UUID, or new, is its own.
                let went_on =
                    !known.last.is_empty() && !remembered.was_written(&server, how.rule(), || server_hash.get())?;
                if !newer || went_on {
                    self.lost_on_server.candidate(walk, server);
                } else {
                    self.older_on_server.add(walk.path());
                }
            }
            if let Some(stick) = stick.filter(|_| !equal) {
                let newer = server.is_some_and(|server| is_newer(server.mtime, stick.mtime, how.limits));
                let written = remembered.was_written(&stick, how.rule(), || stick_hash.get());
                match (self.or_doubt(written)?.unwrap_or(false), newer) {
                    (true, _) => {}
                    (false, false) => self.lost_on_stick.candidate(walk, stick),
                    (false, true) => self.older_on_stick.add(walk.path()),
                }
            }
            if let Some(server) = server {
                let gone = !equal && self.is_hollow(walk, stick, server.size)?;
                self.gone.add(server.size, gone);
            }
            return Ok(());
        }
        let on_stick = remembered.changed_on_stick(known, stick.as_ref(), how.rule(), || stick_hash.get());
        let on_stick = self.or_doubt(on_stick)?.unwrap_or(true);
        let on_server = remembered.changed_on_server(server.as_ref(), how.rule(), || server_hash.get())?;
        if let Some(server) = server.filter(|_| on_server && !equal) {
            self.lost_on_server.candidate(walk, server);
        }
        if let Some(stick) = stick.filter(|_| on_stick && !equal) {
            self.lost_on_stick.candidate(walk, stick);
        }
        if let Some(base) = &remembered.base {
            let gone = on_stick && self.is_hollow(walk, stick, base.size)?;
            self.gone.add(base.size, gone);
        }
        if let Some(since) = &mut self.since {
            since.stick += u64::from(on_stick);
            since.server += u64::from(on_server);
        }
        Ok(())
    }

    /// Whether a file of so many bytes is gone from the stick, or nothing of it is left there.
    fn is_hollow(&mut self, walk: &Walk, stick: Option<Entry>, size: u64) -> Result<bool> {
        match (stick, walk.left()) {
            (Some(stick), Some(dir)) if stick.size > 0 && size > 0 => {
                Ok(self.or_doubt(copy::is_all_zero(dir, walk.name()))?.unwrap_or(false))
            }
            (Some(stick), _) => Ok(stick.size == 0 && size > 0),
            (None, _) => Ok(true),
        }
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
        (stick, server): (Option<Entry>, Option<Entry>),
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
    /// Adds a file of so many bytes that the target has and gets again.
    pub fn count_again(&mut self, size: u64) {
        self.files += 1;
        self.replaced += 1;
        self.bytes = self.bytes.saturating_add(size);
        self.largest = self.largest.max(size);
    }

    /// Adds a file that the target gets from the source, or loses.
    pub fn count(&mut self, source: Option<Entry>, target: Option<Entry>) {
        let shared = target.filter(|target| target.kind == Kind::File && target.links > 1);
        self.shared = self.shared.saturating_add(shared.map_or(0, |shared| shared.size));
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

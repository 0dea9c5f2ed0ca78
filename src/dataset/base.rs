//! What the server remembers of each stick, by the stick's UUID: for each dataset the last common state (`.base`), and
//! while the stick is being written to what it held before and what it is to hold (`.pending-N`), so that after a
//! pulled stick our own half-done work is never taken for somebody's edit (SPEC 6).

mod put;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;

use log::warn;

use super::Dataset;
use super::decide::Since;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry};
use crate::tree::manifest::{self, Header, Listed, State, Writer, path_order};
use crate::tree::same::{Limits, Same, same};
use crate::tree::stream::Stream;

/// The records of one stick.
pub struct Records {
    /// None where nothing is on record and nothing may be made (a dry run).
    dir: Option<Dir>,
    server_id: String,
    /// Inode, size and time of those that this run has read from end to end: a record is never changed in place.
    sound: RefCell<Vec<(u64, u64, i64)>>,
}

/// The last common state and what an interrupted write-back leaves to be told apart.
pub struct Known {
    /// The last common state, if there is one that the stick agrees with.
    pub base: Option<Stream>,
    /// What the stick held and was to hold when writing to it was cut off: in pairs.
    pub pending: Vec<Stream>,
}

impl Records {
    /// Opens the records of the stick with that UUID below the server's state directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(state: Option<&Dir>, uuid: &str, server_id: &str, dry_run: bool) -> Result<Records> {
        let name: String = uuid.chars().filter(|c| c.is_ascii_hexdigit() || *c == '-').collect();
        let name = if name.is_empty() { "none".to_owned() } else { name.to_ascii_lowercase() };
        let dir = match state {
            None => None,
            Some(state) if dry_run => match state.sub(b"sticks")? {
                Some(sticks) => sticks.sub(name.as_bytes())?,
                None => None,
            },
            Some(state) => Some(state.make(b"sticks", 0o700)?.make(name.as_bytes(), 0o700)?),
        };
        Ok(Records { dir, server_id: server_id.to_owned(), sound: RefCell::default() })
    }

    /// What is known of a dataset on the stick, whose own manifest begins with `on_stick`.
    ///
    /// # Errors
    /// `Io`.
    pub fn known(&self, dataset: Dataset, on_stick: Option<&Header>) -> Result<Known> {
        let mut known = Known { base: None, pending: Vec::new() };
        let Some(dir) = &self.dir else {
            return Ok(known);
        };
        for name in pending_names(dir, dataset)?.iter().filter(|name| name.ends_with(b"-before")) {
            let planned = [name.strip_suffix(b"-before").unwrap_or(name), b"-planned"].concat();
            // Without its second half nothing had been written to the stick yet.
            if let (Some(before), Some(planned)) = (self.open_sound(name)?, self.open_sound(&planned)?) {
                known.pending.extend([before, planned]);
            }
        }
        let Some(base) = self.open_sound(&base_name(dataset))? else {
            return Ok(known);
        };
        let mut runs: Vec<&str> = known.pending.iter().filter_map(|stream| stream.run(dataset.name())).collect();
        runs.extend(base.run(dataset.name()));
        runs.extend(base.header().previous.as_deref());
        let named = on_stick.map(|header| header.runs.get(dataset.name()).map(String::as_str));
        match named {
            // The stick names a run that we know nothing of: an old copy of it, or another server wrote it since.
            Some(named) if !named.is_some_and(|named| runs.contains(&named)) => {
                warn!(
                    "{}: the stick's manifest is of a run that this server does not know: no common state",
                    dataset.name()
                );
            }
            _ => known.base = Some(base),
        }
        Ok(known)
    }

    /// The id of the run that the last common state is from.
    ///
    /// # Errors
    /// `Io`.
    pub fn base_run(&self, dataset: Dataset) -> Result<Option<String>> {
        Ok(self.open_sound(&base_name(dataset))?.and_then(|base| base.run(dataset.name()).map(str::to_owned)))
    }

    /// Starts a record (`next`, `before` or `planned`). It counts only after [`Records::promote`] or
    /// [`Records::add_pending`].
    ///
    /// # Errors
    /// `Io`.
    pub fn start(&self, dataset: Dataset, name: &str, run: &str) -> Result<Writer<File>> {
        let dir = self.to_write()?;
        let header = Header {
            runs: BTreeMap::from([(dataset.name().to_owned(), run.to_owned())]),
            previous: self.base_run(dataset)?,
            ..Header::complete(&self.server_id)
        };
        let name = format!("{}.{name}", dataset.name());
        dir.remove(name.as_bytes())?;
        let file = dir.create(name.as_bytes(), 0o600)?;
        Writer::new(file, &header).map_err(|error| Error::io("write", &dir.path_of(name.as_bytes()), error))
    }

    /// Ends a record: durable, not yet counting.
    ///
    /// # Errors
    /// `Io`.
    pub fn end(&self, writer: Writer<File>) -> Result<()> {
        let dir = self.to_write()?;
        writer.finish().and_then(|file| file.sync_all()).map_err(|error| Error::io("write in", dir.path(), error))
    }

    /// Makes two ended records, what the stick holds (`before`) and what it is to hold (`planned`), those that tell our
    /// half-done writing from edits. From here on the stick may be written to.
    ///
    /// # Errors
    /// `Io`.
    pub fn add_pending(&self, dataset: Dataset) -> Result<()> {
        let dir = self.to_write()?;
        let name = dataset.name();
        let number = pending_names(dir, dataset)?.len();
        for half in ["before", "planned"] {
            let from = format!("{name}.{half}");
            dir.rename(from.as_bytes(), dir, format!("{name}.pending-{number:06}-{half}").as_bytes())?;
        }
        dir.sync()
    }

    /// Whether writing to the stick was cut off.
    ///
    /// # Errors
    /// `Io`.
    pub fn has_pending(&self, dataset: Dataset) -> Result<bool> {
        match &self.dir {
            Some(dir) => Ok(pending_names(dir, dataset)?.iter().any(|name| name.ends_with(b"-planned"))),
            None => Ok(false),
        }
    }

    /// Makes the ended record `next` the last common state, durably, and forgets what was pending. Nothing to do if
    /// there is no such record.
    ///
    /// # Errors
    /// `Io`.
    pub fn promote(&self, dataset: Dataset) -> Result<()> {
        let dir = self.to_write()?;
        let next = format!("{}.next", dataset.name());
        if dir.look(next.as_bytes())?.is_none() {
            return Ok(());
        }
        dir.rename(next.as_bytes(), dir, &base_name(dataset))?;
        dir.sync()?;
        // A crash in between leaves pending records beside a newer base: then the stick is written once more.
        for name in pending_names(dir, dataset)? {
            dir.remove(&name)?;
        }
        dir.sync()
    }

    /// Every file of the last common state of a dataset, in order.
    ///
    /// # Errors
    /// `Io`.
    pub fn base(&self, dataset: Dataset) -> Result<Option<Stream>> {
        self.open_sound(&base_name(dataset))
    }

    /// The directory of the records, if there is one.
    pub fn dir(&self) -> Option<&Dir> {
        self.dir.as_ref()
    }

    /// Opens a record if it is there and sound from end to end. One that is torn counts as absent. One that the disk does
    /// not give now is an error: without it an edit on the stick would look like the server's older state, and lose against
    /// it.
    fn open_sound(&self, name: &[u8]) -> Result<Option<Stream>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let Some((file, entry)) = dir.read_if_there(name)? else { return Ok(None) };
        let read = (entry.ino, entry.size, entry.mtime);
        if !self.sound.borrow().contains(&read) {
            match manifest::check(file) {
                Ok(_) => self.sound.borrow_mut().push(read),
                Err(source) if source.raw_os_error().is_some() => {
                    return Err(Error::Unreadable { path: dir.shown(name), source });
                }
                Err(error) => {
                    warn!("{} is not used: {error}", dir.shown(name));
                    return Ok(None);
                }
            }
        }
        let (file, _) = dir.read(name)?;
        Stream::new(file, dir.shown(name), b"").map(Some)
    }

    fn to_write(&self) -> Result<&Dir> {
        self.dir.as_ref().ok_or_else(|| Error::Failed {
            why: "a dry run wanted to write a record".to_owned(),
            next: "report it: this is a fault of the program",
        })
    }
}

fn base_name(dataset: Dataset) -> Vec<u8> {
    format!("{}.base", dataset.name()).into_bytes()
}

fn pending_names(dir: &Dir, dataset: Dataset) -> Result<Vec<Vec<u8>>> {
    let prefix = format!("{}.pending-", dataset.name()).into_bytes();
    Ok(dir.names()?.iter().filter(|name| name.starts_with(&prefix)).map(<[u8]>::to_vec).collect())
}

/// Writes the stick's own manifest to `file`: the last common states of both datasets, or what an undo put there since,
/// or (`Incomplete`) only that a run is changing the stick.
///
/// # Errors
/// `Unreadable`, `Io`.
pub fn write_stick_manifest(records: &Records, state: State, file: File, shown: &std::path::Path) -> Result<()> {
    let fail = |error| Error::io("write", shown, error);
    let mut runs = BTreeMap::new();
    for dataset in Dataset::ALL {
        runs.extend(records.base_run(dataset)?.map(|run| (dataset.name().to_owned(), run)));
    }
    let header = Header { state, runs, ..Header::complete(&records.server_id) };
    let mut writer = Writer::new(file, &header).map_err(fail)?;
    // In walk order: docviewer before master.
    let mut datasets = Dataset::ALL;
    datasets.sort_by_key(|dataset| dataset.name());
    for dataset in datasets.into_iter().filter(|_| state == State::Complete) {
        let Some(mut files) = records.put(dataset)?.map_or_else(|| records.base(dataset), |put| Ok(Some(put)))? else {
            continue;
        };
        while let Some(mut listed) = files.take()? {
            listed.path = [dataset.prefix(), &listed.path].concat();
            writer.push(&listed).map_err(fail)?;
        }
    }
    writer.finish().and_then(|file| file.sync_all()).map_err(fail)
}

/// What the records say of one path.
#[derive(Default)]
pub struct Remembered {
    /// In the last common state.
    pub base: Option<Listed>,
    /// In the records of interrupted writing, in pairs (before, planned).
    pub pending: Vec<Option<Listed>>,
}

impl Known {
    /// Whether anything tells edits from what was there.
    pub fn is_known(&self) -> bool {
        self.base.is_some() || !self.pending.is_empty()
    }

    /// The first path that is on record and comes before `bound` (or, without one, at all), with what is said of it;
    /// it is passed then.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn before(&mut self, bound: Option<&[u8]>) -> Result<Option<(Vec<u8>, Remembered)>> {
        let heads = self.base.iter().chain(&self.pending).filter_map(|stream| stream.head());
        let Some(first) = heads.map(|head| &head.path).min_by(|a, b| path_order(a, b)).cloned() else {
            return Ok(None);
        };
        if bound.is_some_and(|bound| path_order(&first, bound).is_ge()) {
            return Ok(None);
        }
        let remembered = self.at(&first)?;
        Ok(Some((first, remembered)))
    }

    /// What is on record of `path`; it is passed then.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn at(&mut self, path: &[u8]) -> Result<Remembered> {
        let take = |stream: &mut Stream| match stream.head() {
            Some(head) if head.path == path => stream.take(),
            _ => Ok(None),
        };
        let base = self.base.as_mut().map(take).transpose()?.flatten();
        let pending = self.pending.iter_mut().map(take).collect::<Result<_>>()?;
        Ok(Remembered { base, pending })
    }
}

impl Remembered {
    /// Whether a file of the stick is neither as in the common state nor as our own interrupted writing may have left
    /// it. `hash` is asked only if size and time leave it open.
    ///
    /// # Errors
    /// Of `hash`.
    pub fn changed_on_stick(
        &self,
        known: &Known,
        entry: Option<&Entry>,
        limits: Limits,
        hash: impl FnMut() -> Result<[u8; 32]>,
    ) -> Result<bool> {
        let states: Vec<Option<&Listed>> =
            known.base.iter().map(|_| self.base.as_ref()).chain(self.pending.iter().map(Option::as_ref)).collect();
        if self.may_be_torn() && entry.is_none_or(|entry| entry.size == 0) {
            return Ok(false);
        }
        differs_from_all(&states, entry, limits, hash)
    }

    /// Whether a file of the server is not as in the common state.
    ///
    /// # Errors
    /// Of `hash`.
    pub fn changed_on_server(
        &self,
        entry: Option<&Entry>,
        limits: Limits,
        hash: impl FnMut() -> Result<[u8; 32]>,
    ) -> Result<bool> {
        differs_from_all(&[self.base.as_ref()], entry, limits, hash)
    }

    /// Writing to this path was cut off: on FAT the file may be missing or empty then, and nobody did that.
    fn may_be_torn(&self) -> bool {
        let state = |listed: &Option<Listed>| listed.as_ref().map(|listed| (listed.size, listed.mtime));
        self.pending.chunks(2).any(|pair| pair.first().map(state) != pair.get(1).map(state))
    }

    /// Counts a path whose stick side changed.
    pub fn count_lost(&self, entry: Option<&Entry>, since: &mut Since) {
        let Some(base) = &self.base else { return };
        if entry.is_none_or(|entry| entry.size == 0 && base.size > 0) {
            since.lost.0 += 1;
            since.lost.1 = since.lost.1.saturating_add(base.size);
        }
    }
}

fn differs_from_all(
    states: &[Option<&Listed>],
    entry: Option<&Entry>,
    limits: Limits,
    mut hash: impl FnMut() -> Result<[u8; 32]>,
) -> Result<bool> {
    let Some(entry) = entry else {
        return Ok(states.iter().all(Option::is_some));
    };
    let mut to_hash = Vec::new();
    for listed in states.iter().copied().flatten() {
        match same((listed.size, listed.mtime), (entry.size, entry.mtime), limits) {
            Same::Yes => return Ok(false),
            Same::Content => to_hash.extend(listed.sha256),
            Same::No => {}
        }
    }
    if to_hash.is_empty() {
        return Ok(true);
    }
    let sha256 = hash()?;
    Ok(!to_hash.contains(&sha256))
}

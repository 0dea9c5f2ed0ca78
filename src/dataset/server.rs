//! The server's side: where the datasets are, what is kept beside them, and what the records say of the clock.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Dataset;
use super::meta::Meta;
use super::places::check_places;
use crate::clock::{Belief, Clock, YEAR_2000};
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::lock::Lock;
use crate::os::random;
use crate::settings::{STATE_DIR, STATE_LOCK, Settings};
use crate::text::Shown;

const STATE: &[u8] = STATE_DIR.as_bytes();
const UNDO: &[u8] = b"undo";
/// The marker in `.toolmaster` that `provision` writes last: the server's units do nothing without it.
pub const PROVISIONED: &str = "provisioned";
/// The sticks of other servers that were restored from whole, by UUID, one a line.
const RESTORED: &[u8] = b"restored-from";
/// So much of it is read, bytes; the oldest lines go.
const MAX_RESTORED: usize = 4096;
/// The number of the last snapshot: kept apart from the snapshots, so that none is used again once they are removed.
const SNAPSHOTS: &str = "snapshot-number";
/// What of its database a recovery could not bring back, a line each.
const LEFT_OUT: &[u8] = b"left-out";
/// No list of that is longer, bytes.
const MAX_LEFT_OUT: u64 = 1 << 20;
/// The number of the last export.
const EXPORTS: &str = "exports";
/// No clock of ours shows a later time (the year 2200): what says so is in other units.
const YEAR_2200: i64 = 7_258_118_400;
/// systemd-timesyncd makes this file once the clock is synchronised (systemd-timesyncd.service(8)).
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// The server's directories.
pub struct Server {
    root: Dir,
    /// `.toolmaster`; none in a dry run on a server that has none yet.
    pub state: Option<Dir>,
    /// The server's id; empty in a dry run on a server that has none yet.
    pub id: String,
    places: [(Dataset, Dir, Vec<u8>); 2],
    dry_run: bool,
}

impl Server {
    /// Opens the server's directories and makes those that it keeps for itself, unless nothing may change.
    ///
    /// # Errors
    /// `Config` if the root is missing, or a dataset lies where none may ([`check_places`]); `Io`.
    pub fn open(settings: &Settings, dry_run: bool) -> Result<Server> {
        let root =
            Dir::open_if_there(&settings.server_root).map_err(real(&settings.server_root))?.ok_or_else(|| {
                Error::Config {
                    why: format!("the server's directory {} is missing", settings.server_root.display()),
                    next: "check that the data disk is there and SERVER_ROOT is right",
                }
            })?;
        let mut kept = vec![settings.snapshot_root.as_path()];
        kept.extend(Some(settings.snapshot_dir.as_path()).filter(|dir| *dir != settings.snapshot_root && dir.exists()));
        check(&root, [&settings.master_dir, &settings.doc_dir], &kept)?;
        let state = if dry_run { root.sub(STATE)? } else { Some(root.make(STATE, 0o700)?) };
        let id = match &state {
            Some(state) => server_id(state, dry_run)?,
            None => String::new(),
        };
        let places = [
            place(Dataset::Master, &settings.master_dir, &root)?,
            place(Dataset::Docviewer, &settings.doc_dir, &root)?,
        ];
        Ok(Server { root, state, id, places, dry_run })
    }

    /// The directory that holds a dataset's directory, and the latter's name.
    pub fn place(&self, dataset: Dataset) -> (&Dir, &[u8]) {
        let [master, docviewer] = &self.places;
        let (_, parent, name) = if dataset == master.0 { master } else { docviewer };
        (parent, name)
    }

    /// A dataset's directory, if there is one.
    ///
    /// # Errors
    /// `Io`.
    pub fn dataset(&self, dataset: Dataset) -> Result<Option<Dir>> {
        let (parent, name) = self.place(dataset);
        parent.sub(name)
    }

    /// `undo/`, made if it is not there.
    ///
    /// # Errors
    /// `Config` if it is no real directory of the root's filesystem; `Io`.
    pub fn undo(&self) -> Result<Dir> {
        let undo = self.root.make(UNDO, 0o755).map_err(real(&self.root.path_of(UNDO)))?;
        if undo.entry()?.dev == self.root.entry()?.dev { Ok(undo) } else { Err(not_real(undo.path())) }
    }

    /// Whether a name in a directory (a path without links) is a dataset, below one, or in what is kept beside them.
    pub fn keeps(&self, parent: &Path, name: &OsStr) -> bool {
        let path = parent.join(name);
        let root = self.root.path().canonicalize().unwrap_or_else(|_| self.root.path().to_owned());
        let mut own = vec![root.join(OsStr::from_bytes(STATE)), root.join(OsStr::from_bytes(UNDO))];
        for (_, parent, name) in &self.places {
            let parent = parent.path().canonicalize().unwrap_or_else(|_| parent.path().to_owned());
            own.push(parent.join(OsStr::from_bytes(name)));
        }
        own.iter().any(|own| path.starts_with(own))
    }

    /// `undo/`, if it is there.
    ///
    /// # Errors
    /// `Config` if it is no real directory.
    pub fn undo_if_there(&self) -> Result<Option<Dir>> {
        self.root.sub(UNDO).map_err(real(&self.root.path_of(UNDO)))
    }

    /// The directory of the snapshots, made if it is not there (not in a dry run, which gets none then).
    ///
    /// # Errors
    /// `Config` if it is no real directory of the root's filesystem; `Io`.
    pub fn snapshots(&self, path: &Path) -> Result<Option<Dir>> {
        let [master, docviewer] = self.places.each_ref().map(|(_, parent, name)| parent.path_of(name));
        check(&self.root, [&master, &docviewer], &[path])?;
        if let (false, Some(parent), Some(name)) = (self.dry_run, path.parent(), path.file_name())
            && let Some(parent) = Dir::open_if_there(parent).map_err(real(path))?
        {
            parent.make_new(name.as_encoded_bytes(), 0o700)?;
        }
        match Dir::open_if_there(path).map_err(real(path))? {
            Some(dir) if dir.entry()?.dev == self.root.entry()?.dev => Ok(Some(dir)),
            None if self.dry_run => Ok(None),
            _ => Err(not_real(path)),
        }
    }

    /// Locks the snapshots against other runs; in a dry run nothing, since that changes nothing.
    ///
    /// # Errors
    /// `Busy`, `Io`, `Interrupted`.
    pub fn lock_snapshots(&self) -> Result<Option<Lock>> {
        match &self.state {
            Some(state) if !self.dry_run => Lock::file(state, "snapshots.lock").map(Some),
            _ => Ok(None),
        }
    }

    /// Who owns the server's root: the owner of a dataset that is made anew.
    ///
    /// # Errors
    /// `Io`.
    pub fn owner(&self) -> Result<(u32, u32)> {
        Ok(self.root.entry()?.owner)
    }

    /// Who owns a dataset: as it is live, or as one that is made anew.
    ///
    /// # Errors
    /// `Io`.
    pub fn owner_of(&self, live: Option<&Dir>) -> Result<(u32, u32)> {
        live.map_or_else(|| self.owner(), |live| Ok(live.entry()?.owner))
    }

    /// Locks a dataset against other runs; in a dry run nothing, since that changes nothing.
    ///
    /// # Errors
    /// `Busy`, `Io`, `Interrupted`.
    pub fn lock(&self, dataset: Dataset) -> Result<Option<Lock>> {
        match &self.state {
            Some(state) if !self.dry_run => Lock::file(state, &format!("{}.lock", dataset.name())).map(Some),
            _ => Ok(None),
        }
    }

    /// What is to be thought of the clock, from the records and both datasets' `meta.json`. A clock that is believed is
    /// noted as seen (not in a dry run).
    ///
    /// # Errors
    /// `Io`.
    pub fn belief(&self, clock: Clock) -> Result<Belief> {
        let now = clock.now();
        let mut claimed = 0;
        for dataset in Dataset::ALL {
            if let Some(dir) = self.dataset(dataset)? {
                claimed = claimed
                    .max(Meta::read(&dir)?.claimed.filter(|time| (YEAR_2000..YEAR_2200).contains(time)).unwrap_or(0));
            }
        }
        let confirmed = self.recorded("clock-confirmed")?;
        let sure = Path::new(SYNCHRONISED).exists() || (confirmed > 0 && now >= confirmed);
        let belief = Belief::new(now, self.recorded("clock-seen")?, claimed, sure);
        if belief.believed {
            self.write_state("clock-seen", now)?;
        }
        Ok(belief)
    }

    /// The number of an export, by which terminals tell an older stick from a newer one, whatever clocks say: one more than the last; the first is the
    /// time, so that a server that takes another's place goes on with higher ones.
    ///
    /// # Errors
    /// `Io`, `Busy`.
    pub fn next_export(&self, now: i64) -> Result<i64> {
        let last = self.recorded(EXPORTS)?;
        let next = if last > 0 { last.saturating_add(1) } else { now.max(YEAR_2000) };
        self.write_state(EXPORTS, next).map(|()| next)
    }

    /// The number of the next snapshot: one more than the last that was ever used here, and than `highest`, the highest of those that are there.
    ///
    /// # Errors
    /// `Io`.
    pub fn next_snapshot_number(&self, highest: u64) -> Result<u64> {
        Ok(self.last_snapshot_number()?.max(highest).saturating_add(1))
    }

    fn last_snapshot_number(&self) -> Result<u64> {
        Ok(u64::try_from(self.recorded(SNAPSHOTS)?).unwrap_or(0))
    }

    /// Notes that a snapshot of that number is about to appear here, or exists elsewhere: later ones get higher numbers. Durable when this returns.
    ///
    /// # Errors
    /// `Io`, `Busy`.
    pub fn raise_snapshot_number(&self, number: u64) -> Result<()> {
        if number <= self.last_snapshot_number()? {
            return Ok(());
        }
        self.write_state(SNAPSHOTS, i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// The number of the snapshot with which an operator acknowledged that a part is empty; 0 if nobody did.
    ///
    /// # Errors
    /// `Io`.
    pub fn accepted_empty(&self, part: &str) -> Result<u64> {
        Ok(u64::try_from(self.recorded(&format!("empty-{part}"))?).unwrap_or(0))
    }

    /// An operator acknowledges that a part is empty in the snapshot of that number.
    ///
    /// # Errors
    /// `Io`, `Busy`.
    pub fn accept_empty(&self, part: &str, number: u64) -> Result<()> {
        self.write_state(&format!("empty-{part}"), i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// Notes what of its database a recovery could not bring back, until an operator has seen to it; none ends that. Durable when this
    /// returns.
    ///
    /// # Errors
    /// `Io`, `Busy`.
    pub fn note_left_out(&self, names: &[String]) -> Result<()> {
        let Some(state) = self.state.as_ref().filter(|_| !self.dry_run) else { return Ok(()) };
        let _lock = Lock::file(state, STATE_LOCK)?;
        if names.is_empty() {
            state.remove(LEFT_OUT)?;
            return state.sync();
        }
        let text: String = names.iter().map(|name| format!("{}\n", Shown(name.as_bytes()))).collect();
        atomic::write(state, LEFT_OUT, text.as_bytes(), 0o600)
    }

    /// What of its database a recovery could not bring back, as [`Server::note_left_out`] noted it.
    ///
    /// # Errors
    /// `Io`.
    pub fn left_out(&self) -> Result<Vec<String>> {
        let Some(state) = &self.state else { return Ok(Vec::new()) };
        let Some((file, _)) = state.read_if_there(LEFT_OUT)? else { return Ok(Vec::new()) };
        let text = std::io::read_to_string(std::io::Read::take(file, MAX_LEFT_OUT));
        let text = text.map_err(|source| Error::Unreadable { path: state.shown(LEFT_OUT), source })?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Marks the machine as a server that is complete. False if it is marked already.
    ///
    /// # Errors
    /// `Io`.
    pub fn set_provisioned(&self) -> Result<bool> {
        match &self.state {
            Some(state) if !self.dry_run && state.look(PROVISIONED.as_bytes())?.is_none() => {
                atomic::write(state, PROVISIONED.as_bytes(), b"", 0o644).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// An operator says that the clock is right: records later than `now` stop to count.
    ///
    /// # Errors
    /// `Io`.
    pub fn confirm_clock(&self, now: i64) -> Result<()> {
        self.write_state("clock-confirmed", now)?;
        self.write_state("clock-seen", now)
    }

    /// The clock has shown this time once, here or on the server whose place this one takes: an earlier one is not believed.
    ///
    /// # Errors
    /// `Io`, `Busy`.
    pub fn note_seen(&self, time: i64) -> Result<()> {
        if time > self.recorded("clock-seen")? { self.write_state("clock-seen", time) } else { Ok(()) }
    }

    /// Takes another server's id, and with it its sticks.
    ///
    /// # Errors
    /// `Io`, `Busy`.
    pub fn set_id(&self, id: &str) -> Result<()> {
        let Some(state) = self.state.as_ref().filter(|_| !self.dry_run) else { return Ok(()) };
        let _lock = Lock::file(state, STATE_LOCK)?;
        atomic::write(state, b"server-id", format!("{id}\n").as_bytes(), 0o600)
    }

    /// Notes that a backup stick was restored from whole: what another server wrote on it is here now.
    ///
    /// # Errors
    /// `Io`, `Busy`.
    pub fn note_restored(&self, uuid: &str) -> Result<()> {
        let (Some(state), false) = (&self.state, self.was_restored(uuid)?) else { return Ok(()) };
        let _lock = Lock::file(state, STATE_LOCK)?;
        let text = format!("{uuid}\n{}", self.restored()?);
        let end = text.floor_char_boundary(MAX_RESTORED);
        let end = text.get(..end).and_then(|text| text.rfind('\n')).map_or(0, |at| at + 1);
        atomic::write(state, RESTORED, text.get(..end).unwrap_or_default().as_bytes(), 0o600)
    }

    /// Whether a stick was restored from whole.
    ///
    /// # Errors
    /// `Io`.
    pub fn was_restored(&self, uuid: &str) -> Result<bool> {
        Ok(!uuid.is_empty() && self.restored()?.lines().any(|line| line == uuid))
    }

    fn restored(&self) -> Result<String> {
        let Some(state) = &self.state else { return Ok(String::new()) };
        let Some((file, _)) = state.read_if_there(RESTORED)? else { return Ok(String::new()) };
        Ok(std::io::read_to_string(std::io::Read::take(file, MAX_RESTORED as u64)).unwrap_or_default())
    }

    fn recorded(&self, name: &str) -> Result<i64> {
        let Some(state) = &self.state else {
            return Ok(0);
        };
        let Some((file, _)) = state.read_if_there(name.as_bytes())? else {
            return Ok(0);
        };
        let text = std::io::read_to_string(std::io::Read::take(file, 32)).unwrap_or_default();
        Ok(text.trim().parse().unwrap_or(0))
    }

    fn write_state(&self, name: &str, time: i64) -> Result<()> {
        let Some(state) = self.state.as_ref().filter(|_| !self.dry_run) else {
            return Ok(());
        };
        let _lock = Lock::file(state, STATE_LOCK)?;
        atomic::write(state, name.as_bytes(), format!("{time}\n").as_bytes(), 0o600)
    }
}

/// Holds the places of datasets, snapshots and what the program keeps for itself against one another.
fn check(root: &Dir, [master, docviewer]: [&Path; 2], snapshots: &[&Path]) -> Result<()> {
    let (undo, state) = (root.path_of(UNDO), root.path_of(STATE));
    let mut places = vec![
        ("SERVER_MASTER_DIR", master),
        ("SERVER_DOC_DIR", docviewer),
        ("the directory of undo", &undo),
        ("the program's own directory", &state),
    ];
    places.extend(snapshots.iter().map(|path| ("the directory of snapshots", *path)));
    check_places(&places)
}

fn not_real(path: &Path) -> Error {
    Error::Config {
        why: format!("{} is not a real directory on the server's data filesystem", path.display()),
        next: "put a real directory there, no link and no mount",
    }
}

/// What the error of opening a directory means: something else in its place is a matter of configuration.
fn real(path: &Path) -> impl Fn(Error) -> Error {
    move |error| if error.is_no_directory() { not_real(path) } else { error }
}

/// A dataset's parent directory and name; what is there must be a real directory of the root's filesystem, because it
/// is exchanged by renaming.
fn place(dataset: Dataset, path: &Path, root: &Dir) -> Result<(Dataset, Dir, Vec<u8>)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(not_real(path));
    };
    let parent = Dir::open_if_there(parent).map_err(real(path))?.ok_or_else(|| not_real(path))?;
    let name = name.as_encoded_bytes().to_vec();
    let dev = root.entry()?.dev;
    match parent.look(&name)? {
        Some(Entry { kind: Kind::Dir, dev: its, .. }) if its == dev => Ok((dataset, parent, name)),
        None if parent.entry()?.dev == dev => Ok((dataset, parent, name)),
        _ => Err(not_real(path)),
    }
}

/// The id that manifests name, made once.
fn server_id(state: &Dir, dry_run: bool) -> Result<String> {
    if let Some((file, _)) = state.read_if_there(b"server-id")? {
        let id = std::io::read_to_string(std::io::Read::take(file, 64)).unwrap_or_default().trim().to_owned();
        if !id.is_empty() {
            return Ok(id);
        }
    }
    let id = random::id()?;
    if !dry_run {
        let _lock = Lock::file(state, STATE_LOCK)?;
        if state.look(b"server-id")?.is_some_and(|entry| entry.size > 0) {
            return server_id(state, true);
        }
        atomic::write(state, b"server-id", format!("{id}\n").as_bytes(), 0o600)?;
    }
    Ok(id)
}

//! All that the server knows of a stick, by the stick's UUID (SPEC 6): which manifests it wrote to it, what both held when one of
//! its runs was cut off, and what it was about to write. The common state of a stick is the manifest that lies *on the stick*, if it is one of those;
//! so a clone and an image of last week are each compared with what they held.
//!
//! Files in `.toolmaster/sticks/<uuid>/`; each is written aside, flushed and renamed:
//!
//! | file | what | written | gone |
//! | --- | --- | --- | --- |
//! | `manifests` | SHA-256 of the last 64 manifests | before a manifest gets its name on the stick | never |
//! | `last.json` | the last complete one, whole | with it | never |
//! | `<dataset>.next` | a list under way; counts for nothing | while a run builds | with the next one |
//! | `<dataset>.common` | what both sides hold since a run, and the stick's manifest does not say yet | after an exchange, a write-back, or equality | when sealed |
//! | `<dataset>.pending-N-before`, `-planned` | intent: what the stick held, what it is to hold | before the stick is changed | once `.common` says it |
//! | `base.json` | the common state from which that began | before the mark | when sealed |
//! | `mark` | SHA-256 of the manifest that says `incomplete`, the run, and those that it went on with | before the mark gets its name on the stick | when sealed |
//! | `<dataset>.other` | the same of another stick with that UUID, which has not been sealed yet | before this one's `.common` | when that one is sealed |
//! | `<dataset>.put` | what an undo put on the stick, to be told from edits | after it | when an ingest comes |
//! | `consent` | under which name a `REPLACE` lies on the stick that was taken, and for which datasets it is still to be followed | before it is renamed | when it was followed, or given back |
//! | `mounted` | in which state the stick came | before it is mounted for writing | when it is unmounted |
//!
//! A crash before the mark leaves the stick as it was, with a manifest on record, and intents that nothing refers to. A crash after the mark:
//! the stick says so, and `base.json` and the intents tell our half-done writing from edits. A crash after an exchange on the server: the stick has its
//! old manifest, and `.common` says what both hold since. A crash while sealing leaves the stick one or the other manifest; both are on record.

mod carry_over;
mod consent;
pub mod known;
pub mod mounted;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;

use log::warn;

use super::Dataset;
use super::server::Server;
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::{Dir, Entry};
use crate::text::hex;
use crate::tree::copy;
use crate::tree::manifest::{self, Header, Listed, State, Writer};
use crate::tree::same::Limits;
use crate::tree::stream::Stream;
use known::Known;

/// How many manifests are on record.
const MANIFESTS: usize = 64;
/// A digest as it stands in `manifests`, with its line end.
const LINE: usize = 65;

/// All that the server knows of one stick, and what the stick says of itself.
pub struct StickState {
    /// None where nothing is on record and nothing may be made (a dry run).
    dir: Option<Dir>,
    server_id: String,
    /// This run's id.
    run: String,
    /// What the stick's manifest was when the run began.
    met: Met,
    /// This run has marked the stick as half-done; its common state lies in `base.json` since.
    marked: Cell<bool>,
    /// Where what this stick holds lies, of each dataset: `.common`, or `.other`; nowhere if no run was cut off that noted it.
    slots: RefCell<BTreeMap<&'static str, Vec<u8>>>,
    /// The noted consent is this stick's: another one with its UUID does not use it up.
    has_consent: Cell<bool>,
    /// Inode, size and time of those that this run has read from end to end: a record is never changed in place.
    sound: RefCell<Vec<(u64, u64, i64)>>,
}

/// What is on record of the manifest that says `incomplete`.
struct Mark {
    digest: String,
    /// The run that wrote it, and before it those that it went on with.
    runs: Vec<String>,
}

/// So many runs are named by a mark; so long it is, bytes.
const RUNS: usize = 32;
const MARK: u64 = 4096;

/// What a stick's own manifest is to this server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Met {
    /// A complete one that it wrote: the common state. Its digest and its first line.
    OnRecord(String, Header),
    /// It says that this server's last run on the stick was cut off.
    CutOff(String),
    /// None, a torn one, another server's, or one that is too old. Its digest, if there is one.
    Unknown(Option<String>),
}

impl Met {
    /// The manifest's digest, if there is a manifest; empty if it was lost and only the temporary directory tells of it.
    fn digest(&self) -> Option<&str> {
        match self {
            Met::OnRecord(digest, _) | Met::CutOff(digest) | Met::Unknown(Some(digest)) => Some(digest),
            Met::Unknown(None) => None,
        }
    }
}

/// What lies in `/.toolmaster` on a stick, as far as it tells whose it is.
pub struct OnStick<'a> {
    /// The stick's root.
    pub root: &'a Dir,
    /// `/.toolmaster` on it.
    pub control: Option<Dir>,
    /// The manifest's name in it.
    pub manifest: &'static [u8],
    /// The run that was writing to it, by its temporary directory.
    pub run: Option<String>,
    /// What its filesystem can keep.
    pub limits: Limits,
}

impl StickState {
    /// Opens what is known of the stick with that UUID and holds the stick's manifest against it. `run`: this
    /// run's id.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn open(
        server: &Server,
        uuid: &str,
        run: &str,
        stick: Option<&OnStick<'_>>,
        dry_run: bool,
    ) -> Result<StickState> {
        let name: String = uuid.chars().filter(|c| c.is_ascii_hexdigit() || *c == '-').collect();
        let name = if name.is_empty() { "none".to_owned() } else { name.to_ascii_lowercase() };
        let dir = match &server.state {
            None => None,
            Some(state) if dry_run => match state.sub(b"sticks")? {
                Some(sticks) => sticks.sub(name.as_bytes())?,
                None => None,
            },
            Some(state) => Some(state.make(b"sticks", 0o700)?.make(name.as_bytes(), 0o700)?),
        };
        let mut known = StickState {
            dir,
            server_id: server.id.clone(),
            run: run.to_owned(),
            met: Met::Unknown(None),
            marked: Cell::new(false),
            slots: RefCell::default(),
            has_consent: Cell::new(false),
            sound: RefCell::default(),
        };
        let old = known.carry_over(dry_run)?;
        if let Some(stick) = stick {
            known.met = known.meet(stick, &old)?;
            known.has_consent.set(known.is_consent_of(stick.root)?);
            Dataset::ALL.iter().try_for_each(|dataset| known.look_again(*dataset, stick))?;
        }
        if !dry_run {
            known.forget_sealed()?;
        }
        Ok(known)
    }

    fn meet(&self, stick: &OnStick<'_>, old: &carry_over::Old) -> Result<Met> {
        let by_temp = || match (&stick.run, self.mark()?) {
            (Some(run), Some(mark)) if mark.runs.first() == Some(run) => Ok(Met::CutOff(String::new())),
            _ => Ok(Met::Unknown(None)),
        };
        let Some(control) = &stick.control else { return Ok(Met::Unknown(None)) };
        let Some((file, _)) = control.read_if_there(stick.manifest)? else { return by_temp() };
        let Ok(header) = manifest::check(file) else { return by_temp() };
        let digest = hex(&copy::hash(control, stick.manifest)?);
        if !header.is_complete() {
            let is_ours = self.mark()?.is_some_and(|mark| mark.digest == digest) || old.mark.as_ref() == Some(&digest);
            return Ok(if is_ours { Met::CutOff(digest) } else { Met::Unknown(Some(digest)) });
        }
        let on_record = self.manifests()?.contains(&digest) || old.manifest.as_ref() == Some(&digest);
        Ok(if on_record { Met::OnRecord(digest, header) } else { Met::Unknown(Some(digest)) })
    }

    /// A run that was cut off once its manifest had its name on the stick has left what that says better.
    fn forget_sealed(&self) -> Result<()> {
        let (Met::OnRecord(_, header), Some(dir)) = (&self.met, &self.dir) else { return Ok(()) };
        for dataset in Dataset::ALL {
            for slot in [common_name(dataset), other_name(dataset)] {
                let list = self.open_sound(&slot, b"")?;
                let run = list.as_ref().and_then(|list| list.run(dataset.name()));
                if run.is_some() && run == header.runs.get(dataset.name()).map(String::as_str) {
                    dir.remove(&slot)?;
                }
            }
        }
        match self.mark()? {
            Some(mark) if header.run.is_some() && mark.runs.first() == header.run.as_ref() => self.forget_intents(dir),
            _ => Ok(()),
        }
    }

    /// This run's id.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Whether writing to the stick was cut off.
    pub fn was_cut_off(&self) -> bool {
        matches!(self.met, Met::CutOff(_))
    }

    /// The common state of a dataset, and whatever else tells this server's writing from edits. `root`: the stick's.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn known(&self, dataset: Dataset, stick: &OnStick<'_>) -> Result<Known> {
        let mut known = Known::default();
        let common = self.common(dataset)?;
        if self.is_this_run(dataset, common.as_ref()) {
            known.base = common;
            return Ok(known);
        }
        if let Met::Unknown(_) = self.met {
            let last = [self.open_sound(&common_name(dataset), b"")?, self.open_sound(b"last.json", dataset.prefix())?];
            known.last = last.into_iter().flatten().collect();
            return Ok(known);
        }
        if self.was_cut_off() {
            known.pending = self.pending(dataset)?;
        }
        known.base = if common.is_some() { common } else { self.sealed(dataset, stick)? };
        Ok(known)
    }

    /// As [`StickState::known`], and what an undo put there is no edit either.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn known_and_put(&self, dataset: Dataset, stick: &OnStick<'_>) -> Result<Known> {
        let mut known = self.known(dataset, stick)?;
        let put = || self.open_sound(&put_name(dataset), b"");
        if let (Some(before), Some(planned)) = (put()?, put()?) {
            known.pending.extend([before, planned]);
        }
        Ok(known)
    }

    /// What the manifest that the stick had when the run began says of a dataset.
    fn sealed(&self, dataset: Dataset, stick: &OnStick<'_>) -> Result<Option<Stream>> {
        match (&self.met, &stick.control) {
            (Met::OnRecord(_, header), _) if !header.runs.contains_key(dataset.name()) => Ok(None),
            (Met::OnRecord(..), Some(control)) if !self.marked.get() => {
                let (file, _) = control.read(stick.manifest)?;
                Stream::new(file, control.shown(stick.manifest), dataset.prefix()).map(Some)
            }
            (Met::Unknown(_), _) => Ok(None),
            _ => {
                let base = self.open_sound(b"base.json", dataset.prefix())?;
                Ok(base.filter(|base| base.run(dataset.name()).is_some()))
            }
        }
    }

    fn pending(&self, dataset: Dataset) -> Result<Vec<Stream>> {
        let Some(dir) = &self.dir else { return Ok(Vec::new()) };
        let mut pending = Vec::new();
        for name in pending_names(dir, dataset)?.iter().filter(|name| name.ends_with(b"-before")) {
            let planned = [name.strip_suffix(b"-before").unwrap_or(name), b"-planned"].concat();
            // Without its second half nothing had been written to the stick yet.
            if let (Some(before), Some(planned)) = (self.open_sound(name, b"")?, self.open_sound(&planned, b"")?) {
                pending.extend([before, planned]);
            }
        }
        Ok(pending)
    }

    /// What both sides hold since this run, or since one that was cut off.
    fn common(&self, dataset: Dataset) -> Result<Option<Stream>> {
        let common = self.open_sound(&common_name(dataset), b"")?;
        if self.is_this_run(dataset, common.as_ref()) {
            return Ok(common);
        }
        let slot = self.slots.borrow().get(dataset.name()).cloned();
        slot.map_or(Ok(None), |slot| self.open_sound(&slot, b""))
    }

    /// Looks once more for what a run that was cut off noted: another one may only now have been brought to its end.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn look_again(&self, dataset: Dataset, stick: &OnStick<'_>) -> Result<()> {
        if let Some(slot) = self.slot_of(dataset, stick)? {
            self.slots.borrow_mut().insert(dataset.name(), slot);
        }
        Ok(())
    }

    /// Which of the lists that runs left which were cut off tells what this stick holds. Clones are told apart by the mark, and where no run has
    /// marked the stick, by what is on it: it is as before such a run, or as after it.
    fn slot_of(&self, dataset: Dataset, stick: &OnStick<'_>) -> Result<Option<Vec<u8>>> {
        let digest = self.met.digest().filter(|digest| !digest.is_empty());
        for slot in [common_name(dataset), other_name(dataset)] {
            let Some(list) = self.open_sound(&slot, b"")? else { continue };
            let by_mark = self.is_by_marker(dataset, &list)?;
            let by_digest = digest.is_some() && list.header().previous.as_deref() == digest;
            let is_it = match self.was_cut_off() {
                true => by_mark || by_digest,
                false => by_digest && !by_mark && self.is_as_after(dataset, stick, list)?,
            };
            if is_it {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Whether a list is of a run that the mark names.
    fn is_by_marker(&self, dataset: Dataset, list: &Stream) -> Result<bool> {
        let run = list.run(dataset.name());
        Ok(run.is_some() && self.mark()?.is_some_and(|mark| mark.runs.iter().any(|by| run == Some(by))))
    }

    /// Whether a stick without a mark is as after the run that noted `list`. Where nothing tells, it is as before: so an edit is never taken for one
    /// of what the server has come to hold.
    fn is_as_after(&self, dataset: Dataset, stick: &OnStick<'_>, list: Stream) -> Result<bool> {
        let Some(before) = self.sealed(dataset, stick)? else { return Ok(true) };
        let root = stick.root.sub(dataset.name().as_bytes())?;
        known::is_later(root.as_ref(), [before, list], known::Rule { limits: stick.limits, checksum: false })
    }

    /// What both sides of a dataset hold since this run.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn common_of_this_run(&self, dataset: Dataset) -> Result<Option<Stream>> {
        Ok(self.common(dataset)?.filter(|common| self.is_this_run(dataset, Some(common))))
    }

    fn is_this_run(&self, dataset: Dataset, common: Option<&Stream>) -> bool {
        common.is_some_and(|common| common.run(dataset.name()) == Some(&self.run))
    }

    /// Starts a list (`next`, `before` or `planned`). It counts only after [`StickState::promote`] or
    /// [`StickState::add_intent`]. `time`: when it is so, unix seconds.
    ///
    /// # Errors
    /// `Io`.
    pub fn start(&self, dataset: Dataset, name: &str, time: i64) -> Result<Writer<File>> {
        let dir = self.to_write()?;
        let header = Header {
            runs: BTreeMap::from([(dataset.name().to_owned(), self.run.clone())]),
            times: BTreeMap::from([(dataset.name().to_owned(), time)]),
            previous: self.met.digest().map(str::to_owned),
            ..Header::complete(&self.server_id)
        };
        let name = format!("{}.{name}", dataset.name());
        dir.remove(name.as_bytes())?;
        let file = dir.create(name.as_bytes(), 0o600)?;
        Writer::new(file, &header).map_err(|error| Error::io("write", &dir.path_of(name.as_bytes()), error))
    }

    /// Ends a list: durable, not yet counting.
    ///
    /// # Errors
    /// `Io`.
    pub fn end(&self, writer: Writer<File>) -> Result<()> {
        let dir = self.to_write()?;
        writer.finish().and_then(|file| file.sync_all()).map_err(|error| Error::io("write in", dir.path(), error))
    }

    /// The list that was ended last, and counts for nothing yet.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn next(&self, dataset: Dataset) -> Result<Option<Stream>> {
        self.open_sound(format!("{}.next", dataset.name()).as_bytes(), b"")
    }

    /// Makes two ended lists, what the stick holds (`before`) and what it is to hold (`planned`), an intent. With the mark that follows, the
    /// stick may be written to.
    ///
    /// # Errors
    /// `Io`.
    pub fn add_intent(&self, dataset: Dataset) -> Result<()> {
        let dir = self.to_write()?;
        if !self.was_cut_off() && !self.marked.get() {
            // Of a medium that is another one by now, or never came to be marked.
            self.forget_intents(dir)?;
        }
        let name = dataset.name();
        let number = pending_names(dir, dataset)?.len();
        for half in ["before", "planned"] {
            let from = format!("{name}.{half}");
            dir.rename(from.as_bytes(), dir, format!("{name}.pending-{number:06}-{half}").as_bytes())?;
        }
        dir.sync()
    }

    /// The manifest that marks the stick as half-done, in a file of the server's, to be put on the stick; on record by then.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn make_mark(&self, stick: &OnStick<'_>) -> Result<Vec<u8>> {
        let dir = self.to_write()?;
        let header =
            Header { state: State::Incomplete, run: Some(self.run.clone()), ..Header::complete(&self.server_id) };
        let writer = Writer::new(Vec::new(), &header).and_then(Writer::finish);
        let mark = writer.map_err(|error| Error::io("write in", dir.path(), error))?;
        if !self.marked.get() {
            self.keep_base(dir, stick)?;
        }
        // What both sides held since a run that is being finished now still holds.
        let before = self.mark()?.filter(|_| self.was_cut_off()).map(|mark| mark.runs).unwrap_or_default();
        let runs: Vec<String> = [self.run.clone()].into_iter().chain(before).take(RUNS).collect();
        let line = format!("{} {}\n", hex(&copy::hash_bytes(&mark)), runs.join(" "));
        atomic::write(dir, b"mark", line.as_bytes(), 0o600)?;
        self.marked.set(true);
        Ok(mark)
    }

    /// Copies the common state to where it stays while the stick says `incomplete`.
    fn keep_base(&self, dir: &Dir, stick: &OnStick<'_>) -> Result<()> {
        match (&self.met, &stick.control) {
            (Met::OnRecord(..), Some(control)) => {
                let name = b".base.json.tmp";
                dir.remove(name)?;
                copy::copy_plainly(control, stick.manifest, dir, name)?;
                dir.rename(name, dir, b"base.json")?;
                dir.sync()
            }
            (Met::CutOff(_), _) => Ok(()),
            _ => dir.remove(b"base.json").and_then(|()| dir.sync()),
        }
    }

    fn mark(&self) -> Result<Option<Mark>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let Some((file, _)) = dir.read_if_there(b"mark")? else { return Ok(None) };
        let text = std::io::read_to_string(std::io::Read::take(file, MARK)).unwrap_or_default();
        let mut words = text.split_whitespace().map(str::to_owned);
        Ok(words.next().map(|digest| Mark { digest, runs: words.collect() }))
    }

    /// Whether a dataset of the stick is half-done.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn is_half_done(&self, dataset: Dataset) -> Result<bool> {
        let Some(dir) = self.dir.as_ref().filter(|_| self.was_cut_off() || self.marked.get()) else { return Ok(false) };
        let intended = pending_names(dir, dataset)?.iter().any(|name| name.ends_with(b"-planned"));
        let common = self.common(dataset)?;
        let done = self.is_this_run(dataset, common.as_ref()) || common.is_some() && self.was_cut_off();
        Ok(intended && !done)
    }

    /// An intent of which no file of the stick's is told apart: what is half-done there is made anew from the server's.
    ///
    /// # Errors
    /// `Io`.
    pub fn add_plain_intent(&self, dataset: Dataset) -> Result<()> {
        for name in ["before", "planned"] {
            let list = self.start(dataset, name, 0)?;
            self.end(list)?;
        }
        self.add_intent(dataset)
    }

    /// Makes the ended list `next` what both sides hold, durably. Nothing to do if there is no such list.
    ///
    /// # Errors
    /// `Io`.
    pub fn promote(&self, dataset: Dataset) -> Result<()> {
        let dir = self.to_write()?;
        let next = format!("{}.next", dataset.name());
        let Some(list) = self.next(dataset)? else { return Ok(()) };
        let is_marked = self.is_of_marked(&list)?;
        let met = list.header().previous.clone();
        self.make_way(dataset)?;
        dir.rename(next.as_bytes(), dir, &common_name(dataset))?;
        dir.remove(&put_name(dataset))?;
        dir.sync()?;
        if is_marked {
            // From now on a file that the stick lacks was deleted there: it held all of this durably.
            forget_pending(dir, dataset)?;
        }
        // In step by now: a later visit is decided upon anew.
        self.consent_used(dataset, met.as_deref())
    }

    /// Whether a list is of the stick that bears the mark, not of another one with the same UUID.
    fn is_of_marked(&self, list: &Stream) -> Result<bool> {
        let met = list.header().previous.as_deref();
        let by_digest = || Ok::<_, Error>(self.mark()?.is_some_and(|mark| Some(mark.digest.as_str()) == met));
        Ok(self.was_cut_off() || self.marked.get() || by_digest()?)
    }

    /// Before `.common` becomes this stick's: what it says of another one stays.
    fn make_way(&self, dataset: Dataset) -> Result<()> {
        let (dir, slot) = (self.to_write()?, self.slots.borrow_mut().remove(dataset.name()));
        let common = self.open_sound(&common_name(dataset), b"")?;
        // That of a stick that had neither the mark nor the manifest that was written last nobody can tell any more.
        let last = self.manifests()?.pop();
        let is_found_again = match &common {
            Some(common) => last.is_some() && common.header().previous == last || self.is_by_marker(dataset, common)?,
            None => false,
        };
        if is_found_again && slot != Some(common_name(dataset)) && !self.is_this_run(dataset, common.as_ref()) {
            return dir.rename(&common_name(dataset), dir, &other_name(dataset));
        }
        slot.filter(|slot| *slot == other_name(dataset)).map_or(Ok(()), |slot| dir.remove(&slot))
    }

    /// The ended list `next` is what an undo put on the stick. To the next ingest it is a change since the common state, exactly as if
    /// somebody had edited the stick: so that state stays as it is, and the ingest takes the stick's files.
    ///
    /// # Errors
    /// `Io`.
    pub fn settle_put(&self, dataset: Dataset) -> Result<()> {
        let dir = self.to_write()?;
        dir.rename(format!("{}.next", dataset.name()).as_bytes(), dir, &put_name(dataset))?;
        forget_pending(dir, dataset)?;
        dir.sync()
    }

    /// Whether the stick's manifest has to be written anew.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn is_to_be_sealed(&self) -> Result<bool> {
        if self.marked.get() || self.was_cut_off() {
            return Ok(true);
        }
        for dataset in Dataset::ALL {
            if self.common(dataset)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes the stick's complete manifest to a file of the server's and puts it on record: of each dataset what both sides hold. The file
    /// is for the stick; once it has its name there, [`StickState::forget`] ends the intents.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn seal(&self, stick: &OnStick<'_>) -> Result<(&Dir, &'static [u8])> {
        const NAME: &[u8] = b".last.json.tmp";
        let dir = self.to_write()?;
        let mut parts = Vec::new();
        let mut header = Header { run: Some(self.run.clone()), ..Header::complete(&self.server_id) };
        // In walk order: docviewer before master.
        for dataset in [Dataset::Docviewer, Dataset::Master] {
            let common = self.common(dataset)?;
            let Some(part) = (if common.is_some() { common } else { self.sealed(dataset, stick)? }) else { continue };
            let name = dataset.name();
            header.runs.extend(part.run(name).map(|run| (name.to_owned(), run.to_owned())));
            header.times.extend(part.header().times.get(name).map(|time| (name.to_owned(), *time)));
            parts.push((dataset, part));
        }
        dir.remove(NAME)?;
        let fail = |error| Error::io("write", &dir.path_of(NAME), error);
        let mut writer = Writer::new(dir.create(NAME, 0o600)?, &header).map_err(fail)?;
        for (dataset, mut files) in parts {
            while let Some(mut listed) = files.take()? {
                listed.path = [dataset.prefix(), &listed.path].concat();
                writer.push(&listed).map_err(fail)?;
            }
        }
        writer.finish().and_then(|file| file.sync_all()).map_err(fail)?;
        self.add_manifest(&hex(&copy::hash(dir, NAME)?))?;
        dir.rename(NAME, dir, b"last.json")?;
        dir.sync()?;
        Ok((dir, b"last.json"))
    }

    /// Ends what the manifest that is on the stick by now says better.
    ///
    /// # Errors
    /// `Io`.
    pub fn forget(&self) -> Result<()> {
        let dir = self.to_write()?;
        for dataset in Dataset::ALL {
            let slot = self.slots.borrow_mut().remove(dataset.name());
            let common = self.open_sound(&common_name(dataset), b"")?;
            let slot = if self.is_this_run(dataset, common.as_ref()) { Some(common_name(dataset)) } else { slot };
            slot.map_or(Ok(()), |slot| dir.remove(&slot))?;
        }
        if self.marked.get() || self.was_cut_off() {
            self.forget_intents(dir)?;
        }
        dir.sync()?;
        self.consent_goes_on()
    }

    /// The mark goes last: by it they are known to be over.
    fn forget_intents(&self, dir: &Dir) -> Result<()> {
        for dataset in Dataset::ALL {
            forget_pending(dir, dataset)?;
        }
        dir.remove(b"base.json")?;
        dir.remove(b"mark")
    }

    fn manifests(&self) -> Result<Vec<String>> {
        let Some(dir) = &self.dir else { return Ok(Vec::new()) };
        let Some((file, _)) = dir.read_if_there(b"manifests")? else { return Ok(Vec::new()) };
        let most = u64::try_from(LINE * MANIFESTS).unwrap_or(u64::MAX);
        let read = std::io::read_to_string(std::io::Read::take(file, most));
        let text = read.map_err(|source| Error::Unreadable { path: dir.shown(b"manifests"), source })?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The newest comes last.
    fn add_manifest(&self, digest: &str) -> Result<()> {
        let mut digests = self.manifests()?;
        digests.retain(|other| other != digest);
        digests.push(digest.to_owned());
        let from = digests.len().saturating_sub(MANIFESTS);
        let text: String = digests.iter().skip(from).flat_map(|digest| [digest, "\n"]).collect();
        atomic::write(self.to_write()?, b"manifests", text.as_bytes(), 0o600)
    }

    /// The directory of it all, if there is one.
    pub fn dir(&self) -> Option<&Dir> {
        self.dir.as_ref()
    }

    /// Opens a list if it is there and sound from end to end. One that is torn counts as absent. One that the disk does
    /// not give now is an error: without it an edit on the stick would look like the server's older state, and lose against
    /// it.
    fn open_sound(&self, name: &[u8], prefix: &'static [u8]) -> Result<Option<Stream>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let Some((file, entry)) = dir.read_if_there(name)? else { return Ok(None) };
        if !self.is_sound(dir, name, file, entry)? {
            return Ok(None);
        }
        let (file, _) = dir.read(name)?;
        Stream::new(file, dir.shown(name), prefix).map(Some)
    }

    fn is_sound(&self, dir: &Dir, name: &[u8], file: File, entry: Entry) -> Result<bool> {
        let read = (entry.ino, entry.size, entry.mtime);
        if self.sound.borrow().contains(&read) {
            return Ok(true);
        }
        match manifest::check(file) {
            Ok(_) => {
                self.sound.borrow_mut().push(read);
                Ok(true)
            }
            Err(source) if source.raw_os_error().is_some() => Err(Error::Unreadable { path: dir.shown(name), source }),
            Err(error) => {
                warn!("{} is not used: {error}", dir.shown(name));
                Ok(false)
            }
        }
    }

    fn to_write(&self) -> Result<&Dir> {
        self.dir.as_ref().ok_or_else(|| Error::Failed {
            why: "a dry run wanted to write a record".to_owned(),
            next: "report it: this is a fault of the program",
        })
    }
}

fn common_name(dataset: Dataset) -> Vec<u8> {
    format!("{}.common", dataset.name()).into_bytes()
}

fn other_name(dataset: Dataset) -> Vec<u8> {
    format!("{}.other", dataset.name()).into_bytes()
}

fn put_name(dataset: Dataset) -> Vec<u8> {
    format!("{}.put", dataset.name()).into_bytes()
}

fn pending_names(dir: &Dir, dataset: Dataset) -> Result<Vec<Vec<u8>>> {
    let prefix = format!("{}.pending-", dataset.name()).into_bytes();
    Ok(dir.names()?.iter().filter(|name| name.starts_with(&prefix)).map(<[u8]>::to_vec).collect())
}

fn forget_pending(dir: &Dir, dataset: Dataset) -> Result<()> {
    pending_names(dir, dataset)?.iter().try_for_each(|name| dir.remove(name))
}

/// Writes one list's files in order.
///
/// # Errors
/// Of the writer.
pub fn push(list: &mut Writer<File>, file: &Listed, place: &Dir) -> Result<()> {
    list.push(file).map_err(|error| Error::io("write the list of", place.path(), error))
}

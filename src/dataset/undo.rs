//! `undo/<time>/`: what runs replaced or deleted, kept so that it can be put back (SPEC 6). For each dataset:
//!
//! | name | what |
//! | --- | --- |
//! | `<dataset>/` | exactly the files that the loser had and that the run replaced or deleted; none of them shared with live data |
//! | `<dataset>.json` | the run; written before the directory and removed before it: a directory without one is rubbish |
//! | `<dataset>.brought.json` | the files that the run brought in their place, or added |
//! | `<dataset>.replaced.json` | the files in the directory; what is in it beyond that, a program saved there later |
//! | `<dataset>.before.json` | all files of the server's dataset before an exchange, until what was not replaced is gone from the directory |

use std::collections::BTreeMap;
use std::fs::File;

use log::{info, warn};
use serde::{Deserialize, Serialize};

use super::Dataset;
use super::server::Server;
use super::strip;
use super::survey::{Change, Lost};
use crate::clock::{Belief, Clock, DAY, parse_dir_name};
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::Dir;
use crate::tree::manifest::{self, Header, Writer};
use crate::tree::remove;
use crate::tree::stream::Stream;
use crate::tree::walk::{Step, Walk};

/// Runs that are kept per side, whatever their age.
const KEPT: usize = 3;
/// The job that takes in sticks, whose records of a stick go with its exchange.
pub const INGEST: &str = "ingest";
/// So many lost files are named in a run's record.
const MOST_NAMES: usize = 200;
/// More is no record of ours, bytes: 200 names of the longest kind.
const MOST_BYTES: u64 = 8 << 20;
/// None younger than this is removed while there is room, seconds.
const YOUNG: i64 = 14 * DAY;

/// Whose dataset was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The server's; the stick named is where the new one came from.
    Server,
    /// The stick's.
    Stick,
}

/// What is known of one replaced dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Order of runs, whatever the clock said.
    pub seq: u64,
    /// When, as in log lines.
    pub time: String,
    /// When, unix seconds.
    pub unix: i64,
    /// The command.
    pub job: String,
    /// Whose dataset was replaced.
    pub side: Side,
    /// The stick's filesystem UUID.
    pub uuid: String,
    /// The stick's label.
    pub label: String,
    /// Whether the directory beside it is whole: the old dataset, not one being built.
    pub done: bool,
    /// The inode of the dataset that is exchanged with the live one; tells after a crash whether it was.
    pub new_ino: u64,
    /// Files that the loser got.
    pub copied: u64,
    /// Of these, how many replaced another.
    pub replaced: u64,
    /// Files that the loser lost.
    pub deleted: u64,
    /// Content that the loser had and the winner never had is in the directory (SPEC 6, *lost*).
    pub lost: bool,
    /// So many files of it.
    #[serde(default)]
    pub lost_files: u64,
    /// The first of their names, safe to print.
    #[serde(default)]
    pub lost_names: Vec<String>,
    /// A run's record and receipt have named what was lost; a run that was cut off leaves that to the next.
    #[serde(default = "yes")]
    pub told: bool,
    /// The first names of what the run added, safe to print.
    #[serde(default)]
    pub added: Vec<String>,
    /// Somebody has seen that content was lost.
    pub acknowledged: bool,
    /// The directory holds only what was replaced; the first version of the program kept the whole dataset.
    #[serde(default)]
    pub partial: bool,
    /// What the dataset that became the server's looked like (`survey::look_of`); tells whether somebody edited it
    /// since. Empty where the stick's was replaced.
    #[serde(default)]
    pub left: String,
}

fn yes() -> bool {
    true
}

/// A run that replaces a dataset.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The command.
    pub job: &'a str,
    /// Whose dataset it replaces.
    pub side: Side,
    /// The stick's filesystem UUID.
    pub uuid: &'a str,
    /// The stick's label.
    pub label: &'a str,
}

impl Part {
    /// Of a run that begins now and is about to make `change`.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(undo: &Dir, run: Run<'_>, change: &Change, clock: Clock, belief: &Belief) -> Result<Part> {
        Ok(Part {
            seq: next_seq(undo)?,
            time: clock.log_time(clock.now()),
            // A clock that is known to be slow must not make it look old once it is right.
            unix: if belief.believed { belief.now } else { belief.now.max(belief.newest) },
            job: run.job.to_owned(),
            side: run.side,
            uuid: run.uuid.to_owned(),
            label: run.label.to_owned(),
            done: false,
            new_ino: 0,
            copied: change.files,
            replaced: change.replaced,
            deleted: change.deleted,
            lost: false,
            lost_files: 0,
            lost_names: Vec::new(),
            told: true,
            added: Vec::new(),
            acknowledged: false,
            partial: true,
            left: String::new(),
        })
    }

    /// Notes that content was lost, or more of it.
    pub fn add_lost(&mut self, lost: &Lost) {
        if lost.files > 0 {
            self.lost = true;
            self.told = false;
            self.acknowledged = false;
            self.lost_files = self.lost_files.saturating_add(lost.files);
            self.lost_names.extend(lost.names.iter().cloned());
            self.lost_names.truncate(MOST_NAMES);
        }
    }
}

/// One dataset's place in a run's directory.
pub struct Place {
    run: Dir,
    dataset: Dataset,
    /// What is written beside it.
    pub part: Part,
}

impl Place {
    /// Makes a place for what a run is about to replace, in the run's directory `name`, which is claimed by the first.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(undo: &Dir, name: &mut Option<String>, clock: Clock, dataset: Dataset, part: Part) -> Result<Place> {
        loop {
            let claimed = match name.take() {
                Some(claimed) => claimed,
                None => claim(undo, clock)?,
            };
            // A run on the other dataset may tidy the directory away as long as it is empty: then another is claimed.
            let Some(run) = undo.sub(claimed.as_bytes())? else { continue };
            let place = Place { run, dataset, part: part.clone() };
            match place.save() {
                Err(_) if undo.look(claimed.as_bytes())?.is_none() => continue,
                saved => saved?,
            }
            undo.sync()?;
            *name = Some(claimed);
            return Ok(place);
        }
    }

    /// The run's directory.
    pub fn run(&self) -> &Dir {
        &self.run
    }

    /// The run's name, as operators type it.
    pub fn when(&self) -> String {
        self.run.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The dataset that is kept; none where there was none.
    ///
    /// # Errors
    /// `Io`.
    pub fn kept(&self) -> Result<Option<Dir>> {
        self.run.sub(self.name())
    }

    /// Which dataset's.
    pub fn dataset(&self) -> Dataset {
        self.dataset
    }

    /// The name of the dataset's directory in it.
    pub fn name(&self) -> &'static [u8] {
        self.dataset.name().as_bytes()
    }

    /// Writes what is known, durably.
    ///
    /// # Errors
    /// `Io`.
    pub fn save(&self) -> Result<()> {
        let mut text = serde_json::to_vec(&self.part).unwrap_or_default();
        text.push(b'\n');
        atomic::write(&self.run, &json_name(self.dataset), &text, 0o644)
    }

    /// Starts one of the lists beside the directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn start_list(&self, list: List) -> Result<Writer<File>> {
        let name = list_name(self.dataset, list);
        self.run.remove(&name)?;
        let runs = BTreeMap::from([(self.dataset.name().to_owned(), self.when())]);
        let header = Header { runs, ..Header::complete("") };
        Writer::new(self.run.create(&name, 0o644)?, &header)
            .map_err(|error| Error::io("write", &self.run.path_of(&name), error))
    }

    /// Ends it; the flush of all that was built, or `flush`, makes it durable.
    ///
    /// # Errors
    /// `Io`.
    pub fn end_list(&self, writer: Writer<File>, flush: bool) -> Result<()> {
        let ended = writer.finish().and_then(|file| if flush { file.sync_all() } else { Ok(()) });
        ended.map_err(|error| Error::io("write a list in", self.run.path(), error))
    }

    /// One of the lists, if it is there and sound.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn list(&self, list: List) -> Result<Option<Stream>> {
        let name = list_name(self.dataset, list);
        let Some((file, _)) = self.run.read_if_there(&name)? else { return Ok(None) };
        match manifest::check(file) {
            Ok(_) => Stream::new(self.run.read(&name)?.0, self.run.shown(&name), b"").map(Some),
            Err(error) => {
                warn!("{} is not used: {error}", self.run.shown(&name));
                Ok(None)
            }
        }
    }

    /// Removes one of the lists.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_list(&self, list: List) -> Result<()> {
        self.run.remove(&list_name(self.dataset, list))
    }

    /// Removes the dataset's directory and then what is known of it, if nothing was replaced after all.
    ///
    /// # Errors
    /// `Io`.
    pub fn discard(self, undo: &Dir) -> Result<()> {
        discard(undo, &self.run, self.dataset)
    }
}

/// One of the lists beside a dataset's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// What the run brought.
    Brought,
    /// What is in the directory.
    Replaced,
    /// All that was in the dataset.
    Before,
}

fn list_name(dataset: Dataset, list: List) -> Vec<u8> {
    let word = match list {
        List::Brought => "brought",
        List::Replaced => "replaced",
        List::Before => "before",
    };
    format!("{}.{word}.json", dataset.name()).into_bytes()
}

fn json_name(dataset: Dataset) -> Vec<u8> {
    format!("{}.json", dataset.name()).into_bytes()
}

/// The file in a run's directory that becomes the server's new `meta.json` of a dataset.
pub fn meta_temp(dataset: Dataset) -> Vec<u8> {
    format!(".{}.meta.json.tmp", dataset.name()).into_bytes()
}

/// The file in a run's directory that a kept file is copied to, which shares its content with a live one.
pub fn share_temp(dataset: Dataset) -> Vec<u8> {
    format!(".{}.share.tmp", dataset.name()).into_bytes()
}

/// Where a winner's `meta.json` is kept that was no JSON object.
pub fn odd_meta(dataset: Dataset) -> Vec<u8> {
    format!("{}.meta.json", dataset.name()).into_bytes()
}

/// Removes the temporary files that a run which was cut off left for a dataset. They are named by it, since a run may be
/// working on the other one.
fn tidy(run: &Dir, dataset: Dataset) -> Result<()> {
    let prefix = format!(".{}.", dataset.name()).into_bytes();
    for name in run.names()?.iter().filter(|name| name.starts_with(&prefix)) {
        run.remove(name)?;
    }
    Ok(())
}

fn remove_lists(run: &Dir, dataset: Dataset) -> Result<()> {
    run.remove(&odd_meta(dataset))?;
    [List::Brought, List::Replaced, List::Before].iter().try_for_each(|list| run.remove(&list_name(dataset, *list)))
}

/// Once its `.json` is gone the directory is rubbish, so a crash in between is cleaned up by the next run.
fn discard(undo: &Dir, run: &Dir, dataset: Dataset) -> Result<()> {
    run.remove(&json_name(dataset))?;
    run.sync()?;
    remove_lists(run, dataset)?;
    remove::tree(run, dataset.name().as_bytes())?;
    let name = run.path().file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    undo.remove_dir(&name).map(drop)
}

/// Makes a run's directory that is nobody else's: the local time, with a number if there were two in a second.
fn claim(undo: &Dir, clock: Clock) -> Result<String> {
    for name in clock.dir_names() {
        if undo.make_new(name.as_bytes(), 0o755)? {
            return Ok(name);
        }
    }
    Err(Error::Failed { why: "no name left for a run".to_owned(), next: "report it" })
}

/// Whether a directory's name is a run's.
fn is_run_name(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| parse_dir_name(name).is_some())
}

/// All that is known of a dataset's replaced ones, oldest first.
///
/// # Errors
/// `Io`.
pub fn list(undo: &Dir, dataset: Dataset) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for name in undo.names()?.iter().filter(|name| is_run_name(name)) {
        let Ok(Some(run)) = undo.sub(name) else {
            continue;
        };
        if let Some(part) = read_part(&run, dataset)? {
            places.push(Place { run, dataset, part });
        }
    }
    places.sort_by_key(|place| place.part.seq);
    Ok(places)
}

fn read_part(run: &Dir, dataset: Dataset) -> Result<Option<Part>> {
    let Some((file, _)) = run.read_if_there(&json_name(dataset))? else {
        return Ok(None);
    };
    let text = std::io::read_to_string(std::io::Read::take(file, MOST_BYTES)).unwrap_or_default();
    let part = serde_json::from_str(&text);
    if part.is_err() {
        warn!("{} can't be read; left as it is", run.shown(&json_name(dataset)));
    }
    Ok(part.ok())
}

/// What a run that was cut off left behind is brought to an end, under the dataset's lock: a dataset that was
/// exchanged counts as such (if it came from a stick, `exchanged` is then told its UUID), one that was not is removed. What programs saved since into
/// directories that are kept here is found and called lost. `true`: the server's dataset was not replaced after all.
///
/// # Errors
/// `Io`.
pub fn recover(server: &Server, dataset: Dataset, mut exchanged: impl FnMut(&str) -> Result<()>) -> Result<bool> {
    let mut taken_back = false;
    let undo = server.undo()?;
    let live = server.dataset(dataset)?;
    let live_ino = live.as_ref().map(Dir::entry).transpose()?.map(|entry| entry.ino);
    for name in undo.names()?.iter().filter(|name| is_run_name(name)) {
        if let Ok(Some(run)) = undo.sub(name) {
            tidy(&run, dataset)?;
        }
    }
    for mut place in list(&undo, dataset)?.into_iter().filter(|place| !place.part.done) {
        match &live {
            Some(live)
                if place.part.side == Side::Server
                    && place.part.new_ino != 0
                    && live_ino == Some(place.part.new_ino) =>
            {
                info!("{}: a run that was cut off had already replaced it: finished", dataset.name());
                if place.part.job == INGEST {
                    exchanged(&place.part.uuid)?;
                }
                strip::strip(&mut place, live)?;
                place.part.done = true;
                place.save()?;
            }
            _ => {
                taken_back |= place.part.side == Side::Server;
                // It may have been live for a moment, and a program may have saved into it.
                let was_live = place.part.side == Side::Server && place.part.new_ino != 0;
                if was_live && strip::keep_saved(&mut place, live.as_ref())?.files > 0 {
                    place.part.done = true;
                    place.save()?;
                    warn!(
                        "{}: what programs saved while a run was cut off is kept in undo/{}",
                        dataset.name(),
                        place.when()
                    );
                    continue;
                }
                info!("{}: what a run that was cut off had built is removed", dataset.name());
                place.discard(&undo)?;
            }
        }
    }
    for name in undo.names()?.iter().filter(|name| is_run_name(name)) {
        let Ok(Some(run)) = undo.sub(name) else {
            continue;
        };
        if run.look(&json_name(dataset))?.is_none() {
            remove_lists(&run, dataset)?;
            remove::tree(&run, dataset.name().as_bytes())?;
            undo.remove_dir(name)?;
        }
    }
    late(&undo, dataset)?;
    Ok(taken_back)
}

/// Lost content that no record has named yet: this run's, and what runs left to it that were cut off.
///
/// # Errors
/// `Io`.
pub fn untold(undo: &Dir, dataset: Dataset) -> Result<Vec<Place>> {
    let mut places = list(undo, dataset)?;
    places.retain(|place| place.part.done && place.part.lost && !place.part.told);
    Ok(places)
}

/// Notes that the lost content of these runs is named in a record.
///
/// # Errors
/// `Io`.
pub fn note_told(undo: &Dir, dataset: Dataset, runs: &[String]) -> Result<()> {
    for mut place in untold(undo, dataset)?.into_iter().filter(|place| runs.contains(&place.when())) {
        place.part.told = true;
        place.save()?;
    }
    Ok(())
}

/// Looks whether programs saved something into the directories that are kept here.
///
/// # Errors
/// `Io`.
pub fn late(undo: &Dir, dataset: Dataset) -> Result<()> {
    for mut place in list(undo, dataset)?.into_iter().filter(|place| place.part.done && place.part.partial) {
        let lost = strip::late(&mut place)?;
        if lost.files > 0 {
            warn!(
                "{}: {} file(s) were saved into the old directory by a program that still had it open; they are kept in undo/{}: {}",
                dataset.name(),
                lost.files,
                place.when(),
                lost.names.join(", ")
            );
        }
    }
    Ok(())
}

/// Removes what retention allows of a dataset, but never the run `spare`.
///
/// # Errors
/// `Io`.
pub fn prune(undo: &Dir, dataset: Dataset, belief: &Belief, spare: Option<u64>) -> Result<()> {
    for place in pruned(undo, dataset, belief, false, spare)? {
        remove_run(undo, place)?;
    }
    Ok(())
}

/// Room that is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needed {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// What may go for room.
#[derive(Clone, Copy)]
pub struct Pruning<'a> {
    /// The clock's worth.
    pub belief: &'a Belief,
    /// The run that is about to be put back stays.
    pub spare: Option<u64>,
    /// Nothing is removed.
    pub dry_run: bool,
}

/// Removes as many runs as make that room, also young ones, the oldest first; none at all if they do not suffice. `false`: they do not.
///
/// # Errors
/// `Io`.
pub fn prune_for(undo: &Dir, dataset: Dataset, needed: Needed, pruning: Pruning<'_>) -> Result<bool> {
    let Pruning { belief, spare, dry_run } = pruning;
    let mut going = Vec::new();
    let mut made = Needed::default();
    for place in pruned(undo, dataset, belief, true, spare)? {
        if made.bytes >= needed.bytes && made.inodes >= needed.inodes {
            break;
        }
        if let Some(kept) = place.kept()? {
            count(&kept, &mut made)?;
        }
        going.push(place);
    }
    if made.bytes < needed.bytes || made.inodes < needed.inodes {
        return Ok(false);
    }
    if !dry_run {
        warn!("{}: not enough room: {} old undo run(s) are removed", dataset.name(), going.len());
        going.into_iter().try_for_each(|place| remove_run(undo, place))?;
    }
    Ok(true)
}

/// What removing a directory frees: files with one name only.
fn count(dir: &Dir, made: &mut Needed) -> Result<()> {
    let unit = dir.room()?.f_frsize.max(1);
    let mut walk = Walk::new(Some(dir), None)?;
    while let Some(step) = walk.step()? {
        match step {
            Step::File { left: Some(entry), .. } if entry.links == 1 => {
                made.inodes += 1;
                made.bytes = made.bytes.saturating_add(entry.size.next_multiple_of(unit));
            }
            Step::Enter { .. } => {
                made.inodes += 1;
                made.bytes = made.bytes.saturating_add(unit);
            }
            _ => {}
        }
    }
    Ok(())
}

fn pruned(undo: &Dir, dataset: Dataset, belief: &Belief, in_need: bool, spare: Option<u64>) -> Result<Vec<Place>> {
    let mut places: Vec<Option<Place>> = list(undo, dataset)?.into_iter().map(Some).collect();
    let parts: Vec<Part> = places.iter().flatten().map(|place| place.part.clone()).collect();
    let surplus = surplus(&parts, belief, in_need);
    let surplus = surplus.into_iter().filter_map(|index| places.get_mut(index).and_then(Option::take));
    Ok(surplus.filter(|place| spare != Some(place.part.seq)).collect())
}

fn remove_run(undo: &Dir, place: Place) -> Result<()> {
    info!("{}: the undo of {} is removed", place.dataset.name(), place.part.time);
    place.discard(undo)
}

/// *Pure.* Which parts (oldest first) may go: beyond the three latest of their side, seen if something was lost, and
/// not young unless room is needed. A clock that is not believed prunes nothing.
pub fn surplus(parts: &[Part], belief: &Belief, in_need: bool) -> Vec<usize> {
    let mut kept = [0_usize; 2];
    let mut surplus = Vec::new();
    for (index, part) in parts.iter().enumerate().rev().filter(|_| belief.believed) {
        let count = if part.side == Side::Server { &mut kept[0] } else { &mut kept[1] };
        let young = belief.now.saturating_sub(part.unix) < YOUNG;
        let unseen = part.lost && !part.acknowledged;
        if *count < KEPT || unseen || !part.done || (young && !in_need) {
            *count += 1;
        } else {
            surplus.push(index);
        }
    }
    surplus.reverse();
    surplus
}

/// The next run's place in the order.
///
/// # Errors
/// `Io`.
pub fn next_seq(undo: &Dir) -> Result<u64> {
    let mut newest = 0;
    for dataset in Dataset::ALL {
        newest = list(undo, dataset)?.iter().map(|place| place.part.seq).fold(newest, u64::max);
    }
    newest.checked_add(1).ok_or_else(|| Error::Failed { why: "no number left for a run".to_owned(), next: "report it" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELIEF: Belief = Belief { now: 100 * DAY, newest: 0, believed: true };

    fn part(age_days: i64, side: Side, lost: bool) -> Part {
        Part {
            seq: 0,
            time: String::new(),
            unix: BELIEF.now - age_days * DAY,
            job: String::new(),
            side,
            uuid: String::new(),
            label: String::new(),
            done: true,
            new_ino: 0,
            copied: 0,
            replaced: 0,
            deleted: 0,
            lost,
            lost_files: u64::from(lost),
            lost_names: Vec::new(),
            told: true,
            added: Vec::new(),
            acknowledged: false,
            partial: true,
            left: String::new(),
        }
    }

    #[test]
    fn three_of_each_side_are_kept_and_the_young() {
        use Side::{Server, Stick};
        let parts = [
            part(50, Server, false),
            part(40, Server, true),
            part(30, Stick, false),
            part(29, Server, false),
            part(10, Server, false),
            part(9, Server, false),
            part(8, Server, false),
            part(7, Server, false),
        ];
        assert_eq!(surplus(&parts, &BELIEF, false), [0, 3], "old ones beyond three, not the unseen loss");
        assert_eq!(surplus(&parts, &BELIEF, true), [0, 3, 4], "in need also young ones beyond three");
        let unbelieved = Belief { believed: false, ..BELIEF };
        assert!(surplus(&parts, &unbelieved, true).is_empty());
    }
}

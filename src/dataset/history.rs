//! `undo/<time>/`: what runs replaced, kept so that it can be put back. For each dataset a directory, and beside it
//! `<dataset>.json`, which is written before the directory and removed before it: a directory without one is rubbish.

use log::{info, warn};
use serde::{Deserialize, Serialize};

use super::Dataset;
use super::server::Server;
use super::survey::Change;
use crate::clock::{Belief, Clock, DAY, parse_dir_name};
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::Dir;
use crate::tree::remove;

/// Runs that are kept per side, whatever their age.
const KEPT: usize = 3;
/// The job that takes in sticks, whose records of a stick go with its exchange.
pub const INGEST: &str = "ingest";
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
    /// The loser had changed since the last common state.
    pub lost: bool,
    /// Somebody has seen that.
    pub acknowledged: bool,
    /// What the dataset that became the server's looked like (`survey::look_of`); tells whether somebody edited it
    /// since. Empty where the stick's was replaced.
    #[serde(default)]
    pub left: String,
}

impl Part {
    /// Of a run that begins now and is about to make `change`. `stick`: UUID and label.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(
        undo: &Dir,
        clock: Clock,
        job: &str,
        side: Side,
        stick: (&str, &str),
        change: &Change,
        lost: bool,
    ) -> Result<Part> {
        let unix = clock.now();
        Ok(Part {
            seq: next_seq(undo)?,
            time: clock.log_time(unix),
            unix,
            job: job.to_owned(),
            side,
            uuid: stick.0.to_owned(),
            label: stick.1.to_owned(),
            done: false,
            new_ino: 0,
            copied: change.files,
            replaced: change.replaced,
            deleted: change.deleted,
            lost,
            acknowledged: false,
            left: String::new(),
        })
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

    /// Removes the dataset's directory and then what is known of it, if nothing was replaced after all.
    ///
    /// # Errors
    /// `Io`.
    pub fn discard(self, undo: &Dir) -> Result<()> {
        discard(undo, &self.run, self.dataset)
    }
}

fn json_name(dataset: Dataset) -> Vec<u8> {
    format!("{}.json", dataset.name()).into_bytes()
}

/// The file in a run's directory that becomes the server's new `meta.json` of a dataset.
pub fn meta_temp(dataset: Dataset) -> Vec<u8> {
    format!(".{}.meta.json.tmp", dataset.name()).into_bytes()
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

/// Once its `.json` is gone the directory is rubbish, so a crash in between is cleaned up by the next run.
fn discard(undo: &Dir, run: &Dir, dataset: Dataset) -> Result<()> {
    run.remove(&json_name(dataset))?;
    run.sync()?;
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
    let text = std::io::read_to_string(std::io::Read::take(file, 64 * 1024)).unwrap_or_default();
    let part = serde_json::from_str(&text);
    if part.is_err() {
        warn!("{} can't be read; left as it is", run.shown(&json_name(dataset)));
    }
    Ok(part.ok())
}

/// What a run that was cut off left behind is brought to an end, under the dataset's lock: a dataset that was
/// exchanged counts as such (if it came from a stick, `exchanged` is then told its UUID), one that was not is removed.
///
/// # Errors
/// `Io`.
pub fn recover(server: &Server, dataset: Dataset, mut exchanged: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let undo = server.undo()?;
    let live = server.dataset(dataset)?.map(|dir| dir.entry()).transpose()?.map(|entry| entry.ino);
    for name in undo.names()?.iter().filter(|name| is_run_name(name)) {
        if let Ok(Some(run)) = undo.sub(name) {
            tidy(&run, dataset)?;
        }
    }
    for mut place in list(&undo, dataset)?.into_iter().filter(|place| !place.part.done) {
        if place.part.side == Side::Server && place.part.new_ino != 0 && live == Some(place.part.new_ino) {
            info!("{}: a run that was cut off had already replaced it: finished", dataset.name());
            if place.part.job == INGEST {
                exchanged(&place.part.uuid)?;
            }
            place.part.done = true;
            place.save()?;
        } else {
            info!("{}: what a run that was cut off had built is removed", dataset.name());
            place.discard(&undo)?;
        }
    }
    for name in undo.names()?.iter().filter(|name| is_run_name(name)) {
        let Ok(Some(run)) = undo.sub(name) else {
            continue;
        };
        if run.look(&json_name(dataset))?.is_none() {
            remove::tree(&run, dataset.name().as_bytes())?;
            undo.remove_dir(name)?;
        }
    }
    Ok(())
}

/// Removes what retention allows of a dataset, but never the run `spare`: if `in_need`, also what is young.
///
/// # Errors
/// `Io`.
pub fn prune(undo: &Dir, dataset: Dataset, belief: &Belief, in_need: bool, spare: Option<u64>) -> Result<()> {
    let mut places: Vec<Option<Place>> = list(undo, dataset)?.into_iter().map(Some).collect();
    let parts: Vec<Part> = places.iter().flatten().map(|place| place.part.clone()).collect();
    for index in surplus(&parts, belief, in_need) {
        if let Some(place) = places.get_mut(index).and_then(Option::take)
            && spare != Some(place.part.seq)
        {
            info!("{}: the undo of {} is removed", dataset.name(), place.part.time);
            place.discard(undo)?;
        }
    }
    Ok(())
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
            acknowledged: false,
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

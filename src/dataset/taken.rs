//! What a terminal took last, kept beside its datasets, so that an older stick does not take it back (SPEC 6, dist-sync).
//!
//! `<dataset>.json` tells of the live dataset. What a crash leaves: before the exchange a `<dataset>.next.json` with the
//! inode of a directory that is not live, which is removed; after it one with the inode of the live directory, which takes
//! the place of `<dataset>.json`. As long as it is there the replaced directory is whole: it is removed later.

use std::io::Read;

use log::warn;
use serde::{Deserialize, Serialize};

use super::Dataset;
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::{Dir, temp_name};
use crate::tree::manifest::Header;

/// Longer is none of ours.
const MAX_SIZE: u64 = 4096;

/// What was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The id of the server that filled the stick; empty where no manifest said it.
    pub server: String,
    /// When the stick's files were last seen to be the server's, unix seconds; none where the manifest did not say it.
    pub time: Option<i64>,
    /// The run that they are from.
    pub run: Option<String>,
    /// The inode of the directory that they are in.
    pub inode: u64,
    /// The fingerprint of the directory that it took the place of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replaced: Option<u64>,
}

/// How a stick's dataset stands to what the terminal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Age {
    /// It is as new, or newer, or nothing is known.
    Fine,
    /// It is older: its time, and that of what the terminal has.
    Older(i64, i64),
    /// It is another server's.
    Foreign,
}

impl Taken {
    /// What a stick with that manifest brings.
    pub fn from(manifest: Option<&Header>, dataset: Dataset) -> Taken {
        let name = dataset.name();
        Taken {
            server: manifest.map(|header| header.server.clone()).unwrap_or_default(),
            time: manifest.and_then(|header| header.times.get(name).copied()),
            run: manifest.and_then(|header| header.runs.get(name).cloned()),
            inode: 0,
            replaced: None,
        }
    }

    /// *Pure.* How old it is beside what the terminal has.
    pub fn age(&self, had: &Taken) -> Age {
        match (self.time, had.time) {
            _ if had.server.is_empty() || self.server.is_empty() => Age::Fine,
            _ if self.server != had.server => Age::Foreign,
            (Some(time), Some(had)) if time < had => Age::Older(time, had),
            _ => Age::Fine,
        }
    }

    /// *Pure.* The record of a directory whose files both are: the newer of the two. `None`: what there is stands.
    pub fn renewed(self, had: Option<&Taken>, inode: u64) -> Option<Taken> {
        let time = self.time?;
        let stands = had.is_some_and(|had| {
            !had.server.is_empty() && (had.server != self.server || had.time.is_some_and(|had| had >= time))
        });
        (!stands).then_some(Taken { inode, ..self })
    }
}

fn name_of(dataset: Dataset) -> Vec<u8> {
    format!("{}.json", dataset.name()).into_bytes()
}

fn next_name(dataset: Dataset) -> Vec<u8> {
    format!("{}.next.json", dataset.name()).into_bytes()
}

/// What is on record of the live directory, whose inode is given.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn read(aside: &Dir, dataset: Dataset, live: Option<u64>) -> Result<Option<Taken>> {
    match next(aside, dataset)? {
        Some(next) if Some(next.inode) == live => Ok(Some(next)),
        _ => load(aside, &name_of(dataset)),
    }
}

/// What was about to be taken, or was, when a run was cut off.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn next(aside: &Dir, dataset: Dataset) -> Result<Option<Taken>> {
    load(aside, &next_name(dataset))
}

fn load(aside: &Dir, name: &[u8]) -> Result<Option<Taken>> {
    let Some((file, _)) = aside.read_if_there(name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = file.take(MAX_SIZE).read_to_end(&mut bytes);
    read.map_err(|source| Error::Unreadable { path: aside.shown(name), source })?;
    let taken = serde_json::from_slice(&bytes).ok();
    if taken.is_none() {
        warn!("{} can't be read: how old the terminal's files are is not known", aside.shown(name));
    }
    Ok(taken)
}

/// Writes down what the live directory has.
///
/// # Errors
/// `Io`.
pub fn note(aside: &Dir, dataset: Dataset, taken: &Taken) -> Result<()> {
    atomic::write(aside, &name_of(dataset), &line(taken), 0o600)
}

/// Writes down what is about to be exchanged with the live directory.
///
/// # Errors
/// `Io`.
pub fn announce(aside: &Dir, dataset: Dataset, taken: &Taken) -> Result<()> {
    atomic::write(aside, &next_name(dataset), &line(taken), 0o600)
}

/// The exchange is done, durably.
///
/// # Errors
/// `Io`.
pub fn confirm(aside: &Dir, dataset: Dataset) -> Result<()> {
    aside.rename(&next_name(dataset), aside, &name_of(dataset))?;
    aside.sync()
}

/// There was no exchange, or it was undone.
///
/// # Errors
/// `Io`.
pub fn withdraw(aside: &Dir, dataset: Dataset) -> Result<()> {
    let name = next_name(dataset);
    if aside.look(&name)?.is_none() && aside.look(&temp_name(&name))?.is_none() {
        return Ok(());
    }
    atomic::remove(aside, &name)?;
    aside.sync()
}

fn line(taken: &Taken) -> Vec<u8> {
    let mut line = serde_json::to_vec(taken).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(server: &str, time: Option<i64>) -> Taken {
        Taken { server: server.to_owned(), time, run: None, inode: 1, replaced: None }
    }

    #[test]
    fn only_the_same_server_s_times_are_held_against_each_other() {
        let had = of("a", Some(20));
        assert_eq!(of("a", Some(19)).age(&had), Age::Older(19, 20));
        assert_eq!(of("a", Some(20)).age(&had), Age::Fine);
        assert_eq!(of("a", None).age(&had), Age::Fine);
        assert_eq!(of("b", Some(19)).age(&had), Age::Foreign);
        assert_eq!(of("", None).age(&had), Age::Fine);
        assert_eq!(of("a", Some(19)).age(&of("a", None)), Age::Fine);
        assert_eq!(of("a", Some(19)).age(&of("", None)), Age::Fine);
    }

    #[test]
    fn a_record_never_goes_back() {
        let renewed = |taken: Taken, had: Option<&Taken>| taken.renewed(had, 7).map(|taken| (taken.time, taken.inode));
        assert_eq!(renewed(of("a", Some(20)), None), Some((Some(20), 7)));
        assert_eq!(renewed(of("a", Some(20)), Some(&of("a", Some(19)))), Some((Some(20), 7)));
        assert_eq!(renewed(of("a", Some(20)), Some(&of("a", None))), Some((Some(20), 7)));
        assert_eq!(renewed(of("a", Some(20)), Some(&of("", None))), Some((Some(20), 7)));
        for had in [of("a", Some(20)), of("a", Some(21)), of("b", Some(1))] {
            assert_eq!(renewed(of("a", Some(20)), Some(&had)), None);
        }
        assert_eq!(renewed(of("a", None), None), None);
    }
}

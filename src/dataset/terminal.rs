//! A terminal's own side: where its datasets are, and what it keeps beside them (SPEC 2, 6).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Dataset;
use super::places::check_places;
use super::receive::Place;
use super::taken::{self, Taken};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, split};
use crate::os::lock::Lock;
use crate::settings::Settings;

/// A directory of the terminal's own beside its datasets: what is being built, what was taken, and the lock.
const ASIDE: &[u8] = b".toolmaster";

fn local(settings: &Settings, dataset: Dataset) -> &Path {
    if dataset == Dataset::Master { &settings.local_master_dir } else { &settings.local_doc_dir }
}

/// Whether the terminal's directories, and what is kept beside them, can be exchanged. Changes nothing.
///
/// # Errors
/// `Config`; `Io`.
pub fn check(settings: &Settings) -> Result<()> {
    let [master, docviewer] = Dataset::ALL.map(|dataset| local(settings, dataset));
    let beside = [aside(master), aside(docviewer)];
    let mut places = vec![("LOCAL_MASTER_DIR", master), ("LOCAL_DOC_DIR", docviewer)];
    // Both datasets in one directory have one beside them.
    let beside = if beside[0] == beside[1] { &beside[..1] } else { &beside[..] };
    places.extend(beside.iter().map(|path| ("the terminal's own directory", path.as_path())));
    check_places(&places)
}

/// The directory of ours beside a dataset, without links as far as there is something.
fn aside(local: &Path) -> PathBuf {
    let parent = split(local).map(|(parent, _)| parent.canonicalize().unwrap_or_else(|_| parent.to_owned()));
    parent.unwrap_or_default().join(OsStr::from_bytes(ASIDE))
}

/// The terminal's directories.
pub struct Terminal {
    /// Where the datasets are, with the records' directory; in a dry run as far as there is one.
    places: Vec<(Dataset, PathBuf, Option<Place>)>,
    /// A directory on their filesystem; none if a dry run can't know it yet.
    pub on: Option<Dir>,
    _locks: Vec<Lock>,
}

impl Terminal {
    /// Makes what is missing down to the datasets' parents (a new terminal has nothing yet), keeps other runs out and ends what one
    /// that was cut off has left. In a dry run it only looks.
    ///
    /// # Errors
    /// `Busy`, `Io`, `Interrupted`.
    pub fn open(settings: &Settings, dry_run: bool) -> Result<Terminal> {
        let mut terminal = Terminal { places: Vec::new(), on: None, _locks: Vec::new() };
        let mut locked = Vec::new();
        for dataset in Dataset::ALL {
            let path = local(settings, dataset);
            let place = if dry_run { None } else { Some(place(path)?) };
            if let Some(place) = &place {
                let its = place.aside.entry()?;
                if !locked.contains(&(its.dev, its.ino)) {
                    locked.push((its.dev, its.ino));
                    terminal._locks.push(Lock::file(&place.aside, "lock")?);
                }
                place.settle(dataset)?;
            }
            terminal.places.push((dataset, path.to_owned(), place));
        }
        terminal.on = match path_there(local(settings, Dataset::Master)) {
            Some(path) => Some(Dir::open(&path)?),
            None => None,
        };
        Ok(terminal)
    }

    /// Where a dataset is; none in a dry run.
    pub fn place(&self, dataset: Dataset) -> Option<&Place> {
        self.places.iter().find(|(its, ..)| *its == dataset).and_then(|(.., place)| place.as_ref())
    }

    /// A dataset's directory, if it is there, and what it took last.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn has(&self, dataset: Dataset) -> Result<(Option<Dir>, Option<Taken>)> {
        let Some((_, path, place)) = self.places.iter().find(|(its, ..)| *its == dataset) else {
            return Ok((None, None));
        };
        let (live, beside) = match place {
            Some(place) => (place.live()?, Some(place.aside.again()?)),
            None => (Dir::open_if_there(path)?, Dir::open_if_there(&aside(path))?),
        };
        let inode = live.as_ref().map(Dir::entry).transpose()?.map(|live| live.ino);
        let had = beside.map(|beside| taken::read(&beside, dataset, inode)).transpose()?.flatten();
        Ok((live, had))
    }
}

/// The nearest directory that is there, links resolved.
fn path_there(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|above| above.canonicalize().ok())
}

/// Where a dataset is on the terminal. Its parent is made if it is not there.
fn place(local: &Path) -> Result<Place> {
    let Some((parent, name)) = split(local) else {
        return Err(Error::Config { why: format!("{} has no name", local.display()), next: "name a directory" });
    };
    std::fs::create_dir_all(parent).map_err(|error| Error::io("make the directory", parent, error))?;
    let real = parent.canonicalize().map_err(|error| Error::io("look at", parent, error))?;
    let parent = Dir::open(&real)?;
    let aside = parent.make(ASIDE, 0o700)?;
    Ok(Place { parent, name: name.to_vec(), aside })
}

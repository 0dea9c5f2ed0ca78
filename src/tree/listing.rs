//! A directory that is being walked: its names in order, and what has been looked up of those that come next.

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::os::aide::Aide;
use crate::os::dir::{Dir, Entry, Names};
use crate::os::thread;
use crate::tree::same::{Limits, Same, is_dropping, same};

/// Names that are looked up at once: a bound for the memory, however many files a directory has.
const WINDOW: usize = 256;
/// So few names are looked up before another thread has woken.
const FEW: usize = 16;
/// So many files are asked for before they are read, half of them at once.
const READ_AHEAD: usize = 32;

/// A directory, and how far its names have been met.
pub struct Listing {
    held: Arc<Held>,
    next: usize,
    /// What was looked up ahead, of the names from `seen_from` on.
    seen: Vec<Seen>,
    seen_from: usize,
    /// The files before it were asked for.
    asked: usize,
    asking: Asking,
}

/// What does not change while it is walked.
struct Held {
    dir: Dir,
    dev: u64,
    names: Names,
}

/// What a name stands for; `None` if it could not be looked at.
type Seen = Option<Option<Entry>>;

impl Held {
    fn look(&self, names: Range<usize>) -> Vec<Seen> {
        let names = names.map_while(|index| self.names.get(index));
        // A dropping is never asked for.
        names.map(|name| if is_dropping(name) { None } else { self.dir.look(name).ok() }).collect()
    }
}

impl Listing {
    /// Lists a directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(dir: Dir) -> Result<Listing> {
        let names = dir.names()?;
        let held = Arc::new(Held { dev: dir.entry()?.dev, dir, names });
        Ok(Listing { held, next: 0, seen: Vec::new(), seen_from: 0, asked: 0, asking: Asking::default() })
    }

    /// The directory.
    pub fn dir(&self) -> &Dir {
        &self.held.dir
    }

    /// Its filesystem's number.
    pub fn dev(&self) -> u64 {
        self.held.dev
    }

    /// The next name.
    pub fn head(&self) -> Option<&[u8]> {
        self.held.names.get(self.next)
    }

    /// Goes on to the name after it.
    pub fn pass(&mut self) {
        self.next += 1;
    }

    /// Goes back to the name that was passed last.
    pub fn step_back(&mut self) {
        self.next = self.next.saturating_sub(1);
    }

    /// What the name that was passed last stands for.
    ///
    /// # Errors
    /// `Io`.
    pub fn look(&self, name: &[u8]) -> Result<Option<Entry>> {
        match self.next.checked_sub(1).and_then(|passed| self.seen(passed)) {
            Some(entry) => Ok(entry),
            // Not looked up yet; or what went wrong is for this caller to hear.
            None => self.held.dir.look(name),
        }
    }

    /// Has the system begin to read the files that come next, but for those that the other side seems to have too.
    pub fn read_ahead(&mut self, other: Option<&Listing>) {
        let end = self.held.names.len().min(self.next + READ_AHEAD);
        let next = self.asked.max(self.next)..end;
        if next.len() < READ_AHEAD / 2 && end < self.held.names.len() {
            return;
        }
        let is_wanted = |index: &usize| {
            self.held.names.get(*index).is_some_and(|name| other.is_none_or(|other| self.differs(*index, name, other)))
        };
        let wanted: Vec<usize> = next.filter(is_wanted).collect();
        self.asked = self.asked.max(end);
        self.asking.ask(&self.held, wanted);
    }

    /// What was looked up ahead of a name.
    fn seen(&self, index: usize) -> Seen {
        index.checked_sub(self.seen_from).and_then(|index| self.seen.get(index)).copied().flatten()
    }

    /// Whether the other side has a file otherwise or not at all. What is not known yet is not asked for.
    fn differs(&self, index: usize, name: &[u8], other: &Listing) -> bool {
        let Some(Some(ours)) = self.seen(index) else { return false };
        let theirs = (other.next..other.next + 2 * READ_AHEAD).find(|index| other.held.names.get(*index) == Some(name));
        match theirs.map(|index| other.seen(index)) {
            None => true,
            Some(Some(Some(theirs))) => {
                same((ours.size, ours.mtime), (theirs.size, theirs.mtime), Limits::FAT) != Same::Yes
            }
            Some(_) => false,
        }
    }

    /// Whether nothing is known of the names that come, and they are not few.
    fn is_due(&self) -> bool {
        let known = self.seen_from + self.seen.len();
        self.next >= known && self.held.names.get(self.next + FEW).is_some()
    }

    /// The names that come next, as two halves.
    fn halves(&self) -> [Range<usize>; 2] {
        let end = self.held.names.len().min(self.next + WINDOW);
        let middle = self.next + (end - self.next) / 2;
        [self.next..middle, middle..end]
    }
}

/// A thread that asks for files, which takes as long as to open them, while the ones before are copied. It ends before what is walked is
/// unmounted.
#[derive(Default)]
struct Asking(Option<JoinHandle<std::io::Result<()>>>);

impl Asking {
    fn ask(&mut self, held: &Arc<Held>, files: Vec<usize>) {
        self.end();
        let (held, few) = (Arc::clone(held), files.len() < READ_AHEAD / 2);
        let ask = move || {
            files.into_iter().filter_map(|index| held.names.get(index)).for_each(|name| held.dir.will_need(name));
            Ok(())
        };
        if few {
            let _ = ask();
        } else {
            // Where the system allows no more threads, nothing is asked for.
            self.0 = thread::start(None, Box::new(ask)).ok();
        }
    }

    fn end(&mut self) {
        self.0.take().map(JoinHandle::join);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.end();
    }
}

/// A thread that looks up half of the names that come next, of both sides, while its owner looks up the other half: a medium answers two
/// sooner than one after the other, and most of what a new inode costs is the processor's. It ends before what is walked is unmounted.
pub struct Second(Aide<Vec<Half>, Vec<Vec<Seen>>>);

/// Names of one side.
type Half = (Arc<Held>, Range<usize>);

impl Second {
    /// Starts it; none where it would not help.
    pub fn start() -> Option<Second> {
        let look = |given: Vec<Half>| given.into_iter().map(|(held, names)| held.look(names)).collect();
        Aide::start(look).map(Second)
    }

    /// Looks up the next names of a directory, of the sides of which it is time.
    ///
    /// # Errors
    /// `Failed` if the thread is gone.
    pub fn look_ahead(&self, left: &mut Option<Listing>, right: &mut Option<Listing>) -> Result<()> {
        let mut due: Vec<&mut Listing> = [left, right].into_iter().flatten().filter(|side| side.is_due()).collect();
        if due.is_empty() {
            return Ok(());
        }
        let halves: Vec<_> = due.iter().map(|side| side.halves()).collect();
        // In the other order than here, so that each begins at another medium.
        let last = due.iter().zip(&halves).rev().map(|(side, [_, last])| (Arc::clone(&side.held), last.clone()));
        let ((), done) = self.0.share(last.collect(), || {
            for (side, [first, _]) in due.iter_mut().zip(&halves) {
                side.seen_from = first.start;
                side.seen = side.held.look(first.clone());
            }
        });
        let Some(done) = done else {
            return Err(Error::Failed {
                why: "the second thread of the walk is gone".to_owned(),
                next: "run it again",
            });
        };
        for (side, seen) in due.into_iter().rev().zip(done) {
            side.seen.extend(seen);
        }
        Ok(())
    }
}

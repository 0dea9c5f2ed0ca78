//! A directory that is being walked: its names in order, and what has been looked up of those that come next.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Names};
use crate::tree::same::is_dropping;

/// Names that are looked up at once: a bound for the memory, however many files a directory has.
const WINDOW: usize = 256;
/// So few names are looked up before another thread has woken.
const FEW: usize = 16;

/// A directory, and how far its names have been met.
pub struct Listing {
    /// The directory.
    pub dir: Dir,
    /// Its filesystem.
    pub dev: u64,
    names: Names,
    next: usize,
    /// What [`Listing::look_ahead`] found, of the names from `seen_from` on. `None`: it could not be looked at.
    seen: Vec<Option<Option<Entry>>>,
    seen_from: usize,
}

impl Listing {
    /// Lists a directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(dir: Dir) -> Result<Listing> {
        let names = dir.names()?;
        Ok(Listing { dev: dir.entry()?.dev, dir, names, next: 0, seen: Vec::new(), seen_from: 0 })
    }

    /// The next name.
    pub fn head(&self) -> Option<&[u8]> {
        self.names.get(self.next)
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
        let index = self.next.checked_sub(self.seen_from + 1);
        match index.and_then(|index| self.seen.get(index)) {
            Some(Some(entry)) => Ok(*entry),
            // What went wrong is for this caller to hear.
            Some(None) | None => self.dir.look(name),
        }
    }

    /// Whether nothing is known of the names that come, and they are not few.
    fn is_due(&self) -> bool {
        let known = self.seen_from + self.seen.len();
        self.next >= known && self.names.get(self.next + FEW).is_some()
    }

    fn look_ahead(&mut self) {
        self.seen.clear();
        self.seen_from = self.next;
        for name in (self.next..self.next + WINDOW).map_while(|index| self.names.get(index)) {
            // A dropping is never asked for.
            self.seen.push(if is_dropping(name) { None } else { self.dir.look(name).ok() });
        }
    }
}

/// A thread that looks up one side's names while its owner looks up the other's: each waits for another medium.
pub struct Second {
    work: Option<Sender<Listing>>,
    done: Receiver<Listing>,
    thread: Option<JoinHandle<()>>,
}

impl Second {
    /// Starts it; none if the system allows no more threads: then the owner does it all.
    pub fn start() -> Option<Second> {
        let (work, taken) = channel::<Listing>();
        let (give, done) = channel();
        let thread = std::thread::Builder::new().spawn(move || {
            for mut listed in taken {
                listed.look_ahead();
                if give.send(listed).is_err() {
                    break;
                }
            }
        });
        thread.ok().map(|thread| Second { work: Some(work), done, thread: Some(thread) })
    }

    /// Looks up the next names of both sides of a directory, if it is time.
    ///
    /// # Errors
    /// `Failed` if the thread is gone, with what it held.
    pub fn look_ahead(&self, left: &mut Option<Listing>, right: &mut Option<Listing>) -> Result<()> {
        let due = |listed: &Option<Listing>| listed.as_ref().is_some_and(Listing::is_due);
        let (Some(work), true) = (&self.work, left.is_some() && right.is_some() && (due(left) || due(right))) else {
            return Ok(());
        };
        let gone = || Error::Failed {
            why: "the thread that looks at the second side is gone".to_owned(),
            next: "run it again",
        };
        let (Some(ours), Some(theirs)) = (left, right.take()) else { return Ok(()) };
        work.send(theirs).map_err(|_| gone())?;
        ours.look_ahead();
        *right = Some(self.done.recv().map_err(|_| gone())?);
        Ok(())
    }
}

impl Drop for Second {
    /// It ends before what is walked is unmounted.
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

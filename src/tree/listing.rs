//! A directory that is being walked: its names in order, and how far they have been met.

use crate::error::Result;
use crate::os::dir::{Dir, Entry, Names};

/// A directory, and how far its names have been met.
pub struct Listing {
    dir: Dir,
    dev: u64,
    names: Names,
    next: usize,
}

impl Listing {
    /// Lists a directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(dir: Dir) -> Result<Listing> {
        Ok(Listing { dev: dir.entry()?.dev, names: dir.names()?, dir, next: 0 })
    }

    /// The directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its filesystem's number.
    pub fn dev(&self) -> u64 {
        self.dev
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

    /// What a name in it stands for.
    ///
    /// # Errors
    /// `Io`.
    pub fn look(&self, name: &[u8]) -> Result<Option<Entry>> {
        self.dir.look(name)
    }
}

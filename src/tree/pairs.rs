//! The files of two trees, name by name, for those who look at files alone: no directories, nothing odd, no droppings.

use crate::error::Result;
use crate::os::dir::{Dir, Entry, Kind};
use crate::tree::walk::{Step, Walk};

/// Two files of one path; at least one is there.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The left tree's.
    pub left: Option<Entry>,
    /// The right tree's.
    pub right: Option<Entry>,
    /// The left tree has a directory of that name.
    pub left_dir: bool,
    /// The right tree has a directory of that name.
    pub right_dir: bool,
}

impl Pair {
    /// Of what a walk has met.
    pub fn of(left: Option<Entry>, right: Option<Entry>) -> Pair {
        let dir = |entry: Option<Entry>| entry.is_some_and(|entry| entry.kind == Kind::Dir);
        Pair { left: Entry::file(left), right: Entry::file(right), left_dir: dir(left), right_dir: dir(right) }
    }

    /// The same with the sides exchanged.
    #[must_use]
    pub fn mirrored(self) -> Pair {
        Pair { left: self.right, right: self.left, left_dir: self.right_dir, right_dir: self.left_dir }
    }
}

/// The pairs of two trees, in the order of a walk.
pub struct Pairs {
    walk: Walk,
    except: &'static [u8],
}

impl Pairs {
    /// Starts at the roots of one tree or two. The file `except` directly below the roots is passed over.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(left: Option<&Dir>, right: Option<&Dir>, except: &'static [u8]) -> Result<Pairs> {
        Ok(Pairs { walk: Walk::new(left, right)?, except })
    }

    /// Passes over what can't be read of the left tree, as [`Walk::tolerant`].
    pub fn tolerant(self) -> Pairs {
        Pairs { walk: self.walk.tolerant(), ..self }
    }

    /// Where the last pair was found.
    pub fn walk(&self) -> &Walk {
        &self.walk
    }

    /// The next pair; `None` at the end.
    ///
    /// # Errors
    /// As [`Walk::step`].
    pub fn take(&mut self) -> Result<Option<Pair>> {
        while let Some(step) = self.walk.step()? {
            match step {
                Step::File { left, right } if self.walk.path() != self.except => {
                    return Ok(Some(Pair::of(left, right)));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

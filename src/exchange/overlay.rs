//! What putting a run back does to each file, on the server or on a stick: what the run replaced or deleted comes back, what it brought goes; what other
//! runs or people changed since elsewhere stays (SPEC 6, undo).

use crate::dataset::meta;
use crate::dataset::survey::{Change, Lost};
use crate::dataset::undo::{List, Place};
use crate::error::Result;
use crate::os::dir::{Dir, Entry};
use crate::tree::pairs::Pair;
use crate::tree::same::{Limits, Same, same};
use crate::tree::stream::Stream;
use crate::tree::walk::{Step, Walk};

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The kept one comes back.
    Restore,
    /// It goes: the run had brought it.
    Drop,
    /// It stays as it is.
    Stay,
}

/// The rule, read in step with a walk of what is kept and what is there now.
pub struct Overlay {
    brought: Option<Stream>,
    /// The whole dataset is kept, as the first version of the program did it.
    whole: bool,
    limits: Limits,
    /// A directory in whose place a file comes back.
    going: Option<Vec<u8>>,
}

/// A fate, and whether somebody changed the file since the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What becomes of it.
    pub fate: Fate,
    /// What is there now is not what the run brought.
    pub edited: bool,
    /// The run brought a file of that name.
    brought: bool,
}

impl Overlay {
    /// For a place, on a filesystem with those limits.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn of(place: &Place, limits: Limits) -> Result<Overlay> {
        Ok(Overlay { brought: place.list(List::Brought)?, whole: !place.part.partial, limits, going: None })
    }

    /// Judges a file: as it is kept (left), and as it is now (right).
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn judge(&mut self, path: &[u8], pair: Pair) -> Result<Judged> {
        let (kept, now) = (pair.left, pair.right);
        let brought = match &mut self.brought {
            Some(brought) => brought.find(path)?.map(|listed| (listed.size, listed.mtime)),
            None => None,
        };
        let is = |entry: Entry, other: (u64, i64)| same((entry.size, entry.mtime), other, self.limits) == Same::Yes;
        let as_brought = matches!((now, brought), (Some(now), Some(brought)) if is(now, brought));
        if kept.is_some() && pair.right_dir {
            self.going = Some([path, b"/"].concat());
        }
        // A directory and a file can't both have that name: what was there comes back.
        let in_the_way = pair.left_dir || self.going.as_ref().is_some_and(|going| path.starts_with(going));
        let fate = match (kept, now) {
            (Some(kept), Some(now)) if is(now, (kept.size, kept.mtime)) => Fate::Stay,
            (Some(_), _) => Fate::Restore,
            (None, Some(_)) if as_brought || self.whole || in_the_way => Fate::Drop,
            (None, _) => Fate::Stay,
        };
        Ok(Judged { fate, edited: now.is_some() && !as_brought && !self.whole, brought: brought.is_some() })
    }
}

/// What putting back does in all.
#[derive(Default)]
pub struct Found {
    /// What it does.
    pub change: Change,
    /// What goes that the run had not brought.
    pub lost: Lost,
    /// Files that the run brought and somebody edited since: they stay.
    pub left: Lost,
    /// Files that are there afterwards.
    pub remaining: u64,
    /// Bytes of what is replaced or goes.
    pub replaced_bytes: u64,
}

/// Looks at all files, changes nothing, and tells `each` of those that change.
///
/// # Errors
/// `Io`, `Unreadable`; those of `each`.
pub fn look(
    place: &Place,
    kept: Option<&Dir>,
    now: Option<&Dir>,
    limits: Limits,
    mut each: impl FnMut(&Walk, Fate, Option<Entry>, Option<Entry>) -> Result<()>,
) -> Result<Found> {
    let mut found = Found::default();
    let mut overlay = Overlay::of(place, limits)?;
    let mut walk = Walk::new(kept, now)?;
    while let Some(step) = walk.step()? {
        let pair = match step {
            Step::File { left, right } if walk.path() != meta::NAME => Pair::of(left, right),
            Step::Enter { left: Some(_), right: None } => {
                found.change.dirs += 1;
                continue;
            }
            _ => continue,
        };
        let Judged { fate, edited, brought } = overlay.judge(walk.path(), pair)?;
        let (left, right) = (pair.left, pair.right);
        found.remaining += u64::from(fate != Fate::Drop);
        match (fate, right) {
            (Fate::Stay, Some(_)) if edited && brought => found.left.add(walk.path()),
            (Fate::Restore | Fate::Drop, Some(_)) if edited => found.lost.add(walk.path()),
            _ => {}
        }
        if fate != Fate::Stay {
            found.change.count(left.filter(|_| fate == Fate::Restore), right);
            found.replaced_bytes = found.replaced_bytes.saturating_add(right.map_or(0, |right| right.size));
            each(&walk, fate, left, right)?;
        }
    }
    Ok(found)
}

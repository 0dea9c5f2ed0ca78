//! Finds out how much of what is gone from a stick is there under another name: renaming the one big file or a folder is no loss (SPEC 6, *doubtful*).

use super::meta;
use super::stick_state::known::Known;
use super::survey::{Gone, How};
use crate::error::Result;
use crate::os::dir::{Dir, Entry};
use crate::tree::copy;
use crate::tree::pairs::{Pair, Pairs};
use crate::tree::same::{Same, same};
use crate::tree::walk::Walk;

/// A file's size and what tells contents of one dataset apart: of a million files these are 16 MB.
type Content = (u64, u64);

fn content(size: u64, sha256: [u8; 32]) -> Content {
    let [a, b, c, d, e, f, g, h, ..] = sha256;
    (size, u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

/// What became of one path.
enum Fate<'a> {
    /// The stick has it, and it was not there.
    New(&'a Walk, Entry),
    /// It was there, of that size and content, and the stick lacks it.
    Gone(u64, Option<[u8; 32]>),
    /// The same where the server's file stands for what was there.
    GoneFromServer(&'a Walk, Entry),
}

/// What is gone from the stick and is there under another name: against the common state, or without one against the server's dataset.
///
/// # Errors
/// `Io`, `Unreadable`, `Interrupted`.
pub fn moved(stick: &Dir, server: &Dir, known: &dyn Fn() -> Result<Known>, how: How<'_>) -> Result<Gone> {
    let (mut new_sizes, mut gone_sizes) = (Vec::new(), Vec::new());
    each(stick, server, known()?, how, |fate| {
        match fate {
            Fate::New(_, entry) => new_sizes.push(entry.size),
            Fate::Gone(size, _) => gone_sizes.push(size),
            Fate::GoneFromServer(_, entry) => gone_sizes.push(entry.size),
        }
        Ok(())
    })?;
    new_sizes.sort_unstable();
    gone_sizes.sort_unstable();
    let (mut there, mut gone): (Vec<Content>, Vec<Content>) = (Vec::new(), Vec::new());
    each(stick, server, known()?, how, |fate| {
        match fate {
            Fate::New(walk, entry) if gone_sizes.binary_search(&entry.size).is_ok() => {
                if let Some(dir) = walk.left() {
                    there.push(content(entry.size, copy::hash(dir, walk.name())?));
                }
            }
            Fate::Gone(size, Some(sha256)) => gone.push(content(size, sha256)),
            Fate::GoneFromServer(walk, entry) if new_sizes.binary_search(&entry.size).is_ok() => {
                if let Some(dir) = walk.right() {
                    gone.push(content(entry.size, copy::hash(dir, walk.name())?));
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    there.sort_unstable();
    let mut moved = Gone::default();
    for (size, _) in gone.iter().filter(|content| there.binary_search(content).is_ok()) {
        moved.files += 1;
        moved.bytes = moved.bytes.saturating_add(*size);
    }
    Ok(moved)
}

fn each(
    stick: &Dir,
    server: &Dir,
    mut known: Known,
    how: How<'_>,
    mut tell: impl FnMut(Fate<'_>) -> Result<()>,
) -> Result<()> {
    let with_base = known.base.is_some();
    let mut pairs = Pairs::new(Some(stick), Some(server), meta::NAME)?.tolerant();
    loop {
        let pair = pairs.take()?;
        let walk = pairs.walk();
        let bound = pair.map(|_| walk.path());
        while let Some((_, remembered)) = known.before(bound)? {
            if let Some(base) = remembered.base {
                tell(Fate::Gone(base.size, base.sha256))?;
            }
        }
        let Some(Pair { left, right, .. }) = pair else { return Ok(()) };
        let base = known.at(walk.path())?.base;
        match (left, base, right) {
            (None, Some(base), _) => tell(Fate::Gone(base.size, base.sha256))?,
            (None, None, Some(right)) if !with_base => tell(Fate::GoneFromServer(walk, right))?,
            (Some(left), None, _) if with_base => tell(Fate::New(walk, left))?,
            (Some(left), Some(base), _) if !is_same(left, (base.size, base.mtime), how) => tell(Fate::New(walk, left))?,
            (Some(left), None, None) => tell(Fate::New(walk, left))?,
            (Some(left), None, Some(right)) if !is_same(left, (right.size, right.mtime), how) => {
                tell(Fate::New(walk, left))?;
            }
            _ => {}
        }
    }
}

fn is_same(left: Entry, other: (u64, i64), how: How<'_>) -> bool {
    same((left.size, left.mtime), other, how.limits) == Same::Yes
}

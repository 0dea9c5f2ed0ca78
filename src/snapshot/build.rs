//! Copies a tree into a snapshot; what did not change since the previous snapshot is shared with it.

use std::fs::File;

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::flow::EarlyFlush;
use crate::os::progress::Progress;
use crate::tree::copy::{self, Ownership};
use crate::tree::manifest::{Listed, Writer};
use crate::tree::same::{Limits, Same, same};
use crate::tree::stream::Stream;
use crate::tree::walk::{Step, Walk};

/// The same tree in the previous snapshot, and its files as that one's manifest lists them.
pub struct Previous {
    /// Its directory.
    pub dir: Dir,
    /// Its files; none if that snapshot has no manifest.
    pub files: Option<Stream>,
}

/// What was taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// Files in all.
    pub files: u64,
    /// Of these, copied or cloned from live data.
    pub copied: u64,
    /// Of these, clones: their bytes lie on the disk once until somebody changes the live file.
    pub cloned: u64,
    /// Bytes of what was copied or cloned.
    pub bytes: u64,
}

/// Copies `source` into the empty directory `to`. Files keep owner, permission bits and time. Hard links go from snapshot
/// to snapshot only; live data is copied, or cloned where the filesystem can, so that an edit in place never reaches a
/// snapshot. Every file is listed under `prefix`, in order.
///
/// # Errors
/// `Unreadable`, `Io`, `Busy`, `Interrupted`.
pub fn take(
    source: &Dir,
    mut previous: Option<Previous>,
    to: &Dir,
    prefix: &[u8],
    list: &mut Writer<File>,
    progress: &mut Progress,
) -> Result<Taken> {
    let mut taken = Taken::default();
    let mut walk = Walk::new(Some(source), previous.as_ref().map(|previous| &previous.dir))?.side_by_side();
    let mut targets = vec![Some(to.again()?)];
    let mut early = EarlyFlush::new(to).map_err(|error| to.not_flushed(error))?;
    while let Some(step) = walk.step()? {
        let target = targets.last().and_then(Option::as_ref);
        match (step, target) {
            (Step::Enter { left: Some(left), .. }, Some(target)) => {
                let made = target.make(walk.name(), 0o700)?;
                made.set_owner_mode(Some(left.owner), left.mode & 0o777)?;
                targets.push(Some(made));
            }
            (Step::Enter { .. }, _) => targets.push(None),
            (Step::Leave, _) => drop(targets.pop()),
            (Step::File { left: Some(left @ Entry { kind: Kind::File, .. }), right }, Some(target)) => {
                let files = previous.as_mut().and_then(|previous| previous.files.as_mut());
                let before = taken.bytes;
                let (size, mtime, sha256) = one(&walk, left, right, files, target, &mut taken, progress)?;
                early.wrote(taken.bytes - before).map_err(|error| to.not_flushed(error))?;
                let path = [prefix, walk.path()].concat();
                let listed = Listed { path, size, mtime, sha256: Some(sha256) };
                list.push(&listed).map_err(|error| Error::io("write the list of", to.path(), error))?;
            }
            _ => {}
        }
    }
    early.end().map_err(|error| to.not_flushed(error))?;
    Ok(taken)
}

/// Links or copies one file; its size, time and SHA-256. The live file may have been edited since the walk looked at it: what was copied
/// counts.
fn one(
    walk: &Walk,
    left: Entry,
    right: Option<Entry>,
    files: Option<&mut Stream>,
    target: &Dir,
    taken: &mut Taken,
    progress: &mut Progress,
) -> Result<(u64, i64, [u8; 32])> {
    let name = walk.name();
    taken.files += 1;
    let unchanged = right.is_some_and(|right| {
        right.kind == Kind::File
            && right.owner == left.owner
            && right.mode & 0o777 == left.mode & 0o777
            && same((left.size, left.mtime), (right.size, right.mtime), Limits::EXT) == Same::Yes
    });
    if let (true, Some(old)) = (unchanged, walk.right())
        && old.link(name, target, name)?
    {
        let known = match files {
            Some(files) => {
                files.find(walk.path())?.filter(|listed| listed.size == left.size).and_then(|listed| listed.sha256)
            }
            None => None,
        };
        let sha256 = known.map_or_else(|| copy::hash(target, name), Ok)?;
        return Ok((left.size, left.mtime, sha256));
    }
    let Some(from) = walk.left() else {
        return Err(Error::Failed { why: "no source directory".to_owned(), next: "report it" });
    };
    let owned = Ownership { owner: Some(left.owner), file_mode: left.mode & 0o777, dir_mode: 0o700 };
    let copied = copy::clone_or_copy(from, name, target, name, owned, progress)?;
    taken.copied += 1;
    taken.cloned += u64::from(copied.cloned);
    taken.bytes = taken.bytes.saturating_add(copied.entry.size);
    Ok((copied.entry.size, copied.entry.mtime, copied.sha256))
}

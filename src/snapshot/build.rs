//! Copies a tree into a snapshot; what did not change since the previous snapshot is shared with it. A snapshot never has
//! fewer files than the tree: one that is changed meanwhile is taken anew (SPEC 7).

use std::collections::BTreeSet;
use std::fs::File;

use log::{info, warn};

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::flow::EarlyFlush;
use crate::os::progress::Progress;
use crate::text::Shown;
use crate::tree::copy::{self, Ownership};
use crate::tree::manifest::{Listed, Writer};
use crate::tree::same::{Limits, Same, same};
use crate::tree::stream::Stream;
use crate::tree::walk::{Side, Step, Walk};

/// The same tree in the previous snapshot, and its files as that one's manifest lists them.
pub struct Previous {
    /// Its directory.
    pub dir: Dir,
    /// Its files; none if that snapshot has no manifest.
    pub files: Option<Stream>,
    /// What was found rotten in some snapshot, by its path in one: it is not shared on.
    pub rotten: BTreeSet<Vec<u8>>,
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
/// snapshot. Every file is listed under `prefix`, in order. What is no file or is mounted there is named in a warning.
///
/// # Errors
/// `Unreadable`, `Io`, `Interrupted`; for some of them [`is_change`] says that the source was changed meanwhile, as for
/// `Busy`.
pub fn take(
    source: &Dir,
    mut previous: Option<Previous>,
    to: &Dir,
    prefix: &[u8],
    list: &mut Writer<File>,
    progress: &mut Progress,
) -> Result<Taken> {
    let mut taken = Taken::default();
    let mut walk = Walk::new(Some(source), previous.as_ref().map(|previous| &previous.dir))?;
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
                let path = [prefix, walk.path()].concat();
                let is_rotten = previous.as_ref().is_some_and(|previous| previous.rotten.contains(&path));
                let right = right.filter(|_| !is_rotten);
                if is_rotten {
                    info!("{} was found rotten in a snapshot: it is copied anew", Shown(&path));
                }
                let files = previous.as_mut().and_then(|previous| previous.files.as_mut());
                let before = taken.bytes;
                let (size, mtime, sha256) = one(&walk, left, right, files, target, &mut taken, progress)?;
                early.wrote(taken.bytes - before).map_err(|error| to.not_flushed(error))?;
                let listed = Listed { path, size, mtime, sha256: Some(sha256) };
                list.push(&listed).map_err(|error| Error::io("write the list of", to.path(), error))?;
            }
            (Step::Skipped(Side::Left, what), _) => {
                warn!("{} is not in the snapshot: {what}", Shown(&[prefix, walk.path()].concat()));
            }
            _ => {}
        }
    }
    early.end().map_err(|error| to.not_flushed(error))?;
    match difference(source, to)? {
        None => Ok(taken),
        Some(path) => Err(Error::Busy {
            why: format!("{} came or went while the snapshot was taken", source.shown(&path)),
            next: "wait until nobody works there and run it again",
        }),
    }
}

/// A file or directory that only one of two trees has. A file that was renamed from where the walk had not been yet to
/// where it had been was met nowhere; another look at both finds it.
fn difference(source: &Dir, to: &Dir) -> Result<Option<Vec<u8>>> {
    let mut walk = Walk::new(Some(source), Some(to))?;
    while let Some(step) = walk.step()? {
        let kind = |entry: Option<Entry>| entry.map(|entry| entry.kind);
        match step {
            Step::File { left, right } | Step::Enter { left, right } if kind(left) != kind(right) => {
                return Ok(Some(walk.path().to_vec()));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Whether an error of [`take`] may come from somebody who changed the source meanwhile: a name that is gone, or stands
/// for something else than a moment before.
pub fn is_change(error: &Error) -> bool {
    let (Error::Unreadable { source, .. } | Error::Io { source, .. }) = error else {
        return matches!(error, Error::Busy { .. });
    };
    use std::io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound, StaleNetworkFileHandle};
    matches!(source.kind(), NotFound | NotADirectory | IsADirectory | StaleNetworkFileHandle)
        || (source.kind() == InvalidInput && source.raw_os_error().is_none())
        || error.is_no_directory()
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
    let copied = copy::clone_or_copy((from, name), (target, name), owned, progress)?;
    taken.copied += 1;
    taken.cloned += u64::from(copied.cloned);
    taken.bytes = taken.bytes.saturating_add(copied.entry.size);
    Ok((copied.entry.size, copied.entry.mtime, copied.sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay(paths: &[&str]) -> (tempfile::TempDir, Dir) {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            let full = root.path().join(path);
            if path.ends_with('/') {
                std::fs::create_dir_all(full).unwrap();
            } else if let Some(link) = path.strip_suffix('@') {
                std::os::unix::fs::symlink("/etc/passwd", root.path().join(link)).unwrap();
            } else {
                std::fs::create_dir_all(full.parent().unwrap()).unwrap();
                std::fs::write(full, path).unwrap();
            }
        }
        let dir = Dir::open(root.path()).unwrap();
        (root, dir)
    }

    fn differs(source: &[&str], taken: &[&str]) -> Option<String> {
        let (source, to) = (lay(source), lay(taken));
        difference(&source.1, &to.1).unwrap().map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn what_is_missing_in_a_snapshot_is_found() {
        let all = ["a.csv", "b/c.csv", "b/empty/", "link@", "Thumbs.db"];
        assert_eq!(differs(&all, &["a.csv", "b/c.csv", "b/empty/"]), None, "links and droppings are not taken");
        for (taken, path) in [
            (&["b/c.csv", "b/empty/"][..], "a.csv"),
            (&["a.csv", "b/empty/"], "b/c.csv"),
            (&["a.csv", "b/c.csv"], "b/empty"),
            (&["a.csv", "b/c.csv", "b/empty/", "b/gone.csv"], "b/gone.csv"),
            (&["a.csv", "b/c.csv", "b/empty/x"], "b/empty/x"),
            (&["a.csv/x", "b/c.csv", "b/empty/"], "a.csv"),
        ] {
            assert_eq!(differs(&all, taken).as_deref(), Some(path), "{taken:?}");
        }
    }

    #[test]
    fn what_somebody_does_meanwhile_is_told_from_a_bad_disk() {
        let (root, dir) = lay(&["dir/", "file", "link@"]);
        let unreadable = |name: &[u8]| dir.read(name).unwrap_err();
        for error in [unreadable(b"none"), unreadable(b"dir"), unreadable(b"link"), dir.sub(b"file").unwrap_err()] {
            assert!(is_change(&error), "{error}");
        }
        // EIO, EXDEV, EINVAL, ENOSPC (errno(3)).
        for errno in [5, 18, 22, 28] {
            let error = || Error::io("read", root.path(), std::io::Error::from_raw_os_error(errno));
            assert!(!is_change(&error()) && !is_change(&error().unreadable()), "{errno}");
        }
        assert!(!is_change(&Error::Interrupted));
    }
}

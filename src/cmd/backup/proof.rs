//! Proves an archive on a stick: that it is whole, of the snapshot that is backed up, and what the snapshot's manifest says.

use super::work::Work;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::flow::Once;
use crate::os::progress::Progress;
use crate::snapshot::archive::{self, Checked, Source};
use crate::snapshot::rot;

/// Reads an archive as a whole and holds it against its own manifest, and that against the snapshot's.
///
/// # Errors
/// `Refused` if it is damaged, `Failed` if it is of another snapshot, `Unreadable`, `Interrupted`.
pub(super) fn verify(dir: &Dir, name: &[u8], work: &Work, sha256: Option<[u8; 32]>) -> Result<Checked> {
    let (file, entry) = dir.read(name)?;
    let mut progress = Progress::new(format!("{}: reading it back", work.name), entry.size, 0);
    let checked = archive::read(Once::new(file), whole(&dir.shown(name), sha256), &mut progress)?;
    if checked.manifest_sha256 == Some(work.digest) {
        return Ok(checked);
    }
    Err(Error::Failed { why: format!("{} is of another snapshot", dir.shown(name)), next: "run it again" })
}

/// To be read from end to end, written nowhere.
pub(super) fn whole(shown: &str, sha256: Option<[u8; 32]>) -> Source<'_> {
    Source { shown, sha256, target: None, only: None }
}

/// As [`verify`] what was just written. Each content is hashed here and not when it was written, so a wrong one may be the snapshot's
/// own: that is looked at once more, to say whose fault it is.
///
/// # Errors
/// `Failed` if the snapshot is damaged, or else the stick can't keep what is written; as [`verify`].
pub(super) fn read_back(dir: &Dir, name: &[u8], work: &Work) -> Result<Checked> {
    verify(dir, name, work, None).map_err(|error| match error {
        Error::Refused { why, .. } => match examine(work, false) {
            Ok(()) => Error::Failed {
                why: format!("what the stick gives back is not what was written: {why}"),
                next: "use another stick; the archives on this one are as they were",
            },
            Err(error) => error,
        },
        error => error,
    })
}

/// Holds every file of the snapshot against its manifest, and notes what is rotten, but in a dry run. Of one without a manifest there is nothing to hold it
/// against.
///
/// # Errors
/// As [`rot::examine`].
pub(super) fn examine(work: &Work, dry_run: bool) -> Result<()> {
    let state = work.state.as_ref().filter(|_| !dry_run);
    let mut progress = Progress::new(format!("{}: looking for the fault", work.snapshot.name), 0, 0);
    rot::examine(&work.dir, state, &mut progress)
}

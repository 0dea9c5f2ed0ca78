//! Snapshots of the original system. They have no manifest, so that nobody can prove that their files are what they were; when one is archived, a
//! manifest is made of what is there, and the archive is held against that.

use std::fs::File;

use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::progress::Progress;
use crate::snapshot::generation::MANIFEST;
use crate::snapshot::part;
use crate::tree::copy;
use crate::tree::manifest::{Header, Listed, Writer};
use crate::tree::walk::{Step, Walk};

/// The manifest of a snapshot: its own, or else one of what is there now, in a file without a name. That one has no number, and is the same for
/// the same files.
///
/// # Errors
/// `Io`, `Unreadable`, `Interrupted`, `Refused` (too deep).
pub fn manifest_of(snapshot: &Dir, server: &str) -> Result<File> {
    if let Some((file, _)) = snapshot.read_if_there(MANIFEST)? {
        return Ok(file);
    }
    let fail = |error| Error::io("write the manifest of", snapshot.path(), error);
    let header = Header { filled: Some(part::words(&part::look(snapshot)?)), ..Header::complete(server) };
    let mut list = Writer::new(snapshot.unnamed()?, &header).map_err(fail)?;
    let mut progress = Progress::new(format!("{}: reading it", snapshot.path().display()), 0, 0);
    let mut walk = Walk::new(Some(snapshot), None)?;
    while let Some(step) = walk.step()? {
        if let (Step::File { left: Some(entry @ Entry { kind: Kind::File, .. }), .. }, Some(dir)) = (step, walk.left())
        {
            let sha256 = Some(copy::hash(dir, walk.name())?);
            list.push(&Listed::of(walk.path(), &entry, sha256)).map_err(fail)?;
            progress.add_bytes(entry.size);
            progress.add_file();
        }
    }
    list.finish().map_err(fail)
}

//! Brings the newest sound archive of a stick onto the server's disk, proved, where nobody takes it for data yet.

use log::{info, warn};

use super::{Place, Record, STAGED};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::flow::Once;
use crate::os::progress::Progress;
use crate::snapshot::archive::{self, Checked, Source};
use crate::snapshot::shelf;
use crate::stick::chain::Stick;
use crate::text::Shown;
use crate::tree::remove;

/// Stages it. After an error nothing of it stays.
///
/// # Errors
/// `NoSource` without an archive, `Refused` if none is sound, `Failed` if the stick was pulled, `Io`, `Interrupted`.
pub fn stage(place: &Place, stick: &Stick) -> Result<Record> {
    place.clear()?;
    let staged = newest_sound(place, stick).and_then(|record| place.save(&record).map(|()| record));
    if staged.is_err()
        && let Err(more) = place.clear()
    {
        warn!("{more}");
    }
    staged
}

fn newest_sound(place: &Place, stick: &Stick) -> Result<Record> {
    let mut damaged = Vec::new();
    let mut newest_error = None;
    let archives = shelf::list(stick.root())?;
    // A list that is short would make an old archive the newest.
    stick.check_read()?;
    for name in archives.into_iter().rev() {
        remove::tree(&place.dir, STAGED)?;
        let staged = place.dir.make(STAGED, 0o700)?;
        match extract(stick.root(), &name, &staged) {
            Ok(checked) => {
                staged.sync_all()?;
                return record(stick, name, damaged, &checked, &staged);
            }
            // An older one instead of what a PC can unpack would be the wrong one.
            Err(error) if archive::is_not_taken(&error) => return Err(error),
            Err(error @ (Error::Refused { .. } | Error::Unreadable { .. })) => {
                // What can't be read on a stick that was pulled is no fault of the archive.
                stick.check_present()?;
                warn!("{name} is not sound, so an older one is looked for: {error}");
                damaged.push(name);
                newest_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(newest_error.unwrap_or_else(none))
}

/// What a stick without any is told.
pub fn none() -> Error {
    Error::NoSource {
        why: "there is no archive on the stick".to_owned(),
        next: "plug in one with a backup and a file RESTORE on it",
    }
}

fn extract(root: &Dir, name: &str, staged: &Dir) -> Result<Checked> {
    info!("{name}: verifying it and bringing it here");
    let (file, entry) = root.read(name.as_bytes())?;
    let mut progress = Progress::new(format!("{name}: from the stick"), entry.size, 0);
    let source = Source { shown: name, sha256: shelf::checksum(root, name)?, target: Some(staged), only: None };
    let checked = archive::read(Once::new(file), source, &mut progress)?;
    if !checked.is_proven() {
        warn!("{name} has no manifest (the original system made it): it could not be checked");
    }
    for known in [&b"db"[..], b"docviewer", b"master"] {
        if staged.sub(known)?.is_some() {
            return Ok(checked);
        }
    }
    let why = format!("{name} holds neither master nor docviewer nor db");
    Err(Error::Refused { why, next: "use another archive".to_owned() })
}

fn record(stick: &Stick, archive: String, damaged: Vec<String>, checked: &Checked, staged: &Dir) -> Result<Record> {
    let mut record = Record {
        uuid: stick.superblock().uuid.to_string(),
        archive,
        damaged,
        files: checked.files,
        bytes: checked.content,
        ..Record::default()
    };
    if let Some(header) = &checked.manifest {
        record.taken = header.taken;
        record.server = Some(header.server.clone()).filter(|id| is_id(id));
        if record.server.is_none() {
            warn!("{} is no server's id: this server keeps its own", Shown(header.server.as_bytes()));
        }
    }
    for dataset in Dataset::ALL {
        match staged.sub(dataset.name().as_bytes())? {
            Some(dir) => drop(record.inodes.insert(dataset.name().to_owned(), dir.entry()?.ino)),
            None => warn!("{} holds no {}", record.archive, dataset.name()),
        }
    }
    Ok(record)
}

/// Whether a text from an archive can be a server's id.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

//! The logs' bounds (SPEC 4): a log that has become large, or whose first line is old, becomes the one of before
//! (`usb_ingest.log.1`), of which there is one; that one goes when its last line is old. So a log holds no more than twice
//! its size, and lines of at least, and at most twice, so many days.
//!
//! It is a rename, so no line is lost of a writer that has the log open; it goes on in the new one by itself (`journal`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use log::warn;
use rustix::fs::{FlockOperation, flock};

use crate::clock::{DAY, parse_rfc3339};

/// The logs that the jobs write. The mirror's own are `mirrorctl rotate`'s.
pub const LOGS: [&str; 7] = [
    "usb_ingest.log",
    "usb_dist_export.log",
    "usb_dist_sync.log",
    "usb_backup.log",
    "usb_guard.log",
    "snapshot.log",
    "jobs.jsonl",
];
/// The length of `2026-01-31T02:30:00+09:00`.
const TIME: usize = 25;

/// The log of before.
pub fn older(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.1", path.display()))
}

/// Makes a log the one of before if it has `most` bytes or more.
///
/// # Errors
/// What the system says; then the log is as it was.
pub fn by_size(path: &Path, most: u64) -> io::Result<()> {
    rename_if(path, |log| log.metadata().is_ok_and(|metadata| metadata.len() >= most))
}

/// Bounds all logs of a directory by age. `now`: a time that is believed.
pub fn by_age(log_dir: &Path, days: u32, now: i64) {
    let bound = now.saturating_sub(i64::from(days).saturating_mul(DAY));
    for path in LOGS.map(|log| log_dir.join(log)) {
        let last = |path: &Path| {
            let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()?;
            i64::try_from(changed.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
        };
        let before = older(&path);
        let removed = match last(&before) {
            Some(time) if time < bound => fs::remove_file(&before),
            _ => Ok(()),
        };
        let renamed = rename_if(&path, |log| first_time(log).is_some_and(|time| time < bound));
        if let Err(error) = removed.and(renamed) {
            warn!("cannot bound the log {}: {error}", path.display());
        }
    }
}

/// Under a lock of the directory: of two writers that find the log large, the second must not put the new one in the place
/// of what the first put there. Nobody waits for it: a log never stops a job.
fn rename_if(path: &Path, due: impl Fn(&File) -> bool) -> io::Result<()> {
    let lock = match File::open(path.parent().unwrap_or(Path::new("/"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && due(&File::open(path)?) => fs::rename(path, older(path)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The time of a log's first line or record.
fn first_time(mut log: &File) -> Option<i64> {
    let mut begin = [0; 9 + TIME];
    log.read_exact(&mut begin).ok()?;
    let begin = std::str::from_utf8(&begin).ok()?;
    let time = begin.strip_prefix("{\"time\":\"").unwrap_or(begin);
    parse_rfc3339(time.get(..TIME)?)
}

/// Whether a path still names the file that is open.
pub fn is_still(path: &Path, file: &File) -> bool {
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (there, open) = (fs::symlink_metadata(path).map(place), file.metadata().map(place));
    matches!((there, open), (Ok(there), Ok(open)) if there == open)
}

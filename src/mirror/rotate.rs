//! Rotates `mirror_requests.log` and `mirror_diff.log` (SPEC 9). A log is exchanged with an empty one and renamed, so that
//! whoever has it open goes on writing into the renamed file; that one is compressed once nobody has it open, now or at a
//! later rotation.

use std::path::Path;
use std::time::Duration;

use log::{info, warn};

use crate::clock::{Clock, DAY};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind, set_owner_mode};
use crate::os::open_files::is_open;
use crate::os::process::{self, Input, Output, Program};

/// The logs that are rotated.
const LOGS: [&str; 2] = ["mirror_requests", "mirror_diff"];
/// A crash leaves it behind; the next rotation replaces it.
const TEMP: &[u8] = b".mirror_rotate.tmp";
const LIMIT: Duration = Duration::from_secs(1800);
const NEXT: &str = "ログディレクトリの所有者と空き容量を確認して、もう一度";

/// Gives each log that is not empty a name with the time. To be called while no comparison writes.
///
/// The next log is made first and exchanged with the full one, so that a log by the usual name is always there: its owner
/// and mode are what lets others write to it.
///
/// # Errors
/// `Io`; the next rotation finishes the work.
pub fn rename(dir: &Dir, clock: Clock) -> Result<()> {
    for log in LOGS {
        let (name, next) = (format!("{log}.log"), format!(".{log}.log.new"));
        give_time(dir, log, &next, clock)?;
        let Some(entry) = dir.look(name.as_bytes())?.filter(|entry| entry.kind == Kind::File && entry.size > 0) else {
            info!("{name}: 記録がないので、そのままです");
            continue;
        };
        let file = dir.create(next.as_bytes(), 0o600)?;
        set_owner_mode(&file, Some(entry.owner), entry.mode)
            .map_err(|error| Error::io("change", &dir.path_of(next.as_bytes()), error))?;
        dir.exchange(next.as_bytes(), dir, name.as_bytes())?;
        give_time(dir, log, &next, clock)?;
    }
    dir.sync()
}

/// Gives what was exchanged its name. A run that was cut off before it had exchanged left an empty one, which goes.
fn give_time(dir: &Dir, log: &str, next: &str, clock: Clock) -> Result<()> {
    match dir.look(next.as_bytes())? {
        Some(Entry { kind: Kind::File, size: 1.., .. }) => {
            let to = free_name(dir, log, clock)?;
            dir.rename_new(next.as_bytes(), dir, to.as_bytes())?;
            info!("{log}.log → {to}");
            Ok(())
        }
        Some(_) => dir.remove(next.as_bytes()),
        None => Ok(()),
    }
}

/// A name that neither a log nor a compressed one has: this second's, or the next free one's.
fn free_name(dir: &Dir, log: &str, clock: Clock) -> Result<String> {
    let mut time = clock.now();
    loop {
        let name = format!("{log}-{}.log", clock.compact(time));
        let compressed = format!("{name}.gz");
        if dir.look(name.as_bytes())?.is_none() && dir.look(compressed.as_bytes())?.is_none() {
            return Ok(name);
        }
        time += 1;
    }
}

/// Compresses the renamed logs that nobody has open.
///
/// # Errors
/// `Io`, `Failed` with gzip's words, `Config` without gzip, `Interrupted`; no line is lost.
pub fn compress(dir: &Dir) -> Result<()> {
    for name in names(dir)?.iter().filter(|name| is_renamed(name)) {
        let look = || dir.look(name.as_bytes());
        let Some(entry) = look()?.filter(|entry| entry.kind == Kind::File) else { continue };
        if is_open(&entry) {
            info!("{name}: まだ書き込まれているので、次の rotate で圧縮します");
            continue;
        }
        gzip(dir, name)?;
        // Somebody who opened it meanwhile may still write: then the copy does not count.
        if look()? != Some(entry) || is_open(&entry) {
            dir.remove(TEMP)?;
            info!("{name}: まだ書き込まれているので、次の rotate で圧縮します");
            continue;
        }
        // A crash before the rename leaves the log, after it both: the next rotation compresses the log once more.
        dir.rename(TEMP, dir, format!("{name}.gz").as_bytes())?;
        dir.sync()?;
        dir.remove(name.as_bytes())?;
        info!("{name}.gz に圧縮しました");
    }
    dir.sync()
}

fn gzip(dir: &Dir, name: &str) -> Result<()> {
    let gzip = process::find("gzip")
        .ok_or_else(|| Error::Config { why: "gzip がありません".to_owned(), next: "sudo apt install gzip" })?;
    let (log, entry) = dir.read(name.as_bytes())?;
    dir.remove(TEMP)?;
    let out = dir.create(TEMP, 0o600)?;
    let fail = |error| Error::io("write", &dir.path_of(TEMP), error);
    let ours = out.try_clone().map_err(fail)?;
    let program = Program::new(&gzip, &["--stdout", "--no-name"], LIMIT, NEXT);
    let done = program.input(Input::File(log)).output(Output::File(out)).run();
    let done = done.and_then(|()| {
        set_owner_mode(&ours, Some(entry.owner), entry.mode).and_then(|()| ours.sync_all()).map_err(fail)
    });
    if done.is_err() {
        let _ = dir.remove(TEMP);
    }
    done
}

/// Removes compressed logs that are older than so many days, by the time in their name (else by their last change).
///
/// # Errors
/// `Io`.
pub fn prune(dir: &Dir, days: u32, clock: Clock) -> Result<()> {
    let oldest = clock.now().saturating_sub(i64::from(days) * DAY);
    for name in names(dir)? {
        if !name.starts_with("mirror_") || !name.ends_with(".log.gz") {
            continue;
        }
        let Some(Entry { kind: Kind::File, mtime, .. }) = dir.look(name.as_bytes())? else { continue };
        let in_name = name.trim_end_matches(".log.gz").rsplit_once('-').and_then(|(_, time)| clock.of_compact(time));
        if in_name.unwrap_or(mtime.div_euclid(1_000_000_000)) < oldest {
            dir.remove(name.as_bytes())?;
            info!("{name} を削除しました({days} 日より古い)");
        }
    }
    dir.sync()
}

/// `mirror_diff-20260131023000.log`
fn is_renamed(name: &str) -> bool {
    let middle = name.strip_suffix(".log").and_then(|name| name.rsplit_once('-'));
    middle
        .is_some_and(|(log, time)| LOGS.contains(&log) && time.len() == 14 && time.bytes().all(|c| c.is_ascii_digit()))
}

/// The names that are text; no log of ours has another.
fn names(dir: &Dir) -> Result<Vec<String>> {
    let names = dir.names()?;
    Ok(names.iter().filter_map(|name| std::str::from_utf8(name).ok().map(str::to_owned)).collect())
}

/// The directory of the logs.
///
/// # Errors
/// `Io`.
pub fn open(path: &Path) -> Result<Dir> {
    Dir::open(path).inspect_err(|_| warn!("ログディレクトリ {} を開けません", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renamed_logs() {
        assert!(is_renamed("mirror_diff-20260131023000.log"));
        for other in [
            "mirror_diff.log",
            "mirror_diff-20260131023000.log.gz",
            "mirror_status-20260131023000.log",
            "mirror_diff-2026013102300.log",
            "mirror_diff-2026013102300x.log",
        ] {
            assert!(!is_renamed(other), "{other}");
        }
    }
}

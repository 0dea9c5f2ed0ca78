//! What the mirror leaves behind: `mirror_status.log`, `mirror_diff.log` and the OK counter (SPEC 9). A crash leaves each line
//! whole or, at the end of a log, torn; the next line repairs that. The counter is replaced, never changed in place.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use log::warn;

use super::compare::Difference;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::lock::Lock;
use crate::os::{atomic, journal};
use crate::settings::mirror::Mirror;

/// The runs of the comparison and of mirrorctl, one JSON line each.
pub const STATUS_LOG: &str = "mirror_status.log";
/// The differences of each comparison that found some, one JSON line each.
pub const DIFF_LOG: &str = "mirror_diff.log";

/// Where the records are.
pub struct Records {
    log_dir: PathBuf,
    status_dir: PathBuf,
    counter: PathBuf,
}

impl Records {
    /// Where the configuration puts them; `logs` is the directory of the other logs.
    pub fn new(config: &Mirror, logs: &Path) -> Records {
        let log_dir = config.log_dir.clone().unwrap_or_else(|| logs.to_owned());
        Records { log_dir, status_dir: config.status_dir.clone(), counter: config.ok_counter_file.clone() }
    }

    /// The directory of the logs.
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// Locks one of the mirror's works against another run of it.
    ///
    /// # Errors
    /// `Busy`, `Io`, `Interrupted`.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        Lock::file(&Dir::made(&self.status_dir)?, name)
    }

    /// Locks the records themselves, for a moment.
    ///
    /// # Errors
    /// As [`Records::lock`].
    pub fn lock_records(&self) -> Result<Lock> {
        self.lock("records.lock")
    }

    /// The comparisons without a difference since the last one with some.
    pub fn streak(&self) -> u64 {
        let text = match File::open(&self.counter) {
            Ok(file) => io::read_to_string(file.take(32)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return 0,
            Err(error) => Err(error),
        };
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or_else(|| {
            warn!("{} は数として読めません: 0 とみなします", self.counter.display());
            0
        })
    }

    /// Sets the counter. A crash leaves the old or the new one.
    ///
    /// # Errors
    /// `Io`; then the old one stands.
    pub fn set_streak(&self, streak: u64) -> Result<()> {
        let (Some(dir), Some(name)) = (self.counter.parent(), self.counter.file_name()) else { return Ok(()) };
        atomic::write(&Dir::made(dir)?, name.as_encoded_bytes(), format!("{streak}\n").as_bytes(), 0o644)
    }

    /// The counter as it stands, to be [restored](Records::restore); none if there is none yet.
    pub fn counter(&self) -> Option<u64> {
        self.counter.exists().then(|| self.streak())
    }

    /// Puts the counter back.
    ///
    /// # Errors
    /// `Io`.
    pub fn restore(&self, counter: Option<u64>) -> Result<()> {
        if let Some(streak) = counter {
            return self.set_streak(streak);
        }
        match std::fs::remove_file(&self.counter) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &self.counter, error)),
            _ => Ok(()),
        }
    }

    /// Appends a line to `mirror_status.log`; it is durable then.
    ///
    /// # Errors
    /// `Io`; then the log is as it was.
    pub fn append_status(&self, line: &str) -> Result<()> {
        self.append(STATUS_LOG, |log| log.write_all(format!("{line}\n").as_bytes()))
    }

    /// Appends what was collected as a line to `mirror_diff.log`; it is durable then.
    ///
    /// # Errors
    /// `Io`; then the log is as it was.
    pub fn append_differences(&self, differences: Differences) -> Result<()> {
        let mut file = differences.finish()?;
        self.append(DIFF_LOG, |log| io::copy(&mut file, log).map(drop))
    }

    fn append(&self, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        let path = self.log_dir.join(name);
        let appended = journal::append_to(&path).and_then(|mut log| {
            repair(&mut log)?;
            let before = log.seek(SeekFrom::End(0))?;
            match write(&mut log).and_then(|()| log.sync_data()) {
                Ok(()) if before == 0 => File::open(&self.log_dir)?.sync_all(),
                Ok(()) => Ok(()),
                Err(error) => log.set_len(before).and(Err(error)),
            }
        });
        appended.map_err(|error| Error::io("write", &path, error))
    }
}

/// Makes an end of the log's last line if a crash (or an editor) left none: half a record of ours goes, for its run did
/// not count; whatever else it is stays, on a line of its own.
fn repair(log: &mut File) -> io::Result<()> {
    let end = log.seek(SeekFrom::End(0))?;
    let start = last_line(log, end)?;
    if start == end {
        return Ok(());
    }
    log.seek(SeekFrom::Start(start))?;
    if is_half_a_record(BufReader::new(&mut *log))? { log.set_len(start) } else { log.write_all(b"\n") }
}

/// Where the line begins that ends at `end`; `end` itself behind a line feed.
fn last_line(log: &mut File, end: u64) -> io::Result<u64> {
    const BLOCK: u64 = 8192;
    let mut block = Vec::new();
    let mut at = end;
    while at > 0 {
        let from = at.saturating_sub(BLOCK);
        log.seek(SeekFrom::Start(from))?;
        block.clear();
        Read::take(&mut *log, at - from).read_to_end(&mut block)?;
        if let Some(found) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + u64::try_from(found).unwrap_or(0) + 1);
        }
        at = from;
    }
    Ok(0)
}

/// The last lines of a log, oldest first, each at most so many bytes of it.
///
/// # Errors
/// What the system says; a log that is not there is an error too.
pub fn last_lines(path: &Path, count: usize, most: usize) -> io::Result<Vec<String>> {
    let mut log = File::open(path)?;
    let mut end = log.seek(SeekFrom::End(0))?;
    let mut lines = Vec::new();
    while lines.len() < count && end > 0 {
        let start = last_line(&mut log, end)?;
        if start < end {
            log.seek(SeekFrom::Start(start))?;
            let mut line = Vec::new();
            let shown = (end - start).min(u64::try_from(most).unwrap_or(u64::MAX));
            Read::take(&mut log, shown).read_to_end(&mut line)?;
            let text = String::from_utf8_lossy(&line).trim_end_matches('\u{fffd}').to_owned();
            lines.insert(0, if shown < end - start { text + "…" } else { text });
        }
        // The line feed before it.
        end = start.saturating_sub(1);
    }
    Ok(lines)
}

/// Whether it begins as a JSON object and ends before that does.
fn is_half_a_record(text: impl BufRead) -> io::Result<bool> {
    let (mut depth, mut in_text, mut escaped) = (0_u32, false, false);
    for byte in text.bytes() {
        match byte? {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text && depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return Ok(false);
                }
            }
            _ if depth == 0 => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}

/// Differences on their way to `mirror_diff.log`, in a file beside it: however many there are, they take no memory, and
/// the log gets a whole line or none.
pub struct Differences {
    out: BufWriter<File>,
    dir: Dir,
    count: u64,
    failed: io::Result<()>,
}

/// A crash leaves it behind; the next comparison replaces it.
const COLLECTED: &[u8] = b".mirror_diff.tmp";

impl Differences {
    /// Begins with none.
    ///
    /// # Errors
    /// `Io`.
    pub fn begin(records: &Records, timestamp: &str) -> Result<Differences> {
        let dir = Dir::made(records.log_dir())?;
        dir.remove(COLLECTED)?;
        drop(dir.create(COLLECTED, 0o600)?);
        let path = dir.path_of(COLLECTED);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|error| Error::io("open", &path, error))?;
        let mut out = BufWriter::with_capacity(64 * 1024, file);
        let failed = write!(out, "{{\"timestamp\":\"{timestamp}\",\"diff\":[");
        Ok(Differences { out, dir, count: 0, failed })
    }

    /// Adds one. What goes wrong is told by [`Records::append_differences`].
    pub fn add(&mut self, difference: &Difference<'_>) {
        if self.failed.is_ok() {
            let comma = if self.count == 0 { "" } else { "," };
            self.failed = self.out.write_all(comma.as_bytes()).and_then(|()| difference.write(&mut self.out));
        }
        self.count += 1;
    }

    fn finish(mut self) -> Result<File> {
        let failed = std::mem::replace(&mut self.failed, Ok(()));
        let done = failed.and_then(|()| {
            self.out.write_all(b"]}\n")?;
            self.out.flush()?;
            let mut file = self.out.get_ref().try_clone()?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        });
        done.map_err(|error| Error::io("write", &self.dir.path_of(COLLECTED), error))
    }
}

impl Drop for Differences {
    fn drop(&mut self) {
        let _ = self.dir.remove(COLLECTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_record() {
        for (text, half) in [
            ("{\"a\":\"}\"", true),
            ("{\"a\":[{\"b\":\"\\\"}", true),
            ("{\"a\":[{\"b\":\"c\"}]", true),
            ("{\"a\":[{\"b\":\"c\"}]}", false),
            ("{", true),
            ("by hand", false),
            ("", true),
        ] {
            assert_eq!(is_half_a_record(text.as_bytes()).unwrap(), half, "{text}");
        }
    }

    fn appended(before: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let records = Records {
            log_dir: dir.path().to_owned(),
            status_dir: dir.path().to_owned(),
            counter: dir.path().join("ok_counter"),
        };
        std::fs::write(dir.path().join(STATUS_LOG), before).unwrap();
        records.append_status("{\"n\":2}").unwrap();
        std::fs::read_to_string(dir.path().join(STATUS_LOG)).unwrap()
    }

    #[test]
    fn a_torn_last_line_is_repaired() {
        assert_eq!(appended(""), "{\"n\":2}\n");
        assert_eq!(appended("{\"n\":1}\n"), "{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(appended("{\"n\":1}\n{\"n\""), "{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(appended("{\"n\":1}"), "{\"n\":1}\n{\"n\":2}\n", "an editor left no line feed");
        assert_eq!(appended("{\"n\":1}\nnote"), "{\"n\":1}\nnote\n{\"n\":2}\n");
        let long = format!("{{\"n\":1}}\n{{\"{}", "x".repeat(20_000));
        assert_eq!(appended(&long), "{\"n\":1}\n{\"n\":2}\n");
    }

    #[test]
    fn the_last_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = |text: &str, count| {
            std::fs::write(file.path(), text).unwrap();
            last_lines(file.path(), count, 10).unwrap()
        };
        assert_eq!(lines("", 3), [""; 0]);
        assert_eq!(lines("a\nb\nc\n", 2), ["b", "c"]);
        assert_eq!(lines("a\n\nb", 3), ["a", "b"]);
        assert_eq!(lines(&format!("a\n{}\n", "x".repeat(100_000)), 3), ["a", "xxxxxxxxxx…"]);
        assert_eq!(lines("工具台帳の差分\n", 1), ["工具台…"]);
    }

    #[test]
    fn the_counter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/ok_counter");
        let records = Records { log_dir: path.clone(), status_dir: path.clone(), counter: path.clone() };
        assert_eq!(records.streak(), 0);
        records.set_streak(41).unwrap();
        assert_eq!((records.streak(), std::fs::read_to_string(&path).unwrap().as_str()), (41, "41\n"));
        std::fs::write(&path, "many").unwrap();
        assert_eq!(records.streak(), 0);
    }
}

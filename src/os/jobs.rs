//! `jobs.jsonl`: one record per run, the one source for everything that tells operators what happened (SPEC 4).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use log::warn;
use serde::{Deserialize, Serialize};

use super::bound;
use super::journal::append_to;

const FILE: &str = "jobs.jsonl";
/// No record is longer; what is, is none of ours.
const LONGEST: u64 = 64 * 1024;

/// Room on the server's disk, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// So much can still be written.
    pub free: u64,
    /// So much the file system holds.
    pub total: u64,
}

/// What is written of one run.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// When it ended, as in log lines.
    pub time: String,
    /// The command, such as `ingest`.
    pub job: &'a str,
    /// systemd's id of the unit's run, if it was one (systemd.exec(5), `$INVOCATION_ID`).
    pub invocation: Option<String>,
    /// The device it worked on.
    pub device: Option<String>,
    /// The stick's label, as probed.
    pub label: Option<String>,
    /// The stick's filesystem UUID, as probed.
    pub uuid: Option<String>,
    /// `done`, `refused`, `nothing`, `busy` or `failed`.
    pub result: &'a str,
    /// What happened to each dataset.
    pub datasets: serde_json::Map<String, serde_json::Value>,
    /// Bytes copied in all.
    pub bytes: u64,
    /// How long the run took.
    pub duration_ms: u64,
    /// Room on the server's disk at its end, from which `status` draws how it fills up; none on a terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Room>,
    /// The error's text.
    pub error: Option<String>,
}

/// Appends a record. A crash in mid-write leaves a torn last line, which the next record repairs by starting on a
/// line of its own. A record that can't be written never stops the job.
pub fn append(log_dir: &Path, most: u64, record: &Record<'_>) {
    let path = log_dir.join(FILE);
    // One that can't be bounded is still written.
    let _ = bound::by_size(&path, most);
    if let Err(error) = try_append(&path, record) {
        warn!("cannot write {}: {error}", path.display());
    }
}

/// All records that there are, the oldest first: those of before the last turn of the log, then the others. Where there is
/// none, nothing has run yet.
pub fn read(log_dir: &Path) -> Box<dyn Read> {
    let path = log_dir.join(FILE);
    let before = bound::older(&path);
    let newer = File::open(&path).ok();
    // Turned between these lines, it is the one of before that is open already.
    let older = match &newer {
        Some(newer) if bound::is_still(&before, newer) => None,
        _ => File::open(&before).ok(),
    };
    let part = |file: Option<File>| -> Box<dyn Read> {
        match file {
            Some(file) => Box::new(file),
            None => Box::new(std::io::empty()),
        }
    };
    // The last line of the older one may be torn.
    Box::new(part(older).chain(&b"\n"[..]).chain(part(newer)))
}

/// The newest record that fits, as it stands there.
pub fn newest(log_dir: &Path, fits: impl Fn(&serde_json::Value) -> bool) -> Option<serde_json::Value> {
    let mut records = BufReader::new(read(log_dir));
    let mut line = Vec::new();
    let mut found = None;
    loop {
        line.clear();
        match (&mut records).take(LONGEST).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return found,
        }
        // A torn or foreign line counts as none.
        if let Some(record) = serde_json::from_slice(&line).ok().filter(&fits) {
            found = Some(record);
        }
    }
}

fn try_append(path: &Path, record: &Record<'_>) -> std::io::Result<()> {
    let mut file = append_to(path)?;
    let mut line = serde_json::to_string(record)?;
    line.push('\n');
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            line.insert(0, '\n');
        }
    }
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

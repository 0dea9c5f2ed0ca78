//! Runs a program that is well kept by others: arguments, time limit, its last words in our error.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::signal;
use crate::error::{Error, Result};

/// How much of a failing program's stderr is kept.
const LAST_WORDS: usize = 1024;

/// Where a program is: in `$PATH`, or where the system's own are, which a user's `$PATH` may lack.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).filter(|place| place.is_absolute()).chain(system);
    places.find_map(|place| Some(place.join(program)).filter(|file| file.is_file()))
}

/// Runs `program` with `arguments`, no input, its output thrown away, for at most `limit`.
///
/// # Errors
/// `Failed` with the program's last words if it can't be started, fails or takes too long; `Interrupted`.
pub fn run(program: &Path, arguments: &[&str], limit: Duration, next: &'static str) -> Result<()> {
    feed(program, arguments, "", limit, next)
}

/// As [`run`], with a short text as its input.
///
/// # Errors
/// As [`run`].
pub fn feed(program: &Path, arguments: &[&str], input: &str, limit: Duration, next: &'static str) -> Result<()> {
    let failed = |why: String| Error::Failed { why: format!("{} {why}", program.display()), next };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("can't be started: {error}")))?;
    // Far less than a pipe holds, so writing does not wait. A program that reads nothing has its own words to say.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let stderr = child.stderr.take();
    // A grandchild may hold stderr open for ever: the words are collected aside and never waited for.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(stderr.map(last_words).unwrap_or_default()));
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Err(failed(format!("can't be waited for: {error}"))),
        }
        let interrupted = signal::check();
        if interrupted.is_err() || start.elapsed() >= limit {
            let _ = child.kill();
            let _ = child.wait();
            interrupted?;
            return Err(failed(format!("took longer than {} s and was ended", limit.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if status.success() {
        return Ok(());
    }
    let words = receiver.recv_timeout(Duration::from_millis(500)).unwrap_or_default();
    Err(failed(format!("failed ({status}): {}", crate::text::Shown(words.trim_ascii()))))
}

fn last_words(mut stderr: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; LAST_WORDS];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let surplus = kept.len().saturating_sub(LAST_WORDS);
        kept.drain(..surplus);
    }
    kept
}

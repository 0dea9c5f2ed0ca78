//! What is asked of systemd, through `systemctl`.

use std::path::Path;
use std::time::Duration;

use super::process::{self, Output, Program};
use crate::error::Result;

/// The job is only put in the queue; its own length does not count.
const LIMIT: Duration = Duration::from_secs(30);

/// Puts the start of a unit in the queue. Nothing happens if it runs already.
///
/// # Errors
/// `Failed` with systemctl's words, `Interrupted`.
pub fn start_no_block(unit: &str) -> Result<()> {
    let next = "look at it with \"systemctl status\", or run the job by hand";
    process::run(Path::new("systemctl"), &["start", "--no-block", unit], LIMIT, next)
}

/// Asks for a unit to be stopped and started, with those that need it, and does not wait for it.
///
/// # Errors
/// `Failed`, `Io`, `Interrupted`.
pub fn restart_no_block(unit: &str) -> Result<()> {
    let next = "look at it with \"systemctl status\"";
    process::run(Path::new("systemctl"), &["restart", "--no-block", unit], LIMIT, next)
}

/// Whether a unit runs, or is about to.
///
/// # Errors
/// `Failed` if systemctl can't be run, `Interrupted`.
pub fn is_active(unit: &str) -> Result<bool> {
    let next = "run the job by hand";
    let program = Program::new(Path::new("systemctl"), &["is-active", unit], LIMIT, next);
    // Its exit status knows "active" alone.
    let ended = program.output(Output::Text(64)).end()?;
    Ok(matches!(ended.text.trim_ascii(), b"active" | b"activating" | b"reloading"))
}

/// The units that have failed; nothing where there is no systemd.
pub fn failed_units() -> Option<Vec<String>> {
    let text = said("systemctl", &["list-units", "--failed", "--plain", "--no-legend", "--no-pager"])?;
    Some(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// A unit that is at work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Working {
    /// Its name.
    pub unit: String,
    /// What it last said of itself (`STATUS=`); empty if it says nothing.
    pub status: String,
    /// Since when, unix seconds.
    pub since: Option<i64>,
    /// systemd's id of this run of it.
    pub invocation: String,
}

/// Those of the units that are at work; nothing where there is no systemd. A glob stands for what is loaded.
pub fn at_work(units: &[&str]) -> Option<Vec<Working>> {
    let properties = "--property=Id,ActiveState,SubState,StatusText,InactiveExitTimestamp,InvocationID";
    let text = said("systemctl", &[&["show", properties, "--timestamp=unix", "--"], units].concat())?;
    Some(text.split("\n\n").filter_map(working).collect())
}

/// From the lines `name=value` of a unit that runs once and ends. One that waits for its next attempt is not at work, nor is one
/// whose condition is looked at: systemd does that at every event of a stick.
fn working(block: &str) -> Option<Working> {
    let value = |name| block.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name);
    let value = |name| value(name).map_or("", |(_, value)| value);
    let at_work = matches!(value("ActiveState"), "activating" | "deactivating")
        && !matches!(value("SubState"), "auto-restart" | "condition");
    at_work.then(|| Working {
        unit: value("Id").to_owned(),
        status: value("StatusText").to_owned(),
        since: value("InactiveExitTimestamp").strip_prefix('@').and_then(|seconds| seconds.parse().ok()),
        invocation: value("InvocationID").to_owned(),
    })
}

/// What a program of systemd's says, nothing if it is not there or fails.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let program = Program::new(&process::find(program)?, arguments, LIMIT, "run it by hand");
    let program = program.output(Output::Text(1 << 20)).despite_signals();
    let ended = program.end().ok().filter(|ended| ended.status.success())?;
    Some(String::from_utf8_lossy(&ended.text).into_owned())
}

/// The journal's lines of some identifiers, from one reading to the next.
pub struct Lines<'a> {
    identifiers: &'a [&'a str],
    /// systemd's name of the last line that was read (journalctl(1), `--show-cursor`).
    cursor: Option<String>,
}

impl<'a> Lines<'a> {
    /// Those from now on, and so many before.
    pub fn new(identifiers: &'a [&'a str]) -> Lines<'a> {
        Lines { identifiers, cursor: None }
    }

    /// What is new since the last time; the first time `before` lines that were there already.
    pub fn next(&mut self, before: usize) -> Vec<String> {
        let from = self.cursor.as_ref().map(|cursor| format!("--after-cursor={cursor}"));
        // Whoever says more in a second is not followed line by line.
        let count = format!("--lines={}", if from.is_some() { 2000 } else { before });
        let mut words = vec!["--quiet", "--no-pager", "--output=short", "--show-cursor", &count];
        words.extend(from.as_deref());
        words.extend(self.identifiers.iter().flat_map(|identifier| ["--identifier", identifier]));
        let text = said("journalctl", &words).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if let Some(cursor) = lines.last().and_then(|line| line.strip_prefix("-- cursor: ")) {
            self.cursor = Some(cursor.to_owned());
            lines.pop();
        }
        lines
    }
}

/// Whether this is a unit's main process: what it runs is confined like itself.
pub fn is_unit() -> bool {
    // systemd.exec(5); a child of such a process inherits the variable, but not the number.
    std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string())
}

/// Starts a unit that does its work and ends, and waits for its end.
///
/// # Errors
/// `Failed` with systemctl's words, `Interrupted`.
pub fn start_and_wait(unit: &str, limit: Duration, next: &'static str) -> Result<()> {
    process::run(Path::new("systemctl"), &["start", unit], limit, next)
}

/// Runs a program in a unit of its own, outside of what confines ours, and waits for its end. A unit that is stopped
/// meanwhile, because its stick was pulled, leaves it running; systemd holds it to the limit.
///
/// # Errors
/// `Failed` with the program's last words, `Interrupted`.
pub fn run_outside(program: &Path, arguments: &[&str], limit: Duration, next: &'static str) -> Result<()> {
    let most = format!("--property=RuntimeMaxSec={}", limit.as_secs());
    let shown = program.to_string_lossy();
    let mut words = vec!["--quiet", "--wait", "--pipe", "--collect", "--service-type=exec", &most, "--", &shown];
    words.extend(arguments);
    Program::new(Path::new("systemd-run"), &words, limit + LIMIT, next).shown(&shown).run()
}

/// A name as the instance of a unit, as `systemd-escape` makes it (systemd.unit(5)): `/` becomes `-`; what is not a
/// letter, a digit, `:`, `_` or `.`, and a dot at the beginning, `\xNN`.
pub fn escape(name: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if index == 0 => escaped.push_str("\\x2e"),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'_' | b'.' => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "\\x{byte:02x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_at_work() {
        let block = "Id=usb-backup@sda1.service\nActiveState=activating\nSubState=start\nStatusText=a=b: 45 %\n\
            InactiveExitTimestamp=@1769794200\nInvocationID=0123\n";
        let found = Working {
            unit: "usb-backup@sda1.service".to_owned(),
            status: "a=b: 45 %".to_owned(),
            since: Some(1_769_794_200),
            invocation: "0123".to_owned(),
        };
        assert_eq!(working(block), Some(found));
        assert_eq!(working(&block.replace("=start", "=auto-restart")), None);
        assert_eq!(working(&block.replace("=start", "=condition")), None);
        assert_eq!(working(&block.replace("=activating", "=inactive")), None);
        assert_eq!(working(""), None);
    }

    #[test]
    fn escapes_as_systemd_does() {
        for (name, escaped) in [
            ("sda1", "sda1"),
            ("cciss/c0d0p1", "cciss-c0d0p1"),
            ("dm-0", "dm\\x2d0"),
            (".a.b", "\\x2ea.b"),
            ("a b@c", "a\\x20b\\x40c"),
            ("図", "\\xe5\\x9b\\xb3"),
            ("a_b:c", "a_b:c"),
        ] {
            assert_eq!(escape(name), escaped);
        }
    }
}

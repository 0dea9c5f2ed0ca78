//! `toolmaster watch`: follows the units that are at work until they end. It only looks; ending it ends nothing else.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use argh::FromArgs;
use serde_json::Value;

use super::Env;
use crate::error::{Error, Result};
use crate::os::systemd::{self, Lines, Working};
use crate::os::{jobs, signal};
use crate::text::Shown;

/// The jobs' units, and what their lines in the journal are called.
pub const JOBS: [(&str, &str); 7] = [
    ("usb-ingest@*.service", "tool-ingest-sync"),
    ("usb-dist-export@*.service", "tool-dist-export"),
    ("usb-backup@*.service", "tool-backup-export"),
    ("tool-recover.service", "tool-recover"),
    ("tool-snapshot.service", "tool-snapshot"),
    ("tool-restore-drill.service", "tool-restore-drill"),
    ("mirror-compare.service", "mirror_compare"),
];
const EVERY: Duration = Duration::from_secs(1);
/// So many lines of before say what the jobs have been doing.
const BEFORE: usize = 10;
const NEXT: &str = "what to do stands in its last line above";

/// Follow the jobs that are running until they end; exit as the first that fails does.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "watch")]
pub struct Args {}

/// Carries it out.
///
/// # Errors
/// The first failed job's code; `Config` without systemd.
pub fn run(_: &Args, env: &Env) -> Result<()> {
    let (units, identifiers) = (JOBS.map(|(unit, _)| unit), JOBS.map(|(_, identifier)| identifier));
    let mut screen = Screen { terminal: std::io::stdout().is_terminal() };
    let mut lines = Lines::new(&identifiers);
    // Each unit that was seen at work, with systemd's id of its run.
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let Some(at_work) = systemd::at_work(&units) else {
            return Err(Error::Config {
                why: "systemd does not answer, so there are no units to follow".to_owned(),
                next: "a job by hand shows its progress itself",
            });
        };
        for Working { unit, status, invocation, .. } in &at_work {
            if !seen.contains_key(unit) {
                seen.insert(unit.clone(), invocation.clone());
                screen.line(&format!("{unit}: 作業中 {status}"))?;
            }
        }
        if seen.is_empty() {
            return screen.line("動いている作業はありません");
        }
        // Read after the units were looked at, so that the last lines of those that ended are there.
        for line in lines.next(BEFORE) {
            screen.line(&line)?;
        }
        if at_work.is_empty() {
            break;
        }
        screen.progress(&at_work)?;
        if signal::check().is_err() {
            return screen.line("見るのをやめました。作業は続いています");
        }
        std::thread::sleep(EVERY);
    }
    let mut first_error = Ok(());
    for (unit, invocation) in &seen {
        let ended = how_it_ended(unit, invocation, env);
        screen.line(&format!("{unit}: {}", if ended.is_ok() { "完了" } else { "完了していません" }))?;
        first_error = first_error.and(ended);
    }
    first_error
}

/// By the run's record: systemd forgets a stick's unit when it has ended.
fn how_it_ended(unit: &str, invocation: &str, env: &Env) -> Result<()> {
    let fits = |record: &Value| record.get("invocation").and_then(Value::as_str) == Some(invocation);
    let record = jobs::newest(&env.settings.log_dir, fits).unwrap_or_default();
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let error = text("error").split(" -> ").next().unwrap_or_default();
    let why = format!("{unit}: {}", if error.is_empty() { "it left no record" } else { error });
    Err(match text("result") {
        "done" => return Ok(()),
        "refused" => Error::Refused { why, next: NEXT.to_owned() },
        "different" => Error::Different { why, next: NEXT },
        "nothing" => Error::NoSource { why, next: NEXT },
        "busy" => Error::Busy { why, next: NEXT },
        _ => Error::Failed { why, next: NEXT },
    })
}

/// Standard output: lines, and on a terminal below them how far the jobs are.
struct Screen {
    terminal: bool,
}

impl Screen {
    fn line(&mut self, line: &str) -> Result<()> {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        self.write(&format!("{clear}{}\n", Shown(line.trim_end().as_bytes())))
    }

    /// Elsewhere the jobs' own lines tell of it, every 30 seconds.
    fn progress(&mut self, at_work: &[Working]) -> Result<()> {
        if !self.terminal {
            return Ok(());
        }
        let all: Vec<&str> =
            at_work.iter().map(|job| job.status.as_str()).filter(|status| !status.is_empty()).collect();
        let text = all.join(" | ");
        self.write(&format!("\r\x1b[K{}", Shown(text.as_bytes())))
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Error::io("write to", Path::new("standard output"), error))
    }
}

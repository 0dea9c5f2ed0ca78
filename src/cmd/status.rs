//! `toolmaster status`: whether the server is well, a line for each thing that may not be, each with what to do next; on a
//! terminal, for programs, or as the page that a browser shows.

mod checks;
mod page;
mod runs;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;
use serde_json::{Value, json};

use super::Env;
use crate::error::{Error, Result};
use crate::os::dir::{Dir, split};
use crate::os::lock::Lock;
use crate::os::{atomic, systemd};
use crate::settings::env_file;
use crate::text::Shown;
use runs::Runs;

/// Show whether the server is well: 0 if all is, 1 if something needs a hand.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub struct Args {
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// write the page that a browser shows; 0 if it is written, whatever it says
    #[argh(switch)]
    html: bool,
    /// where --html writes the page (default: where the web server shows it)
    #[argh(positional)]
    file: Option<PathBuf>,
}

/// What is to be thought of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Somebody has to do something.
    Bad,
    /// Not in use here, or not known yet.
    Off,
}

impl Verdict {
    /// For programs.
    fn word(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Bad => "bad",
            Verdict::Off => "off",
        }
    }

    /// For people; the words differ, not only a colour.
    fn shown(self) -> &'static str {
        match self {
            Verdict::Good => "正常  ",
            Verdict::Bad => "要対応",
            Verdict::Off => "－    ",
        }
    }
}

/// One thing's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name for programs.
    pub key: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// What is to be thought of it.
    pub verdict: Verdict,
    /// How it is.
    pub text: String,
    /// What to do; empty where nothing is to be done.
    pub next: String,
}

/// The page in the directory that `toolmaster-web@.service` shows: not on a disk that can fill up or fail, and gone with the
/// power, so that nobody is shown a page of before.
const PAGE: &str = "/run/toolmaster-page/index.html";
/// The units that do the work.
const WORKERS: [&str; 3] = ["usb-*.service", "tool-*.service", "mirror-compare.service"];

/// What the units are given (systemd's `EnvironmentFile=`): an operator who looks by hand must see what they see.
const UNITS: &str = "/etc/default/toolmaster";

/// The settings of the units, which stand behind the environment.
///
/// # Errors
/// `Config` if the file is no list of settings, `Io`.
pub fn settings_of_units() -> Result<Vec<(String, String)>> {
    let path = Path::new(UNITS);
    let bytes = match File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(env_file::MAX as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    }) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    env_file::parse(&bytes)
        .map_err(|why| Error::Config { why: format!("{UNITS}: {why}"), next: "correct that line and run it again" })
}

/// Carries it out.
///
/// # Errors
/// `Failed` (1) if something is not well; with `--html` `Io` if the page can't be written. `Usage`, `Busy`.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    if (args.json && args.html) || (args.file.is_some() && !args.html) {
        return Err(Error::Usage("either --json, or --html and a file".to_owned()));
    }
    let runs = Runs::read(&env.settings.log_dir);
    let lines = checks::all(env, &runs);
    if args.html {
        return write_page(args.file.as_deref().unwrap_or(Path::new(PAGE)), &as_page(env, &lines, &runs));
    }
    let text = if args.json { as_json(env, &lines).to_string() } else { as_text(env, &lines) };
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever has seen enough (`| head`) has not made it fail.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            return Err(Error::io("write to", Path::new("standard output"), error));
        }
        _ => {}
    }
    match lines.iter().filter(|line| line.verdict == Verdict::Bad).count() {
        0 => Ok(()),
        bad => Err(Error::Failed {
            why: format!("対応が要る項目が {bad} 件あります"),
            next: "各項目の「→」の通りにする",
        }),
    }
}

fn as_text(env: &Env, lines: &[Line]) -> String {
    let mut text = format!("{} の状態", env.clock.log_time(env.clock.now()));
    for line in lines {
        text.push_str(&format!("\n[{}] {}: {}", line.verdict.shown(), line.name, Shown(line.text.as_bytes())));
        if !line.next.is_empty() {
            text.push_str(&format!("\n         → {}", Shown(line.next.as_bytes())));
        }
    }
    text
}

fn as_page(env: &Env, lines: &[Line], runs: &Runs) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let work = systemd::at_work(&WORKERS).unwrap_or_default();
    let page = page::Page {
        host: host.trim_end(),
        clock: env.clock,
        now: env.clock.now(),
        lines,
        runs,
        work: &work,
        room: env.room().ok(),
        free_percent: env.settings.thresholds.free_percent,
    };
    page.text()
}

/// Whoever looks sees the old page or the new one. Two that write at once must not have one temporary file.
fn write_page(file: &Path, text: &str) -> Result<()> {
    let Some((parent, name)) = split(file) else {
        return Err(Error::Usage(format!("{} is no file", file.display())));
    };
    let dir = Dir::open(parent)?;
    let _one_at_a_time = Lock::dir(&dir)?;
    atomic::write(&dir, name, text.as_bytes(), 0o644)
}

fn as_json(env: &Env, lines: &[Line]) -> Value {
    let entries: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({"key": line.key, "name": line.name, "verdict": line.verdict.word(), "text": line.text, "next": line.next})
        })
        .collect();
    let healthy = lines.iter().all(|line| line.verdict != Verdict::Bad);
    json!({"time": env.clock.log_time(env.clock.now()), "healthy": healthy, "checks": entries})
}

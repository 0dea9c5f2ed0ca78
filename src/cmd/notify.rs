//! `toolmaster notify`: runs the site's own programs in `/etc/toolmaster/notify.d/` when a unit failed. Run by
//! `toolmaster-notify@.service`, which the units' `OnFailure=` starts.

use std::path::Path;
use std::time::Duration;

use argh::FromArgs;
use log::{error, info};
use serde_json::{Value, json};

use super::Env;
use crate::error::{Error, Result};
use crate::exchange::hooks;
use crate::os::jobs;
use crate::os::process::{Input, Program};
use crate::text::Shown;

const DIR: &str = "/etc/toolmaster/notify.d";
/// A program that waits for a dead network must not keep the others from telling.
const LIMIT: Duration = Duration::from_secs(120);
const NEXT: &str = "look at what it says; try it again with \"toolmaster notify\" and the unit's name";

/// Run the programs in /etc/toolmaster/notify.d with the record of a failed unit's run on standard input.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "notify")]
pub struct Args {
    /// the unit, such as usb-backup@sda1
    #[argh(positional)]
    unit: String,
}

/// Carries it out, in name order; the next program runs even if one fails.
///
/// # Errors
/// The first program's; `NoSource` if there is none.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let unit = args.unit.strip_suffix(".service").unwrap_or(&args.unit);
    let record = format!("{}\n", record(unit, env));
    let programs = hooks::executables(Path::new(DIR));
    if programs.is_empty() {
        let why = format!("there is no program in {DIR} to tell of {}", Shown(unit.as_bytes()));
        return Err(Error::NoSource { why, next: "put one there, executable; a sample is in /usr/share/toolmaster" });
    }
    let mut first_error = None;
    for program in programs {
        let told = Program::new(&program, &[unit], LIMIT, NEXT).input(Input::text(&record)).run();
        match (told, &first_error) {
            (Ok(()), _) => info!("{} done", program.display()),
            (Err(Error::Interrupted), _) => return Err(Error::Interrupted),
            (Err(error), None) => first_error = Some(error),
            (Err(error), Some(_)) => error!("{error}"),
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// The record of the unit's run, with the unit's name. systemd says which run it was (systemd.exec(5),
/// `$MONITOR_INVOCATION_ID`); by hand it is the last one. A run that was killed has left none: then what systemd knows.
fn record(unit: &str, env: &Env) -> Value {
    let variable = |name: &str| std::env::var(name).ok();
    let invocation = variable("MONITOR_INVOCATION_ID");
    let job = job_of(unit);
    let fits = |record: &Value| match &invocation {
        Some(invocation) => record.get("invocation").and_then(Value::as_str) == Some(invocation),
        None => record.get("job").and_then(Value::as_str) == Some(job),
    };
    let mut record = jobs::newest(&env.settings.log_dir, fits).unwrap_or_else(|| {
        let said = |name| variable(name).unwrap_or_default();
        let (result, code, status) =
            (said("MONITOR_SERVICE_RESULT"), said("MONITOR_EXIT_CODE"), said("MONITOR_EXIT_STATUS"));
        let error = format!("{unit} left no record: {result} {code} {status} -> journalctl -u {unit}");
        json!({"time": env.clock.log_time(env.clock.now()), "job": job, "result": "failed", "error": error})
    });
    if let Some(record) = record.as_object_mut() {
        record.insert("unit".to_owned(), json!(unit));
    }
    record
}

/// The command that a unit runs: `usb-ingest@sda1` is `ingest`, `tool-snapshot` is `snapshot`.
fn job_of(unit: &str) -> &str {
    let name = unit.split_once('@').map_or(unit, |(name, _)| name);
    ["usb-", "tool-"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

//! `mirror` (`mirrorctl`): whether the Pi Zero mirrors its requests to the new server, and the daily comparison (SPEC 9).

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;
use log::{info, warn};
use serde_json::json;

use super::{Env, Report, mirror_config};
use crate::dataset::server::Server;
use crate::error::{Error, Result};
use crate::mirror::keys::{self, Change as Key};
use crate::mirror::record::{DIFF_LOG, Records, STATUS_LOG, last_lines};
use crate::mirror::remote::{Change, Failure, Left, PiZero};
use crate::mirror::rotate;
use crate::mirror::timer::{self, Unit};
use crate::settings::mirror::Mirror;
use crate::text::Shown;

/// Show or switch the mirror of the Pi Zero's requests, or rotate its logs.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "mirror")]
pub struct Args {
    /// status, enable, disable or rotate
    #[argh(positional, from_str_fn(what))]
    what: What,
    /// the mirror's configuration file
    #[argh(option)]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Status,
    Enable,
    Disable,
    Rotate,
}

fn what(word: &str) -> std::result::Result<What, String> {
    match word {
        "status" => Ok(What::Status),
        "enable" => Ok(What::Enable),
        "disable" => Ok(What::Disable),
        "rotate" => Ok(What::Rotate),
        _ => Err("it is status, enable, disable or rotate".to_owned()),
    }
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; what was done before a failing step is undone, on both sides.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let config = mirror_config::read(args.config.as_deref().unwrap_or(&env.settings.mirror_config))?;
    let records = Records::new(&config, &env.settings.log_dir);
    let (job, result) = match args.what {
        What::Status => {
            status(&config, &records);
            return Ok(());
        }
        What::Enable => (Report::new("mirror-enable"), switch(true, &config, env, &records)),
        What::Disable => (Report::new("mirror-disable"), switch(false, &config, env, &records)),
        What::Rotate => (Report::new("mirror-rotate"), rotate(&config, env, &records)),
    };
    job.end(env, result.as_ref().err());
    result?;
    match args.what {
        What::Enable => info!("mirrorctl enable: 完了"),
        What::Disable => info!("mirrorctl disable: 完了"),
        _ => info!("mirrorctl rotate: 完了"),
    }
    Ok(())
}

/// Shows what there is. Nothing that is down makes it fail.
fn status(config: &Mirror, records: &Records) {
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| {
        let _ = writeln!(out, "{line}");
    };
    let units = timer::look([&config.timer, &config.service]);
    let [timer, service] =
        units.map_or(["unsupported".to_owned(), "unsupported".to_owned()], |units| units.map(|unit| unit.to_string()));
    say(format!("タイマー: {} {timer}", config.timer));
    say(format!("サービス: {} {service}", config.service));
    say(format!("OK カウンタ: {}", records.streak()));
    for (name, count) in [(STATUS_LOG, 3), (DIFF_LOG, 1)] {
        say(format!("{name}:"));
        match last_lines(&records.log_dir().join(name), count, 300) {
            Ok(lines) if lines.is_empty() => say("  (記録なし)".to_owned()),
            Ok(lines) => lines.iter().for_each(|line| say(format!("  {}", Shown(line.as_bytes())))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => say("  (記録なし)".to_owned()),
            Err(error) => say(format!("  (読めません: {error})")),
        }
    }
    say(match PiZero::new(config) {
        Ok(pi_zero) => format!("Pi Zero: {} {}", pi_zero.shown(), remote_state(&pi_zero)),
        Err(error) => format!("Pi Zero: {error}"),
    });
}

fn remote_state(pi_zero: &PiZero<'_>) -> String {
    let text = match pi_zero.read() {
        Ok(text) => text,
        Err(error) => return error.to_string(),
    };
    match keys::look(&text, ["mirror_mode", "mirror_endpoint"]) {
        Ok([mode, endpoint]) => {
            let shown = |value: Option<&str>| Shown(value.unwrap_or("(なし)").as_bytes()).to_string();
            format!("mirror_mode={} mirror_endpoint={}", shown(mode), shown(endpoint))
        }
        Err(why) => why,
    }
}

/// Switches both sides: the Pi Zero first, the timer after it.
fn switch(on: bool, config: &Mirror, env: &Env, records: &Records) -> Result<()> {
    let pi_zero = PiZero::new(config)?;
    let endpoint = if on { config.mirror_endpoint()? } else { String::new() };
    let _one_at_a_time = records.lock("control.lock")?;
    let [before] = timer::look([&config.timer]).ok_or_else(timer::unsupported)?;
    if !before.is_there() {
        return Err(Error::Config {
            why: format!("{} が登録されていません", config.timer),
            next: "toolmaster パッケージとサービス名(mirror_timer)を確認する",
        });
    }
    let changes = changes(on, &endpoint, config.primary_endpoint.as_deref());
    let switch = Switch { pi_zero, timer: &config.timer, before };
    let change = switch.pi_zero.change(&|text| keys::change(text, &changes));
    let change = change.map_err(|failure| switch.failed_remotely(failure))?;
    let word = if change.is_some() { "変更しました" } else { "すでにその状態です" };
    info!("Pi Zero({}): mirror_mode={on} {word}", switch.pi_zero.shown());
    // Before the timer is on: a kill in between must not leave the nights of an earlier mirror counted for this one.
    let counter = records.counter();
    let begins_anew = on && (change.is_some() || !switch.before.is_enabled());
    if begins_anew && let Err(error) = records.lock_records().and_then(|_lock| records.set_streak(0)) {
        return Err(switch.undo(error, &change));
    }
    if let Err(error) = timer::switch(&config.timer, on) {
        if begins_anew && let Err(error) = records.lock_records().and_then(|_lock| records.restore(counter)) {
            warn!("{error}");
        }
        return Err(switch.undo(error, &change));
    }
    info!("{}: {}", config.timer, switch.timer_now());
    // The words that operators look for. A log that can't be written stops nothing.
    let message = if on { "enable executed" } else { "disable executed" };
    let line = json!({"timestamp": env.clock.utc_time(env.clock.now()), "message": message}).to_string();
    if let Err(error) = records.lock_records().and_then(|_lock| records.append_status(&line)) {
        warn!("{error}");
    }
    Ok(())
}

fn changes<'a>(on: bool, endpoint: &'a str, primary: Option<&'a str>) -> Vec<(&'static str, Key<'a>)> {
    let mut changes = vec![("mirror_mode", Key::Flag(on))];
    changes.push(("mirror_endpoint", if on { Key::Text(endpoint) } else { Key::Remove }));
    changes.extend(primary.filter(|_| on).map(|primary| ("primary_endpoint", Key::TextIfAbsent(primary))));
    changes
}

/// What is switched, and how the timer was before.
struct Switch<'a> {
    pi_zero: PiZero<'a>,
    timer: &'a str,
    before: Unit,
}

impl Switch<'_> {
    fn timer_now(&self) -> String {
        timer::look([self.timer]).map_or("unsupported".to_owned(), |[unit]| unit.to_string())
    }

    /// The Pi Zero could not be changed. What became of a change whose answer was lost is looked up, and undone.
    fn failed_remotely(&self, failure: Failure) -> Error {
        let state = match failure.left {
            Left::Unknown(change) => self.put_back(&change),
            left => self.state(&left),
        };
        self.with_states(failure.error, &state)
    }

    /// A step on this side failed: the timer and the Pi Zero go back to what they were.
    fn undo(&self, error: Error, change: &Change) -> Error {
        if let Err(error) = timer::restore(self.timer, &self.before) {
            warn!("{error}");
        }
        let state = self.put_back(change);
        self.with_states(error, &state)
    }

    fn put_back(&self, change: &Change) -> String {
        match self.pi_zero.undo(change) {
            Ok(()) => self.state(&Left::AsItWas),
            Err(failure) => {
                warn!("{}", failure.error);
                match failure.left {
                    // It could not even be reached.
                    Left::AsItWas | Left::Unknown(_) => self.state(&Left::Changed),
                    left => self.state(&left),
                }
            }
        }
    }

    fn state(&self, left: &Left) -> String {
        let pi_zero = self.pi_zero.shown();
        match left {
            Left::AsItWas => format!("Pi Zero({pi_zero})は元のまま"),
            Left::ServiceDown => format!("Pi Zero({pi_zero})の設定は元のまま(サービスは止まっています)"),
            Left::Changed | Left::Unknown(_) => {
                format!("Pi Zero({pi_zero})は変更されたままかもしれません(元の設定は config.json.bak)")
            }
        }
    }

    fn with_states(&self, error: Error, pi_zero: &str) -> Error {
        let states = format!("いまの状態: {pi_zero}、{} は {}", self.timer, self.timer_now());
        match error {
            Error::Failed { why, next } => Error::Failed { why: format!("{why}。{states}"), next },
            Error::Busy { why, next } => Error::Busy { why: format!("{why}。{states}"), next },
            Error::Config { why, next } => Error::Config { why: format!("{why}。{states}"), next },
            other => {
                let text = other.to_string();
                let why = text.split_once(" -> ").map_or(text.as_str(), |(why, _)| why);
                Error::Failed {
                    why: format!("{why}。{states}"),
                    next: "原因を除いて、もう一度(mirrorctl status で確認)",
                }
            }
        }
    }
}

fn rotate(config: &Mirror, env: &Env, records: &Records) -> Result<()> {
    let _one_at_a_time = records.lock("control.lock")?;
    let dir = rotate::open(records.log_dir())?;
    {
        let _records = records.lock_records()?;
        rotate::rename(&dir, env.clock)?;
    }
    rotate::compress(&dir)?;
    // Old is what a believed clock says.
    match Server::open(&env.settings, true).and_then(|server| server.belief(env.clock)) {
        Ok(belief) if belief.believed => rotate::prune(&dir, config.log_retention_days, env.clock),
        Ok(_) => {
            warn!("時計が信じられないので、古いログは削除しません -> sudo toolmaster clock confirm");
            Ok(())
        }
        Err(error) => {
            warn!("古いログは削除しません: {error}");
            Ok(())
        }
    }
}

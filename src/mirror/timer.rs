//! The timer of the comparison, through `systemctl`. A machine without systemd is `unsupported`.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::os::process::{self, Output, Program};

const LIMIT: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 16 * 1024;
const NEXT: &str = "タイマーの登録とサービス名(systemctl list-unit-files 'mirror*')を確認して、もう一度";

/// What systemd knows of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// `active`, `inactive`, `failed`, …
    pub active: String,
    /// `enabled`, `disabled`, `static`, …; empty if there is no such unit.
    pub enabled: String,
}

impl Unit {
    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        self.active == "active"
    }

    /// Whether it is started with the machine.
    pub fn is_enabled(&self) -> bool {
        self.enabled == "enabled"
    }

    /// Whether there is such a unit.
    pub fn is_there(&self) -> bool {
        !self.enabled.is_empty()
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} / {}", self.active, if self.is_there() { &self.enabled } else { "not-found" })
    }
}

/// What systemd knows of some units; none where there is no systemd.
pub fn look<const N: usize>(units: [&str; N]) -> Option<[Unit; N]> {
    let systemctl = process::find("systemctl")?;
    let mut arguments = vec!["show", "--property=ActiveState,UnitFileState", "--"];
    arguments.extend(units);
    let program = Program::new(&systemctl, &arguments, LIMIT, NEXT).despite_signals();
    // It fails where the machine was not started by systemd; an unknown unit is no failure.
    let ended = program.output(Output::Text(MAX_ANSWER)).end().ok().filter(|ended| ended.status.success())?;
    Some(parse(&String::from_utf8_lossy(&ended.text)))
}

/// One block of `name=value` lines a unit, a blank line between two.
fn parse<const N: usize>(text: &str) -> [Unit; N] {
    let mut blocks = text.split("\n\n");
    std::array::from_fn(|_| {
        let block = blocks.next().unwrap_or_default();
        let value = |name| block.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name);
        let value = |name| value(name).map(|(_, value)| value.to_owned()).unwrap_or_default();
        Unit { active: value("ActiveState"), enabled: value("UnitFileState") }
    })
}

/// Enables and starts it, or disables and stops it.
///
/// # Errors
/// `Failed` with systemctl's words, `Interrupted`, `Config` without systemctl.
pub fn switch(timer: &str, on: bool) -> Result<()> {
    run(&[if on { "enable" } else { "disable" }, "--now", "--", timer], false)
}

/// Makes it again as it was; also after a signal.
///
/// # Errors
/// As [`switch`].
pub fn restore(timer: &str, before: &Unit) -> Result<()> {
    let enabled = run(&[if before.is_enabled() { "enable" } else { "disable" }, "--", timer], true);
    let active = run(&[if before.is_active() { "start" } else { "stop" }, "--", timer], true);
    enabled.and(active)
}

fn run(arguments: &[&str], despite_signals: bool) -> Result<()> {
    let systemctl: PathBuf = process::find("systemctl").ok_or_else(unsupported)?;
    let program = Program::new(&systemctl, arguments, LIMIT, NEXT);
    if despite_signals { program.despite_signals() } else { program }.run()
}

/// There is no systemd to ask.
pub fn unsupported() -> Error {
    let why = "systemctl が使えません(unsupported)".to_owned();
    Error::Config { why, next: "systemd で動いているサーバ本体で実行する" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let [timer, service] =
            parse("UnitFileState=enabled\nActiveState=active\n\nActiveState=inactive\nUnitFileState=\n");
        assert_eq!(
            (timer.to_string().as_str(), timer.is_active(), timer.is_enabled()),
            ("active / enabled", true, true)
        );
        assert_eq!((service.to_string().as_str(), service.is_there()), ("inactive / not-found", false));
        assert_eq!(parse::<1>(""), [Unit::default()]);
    }
}

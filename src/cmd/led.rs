//! `toolmaster led`: shows by the machine's lights how a stick's job fares. Run by the units of the sticks: before the job,
//! after its end, and when the stick is pulled.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use argh::FromArgs;

use super::Env;
use crate::error::{Error, Result};
use crate::os::jobs;
use crate::os::led::{self, Lights, State};
use crate::os::systemd;

/// Show by the machine's lights how a stick's job fares.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "led")]
pub struct Args {
    /// working, done, refused, failed; ended: what systemd says of the unit's end; off: it was pulled; show: what is known
    #[argh(positional)]
    what: What,
    /// the stick's device, such as /dev/sda1
    #[argh(positional)]
    device: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Is(State),
    Ended,
    Off,
    Show,
}

impl FromStr for What {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<What, String> {
        match (word, State::of_word(word)) {
            (_, Some(state)) => Ok(What::Is(state)),
            ("ended", _) => Ok(What::Ended),
            ("off", _) => Ok(What::Off),
            ("show", _) => Ok(What::Show),
            _ => Err("working, done, refused, failed, ended, off or show".to_owned()),
        }
    }
}

/// Carries it out. Without lights, as in a virtual machine, a unit has nothing to do.
///
/// # Errors
/// `Config` by hand if there is none of the lights, `Io`.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    let settings = &env.settings;
    let lights = Lights { dir: &settings.led_dir, names: &settings.leds, buzzer: settings.led_buzzer.as_deref() };
    let state = match args.what {
        What::Is(state) => Some(Some(state)),
        What::Ended => of_unit(&settings.log_dir),
        What::Off => Some(None),
        What::Show => None,
    };
    match (state, &args.device) {
        (Some(state), Some(device)) => led::note(device, state)?,
        (Some(_), None) => return Err(Error::Usage("which device?".to_owned())),
        (None, _) => {}
    }
    if lights.show()? == 0 && !systemd::is_unit() {
        return Err(Error::Config {
            why: format!("there is none of the lights {} in {}", settings.leds.join(" "), settings.led_dir.display()),
            next: "look at what is there, and set LED_NAMES in /etc/default/toolmaster",
        });
    }
    Ok(())
}

/// Whether the run says of files that they were lost: somebody is to read the receipt (SPEC 6).
fn has_lost(log_dir: &Path, invocation: &str) -> bool {
    let record = jobs::newest(log_dir, |record| record["invocation"] == invocation && !invocation.is_empty());
    let datasets = record.as_ref().and_then(|record| record["datasets"].as_object());
    datasets.is_some_and(|datasets| datasets.values().any(|dataset| dataset["lost"].as_u64() > Some(0)))
}

/// How the unit ended that this is the `ExecStopPost=` of (systemd.exec(5), `$SERVICE_RESULT`). Nothing is new where it did
/// not begin: the stick's job has run before.
fn of_unit(log_dir: &Path) -> Option<Option<State>> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    match (variable("SERVICE_RESULT").as_str(), variable("EXIT_STATUS").as_str()) {
        ("exec-condition", _) => None,
        ("success", _) if has_lost(log_dir, &variable("INVOCATION_ID")) => Some(Some(State::Refused)),
        ("success", _) => Some(Some(State::Done)),
        ("exit-code", "2") => Some(Some(State::Refused)),
        _ => Some(Some(State::Failed)),
    }
}

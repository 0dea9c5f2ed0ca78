//! Lights of the machine (`/sys/class/leds`, the kernel's leds-class): how the sticks that are plugged in fare.
//!
//! The kernel blinks by itself (its trigger `timer`), so nothing has to keep running. What is known of each stick is a
//! small file in `/run/toolmaster/led`; the lights show the most urgent of them. What a light did before is noted there
//! before it is changed, and comes back with the last stick. All of it is gone with the next start of the system, like
//! the kernel's own settings.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::dir::Dir;
use super::lock::Lock;
use super::{atomic, mount};
use crate::error::{Error, Result};

/// How a stick fares, the most urgent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Its job is done: it may be pulled.
    Done,
    /// Its job runs.
    Working,
    /// It was refused.
    Refused,
    /// Its job failed.
    Failed,
}

impl State {
    const ALL: [State; 4] = [State::Done, State::Working, State::Refused, State::Failed];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Done => "done",
            State::Working => "working",
            State::Refused => "refused",
            State::Failed => "failed",
        }
    }

    /// The state that a word is for.
    pub fn of_word(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.word() == word)
    }

    /// How long a light is on and off, milliseconds. From three metres they differ without counting: even and slow, a
    /// flicker, dark with a short flash, lit with a short gap.
    fn blink(self) -> (u32, u32) {
        match self {
            State::Done => (1000, 1000),
            State::Working => (100, 100),
            State::Refused => (150, 1850),
            State::Failed => (1850, 150),
        }
    }
}

/// The lights that are to show it.
pub struct Lights<'a> {
    /// `/sys/class/leds`.
    pub dir: &'a Path,
    /// Their names in it.
    pub names: &'a [String],
    /// One that is heard: it is quiet while a job runs.
    pub buzzer: Option<&'a str>,
}

/// What a light can do depends on its trigger; so much of it is put back with that.
const KEPT: [(&str, &[&str]); 3] =
    [("none", &["brightness"]), ("timer", &["delay_on", "delay_off"]), ("pattern", &["pattern", "repeat"])];

/// Notes how a stick fares; `None`: it is gone. The lights follow by [`Lights::show`].
///
/// # Errors
/// `Io`.
pub fn note(device: &Path, state: Option<State>) -> Result<()> {
    let (dir, name) = (states()?, device.file_name().unwrap_or_default().as_encoded_bytes());
    match state {
        Some(state) => atomic::write(&dir, name, state.word().as_bytes(), 0o644),
        None => dir.remove(name),
    }
}

fn states() -> Result<Dir> {
    let run = Path::new(mount::RUN_DIR);
    let _ = fs::create_dir(run);
    Dir::open(run)?.make(b"led", 0o755)
}

impl Lights<'_> {
    /// Makes the lights show the most urgent state of all sticks, or what they did before if there is none. Says how many
    /// lights there are.
    ///
    /// # Errors
    /// `Io`; the other lights are set all the same.
    pub fn show(&self) -> Result<usize> {
        let states = states()?;
        let _lock = Lock::file(&Dir::open(Path::new(mount::RUN_DIR))?, "led.lock")?;
        let state = most_urgent(&states)?;
        let mut there = 0;
        let mut first_error = None;
        for name in self.names.iter().map(String::as_str).chain(self.buzzer) {
            let light = self.dir.join(name);
            if !light.is_dir() {
                continue;
            }
            there += 1;
            let quiet = self.buzzer == Some(name) && state == Some(State::Working);
            let set = match state.filter(|_| !quiet) {
                Some(state) => blink(&states, name, &light, state),
                None => put_back(&states, name, &light),
            };
            if let (Err(error), None) = (set, &first_error) {
                first_error = Some(Error::io("set the light", &light, error));
            }
        }
        first_error.map_or(Ok(there), Err)
    }
}

/// A stick that was pulled while nobody could note it says nothing any more.
fn most_urgent(states: &Dir) -> Result<Option<State>> {
    let mut found = None;
    for name in states.names()?.iter().filter(|name| !name.starts_with(b".")) {
        let name = String::from_utf8_lossy(name);
        if !Path::new("/dev").join(&*name).exists() {
            states.remove(name.as_bytes())?;
            continue;
        }
        let word = fs::read_to_string(states.path_of(name.as_bytes())).unwrap_or_default();
        found = found.max(State::of_word(&word));
    }
    Ok(found)
}

fn blink(states: &Dir, name: &str, light: &Path, state: State) -> io::Result<()> {
    let (on, off) = state.blink();
    keep(states, name, light)?;
    set(light, "trigger", "timer")?;
    set(light, "delay_on", &on.to_string())?;
    set(light, "delay_off", &off.to_string())
}

/// Where what a light did before is noted; no device has such a name.
fn kept_name(name: &str) -> String {
    format!(".before-{name}")
}

/// Notes what a light does, unless that is noted already. A crash after it leaves a note that is still true.
fn keep(states: &Dir, name: &str, light: &Path) -> io::Result<()> {
    let place = states.path_of(kept_name(name).as_bytes());
    if place.exists() {
        return Ok(());
    }
    let triggers = fs::read_to_string(light.join("trigger"))?;
    // "none mmc0 [default-on] timer": the one in brackets is in force.
    let trigger = triggers.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("none", |(word, _)| word);
    let mut note = format!("trigger={trigger}\n");
    for attribute in KEPT.iter().filter(|(with, _)| *with == trigger).flat_map(|(_, attributes)| *attributes) {
        if let Ok(value) = fs::read_to_string(light.join(attribute)) {
            note.push_str(&format!("{attribute}={}\n", value.trim()));
        }
    }
    let temp = PathBuf::from(format!("{}.tmp", place.display()));
    fs::write(&temp, note)?;
    fs::rename(temp, place)
}

/// Lets a light do what it did before. A crash in the middle leaves the note, and the next one does it again.
fn put_back(states: &Dir, name: &str, light: &Path) -> io::Result<()> {
    let place = states.path_of(kept_name(name).as_bytes());
    let Ok(note) = fs::read_to_string(&place) else { return Ok(()) };
    for (attribute, value) in note.lines().filter_map(|line| line.split_once('=')) {
        set(light, attribute, value)?;
    }
    fs::remove_file(place)
}

fn set(light: &Path, attribute: &str, value: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(light.join(attribute))?;
    file.write_all(format!("{value}\n").as_bytes())
}

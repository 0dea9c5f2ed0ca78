//! The model: random histories of people, sticks, PCs and servers, played against the real program on real sticks and judged
//! by an oracle that knows who wrote what having seen what (`oracle.rs`). docs/testing.md says how to run it for longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod dist;
mod generate;
mod history;
mod judge;
mod known;
mod lost;
mod media;
mod oracle;
mod people;
mod person;
mod play;
mod sensitive;
mod shrink;
mod steps;
mod together;
mod visit;
mod words;
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use generate::{GROUPS, Generator};
use history::History;
use media::Kind;
use oracle::Broken;
use play::{Outcome, play};

/// Histories of a plain run.
const HISTORIES: u64 = 120;

/// The first history's number where none is given.
const SEED: u64 = 20_260_101;

/// Histories of one check that are made short and told; more are only counted.
const TOLD: usize = 3;

/// A comma-separated variable: names, or `-name` to take one away from all.
fn chosen(variable: &str, all: &[&str]) -> Vec<String> {
    let text = std::env::var(variable).unwrap_or_default();
    let words: Vec<&str> = text.split(',').filter(|word| !word.is_empty()).collect();
    let (less, only): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('-'));
    let base = if only.is_empty() { all.to_vec() } else { only };
    base.into_iter().filter(|name| !less.iter().any(|word| &word[1..] == *name)).map(str::to_owned).collect()
}

/// Checks that are not to count, by `TOOLMASTER_MODEL_IGNORE`.
fn ignored() -> Vec<String> {
    chosen("TOOLMASTER_MODEL_IGNORE", &[])
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: not a number: {text}")))
}

/// A history's outcome; where the harness itself gave up, that is what is broken.
fn caught(work: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        let broken = Broken { check: "harness", what: text };
        Outcome { steps: usize::MAX, broken: Some((broken, 0, String::new())) }
    })
}

/// Everything that is mounted and written lies in the memory of the test's own /run.
fn in_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(tempfile::env::override_temp_dir(std::path::Path::new("/run"))));
}

/// A failed history as a person reads it.
fn told(history: &History, outcome: &Outcome, seed: Option<u64>) -> String {
    let (broken, step, run) = outcome.broken.as_ref().unwrap();
    let seed = seed.map(|seed| format!(" (TOOLMASTER_MODEL_SEED={seed})")).unwrap_or_default();
    format!("BROKEN [{}] at step {step}{seed}: {}\n{history}\n-- the last run\n{run}\n", broken.check, broken.what)
}

/// What a fixed history breaks is told as that of a random one.
fn must_hold(history: &History) {
    in_memory();
    let outcome = play(history, &ignored());
    assert!(outcome.broken.is_none(), "{}", told(history, &outcome, None));
}

#[test]
fn random_histories() {
    in_memory();
    let (kinds, groups, ignored) = (Kind::all(), chosen("TOOLMASTER_MODEL_STEPS", &GROUPS), ignored());
    let unknown: Vec<_> = groups.iter().filter(|group| !GROUPS.contains(&group.as_str())).collect();
    assert!(unknown.is_empty(), "TOOLMASTER_MODEL_STEPS: {unknown:?} is none of {GROUPS:?}");
    let generator = Generator { groups: &groups, kinds: &kinds };
    let minutes = number("TOOLMASTER_MODEL_MINUTES");
    let seed = number("TOOLMASTER_MODEL_SEED");
    let most = number("TOOLMASTER_MODEL_HISTORIES").unwrap_or(if minutes.is_some() { u64::MAX } else { HISTORIES });
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let first = seed.unwrap_or(SEED);
    let (next, steps, done) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    let broken: Mutex<BTreeMap<&str, usize>> = Mutex::default();
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= most || end.is_some_and(|end| Instant::now() > end) {
                return;
            }
            let seed = first + number;
            let history = generator.history(seed);
            let outcome = caught(|| play(&history, &ignored));
            done.fetch_add(1, Ordering::SeqCst);
            steps.fetch_add(outcome.steps.min(history.steps.len()), Ordering::SeqCst);
            if let Some((first, ..)) = &outcome.broken {
                let before = {
                    let mut broken = broken.lock().unwrap();
                    let count = broken.entry(first.check).or_insert(0);
                    *count += 1;
                    *count - 1
                };
                if before < TOLD {
                    say(&format!("[{}] broken by history {seed}; making it short\n", first.check));
                    let (history, outcome) = shrink::shrink(&history, outcome, &ignored);
                    say(&told(&history, &outcome, Some(seed)));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    let broken = broken.into_inner().unwrap();
    say(&format!(
        "{} histories, {} steps, {} broken (from seed {first}; sticks: {kinds:?})\n",
        done.into_inner(),
        steps.into_inner(),
        broken.values().sum::<usize>()
    ));
    assert!(broken.is_empty(), "broken, told above: {broken:?}");
}

/// Says it whether the test harness captures what tests print or not.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

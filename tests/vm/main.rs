//! The image, booted in QEMU, with real sticks in its USB ports: what an operator sees. `scripts/vm-test` runs it.
//!
//! One line a case: its seconds and its name. The cases share a machine, because a boot costs a minute, and run in their
//! order: a name as an argument runs that case and those that it builds on.

#![allow(missing_docs, clippy::print_stdout, clippy::indexing_slicing, reason = "a test, with a report of its own")]

mod boot;
mod clock;
mod counts;
#[path = "../common/fat.rs"]
mod fat;
mod faults;
mod first;
mod fuzzed;
mod hands;
mod lab;
mod moments;
mod package;
mod qemu;
mod recover;
mod replay;
mod shell;
mod signs;
mod site;
mod stick;
mod sticks;

use std::process::ExitCode;
use std::time::Instant;

use lab::Lab;

/// What a case says when it fails.
pub type Outcome<T> = Result<T, String>;

/// A failure, with its reason.
pub fn fail<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(reason.into())
}

/// Fails unless it holds.
pub fn check(holds: bool, reason: impl Into<String>) -> Outcome<()> {
    if holds { Ok(()) } else { Err(reason.into()) }
}

type Run = Box<dyn Fn(&mut Lab) -> Outcome<()>>;

/// A case.
pub struct Case {
    pub name: String,
    /// Whether `--short` runs it.
    pub short: bool,
    pub run: Run,
}

impl Case {
    /// A case of every run.
    pub fn new(name: impl Into<String>, run: impl Fn(&mut Lab) -> Outcome<()> + 'static) -> Self {
        Self { name: name.into(), short: true, run: Box::new(run) }
    }

    /// A case that `--short` leaves out.
    pub fn long(name: impl Into<String>, run: impl Fn(&mut Lab) -> Outcome<()> + 'static) -> Self {
        Self { short: false, ..Self::new(name, run) }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let short = arguments.iter().any(|word| word == "--short");
    let show = arguments.iter().any(|word| word == "--show");
    let wanted: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let parts = [
        boot::first(),
        sticks::cases(),
        signs::cases(),
        first::cases(),
        package::cases(),
        recover::cases(),
        clock::cases(),
        counts::cases(),
        boot::last(),
    ];
    let cases: Vec<Case> = parts.into_iter().flatten().collect();
    if arguments.iter().any(|word| word == "--list") {
        for case in &cases {
            println!("{}  {}", if case.short { "short" } else { "     " }, case.name);
        }
        return ExitCode::SUCCESS;
    }
    let mut lab = match Lab::new() {
        Ok(lab) => lab,
        Err(error) => {
            println!("FAILED {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(outcome) = disturbed(&mut lab, &arguments) {
        return outcome;
    }
    let (mut passed, mut failed) = (0, 0);
    for case in cases {
        let named = wanted.iter().any(|word| case.name.contains(word.as_str()));
        if if wanted.is_empty() { short && !case.short } else { !named } {
            continue;
        }
        let started = Instant::now();
        let outcome = (case.run)(&mut lab);
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("ok     {seconds:6.1} s  {}", case.name);
                if show {
                    println!("{}", indented(&lab.news()));
                }
            }
            Err(reason) => {
                failed += 1;
                println!("FAILED {seconds:6.1} s  {}\n{}", case.name, indented(&reason));
                println!("{}", indented(&lab.after_failure()));
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `--disturb PULLS CUTS ERRORS DAMAGES HANDS`: rounds of pulled sticks, power cuts, I/O errors, damaged file systems and disturbed commands by hand
/// instead of the cases.
fn disturbed(lab: &mut Lab, arguments: &[String]) -> Option<ExitCode> {
    let place = arguments.iter().position(|word| word == "--disturb")?;
    let number = |index: usize| arguments.get(place + index).and_then(|word| word.parse().ok()).unwrap_or(0);
    Some(match faults::run(lab, [1, 2, 3, 4, 5].map(number)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("FAILED {reason}\n{}\n{}", indented(&lab.news()), indented(&lab.after_failure()));
            ExitCode::FAILURE
        }
    })
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

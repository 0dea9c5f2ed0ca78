//! SPEC 8, exhaustively: each command is disturbed at every system call that changes anything, by a kill before it, a
//! kill after it and each error that it may meet; then it is run again, and everything must be right.
//!
//! A plain `cargo test` takes a sample of the points; `scripts/faults` takes all. docs/faults.md says how it works.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod drive;
mod jobs;
mod look;
mod trace;
mod world;

use std::sync::RwLock;

use drive::Bench;
use world::{Subject, World};

/// Faults of each command in a plain run.
const SAMPLE: usize = 30;

/// Two commands at a time, but `provision` alone: it changes /etc, which `snapshot` takes.
static ETC: RwLock<()> = RwLock::new(());

fn subject(name: &str) -> &'static Subject {
    jobs::ALL.iter().find(|subject| subject.name == name).unwrap()
}

/// Every fault of a command, or a sample of them, evenly spread.
fn disturb(name: &str) {
    let subject = subject(name);
    let (_alone, _shared) = match name {
        "provision" => (Some(ETC.write()), None),
        _ => (None, Some(ETC.read())),
    };
    let (world, bench) = (World::new(subject), Bench::new());
    let reference = bench.reference(&world, subject);
    let faults: Vec<_> =
        reference.points.iter().flat_map(|point| point.faults().into_iter().map(move |fault| (point, fault))).collect();
    let only = std::env::var("FAULTS_ONLY").ok();
    let all = std::env::var_os("FAULTS_ALL").is_some() || only.is_some();
    let step = if all { 1 } else { faults.len().div_ceil(SAMPLE) };
    let (mut runs, mut missed, mut broken) = (0, Vec::new(), Vec::new());
    for (point, fault) in faults.iter().step_by(step) {
        let what = format!("{point}:{fault}");
        if only.as_ref().is_some_and(|only| *only != what) {
            continue;
        }
        let outcome = bench.disturb(&world, subject, &reference, point, *fault);
        runs += 1;
        if !outcome.reached {
            missed.push(what.clone());
        }
        if !outcome.broken.is_empty() {
            println!("BROKEN {name} {what}: {}\n  {}", point.call.text, outcome.broken.join("\n  "));
            broken.push(what);
        }
    }
    println!("FAULTS|{name}|{}|{}|{runs}|{}|{}|", reference.points.len(), faults.len(), missed.len(), broken.len());
    assert!(broken.is_empty(), "{} of {runs} broken: {}", broken.len(), broken.join(" "));
    println!("not reached again: {missed:?}");
}

/// One test for each command, so that they can be named and run one by one.
macro_rules! commands {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            disturb($name);
        })*

        #[test]
        fn every_command_has_its_test() {
            assert_eq!(jobs::ALL.iter().map(|subject| subject.name).collect::<Vec<_>>(), [$($name),*]);
        }
    };
}

commands! {
    ingest: "ingest",
    ingest_into_a_new_server: "ingest (new server)",
    dist_export_onto_a_new_stick: "dist-export (new stick)",
    dist_export_of_two_generations: "dist-export (two generations)",
    dist_export_in_place: "dist-export (in place)",
    dist_sync: "dist-sync",
    snapshot: "snapshot",
    backup: "backup",
    backup_of_the_same_day: "backup (same day)",
    restore: "restore",
    restore_into_a_database: "restore (database)",
    recover: "recover",
    undo_on_the_server: "undo (server)",
    undo_on_a_stick: "undo (stick)",
    stick_adopt: "stick adopt",
    stick_enroll: "stick enroll",
    provision: "provision",
    mirror_enable: "mirror enable",
    mirror_disable: "mirror disable",
    mirror_rotate: "mirror rotate",
    mirror_compare: "mirror-compare",
}

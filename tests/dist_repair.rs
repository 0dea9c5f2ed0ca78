//! SPEC 6: plugging a DIST stick in at the server is its repair, and what the server can't give or the stick can't hold is said before
//! anything changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use common::lost::on_stick;
use common::{Call, Run, Server, Stick, Tree, ago, assert_unchanged, data_on, files, noise, sample, sample_master};

fn export<'a>(server: &'a Server, stick: &'a Stick) -> Call<'a> {
    Call::new(server, &["dist-export", "--device", stick.device()], Some(stick))
}

fn exported(call: Call<'_>) -> Run {
    let run = call.finish();
    run.ended(0);
    assert!(run.stderr.lines().last().unwrap_or_default().starts_with("dist export completed"), "{run}");
    run
}

/// A server with the sample and a large drawing, and a DIST stick that holds them.
fn filled(mib: u64) -> (Server, Stick) {
    let server = Server::new();
    sample(&server.tree(), ago(3600));
    server.docviewer().file("drawing.pdf", noise(1, 100_000), ago(3600));
    let stick = Stick::blank("TM-DIST", mib);
    stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    exported(export(&server, &stick));
    (server, stick)
}

/// Bytes in the middle of a file turn; its size and times stay.
fn rot(root: &Tree, name: &str) {
    let path = root.path(name);
    let before = path.metadata().unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(before.size() / 2)).unwrap();
    file.write_all(b"X").unwrap();
    drop(file);
    common::tree::set_mtime_exactly(&path, before.mtime(), before.mtime_nsec());
}

fn manifest(stick: &Stick) -> String {
    stick.read(|root| root.text(".toolmaster/manifest.json"))
}

#[test]
fn a_rotten_file_is_found_and_written_again() {
    let (server, stick) = filled(32);
    let before = data_on(&stick);
    stick.edit(|root| {
        rot(root, "docviewer/drawing.pdf");
        rot(root, "master/a.csv");
    });
    assert_ne!(data_on(&stick), before);
    let run = exported(export(&server, &stick));
    assert!(run.stderr.contains("drawing.pdf") && run.stderr.contains("a.csv"), "it names what was rotten\n{run}");
    assert_unchanged(&files_of(&before), &files_of(&data_on(&stick)));
    assert!(manifest(&stick).contains("\"complete\""));
    // The next time all is well, and nothing is written.
    let before = data_on(&stick);
    let run = exported(export(&server, &stick));
    assert!(!run.stderr.contains("drawing.pdf"), "{run}");
    assert_eq!(data_on(&stick), before);
}

/// The lines of files alone: a directory in which a file was written again has a new time.
fn files_of(snapshot: &str) -> String {
    snapshot.lines().filter(|line| line.contains(" 100")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_terminal_takes_a_stick_after_its_repair() {
    let (server, stick) = filled(32);
    stick.edit(|root| rot(root, "docviewer/drawing.pdf"));
    let terminal = tempfile::tempdir().unwrap();
    let sync = || {
        let call = Call::new(&server, &["dist-sync", "--device", stick.device()], Some(&stick));
        let place = |name: &str| terminal.path().join(name);
        call.var("LOCAL_MASTER_DIR", place("master")).var("LOCAL_DOC_DIR", place("docviewer"))
    };
    sync().finish().ended(2);
    exported(export(&server, &stick));
    sync().finish().ended(0);
    assert_eq!(Tree::at(terminal.path().join("docviewer")).files(), server.docviewer().files());
}

#[test]
fn a_dry_run_finds_the_rotten_file_and_leaves_it() {
    let (server, stick) = filled(32);
    stick.edit(|root| rot(root, "docviewer/drawing.pdf"));
    let before = data_on(&stick);
    let run = exported(export(&server, &stick).flag("--dry-run"));
    assert!(run.stderr.contains("drawing.pdf"), "{run}");
    assert_unchanged(&before, &data_on(&stick));
}

#[test]
fn a_source_that_is_missing_or_empty_refuses_and_the_other_is_done() {
    for empty in [false, true] {
        let (server, stick) = filled(32);
        let drawings = on_stick(&stick, "docviewer");
        server.tree().remove("docviewer");
        if empty {
            // meta.json and what a PC leaves fill no dataset.
            server.docviewer().meta(ago(10)).file("Thumbs.db", "x", ago(10)).file(".~lock.plan.ods#", "x", ago(10));
        }
        server.master().file("a.csv", "a2", ago(60));
        export(&server, &stick).flag("--dry-run").fails(3);
        export(&server, &stick).fails(3);
        let master = on_stick(&stick, "master");
        assert_eq!(master, server.master().files());
        assert_eq!(master.get("a.csv").map(String::as_str), Some("a2"));
        assert_eq!(on_stick(&stick, "docviewer"), drawings);
        // What was done counts: a terminal can read the stick.
        assert!(manifest(&stick).contains("\"complete\""));
    }
}

#[test]
fn a_source_that_neither_side_has_is_no_reason_to_refuse() {
    let server = Server::new();
    sample(&server.tree(), ago(3600));
    server.tree().remove("docviewer");
    let stick = Stick::blank("TM-DIST", 32);
    stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    exported(export(&server, &stick));
    assert_eq!(on_stick(&stick, "master"), sample_master());
}

#[test]
fn a_stick_too_small_for_both_datasets_gets_neither() {
    let (server, stick) = filled(32);
    let before = (data_on(&stick), manifest(&stick));
    // Each alone would fit.
    server.master().file("large.csv", noise(2, 20 << 20), ago(60)).file("a.csv", "a2", ago(60));
    server.docviewer().file("large.pdf", noise(3, 20 << 20), ago(60));
    for dry in [true, false] {
        let call = export(&server, &stick);
        let run = if dry { call.flag("--dry-run") } else { call }.fails(1);
        assert!(run.stderr.contains("bytes needed") && run.stderr.contains("bytes free"), "{run}");
        let mut numbers = run.stderr.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
        assert!(numbers.any(|number| (40 << 20..60 << 20).contains(&number)), "the room for both\n{run}");
        assert_unchanged(&before.0, &data_on(&stick));
        assert_eq!(manifest(&stick), before.1);
    }
    server.docviewer().remove("large.pdf");
    exported(export(&server, &stick));
    assert_eq!(on_stick(&stick, "master"), server.master().files());
    assert_eq!(on_stick(&stick, "docviewer").len(), files([("plan.pdf", ""), ("drawing.pdf", "")]).len());
}

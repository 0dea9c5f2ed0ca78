//! SPEC 2: a dry run logs the whole plan and changes nothing anywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Server, Stick, ago, assert_unchanged, in_step, sample};

/// Runs dry and asserts that not one inode of the server and not one byte of the stick is another than before.
fn dry(server: &Server, stick: &Stick, code: i32) -> common::Run {
    let before = (server.tree().snapshot_of_inodes(), stick.bytes());
    let call = server.run(stick).flag("--dry-run");
    let run = if code == 0 { call.done() } else { call.fails(code) };
    assert_unchanged(&before.0, &server.tree().snapshot_of_inodes());
    assert!(stick.bytes() == before.1, "the stick changed");
    run
}

#[test]
fn a_dry_run_changes_no_inode_and_no_byte_where_the_stick_would_win() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "four", ago(60)).remove("b.csv").file("新/図面.csv", "", ago(60));
    });
    let run = dry(&server, &stick, 0);
    let mut plan = run.plan();
    plan.sort_unstable();
    assert_eq!(
        plan,
        [
            "master: copy to server: a.csv (4 bytes)",
            "master: copy to server: 新/図面.csv (0 bytes)",
            "master: delete on server: b.csv"
        ],
        "{run}"
    );
    run.says("master: stick wins").says("docviewer: nothing to do");
}

#[test]
fn a_dry_run_changes_no_inode_and_no_byte_where_the_server_would_win() {
    let (server, stick) = in_step();
    server.master().file("a.csv", "four", ago(60)).remove("b.csv");
    let run = dry(&server, &stick, 0);
    let plan = run.plan();
    assert_eq!(plan.len(), 2, "{run}");
    assert!(plan.iter().any(|line| line.starts_with("master: copy to stick: a.csv")), "{run}");
    assert!(plan.contains(&"master: delete on stick: b.csv"), "{run}");
}

#[test]
fn a_dry_run_on_a_new_server_makes_no_directory() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| sample(root, ago(100)));
    let run = dry(&server, &stick, 0);
    assert_eq!(run.plan().len(), 4, "{run}");
    assert_eq!(server.tree().snapshot().lines().count(), 1, "{}", server.tree().snapshot());
}

#[test]
fn a_dry_run_that_refuses_changes_nothing_either() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.remove("master").dir("master");
    });
    dry(&server, &stick, 2).says("master: refused");

    let wrong = Stick::blank("TM-INGEST", 32);
    dry(&server, &wrong, 2).says(&format!("validation failed for {}", wrong.device()));
}

#[test]
fn a_dry_run_of_force_says_so() {
    let (server, stick) = in_step();
    server.master().file("a.csv", "server", ago(60));
    let before = server.tree().snapshot_of_inodes();
    let run = server.run(&stick).flag("--dry-run").flag("--force").done();
    run.says("ingest completed (dry_run=1 force=1)");
    assert_eq!(run.plan(), ["master: copy to server: a.csv (2 bytes)"]);
    assert_unchanged(&before, &server.tree().snapshot_of_inodes());
}

#[test]
fn a_dry_run_with_checksums_reads_all_and_touches_nothing() {
    let (server, stick) = in_step();
    let before = (server.tree().snapshot_of_inodes(), stick.bytes());
    server.run(&stick).flag("--dry-run").flag("--checksum").done();
    assert_unchanged(&before.0, &server.tree().snapshot_of_inodes());
    assert!(stick.bytes() == before.1);
}

#[test]
fn a_dry_run_replays_no_journal() {
    let (server, stick) = in_step();
    let pulled = stick.edit_and_pull(|root| {
        root.sub("master").file("a.csv", "edited", ago(60)).meta(ago(60));
    });
    let before = pulled.bytes();
    server.run(&pulled).flag("--dry-run").finish();
    assert!(pulled.bytes() == before, "the journal was replayed");
}

#[test]
fn the_plan_is_what_the_run_then_does() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60)).remove("sub").file("new", "", ago(60));
    });
    let planned = server.run(&stick).flag("--dry-run").done().plan().len();
    let job = server.run(&stick).done().job;
    let master = &job["datasets"]["master"];
    let counted = master["copied"].as_u64().unwrap() + master["deleted"].as_u64().unwrap();
    assert_eq!(counted, planned as u64, "{job}");
    let again = server.run(&stick).flag("--dry-run").done();
    assert_eq!(again.plan(), [""; 0], "{again}");
}

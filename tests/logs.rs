//! The jobs' logs are bounded by size and age (SPEC 4), and nothing is lost on the way: not by two writers at once, not
//! for those who read the records.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::io::Read;

use common::site::Site;
use common::tree::set_mtime;
use common::{DAY, Server, Tree, ago, in_step, sample};
use rustix::fs::{CWD, FileType, Mode};

/// The least that the setting allows.
const MOST: usize = 100_000;

fn line(seconds: i64, text: &str) -> String {
    let time = common::tool("date", &["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%S+00:00"]);
    format!("{} [info] {text}\n", time.trim())
}

/// So many bytes of lines.
fn lines(bytes: usize) -> String {
    let line = line(ago(DAY), "an earlier run");
    line.repeat(bytes.div_ceil(line.len()))
}

fn logs(server: &Server) -> Tree {
    server.tree().sub("logs")
}

/// All records, as whoever reads them gets them.
fn records(server: &Server) -> Vec<serde_json::Value> {
    let mut text = String::new();
    toolmaster::os::jobs::read(&server.path("logs")).read_to_string(&mut text).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_full_log_is_the_one_of_before_and_the_run_is_in_a_new_one() {
    let (server, stick) = in_step();
    let (logs, full) = (logs(&server), lines(MOST));
    let before = records(&server).len();
    logs.file("usb_ingest.log", &full, ago(60)).file("usb_ingest.log.1", "older still\n", ago(DAY));
    let run = |server: &Server| server.run(&stick).var("LOG_MAX_BYTES", MOST.to_string()).finish().ended(0).log.len();
    run(&server);
    assert_eq!(logs.text("usb_ingest.log.1"), full);
    let new = logs.text("usb_ingest.log");
    assert!(new.ends_with("[info] ingest completed (dry_run=0 force=0)\n") && new.len() < 5000, "{new}");
    run(&server);
    assert!(logs.text("usb_ingest.log").starts_with(&new), "it has room");
    assert_eq!(records(&server).len(), before + 2);
    // A dry run writes nothing, and so turns nothing.
    logs.file("usb_ingest.log", &full, ago(60));
    server.run(&stick).flag("--dry-run").var("LOG_MAX_BYTES", MOST.to_string()).done();
    assert_eq!(logs.text("usb_ingest.log"), full);
    server.run(&stick).var("LOG_MAX_BYTES", "99999").finish().ended(78);
}

#[test]
fn one_run_that_says_more_than_fits_turns_the_log_too() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        for number in 0..1500 {
            let name = root.path(format!("master/{number:0>60}"));
            rustix::fs::mknodat(CWD, name, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        }
    });
    // The harness takes a log for one that only grows.
    assert_eq!(server.run(&stick).var("LOG_MAX_BYTES", MOST.to_string()).start().code(), Some(0));
    let [new, old] = ["usb_ingest.log", "usb_ingest.log.1"].map(|name| logs(&server).text(name));
    assert!(old.len() >= MOST && old.len() < MOST + 500 && new.len() < MOST, "{} {}", old.len(), new.len());
    assert_eq!((old.clone() + &new).matches("(FIFO)").count(), 1500, "no line is lost");
    assert!(new.ends_with("ingest completed (dry_run=0 force=0)\n"));
}

#[test]
fn two_writers_at_once_lose_nothing() {
    let server = Server::new();
    sample(&server.tree(), ago(60));
    let full = lines(MOST - 2000);
    logs(&server).file("usb_ingest.log", &full, ago(60));
    let record = "{\"time\":\"2026-01-31T02:30:00+09:00\",\"job\":\"earlier\",\"result\":\"done\"}\n";
    logs(&server).file("jobs.jsonl", record.repeat((MOST - 2000) / record.len()), ago(60));
    let earlier = records(&server).len();
    const WRITERS: usize = 6;
    const RUNS: usize = 20;
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                for _ in 0..RUNS {
                    let call = server.call(&["ingest", "--device", "/dev/none"]);
                    let status = call.var("LOG_MAX_BYTES", MOST.to_string()).start().code();
                    assert_eq!(status, Some(64));
                }
            });
        }
    });
    let [new, old] = ["usb_ingest.log", "usb_ingest.log.1"].map(|name| logs(&server).text(name));
    assert!(old.starts_with(&full), "turned once: {} {}", old.len(), new.len());
    let said = (old + &new).matches("there is no device /dev/none").count();
    assert_eq!(said, WRITERS * RUNS);
    assert!(logs(&server).has("jobs.jsonl.1"));
    assert_eq!(records(&server).len(), earlier + WRITERS * RUNS);
}

#[test]
fn what_stands_in_the_way_stops_no_job() {
    let (server, stick) = in_step();
    let logs = logs(&server);
    logs.file("usb_ingest.log", lines(MOST), ago(60)).dir("usb_ingest.log.1/full").link("jobs.jsonl.1", "/nowhere");
    server.run(&stick).var("LOG_MAX_BYTES", MOST.to_string()).done();
    assert!(logs.text("usb_ingest.log").len() > MOST, "it goes on where it was");
    // Somebody who holds the directory's lock is not waited for.
    logs.remove("usb_ingest.log.1");
    let lock = fs::File::open(logs.path("")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    server.run(&stick).var("LOG_MAX_BYTES", MOST.to_string()).done();
    assert!(!logs.has("usb_ingest.log.1"));
}

#[test]
fn status_knows_the_runs_of_before_the_turn() {
    let (server, _stick) = in_step();
    let ingest = || {
        let run = server.call(&["status", "--json"]).var("MIRRORCTL_CONFIG", "/nonexistent/config.json").finish();
        let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        json["checks"].as_array().unwrap().iter().find(|check| check["key"] == "ingest").unwrap().clone()
    };
    let before = ingest();
    assert_eq!(before["verdict"], "good");
    let logs = logs(&server);
    // A crash tore the last line before the turn.
    let torn = logs.text("jobs.jsonl") + "{\"time\":\"20";
    logs.file("jobs.jsonl.1", torn, ago(60)).remove("jobs.jsonl");
    assert_eq!(ingest(), before);
    server.call(&["ingest", "--device", "/dev/none"]).fails(64);
    assert_eq!(records(&server).len(), 2);
    assert_eq!(records(&server)[1]["result"], "failed");
}

#[test]
fn a_snapshot_bounds_the_logs_by_age_while_the_clock_is_believed() {
    let site = Site::new();
    let logs = logs(&site.server);
    let (old, young) = (ago(100 * DAY), ago(80 * DAY));
    let fill = || {
        logs.file("usb_ingest.log", line(old, "old") + &line(young, "young"), young);
        logs.file("usb_backup.log", line(young, "young"), young);
        logs.file("usb_backup.log.1", line(old, "old"), old).file("usb_guard.log.1", line(young, "young"), young);
        logs.file("mirror_diff.log", line(old, "old"), old).file("own.log", line(old, "own"), old);
        let record = format!("{{\"time\":\"{}\",\"job\":\"x\",\"result\":\"done\"}}\n", &line(old, "")[..25]);
        logs.file("jobs.jsonl", record, old);
    };
    fill();
    let before = logs.files();
    // Earlier than the newest record.
    site.call(&["snapshot"]).clock("-50d").finish().ended(0);
    let mut after = logs.files();
    for name in ["snapshot.log", "jobs.jsonl"] {
        assert!(after.get(name).unwrap().starts_with(before.get(name).unwrap()), "{name}");
        after.insert(name.to_owned(), before[name].clone());
    }
    assert_eq!(after, before);

    fill();
    site.snapshot();
    let text = |name: &str| logs.has(name).then(|| logs.text(name));
    assert_eq!(
        (text("usb_ingest.log"), text("usb_ingest.log.1")),
        (None, Some(line(old, "old") + &line(young, "young")))
    );
    assert_eq!((text("usb_backup.log"), text("usb_backup.log.1")), (Some(line(young, "young")), None));
    assert!(text("usb_guard.log.1").is_some() && text("mirror_diff.log").is_some() && text("own.log").is_some());
    assert_eq!(
        records(&site.server).iter().map(|record| record["job"].as_str().unwrap()).collect::<Vec<_>>(),
        ["x", "snapshot"]
    );
    // Its last record is of today.
    assert!(logs.has("jobs.jsonl.1"));
    set_mtime(&logs.path("jobs.jsonl.1"), old);
    site.snapshot();
    assert!(!logs.has("jobs.jsonl.1") && logs.has("jobs.jsonl"));
    assert!(text("snapshot.log").unwrap().contains("snapshot completed (dry_run=0)"));
}

#[test]
fn every_log_of_the_program_is_bounded() {
    let sources = ["src/lib.rs", "src/cmd/mod.rs"].map(|name| fs::read_to_string(name).unwrap()).concat();
    let logs = sources.split('"').filter(|literal| literal.ends_with(".log") && literal.len() > 4);
    for log in logs.chain(["jobs.jsonl"]) {
        assert!(toolmaster::os::bound::LOGS.contains(&log), "{log}");
    }
}

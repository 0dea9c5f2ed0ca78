//! SPEC 1-4 and 6: names and arguments, settings, logs, hooks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Server, Stick, Tree, ago, assert_unchanged, files, in_step, sample, sample_master};

/// A new server and a stick that fills it.
fn first_meeting() -> (Server, Stick) {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| sample(root, ago(100)));
    (server, stick)
}

#[test]
fn every_name_of_the_command_works() {
    for name in ["tool-ingest-sync.sh", "tool-ingest-sync", "/usr/local/bin/tool-ingest-sync.sh"] {
        let (server, stick) = first_meeting();
        server.run(&stick).named(name).done();
        assert_eq!(server.master().files(), sample_master());
    }
}

#[test]
fn an_options_value_may_follow_an_equals_sign() {
    let (server, stick) = first_meeting();
    server.call(&["ingest", &format!("--device={}", stick.device())]).done();
    assert_eq!(server.master().files(), sample_master());
}

#[test]
fn nonsense_on_the_command_line_is_64() {
    let server = Server::new();
    let lines: [&[&str]; 7] = [
        &["ingest", "--nonsense"],
        &["ingest", "--device"],
        &["ingest", "--device", "/dev/null", "more"],
        &["ingest", "--force=maybe"],
        &["nonsense"],
        &["stick", "nonsense"],
        &[],
    ];
    for line in lines {
        let run = server.call(line).finish();
        run.ended(64);
        assert_eq!(run.stderr.lines().count(), 1, "{line:?}\n{run}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let server = Server::new();
    for line in [&["--help"][..], &["-h"], &["ingest", "--help"], &["ingest", "-h"]] {
        let run = server.call(line).finish();
        run.ended(0);
        for code in ["64", "75", "78"] {
            assert!(run.stdout.contains(code), "{line:?} does not name the exit code {code}\n{run}");
        }
    }
    let run = server.call(&["--version"]).finish();
    run.ended(0);
    assert!(run.stdout.contains(env!("CARGO_PKG_VERSION")), "{run}");
    let run = server.call(&["ingest", "--version"]).named("tool-ingest-sync.sh").finish();
    run.ended(0);
    assert!(run.stdout.contains(env!("CARGO_PKG_VERSION")), "{run}");
}

#[test]
fn a_server_that_is_not_as_it_must_be_is_78_and_stays_as_it_is() {
    let link: fn(&Server) = |server| {
        server.tree().sub("real").file("a.csv", "x", ago(500));
        server.tree().link("master", "real");
    };
    let file: fn(&Server) = |server| {
        server.tree().file("master", "x", ago(500));
    };
    let undo_link: fn(&Server) = |server| {
        server.tree().dir("real").link("undo", "real");
    };
    let undo_file: fn(&Server) = |server| {
        server.tree().file("undo", "x", ago(500));
    };
    for spoil in [link, file, undo_link, undo_file] {
        let (server, stick) = first_meeting();
        spoil(&server);
        let before = server.data();
        server.run(&stick).fails(78);
        assert_unchanged(&before, &server.data());
        assert!(!stick.read(|root| root.has(".toolmaster/manifest.json")));
    }
}

#[test]
fn a_dataset_on_another_filesystem_is_78() {
    let (server, stick) = first_meeting();
    let elsewhere = tempfile::tempdir_in("/run").unwrap();
    server.run(&stick).var("SERVER_MASTER_DIR", elsewhere.path()).fails(78);
    assert_eq!(Tree::at(elsewhere.path()).files(), files([]));
}

#[test]
fn a_server_root_that_is_none_is_78() {
    let (server, stick) = first_meeting();
    for root in ["/nowhere/at/all", "relative", "/dev/null"] {
        server.run(&stick).var("SERVER_ROOT", root).fails(78);
    }
}

#[test]
fn the_datasets_and_logs_can_be_elsewhere() {
    let (server, stick) = first_meeting();
    let other = server.tree().sub("other");
    other.dir("logs");
    let run = server
        .run(&stick)
        .var("SERVER_MASTER_DIR", other.path("tools"))
        .var("SERVER_DOC_DIR", other.path("drawings"))
        .var("USB_LOG_DIR", other.path("logs"))
        .finish();
    run.ended(0);
    assert_eq!(other.sub("tools").files(), sample_master());
    assert_eq!(other.sub("drawings").files(), files([("plan.pdf", "p1")]));
    assert!(other.text("logs/usb_ingest.log").ends_with("[info] ingest completed (dry_run=0 force=0)\n"));
    assert!(other.has("logs/jobs.jsonl") && !server.tree().has("master") && !server.tree().has("logs/usb_ingest.log"));
}

#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_job() {
    let spoils: [fn(&Tree); 3] = [
        |root| {
            root.file("logs", "in the way", ago(10));
        },
        |root| {
            root.dir("logs/usb_ingest.log").dir("logs/jobs.jsonl");
        },
        |root| {
            root.link("logs", "/proc");
        },
    ];
    for spoil in spoils {
        let (server, stick) = first_meeting();
        spoil(&server.tree());
        let run = server.run(&stick).start().wait();
        run.ended(0);
        assert!(run.stderr.contains("ingest completed (dry_run=0 force=0)"), "{run}");
        assert_eq!(server.master().files(), sample_master());
    }
}

#[test]
fn under_systemd_stderr_is_the_journal_with_priorities_and_no_line_is_doubled() {
    let (server, stick) = first_meeting();
    stick.edit(|root| {
        root.sub("master").link("link", "a.csv");
    });
    let run = server.run(&stick).under_systemd().finish();
    run.ended(0);
    for line in run.stderr.lines() {
        assert!(["<3>", "<4>", "<6>"].iter().any(|level| line.starts_with(level)), "{line:?}\n{run}");
    }
    let logged: Vec<&str> = run.log.lines().map(|line| line.split_once("] ").unwrap().1).collect();
    let journal: Vec<&str> = run.stderr.lines().map(|line| &line[3..]).collect();
    assert_eq!(journal, logged, "the journal and the file have the same lines");
    assert!(run.stderr.lines().any(|line| line.starts_with("<4>") && line.contains("link")), "{run}");
}

#[test]
fn a_terminal_that_is_gone_does_not_stop_the_job() {
    for script in ["exec \"$@\" > /dev/full 2>&1", "exec \"$@\" >&- 2>&-", "\"$@\" 2>&1 | exit 0"] {
        let (server, stick) = first_meeting();
        server.run(&stick).through_shell(script).finish().ended(0);
        assert_eq!(server.master().files(), sample_master(), "{script}");
        assert!(server.log().ends_with("[info] ingest completed (dry_run=0 force=0)\n"), "{script}");
    }
}

#[test]
fn the_callers_umask_does_not_reach_the_data() {
    use std::os::unix::fs::MetadataExt;
    let (server, stick) = first_meeting();
    server.run(&stick).through_shell("umask 077; exec \"$@\"").done();
    for (name, mode) in [("master", 0o755), ("master/sub", 0o755), ("master/a.csv", 0o644), ("master/meta.json", 0o644)]
    {
        assert_eq!(server.path(name).metadata().unwrap().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn a_failure_is_one_line_on_stderr() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.remove("master").dir("master");
    });
    let run = server.run(&stick).fails(2);
    assert_eq!(run.stderr.lines().filter(|line| line.contains(" -> ")).count(), 1, "{run}");
    assert!(run.stderr.contains("master"), "{run}");
    assert!(run.job["error"].as_str().unwrap().contains(" -> "), "{run}");
}

#[test]
fn stick_probe_says_what_a_stick_is() {
    let (server, stick) = first_meeting();
    let run = server.call(&["stick", "probe", stick.device(), "--json"]).finish();
    run.ended(0);
    let found: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(found["type"], "ext4");
    assert_eq!(found["label"], "TM-INGEST");
    assert_eq!(found["size"], 32 << 20);
    let uuid = common::tool("blkid", &["-p", "-o", "value", "-s", "UUID", stick.device()]);
    assert_eq!(found["uuid"], uuid.trim());
    let image = stick.image();
    let text = server.call(&["stick", "probe", image.to_str().unwrap()]).finish();
    text.ended(0);
    assert!(text.stdout.contains("ext4") && text.stdout.contains("TM-INGEST"), "{text}");
}

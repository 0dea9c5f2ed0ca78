//! SPEC 6: what both sides look like after an ingest, and that the next one finds nothing to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::{DAY, Server, Stick, Tree, ago, data_on, files, in_step, kept, sample, sample_master};

/// The directories below `undo/`, by name.
fn undo_runs(server: &Server) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(server.path("undo"))
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn both_metas_get_one_new_time_later_than_all_others() {
    let (server, stick) = (Server::new(), Stick::ingest());
    let (older, newer) = (ago(50), ago(-3600));
    stick.edit(|root| {
        root.sub("master").file("a", "stick", ago(100)).meta(older);
    });
    server.master().file("a", "server", ago(100)).meta(newer);
    server.run(&stick).clock("+7200").done().outcome("master", "server wins");
    let on_server = server.master().updated_at();
    assert!(on_server > newer && on_server > ago(-7200), "{on_server}");
    assert_eq!(stick.read(|root| root.sub("master").updated_at()), on_server);
}

#[test]
fn the_new_time_is_later_than_a_record_ahead_of_the_clock() {
    let (server, stick) = in_step();
    let ahead = ago(-3600);
    server.master().meta(ahead);
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert!(server.master().updated_at() > ahead);
}

#[test]
fn other_keys_of_the_winners_meta_stay() {
    let (server, stick) = (Server::new(), Stick::ingest());
    let time = ago(50);
    stick.edit(|root| {
        root.sub("master")
            .file("a", "stick", ago(100))
            .meta_text(&format!("{{\"updated_at\": {time}, \"by\": \"佐藤\"}}"), time);
    });
    server.run(&stick).done();
    for text in [server.master().text("meta.json"), stick.read(|root| root.text("master/meta.json"))] {
        let meta: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(meta["by"], "佐藤");
        assert!(meta["updated_at"].as_i64().unwrap() > time);
    }
}

#[test]
fn the_second_run_finds_nothing_to_do_whoever_won() {
    for winner in ["stick", "server"] {
        let (server, stick) = (Server::new(), Stick::ingest());
        stick.edit(|root| sample(root, ago(if winner == "stick" { 100 } else { 300 })));
        sample(&server.tree(), ago(200));
        server.master().file("a.csv", "other", ago(200)).file("more/x", "", ago(200));
        server.run(&stick).clock("-50").done().outcome("master", &format!("{winner} wins"));
        let plan = server.run(&stick).flag("--dry-run").done();
        assert_eq!(plan.plan(), [""; 0], "{plan}");
        let before = (server.data(), data_on(&stick));
        server.run(&stick).done().outcome("master", "nothing").outcome("docviewer", "nothing");
        assert_eq!((server.data(), data_on(&stick)), before);
    }
}

#[test]
fn a_copied_file_has_its_own_mtime() {
    let (server, stick) = (Server::new(), Stick::ingest());
    let (one, two) = (ago(400 * DAY), ago(500 * DAY));
    stick.edit(|root| {
        root.sub("master").file("a", "", one).meta(ago(100));
    });
    server.docviewer().file("b", "", two).meta(ago(100));
    stick.edit(|root| {
        root.sub("docviewer").file("c", "", one).meta(ago(200));
    });
    server.run(&stick).done();
    assert_eq!(server.path("master/a").metadata().unwrap().mtime(), one);
    assert_eq!(stick.read(|root| root.path("docviewer/b").metadata().unwrap().mtime()), two);
}

#[test]
fn what_arrives_is_0644_and_0755_and_owned_like_the_datasets_directory() {
    let (server, stick) = in_step();
    std::os::unix::fs::chown(server.path("master"), Some(1234), Some(2345)).unwrap();
    fs::set_permissions(server.path("master"), fs::Permissions::from_mode(0o755)).unwrap();
    stick.edit(|root| {
        let master = root.sub("master");
        master.file("new/run.sh", "#!/bin/sh\n", ago(60)).file("secret.csv", "x", ago(60));
        for (name, mode) in [("new/run.sh", 0o6777), ("secret.csv", 0o400), ("new", 0o1777)] {
            fs::set_permissions(master.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::chown(master.path("secret.csv"), Some(777), Some(777)).unwrap();
    });
    server.run(&stick).done().outcome("master", "stick wins");
    for (name, mode) in
        [("", 0o755), ("new", 0o755), ("new/run.sh", 0o644), ("secret.csv", 0o644), ("meta.json", 0o644)]
    {
        let metadata = server.path("master").join(name).metadata().unwrap();
        assert_eq!(metadata.mode() & 0o7777, mode, "{name:?}");
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 2345), "{name:?}");
    }
}

/// More than what differs, so that the stick is not taken for one that lost its files.
fn in_common(master: &Tree) {
    for number in 0..3 {
        master.file(format!("same{number}"), "file of both", ago(300));
    }
}

#[test]
fn a_directory_takes_the_place_of_a_file_and_a_file_that_of_a_directory() {
    for winner in ["stick", "server"] {
        let (server, stick) = (Server::new(), Stick::ingest());
        let (stick_meta, server_meta) = if winner == "stick" { (ago(100), ago(200)) } else { (ago(200), ago(100)) };
        stick.edit(|root| {
            root.sub("master").file("one", "file", ago(300)).file("two/x/y", "stick", ago(300)).meta(stick_meta);
            in_common(&root.sub("master"));
        });
        server.master().file("one/x/y", "server", ago(300)).file("two", "file", ago(300)).meta(server_meta);
        in_common(&server.master());
        server.run(&stick).done().outcome("master", &format!("{winner} wins"));
        let mut expected = match winner {
            "stick" => files([("one", "file"), ("two/x/y", "stick")]),
            _ => files([("one/x/y", "server"), ("two", "file")]),
        };
        expected.extend((0..3).map(|number| (format!("same{number}"), "file of both".to_owned())));
        assert_eq!(server.master().files(), expected);
        assert_eq!(stick.read(|root| root.sub("master").files()), expected);
    }
}

#[test]
fn the_loser_gets_the_winners_directories_too() {
    let (server, stick) = in_step();
    server.master().dir("only/server");
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60)).dir("only-stick/empty");
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert!(server.master().has("only-stick/empty") && !server.master().has("only"));
}

#[test]
fn exactly_what_was_replaced_or_deleted_is_in_undo_with_its_times() {
    let (server, stick) = in_step();
    let line = |name: &str| {
        let snapshot = server.master().snapshot();
        snapshot.lines().find(|line| line.starts_with(name)).unwrap().to_owned()
    };
    let before = ["a.csv", "b.csv", "meta.json"].map(line);
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60)).remove("b.csv");
    });
    server.run(&stick).done();
    let kept = kept(&server, "server", "master").expect("undo/<time>/master").0.snapshot();
    assert_eq!(kept.lines().skip(1).collect::<Vec<_>>(), before);
}

#[test]
fn what_is_replaced_on_the_stick_is_in_undo_too() {
    let (server, stick) = in_step();
    server.master().file("a.csv", "server", ago(60)).remove("b.csv");
    server.run(&stick).done().outcome("master", "server wins");
    let old = kept(&server, "stick", "master").expect("the stick's old master is in undo/").0.files();
    assert_eq!((old.get("a.csv"), old.get("b.csv")), (Some(&"a1".to_owned()), Some(&"b1".to_owned())));
}

#[test]
fn a_run_that_changes_nothing_makes_no_undo() {
    let (server, stick) = in_step();
    let before = undo_runs(&server);
    server.run(&stick).done();
    assert_eq!(undo_runs(&server), before);
}

#[test]
fn undo_keeps_what_is_younger_than_14_days_and_the_three_latest() {
    let (server, stick) = (Server::new(), Stick::ingest());
    let step = |day: i64| {
        let text = format!("day {day}");
        stick.edit(|root| {
            root.sub("master").file("a.csv", &text, ago(0) + day * DAY - 60).meta(ago(0) + day * DAY - 60);
        });
        server.run(&stick).clock(&format!("+{day}d")).done();
        assert_eq!(server.master().text("a.csv"), text);
        undo_runs(&server)
    };
    // The first run replaces nothing. Four within 14 days: all are there.
    for day in 0..5 {
        step(day);
    }
    let young = undo_runs(&server);
    assert!(young.len() >= 4, "{young:?}");
    let old = step(30);
    assert!(old.len() < young.len(), "nothing was given up: {old:?}");
    let kept: Vec<String> = old.iter().map(|name| server.tree().sub("undo").sub(name).text("master/a.csv")).collect();
    assert_eq!(kept, ["day 2", "day 3", "day 4"]);
}

#[test]
fn nothing_is_shared_between_undo_and_live_data() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    server.run(&stick).done();
    let old = kept(&server, "server", "master").unwrap().0;
    assert_eq!(old.files(), files([("a.csv", "a1")]));
    let links = |name: &str| server.path("master").join(name).metadata().unwrap().nlink();
    assert_eq!(["a.csv", "b.csv", "sub/c.csv"].map(links), [1, 1, 1]);
    fs::write(server.path("master/b.csv"), "edited in place").unwrap();
    assert_eq!(old.files(), files([("a.csv", "a1")]));
}

#[test]
fn content_altered_behind_its_time_is_found_by_checksum_alone() {
    let (server, stick) = in_step();
    let time = stick.edit(|root| {
        let time = root.path("master/a.csv").metadata().unwrap().mtime();
        root.sub("master").file("a.csv", "A1", time);
        time
    });
    server.run(&stick).done().outcome("master", "nothing");
    assert_eq!(server.master().text("a.csv"), "a1");
    let run = server.run(&stick).flag("--checksum").done();
    let (winner, loser) = if server.master().text("a.csv") == "A1" { ("stick", "server") } else { ("server", "stick") };
    run.outcome("master", &format!("{winner} wins"));
    assert_eq!(stick.read(|root| root.sub("master").files()), server.master().files());
    assert!(kept(&server, loser, "master").unwrap().0.has("a.csv"), "the other content is in undo/");
    assert_eq!(server.path("master/a.csv").metadata().unwrap().mtime(), time);
}

#[test]
fn a_new_mtime_alone_is_no_change() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "a1", ago(60));
    });
    server.run(&stick).done().outcome("master", "nothing");
    assert_eq!(server.master().files(), sample_master());
}

#[test]
fn the_stick_carries_a_complete_manifest_of_every_file() {
    let (server, stick) = in_step();
    let text = stick.read(|root| root.text(".toolmaster/manifest.json"));
    assert!(text.lines().next().unwrap().contains("\"state\":\"complete\""), "{text}");
    // SHA-256 of "a1" and of "p1".
    for expected in
        ["a.csv", "sub/c.csv", "plan.pdf", "f55ff16f66f43360266b95db6f8fec01d76031054306ae4a4b380598f6cfd114"]
    {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    let server_id = server.tree().text(".toolmaster/server-id");
    assert!(text.contains(server_id.trim()), "the server's id {server_id} is not in {text}");
}

#[test]
fn the_job_record_counts_what_was_done() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "four", ago(60)).file("new.csv", "123456", ago(60)).remove("b.csv");
    });
    let job = server.run(&stick).done().job;
    assert_eq!(job["device"], stick.device());
    assert_eq!(job["label"], "TM-INGEST");
    assert_eq!(job["datasets"]["master"]["copied"], 2, "{job}");
    assert_eq!(job["datasets"]["master"]["deleted"], 1, "{job}");
    assert_eq!(job["datasets"]["master"]["bytes"], 10, "{job}");
    assert!(job["duration_ms"].is_u64(), "{job}");
    assert!(job["time"].as_str().unwrap().len() == "2026-01-31T02:30:00+09:00".len(), "{job}");
}

#[test]
fn the_servers_own_records_are_for_root_alone() {
    let (server, _stick) = in_step();
    assert_eq!(server.path(".toolmaster").metadata().unwrap().mode() & 0o7777, 0o700);
}

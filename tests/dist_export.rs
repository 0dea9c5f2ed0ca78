//! `dist-export` (SPEC 6): a TM-DIST stick becomes what the server has, and never looks whole when it is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::call::Call;
use common::{Run, Server, Stick, add_many, ago, files, sample, sample_master, stop_in_write_back};
use rustix::process::Signal;

fn dist_stick(mib: u64) -> Stick {
    let stick = Stick::blank("TM-DIST", mib);
    stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    stick
}

fn filled_server() -> Server {
    let server = Server::new();
    sample(&server.tree(), ago(3600));
    server
}

fn export<'a>(server: &'a Server, stick: &'a Stick) -> Call<'a> {
    Call::new(server, &["dist-export", "--device", stick.device()], Some(stick))
}

fn done(call: Call<'_>) -> Run {
    let run = call.finish();
    run.ended(0);
    let last = run.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("dist export completed (dry_run="), "{run}");
    run
}

fn state(stick: &Stick) -> String {
    stick.read(|root| root.text(".toolmaster/manifest.json").lines().next().unwrap().to_owned())
}

fn assert_equal(server: &Server, stick: &Stick) {
    stick.read(|root| {
        for dataset in ["master", "docviewer"] {
            assert_eq!(root.sub(dataset).files(), server.tree().sub(dataset).files(), "{dataset}");
            let meta = format!("{dataset}/meta.json");
            assert_eq!(root.text(&meta), server.tree().text(&meta));
        }
    });
    assert!(state(stick).contains("\"complete\""), "{}", state(stick));
}

#[test]
fn fills_an_empty_stick_and_lists_what_is_on_it() {
    let (server, stick) = (filled_server(), dist_stick(32));
    let run = done(export(&server, &stick));
    assert_eq!(run.stderr.lines().last(), Some("dist export completed (dry_run=0)"));
    assert_equal(&server, &stick);
    let manifest = stick.read(|root| root.text(".toolmaster/manifest.json"));
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let listed: Vec<_> =
        manifest["files"].as_array().unwrap().iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(listed, ["docviewer/plan.pdf", "master/a.csv", "master/b.csv", "master/sub/c.csv"]);
    let log = std::fs::read_to_string(server.path("logs/usb_dist_export.log")).unwrap();
    assert!(log.ends_with("[info] dist export completed (dry_run=0)\n"), "{log}");
    assert_eq!(run.job["job"], "dist-export");
}

#[test]
fn a_second_time_nothing_is_written_to_the_datasets() {
    let (server, stick) = (filled_server(), dist_stick(32));
    done(export(&server, &stick));
    let data = |stick: &Stick| stick.read(|root| root.sub("master").snapshot() + &root.sub("docviewer").snapshot());
    let time = |stick: &Stick| {
        let manifest = stick.read(|root| root.text(".toolmaster/manifest.json"));
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        manifest["times"]["master"].as_i64().unwrap()
    };
    let before = (data(&stick), time(&stick));
    done(export(&server, &stick).clock("+60"));
    assert_eq!(data(&stick), before.0);
    assert!(time(&stick) > before.1, "a terminal sees that the stick was here again");
    let dry = done(export(&server, &stick).flag("--dry-run"));
    assert_eq!(dry.plan(), [""; 0]);
}

#[test]
fn what_the_server_does_not_have_is_deleted_and_odd_things_are_left_or_replaced() {
    let (server, stick) = (filled_server(), dist_stick(32));
    stick.edit(|root| {
        root.sub("master").file("old.csv", "x", ago(60)).file("olddir/deep/x.csv", "x", ago(60)).file(
            "Thumbs.db",
            "t",
            0,
        );
        root.sub("master").dir("a.csv").file("sub", "a file where a directory belongs", ago(60));
        root.sub("master").link("b.csv", "/etc/passwd");
    });
    done(export(&server, &stick));
    stick.read(|root| {
        assert_eq!(
            root.sub("master")
                .files()
                .into_iter()
                .filter(|(name, _)| name != "Thumbs.db")
                .collect::<std::collections::BTreeMap<_, _>>(),
            sample_master()
        );
        assert!(!root.has("master/olddir"));
        assert!(root.has("master/Thumbs.db"), "what a PC left is not ours to delete");
    });
    assert!(!std::fs::read_to_string("/etc/passwd").unwrap().contains("b1"));
}

#[test]
fn skipped_datasets_stay_as_they_are() {
    let (server, stick) = (filled_server(), dist_stick(32));
    done(export(&server, &stick));
    server.master().file("a.csv", "a2", ago(60));
    server.docviewer().file("plan.pdf", "p2", ago(60));
    done(export(&server, &stick).flag("--skip-doc"));
    stick.read(|root| {
        assert_eq!(root.text("master/a.csv"), "a2");
        assert_eq!(root.text("docviewer/plan.pdf"), "p1");
    });
    done(export(&server, &stick).flag("--skip-master"));
    assert_equal(&server, &stick);
    export(&server, &stick).flag("--skip-master").flag("--skip-doc").finish().ended(64);
}

#[test]
fn a_missing_or_empty_source_never_empties_a_stick() {
    let (server, stick) = (filled_server(), dist_stick(32));
    done(export(&server, &stick));
    server.tree().remove("docviewer");
    server.master().file("a.csv", "a2", ago(60));
    let run = export(&server, &stick).fails(3);
    assert!(run.stderr.contains("docviewer: missing on the server, but not on the stick"), "{run}");
    assert_eq!(stick.read(|root| root.text("master/a.csv")), "a2", "the other one is done");
    server.master().file("a.csv", "a1", ago(50));
    done(export(&server, &stick).flag("--skip-doc"));
    server.tree().remove("master").dir("master");
    export(&server, &stick).fails(3);
    server.tree().remove("master");
    export(&server, &stick).fails(3);
    stick.read(|root| {
        assert_eq!(root.sub("master").files(), sample_master());
        assert_eq!(root.sub("docviewer").files(), files([("plan.pdf", "p1")]));
    });
}

#[test]
fn a_dry_run_changes_nothing() {
    let (server, stick) = (filled_server(), dist_stick(32));
    let before = (stick.bytes(), server.tree().snapshot_of_inodes());
    let run = done(export(&server, &stick).flag("--dry-run"));
    assert_eq!(run.plan().len(), 4, "{run}");
    assert!(stick.bytes() == before.0);
    assert_eq!(server.tree().snapshot_of_inodes(), before.1);
}

#[test]
fn what_was_silently_altered_is_written_again() {
    let (server, stick) = (filled_server(), dist_stick(32));
    done(export(&server, &stick));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "XX", ago(3600));
    });
    let run = done(export(&server, &stick));
    assert!(run.stderr.contains("rotten on the stick, to be written again: a.csv"), "{run}");
    assert_equal(&server, &stick);
    done(export(&server, &stick).flag("--checksum"));
    assert_equal(&server, &stick);
}

#[test]
fn a_wrong_role_or_label_is_refused() {
    let server = filled_server();
    let role = Stick::labelled("TM-DIST", 16);
    export(&server, &role).fails(2).says("validation failed for");
    let label = dist_stick(16);
    export(&server, &label).var("USB_DIST_LABEL", "OTHER").fails(2).says("validation failed for");
    assert!(std::fs::read_to_string(server.path("logs/usb_guard.log")).unwrap().contains("validation failed for"));
}

#[test]
fn with_room_for_two_generations_the_old_one_stands_until_the_new_one_is_there() {
    let (server, stick) = (filled_server(), dist_stick(64));
    done(export(&server, &stick));
    add_many(&server.master(), 1500);
    let mut run = export(&server, &stick).start();
    let place = stop_in_write_back(&mut run, &stick);
    assert!(!place.join("master/many").exists(), "it is written aside");
    assert!(std::fs::read_to_string(place.join(".toolmaster/manifest.json")).unwrap().contains("\"complete\""));
    run.signal(Signal::KILL);
    run.reap();
    done(export(&server, &stick));
    assert_equal(&server, &stick);
}

/// `mib` MiB of file that do not compress to holes.
fn big(seed: u8, mib: usize) -> Vec<u8> {
    (0..mib << 20).map(|place| seed.wrapping_add((place / 4096) as u8)).collect()
}

#[test]
fn without_room_for_two_it_is_done_in_place_under_the_mark() {
    // Nine files of 2 MiB each need a file's room beside them, two of 9 MiB do not even have that.
    for (count, mib) in [(9, 2), (2, 9)] {
        let (server, stick) = (filled_server(), dist_stick(32));
        for number in 0..count {
            server.docviewer().file(format!("{number}.pdf"), big(number, mib), ago(500));
        }
        done(export(&server, &stick));
        for number in 0..count {
            server.docviewer().file(format!("{number}.pdf"), big(100 + number, mib), ago(400));
        }
        let mut run = export(&server, &stick).start();
        run.until("it is marked", || {
            stick.mountpoint().is_some_and(|place| {
                let manifest = std::fs::read_to_string(place.join(".toolmaster/manifest.json"));
                manifest.is_ok_and(|text| text.contains("incomplete"))
            })
        });
        run.signal(Signal::KILL);
        run.reap();
        done(export(&server, &stick));
        assert_equal(&server, &stick);
    }
}

#[test]
fn a_stick_that_can_not_hold_it_is_left_as_it_was() {
    let (server, stick) = (filled_server(), dist_stick(16));
    done(export(&server, &stick));
    server.docviewer().file("huge.pdf", big(1, 40), ago(60));
    let run = export(&server, &stick).fails(1);
    assert!(run.stderr.contains("bytes needed") && run.stderr.contains("bytes free"), "{run}");
    stick.read(|root| assert_eq!(root.sub("docviewer").files(), files([("plan.pdf", "p1")])));
}

#[test]
fn what_is_deleted_makes_room_if_there_is_none() {
    let (server, stick) = (filled_server(), dist_stick(32));
    server.docviewer().file("old.pdf", big(1, 20), ago(500));
    done(export(&server, &stick));
    server.docviewer().remove("old.pdf").file("new.pdf", big(2, 20), ago(400));
    done(export(&server, &stick));
    assert_equal(&server, &stick);
}

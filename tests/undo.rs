//! `undo` on the server: the list, the difference, putting back, acknowledging, retention (SPEC 6).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::undo::{content, killed_at, latest, list, looks, undo};
use common::{DAY, Server, Stick, Tree, ago, files, in_step, sample_master};
use serde_json::Value;

/// In step, then the stick brought an edited, an added and a deleted file. The server had the sample before.
fn taken_in() -> (Server, Stick) {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "wrong", ago(60)).file("new.csv", "n", ago(60)).remove("sub/c.csv");
    });
    server.run(&stick).clock("-600").done().outcome("master", "stick wins");
    (server, stick)
}

#[test]
fn the_list_says_when_where_what_and_how_much() {
    let server = Server::new();
    assert!(looks(&server, &[]).stdout.contains("keeps nothing"));
    assert_eq!(looks(&server, &["--json"]).stdout, "[]\n");
    assert!(!server.path("undo").exists(), "looking makes nothing");

    let (server, stick) = taken_in();
    server.docviewer().file("plan.pdf", "p2", ago(50)).meta(ago(50));
    server.run(&stick).clock("-300").done().outcome("docviewer", "server wins");
    let runs = list(&server);
    let names: Vec<_> = runs.iter().map(|run| (&run["side"], &run["dataset"])).collect();
    assert_eq!(names[..2], [(&"stick".into(), &"docviewer".into()), (&"server".into(), &"master".into())]);
    let counts = |run: &Value| ["replaced", "added", "deleted"].map(|key| run[key].as_u64().unwrap());
    assert_eq!((counts(&runs[0]), counts(&runs[1])), ([1, 0, 0], [1, 1, 1]));
    assert_eq!((runs[1]["label"].as_str(), runs[1]["lost"].as_bool()), (Some("TM-INGEST"), Some(false)));

    let text = looks(&server, &["list"]).stdout;
    assert_eq!(text, looks(&server, &[]).stdout);
    let line = text.lines().nth(1).unwrap();
    for word in [runs[1]["when"].as_str().unwrap(), "server", "master", "1 replaced, 1 added, 1 deleted", "TM-INGEST"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(line.ends_with(runs[1]["uuid"].as_str().unwrap()));
}

#[test]
fn the_difference_is_shown_a_line_a_file() {
    let (server, _stick) = taken_in();
    let before = server.tree().snapshot_of_inodes();
    let when = latest(&server);
    let expected = "replace  master/a.csv (2 bytes)\ndelete   master/new.csv\nadd      master/sub/c.csv (2 bytes)\n";
    assert_eq!(looks(&server, &["show", &when]).stdout, expected);
    assert_eq!(looks(&server, &["show", "latest", "--dataset", "master"]).stdout, expected);
    undo(&server, &["show", "latest", "--dataset", "drawings"]).fails(64);
    assert_eq!(server.tree().snapshot_of_inodes(), before, "looking changes nothing");
}

#[test]
fn what_was_put_back_is_what_there_was_and_the_stick_follows() {
    let (server, stick) = in_step();
    server.master().file("empty/inner/deep.csv", "d", ago(400)).meta(ago(400));
    server.run(&stick).clock("-900").done().outcome("master", "server wins");
    let before = content(&server.master());
    let docviewer = server.docviewer().snapshot();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "wrong", ago(60)).remove("empty").file("empty", "a file now", ago(60));
    });
    server.run(&stick).clock("-600").done().outcome("master", "stick wins");
    let taken = server.master().updated_at();

    let run = undo(&server, &["put", &latest(&server)]).done();
    run.outcome("master", "put back").says("kept in undo/ as");
    assert_eq!(content(&server.master()), before);
    assert_eq!(server.docviewer().snapshot(), docviewer);
    assert!(server.master().updated_at() > taken.max(ago(0)), "newer than all on record");
    assert_eq!(run.job["datasets"]["master"]["side"], "server");
    assert_eq!(list(&server)[0]["job"], "undo");
    assert!(list(&server).iter().all(|run| run["lost"] == false));

    server.run(&stick).done().outcome("master", "server wins").never_says("had been changed too");
    assert_eq!(stick.read(|root| root.sub("master").files()), server.master().files());
    server.run(&stick).done().says("master: nothing to do");
}

#[test]
fn an_undo_is_undone() {
    let (server, stick) = taken_in();
    let taken = server.master().files();
    undo(&server, &["put", "latest"]).done();
    assert_eq!(server.master().files(), sample_master());
    undo(&server, &["put", "latest"]).done();
    assert_eq!(server.master().files(), taken);
    server.run(&stick).done().says("master: nothing to do");
    undo(&server, &["put", "latest"]).done();
    assert_eq!(server.master().files(), sample_master());
    undo(&server, &["put", &latest(&server)]).done();
    let again = undo(&server, &["put", list(&server)[1]["when"].as_str().unwrap()]).done();
    again.says("nothing to do");
}

#[test]
fn what_is_kept_shares_nothing_with_what_is_live() {
    use std::os::unix::fs::MetadataExt;
    let (server, _stick) = taken_in();
    let when = latest(&server);
    undo(&server, &["put", &when]).done();
    let kept = server.tree().sub("undo").sub(&when).sub("master");
    let ino = |tree: &Tree, name: &str| tree.path(name).metadata().unwrap().ino();
    assert_eq!(kept.files(), files([("a.csv", "a1"), ("sub/c.csv", "c1")]));
    // Writing to the live file must not change what is kept.
    assert_ne!(ino(&kept, "a.csv"), ino(&server.master(), "a.csv"));
}

#[test]
fn edits_on_the_server_since_are_kept_and_marked() {
    let (server, stick) = taken_in();
    let when = latest(&server);
    server.master().file("a.csv", "edited", ago(30));
    let run = undo(&server, &["put", &when]).done();
    run.warns_of(&format!("1 file(s) were edited since {when}"));
    assert_eq!(server.master().files(), sample_master());
    let own = latest(&server);
    assert_eq!(server.tree().sub("undo").sub(&own).sub("master").text("a.csv"), "edited");
    assert!(looks(&server, &[]).stdout.lines().next().unwrap().ends_with("LOST EDITS, not acknowledged"));
    server.run(&stick).done().outcome("master", "server wins");

    undo(&server, &["acknowledge", &own, "--dataset", "docviewer"]).fails(3);
    let run = undo(&server, &["acknowledge", &own]).finish();
    run.ended(0).says(&format!("master: the lost edits of {own} are acknowledged"));
    assert_eq!(run.job["datasets"]["master"]["outcome"], "acknowledged");
    assert!(looks(&server, &[]).stdout.contains("lost edits, acknowledged"));
    undo(&server, &["acknowledge", "all"]).finish().ended(0).says("there are no lost edits to acknowledge");
}

#[test]
fn an_unknown_run_is_answered_with_those_that_there_are() {
    let (server, _stick) = taken_in();
    let data = server.data();
    for verb in ["show", "put", "acknowledge"] {
        let run = undo(&server, &[verb, "2020-01-01_000000"]).fails(3);
        assert!(run.stderr.contains(&latest(&server)), "{run}");
        undo(&server, &[verb, "../master"]).fails(3);
    }
    undo(&server, &["put"]).fails(64);
    undo(&server, &["put", "latest", "--device", "/dev/null"]).fails(64);
    assert_eq!(server.data(), data);
    let empty = Server::new();
    undo(&empty, &["show", "latest"]).fails(3);
}

#[test]
fn a_dry_run_changes_not_one_inode() {
    let (server, _stick) = taken_in();
    let before = server.tree().snapshot_of_inodes();
    let run = undo(&server, &["put", "latest", "--dry-run"]).done();
    let plan = [
        "master: copy to server: a.csv (2 bytes)",
        "master: delete on server: new.csv",
        "master: copy to server: sub/c.csv (2 bytes)",
    ];
    assert_eq!(run.plan(), plan);
    let to = server.path("../to");
    undo(&server, &["put", "latest", "--dry-run", "--to", to.to_str().unwrap()]).done();
    assert!(!to.exists());
    undo(&server, &["put", "2020-01-01_000000", "--dry-run"]).fails(3);
    assert_eq!(server.tree().snapshot_of_inodes(), before);
}

#[test]
fn nothing_is_put_back_only_with_force() {
    let (server, stick) = in_step();
    let data = server.data();
    undo(&server, &["put", "latest"]).fails(2);
    assert_eq!(server.data(), data);
    undo(&server, &["put", "latest", "--dataset", "master", "--force"]).done();
    assert_eq!(server.master().files(), files([]));
    assert_eq!(server.docviewer().files(), files([("plan.pdf", "p1")]));
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().files(), sample_master());
}

#[test]
fn a_copy_goes_into_a_new_or_empty_directory() {
    let (server, _stick) = taken_in();
    let before = server.data();
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("copy");
    let to = to.to_str().unwrap();
    undo(&server, &["put", "latest", "--to", to]).done();
    let copy = Tree::at(to);
    assert_eq!(copy.sub("master").files(), files([("a.csv", "a1"), ("sub/c.csv", "c1")]), "what the run replaced");
    let kept = server.tree().sub("undo").sub(latest(&server)).sub("master");
    assert_eq!(content(&copy.sub("master")), content(&kept));
    assert_eq!(copy.sub("master").text("meta.json"), kept.text("meta.json"));
    assert_eq!(fs::read_dir(to).unwrap().count(), 1);

    undo(&server, &["put", "latest", "--to", to]).fails(2);
    for own in ["master/x", "undo/x", "docviewer"] {
        undo(&server, &["put", "latest", "--to", server.path(own).to_str().unwrap()]).fails(2);
        assert!(!server.path("master/x").exists());
    }
    undo(&server, &["put", "latest", "--to", "/nowhere/at/all"]).fails(1);
    undo(&server, &["put", "latest", "--to", to, "--device", "/dev/null"]).fails(64);
    let empty = place.path().join("empty");
    fs::create_dir(&empty).unwrap();
    undo(&server, &["put", "latest", "--to", empty.to_str().unwrap()]).done();
    assert_eq!((server.data(), list(&server).len()), (before, 3), "no run of its own");
}

/// Lets a run look as if it were that old.
fn age(server: &Server, when: &str, days: i64) {
    let path = server.path("undo").join(when).join("master.json");
    let mut part: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    part["unix"] = ago(days * DAY).into();
    fs::write(&path, part.to_string()).unwrap();
}

#[test]
fn three_generations_stay_and_older_lost_edits_until_they_were_seen() {
    let (server, stick) = in_step();
    let names = |server: &Server| -> Vec<String> {
        let of_master = list(server).into_iter().filter(|run| run["dataset"] == "master");
        of_master.map(|run| run["when"].as_str().unwrap().to_owned()).collect()
    };
    let first = names(&server)[0].clone();
    age(&server, &first, 20);
    // The second one: both sides were edited, so the server's edit is lost.
    server.master().file("b.csv", "edited here", ago(3000)).meta(ago(3000));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited there", ago(2000)).meta(ago(2000));
    });
    server.run(&stick).clock("-1900").done().outcome("master", "stick wins").says("had been changed too");
    let lost = names(&server)[0].clone();
    age(&server, &lost, 18);
    for number in 1..=2 {
        stick.edit(|root| {
            root.sub("master").file("a.csv", format!("edit {number}"), ago(1000 - number));
        });
        server.run(&stick).clock("-800").done();
    }
    let runs = names(&server);
    assert_eq!(runs.len(), 3, "the first was older than 14 days and the fourth of its side");
    assert!(!runs.contains(&first) && runs.contains(&lost));

    undo(&server, &["put", &runs[0]]).done();
    assert!(names(&server).contains(&lost), "a lost edit stays until it is acknowledged");
    let young = names(&server)[2].clone();
    undo(&server, &["acknowledge", "all"]).finish().ended(0);
    undo(&server, &["put", "latest"]).done();
    assert!(!names(&server).contains(&lost));
    assert!(names(&server).contains(&young), "the fourth, but younger than 14 days");
    assert_eq!(names(&server).len(), 4);
}

#[test]
fn a_run_killed_at_any_step_leaves_old_or_new_and_the_next_one_finishes() {
    let (server, stick) = taken_in();
    let taken = server.master().files();
    for call in ["fsync,syncfs,renameat2", "linkat,mkdirat"] {
        let mut steps = 0;
        loop {
            let when = latest(&server);
            let old = server.master().files();
            let new = if old == taken { sample_master() } else { taken.clone() };
            assert_ne!(old, new);
            let killed = killed_at(&server, call, steps + 1, &["put", &when]);
            let left = server.master().files();
            assert!(left == old || left == new, "a mixture\n{left:?}");
            // The next run clears up, and puts back what is not yet.
            let run = undo(&server, &["put", &when]).done();
            assert_eq!(server.master().files(), new, "{run}");
            assert!(list(&server).iter().all(|run| run["done"] == true && run["lost"] == false));
            if !killed {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 5, "{call}: {steps}");
    }
    server.run(&stick).done();
    assert_eq!(stick.read(|root| root.sub("master").files()), server.master().files());
}

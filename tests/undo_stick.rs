//! `undo` on sticks: what a run replaced on a stick is put back there, and what the next ingest makes of it (SPEC 6).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::undo::{content, killed_at, latest, list, looks, undo};
use common::{Server, Stick, Tree, ago, data_on, files, in_step, kept};

/// In step, then both sides were edited, and the server's was the newer: the stick's edit of `a.csv` lost.
fn brought_up_to_date() -> (Server, Stick) {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "own", ago(1000)).file("own.csv", "o", ago(1000)).remove("sub/c.csv");
    });
    server.master().file("b.csv", "server", ago(900)).meta(ago(900));
    server.run(&stick).clock("-600").done().outcome("master", "server wins");
    (server, stick)
}

fn own() -> std::collections::BTreeMap<String, String> {
    files([("a.csv", "own"), ("b.csv", "b1"), ("own.csv", "o")])
}

fn on(stick: &Stick) -> std::collections::BTreeMap<String, String> {
    stick.read(|root| root.sub("master").files())
}

fn put(server: &Server, stick: &Stick, when: &str) {
    undo(server, &["put", when, "--device", stick.device()]).done().outcome("master", "put back");
}

/// What the stick's own manifest says is what is on it.
fn assert_manifest_is_true(stick: &Stick) {
    stick.read(|root| {
        let manifest: serde_json::Value = serde_json::from_str(&root.text(".toolmaster/manifest.json")).unwrap();
        assert_eq!(manifest["state"], "complete");
        let entries = manifest["files"].as_array().unwrap();
        let listed: Vec<(&str, u64)> =
            entries.iter().filter_map(|e| Some((e["path"].as_str()?, e["size"].as_u64()?))).collect();
        let mut there = Vec::new();
        for dataset in ["docviewer", "master"] {
            let files = root.sub(dataset).files();
            there.extend(files.iter().map(|(name, text)| (format!("{dataset}/{name}"), text.len() as u64)));
        }
        let there: Vec<_> = there.iter().map(|(name, size)| (name.as_str(), *size)).collect();
        assert_eq!(listed, there);
    });
}

/// The paper on the stick names what an undo replaced over an edit.
#[test]
fn what_loses_against_an_undo_is_named_on_the_stick() {
    let (server, stick) = brought_up_to_date();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited since", ago(60));
    });
    let run = undo(&server, &["put", "latest", "--device", stick.device(), "--force"]).done();
    assert_eq!(run.job["datasets"]["master"]["lost_names"][0], "a.csv", "{run}");
    let receipt = stick.read(|root| root.text("RESULT.txt"));
    assert!(receipt.lines().any(|line| line.trim() == "a.csv"), "{receipt}");
}

#[test]
fn a_stick_gets_its_own_data_back_and_the_next_ingest_takes_them() {
    let (server, stick) = brought_up_to_date();
    let kept = content(&server.tree().sub("undo").sub(latest(&server)).sub("master"));
    let before = server.data();
    let run = undo(&server, &["put", "latest", "--device", stick.device()]).done();
    run.outcome("master", "put back").says("its next ingest takes it");
    assert_eq!(run.job["datasets"]["master"]["side"], "stick");
    assert_eq!((run.job["label"].as_str(), run.job["device"].as_str()), (Some("TM-INGEST"), Some(stick.device())));
    assert_eq!(server.data(), before, "the server's data stay");
    assert_eq!(stick.read(|root| content(&root.sub("master"))), kept);
    assert!(stick.read(|root| root.sub("master").updated_at()) > server.master().updated_at());
    assert!(!list(&server)[0]["lost"].as_bool().unwrap(), "the server's data were nobody's edit");

    server.run(&stick).done().outcome("master", "stick wins").never_says("had been changed too");
    assert_eq!(server.master().files(), own());
    server.run(&stick).done().says("master: nothing to do");
    assert_manifest_is_true(&stick);
}

#[test]
fn if_the_server_was_edited_meanwhile_the_newer_one_still_wins() {
    let (server, stick) = brought_up_to_date();
    put(&server, &stick, "latest");
    server.master().file("a.csv", "later", ago(-1)).meta(ago(-3600));
    server.run(&stick).done().outcome("master", "server wins");
    assert_eq!(kept(&server, "stick", "master").unwrap().0.files(), own());

    put(&server, &stick, "latest");
    server.master().file("a.csv", "forgotten meta", ago(-2));
    let run = server.run(&stick).done();
    run.outcome("master", "stick wins").warns_of("had been changed too");
    let (tree, lost) = kept(&server, "server", "master").unwrap();
    assert_eq!((tree.text("a.csv").as_str(), lost), ("forgotten meta", true));
}

#[test]
fn an_undo_on_a_stick_is_undone() {
    let (server, stick) = brought_up_to_date();
    let up_to_date = on(&stick);
    put(&server, &stick, "latest");
    put(&server, &stick, "latest");
    assert_eq!(on(&stick), up_to_date);
    server.run(&stick).done().says("master: nothing to do");
    put(&server, &stick, "latest");
    assert_eq!(on(&stick), own());
    undo(&server, &["put", &latest(&server), "--device", stick.device(), "--dry-run"]).done();
    server.run(&stick).done().outcome("master", "stick wins");
    assert!(list(&server)[..3].iter().all(|run| run["lost"] == false));
}

#[test]
fn a_stick_that_was_edited_since_is_refused_unless_forced() {
    let (server, stick) = brought_up_to_date();
    let when = latest(&server);
    stick.edit(|root| {
        root.sub("master").file("b.csv", "newly edited", ago(60)).file("added.csv", "", ago(60)).remove("a.csv");
    });
    let (before, runs) = (data_on(&stick), list(&server).len());
    let run = undo(&server, &["put", &when, "--device", stick.device()]).fails(2);
    for named in ["deleted on the stick: a.csv", "added on the stick: added.csv", "edited on the stick: b.csv"] {
        run.warns_of(named);
    }
    undo(&server, &["put", &when, "--device", stick.device(), "--dry-run"]).fails(2);
    assert_eq!((data_on(&stick), list(&server).len()), (before, runs));

    let run = undo(&server, &["put", &when, "--device", stick.device(), "--force"]).done();
    run.warns_of("kept in undo/");
    let mut expected = own();
    expected.insert("added.csv".to_owned(), String::new());
    assert_eq!(on(&stick), expected, "what the run had not brought stays");
    let (tree, lost) = kept(&server, "stick", "master").unwrap();
    assert_eq!((tree.text("b.csv").as_str(), lost), ("newly edited", true));
    assert!(looks(&server, &[]).stdout.lines().next().unwrap().ends_with("LOST EDITS, not acknowledged"));
    // It is the program's own data that are replaced now.
    put(&server, &stick, "latest");
    assert_eq!(on(&stick)["b.csv"], "newly edited");
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().files()["b.csv"], "newly edited");
}

#[test]
fn only_the_stick_that_it_was_on_is_taken() {
    let (server, stick) = brought_up_to_date();
    let other = Stick::ingest();
    let before = other.bytes();
    let run = undo(&server, &["put", "latest", "--device", other.device()]).fails(2);
    run.says(&format!("validation failed for {}", other.device()));
    undo(&server, &["show", "latest", "--device", other.device()]).fails(2);
    assert!(other.bytes() == before);
    let locked = stick.write_protected();
    undo(&server, &["put", "latest", "--device", locked.device()]).fails(2);
    undo(&server, &["put", "latest", "--device", "/dev/null"]).fails(64);
    // Without its role it is nobody's.
    stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    undo(&server, &["put", "latest", "--device", stick.device()]).fails(2);
    undo(&server, &["put", "latest"]).var("USB_INGEST_LABEL", "TM-NOT-THERE").fails(3);
}

#[test]
fn a_stick_is_found_by_its_label() {
    // Loop devices are the whole machine's: nobody else's test may have a stick of that label.
    let label = format!("TM-U{}", std::process::id());
    let (server, stick, label) = (Server::new(), Stick::labelled(&label, 32), label.as_str());
    stick.edit(|root| common::sample(root, ago(7200)));
    let ingest = |clock: &'static str| server.run(&stick).var("USB_INGEST_LABEL", label).clock(clock);
    ingest("-3600").done();
    server.master().file("a.csv", "a2", ago(900)).meta(ago(900));
    ingest("-600").done().outcome("master", "server wins");
    let shown = undo(&server, &["show", "latest"]).var("USB_INGEST_LABEL", label).finish();
    assert_eq!(shown.ended(0).stdout, "replace  master/a.csv (2 bytes)\n");
    let run = undo(&server, &["put", "latest"]).var("USB_INGEST_LABEL", label).done();
    assert_eq!((on(&stick)["a.csv"].as_str(), run.job["device"].as_str()), ("a1", Some(stick.device())));
}

#[test]
fn a_dry_run_changes_neither_side() {
    let (server, stick) = brought_up_to_date();
    let before = (server.tree().snapshot_of_inodes(), stick.bytes());
    let run = undo(&server, &["put", "latest", "--device", stick.device(), "--dry-run"]).done();
    let plan = [
        "master: copy to stick: a.csv (3 bytes)",
        "master: copy to stick: b.csv (2 bytes)",
        "master: copy to stick: own.csv (1 bytes)",
        "master: delete on stick: sub/c.csv",
    ];
    assert_eq!(run.plan(), plan);
    let shown = looks(&server, &["show", "latest", "--device", stick.device()]).stdout;
    let lines =
        ["replace  master/a.csv (3", "replace  master/b.csv (2", "add      master/own.csv (1", "delete   master/sub"];
    assert!(shown.lines().zip(lines).all(|(line, start)| line.starts_with(start)), "{shown}");
    assert_eq!(server.tree().snapshot_of_inodes(), before.0);
    assert!(stick.bytes() == before.1);
}

/// One run that replaced the server's master and the stick's docviewer.
fn both_ways() -> (Server, Stick) {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "from the stick", ago(900));
    });
    server.docviewer().file("plan.pdf", "from the server", ago(900)).meta(ago(900));
    let run = server.run(&stick).clock("-600").done();
    run.outcome("master", "stick wins").outcome("docviewer", "server wins");
    (server, stick)
}

#[test]
fn a_run_that_went_both_ways_is_undone_on_both_sides() {
    let (server, stick) = both_ways();
    let when = latest(&server);
    undo(&server, &["put", &when, "--device", stick.device()]).done();
    assert_eq!(server.master().files()["a.csv"], "a1");
    assert_eq!(stick.read(|root| root.sub("docviewer").files())["plan.pdf"], "p1");
    let runs = list(&server);
    assert_eq!(runs[0]["when"], runs[1]["when"], "one run of its own");
    let run = server.run(&stick).done();
    run.outcome("master", "server wins").outcome("docviewer", "stick wins");
    assert_eq!((on(&stick)["a.csv"].as_str(), server.docviewer().text("plan.pdf").as_str()), ("a1", "p1"));
}

#[test]
fn without_the_stick_the_servers_side_is_put_back_all_the_same() {
    let (server, _stick) = both_ways();
    let run = undo(&server, &["put", "latest"]).var("USB_INGEST_LABEL", "TM-NOT-THERE").fails(3);
    run.outcome("master", "put back");
    assert_eq!(server.master().files()["a.csv"], "a1");
}

#[test]
fn a_stick_pulled_while_it_was_written_to_is_one_or_the_other_after_the_next_run() {
    let (mut both, mut steps) = ([0, 0], 0);
    loop {
        let (server, stick) = brought_up_to_date();
        let (when, old) = (latest(&server), on(&stick));
        steps += 1;
        let arguments = ["put", &when, "--device", stick.device()];
        let killed = killed_at(&server, "syncfs,renameat,umount2", steps, &arguments);
        let server_before = server.master().files();
        assert_eq!(server_before, old, "the server's data stay");
        if steps % 2 == 0 {
            // The same command again finishes it, or finds it done.
            undo(&server, &arguments).done();
            assert_eq!(on(&stick), own());
        }
        server.run(&stick).done().never_says("had been changed too");
        let left = on(&stick);
        assert!(left == old || (left == own()), "a mixture: {left:?}");
        assert!(steps % 2 == 1 || left == own());
        both[usize::from(left == old)] += 1;
        assert_eq!(server.master().files(), left);
        server.run(&stick).done().says("master: nothing to do");
        assert_manifest_is_true(&stick);
        if left == old {
            undo(&server, &["put", &when, "--device", stick.device()]).done();
            assert_eq!(on(&stick), own(), "what was kept is still there");
        }
        if !killed {
            break;
        }
    }
    assert!(both[0] > 0 && both[1] > 0 && steps > 8, "{both:?} {steps}");
}

#[test]
fn a_power_cut_after_success_loses_nothing() {
    let server = Server::on_disk(64);
    let stick = common::stick_in_step(&server);
    server.master().file("a.csv", "a2", ago(900)).meta(ago(900));
    server.run(&stick).clock("-600").done().outcome("master", "server wins");
    put(&server, &stick, "latest");
    let (rebooted, copy): (Server, Stick) = (server.after_power_cut(), stick.copy());
    assert_eq!(copy.read(|root: &Tree| root.sub("master").text("a.csv")), "a1");
    rebooted.run(&copy).done().outcome("master", "stick wins");
    assert_eq!(rebooted.master().text("a.csv"), "a1");
}

/// What it says that stays is an edit like any other, also for the run after one that was cut off.
#[test]
fn an_edit_that_stays_under_an_undo_that_is_cut_off_arrives_at_the_server() {
    for step in 1.. {
        let (server, stick) = brought_up_to_date();
        stick.edit(|root| {
            root.sub("master").file("added.csv", "a person's", ago(60)).file("sub/new.csv", "theirs too", ago(60));
        });
        let when = latest(&server);
        let put = ["put", &when, "--device", stick.device(), "--force"];
        let killed = killed_at(&server, "renameat,fsync,syncfs,unlinkat", step, &put);
        let run = server.run(&stick).done();
        for found in [server.master().files(), on(&stick)] {
            let both = [found.get("added.csv"), found.get("sub/new.csv")].map(|text| text.map(String::as_str));
            assert_eq!(both, [Some("a person's"), Some("theirs too")], "killed at {step}: {run}");
        }
        if !killed {
            assert!(step > 12, "{step}");
            return;
        }
    }
}

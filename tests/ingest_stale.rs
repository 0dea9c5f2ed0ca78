//! SPEC 6: sticks that are behind: clones, images of the day before, sticks whose manifest says nothing. Each is compared with what it
//! held itself, or with nothing, never with what another stick of its UUID held.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::lost::{
    another_stick, assert_live_or_told, assert_lost, assert_nothing_lost, assert_told_on, edit, on_stick,
};
use common::undo::undo;
use common::{DAY, Server, Stick, Tree, ago, files, in_step, sample, stick_in_step};

const MANIFEST: &str = ".toolmaster/manifest.json";

/// A stick that has what it had an hour ago, with the same UUID as one that brought a new `a.csv` meanwhile.
fn one_generation_back() -> (Server, Stick, Stick) {
    let (server, stick) = in_step();
    let clone = stick.copy();
    edit(&stick, "a.csv", "edited");
    server.run(&stick).clock("-600").done().outcome("master", "stick wins");
    (server, stick, clone)
}

#[test]
fn a_clone_that_nobody_edited_is_brought_up_to_date() {
    let (server, stick, clone) = one_generation_back();
    let run = server.run(&clone).done();
    run.outcome("master", "server wins").outcome("docviewer", "nothing");
    assert_eq!(server.master().text("a.csv"), "edited");
    assert_eq!(on_stick(&clone, "master"), server.master().files());
    assert_nothing_lost(&server, &run);
    let run = server.run(&stick).done();
    run.outcome("master", "nothing");
    assert_nothing_lost(&server, &run);
}

#[test]
fn a_clone_edited_on_its_own_wins_over_a_server_that_has_what_the_clone_had() {
    let (server, stick) = in_step();
    let clone = stick.copy();
    server.run(&stick).clock("-600").done().outcome("master", "nothing");
    edit(&clone, "b.csv", "of the clone");
    let run = server.run(&clone).done();
    run.outcome("master", "stick wins");
    assert_eq!(server.master().text("b.csv"), "of the clone");
    assert_nothing_lost(&server, &run);
    server.run(&stick).done().outcome("master", "server wins");
    assert_eq!(on_stick(&stick, "master"), server.master().files());
}

#[test]
fn a_clone_edited_on_its_own_against_a_newer_server_loses_and_its_edit_is_told() {
    let (server, _stick, clone) = one_generation_back();
    edit(&clone, "b.csv", "of the clone");
    let run = server.run(&clone).done();
    run.outcome("master", "server wins");
    assert_eq!(server.master().files(), files([("a.csv", "edited"), ("b.csv", "b1"), ("sub/c.csv", "c1")]));
    assert_lost(&server, &run, "master", &[("b.csv", "of the clone")]);
    assert_told_on(&clone, &run, "master", &["b.csv"]);
}

#[test]
fn a_clone_with_a_newer_meta_wins_and_what_the_server_had_meanwhile_is_told() {
    let (server, _stick, clone) = one_generation_back();
    clone.edit(|root| {
        root.sub("master").file("b.csv", "of the clone", ago(60)).meta(ago(30));
    });
    let run = server.run(&clone).done();
    run.outcome("master", "stick wins");
    assert_eq!(server.master().files(), files([("a.csv", "a1"), ("b.csv", "of the clone"), ("sub/c.csv", "c1")]));
    assert_lost(&server, &run, "master", &[("a.csv", "edited")]);
    assert_told_on(&clone, &run, "master", &["a.csv"]);
}

#[test]
fn an_image_of_the_day_before_does_not_bring_yesterday_back() {
    let server = Server::new();
    let stick = Stick::ingest();
    stick.edit(|root| sample(root, ago(3 * DAY)));
    server.run(&stick).clock("-2d").done();
    let image = stick.copy();
    let other = another_stick(&server);
    edit(&other, "a.csv", "of the other");
    server.run(&other).clock("-600").done().outcome("master", "stick wins");
    server.run(&stick).clock("-500").done().outcome("master", "server wins");

    let run = server.run(&image).done();
    run.outcome("master", "server wins");
    assert_eq!(on_stick(&image, "master"), server.master().files());
    assert_nothing_lost(&server, &run);
    let run = server.run(&other).done();
    run.outcome("master", "nothing");
    assert_eq!(server.master().text("a.csv"), "of the other");
    assert_nothing_lost(&server, &run);
}

/// What can be the matter with a manifest.
fn spoilt(root: &Tree, how: &str) {
    let text = root.text(MANIFEST);
    root.remove(MANIFEST);
    match how {
        "gone" => {}
        "torn" => {
            root.file(MANIFEST, &text[..text.len() / 2], ago(60));
        }
        "of another server" => {
            let (_other_server, other) = in_step();
            root.file(MANIFEST, other.read(|root| root.text(MANIFEST)), ago(60));
        }
        "with a line of its own" => {
            root.file(MANIFEST, text + "\n", ago(60));
        }
        _ => unreachable!(),
    }
}

#[test]
fn a_known_uuid_without_a_manifest_on_record_has_no_common_state() {
    for how in ["gone", "torn", "of another server", "with a line of its own"] {
        let (server, stick) = in_step();
        stick.edit(|root| {
            spoilt(root, how);
            root.sub("master").file("a.csv", "of last month", ago(30 * DAY)).meta(ago(30 * DAY));
        });
        let run = server.run(&stick).done();
        run.outcome("master", "server wins");
        assert_eq!(server.master().text("a.csv"), "a1", "{how}");
        assert_eq!(on_stick(&stick, "master"), server.master().files(), "{how}");
        assert_nothing_lost(&server, &run);
    }
}

#[test]
fn a_hand_edit_with_an_old_time_is_told_when_a_stick_without_its_manifest_wins() {
    for how in ["gone", "torn"] {
        let (server, stick) = in_step();
        // Saved under a time older than the stick's file: the server alone knows that it was edited.
        server.master().file("b.csv", "by hand", ago(30 * DAY));
        stick.edit(|root| {
            spoilt(root, how);
            root.sub("master").file("a.csv", "edited", ago(60)).meta(ago(30));
        });
        let run = server.run(&stick).done();
        run.outcome("master", "stick wins");
        assert_lost(&server, &run, "master", &[("b.csv", "by hand")]);
        assert_told_on(&stick, &run, "master", &["b.csv"]);
    }
}

#[test]
fn seventy_manifests_later_a_clone_neither_wins_nor_raises_an_alarm() {
    let (server, stick) = in_step();
    let clone = stick.copy();
    for number in 0..70 {
        let text = format!("price {number}");
        stick.edit(|root| {
            root.sub("master").file("a.csv", text, ago(1000 - number));
        });
        server.run(&stick).clock(&format!("-{}", 900 - number)).done().outcome("master", "stick wins");
    }
    let run = server.run(&clone).done();
    run.outcome("master", "server wins");
    assert_eq!(server.master().text("a.csv"), "price 69");
    assert_eq!(on_stick(&clone, "master"), server.master().files());
    assert_nothing_lost(&server, &run);
}

#[test]
fn a_hand_edit_on_one_server_is_not_lost_untold_when_the_stick_comes_from_another() {
    for (changed_there, time) in [(true, ago(50)), (true, ago(30 * DAY)), (false, ago(50)), (false, ago(30 * DAY))] {
        let (first, stick) = in_step();
        let second = Server::new();
        sample(&second.tree(), ago(1000));
        if changed_there {
            second.master().file("a.csv", "of the second", ago(500)).meta(ago(500));
        }
        second.run(&stick).clock("-400").done();
        first.master().file("b.csv", "by hand", time);
        let run = first.run(&stick).done();
        assert_live_or_told(&first, "master", "b.csv", "by hand");
        if changed_there {
            assert_live_or_told(&first, "master", "a.csv", "of the second");
        }
        assert_eq!(on_stick(&stick, "master"), first.master().files(), "{run}");
    }
}

/// What happens to the server meanwhile, and how.
type Change = (&'static str, fn(&Server));

#[test]
fn a_stick_that_nobody_edited_never_changes_a_server_that_it_was_in_step_with() {
    let changes: [Change; 6] = [
        ("a hand edit", |server| {
            server.master().file("a.csv", "by hand", ago(60));
        }),
        ("a hand edit with an old time", |server| {
            server.master().file("a.csv", "old", ago(99 * DAY));
        }),
        ("a deletion", |server| {
            server.master().remove("a.csv").remove("sub");
        }),
        ("an older meta.json", |server| {
            server.master().file("a.csv", "by hand", ago(60)).meta(ago(99 * DAY));
        }),
        ("no meta.json", |server| {
            server.master().file("a.csv", "by hand", ago(99 * DAY)).remove("meta.json");
        }),
        ("an undo", |server| {
            let stick = another_stick(server);
            edit(&stick, "a.csv", "edited");
            server.run(&stick).clock("-600").done().outcome("master", "stick wins");
            undo(server, &["put", "latest"]).clock("-500").done();
        }),
    ];
    for (what, change) in changes {
        let server = Server::new();
        let stick = stick_in_step(&server);
        let clone = stick.copy();
        change(&server);
        let before = server.master().files();
        for stick in [&stick, &clone, &stick] {
            let run = server.run(stick).done();
            assert_eq!(server.master().files(), before, "{what}\n{run}");
            assert_eq!(on_stick(stick, "master"), before, "{what}\n{run}");
            assert_nothing_lost(&server, &run);
        }
    }
}

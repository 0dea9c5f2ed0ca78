//! SPEC 6: which side wins, per dataset, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{DAY, Server, Stick, ago, assert_unchanged, files, in_step, kept, sample, sample_master};

/// Sides that met an hour ago; then the stick's `a.csv` was edited, meta.json forgotten.
fn edited_on_the_stick() -> (Server, Stick) {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    (server, stick)
}

#[test]
fn an_edit_on_the_stick_wins_though_its_meta_was_forgotten() {
    let (server, stick) = edited_on_the_stick();
    server.run(&stick).done().outcome("master", "stick wins").outcome("docviewer", "nothing");
    assert_eq!(server.master().text("a.csv"), "edited");
    assert_eq!(server.master().files().len(), 3);
    assert!(!kept(&server, "server", "master").unwrap().1, "the server had not changed");
}

#[test]
fn an_edit_in_the_same_second_and_of_the_same_size_is_seen() {
    let (server, stick) = (Server::new(), Stick::ingest());
    let write = |text: &str, nanoseconds: i64| {
        stick.edit(|root| {
            root.sub("master").file("a.csv", text, ago(7200));
            common::tree::set_mtime_exactly(&root.path("master/a.csv"), ago(7200), nanoseconds);
        });
    };
    write("a1", 300_000_000);
    server.run(&stick).clock("-3600").done();
    write("a2", 500_000_000);
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().text("a.csv"), "a2");
}

#[test]
fn an_edit_on_the_server_reaches_the_stick_though_its_meta_was_forgotten() {
    let (server, stick) = in_step();
    server.master().file("a.csv", "server", ago(60));
    server.run(&stick).done().outcome("master", "server wins");
    assert_eq!(stick.read(|root| root.text("master/a.csv")), "server");
}

#[test]
fn a_deletion_on_the_stick_reaches_the_server() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.remove("master/b.csv");
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().files(), files([("a.csv", "a1"), ("sub/c.csv", "c1")]));
}

#[test]
fn a_deletion_on_the_server_reaches_the_stick() {
    let (server, stick) = in_step();
    server.master().remove("sub");
    server.run(&stick).done().outcome("master", "server wins");
    assert_eq!(stick.read(|root| root.sub("master").files()), files([("a.csv", "a1"), ("b.csv", "b1")]));
    assert!(!stick.read(|root| root.has("master/sub")));
}

#[test]
fn when_both_changed_the_newer_meta_wins_and_the_loser_is_kept() {
    let (server, stick) = edited_on_the_stick();
    server.master().file("b.csv", "server", ago(50));
    stick.edit(|root| {
        root.sub("master").meta(ago(40));
    });
    let run = server.run(&stick).done();
    run.outcome("master", "stick wins").says("both");
    assert_eq!(server.master().files(), files([("a.csv", "edited"), ("b.csv", "b1"), ("sub/c.csv", "c1")]));
    let (old, lost) = kept(&server, "server", "master").expect("the server's old master is in undo/");
    assert_eq!(old.text("b.csv"), "server");
    assert!(lost);
}

#[test]
fn when_both_changed_and_the_server_is_newer_the_sticks_edit_is_kept() {
    let (server, stick) = edited_on_the_stick();
    server.master().file("b.csv", "server", ago(50)).meta(ago(40));
    let run = server.run(&stick).done();
    run.outcome("master", "server wins").says("both");
    let expected = files([("a.csv", "a1"), ("b.csv", "server"), ("sub/c.csv", "c1")]);
    assert_eq!(stick.read(|root| root.sub("master").files()), expected);
    let (old, lost) = kept(&server, "stick", "master").expect("the stick's old master is in undo/");
    assert_eq!(old.text("a.csv"), "edited");
    assert!(lost);
}

#[test]
fn when_both_changed_and_neither_meta_the_server_wins_and_the_sticks_edit_is_kept() {
    let (server, stick) = edited_on_the_stick();
    server.master().file("b.csv", "server", ago(50));
    server.run(&stick).done().outcome("master", "server wins").says("both");
    let (old, lost) = kept(&server, "stick", "master").expect("the stick's old master is in undo/");
    assert_eq!(old.text("a.csv"), "edited");
    assert!(lost);
}

#[test]
fn the_same_edit_on_both_sides_is_nothing_to_do() {
    let (server, stick) = edited_on_the_stick();
    server.master().file("a.csv", "edited", ago(50));
    server.run(&stick).done().outcome("master", "nothing");
}

#[test]
fn an_edit_on_the_stick_wins_over_an_unchanged_server_with_a_newer_meta() {
    let (server, stick) = edited_on_the_stick();
    server.master().meta(ago(10));
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().text("a.csv"), "edited");
}

#[test]
fn a_tie_goes_to_the_server() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| sample(root, ago(100)));
    sample(&server.tree(), ago(100));
    server.master().file("a.csv", "server", ago(100));
    server.run(&stick).done().outcome("master", "server wins");
    assert_eq!(stick.read(|root| root.text("master/a.csv")), "server");
}

#[test]
fn at_a_first_meeting_the_newer_meta_wins() {
    for (stick_meta, server_meta, winner) in [(ago(50), ago(60), "stick"), (ago(60), ago(50), "server")] {
        let (server, stick) = (Server::new(), Stick::ingest());
        stick.edit(|root| {
            root.sub("master").file("a.csv", "stick", ago(200)).file("only-stick", "", ago(200)).meta(stick_meta);
        });
        server.master().file("a.csv", "server", ago(10)).file("only-server", "", ago(10)).meta(server_meta);
        server.run(&stick).done().outcome("master", &format!("{winner} wins")).outcome("docviewer", "missing");
        let expected = files([("a.csv", winner), (&format!("only-{winner}"), "")]);
        assert_eq!(server.master().files(), expected);
        assert_eq!(stick.read(|root| root.sub("master").files()), expected);
    }
}

#[test]
fn one_datasets_new_time_does_not_hold_up_the_other() {
    let (server, stick) = (Server::new(), Stick::ingest());
    sample(&server.tree(), ago(60));
    stick.edit(|root| {
        sample(root, ago(60));
        root.sub("master").file("a.csv", "stick", ago(50)).meta(ago(50));
        root.sub("docviewer").file("plan.pdf", "stick", ago(50)).meta(ago(50));
    });
    server.run(&stick).done().outcome("master", "stick wins").outcome("docviewer", "stick wins");
}

#[test]
fn a_stick_of_the_original_is_accepted_and_called_unchecked() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| sample(root, ago(100)));
    let run = server.run(&stick).done();
    assert!(run.log.contains("check"), "the log says that it could not be checked\n{run}");
    assert_eq!(server.master().files(), sample_master());
}

#[test]
fn a_second_stick_does_not_undo_the_firsts_work() {
    let (server, stale) = in_step();
    let fresh = Stick::ingest();
    fresh.edit(|root| {
        sample(root, ago(100));
        root.sub("master").file("a.csv", "newer", ago(100));
    });
    server.run(&fresh).clock("-50").done().outcome("master", "stick wins");
    server.run(&stale).done().outcome("master", "server wins");
    assert_eq!(stale.read(|root| root.text("master/a.csv")), "newer");
}

#[test]
fn another_servers_base_does_not_count() {
    let (_first, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    let second = Server::new();
    sample(&second.tree(), ago(100));
    second.run(&stick).done().outcome("master", "server wins");
    assert_eq!(stick.read(|root| root.text("master/a.csv")), "a1");
}

#[test]
fn force_lets_the_stick_win_though_it_is_older() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| sample(root, ago(500)));
    server.master().file("a.csv", "server", ago(10)).meta(ago(10));
    server.run(&stick).flag("--force").done().outcome("master", "stick wins");
    assert_eq!(server.master().files(), sample_master());
}

#[test]
fn force_overrides_what_rule_3_would_refuse() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").remove("a.csv").remove("b.csv");
    });
    stick.debugfs("set_super_value state 0");
    server.run(&stick).fails(2);
    server.run(&stick).flag("--force").done().outcome("master", "stick wins");
    assert_eq!(server.master().files(), files([("sub/c.csv", "c1")]));
}

#[test]
fn force_invents_no_dataset_that_the_stick_does_not_have() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.remove("docviewer");
    });
    server.run(&stick).flag("--force").done().outcome("docviewer", "missing");
    assert_eq!(server.docviewer().files(), files([("plan.pdf", "p1")]));
}

#[test]
fn equal_contents_change_no_file_whatever_the_metas_say() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| sample(root, ago(100)));
    sample(&server.tree(), ago(300));
    let of_data = |text: String| text.lines().filter(|line| !line.contains("meta.json")).collect::<Vec<_>>().join("\n");
    let before = of_data(server.data());
    let stick_before = of_data(stick.read(|root| root.sub("master").snapshot()));
    server.run(&stick).done().outcome("master", "nothing").outcome("docviewer", "nothing");
    assert_eq!(of_data(server.data()), before);
    assert_eq!(of_data(stick.read(|root| root.sub("master").snapshot())), stick_before);
}

#[test]
fn a_dataset_missing_on_the_stick_changes_nothing() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.remove("docviewer").sub("master").file("a.csv", "edited", ago(60));
    });
    let run = server.run(&stick).done();
    run.outcome("docviewer", "missing").outcome("master", "stick wins").warns_of("docviewer");
    assert_eq!(server.docviewer().files(), files([("plan.pdf", "p1")]));
    assert!(!stick.read(|root| root.has("docviewer")));
}

#[test]
fn a_stick_with_neither_dataset_is_nothing_to_work_from() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.remove("docviewer").remove("master");
    });
    let before = server.data();
    server.run(&stick).fails(3);
    assert_unchanged(&before, &server.data());
}

#[test]
fn an_empty_dataset_on_the_stick_is_refused_unless_forced() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        // meta.json and PC droppings do not count, however new they are.
        root.remove("master").sub("master").meta(ago(10)).file("Thumbs.db", "x", ago(10)).dir("empty");
    });
    let before = server.data();
    server.run(&stick).fails(2).outcome("master", "refused").outcome("docviewer", "nothing");
    assert_unchanged(&before, &server.data());
    server.run(&stick).flag("--force").done();
    assert_eq!(server.master().files(), files([]));
    assert_eq!(kept(&server, "server", "master").unwrap().0.files(), sample_master());
}

#[test]
fn an_empty_or_missing_dataset_on_the_server_is_filled_from_the_stick() {
    for missing in [true, false] {
        let (server, stick) = (Server::new(), Stick::ingest());
        stick.edit(|root| sample(root, ago(1000)));
        if !missing {
            server.master().meta(ago(10)).file("desktop.ini", "x", ago(10));
        }
        server.run(&stick).done().outcome("master", "stick wins");
        assert_eq!(server.master().has("desktop.ini"), !missing, "it stays where it is");
        if !missing {
            server.master().remove("desktop.ini");
        }
        assert_eq!(server.master().files(), sample_master());
    }
}

#[test]
fn two_empty_sides_are_nothing_to_do() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| {
        root.dir("master").dir("docviewer");
    });
    server.run(&stick).done();
    assert_eq!(server.master().files(), files([]));
}

#[test]
fn a_stick_marked_dirty_is_refused_unless_its_meta_is_newer() {
    let (server, stick) = edited_on_the_stick();
    stick.debugfs("set_super_value state 0");
    let before = server.data();
    server.run(&stick).fails(2).outcome("master", "refused");
    assert_unchanged(&before, &server.data());
    stick.edit(|root| {
        root.sub("master").meta(ago(30));
    });
    stick.debugfs("set_super_value state 0");
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().text("a.csv"), "edited");
}

#[test]
fn a_stick_pulled_from_a_pc_brings_its_edit_if_its_meta_is_newer() {
    let (server, stick) = in_step();
    let pulled = stick.edit_and_pull(|root| {
        root.sub("master").file("a.csv", "edited", ago(60)).meta(ago(60));
    });
    server.run(&pulled).done().outcome("master", "stick wins");
    assert_eq!(server.master().text("a.csv"), "edited");
}

#[test]
fn a_stick_pulled_from_a_pc_is_refused_if_its_meta_was_forgotten() {
    let (server, stick) = in_step();
    let pulled = stick.edit_and_pull(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    let before = server.data();
    server.run(&pulled).fails(2).outcome("master", "refused");
    assert_unchanged(&before, &server.data());
}

#[test]
fn a_file_that_cannot_be_read_is_a_reason_to_refuse() {
    let (server, stick) = edited_on_the_stick();
    stick.debugfs("set_inode_field master/b.csv block[0] 0xdeadbeef");
    let before = server.data();
    server.run(&stick).fails(2).outcome("master", "refused").says("b.csv");
    assert_unchanged(&before, &server.data());
    stick.edit(|root| {
        root.sub("master").meta(ago(30));
    });
    server.run(&stick).fails(2).outcome("master", "refused").says("b.csv");
    assert_unchanged(&before, &server.data());
    // Consent makes the stick win, but nothing makes the file readable.
    server.run(&stick).flag("--force").fails(1).outcome("master", "failed").says("b.csv");
    assert_unchanged(&before, &server.data());
}

#[test]
fn when_one_dataset_is_refused_the_other_is_still_done() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.remove("master").dir("master").sub("docviewer").file("plan.pdf", "p2", ago(60));
    });
    server.run(&stick).fails(2).outcome("master", "refused").outcome("docviewer", "stick wins");
    assert_eq!(server.master().files(), sample_master());
    assert_eq!(server.docviewer().text("plan.pdf"), "p2");
}

#[test]
fn a_stick_that_stayed_away_for_months_is_still_compared_with_its_base() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| sample(root, ago(101 * DAY)));
    server.run(&stick).clock("-100d").done();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    server.run(&stick).done().outcome("master", "stick wins");
}

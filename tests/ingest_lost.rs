//! SPEC 6: content that the losing side had and the winner never had is kept, and everybody is told: the log, the stick, undo, status.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::lost::{
    another_stick, assert_live_or_told, assert_lost, assert_nothing_lost, assert_told_on, edit, flagged, is_lost,
    kept_texts, on_stick, pull_in_write_back, status_of_lost,
};
use common::undo::{list, undo};
use common::{DAY, Server, Stick, Tree, add_many, ago, files, in_step};

/// Two people edited sticks of one base; the second one's edits lost.
fn second_of_two() -> (Server, Stick, common::Run) {
    let (server, one) = in_step();
    let two = another_stick(&server);
    edit(&one, "a.csv", "of the first");
    edit(&two, "b.csv", "of the second");
    edit(&two, "new/from the second.csv", "new");
    server.run(&one).clock("-600").done().outcome("master", "stick wins");
    let run = server.run(&two).done();
    run.outcome("master", "server wins").outcome("docviewer", "nothing");
    (server, two, run)
}

const OF_THE_SECOND: [(&str, &str); 2] = [("b.csv", "of the second"), ("new/from the second.csv", "new")];

#[test]
fn the_second_of_two_sticks_is_told_by_name_what_did_not_arrive() {
    let (server, two, run) = second_of_two();
    let now = files([("a.csv", "of the first"), ("b.csv", "b1"), ("sub/c.csv", "c1")]);
    assert_eq!(server.master().files(), now);
    assert_eq!(on_stick(&two, "master"), now);
    assert_lost(&server, &run, "master", &OF_THE_SECOND);
    assert_told_on(&two, &run, "master", &["b.csv", "from the second.csv"]);
    let lost = &run.job["datasets"]["docviewer"]["lost"];
    assert!(lost.is_null() || lost == 0, "{run}");
    let kept = flagged(&server);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!((kept[0]["side"].as_str(), kept[0]["dataset"].as_str()), (Some("stick"), Some("master")));
    assert_eq!(status_of_lost(&server).0, "bad");
}

#[test]
fn a_hand_edit_on_the_server_that_loses_is_told_on_the_stick_that_won() {
    let (server, stick) = in_step();
    server.master().file("b.csv", "by hand", ago(50)).file("sub/new.csv", "by hand too", ago(50));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(40)).meta(ago(30));
    });
    let run = server.run(&stick).done();
    run.outcome("master", "stick wins");
    assert_eq!(server.master().files(), files([("a.csv", "edited"), ("b.csv", "b1"), ("sub/c.csv", "c1")]));
    assert_lost(&server, &run, "master", &[("b.csv", "by hand"), ("sub/new.csv", "by hand too")]);
    assert_told_on(&stick, &run, "master", &["b.csv", "new.csv"]);
    assert_eq!(status_of_lost(&server).0, "bad");
}

#[test]
fn of_one_file_that_both_edited_the_losers_is_kept_whoever_wins() {
    for winner in ["stick", "server"] {
        let (server, stick) = in_step();
        server.master().file("a.csv", "by hand", ago(50));
        edit(&stick, "a.csv", "of the stick");
        stick.edit(|root| {
            root.sub("master").meta(if winner == "stick" { ago(30) } else { ago(30 * DAY) });
        });
        let run = server.run(&stick).done();
        run.outcome("master", &format!("{winner} wins"));
        let (live, lost) = if winner == "stick" { ("of the stick", "by hand") } else { ("by hand", "of the stick") };
        assert_eq!(server.master().text("a.csv"), live);
        assert_lost(&server, &run, "master", &[("a.csv", lost)]);
        assert_told_on(&stick, &run, "master", &["a.csv"]);
    }
}

#[test]
fn a_loser_that_only_deleted_loses_no_content() {
    let (server, stick) = in_step();
    server.master().remove("b.csv");
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(40)).meta(ago(30));
    });
    let run = server.run(&stick).done();
    run.outcome("master", "stick wins");
    assert_eq!(server.master().text("b.csv"), "b1");
    assert_nothing_lost(&server, &run);
}

#[test]
fn the_same_content_on_both_sides_is_not_lost() {
    let (server, stick) = in_step();
    // Both took the same new file; the server alone gave another one a new name.
    server.master().file("new.csv", "same", ago(50)).remove("b.csv").file("b2.csv", "b1", ago(50)).meta(ago(99));
    stick.edit(|root| {
        root.sub("master").file("new.csv", "same", ago(40)).file("a.csv", "edited", ago(40)).meta(ago(30));
    });
    let run = server.run(&stick).done();
    run.outcome("master", "stick wins");
    assert_nothing_lost(&server, &run);
}

/// Changes a file and keeps its size and time, as some programs do.
fn edit_behind_its_time(tree: &Tree, name: &str, text: &str) {
    use std::os::unix::fs::MetadataExt;
    let before = tree.path(name).metadata().unwrap();
    assert_eq!(before.size(), text.len() as u64);
    tree.file(name, text, ago(60));
    common::tree::set_mtime_exactly(&tree.path(name), before.mtime(), before.mtime_nsec());
}

#[test]
fn an_edit_of_the_same_size_and_time_is_an_edit_with_checksum() {
    let (server, stick) = in_step();
    stick.edit(|root| edit_behind_its_time(&root.sub("master"), "a.csv", "A1"));
    server.run(&stick).flag("--dry-run").flag("--checksum").done();
    let run = server.run(&stick).flag("--checksum").done();
    run.outcome("master", "stick wins");
    assert_eq!(server.master().text("a.csv"), "A1");
    assert_nothing_lost(&server, &run);

    let (server, stick) = in_step();
    edit_behind_its_time(&server.master(), "a.csv", "A1");
    let run = server.run(&stick).flag("--checksum").done();
    run.outcome("master", "server wins");
    assert_eq!(stick.read(|root| root.text("master/a.csv")), "A1");
    assert_nothing_lost(&server, &run);
}

#[test]
fn with_checksum_two_edits_of_the_same_size_and_time_are_a_conflict() {
    let (server, stick) = in_step();
    edit_behind_its_time(&server.master(), "b.csv", "B1");
    stick.edit(|root| {
        edit_behind_its_time(&root.sub("master"), "a.csv", "A1");
        root.sub("master").meta(ago(30));
    });
    let run = server.run(&stick).flag("--checksum").done();
    run.outcome("master", "stick wins");
    assert_eq!(server.master().files(), files([("a.csv", "A1"), ("b.csv", "b1"), ("sub/c.csv", "c1")]));
    assert_lost(&server, &run, "master", &[("b.csv", "B1")]);
}

/// The server's `b.csv` and many new files were on their way to the stick when it was pulled.
fn cut_off() -> (Server, Stick) {
    let (server, stick) = in_step();
    server.master().file("b.csv", "server", ago(60));
    add_many(&server.master(), 600);
    let pulled = pull_in_write_back(&server, &stick);
    (server, pulled)
}

#[test]
fn after_a_cut_off_write_back_a_conflict_is_still_a_conflict() {
    for newer in [true, false] {
        let (server, stick) = cut_off();
        stick.edit(|root| {
            root.sub("master").file("b.csv", "on the PC", ago(30));
            if newer {
                root.sub("master").meta(ago(20));
            }
        });
        let run = server.run(&stick).done();
        // The server's newer version never was on the stick as the PC's person saw it: whoever wins, the other is told of.
        for text in ["server", "on the PC"] {
            assert_live_or_told(&server, "master", "b.csv", text);
        }
        assert_eq!(flagged(&server).len(), 1, "{run}");
        assert_eq!(status_of_lost(&server).0, "bad", "{run}");
        for number in 0..600 {
            let name = format!("many/{number}.csv");
            assert_live_or_told(&server, "master", &name, &format!("{number}").repeat(50));
        }
        assert_eq!(on_stick(&stick, "master"), server.master().files());
    }
}

#[test]
fn a_cut_off_write_back_that_nobody_edited_is_finished_without_an_alarm() {
    let (server, stick) = cut_off();
    stick.edit(|_| {});
    let run = server.run(&stick).done();
    assert_eq!(server.master().text("b.csv"), "server");
    assert_eq!(on_stick(&stick, "master"), server.master().files());
    assert_nothing_lost(&server, &run);
}

#[test]
fn a_day_of_sticks_that_go_round_raises_no_false_alarm() {
    let (server, one) = in_step();
    let (two, three) = (another_stick(&server), another_stick(&server));
    let mut hours = 0;
    let mut round = |sticks: &[&Stick]| {
        for stick in sticks {
            hours += 1;
            let run = server.run(stick).clock(&format!("+{hours}h")).done();
            assert_nothing_lost(&server, &run);
            assert_eq!(on_stick(stick, "master"), server.master().files(), "{run}");
        }
    };
    edit(&one, "a.csv", "first");
    round(&[&one, &two, &three, &one]);
    edit(&two, "b.csv", "second");
    round(&[&two, &two, &one]);
    server.master().remove("sub").file("hand.csv", "by hand", ago(10));
    round(&[&one, &two, &three]);
    one.edit(|root| {
        root.sub("master").remove("hand.csv");
    });
    round(&[&one, &three, &two]);
    assert_eq!(server.master().files(), files([("a.csv", "first"), ("b.csv", "second")]));
}

#[test]
fn once_acknowledged_the_status_is_as_before() {
    let (server, stick) = in_step();
    server.run(&stick).done();
    let (verdict, bad_before) = status_of_lost(&server);
    assert_ne!(verdict, "bad");
    server.master().file("b.csv", "by hand", ago(50));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(40)).meta(ago(30));
    });
    let run = server.run(&stick).done();
    assert_lost(&server, &run, "master", &[("b.csv", "by hand")]);
    let (verdict, bad) = status_of_lost(&server);
    assert_eq!((verdict.as_str(), bad.len()), ("bad", bad_before.len() + 1), "{bad:?} {bad_before:?}");
    // A later run that is good says nothing about what was lost.
    server.run(&stick).done();
    assert_eq!(status_of_lost(&server).0, "bad");
    undo(&server, &["acknowledge", "all"]).finish().ended(0);
    assert_eq!(flagged(&server).len(), 0);
    assert!(list(&server).iter().any(is_lost), "it stays on record");
    let (verdict, bad) = status_of_lost(&server);
    assert_eq!((verdict.as_str(), bad), ("good", bad_before));
}

#[test]
fn lost_content_is_kept_until_somebody_has_seen_it() {
    let (server, stick) = in_step();
    server.master().file("b.csv", "by hand", ago(50));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(40)).meta(ago(30));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    let by_hand = "by hand".to_owned();
    let later = |month: i64| {
        stick.edit(|root| {
            root.sub("master").file("a.csv", format!("month {month}"), ago(30 - month));
        });
        server.run(&stick).clock(&format!("+{}d", month * 30)).done().outcome("master", "stick wins");
    };
    (1..6).for_each(later);
    assert!(kept_texts(&server, "master/b.csv").contains(&by_hand));
    assert_eq!(flagged(&server).len(), 1);
    undo(&server, &["acknowledge", "all"]).clock("+151d").finish().ended(0);
    (6..10).for_each(later);
    assert!(!kept_texts(&server, "master/b.csv").contains(&by_hand), "it is never given up");
}

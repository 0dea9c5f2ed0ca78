//! SPEC 6: doubtful sticks (pulled, emptied, zeroed, unreadable), and what is no reason for doubt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::lost::{assert_lost, assert_nothing_lost, on_stick};
use common::{DAY, Server, Stick, Tree, ago, assert_unchanged, in_step, noise};

/// Sides that met an hour ago over one large CSV and a small one, and a folder of drawings.
fn one_large_file() -> (Server, Stick) {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| {
        root.sub("master")
            .file("tools_202610.csv", noise(7, 50_000), ago(7200))
            .file("b.csv", "b1", ago(7200))
            .meta(ago(7200));
        for number in 0..5 {
            root.sub("docviewer").file(format!("drawings/{number}.pdf"), format!("drawing {number}"), ago(7200));
        }
        root.sub("docviewer").file("readme.txt", "r", ago(7200)).meta(ago(7200));
    });
    server.run(&stick).clock("-3600").done();
    (server, stick)
}

/// The stick is refused, in a dry run too, and neither side has changed.
fn assert_refused(server: &Server, stick: &Stick) {
    let before = server.data();
    server.run(stick).flag("--dry-run").fails(2);
    // Read after the dry run, which mounts a pulled stick without replaying its journal.
    let run = server.run(stick).fails(2);
    run.outcome("master", "refused");
    assert_unchanged(&before, &server.data());
    assert_nothing_lost(server, &run);
}

fn rename(tree: &Tree, from: &str, to: &str) {
    std::fs::rename(tree.path(from), tree.path(to)).unwrap();
}

#[test]
fn a_pulled_stick_stays_doubtful_until_a_pc_unmounts_it() {
    let (server, stick) = in_step();
    let pulled = stick.edit_and_pull(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    assert_refused(&server, &pulled);
    // The run's own unmounting proves nothing about what the PC had not written yet.
    assert_refused(&server, &pulled);
    pulled.edit(|root| assert_eq!(root.text("master/a.csv"), "edited"));
    let run = server.run(&pulled).done();
    run.outcome("master", "stick wins");
    assert_eq!(server.master().text("a.csv"), "edited");
    assert_nothing_lost(&server, &run);
}

#[test]
fn a_pulled_stick_that_nobody_changed_is_no_reason_to_refuse() {
    let (server, stick) = in_step();
    let pulled = stick.edit_and_pull(|root| {
        root.file("notes.txt", "beside the datasets", ago(60));
    });
    server.run(&pulled).done().outcome("master", "nothing").outcome("docviewer", "nothing");
    server.master().file("a.csv", "server", ago(50));
    let again = pulled.edit_and_pull(|root| {
        root.file("notes.txt", "once more", ago(40));
    });
    let run = server.run(&again).done();
    run.outcome("master", "server wins");
    assert_eq!(on_stick(&again, "master"), server.master().files());
    assert_nothing_lost(&server, &run);
}

#[test]
fn a_doubtful_stick_wins_only_with_a_meta_that_was_changed_and_is_newer() {
    let (server, stick) = in_step();
    let pulled = stick.edit_and_pull(|root| {
        root.sub("master").file("a.csv", "edited", ago(60)).meta(ago(30 * DAY));
    });
    assert_refused(&server, &pulled);
    let pulled = stick.edit_and_pull(|root| {
        root.sub("master").file("a.csv", "edited", ago(60)).meta(ago(30));
    });
    server.run(&pulled).done().outcome("master", "stick wins");
    assert_eq!(server.master().text("a.csv"), "edited");
}

#[test]
fn a_doubtful_stick_never_wins_by_a_newer_time_alone() {
    // Both changed; and no common state at all.
    for met in [true, false] {
        let (server, stick) = in_step();
        server.master().file("b.csv", "by hand", ago(50));
        let pulled = stick.edit_and_pull(|root| {
            root.sub("master").file("a.csv", "edited", ago(40)).meta(ago(30));
            if !met {
                root.remove(".toolmaster/manifest.json");
            }
        });
        assert_refused(&server, &pulled);
        assert_eq!(server.master().text("b.csv"), "by hand");
    }
}

#[test]
fn a_newer_server_wins_over_a_doubtful_stick_and_keeps_its_edit() {
    let (server, stick) = in_step();
    server.master().file("b.csv", "by hand", ago(50)).meta(ago(20));
    let pulled = stick.edit_and_pull(|root| {
        root.sub("master").file("a.csv", "edited", ago(40));
    });
    let run = server.run(&pulled).done();
    run.outcome("master", "server wins");
    assert_lost(&server, &run, "master", &[("a.csv", "edited")]);
}

#[test]
fn a_new_name_for_the_one_large_file_is_no_loss() {
    let (server, stick) = one_large_file();
    stick.edit(|root| rename(&root.sub("master"), "tools_202610.csv", "tools_202611.csv"));
    let run = server.run(&stick).done();
    run.outcome("master", "stick wins");
    assert_eq!(server.master().files(), on_stick(&stick, "master"));
    assert!(server.master().has("tools_202611.csv") && !server.master().has("tools_202610.csv"));
    assert_nothing_lost(&server, &run);
}

#[test]
fn a_new_name_for_a_folder_is_no_loss_even_by_case_alone() {
    for to in ["plans", "Drawings"] {
        let (server, stick) = one_large_file();
        stick.edit(|root| rename(&root.sub("docviewer"), "drawings", to));
        let run = server.run(&stick).done();
        run.outcome("docviewer", "stick wins");
        assert_eq!(server.docviewer().files(), on_stick(&stick, "docviewer"));
        assert!(server.docviewer().has(format!("{to}/3.pdf")) && !server.docviewer().has("drawings"));
        assert_nothing_lost(&server, &run);
    }
}

#[test]
fn names_that_a_mac_took_apart_are_no_loss() {
    let (composed, apart) = (
        ["\u{30ac}.csv", "\u{30d1}.csv", "\u{30c9}.csv"],
        ["\u{30ab}\u{3099}.csv", "\u{30cf}\u{309a}.csv", "\u{30c8}\u{3099}.csv"],
    );
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| {
        for (number, name) in composed.iter().enumerate() {
            root.sub("master").file(name, format!("content {number}"), ago(7200));
        }
    });
    server.run(&stick).clock("-3600").done();
    stick.edit(|root| {
        for (from, to) in composed.iter().zip(apart) {
            rename(&root.sub("master"), from, to);
        }
    });
    let run = server.run(&stick).done();
    assert_eq!(server.master().files().len(), 3, "{run}");
    assert_eq!(server.master().files(), on_stick(&stick, "master"));
    assert_nothing_lost(&server, &run);
}

#[test]
fn a_first_visit_with_all_files_renamed_is_no_loss() {
    let (server, stick) = one_large_file();
    stick.edit(|root| {
        root.remove(".toolmaster/manifest.json");
        rename(&root.sub("docviewer"), "drawings", "plans");
        root.sub("docviewer").meta(ago(30));
    });
    let run = server.run(&stick).done();
    run.outcome("docviewer", "stick wins");
    assert!(server.docviewer().has("plans/3.pdf"));
    assert_nothing_lost(&server, &run);
}

#[test]
fn files_of_the_right_size_with_nothing_but_zeros_are_doubtful() {
    let zero = |root: &Tree, numbers: std::ops::Range<usize>| {
        for number in numbers {
            root.sub("master").file(format!("{number}.csv"), vec![0; 90 + number], ago(60));
        }
    };
    let sides = || {
        let (server, stick) = (Server::new(), Stick::ingest());
        stick.edit(|root| {
            for number in 0..20 {
                root.sub("master").file(format!("{number}.csv"), vec![b'x'; 90 + number], ago(7200));
            }
            root.sub("master").meta(ago(7200));
        });
        server.run(&stick).clock("-3600").done();
        (server, stick)
    };
    for count in [20, 12] {
        let (server, stick) = sides();
        stick.edit(|root| zero(root, 0..count));
        assert_refused(&server, &stick);
    }
    // One of twenty may be what somebody wanted.
    let (server, stick) = sides();
    stick.edit(|root| zero(root, 3..4));
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().text("3.csv"), "\0".repeat(93));
}

#[test]
fn an_edited_file_that_cannot_be_read_is_refused_whatever_the_times_say() {
    for (met, newer) in [(true, false), (true, true), (false, true)] {
        let (server, stick) = in_step();
        stick.edit(|root| {
            root.sub("master").file("a.csv", "edited", ago(60));
            if newer {
                root.sub("master").meta(ago(30));
            }
            if !met {
                root.remove(".toolmaster/manifest.json");
            }
        });
        stick.debugfs("set_inode_field master/a.csv block[0] 0xdeadbeef");
        let before = server.data();
        server.run(&stick).flag("--dry-run").fails(2);
        server.run(&stick).fails(2).outcome("master", "refused").says("a.csv");
        assert_unchanged(&before, &server.data());
    }
}

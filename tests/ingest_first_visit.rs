//! SPEC 6: a stick without a common state against a server that has data: new, reformatted, half copied, or with a time that nobody can
//! believe; and the file by which a person without a keyboard says that the stick is meant to win.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::lost::{assert_lost, assert_nothing_lost, assert_told_on, kept_texts, on_stick};
use common::{DAY, Run, Server, Stick, Tree, ago, assert_unchanged, data_on, noise};

const DRAWINGS: usize = 200;

/// A server with 200 drawings, the last one saved yesterday.
fn full_server() -> Server {
    let server = Server::new();
    for number in 0..DRAWINGS {
        server.docviewer().file(format!("d{number}.pdf"), format!("drawing {number}"), ago(2 * DAY));
    }
    server.docviewer().meta(ago(DAY));
    server.master().file("m.csv", "m1", ago(2 * DAY)).meta(ago(DAY));
    server
}

/// A new stick whose folder for drawings somebody filled.
fn new_stick(fill: impl FnOnce(&Tree)) -> Stick {
    let stick = Stick::ingest();
    stick.edit(|root| fill(root.dir("docviewer").sub("docviewer").dir("")));
    stick
}

/// The first drawings as they are on the server, saved again just now.
fn some_drawings(docviewer: &Tree, numbers: std::ops::Range<usize>) {
    for number in numbers {
        docviewer.file(format!("d{number}.pdf"), format!("drawing {number}"), ago(60));
    }
}

/// The stick is refused in a dry run and in the run, the reason is told, and nothing has changed anywhere.
fn assert_refused(server: &Server, stick: &Stick) -> Run {
    let before = (server.data(), data_on(stick));
    server.run(stick).flag("--dry-run").fails(2);
    let run = server.run(stick).fails(2);
    run.outcome("docviewer", "refused");
    assert_unchanged(&before.0, &server.data());
    assert_unchanged(&before.1, &data_on(stick));
    assert!(run.job["error"].as_str().unwrap().contains("docviewer"), "{run}");
    let receipt = stick.read(|root| root.text("RESULT.txt"));
    assert!(receipt.lines().any(|line| line.contains("docviewer") && line.contains("断りました")), "{receipt}");
    assert!(!receipt.contains("--force"), "{receipt}");
    assert_nothing_lost(server, &run);
    run
}

/// The run names these files of `docviewer` as older versions, on the stick too, keeps them, and calls nothing lost.
fn assert_older(server: &Server, stick: &Stick, run: &Run, older: &[(&str, &str)]) {
    let said = &run.job["datasets"]["docviewer"];
    if older.is_empty() {
        assert!(said["older"].is_null(), "{run}");
    } else {
        assert_eq!(said["older"], older.len(), "{run}");
        let place = said["older_in"].as_str().unwrap();
        let kept = server.tree().sub(place).files();
        let receipt = stick.read(|root| root.text("RESULT.txt"));
        assert!(receipt.contains(place), "{receipt}");
        for (name, text) in older {
            assert_eq!(kept.get(*name).map(String::as_str), Some(*text), "{run}");
            assert!(receipt.lines().any(|line| line.trim() == *name), "{receipt}");
            run.says(name);
        }
    }
    assert_nothing_lost(server, run);
}

/// A PC whose clock was slow: what somebody wrote looks older than what the winner has.
#[test]
fn an_older_version_that_loses_is_named_and_is_no_alarm() {
    let server = full_server();
    let of_the_server: Vec<_> = (0..DRAWINGS).map(|number| format!("drawing {number}")).collect();
    let stick = new_stick(|docviewer| {
        some_drawings(docviewer, 0..DRAWINGS);
        docviewer.file("d7.pdf", "an hour of work", ago(3 * DAY)).meta(ago(2 * DAY));
    });
    let run = server.run(&stick).clock("-3000").done();
    run.outcome("docviewer", "server wins");
    assert_older(&server, &stick, &run, &[("d7.pdf", "an hour of work")]);
    assert_eq!(on_stick(&stick, "docviewer")["d7.pdf"], of_the_server[7]);

    // The other way round: the server has the older one.
    let stick = new_stick(|docviewer| {
        some_drawings(docviewer, 0..DRAWINGS);
        docviewer.file("d8.pdf", "newer", ago(60)).meta(ago(30));
    });
    let run = server.run(&stick).done();
    run.outcome("docviewer", "stick wins");
    assert_older(&server, &stick, &run, &[("d8.pdf", "drawing 8")]);
}

/// What the server itself once wrote to the stick is nobody's work.
#[test]
fn what_the_server_wrote_to_a_stick_without_a_manifest_is_not_named() {
    let server = full_server();
    let stick = new_stick(|docviewer| {
        some_drawings(docviewer, 0..DRAWINGS);
    });
    server.run(&stick).clock("-3000").done();
    server.docviewer().file("d9.pdf", "newer", ago(60)).meta(ago(30));
    stick.edit(|root| {
        root.remove(".toolmaster/manifest.json");
    });
    let run = server.run(&stick).done();
    run.outcome("docviewer", "server wins");
    assert_older(&server, &stick, &run, &[]);
}

#[test]
fn one_new_drawing_does_not_replace_two_hundred() {
    for meta in [false, true] {
        let server = full_server();
        let stick = new_stick(|docviewer| {
            docviewer.file("new.pdf", "new", ago(60));
            if meta {
                docviewer.meta(ago(30));
            }
        });
        let run = assert_refused(&server, &stick);
        run.says("half").outcome("master", "missing");
        server.run(&stick).flag("--force").done().outcome("docviewer", "stick wins");
        assert_eq!(server.docviewer().files().len(), 1);
    }
}

#[test]
fn droppings_alone_are_an_empty_dataset() {
    let server = full_server();
    let stick = new_stick(|docviewer| {
        for name in
            ["Thumbs.db", "desktop.ini", ".DS_Store", "._d1.pdf", "~$d1.xlsx", ".~lock.d1.ods#", "@eaDir/d1.pdf/x"]
        {
            docviewer.file(name, "left behind", ago(30));
        }
        docviewer.meta(ago(10));
    });
    assert_refused(&server, &stick).says("empty");
}

/// What is wrong with a stick, and how it is filled so.
type Half = (&'static str, fn(&Tree));

#[test]
fn a_half_copied_stick_is_refused_whichever_half_is_missing() {
    let halves: [Half; 4] = [
        ("less than half of the files", |docviewer| some_drawings(docviewer, 0..90)),
        ("most of them without a byte", |docviewer| {
            some_drawings(docviewer, 0..DRAWINGS);
            for number in 0..120 {
                docviewer.file(format!("d{number}.pdf"), "", ago(60));
            }
        }),
        ("most of them with zeros", |docviewer| {
            some_drawings(docviewer, 0..DRAWINGS);
            for number in 0..120 {
                docviewer.file(format!("d{number}.pdf"), vec![0; format!("drawing {number}").len()], ago(60));
            }
        }),
        ("the large file is missing", |docviewer| some_drawings(docviewer, 0..DRAWINGS)),
    ];
    for (what, fill) in halves {
        let server = full_server();
        if what.contains("large") {
            server.docviewer().file("assembly.pdf", noise(1, 100_000), ago(2 * DAY));
        }
        let stick = new_stick(|docviewer| {
            fill(docviewer);
            docviewer.meta(ago(30));
        });
        assert_refused(&server, &stick);
    }
}

#[test]
fn more_than_half_of_it_with_a_newer_time_wins_and_the_rest_is_told() {
    let server = full_server();
    let stick = new_stick(|docviewer| {
        some_drawings(docviewer, 0..197);
        docviewer.file("new.pdf", "new", ago(60)).meta(ago(30));
    });
    let run = server.run(&stick).done();
    run.outcome("docviewer", "stick wins");
    assert_eq!(server.docviewer().text("new.pdf"), "new");
    let gone = [("d197.pdf", "drawing 197"), ("d198.pdf", "drawing 198"), ("d199.pdf", "drawing 199")];
    assert_lost(&server, &run, "docviewer", &gone);
    assert_told_on(&stick, &run, "docviewer", &gone.map(|(name, _)| name));
}

#[test]
fn a_drawing_saved_last_week_on_a_new_stick_is_kept_and_its_carrier_told() {
    let server = full_server();
    let stick = new_stick(|docviewer| {
        docviewer.file("from-last-week.pdf", "a week old", ago(7 * DAY));
    });
    let before = server.docviewer().files();
    let run = server.run(&stick).done();
    run.outcome("docviewer", "server wins");
    assert_eq!(server.docviewer().files(), before);
    assert_eq!(on_stick(&stick, "docviewer"), before);
    assert_eq!(kept_texts(&server, "docviewer/from-last-week.pdf"), ["a week old"]);
    assert_lost(&server, &run, "docviewer", &[("from-last-week.pdf", "a week old")]);
    assert_told_on(&stick, &run, "docviewer", &["from-last-week.pdf"]);
}

#[test]
fn a_time_ahead_of_the_clock_is_called_not_believed() {
    let server = Server::new();
    server.master().file("a.csv", "server", ago(2 * DAY)).meta(ago(DAY));
    let stick = Stick::ingest();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "of the worker", ago(-3 * DAY)).meta(ago(-3 * DAY));
    });
    let run = server.run(&stick).done();
    run.outcome("master", "server wins").says("not believed");
    assert_lost(&server, &run, "master", &[("a.csv", "of the worker")]);
    assert_told_on(&stick, &run, "master", &["a.csv"]);
}

#[test]
fn a_time_that_is_only_a_files_is_called_so() {
    for time in [ago(60), ago(9 * DAY)] {
        let server = Server::new();
        server.master().file("a.csv", "server", ago(2 * DAY)).meta(ago(DAY));
        let stick = Stick::ingest();
        stick.edit(|root| {
            root.sub("master").file("a.csv", "of the worker", time);
        });
        server.run(&stick).done().says("mtime");
    }
}

/// The names in a stick's root that speak of replacing.
fn consent_on(stick: &Stick) -> Vec<String> {
    stick.read(|root| {
        let names = std::fs::read_dir(root.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.to_lowercase().starts_with("replace"));
        names.sort();
        names
    })
}

#[test]
fn a_file_called_replace_lets_the_stick_win_once() {
    for name in ["REPLACE", "replace.TXT", "Replace.txt", "replace", "REPLACE.txt"] {
        let server = full_server();
        let stick = new_stick(|docviewer| {
            docviewer.file("new.pdf", "new", ago(9 * DAY)).meta(ago(9 * DAY));
        });
        stick.edit(|root| {
            root.file(name, "", ago(60));
        });
        server.run(&stick).flag("--dry-run").done();
        assert_eq!(consent_on(&stick), [name], "a dry run uses nothing up");
        let run = server.run(&stick).done();
        run.outcome("docviewer", "stick wins");
        assert_eq!(server.docviewer().files().len(), 1, "{name}");
        assert_eq!(kept_texts(&server, "docviewer/d7.pdf"), ["drawing 7"]);
        assert_eq!(consent_on(&stick), ["REPLACE-done.txt"]);
        // What was consented to once is not consented to for ever.
        stick.edit(|root| {
            root.remove("docviewer").dir("docviewer");
        });
        server.run(&stick).fails(2).outcome("docviewer", "refused");
        assert_eq!(server.docviewer().files().len(), 1);
    }
}

#[test]
fn what_only_looks_like_consent_is_none() {
    for name in
        ["REPLACE-done.txt", "REPLACE.doc", "REPLACE.txt.bak", "docviewer/REPLACE.txt", "master/REPLACE", "REPLACE/x"]
    {
        let server = full_server();
        let stick = new_stick(|docviewer| {
            docviewer.file("new.pdf", "new", ago(60)).meta(ago(30));
        });
        stick.edit(|root| {
            root.file(name, "", ago(60));
        });
        let before = server.docviewer().snapshot();
        server.run(&stick).fails(2).outcome("docviewer", "refused");
        assert_unchanged(&before, &server.docviewer().snapshot());
        assert!(stick.read(|root| root.has(name)), "{name} is renamed though nothing was consented to");
    }
}

#[test]
fn consent_that_was_not_used_stays() {
    let server = full_server();
    let stick = Stick::ingest();
    stick.edit(|root| {
        root.file("REPLACE.txt", "", ago(60));
    });
    // Neither dataset is on the stick.
    server.run(&stick).fails(3);
    assert_eq!(consent_on(&stick), ["REPLACE.txt"]);
    stick.edit(|root| {
        root.sub("docviewer").file("new.pdf", "new", ago(9 * DAY));
    });
    server.run(&stick).done().outcome("docviewer", "stick wins");
    assert_eq!(consent_on(&stick), ["REPLACE-done.txt"]);
}

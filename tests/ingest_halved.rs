//! SPEC 6, rule 3: a stick from which much is gone does not win by its changes alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Server, Stick, Tree, ago, assert_unchanged};

/// Sides that met an hour ago over ten files of 100 bytes; then the stick was changed.
fn ten_files(change: impl FnOnce(&Tree)) -> (Server, Stick) {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| {
        let master = root.sub("master");
        for number in 0..10 {
            master.file(format!("{number}.csv"), "x".repeat(100), ago(7200));
        }
        master.meta(ago(7200));
    });
    server.run(&stick).clock("-3600").done();
    stick.edit(|root| change(&root.sub("master")));
    (server, stick)
}

fn assert_refused(server: &Server, stick: &Stick) {
    let before = server.data();
    server.run(stick).fails(2).outcome("master", "refused");
    assert_unchanged(&before, &server.data());
    // A newer meta.json says that it is meant.
    stick.edit(|root| {
        root.sub("master").meta(ago(30));
    });
    server.run(stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().files(), stick.read(|root| root.sub("master").files()));
}

#[test]
fn more_than_half_of_the_files_gone_is_refused() {
    let (server, stick) = ten_files(|master| {
        for number in 0..6 {
            master.remove(format!("{number}.csv"));
        }
    });
    assert_refused(&server, &stick);
}

#[test]
fn more_than_half_of_the_files_empty_is_refused() {
    let (server, stick) = ten_files(|master| {
        for number in 0..6 {
            master.file(format!("{number}.csv"), "", ago(60));
        }
    });
    assert_refused(&server, &stick);
}

#[test]
fn gone_and_empty_files_add_up() {
    let (server, stick) = ten_files(|master| {
        for number in 0..3 {
            master.remove(format!("{number}.csv"));
        }
        for number in 3..6 {
            master.file(format!("{number}.csv"), "", ago(60));
        }
    });
    assert_refused(&server, &stick);
}

#[test]
fn new_files_do_not_make_up_for_those_that_are_gone() {
    let (server, stick) = ten_files(|master| {
        for number in 0..6 {
            master.remove(format!("{number}.csv")).file(format!("new-{number}.csv"), "y".repeat(100), ago(60));
        }
    });
    assert_refused(&server, &stick);
}

#[test]
fn half_of_the_files_gone_is_an_edit() {
    let (server, stick) = ten_files(|master| {
        for number in 0..5 {
            master.remove(format!("{number}.csv"));
        }
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().files().len(), 5);
}

#[test]
fn more_than_half_of_the_bytes_gone_is_refused() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| {
        let master = root.sub("master");
        master.file("large.csv", "x".repeat(1000), ago(7200)).meta(ago(7200));
        for number in 0..5 {
            master.file(format!("{number}.csv"), "small", ago(7200));
        }
    });
    server.run(&stick).clock("-3600").done();
    stick.edit(|root| {
        root.remove("master/large.csv");
    });
    assert_refused(&server, &stick);
}

#[test]
fn a_single_file_that_became_empty_is_refused() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| {
        root.sub("master").file("tools.csv", "1,2,3\n", ago(7200)).meta(ago(7200));
    });
    server.run(&stick).clock("-3600").done();
    stick.edit(|root| {
        root.sub("master").file("tools.csv", "", ago(60));
    });
    assert_refused(&server, &stick);
}

#[test]
fn files_that_were_always_empty_are_no_loss() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| {
        root.sub("master").file("a", "", ago(7200)).file("b", "", ago(7200)).file("c", "x", ago(7200)).meta(ago(7200));
    });
    server.run(&stick).clock("-3600").done();
    stick.edit(|root| {
        root.sub("master").file("c", "xy", ago(60));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().text("c"), "xy");
}

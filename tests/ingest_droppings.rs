//! SPEC 5: what office programs, desktops and NAS boxes leave inside a dataset is no edit, is never copied, and stays where it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::lost::{another_stick, assert_nothing_lost};
use common::{Tree, ago, in_step};

const DROPPINGS: [&str; 8] = [
    ".~lock.a.csv#",
    "~$a.xlsx",
    "Thumbs.db",
    ".DS_Store",
    "._a.csv",
    "desktop.ini",
    "sub/.~lock.c.csv#",
    "@eaDir/a.csv/SYNOFILE_THUMB",
];

fn leave_droppings(master: &Tree) {
    for name in DROPPINGS {
        master.file(name, ",worker,pc,29.11.2026 10:00,file:///x;", ago(20));
    }
}

#[test]
fn what_programs_leave_on_a_stick_is_no_edit_and_stays_there() {
    let (server, stick) = in_step();
    let other = another_stick(&server);
    stick.edit(|root| leave_droppings(&root.sub("master")));
    server.run(&stick).clock("-900").done().outcome("master", "nothing");
    other.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(800));
    });
    server.run(&other).clock("-700").done().outcome("master", "stick wins");
    let run = server.run(&stick).done();
    run.outcome("master", "server wins");
    assert_nothing_lost(&server, &run);
    assert_eq!(server.master().files().len(), 3, "a dropping arrived on the server");
    stick.read(|root| assert!(DROPPINGS.iter().all(|name| root.sub("master").has(name)), "one was deleted"));
    assert_eq!(stick.read(|root| root.text("master/a.csv")), "edited");
    server.run(&stick).done().outcome("master", "nothing");
}

#[test]
fn what_programs_leave_on_the_server_is_no_edit_and_survives_the_exchange() {
    let (server, stick) = in_step();
    leave_droppings(&server.master());
    server.run(&stick).clock("-900").done().outcome("master", "nothing");
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
    });
    let run = server.run(&stick).done();
    run.outcome("master", "stick wins");
    assert_nothing_lost(&server, &run);
    for name in DROPPINGS {
        assert!(server.master().has(name), "{name} was deleted on the server");
        assert!(!stick.read(|root| root.sub("master").has(name)), "{name} was copied to the stick");
    }
}

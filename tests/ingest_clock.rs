//! SPEC 6 and 8: what a clock that is not to be believed may decide.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::Call;
use common::{DAY, Server, Stick, ago, assert_unchanged, files, in_step, sample, sample_master};

const IN_1970: &str = "@1970-01-01 00:10:00";
const IN_2099: &str = "@2099-01-01 00:00:00";

/// A server with a record of an hour ago, and a stick of which only meta.json can say that it is newer.
fn meta_alone_decides() -> (Server, Stick) {
    let (server, _other) = in_step();
    let stick = Stick::ingest();
    stick.edit(|root| {
        sample(root, ago(100));
        root.sub("master").file("a.csv", "stick", ago(100));
    });
    (server, stick)
}

fn assert_undecided<'a>(server: &'a Server, stick: &'a Stick, set: impl Fn(Call<'a>) -> Call<'a>) {
    let before = (server.data(), stick.read(|root| root.sub("master").snapshot()));
    set(server.run(stick)).fails(75);
    assert_eq!((server.data(), stick.read(|root| root.sub("master").snapshot())), before);
}

#[test]
fn in_1970_meta_alone_overwrites_neither_side() {
    let (server, stick) = meta_alone_decides();
    assert_undecided(&server, &stick, |call| call.clock(IN_1970));
}

#[test]
fn in_2099_meta_alone_overwrites_neither_side() {
    let (server, stick) = meta_alone_decides();
    assert_undecided(&server, &stick, |call| call.clock(IN_2099));
}

#[test]
fn a_clock_earlier_than_the_newest_record_decides_nothing() {
    let (server, stick) = meta_alone_decides();
    assert_undecided(&server, &stick, |call| call.clock("-7200"));
}

#[test]
fn with_the_right_time_the_same_stick_wins() {
    let (server, stick) = meta_alone_decides();
    server.run(&stick).done().outcome("master", "stick wins");
}

#[test]
fn whatever_the_clock_says_an_edit_since_the_base_wins_and_does_not_poison_the_records() {
    for clock in [IN_1970, IN_2099] {
        let (server, stick) = in_step();
        let before = server.master().updated_at();
        stick.edit(|root| {
            root.sub("master").file("a.csv", "edited", ago(60));
        });
        server.run(&stick).clock(clock).done().outcome("master", "stick wins");
        let after = server.master().updated_at();
        assert!(after > before && after < ago(-DAY), "{clock}: {after}");
        assert_eq!(stick.read(|root| root.sub("master").updated_at()), after);
        // The next run, with the right time, is not held up.
        server.run(&stick).done().outcome("master", "nothing");
    }
}

#[test]
fn in_2099_a_halved_stick_with_a_newer_meta_stays_undecided() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").remove("a.csv").remove("b.csv").meta(ago(60));
    });
    assert_undecided(&server, &stick, |call| call.clock(IN_2099));
    server.run(&stick).done().outcome("master", "stick wins");
}

#[test]
fn whatever_the_clock_says_a_new_server_is_filled() {
    for clock in [IN_1970, IN_2099] {
        let (server, stick) = (Server::new(), Stick::ingest());
        stick.edit(|root| sample(root, ago(100)));
        server.run(&stick).clock(clock).done();
        assert_eq!(server.master().files(), sample_master());
    }
}

#[test]
fn a_confirmed_clock_is_believed_years_later() {
    let (server, stick) = meta_alone_decides();
    let years_later = "+1200d";
    assert_undecided(&server, &stick, |call| call.clock(years_later));
    server.call(&["clock", "confirm"]).clock(years_later).finish().ended(0);
    server.run(&stick).clock(years_later).done().outcome("master", "stick wins");
}

#[test]
fn a_confirmed_clock_overrules_later_records_too() {
    let (server, stick) = (Server::new(), Stick::ingest());
    server.master().file("a.csv", "server", ago(500)).meta_text("{\"updated_at\": 4070908800}", ago(500));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "stick", ago(100)).meta(ago(100));
    });
    assert_undecided(&server, &stick, |call| call);
    server.call(&["clock", "confirm"]).finish().ended(0);
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().files(), files([("a.csv", "stick")]));
}

#[test]
fn while_the_clock_is_not_believed_nothing_is_pruned_from_undo() {
    let (server, stick) = in_step();
    let edit = |number: i64, clock: &str| {
        stick.edit(|root| {
            root.sub("master").file("a.csv", format!("edit {number}"), ago(100 - number));
        });
        server.run(&stick).clock(clock).done().outcome("master", "stick wins");
    };
    for number in 1..=4 {
        edit(number, "-3000");
    }
    let runs = || std::fs::read_dir(server.path("undo")).unwrap().count();
    let before = runs();
    edit(5, IN_2099);
    assert_eq!(runs(), before + 1);
}

#[test]
fn a_dry_run_in_1970_says_that_it_cannot_decide() {
    let (server, stick) = meta_alone_decides();
    let before = server.tree().snapshot_of_inodes();
    server.run(&stick).flag("--dry-run").clock(IN_1970).fails(75);
    assert_unchanged(&before, &server.tree().snapshot_of_inodes());
}

//! The oracle itself: it is content with a run as SPEC 6 wants it, and complains of each thing that is spoilt. No program runs here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::common::Run;
use crate::media::{File, Files, View};
use crate::oracle::Oracle;
use crate::steps::{At, Visit};
use crate::visit::Seen;
use crate::world::{Kept, Undo};

const VISIT: Visit = Visit::plain(0);

fn files<const N: usize>(list: [(&str, &str); N]) -> Files {
    list.into_iter().map(|(path, content)| (path.to_owned(), File { content: content.to_owned(), mtime: 9 })).collect()
}

/// A medium with that master and nothing else but a dropping.
fn view<const N: usize>(list: [(&str, &str); N]) -> View {
    let droppings = BTreeMap::from([("master/Thumbs.db".to_owned(), "x".to_owned())]);
    View { datasets: [Some(files(list)), None], has_role: true, droppings, ..View::default() }
}

fn seen(server: [View; 2], stick: [View; 2], job: Value, undo: [Undo; 2]) -> Seen {
    let run = Run {
        command: "ingest".to_owned(),
        code: Some(0),
        stdout: String::new(),
        stderr: String::new(),
        log: String::new(),
        job: json!({"datasets": {"master": job}}),
    };
    let (killed, torn, doubtful, ahead) = (false, false, false, false);
    Seen { run, killed, torn, doubtful, ahead, server, stick, undo, late: None, rehearsal: None }
}

/// Server and stick are in step with `a1` and `b1`; then a person on the server writes `s2` over `a1`.
fn in_step_until_the_server_was_edited() -> Oracle {
    let mut oracle = Oracle::new(1, 1);
    let both = view([("a.csv", "a1"), ("b.csv", "b1")]);
    oracle.edited(At::Stick(0), 0, "PC-A", &view([]), &both);
    let first = seen([view([]), both.clone()], [both.clone(), both.clone()], json!({"lost": 0}), Default::default());
    oracle.ingested(&VISIT, &first);
    oracle.edited(At::Server(0), 0, "server 0", &both, &view([("a.csv", "s2"), ("b.csv", "b1")]));
    assert!(oracle.broken.is_empty(), "{:?}", oracle.broken);
    oracle
}

/// The stick, on which `b2` was written over `b1`, replaced the server's, and it is told that `s2` is lost.
fn stick_wins() -> Seen {
    let brought = view([("a.csv", "a1"), ("b.csv", "b2")]);
    let after = View { receipt: "a.csv: undo/t2".to_owned(), ..brought.clone() };
    let old = view([("a.csv", "s2"), ("b.csv", "b1")]);
    let kept =
        Kept { side: "server".to_owned(), lost: true, done: true, files: files([("a.csv", "s2"), ("b.csv", "b1")]) };
    let undo = Undo::from([(("t2".to_owned(), 0), kept)]);
    let job = json!({"lost": 1, "lost_in": "undo/t2/master"});
    seen([old, brought.clone()], [brought, after], job, [Undo::new(), undo])
}

/// The checks that fail when that run is spoilt so.
fn complaints(edited: bool, spoil: impl FnOnce(&mut Seen)) -> Vec<&'static str> {
    let mut oracle = in_step_until_the_server_was_edited();
    let mut seen = stick_wins();
    if edited {
        oracle.edited(At::Stick(0), 0, "PC-A", &view([("a.csv", "a1"), ("b.csv", "b1")]), &seen.stick[0]);
    }
    spoil(&mut seen);
    oracle.ingested(&VISIT, &seen);
    oracle.broken.iter().map(|broken| broken.check).collect()
}

/// The only entry of `undo/`.
fn entry(seen: &mut Seen) -> &mut Kept {
    seen.undo[1].values_mut().next().unwrap()
}

fn job(seen: &mut Seen) -> &mut Value {
    &mut seen.run.job["datasets"]["master"]
}

type Spoil = fn(&mut Seen);

#[test]
fn a_run_as_it_should_be_is_not_complained_of() {
    assert_eq!(complaints(true, |_| {}), [""; 0]);
}

#[test]
fn each_thing_that_is_spoilt_is_complained_of() {
    let all: [(&str, Spoil); 15] = [
        ("lost-count", |seen| *job(seen) = json!({"lost_in": "undo/t2/master"})),
        ("untold", |seen| job(seen)["lost"] = json!(0)),
        ("untold", |seen| entry(seen).lost = false),
        ("false-alarm", |seen| job(seen)["lost"] = json!(2)),
        ("receipt", |seen| seen.stick[1].receipt.clear()),
        ("lost-in", |seen| job(seen)["lost_in"] = json!("undo/t1/master")),
        ("undo-lacks", |seen| drop(entry(seen).files.remove("b.csv"))),
        ("undo-exact", |seen| drop(entry(seen).files.insert("c.csv".to_owned(), File::default()))),
        ("mixture", |seen| seen.server[1] = view([("a.csv", "s2"), ("b.csv", "b2")])),
        ("mixture", |seen| seen.stick[1].datasets[0] = Some(Files::new())),
        ("code", |seen| seen.run.code = Some(1)),
        ("dry-run", |seen| seen.rehearsal = Some("it changed something".to_owned())),
        ("droppings", |seen| seen.server[1].droppings.clear()),
        ("droppings", |seen| drop(seen.stick[1].droppings.insert("master/._b".to_owned(), String::new()))),
        ("consent", |seen| seen.stick[0].consents.extend(["replace.txt".to_owned()])),
    ];
    for (check, spoil) in all {
        let found = complaints(true, spoil);
        assert!(found.contains(&check), "{check}: {found:?}");
    }
}

#[test]
fn a_stick_that_nobody_edited_may_not_win() {
    assert!(complaints(false, |_| {}).contains(&"old-wins"));
}

#[test]
fn without_a_common_state_a_newer_file_excuses() {
    let told = |mtime: i64| {
        let mut oracle = in_step_until_the_server_was_edited();
        let mut seen = stick_wins();
        oracle.edited(At::Stick(0), 0, "PC-A", &view([("a.csv", "a1"), ("b.csv", "b1")]), &seen.stick[0]);
        oracle.manifest_spoilt(0);
        oracle.written.clear();
        seen.stick[0].datasets[0].as_mut().unwrap().get_mut("a.csv").unwrap().mtime = mtime;
        entry(&mut seen).lost = false;
        job(&mut seen)["lost"] = json!(0);
        oracle.ingested(&VISIT, &seen);
        oracle.broken.iter().all(|broken| broken.check != "untold")
    };
    assert!(told(100), "the winner has a newer one");
    assert!(!told(1), "the winner has an older one");
}

#[test]
fn what_was_deleted_after_a_run_was_cut_off_may_not_come_back() {
    let after_a_cut = |new: View| {
        let mut oracle = in_step_until_the_server_was_edited();
        let server = view([("a.csv", "s2"), ("b.csv", "b1")]);
        let sticks = [view([("a.csv", "a1"), ("b.csv", "b1")]), server.clone()];
        let cut = seen([server.clone(), server.clone()], sticks, Value::Null, Default::default());
        oracle.ingested(&VISIT, &Seen { torn: true, killed: true, ..cut });
        let old = view([("a.csv", "s2")]);
        oracle.edited(At::Server(0), 0, "server 0", &server, &old);
        oracle.ingested(&VISIT, &seen([old, new.clone()], [server, new], json!({"lost": 0}), Default::default()));
        oracle.broken.iter().any(|broken| broken.check == "comes-back")
    };
    assert!(!after_a_cut(view([("a.csv", "s2")])));
    assert!(after_a_cut(view([("a.csv", "s2"), ("b.csv", "b1")])));
}

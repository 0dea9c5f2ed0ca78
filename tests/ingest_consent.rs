//! SPEC 6: a person's consent is followed to its end, whatever comes between, and then no longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::File;

use common::lost::on_stick;
use common::{Server, Stick, Tree, ago, files, in_step};
use rustix::fs::syncfs;
use rustix::mount::{UnmountFlags, unmount};

/// Both sides were edited, and only the consent lets the stick win.
fn both_edited() -> (Server, Stick) {
    let (server, stick) = in_step();
    server.master().file("a.csv", "of the server", ago(50)).meta(ago(40));
    server.docviewer().file("plan.pdf", "of the server", ago(50)).meta(ago(40));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "of the stick", ago(60));
        root.sub("docviewer").file("plan.pdf", "of the stick", ago(60));
    });
    (server, stick)
}

fn consent(root: &Tree) {
    root.file("REPLACE.txt", "", ago(30));
}

fn notes(server: &Server) -> usize {
    let sticks = server.path(".toolmaster/sticks");
    std::fs::read_dir(sticks).unwrap().flatten().filter(|stick| stick.path().join("consent").exists()).count()
}

/// The run is killed as it enters each of its calls that give a name, and the stick is put in again as it is, or was pulled at that moment: until its
/// journal is replayed it shows what was before. The next visit needs nobody's help.
#[test]
fn a_consent_outlasts_a_kill_at_any_rename() {
    for number in 1.. {
        let mut killed = false;
        for pulled in [false, true] {
            let (server, mut stick) = both_edited();
            stick.edit(consent);
            let inject = format!("inject=renameat,renameat2:signal=SIGKILL:when={number}");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat,renameat2", "-e", &inject];
            let first = server.run(&stick).through(&strace).start().wait();
            killed |= first.code.is_none();
            if let Some(place) = stick.mountpoint().filter(|_| pulled) {
                syncfs(File::open(&place).unwrap()).unwrap();
                let copy = stick.copy();
                unmount(&place, UnmountFlags::DETACH).unwrap();
                stick = copy;
            }
            let run = server.run(&stick).done();
            let what = format!("killed at rename {number}, pulled: {pulled}\n{first}\nthen\n{run}");
            assert_eq!(server.master().text("a.csv"), "of the stick", "{what}");
            assert_eq!(server.docviewer().text("plan.pdf"), "of the stick", "{what}");
            assert_eq!(on_stick(&stick, "master"), server.master().files(), "{what}");
            let [open, done] = stick.read(|root| ["REPLACE.txt", "REPLACE-done.txt"].map(|name| root.has(name)));
            assert!(!open && done, "{what}");
            assert_eq!(notes(&server), 0, "{what}");
        }
        if !killed {
            assert!(number > 20, "only {number} renames were disturbed");
            break;
        }
    }
}

#[test]
fn once_it_was_followed_it_counts_no_more() {
    let (server, stick) = both_edited();
    stick.edit(consent);
    server.run(&stick).clock("-20").done().outcome("master", "stick wins");
    assert_eq!(notes(&server), 0);
    server.master().file("a.csv", "later", ago(2));
    server.run(&stick).done().outcome("master", "server wins");
    assert_eq!(on_stick(&stick, "master"), files([("a.csv", "later"), ("b.csv", "b1"), ("sub/c.csv", "c1")]));
}

/// One dataset is refused, for another reason: once that is mended, the consent is followed for it too.
#[test]
fn what_is_refused_for_another_reason_keeps_its_consent() {
    let (server, stick) = both_edited();
    stick.edit(|root| {
        consent(root);
        std::fs::rename(root.path("docviewer"), root.path("drawings")).unwrap();
        root.file("docviewer", "no directory", ago(60));
    });
    let run = server.run(&stick).clock("-20").fails(2);
    run.outcome("master", "stick wins").outcome("docviewer", "refused");
    stick.edit(|root| {
        root.remove("docviewer");
        std::fs::rename(root.path("drawings"), root.path("docviewer")).unwrap();
    });
    server.master().file("a.csv", "later", ago(2));
    server.run(&stick).flag("--dry-run").done();
    let run = server.run(&stick).done();
    run.outcome("docviewer", "stick wins").outcome("master", "server wins");
    assert_eq!(server.docviewer().text("plan.pdf"), "of the stick", "{run}");
    assert_eq!(notes(&server), 0);
}

#[test]
fn what_is_called_nearly_so_is_named() {
    let (server, stick) = both_edited();
    stick.edit(|root| {
        root.file("REPLACE.txt.txt", "", ago(30)).dir("replace");
    });
    let run = server.run(&stick).done();
    run.outcome("master", "server wins").says("REPLACE.txt.txt is no consent").says("replace is no consent");
}

/// A clone that somebody made before the consent was given is another person's stick.
#[test]
fn another_stick_with_that_uuid_does_not_follow_it() {
    let (server, stick) = both_edited();
    let old = stick.copy();
    old.edit(|root| {
        root.file("REPLACE-done.txt", "of last year", ago(9999));
    });
    // The manifest on the clone is another one from here on.
    server.run(&stick).clock("-300").done();
    server.master().file("a.csv", "of the server again", ago(50)).meta(ago(40));
    stick.edit(|root| {
        consent(root);
        root.sub("master").file("a.csv", "of the stick again", ago(45));
    });
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2", "-e"];
    let exchange = "inject=renameat2:signal=SIGKILL:when=1";
    let killed = server.run(&stick).through(&[&strace[..], &[exchange]].concat()).start().wait();
    assert_eq!((killed.code, notes(&server)), (None, 1), "{killed}");
    drop(killed);
    let run = server.run(&old).done();
    run.outcome("master", "server wins");
    assert_eq!(server.master().text("a.csv"), "of the server again", "{run}");
}

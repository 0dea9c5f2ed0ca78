//! SPEC 6: too little room and other things that stop a run are found before the first byte, and a dry run
//! ends with the run's code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::PathBuf;

use common::lost::{assert_live_or_told, files_alone};
use common::undo::list;
use common::{Run, Server, Stick, ago, assert_unchanged, data_on, in_step, noise, stick_in_step, tool};

const MIB: usize = 1 << 20;

/// A dry run and then the run; both end with the same code.
fn both(server: &Server, stick: &Stick) -> Run {
    let before = (server.tree().snapshot(), data_on(stick));
    let dry = server.run(stick).flag("--dry-run").finish();
    assert_unchanged(&before.0, &server.tree().snapshot());
    assert_unchanged(&before.1, &data_on(stick));
    let run = server.run(stick).finish();
    assert_eq!(dry.code, run.code, "the dry run promised something else\n{dry}\n{run}");
    run
}

/// Both fail with that code, and neither data nor undo/ has changed.
fn both_fail(server: &Server, stick: &Stick, code: i32) -> Run {
    let state = || (server.data(), server.tree().sub("undo").snapshot(), data_on(stick));
    let before = state();
    let run = both(server, stick);
    run.ended(code);
    let after = state();
    assert_unchanged(&before.0, &after.0);
    assert_unchanged(&before.1, &after.1);
    assert_unchanged(&before.2, &after.2);
    run
}

/// The bytes that are free where the server's data is.
fn free(server: &Server) -> usize {
    let at = rustix::fs::statvfs(server.path("")).unwrap();
    usize::try_from(at.f_bavail * at.f_frsize).unwrap()
}

/// A server on a small disk and a stick that has brought a new `big.pdf` of 12 MiB so many times.
fn generations(disk_mib: u64, count: u64) -> (Server, Stick) {
    let server = Server::on_disk(disk_mib);
    let stick = Stick::labelled("TM-INGEST", 200);
    for number in 0..count {
        bring(&stick, number);
        server.run(&stick).clock(&format!("-{}", 9000 - number * 60)).done();
    }
    (server, stick)
}

fn bring(stick: &Stick, number: u64) {
    stick.edit(|root| {
        root.sub("master").file("big.pdf", noise(number, 12 * MIB), ago(9000 - number.cast_signed() * 60));
    });
}

/// How many replaced ones undo/ keeps.
fn kept_generations(server: &Server) -> usize {
    let entries = fs::read_dir(server.path("undo")).unwrap().flatten();
    entries.filter(|entry| entry.path().join("master/big.pdf").exists()).count()
}

#[test]
fn a_file_that_no_pruning_makes_room_for_costs_no_undo() {
    let (server, stick) = generations(112, 5);
    assert_eq!(kept_generations(&server), 4);
    stick.edit(|root| {
        root.sub("master").file("huge.pdf", vec![b'x'; 130 * MIB], ago(60));
    });
    both_fail(&server, &stick, 1);
    assert_eq!(kept_generations(&server), 4);
}

#[test]
fn undo_is_pruned_for_room_only_as_far_as_needed() {
    let (server, stick) = generations(256, 9);
    assert_eq!(kept_generations(&server), 8);
    let pad = free(&server) - 6 * MIB;
    server.tree().file("pad", vec![b'x'; pad], ago(60));
    server.sync();
    bring(&stick, 9);
    let oldest = list(&server).last().unwrap()["when"].as_str().unwrap().to_owned();
    server.run(&stick).flag("--dry-run").done();
    server.run(&stick).done().outcome("master", "stick wins");
    let kept = kept_generations(&server);
    assert!((5..=8).contains(&kept), "{kept} of 8 and the one replaced now are left");
    assert!(!server.path("undo").join(oldest).exists(), "the oldest goes first");
}

#[test]
fn a_disk_without_inodes_fails_before_the_first_file() {
    let make = |image: &str| drop(tool("mkfs.ext4", &["-q", "-F", "-I", "256", "-N", "400", image]));
    let server = Server::on_disk_of(make);
    let stick = stick_in_step(&server);
    stick.edit(|root| {
        for number in 0..1500 {
            root.sub("master").file(format!("many/{number}.csv"), format!("{number}"), ago(60));
        }
    });
    let inodes = || rustix::fs::statvfs(server.path("")).unwrap().f_favail;
    let before = inodes();
    assert!(before < 1500, "{before}");
    both_fail(&server, &stick, 1);
    assert!(inodes() + 10 > before, "{} of {before} inodes are left", inodes());
    stick.edit(|root| {
        root.sub("master").remove("many").file("a.csv", "edited", ago(50));
    });
    server.run(&stick).done().outcome("master", "stick wins");
}

#[test]
fn a_stick_without_inodes_fails_before_the_first_file_too() {
    let server = Server::new();
    let stick = Stick::made(32, |image| {
        drop(tool("mkfs.ext4", &["-q", "-F", "-I", "256", "-N", "200", "-L", "TM-INGEST", image]))
    });
    stick.edit(|root| {
        root.file(".toolmaster/role", "INGEST\n", ago(60));
        common::sample(root, ago(7200));
    });
    server.run(&stick).clock("-3600").done();
    common::add_many(&server.master(), 1000);
    both_fail(&server, &stick, 1);
}

#[test]
fn what_a_stick_loses_must_fit_into_undo_or_the_stick_stays_as_it_is() {
    let server = Server::on_disk(48);
    let stick = Stick::labelled("TM-INGEST", 96);
    stick.edit(|root| common::sample(root, ago(7200)));
    server.run(&stick).clock("-3600").done();
    stick.edit(|root| {
        root.sub("master").file("big.pdf", noise(1, 30 * MIB), ago(60));
    });
    server.master().file("s.pdf", noise(2, 20 * MIB), ago(50)).meta(ago(30));
    both_fail(&server, &stick, 1);
}

#[test]
fn a_meta_json_that_is_a_directory_ends_the_dry_run_and_the_run_alike() {
    for side in ["stick", "server"] {
        let (server, stick) = in_step();
        stick.edit(|root| {
            root.sub("master").file("a.csv", "edited", ago(60));
            if side == "stick" {
                root.sub("master").remove("meta.json").file("meta.json/x", "a person's", ago(60));
            }
        });
        if side == "server" {
            server.master().remove("meta.json").file("meta.json/x", "a person's", ago(60));
        }
        let run = both(&server, &stick);
        if run.code == Some(0) {
            assert_live_or_told(&server, "master", "a.csv", "edited");
            let plan = server.run(&stick).flag("--dry-run").done();
            assert_eq!(plan.plan(), [""; 0], "{side}\n{plan}");
        } else {
            assert_eq!(server.master().text("a.csv"), "a1", "{side}\n{run}");
        }
        let mut found: Vec<String> = server.tree().files().into_values().collect();
        found.extend(stick.read(|root| root.files().into_values().collect::<Vec<_>>()));
        assert!(found.contains(&"a person's".to_owned()), "{side}: meta.json/x is gone\n{run}");
    }
}

/// Protects a file or directory until the end of the test.
struct Immutable(PathBuf);

impl Immutable {
    fn new(path: PathBuf) -> Immutable {
        tool("chattr", &["+i", path.to_str().unwrap()]);
        Immutable(path)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let name = self.0.file_name().unwrap().to_str().unwrap();
        let root = self.0.ancestors().find(|path| path.join("logs").is_dir()).unwrap();
        // It may lie in undo/ by now.
        let _ = std::process::Command::new("find")
            .args([root.to_str().unwrap(), "-name", name, "-exec", "chattr", "-i", "{}", "+"])
            .status();
    }
}

#[test]
fn a_protected_file_ends_the_dry_run_and_the_run_alike_and_does_no_harm() {
    for protected in ["master/a.csv", "master/b.csv", "master/sub", "master"] {
        let (server, stick) = in_step();
        let _immutable = Immutable::new(server.path(protected));
        stick.edit(|root| {
            root.sub("master").file("a.csv", "edited", ago(60));
        });
        let before = files_alone(&server.master());
        let run = both(&server, &stick);
        if run.code == Some(0) {
            assert_eq!(server.master().text("a.csv"), "edited", "{protected}\n{run}");
        } else {
            assert_unchanged(&before, &files_alone(&server.master()));
        }
        assert_eq!(both(&server, &stick).code, run.code, "{protected}");
    }
}

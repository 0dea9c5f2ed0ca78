//! `backup` and `restore` (SPEC 7): a snapshot goes to a real stick and comes back, or the stick stays as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::postgres::postgres;
use common::site::{Site, archives, backup_stick, done};
use common::{Tree, ago, noise, sample_master, tool};

#[test]
fn stock_tools_get_back_what_was_in_the_snapshot() {
    let site = Site::new();
    let run = done(site.backup(), "backup export completed archive=");
    assert!(run.stderr.contains(" dry_run=0"), "{run}");
    let (_dir, out) = site.unpacked();
    tool("diff", &["-r", out.to_str().unwrap(), site.latest().path("").to_str().unwrap()]);
    site.stick.read(|root| assert!(!root.has(".toolmaster/tmp"), "nothing is left of the writing"));
}

#[test]
fn the_same_snapshot_again_is_verified_and_not_written() {
    let site = Site::new();
    done(site.backup(), "backup export completed");
    let before = site.stick.read(|root| root.snapshot_but_the_receipt());
    let run = done(site.backup(), "backup export completed");
    assert!(run.stderr.contains("on the stick already, and sound"), "{run}");
    assert_eq!(site.stick.read(|root| root.snapshot_but_the_receipt()), before);
    // One bit turned over on the medium, and it is written anew.
    site.flip_in_archive();
    let run = done(site.backup(), "backup export completed");
    assert!(run.stderr.contains("is written anew"), "{run}");
    site.unpacked();
}

#[test]
fn a_later_snapshot_of_the_day_replaces_the_archive() {
    let site = Site::new();
    done(site.backup(), "backup export completed");
    site.server.master().file("a.csv", "later", ago(5));
    site.snapshot();
    done(site.backup(), "backup export completed");
    let (_dir, out) = site.unpacked();
    assert_eq!(std::fs::read_to_string(out.join("master/a.csv")).unwrap(), "later");
}

#[test]
fn a_file_changed_in_the_snapshot_is_found_and_nothing_is_written() {
    let site = Site::new();
    std::fs::write(site.latest().path("master/a.csv"), "XX").unwrap();
    let run = site.backup().finish();
    assert!(matches!(run.code, Some(1 | 2)), "{run}");
    assert!(run.stderr.contains("master/a.csv"), "{run}");
    site.stick.read(|root| assert_eq!(archives(root), [""; 0]));
}

#[test]
fn another_servers_stick_stays_as_it_is_until_it_is_adopted() {
    let (site, other) = (Site::new(), Site::new());
    done(site.backup(), "backup export completed");
    let before = site.stick.read(|root| root.snapshot());
    let call = other.call(&["backup", "--device", site.stick.device()]);
    call.fails(2).says("another server");
    assert!(other.server.tree().text("logs/usb_guard.log").contains("another server"));
    assert_eq!(site.stick.read(|root| root.snapshot()), before);
    other.call(&["stick", "adopt", "--device", site.stick.device()]).finish().ended(0);
    done(other.call(&["backup", "--device", site.stick.device()]), "backup export completed");
}

#[test]
fn another_servers_stick_takes_our_backups_once_all_of_it_was_restored() {
    let (site, other) = (Site::new(), Site::new());
    done(site.backup(), "backup export completed");
    let before = site.stick.read(|root| root.snapshot());
    let backup = || other.call(&["backup", "--device", site.stick.device()]);
    let restore =
        |dest: &Path| other.call(&["restore", "--device", site.stick.device(), "--dest", dest.to_str().unwrap()]);
    let dir = tempfile::tempdir().unwrap();
    // Neither a look at it nor a part of it is enough.
    done(other.call(&["restore", "--check", "--device", site.stick.device()]), "restore check completed");
    done(restore(&dir.path().join("part")).flag("--only=master"), "restore completed");
    backup().fails(2);
    assert_eq!(site.stick.read(|root| root.snapshot()), before);
    let run = done(restore(&dir.path().join("all")), "restore completed");
    assert!(run.stderr.contains("from now on it takes this one's backups"), "{run}");
    done(backup(), "backup export completed");
    site.backup().fails(2);
}

#[test]
fn archives_beyond_the_retention_go_after_the_new_one_is_sound() {
    let site = Site::new();
    site.stick.edit(|root| {
        for day in 1..=5 {
            root.file(format!("2020-01-0{day}_full.tar.zst"), "old", ago(60));
            root.file(format!("2020-01-0{day}_full.tar.zst.sha256"), "old", ago(60));
        }
        root.file("notes_full.tar.zst", "not ours", ago(60));
    });
    done(site.backup(), "backup export completed");
    site.stick.read(|root| {
        let names = archives(root);
        assert_eq!(names.len(), 5, "four and the one that is not ours: {names:?}");
        assert!(names.contains(&"2020-01-03_full.tar.zst".to_owned()) && !root.has("2020-01-02_full.tar.zst.sha256"));
    });
    done(site.backup().flag("--retention=0"), "backup export completed");
}

#[test]
fn a_stick_without_room_is_left_as_it_was() {
    let site = Site { stick: backup_stick(16), ..Site::new() };
    site.server.docviewer().file("large.pdf", noise(1, 20 << 20), ago(50));
    site.snapshot();
    let before = site.stick.read(|root| root.snapshot_but_the_receipt());
    let run = site.backup().fails(1);
    assert!(run.stderr.contains("bytes needed") && run.stderr.contains("bytes free"), "{run}");
    assert_eq!(site.stick.read(|root| root.snapshot_but_the_receipt()), before);
}

#[test]
fn what_fits_once_it_is_compressed_is_written() {
    let site = Site { stick: backup_stick(16), ..Site::new() };
    site.server.docviewer().file("large.csv", "a line of text that comes again\n".repeat(1 << 20), ago(50));
    site.snapshot();
    let dry = done(site.backup().flag("--dry-run"), "backup export completed");
    assert!(dry.stderr.contains("(at most 32.1 MiB)"), "{dry}");
    done(site.backup(), "backup export completed");
    site.unpacked();
}

#[test]
fn there_is_nothing_to_back_up_without_a_snapshot() {
    let site = Site::new();
    std::fs::remove_dir_all(site.server.path("snapshots")).unwrap();
    site.backup().fails(3);
}

#[test]
fn a_dry_run_changes_nothing() {
    let site = Site::new();
    let before = (site.stick.bytes(), site.server.tree().snapshot_of_inodes());
    let run = done(site.backup().flag("--dry-run"), "backup export completed archive=");
    assert!(run.stderr.contains("plan: write snapshot"), "{run}");
    assert!(site.stick.bytes() == before.0);
    assert_eq!(site.server.tree().snapshot_of_inodes(), before.1);
}

#[test]
fn restore_brings_back_files_and_tables() {
    let site = Site::new();
    done(site.backup(), "backup export completed");
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("restored");
    let empty = postgres().database();
    let uri = postgres().uri_text(&empty.name);
    let before = site.stick.bytes();
    let arguments = ["restore", "--device", site.stick.device(), "--dest", dest.to_str().unwrap(), "--pg-uri", &uri];
    done(site.call(&arguments), "restore completed dest=");
    assert!(site.stick.bytes() == before, "restoring writes nothing to the stick");
    tool("diff", &["-r", dest.to_str().unwrap(), site.latest().path("").to_str().unwrap()]);
    let rows =
        "SELECT string_agg(order_code || location_code, ',' ORDER BY order_code COLLATE \"C\") FROM part_locations";
    assert_eq!(empty.psql(rows), site.database.psql(rows));
    // Neither a full directory nor a full database is written over.
    site.call(&arguments).fails(2);
    let elsewhere = dir.path().join("elsewhere");
    site.call(&["restore", "--device", site.stick.device(), "--dest", elsewhere.to_str().unwrap(), "--pg-uri", &uri])
        .fails(2);
    assert!(!elsewhere.exists());
    assert!(!site.server.tree().has("logs/usb_guard.log"), "no stick was refused");
}

/// Whatever a run that was cut off left (tests/faults leaves all of it in turn), the same command brings all of it; what
/// somebody else put there is not touched.
#[test]
fn a_restore_that_was_cut_off_is_begun_anew_in_the_same_place() {
    let site = Site::new();
    let latest = site.server.path("snapshots/latest");
    let dir = tempfile::tempdir().unwrap();
    let dest = Tree::at(dir.path().join("restored"));
    let restore = |to: &Tree| {
        let (from, to) = (latest.to_str().unwrap(), to.path(""));
        site.call(&["restore", "--snapshot", from, "--dest", to.to_str().unwrap()])
    };
    // While it was moving things to their names, and before.
    dest.file(".toolmaster-restore/docviewer/plan.pdf", "half", ago(60)).file("master/a.csv", "old", ago(60));
    done(restore(&dest), "restore completed dest=");
    tool("diff", &["-r", dest.path("").to_str().unwrap(), site.latest().path("").to_str().unwrap()]);
    // A file of somebody's, with the mark and without it.
    for mark in [true, false] {
        let other = Tree::at(dir.path().join(format!("other-{mark}")));
        other.file("own.txt", "mine", ago(60)).file("master/a.csv", "mine", ago(60));
        if mark {
            other.dir(".toolmaster-restore");
        }
        let before = other.snapshot();
        restore(&other).fails(2).says("is not empty");
        assert_eq!(other.snapshot(), before);
    }
}

#[test]
fn a_restore_that_fails_leaves_nothing_that_looks_restored() {
    let site = Site::new();
    site.server.docviewer().file("large.pdf", noise(1, 12 << 20), ago(60));
    site.snapshot();
    done(site.backup(), "backup export completed");
    site.flip_in_archive();
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("restored");
    let call = site.call(&["restore", "--device", site.stick.device(), "--dest", dest.to_str().unwrap()]);
    call.fails(2).says("what came through by then is in");
    let names: Vec<_> = std::fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".toolmaster-restore"]);
    assert!(dest.join(".toolmaster-restore/db/pg_dump.sql").exists(), "what is sound can be had");
}

#[test]
fn restore_from_a_snapshot_a_file_and_a_directory() {
    let site = Site::new();
    let dir = tempfile::tempdir().unwrap();
    let latest = site.server.path("snapshots/latest");
    let restore = |dest: &str, more: &[&str]| {
        let dest = dir.path().join(dest);
        let mut arguments = vec!["restore", "--snapshot", latest.to_str().unwrap(), "--dest", dest.to_str().unwrap()];
        arguments.extend(more);
        done(site.call(&arguments), "restore completed dest=");
        Tree::at(dest)
    };
    tool("diff", &["-r", restore("all", &[]).path("").to_str().unwrap(), site.latest().path("").to_str().unwrap()]);
    let mut expected = sample_master();
    let found = restore("dir", &["--only", "master"]).sub("master").files();
    expected.retain(|name, _| name != "meta.json");
    assert_eq!(found, expected);
    let one = restore("one", &["--only", "master/sub/c.csv"]);
    assert_eq!(one.text("master/sub/c.csv"), "c1");
    assert!(!one.has("master/a.csv"));
    site.call(&[
        "restore",
        "--snapshot",
        latest.to_str().unwrap(),
        "--dest",
        dir.path().join("x").to_str().unwrap(),
        "--only",
        "nothing",
    ])
    .fails(3);
}

#[test]
fn restore_check_reads_everything_and_names_the_damage() {
    let site = Site::new();
    done(site.backup(), "backup export completed");
    let latest = site.server.path("snapshots/latest");
    let before = site.server.data();
    done(site.call(&["restore", "--check", "--device", site.stick.device()]), "restore check completed");
    done(site.call(&["restore", "--check", "--snapshot", latest.to_str().unwrap()]), "restore check completed");
    assert_eq!(site.server.data(), before);
    site.flip_in_archive();
    site.call(&["restore", "--check", "--device", site.stick.device()]).fails(2);
    std::fs::write(site.latest().path("master/b.csv"), "XX").unwrap();
    let run = site.call(&["restore", "--check", "--snapshot", latest.to_str().unwrap()]).fails(2);
    assert!(run.stderr.contains("master/b.csv"), "{run}");
}

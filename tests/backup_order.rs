//! Which backup is the newest (SPEC 7): the highest number, whatever clocks and names say, on the disk and on a stick.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::recovery::{consent, fresh};
use common::site::{Site, archives, backup_stick, done, shell};
use common::{Call, Stick, Tree, ago};

const DONE: &str = "backup export completed";

/// The text of `master/a.csv` that `restore` brings back from a stick.
fn brought_back(site: &Site, stick: &Stick) -> String {
    let dir = tempfile::tempdir().unwrap();
    let dest = Tree::at(dir.path().join("out"));
    let path = dest.path("");
    done(site.call(&["restore", "--device", stick.device(), "--dest", path.to_str().unwrap()]), "restore completed");
    dest.text("master/a.csv")
}

/// Writes a new `master/a.csv`, takes a snapshot and backs it up, all as of some days ago.
fn night(site: &Site, days: u32, text: &str) {
    site.server.master().file("a.csv", text, ago(i64::from(days) * common::DAY));
    site.snapshot_of(days);
    done(site.backup().clock(&format!("-{days}d")), DONE);
}

#[test]
fn what_was_taken_under_an_early_clock_is_newer_than_what_came_before() {
    let site = Site::new();
    done(site.backup(), DONE);
    for days in [90, 89, 88] {
        night(&site, days, &format!("{days} days ago"));
    }
    assert_eq!(site.stick.read(archives).len(), 4, "a clock that is not believed removes nothing");
    assert_eq!(brought_back(&site, &site.stick), "88 days ago");
    // Confirmed, that clock decides again: the archive with the latest name is the oldest.
    site.server.master().meta(ago(91 * common::DAY));
    site.server.docviewer().meta(ago(91 * common::DAY));
    site.call(&["clock", "confirm"]).clock("-87d").finish().ended(0);
    site.server.master().file("a.csv", "confirmed", ago(87 * common::DAY));
    site.snapshot_of(87);
    done(site.backup().flag("--retention=2").clock("-87d"), DONE);
    let left = site.stick.read(archives);
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(brought_back(&site, &site.stick), "confirmed");
    let new = fresh();
    consent(&site.stick);
    done(new.call(&["backup", "--device", site.stick.device()]), "recovery completed archive=");
    assert_eq!(new.server.master().text("a.csv"), "confirmed");
}

#[test]
fn an_archive_of_another_snapshot_is_never_taken_for_this_one() {
    let site = Site::new();
    done(site.backup(), DONE);
    std::fs::remove_dir_all(site.latest().path("")).unwrap();
    site.server.master().file("a.csv", "later", ago(5));
    site.snapshot();
    let run = done(site.backup(), DONE);
    assert!(run.stderr.contains("is written anew: it is of another snapshot"), "{run}");
    assert_eq!(brought_back(&site, &site.stick), "later");
    // The same number, server and time, and another content: only the manifest as a whole tells.
    let manifest = site.latest().text("manifest.json");
    std::fs::remove_file(site.latest().path("master/b.csv")).unwrap();
    let line = manifest.lines().find(|line| line.contains("master/b.csv")).unwrap();
    let count = manifest.matches("\"path\"").count();
    let other = manifest
        .replace(&format!("{line}\n"), "")
        .replace(&format!("{{\"count\":{count}}}"), &format!("{{\"count\":{}}}", count - 1));
    std::fs::write(site.latest().path("manifest.json"), other).unwrap();
    let run = done(site.backup(), DONE);
    assert!(run.stderr.contains("is of another snapshot"), "{run}");
    let (_dir, out) = site.unpacked();
    assert!(!out.join("master/b.csv").exists());
}

/// A server that was recovered from an older stick meets the one with the newer backups: its own, written there, is the newest.
#[test]
fn a_recovered_server_goes_on_above_every_number_that_it_meets() {
    let old = Site::new();
    done(old.backup(), DONE);
    let newer = backup_stick(64);
    for text in ["second", "third", "fourth"] {
        old.server.master().file("a.csv", text, ago(5));
        old.snapshot();
    }
    done(old.call(&["backup", "--device", newer.device()]), DONE);
    let new = fresh();
    consent(&old.stick);
    done(new.call(&["backup", "--device", old.stick.device()]), "recovery completed archive=");
    new.server.master().file("a.csv", "after the recovery", ago(3));
    new.snapshot();
    assert!(new.latest().text("manifest.json").contains("\"seq\":2,"), "{}", new.latest().text("manifest.json"));
    let backup = |flag: &str| new.call(&["backup", "--device", newer.device(), flag]);
    let dry = done(backup("--dry-run"), DONE);
    assert!(dry.plan().contains(&"take a snapshot first"), "{dry}");
    // Without a database there is no snapshot, and the stick stays.
    let before = newer.read(|root| root.snapshot_but_the_receipt());
    let nobody = || new.call(&["backup", "--device", newer.device()]).var("PG_URI", "postgresql://a@127.0.0.1:9/none");
    nobody().fails(1).says("no snapshot with a higher number could be taken, so there is no backup");
    assert_eq!(newer.read(|root| root.snapshot_but_the_receipt()), before);
    done(backup("--retention=9"), DONE);
    assert!(new.latest().text("manifest.json").contains("\"seq\":5,"), "{}", new.latest().text("manifest.json"));
    assert_eq!(brought_back(&new, &newer), "after the recovery");
}

/// Both forms of name, and archives without a manifest.
fn original(stick: &Stick, names: &[&str]) {
    stick.edit(|root| {
        for name in names {
            let dir = tempfile::tempdir().unwrap();
            let tree = Tree::at(dir.path().join("snapshot"));
            tree.file("master/a.csv", name, ago(500)).file("db/pg_dump.sql", "CREATE TABLE t (a int);\n", ago(500));
            shell(dir.path(), &format!("tar --zstd -cf {} -C snapshot .", root.path(name).display()));
        }
    });
}

#[test]
fn the_original_system_s_archives_are_restored_counted_and_pruned() {
    let site = Site::new();
    original(
        &site.stick,
        &["2020-01-03_023000_full.tar.zst", "2020-01-04_full.tar.zst", "2020-01-05_023000_full.tar.zst"],
    );
    assert_eq!(brought_back(&site, &site.stick), "2020-01-05_023000_full.tar.zst");
    let dry = done(site.backup().flag("--retention=3").flag("--dry-run"), DONE);
    assert!(dry.plan().iter().any(|line| line.starts_with("remove 2020-01-03_023000_full.tar.zst")), "{dry}");
    done(site.backup().flag("--retention=3"), DONE);
    let left = site.stick.read(archives);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(!left.contains(&"2020-01-03_023000_full.tar.zst".to_owned()), "{left:?}");
    assert_eq!(brought_back(&site, &site.stick), "a1");
}

#[test]
fn the_original_system_s_snapshot_is_backed_up_and_called_unproven() {
    let site = Site::new();
    std::fs::remove_dir_all(site.server.path("snapshots")).unwrap();
    let snapshot = site.server.tree().sub("snapshots/2020-01-03_023000");
    snapshot.file("master/a.csv", "of the original", ago(500)).file("docviewer/plan.pdf", "p", ago(500));
    snapshot.file("db/pg_dump.sql", "CREATE TABLE t (a int);\n", ago(500)).link("master/link", "/etc/passwd");
    let before = site.server.tree().sub("snapshots").snapshot_of_inodes();
    let dry = done(site.backup().flag("--dry-run"), DONE);
    assert!(dry.stderr.contains("it is backed up as it is, unproven"), "{dry}");
    let run = done(site.backup(), "backup export completed archive=2020-01-03_full.tar.zst");
    run.messages().contains("unproven").then_some(()).expect("the log calls it so");
    assert_eq!(site.server.tree().sub("snapshots").snapshot_of_inodes(), before, "it stays as it is");
    let receipt = site.stick.read(|root| root.text("RESULT.txt"));
    assert!(receipt.contains("2020-01-03 02:30:00") && receipt.contains("前のシステムのもの"), "{receipt}");
    assert_eq!(brought_back(&site, &site.stick), "of the original");
    let again = done(site.backup(), DONE);
    assert!(again.stderr.contains("on the stick already, and sound"), "{again}");
    snapshot.file("master/a.csv", "OF THE ORIGINAL", ago(500));
    let anew = done(site.backup(), DONE);
    assert!(anew.stderr.contains("is of another snapshot"), "{anew}");
    // Our first one is newer than it.
    site.snapshot();
    done(site.backup(), DONE);
    assert_eq!(brought_back(&site, &site.stick), "a1");
}

#[test]
fn a_snapshot_later_than_the_clock_is_not_fresh() {
    let site = Site::new();
    site.call(&["snapshot"]).clock("+20d").finish().ended(0);
    let call = || -> Call<'_> { site.backup() };
    call().finish().warns_of("the newest snapshot is later than the clock");
    let before = site.snapshots().len();
    done(call().flag("--fresh=24h"), DONE);
    assert_eq!(site.snapshots().len(), before + 1);
    let receipt = site.stick.read(|root| root.text("RESULT.txt"));
    assert!(receipt.contains(" のスナップショットです"), "{receipt}");
}

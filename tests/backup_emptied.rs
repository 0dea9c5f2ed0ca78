//! A dataset or the database that was emptied (SPEC 7): the snapshot is taken and says so, and the last generation that holds it stays on
//! the disk and on the stick.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::postgres::postgres;
use common::site::{Site, archives, done, shell};
use common::{Tree, ago, tool};
use serde_json::Value;

const DONE: &str = "backup export completed";

/// What `status` says of the snapshots: its verdict and its text.
fn verdict(site: &Site, clock: &str) -> (String, String) {
    check(site, clock, "snapshot")
}

fn check(site: &Site, clock: &str, key: &str) -> (String, String) {
    let run = site.call(&["status", "--json"]).clock(clock).finish();
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let check = json["checks"].as_array().unwrap().iter().find(|check| check["key"] == key).unwrap().clone();
    (check["verdict"].as_str().unwrap().to_owned(), check["text"].as_str().unwrap().to_owned())
}

/// A snapshot and a backup of each of the days, counted from now.
fn nights(site: &Site, days: std::ops::Range<u32>) {
    for day in days {
        done(site.call(&["snapshot"]).clock(&format!("+{day}d")), "snapshot completed");
        done(site.backup().flag("--retention=3").clock(&format!("+{day}d")), DONE);
    }
}

#[test]
fn the_last_copy_of_an_emptied_database_stays_until_the_database_is_filled_again() {
    let site = Site::new();
    done(site.backup(), DONE);
    let last = site.latest();
    let before = site.stick.read(archives);
    site.database.psql("DROP TABLE part_locations");
    nights(&site, 1..13);
    let (said, text) = verdict(&site, "+12d");
    assert_eq!(said, "bad");
    assert!(
        text.contains("データベースの表") && text.contains(last.path("").file_name().unwrap().to_str().unwrap()),
        "{text}"
    );
    assert!(last.has("db/pg_dump.sql"), "it is older than all that retention keeps");
    assert_eq!(site.snapshots().len(), 8);
    let archives_now = site.stick.read(archives);
    assert!(archives_now.len() == 4 && archives_now.contains(&before[0]), "{archives_now:?}");

    // It can be brought back by its name, all of it.
    let dir = tempfile::tempdir().unwrap();
    let (dest, empty) = (dir.path().join("out"), postgres().database());
    let arguments =
        ["restore", "--device", site.stick.device(), "--archive", &before[0], "--dest", dest.to_str().unwrap()];
    done(site.call(&arguments).flag(&format!("--pg-uri={}", postgres().uri_text(&empty.name))), "restore completed");
    assert_eq!(empty.psql("SELECT count(*) FROM part_locations"), "1000\n");

    // Filled again: nothing is red, and the old ones may go.
    site.database.psql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    nights(&site, 13..15);
    assert_eq!(verdict(&site, "+14d").0, "good");
    assert!(!last.has("db/pg_dump.sql"));
    assert!(!site.stick.read(archives).contains(&before[0]));
}

#[test]
fn each_part_counts_by_itself_and_is_red_until_it_is_acknowledged() {
    let site = Site::new();
    let first = site.latest();
    site.database.psql("DELETE FROM part_locations");
    done(site.call(&["snapshot"]), "snapshot completed");
    assert!(verdict(&site, "+0").1.contains("データベースの行"), "tables without a row");
    let run = done(site.call(&["snapshot", "--accept"]), "snapshot completed");
    assert!(run.stderr.contains("rows: empty, as acknowledged"), "{run}");
    assert_eq!(verdict(&site, "+0").0, "good");
    site.server.tree().remove("docviewer");
    let run = done(site.call(&["snapshot"]), "snapshot completed");
    assert!(!run.stderr.contains("rows: "), "{run}");
    let (said, text) = verdict(&site, "+0");
    assert!(said == "bad" && text.contains("docviewer") && !text.contains("行"), "{text}");
    // Filled and emptied once more: an acknowledgement is of that time.
    site.database.psql("INSERT INTO part_locations VALUES ('a', 'b')");
    done(site.call(&["snapshot", "--accept"]), "snapshot completed");
    assert_eq!(verdict(&site, "+0").0, "good");
    site.database.psql("DELETE FROM part_locations");
    done(site.call(&["snapshot"]), "snapshot completed");
    assert!(verdict(&site, "+0").1.contains("データベースの行"));
    assert!(first.has("docviewer/plan.pdf"));
}

#[test]
fn a_backup_is_as_old_as_what_it_holds_and_a_snapshot_may_not_be_from_tomorrow() {
    let site = Site::new();
    done(site.backup().clock("+30d"), DONE);
    assert_eq!(check(&site, "+31d", "backup").0, "good");
    let (said, text) = check(&site, "+40d", "backup");
    assert!(said == "bad" && text.contains("のスナップショットで、35 日より古い"), "{text}");
    let (said, text) = check(&site, "-1d", "snapshot");
    assert!(said == "bad" && text.contains("時計より先です"), "{text}");
}

/// On the same day there is one name for both; the last good one gets another.
#[test]
fn the_archive_of_the_day_is_not_replaced_by_one_that_lacks_what_only_it_holds() {
    let site = Site::new();
    done(site.backup(), DONE);
    let good = site.archive();
    site.server.tree().remove("docviewer").dir("docviewer");
    site.snapshot();
    let dry = done(site.backup().flag("--dry-run"), DONE);
    assert!(dry.plan().iter().any(|line| line.starts_with("keep 20")), "{dry}");
    done(site.backup().flag("--retention=1"), DONE);
    site.stick.read(|root| {
        let names = archives(root);
        assert_eq!(names.len(), 2, "{names:?}");
        let kept = names.iter().find(|name| **name != good.1).unwrap();
        assert!(std::fs::read(root.path(kept)).unwrap() == good.0);
        shell(&root.path(""), "cat *.sha256 | sha256sum --quiet -c -");
        assert!(kept.len() == "2026-01-31_023000_full.tar.zst".len(), "{kept}");
    });
    // The next of that day replaces the one that holds no drawings.
    site.server.master().file("a.csv", "later", ago(5));
    site.snapshot();
    done(site.backup().flag("--retention=1"), DONE);
    assert_eq!(site.stick.read(archives).len(), 2);
    let dir = tempfile::tempdir().unwrap();
    let dest = Tree::at(dir.path().join("out"));
    let path = dest.path("");
    done(
        site.call(&["restore", "--device", site.stick.device(), "--dest", path.to_str().unwrap()]),
        "restore completed",
    );
    assert_eq!(dest.text("master/a.csv"), "later");
}

/// The last archive that holds the database rotted on the stick: the one before it is the last good copy.
#[test]
fn a_rotten_archive_takes_no_older_ones_place() {
    let site = Site::new();
    nights(&site, 0..2);
    let full = site.stick.read(archives);
    let [good, rotten] = [&full[0], &full[1]];
    let flip = || {
        site.stick.edit(|root| {
            let mut archive = std::fs::read(root.path(rotten)).unwrap();
            let end = archive.len() - 2;
            archive[end] ^= 1;
            std::fs::write(root.path(rotten), archive).unwrap();
        });
    };
    flip();
    site.database.psql("DROP TABLE part_locations");
    let backup = || site.backup().flag("--retention=1").clock("+2d");
    done(site.call(&["snapshot"]).clock("+2d"), "snapshot completed");
    let dry = done(backup().flag("--dry-run"), DONE);
    assert!(dry.plan().iter().all(|line| !line.starts_with("remove")), "{dry}");
    done(backup(), DONE).warns_of(&format!("{rotten} takes no older archive's place"));
    let now = site.stick.read(archives);
    assert!(now.len() == 3 && now.contains(good) && now.contains(rotten), "{now:?}");
    // Had it been sound, it would have been enough.
    flip();
    done(backup(), DONE);
    assert!(!site.stick.read(archives).contains(good));
}

#[test]
fn a_server_that_holds_nothing_at_all_makes_no_backup() {
    let site = Site::new();
    done(site.backup(), DONE);
    let before = site.stick.read(|root| root.snapshot_but_the_receipt());
    site.database.psql("DROP TABLE part_locations");
    for dataset in ["master", "docviewer"] {
        site.server.tree().remove(dataset).dir(dataset);
    }
    site.snapshot();
    site.backup().fails(3).says("holds neither files nor tables");
    assert_eq!(site.stick.read(|root| root.snapshot_but_the_receipt()), before);
}

/// A file that is `master/a.csv` in a snapshot gets another content under the same size and time.
fn rot(site: &Site, path: &Path) {
    let reference = format!("--reference={}", site.server.path("master/a.csv").display());
    std::fs::write(path, "XX").unwrap();
    tool("touch", &[&reference, path.to_str().unwrap()]);
}

/// One rotten byte, the live file is sound: the next snapshot copies it anew, and then there is a backup.
#[test]
fn a_rotten_file_of_a_snapshot_is_copied_anew_by_the_next_one() {
    let site = Site::new();
    let rotten = site.latest().path("master/a.csv");
    let rot = |path: &Path| rot(&site, path);
    rot(&rotten);
    // Shared on as long as nobody has read it.
    site.snapshot();
    assert_eq!(site.latest().text("master/a.csv"), "XX");
    let run = site.backup().fails(1);
    assert!(run.stderr.contains("master/a.csv") && run.stderr.contains("sudo tool-snapshot.sh"), "{run}");
    let run = done(site.call(&["snapshot"]), "snapshot completed");
    assert!(run.stderr.contains("master/a.csv was found rotten"), "{run}");
    assert_eq!(site.latest().text("master/a.csv"), "a1");
    assert!(!site.server.tree().has(".toolmaster/rotten"));
    done(site.backup(), DONE);
    site.unpacked();
    // A unit's next run takes one by itself, however fresh the rotten one is.
    rot(&site.latest().path("master/a.csv"));
    site.stick.edit(|root| {
        for name in archives(root) {
            root.remove(name);
        }
    });
    site.backup().flag("--fresh=24h").fails(1);
    done(site.backup().flag("--fresh=24h"), DONE);
    site.unpacked();
}

/// Whoever finds it: a restore, or a look at the snapshot.
#[test]
fn a_file_that_a_restore_finds_rotten_is_copied_anew_by_the_next_snapshot() {
    let site = Site::new();
    let first = site.latest();
    site.snapshot();
    rot(&site, &first.path("master/a.csv"));
    let path = first.path("");
    site.call(&["restore", "--check", "--snapshot", path.to_str().unwrap()]).fails(2);
    // It was shared with the newest one.
    done(site.call(&["snapshot"]), "snapshot completed");
    assert_eq!(site.latest().text("master/a.csv"), "a1");
    done(site.backup(), DONE);
}

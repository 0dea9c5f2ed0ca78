//! What `backup` makes of the stick that it meets and of the snapshots that there are (SPEC 7): full sticks, empty servers,
//! old snapshots, what an earlier run left.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::site::{Site, archives, backup_stick, done, shell};
use common::{Server, Stick, Tree, ago, noise};

const DOWN: &str = "postgresql://nobody@127.0.0.1:9/none";
/// What each archive of [`full_of_old_archives`] takes, bytes.
const ARCHIVE: usize = 3_000_000;

/// A site whose stick holds four archives of the last days, as large as the next one will be, and has no room for that.
fn full_of_old_archives() -> Site {
    let site = Site { stick: backup_stick(32), ..Site::new() };
    for snapshot in site.snapshots() {
        fs::remove_dir_all(site.server.path("snapshots").join(snapshot)).unwrap();
    }
    for day in [4, 3, 2, 1] {
        site.server.docviewer().file("drawing.bin", noise(u64::from(day), ARCHIVE), ago(50 + i64::from(day)));
        site.snapshot_of(day);
        done(site.backup(), "backup export completed");
    }
    site.server.docviewer().file("drawing.bin", noise(9, ARCHIVE), ago(40));
    site.snapshot();
    fill(&site.stick, ARCHIVE as u64 / 2);
    site
}

/// An operator's own files leave so many bytes of room.
fn fill(stick: &Stick, left: u64) {
    stick.edit(|root| {
        let room = rustix::fs::statvfs(root.path("")).unwrap();
        let size = room.f_bavail * room.f_frsize - left;
        root.file("own/notes.bin", vec![0; size as usize], ago(60));
    });
}

fn names(stick: &Stick) -> Vec<String> {
    stick.read(archives)
}

#[test]
fn surplus_archives_go_first_where_only_they_are_in_the_way() {
    let site = full_of_old_archives();
    let before = names(&site.stick);
    assert_eq!(before.len(), 4);
    let dry = done(site.backup().flag("--dry-run"), "backup export completed");
    assert!(dry.plan().contains(&format!("remove {} from the stick to make room", before[0]).as_str()), "{dry}");
    assert_eq!(names(&site.stick), before);

    let run = done(site.backup(), "backup export completed");
    let line = |words: String| run.stderr.find(&words).unwrap_or_else(|| panic!("no {words:?}: {run}"));
    let verified = line(format!("{} on the stick is sound", before[3]));
    assert!(verified < line(format!("{} removed from the stick to make room", before[0])), "{run}");
    let after = names(&site.stick);
    assert_eq!((after.len(), &after[..3]), (4, &before[1..]), "the oldest is gone, the new one there");
    site.check().finish().ended(0);
}

#[test]
fn no_archive_goes_while_the_newest_on_the_stick_is_damaged() {
    let site = full_of_old_archives();
    let newest = names(&site.stick).pop().unwrap();
    site.stick.edit(|root| {
        let mut bytes = fs::read(root.path(&newest)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(root.path(&newest), bytes).unwrap();
    });
    let before = site.stick.read(Tree::snapshot);
    let run = site.backup().fails(2);
    assert!(run.stderr.contains(&newest) && run.stderr.contains("no older archive is removed"), "{run}");
    assert_eq!(site.stick.read(Tree::snapshot), before);
    assert!(site.server.tree().text("logs/usb_guard.log").contains(&newest), "a refused stick is told there");
}

#[test]
fn without_room_even_then_nothing_is_changed() {
    let site = full_of_old_archives();
    site.server.docviewer().file("large.bin", noise(8, 2 * ARCHIVE), ago(30));
    site.snapshot();
    let before = site.stick.read(Tree::snapshot_but_the_receipt);
    // One surplus archive is not enough; with the retention of one, all but the newest would do.
    let run = site.backup().fails(1);
    assert!(run.stderr.contains("bytes needed") && run.stderr.contains("bytes free"), "{run}");
    assert_eq!(site.stick.read(Tree::snapshot_but_the_receipt), before);
    let last = names(&site.stick).pop().unwrap();
    done(site.backup().flag("--retention=1"), "backup export completed");
    assert_eq!(names(&site.stick).len(), 1);

    // The newest archive is never what makes room.
    site.stick.edit(|root| {
        let only = archives(root).pop().unwrap();
        fs::rename(root.path(&only), root.path(&last)).unwrap();
        fs::rename(root.path(format!("{only}.sha256")), root.path(format!("{last}.sha256"))).unwrap();
        fs::remove_file(root.path("own/notes.bin")).unwrap();
    });
    fill(&site.stick, ARCHIVE as u64);
    let before = site.stick.read(Tree::snapshot_but_the_receipt);
    site.backup().flag("--retention=1").fails(1);
    assert_eq!(site.stick.read(Tree::snapshot_but_the_receipt), before);
}

#[test]
fn nothing_goes_while_the_clock_is_not_believed() {
    let site = Site::new();
    site.stick.edit(|root| {
        for day in 1..=5 {
            root.file(format!("2020-01-0{day}_full.tar.zst"), "old", ago(60));
        }
    });
    done(site.backup().clock("-400d"), "backup export completed");
    assert_eq!(names(&site.stick).len(), 6);
    done(site.backup(), "backup export completed");
    assert_eq!(names(&site.stick).len(), 4, "the next run, whose clock is right, takes the surplus away");
}

#[test]
fn a_server_with_neither_data_nor_tables_makes_no_backup() {
    let site = Site::without_tables(Server::new());
    site.server.tree().dir("master").dir("docviewer");
    let before = site.stick.bytes();
    site.backup().fails(3);
    site.snapshot();
    for more in ["--retention=4", "--fresh=1h"] {
        // With the second one a snapshot is taken first, and completed.
        let run = site.backup().flag(more).finish();
        assert!(run.code == Some(3) && run.stderr.contains("neither files nor tables"), "{run}");
    }
    assert!(site.stick.bytes() == before, "not a byte of the stick is changed");
    // A table is enough, and so is a file; the snapshot of a moment ago, without it, is not fresh enough.
    site.database.psql("CREATE TABLE t (a int)");
    done(site.backup().flag("--fresh=1h"), "backup export completed");
}

#[test]
fn an_old_snapshot_is_warned_of_by_hand_and_renewed_by_the_unit() {
    let site = Site::without_tables(Server::new());
    common::sample(&site.server.tree(), ago(3600));
    site.snapshot_of(3);
    let old = site.snapshots();
    let run = done(site.backup(), "backup export completed");
    assert!(
        run.stderr.contains("[warn] the newest snapshot is 72 hours old") || run.stderr.contains("72 hours old"),
        "{run}"
    );
    assert_eq!(site.snapshots(), old);

    let run = done(site.backup().flag("--fresh=24h"), "backup export completed");
    assert_eq!(site.snapshots().len(), 2, "{run}");
    let newest = &site.snapshots()[1][..10];
    assert_eq!(names(&site.stick).last().unwrap(), &format!("{newest}_full.tar.zst"));
    // It is fresh now.
    done(site.backup().flag("--fresh=24h"), "backup export completed");
    assert_eq!(site.snapshots().len(), 2);
    site.backup().flag("--fresh=soon").fails(64);
}

#[test]
fn without_the_database_the_unit_backs_up_the_newest_and_says_so() {
    let site = Site::without_tables(Server::new());
    common::sample(&site.server.tree(), ago(3600));
    let fresh = || site.backup().flag("--fresh=24h").var("PG_URI", DOWN);
    let before = site.stick.bytes();
    let run = fresh().fails(3);
    assert!(run.stderr.contains("Connection refused"), "{run}");
    assert!(site.stick.bytes() == before);

    site.snapshot_of(3);
    let old = site.snapshots();
    let run = done(fresh(), "backup export completed");
    assert!(run.stderr.contains("Connection refused"), "{run}");
    assert!(run.stderr.contains("no fresh snapshot could be taken: the newest one is backed up"), "{run}");
    assert_eq!(site.snapshots(), old);
    assert_eq!(names(&site.stick), [format!("{}_full.tar.zst", &old[0][..10])]);
    let jobs = site.server.tree().text("logs/jobs.jsonl");
    let results: Vec<_> = jobs.lines().rev().take(2).map(|line| line.contains("\"done\"")).collect();
    assert_eq!(results, [true, false], "the backup is done, the snapshot has failed: {jobs}");
}

#[test]
fn what_a_cut_off_run_left_undone_is_done_without_writing_the_archive_again() {
    let site = Site::new();
    done(site.backup(), "backup export completed");
    let name = names(&site.stick).pop().unwrap();
    let (checksum, server, inode) = site.stick.edit(|root| {
        let inode = root.path(&name).metadata().unwrap().ino();
        let texts = (root.text(format!("{name}.sha256")), root.text(".toolmaster/server"));
        root.remove(format!("{name}.sha256")).remove(".toolmaster/server");
        root.file(".toolmaster/tmp/archive", "half", ago(60)).file("2020-01-01_full.tar.zst", "surplus", ago(60));
        (texts.0, texts.1, inode)
    });
    let run = done(site.backup().flag("--retention=1"), "backup export completed");
    assert!(run.stderr.contains("on the stick already, and sound"), "{run}");
    site.stick.read(|root| {
        assert_eq!((root.text(format!("{name}.sha256")), root.text(".toolmaster/server")), (checksum, server));
        assert_eq!(root.path(&name).metadata().unwrap().ino(), inode);
        assert!(archives(root) == [name.as_str()]);
        assert!(!root.has(".toolmaster/tmp"));
    });
    // A checksum that belies its archive is no crash's work.
    site.stick.edit(|root| fs::write(root.path(format!("{name}.sha256")), "0".repeat(64)).unwrap());
    let run = done(site.backup(), "backup export completed");
    assert!(run.stderr.contains("is written anew"), "{run}");
    site.unpacked();
}

#[test]
fn a_directory_in_the_archives_place_is_left_alone() {
    let site = Site::new();
    let name = format!("{}_full.tar.zst", &site.snapshots()[0][..10]);
    site.stick.edit(|root| {
        root.file(format!("{name}/own.txt"), "an operator's", ago(60));
    });
    let before = site.stick.read(Tree::snapshot);
    site.backup().fails(2);
    assert_eq!(site.stick.read(Tree::snapshot), before);
}

/// Kills it at every step that makes something durable, visible or gone; what the medium holds then is looked at as after
/// a power cut.
#[test]
fn killed_at_any_step_it_leaves_whole_archives_and_the_next_run_finishes() {
    let site = Site::new();
    site.stick.edit(|root| {
        root.file("2020-01-01_full.tar.zst", "surplus", ago(60));
    });
    let blank = site.stick.copy();
    let mut kills = Vec::new();
    for call in ["fsync", "syncfs", "renameat", "unlinkat", "umount2"] {
        let before = kills.len();
        for number in 1.. {
            let stick = blank.copy();
            if !killed_at(&site, &stick, call, number) {
                break;
            }
            kills.push(format!("{call} {number}"));
            recovers(&site, &stick.copy(), &kills[kills.len() - 1]);
        }
        assert!(kills.len() > before, "it never comes to {call}");
    }
    println!("killed at {kills:?}");
    assert!(kills.len() >= 15, "{kills:?}");
}

/// `false`: it came to its end before.
fn killed_at(site: &Site, stick: &Stick, call: &str, number: usize) -> bool {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={number}"));
    let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let run = site.call(&["backup", "--device", stick.device(), "--retention=1"]).through(&strace).start().wait();
    assert!(matches!(run.code, None | Some(0)), "{run}");
    run.code.is_none()
}

fn recovers(site: &Site, cut: &Stick, step: &str) {
    cut.edit(|root| {
        assert!(!archives(root).is_empty(), "{step}: no archive is left");
        for name in archives(root).iter().filter(|name| !name.starts_with("2020")) {
            let path = root.path(name);
            site.call(&["restore", "--check", "--archive", path.to_str().unwrap()]).finish().ended(0);
            let sums = format!("{name}.sha256");
            assert!(!root.has(&sums) || !shell(&root.path(""), &format!("sha256sum -c {sums}")).is_empty());
        }
    });
    done(site.call(&["backup", "--device", cut.device(), "--retention=1"]), "backup export completed");
    cut.read(|root| {
        let names = archives(root);
        assert!(names.len() == 1 && !names[0].starts_with("2020") && !root.has(".toolmaster/tmp"), "{step}: {names:?}");
        shell(&root.path(""), &format!("sha256sum -c {}.sha256", names[0]));
    });
}

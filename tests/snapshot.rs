//! `snapshot` (SPEC 7) with a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use common::call::Call;
use common::postgres::{Database, postgres};
use common::{Run, Server, Tree, ago, sample};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use toolmaster::os::dir::Dir;
use toolmaster::os::lock::Lock;

struct Site {
    server: Server,
    database: Database,
}

impl Site {
    fn new() -> Site {
        let site = Site { server: Server::new(), database: postgres().database() };
        sample(&site.server.tree(), ago(3600));
        site.database.psql("CREATE TABLE part_locations (order_code text PRIMARY KEY, location_code text)");
        site.database.psql("INSERT INTO part_locations SELECT n, '第' || n || '棚' FROM generate_series(1, 100) n");
        site
    }

    fn call(&self) -> Call<'_> {
        Call::new(&self.server, &["snapshot"], None).var("PG_URI", postgres().uri_text(&self.database.name))
    }

    fn take(&self) -> Tree {
        let run = done(self.call());
        let dest = run.stderr.lines().last().unwrap().rsplit_once("dest=").unwrap().1;
        assert_eq!(std::fs::canonicalize(self.server.path("snapshots/latest")).unwrap(), Path::new(dest));
        Tree::at(dest)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.server.path("snapshots")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "latest");
        names.sort();
        names
    }
}

fn done(call: Call<'_>) -> Run {
    let run = call.finish();
    run.ended(0);
    let last = run.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("snapshot completed (dry_run="), "{run}");
    run
}

fn inode(path: PathBuf) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

#[test]
fn holds_the_data_the_dump_and_a_manifest_of_all() {
    let site = Site::new();
    let snapshot = site.take();
    for dataset in ["master", "docviewer"] {
        assert_eq!(snapshot.sub(dataset).files(), site.server.tree().sub(dataset).files());
    }
    assert!(snapshot.text("db/pg_dump.sql").contains("CREATE TABLE"));
    let manifest: serde_json::Value = serde_json::from_str(&snapshot.text("manifest.json")).unwrap();
    let listed: Vec<_> =
        manifest["files"].as_array().unwrap().iter().filter_map(|file| file["path"].as_str()).collect();
    let data = [
        "db/globals.sql",
        "db/pg_dump.sql",
        "docviewer/meta.json",
        "docviewer/plan.pdf",
        "master/a.csv",
        "master/b.csv",
        "master/meta.json",
        "master/sub/c.csv",
    ];
    assert_eq!(listed.iter().filter(|path| !path.starts_with("settings/")).copied().collect::<Vec<_>>(), data);
    assert_eq!(manifest["seq"], 1);
    let mode = |name: &str| std::fs::metadata(snapshot.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("db/pg_dump.sql")), (0o700, 0o600));
}

#[test]
fn what_did_not_change_is_shared_with_the_snapshot_before_and_never_with_live_data() {
    let site = Site::new();
    let first = site.take();
    site.server.master().file("a.csv", "changed", ago(60));
    let second = site.take();
    assert_eq!(inode(first.path("master/b.csv")), inode(second.path("master/b.csv")));
    assert_ne!(inode(second.path("master/b.csv")), inode(site.server.path("master/b.csv")));
    assert_eq!(first.text("master/a.csv"), "a1");
    assert_eq!(second.text("master/a.csv"), "changed");
    // An edit in place reaches no snapshot.
    std::fs::write(site.server.path("master/b.csv"), "XX").unwrap();
    assert_eq!(second.text("master/b.csv"), "b1");
}

#[test]
fn two_in_one_second_and_the_newest_is_the_one_with_the_highest_number() {
    let site = Site::new();
    let names: Vec<_> = (0..3).map(|_| site.take().path("").file_name().unwrap().to_owned()).collect();
    assert_eq!(site.names().len(), 3, "{names:?}");
    // A clock that went back makes an older name; the number still tells.
    let run = done(site.call().clock("-40d"));
    let back = run.stderr.lines().last().unwrap().rsplit_once("dest=").unwrap().1;
    let manifest = Tree::at(back).text("manifest.json");
    assert!(manifest.contains("\"seq\":4"), "{manifest}");
    assert_eq!(std::fs::canonicalize(site.server.path("snapshots/latest")).unwrap(), Path::new(back));
}

#[test]
fn a_database_that_is_down_leaves_no_snapshot_and_removes_none() {
    let site = Site::new();
    site.take();
    let before = site.names();
    let run = site.call().var("PG_URI", "postgresql://nobody:secret-word@127.0.0.1:9/none").fails(1);
    assert_eq!(site.names(), before);
    assert!(!run.stderr.contains("secret-word"), "{run}");
    let record = site.server.last_job().to_string();
    assert!(!record.contains("secret-word"), "{record}");
}

#[test]
fn an_emptied_source_is_taken_and_told_and_one_that_never_was_is_refused() {
    let site = Site::new();
    let first = site.take();
    site.server.tree().remove("master").dir("master");
    done(site.call().flag("--dry-run"))
        .stderr
        .contains("master: empty or missing now")
        .then_some(())
        .expect("it says so");
    let run = done(site.call());
    run.warns_of("master: empty or missing now, filled in snapshot")
        .warns_of(first.path("").file_name().unwrap().to_str().unwrap());
    for gone in ["master", "docviewer"] {
        site.server.tree().remove(gone);
        let run = done(site.call());
        run.warns_of(&format!("{gone}: not on the server")).warns_of(&format!("{gone}: empty or missing now"));
    }
    // Both are gone and the database is not: what is left is taken.
    let taken = Tree::at(site.server.path("snapshots/latest"));
    assert!(taken.text("manifest.json").contains(r#""filled":["tables","rows"]"#), "{}", taken.text("manifest.json"));
    let never = Site { server: Server::new(), ..Site::new() };
    never.call().fails(3).says("the server has neither master nor docviewer");
    assert!(!never.server.tree().has("snapshots/latest"));
}

#[test]
fn a_number_is_used_once_also_after_its_snapshot_was_removed_by_hand() {
    let site = Site::new();
    let number = |snapshot: &Tree| -> u64 {
        let manifest: serde_json::Value = serde_json::from_str(&snapshot.text("manifest.json")).unwrap();
        manifest["seq"].as_u64().unwrap()
    };
    assert_eq!([number(&site.take()), number(&site.take())], [1, 2]);
    std::fs::remove_dir_all(std::fs::canonicalize(site.server.path("snapshots/latest")).unwrap()).unwrap();
    assert_eq!(number(&site.take()), 3);
    std::fs::remove_dir_all(site.server.path("snapshots")).unwrap();
    assert_eq!(number(&site.take()), 4);
    // A run that fails uses none.
    site.call().var("PG_URI", "postgresql://nobody@127.0.0.1:9/none").fails(1);
    assert_eq!(number(&site.take()), 5);
    // The note is lost, as with a state from before there was one: what is there counts.
    site.server.tree().remove(".toolmaster/snapshot-number");
    assert_eq!(number(&site.take()), 6);
}

#[test]
fn a_dry_run_changes_nothing() {
    let site = Site::new();
    let before = site.server.tree().snapshot_of_inodes();
    let run = done(site.call().flag("--dry-run"));
    assert!(run.plan().len() >= 3, "{run}");
    assert_eq!(site.server.tree().snapshot_of_inodes(), before);
}

/// What the run would not get from the database, the dry run does not get either.
#[test]
fn a_dry_run_ends_as_the_run_does() {
    let site = Site::new();
    let elsewhere = postgres().uri_text("nowhere");
    site.database.psql("CREATE TABLE broken (label text); CREATE TYPE mood AS ENUM ('well'); ALTER TABLE broken ADD a mood; INSERT INTO broken VALUES ('x', 'well')");
    for (arguments, says) in [
        (vec![format!("--pg-uri={elsewhere}")], "nowhere"),
        (vec!["--pg-option=--no-such-option".to_owned()], "no-such-option"),
        (vec![], ""),
    ] {
        if says.is_empty() {
            site.database.psql("DELETE FROM pg_enum WHERE enumlabel = 'well'");
        }
        let ends = |flag: &[&str]| {
            let call = arguments.iter().fold(site.call(), |call, argument| call.flag(argument));
            let run = flag.iter().fold(call, |call, flag| call.flag(flag)).finish();
            assert!(run.stderr.contains(says) && !run.stderr.contains("invalid snapshot identifier"), "{run}");
            run.code
        };
        assert_eq!(ends(&["--dry-run"]), ends(&[]));
        assert_ne!(ends(&["--dry-run"]), Some(0), "{arguments:?}");
    }
    assert_eq!(site.names(), [""; 0]);
}

#[test]
fn retention_keeps_the_newest_seven_whatever_their_age() {
    let site = Site::new();
    for day in 0..9 {
        done(site.call().clock(&format!("-{}d", 60 - day)));
    }
    assert_eq!(site.names().len(), 9, "nothing is old for the clock that made them");
    done(site.call().flag("--retention-days=30"));
    assert_eq!(site.names().len(), 7);
    done(site.call().flag("--retention-days=30"));
    assert_eq!(site.names().len(), 7);
}

#[test]
fn what_a_killed_run_left_is_cleared_and_never_taken_for_a_snapshot() {
    let site = Site::new();
    site.take();
    let root = Tree::at(site.server.path("snapshots"));
    root.file(".building/master/a.csv", "half", ago(60)).file("notes/keep.txt", "an operator's", ago(60));
    let names = site.names().len();
    site.take();
    assert!(!root.has(".building"));
    assert!(root.has("notes/keep.txt"));
    assert_eq!(site.names().len(), names);
}

/// What an ingest has locked is waited for, and what it exchanged then is taken: never the directory that stood there
/// when the snapshot began.
#[test]
fn a_dataset_is_read_under_its_lock() {
    for name in ["master", "docviewer"] {
        let site = Site::new();
        site.take();
        let lock = Lock::file(&Dir::open(&site.server.path(".toolmaster")).unwrap(), &format!("{name}.lock")).unwrap();
        let mut run = site.call().start();
        let said = run.said();
        run.until("it waits", || said().contains(&format!("/{name}.lock in use")));
        let tree = site.server.tree();
        tree.sub("next").file("new.csv", "new", ago(5)).meta(ago(5));
        let (next, live) = (site.server.path("next"), site.server.path(name));
        renameat_with(CWD, &next, CWD, &live, RenameFlags::EXCHANGE).unwrap();
        std::fs::remove_dir_all(next).unwrap();
        drop(lock);
        run.wait().ended(0);
        let taken = Tree::at(site.server.path("snapshots/latest"));
        assert_eq!(taken.sub(name).files(), tree.sub(name).files());
    }
}

/// Ends the thread that looks at it, also where the test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Files wander between two directories, and one is exchanged for another all the time. Whatever of it a snapshot meets, it
/// has every file or does not become one.
#[test]
fn a_snapshot_of_what_is_being_changed_is_whole_or_none() {
    let site = Site::new();
    site.take();
    let master = site.server.path("master");
    for number in 0..400 {
        site.server.master().file(format!("{}/{number:03}.csv", if number % 2 == 0 { "a" } else { "z" }), "1", ago(50));
    }
    let count = |root: &Path| -> usize {
        let in_dir = |name: &str| std::fs::read_dir(root.join(name)).unwrap().count();
        in_dir("a") + in_dir("z")
    };
    let all = count(&master);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for number in (0..400).step_by(7) {
                    let at = |name: &str| master.join(format!("{name}/{number:03}.csv"));
                    let (from, to) = if at("a").exists() { (at("a"), at("z")) } else { (at("z"), at("a")) };
                    std::fs::rename(from, to).unwrap();
                }
                renameat_with(CWD, master.join("a/002.csv"), CWD, master.join("z/001.csv"), RenameFlags::EXCHANGE)
                    .unwrap();
            }
        });
        let _ending = Ending(&over);
        for _ in 0..6 {
            let before = site.names();
            let run = site.call().finish();
            if run.stderr.contains("snapshot completed") {
                run.ended(0);
                let taken = site.server.path("snapshots/latest/master");
                assert_eq!(count(&taken), all, "{run}");
                let listed = std::fs::read_to_string(site.server.path("snapshots/latest/manifest.json")).unwrap();
                assert_eq!(listed.matches("\"master/a/").count() + listed.matches("\"master/z/").count(), all, "{run}");
            } else {
                run.ended(75);
                run.says("is being changed while the snapshot is taken");
                assert_eq!(site.names(), before);
            }
        }
    });
    let taken = site.take();
    assert_eq!(taken.sub("master").files(), site.server.master().files());
}

#[test]
fn what_is_no_file_is_named() {
    let site = Site::new();
    site.server.master().link("sub/link.csv", "/etc/passwd");
    let run = done(site.call());
    run.warns_of("master/sub/link.csv");
    // A mount is refused before: SPEC 2.
    let share = tempfile::tempdir().unwrap();
    let place = site.server.path("docviewer/share");
    std::fs::create_dir(&place).unwrap();
    mount_bind(share.path(), &place).unwrap();
    let run = site.call().finish();
    unmount(&place, UnmountFlags::DETACH).unwrap();
    run.ended(78);
}

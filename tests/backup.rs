//! `backup` and `restore` (SPEC 7): a snapshot goes to a real stick and comes back, or the stick stays as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use common::call::Call;
use common::postgres::{Database, postgres};
use common::{Run, Server, Stick, Tree, ago, sample, sample_master, tool};
use tempfile::TempDir;

struct Site {
    server: Server,
    stick: Stick,
    database: Database,
}

fn backup_stick(mib: u64) -> Stick {
    let stick = Stick::blank("TM-BACKUP", mib);
    stick.edit(|root| {
        root.file(".toolmaster/role", "BACKUP\n", ago(60));
    });
    stick
}

impl Site {
    fn new() -> Site {
        let site = Site { server: Server::new(), stick: backup_stick(64), database: postgres().database() };
        sample(&site.server.tree(), ago(3600));
        site.server.docviewer().file("図面/長い名前の図面.pdf", "Japanese", ago(70));
        site.database.psql("CREATE TABLE part_locations (order_code text PRIMARY KEY, location_code text)");
        site.database.psql("INSERT INTO part_locations SELECT n, '第' || n || '棚' FROM generate_series(1, 1000) n");
        site.snapshot();
        site
    }

    fn call<'a>(&'a self, arguments: &[&str]) -> Call<'a> {
        Call::new(&self.server, arguments, None).var("PG_URI", postgres().uri_text(&self.database.name))
    }

    fn snapshot(&self) {
        self.call(&["snapshot"]).finish().ended(0);
    }

    fn backup(&self) -> Call<'_> {
        self.call(&["backup", "--device", self.stick.device()])
    }

    /// The newest snapshot's directory.
    fn latest(&self) -> Tree {
        Tree::at(std::fs::canonicalize(self.server.path("snapshots/latest")).unwrap())
    }

    /// A place in the stick's image that holds part of the archive, with a byte of it turned over.
    fn flip_in_archive(&self) {
        let (archive, _) = self.archive();
        let needle = archive.get(archive.len() / 2..).unwrap().get(..64).unwrap();
        let image = self.stick.bytes();
        let at = image.windows(64).position(|window| window == needle).expect("the archive lies in the image");
        let file = std::fs::OpenOptions::new().write(true).open(self.stick.image()).unwrap();
        file.write_all_at(&[needle[0] ^ 1], at as u64).unwrap();
    }

    /// The only archive on the stick: its bytes and its name.
    fn archive(&self) -> (Vec<u8>, String) {
        self.stick.read(|root| {
            let mut names = archives(root);
            let name = names.pop().expect("an archive");
            assert!(names.is_empty(), "{names:?}");
            (std::fs::read(root.path(&name)).unwrap(), name)
        })
    }
}

fn archives(root: &Tree) -> Vec<String> {
    let entries = std::fs::read_dir(root.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with("_full.tar.zst")).collect();
    names.sort();
    names
}

fn done(call: Call<'_>, last: &str) -> Run {
    let run = call.finish();
    run.ended(0);
    assert!(run.stderr.lines().last().unwrap_or_default().starts_with(last), "{run}");
    run
}

/// Stock tools take the stick's archive: what they unpack.
fn unpacked(site: &Site) -> (TempDir, PathBuf) {
    let (archive, name) = site.archive();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(&name);
    std::fs::write(&path, archive).unwrap();
    std::fs::write(dir.path().join("sums"), site.stick.read(|root| root.text(format!("{name}.sha256")))).unwrap();
    let shell = |script: &str| {
        let output = Command::new("sh").args(["-euc", script]).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };
    shell("sha256sum -c sums");
    shell(&format!("zstd -qt {name}"));
    shell(&format!("mkdir out && tar --zstd -xf {name} -C out"));
    let root = site.latest().path("").file_name().unwrap().to_owned();
    let out = dir.path().join("out").join(root);
    (dir, out)
}

#[test]
fn stock_tools_get_back_what_was_in_the_snapshot() {
    let site = Site::new();
    let run = done(site.backup(), "backup export completed archive=");
    assert!(run.stderr.contains(" dry_run=0"), "{run}");
    let (_dir, out) = unpacked(&site);
    tool("diff", &["-r", out.to_str().unwrap(), site.latest().path("").to_str().unwrap()]);
    site.stick.read(|root| assert!(!root.has(".toolmaster/tmp"), "nothing is left of the writing"));
}

#[test]
fn the_same_snapshot_again_is_verified_and_not_written() {
    let site = Site::new();
    done(site.backup(), "backup export completed");
    let before = site.stick.read(|root| root.snapshot());
    let run = done(site.backup(), "backup export completed");
    assert!(run.stderr.contains("on the stick already, and sound"), "{run}");
    assert_eq!(site.stick.read(|root| root.snapshot()), before);
    // One bit turned over on the medium, and it is written anew.
    site.flip_in_archive();
    let run = done(site.backup(), "backup export completed");
    assert!(run.stderr.contains("is written anew"), "{run}");
    unpacked(&site);
}

#[test]
fn a_later_snapshot_of_the_day_replaces_the_archive() {
    let site = Site::new();
    done(site.backup(), "backup export completed");
    site.server.master().file("a.csv", "later", ago(5));
    site.snapshot();
    done(site.backup(), "backup export completed");
    let (_dir, out) = unpacked(&site);
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
    assert_eq!(site.stick.read(|root| root.snapshot()), before);
    other.call(&["stick", "adopt", "--device", site.stick.device()]).finish().ended(0);
    done(other.call(&["backup", "--device", site.stick.device()]), "backup export completed");
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
    let noise: Vec<u8> = (0..20_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    site.server.docviewer().file("large.pdf", noise, ago(50));
    site.snapshot();
    let before = site.stick.read(|root| root.snapshot());
    let run = site.backup().fails(1);
    assert!(run.stderr.contains("bytes needed") && run.stderr.contains("bytes free"), "{run}");
    assert_eq!(site.stick.read(|root| root.snapshot()), before);
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
    .fails(2);
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

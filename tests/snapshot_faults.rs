//! What goes wrong while `snapshot` or `backup` works: exit code, message, and nothing half-done that stays (SPEC 7, 8).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use common::postgres::{TRACE, postgres};
use common::site::{Site, archives, backup_stick, done};
use common::{Call, Run, Server, Stick, ago, noise, sample};
use rustix::process::{Pid, Signal, kill_process};
use toolmaster::os::dir::Dir;
use toolmaster::snapshot::shelf;
use toolmaster::tree::same::Limits;

/// A site with one snapshot and a table `t` of so many rows.
fn site(server: Server, rows: u32) -> Site {
    let site = Site::without_tables(server);
    sample(&site.server.tree(), ago(3600));
    site.database.psql("CREATE TABLE t (a int, b text); CREATE VIEW v AS SELECT 1 AS a");
    site.snapshot();
    site.database.psql(&format!("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, {rows}) n"));
    site
}

/// It fails with code 1 and those words; there is the one snapshot from before, and nothing else.
fn fails(site: &Site, call: Call<'_>, words: &[&str]) -> Run {
    let before = site.snapshots();
    let run = call.fails(1);
    only_whole(site, &before, &run, words);
    run
}

fn only_whole(site: &Site, before: &[String], run: &Run, words: &[&str]) {
    assert!(words.iter().all(|word| run.stderr.contains(word)), "not {words:?}: {run}");
    let last = run.stderr.lines().last().unwrap();
    assert!(last.contains(" -> ") && !run.stderr.contains(TRACE), "{run}");
    assert_eq!(site.snapshots(), before, "nothing half-done stays: {run}");
    assert_eq!(run.job["result"], "failed");
    let latest = fs::read_link(site.server.path("snapshots/latest")).unwrap();
    assert_eq!(latest.to_str(), before.last().map(String::as_str));
    site.call(&["restore", "--check", "--snapshot", site.latest().path("").to_str().unwrap()]).finish().ended(0);
}

/// The trouble is over.
fn works_again(site: &Site) {
    let before = site.snapshots().len();
    done(site.call(&["snapshot"]), "snapshot completed");
    assert_eq!(site.snapshots().len(), before + 1);
}

/// The numbers of the processes that have that in their environment.
fn processes(variable: &str) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |number: &i32| {
        let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|pair| pair == variable.as_bytes())
    };
    numbers.filter(has).collect()
}

#[test]
fn pg_dump_killed_while_it_runs() {
    let site = site(Server::new(), 10);
    let before = site.snapshots();
    let lock = site.database.lock("v");
    let mut run = site.call(&["snapshot"]).start();
    run.until("pg_dump waits for the view", || site.database.waits());
    assert!(site.server.tree().has("snapshots/.building/db/pg_dump.sql"), "it is being written");
    let found = processes(&format!("PGDATABASE={}", site.database.name));
    let pg_dump = |number: &&i32| fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default() == "pg_dump\n";
    let number = found.iter().find(pg_dump).expect("pg_dump runs");
    kill_process(Pid::from_raw(*number).unwrap(), Signal::KILL).unwrap();
    let run = run.wait();
    run.ended(1);
    only_whole(&site, &before, &run, &["pg_dump failed on the database", "signal: 9"]);
    drop(lock);
    works_again(&site);
}

#[test]
fn the_database_is_down_or_does_not_know_us() {
    let site = site(Server::new(), 10);
    let port = common::postgres::free_port();
    let down = format!("postgresql://app:{TRACE}@127.0.0.1:{port}/{}", site.database.name);
    let words = ["psql failed on the database", "Connection refused", "start the database"];
    fails(&site, site.call(&["snapshot"]).var("PG_URI", down), &words);
    let wrong = format!("postgresql://app:{TRACE}-wrong@127.0.0.1:{}/{}", postgres().port, site.database.name);
    let words = ["password authentication failed", "correct the user and the password"];
    fails(&site, site.call(&["snapshot"]).var("PG_URI", wrong), &words);
    assert!(!site.server.tree().text("logs/snapshot.log").contains(TRACE));
    assert!(!site.server.tree().text("logs/jobs.jsonl").contains(TRACE));
    works_again(&site);
}

/// The program's clock, which the limit is measured by, runs three thousand times as fast: its hour is 1.2 seconds.
#[test]
fn a_dump_that_hangs_is_ended_at_its_limit() {
    let site = site(Server::new(), 10);
    let lock = site.database.lock("v");
    let uri = format!("{}?connect_timeout=100000", postgres().uri_text(&site.database.name));
    let call = site.call(&["snapshot"]).var("PG_URI", uri);
    let call = call.clock("+0 x3000").var("FAKETIME_DONT_FAKE_MONOTONIC", "0");
    fails(&site, call, &["pg_dump", "took longer than 3600 s and was ended"]);
    // Its two seconds of grace are over in less than one thousandth; so its session may end with the lock only.
    drop(lock);
    let ended = || !site.database.waits();
    for _ in 0..600 {
        if ended() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(ended(), "pg_dump is still connected");
    works_again(&site);
}

#[test]
fn the_disk_is_full_during_the_dump() {
    let site = site(Server::on_disk(16), 500_000);
    let words = ["cannot write ", "snapshots/.building/db/pg_dump.sql: No space left on device", "make room there"];
    fails(&site, site.call(&["snapshot"]), &words);
    site.database.psql("TRUNCATE t");
    works_again(&site);
}

#[test]
fn the_disk_is_full_while_files_are_taken() {
    let site = site(Server::on_disk(32), 10);
    site.server.docviewer().file("drawing.bin", noise(1, 18_000_000), ago(50));
    let words =
        ["cannot write ", "snapshots/.building/docviewer/drawing.bin: No space left on device", "make room there"];
    fails(&site, site.call(&["snapshot"]), &words);
    site.server.tree().remove("docviewer/drawing.bin");
    works_again(&site);
}

#[test]
fn a_snapshot_killed_at_any_step_is_there_or_not() {
    let site = site(Server::new(), 10);
    let mut kills = 0;
    for call in ["fsync", "syncfs", "renameat", "renameat2", "symlinkat", "linkat", "unlinkat"] {
        for number in 1.. {
            let before = site.snapshots().into_iter().filter(|name| name != ".building").collect::<Vec<_>>();
            let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={number}"));
            let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let run = site.call(&["snapshot"]).through(&strace).start().wait();
            for name in site.snapshots().iter().filter(|name| *name != ".building") {
                let path = site.server.path("snapshots").join(name);
                let check =
                    || site.call(&["restore", "--check", "--snapshot", path.to_str().unwrap()]).finish().ended(0).code;
                assert!(before.contains(name) || check() == Some(0));
            }
            if run.code == Some(0) {
                break;
            }
            assert_eq!(run.code, None, "{run}");
            kills += 1;
        }
    }
    done(site.call(&["snapshot"]), "snapshot completed");
    assert!(!site.server.tree().has("snapshots/.building"));
    let number = |name: &String| -> u64 {
        let text = site.server.tree().text(format!("snapshots/{name}/manifest.json"));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["seq"].as_u64().unwrap()
    };
    let names = site.snapshots();
    let numbers: std::collections::BTreeSet<u64> = names.iter().map(number).collect();
    assert_eq!(numbers.len(), names.len(), "no number twice");
    let newest = site.latest().path("").file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(Some(&number(&newest)), numbers.last());
    assert!(kills >= 10, "{kills}");
}

/// The room was there when it began; others fill the stick meanwhile.
#[test]
fn the_stick_fills_up_while_it_is_written() {
    let site = site(Server::new(), 10);
    let site = Site { stick: backup_stick(96), ..site };
    done(site.backup(), "backup export completed");
    let (old, name) = site.archive();
    let old_name = "2020-01-01_full.tar.zst";
    site.stick.edit(|root| fs::rename(root.path(&name), root.path(old_name)).unwrap());
    site.server.docviewer().file("drawing.bin", noise(1, 60_000_000), ago(50));
    site.snapshot();

    let mut run = site.backup().start();
    let written =
        || site.stick.mountpoint().map(|place| place.join(".toolmaster/tmp/archive")).filter(|path| path.exists());
    run.until("it writes the archive", || written().is_some());
    run.signal(Signal::STOP);
    let place = site.stick.mountpoint().unwrap();
    let mut filler = File::create(place.join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    drop(filler);
    run.signal(Signal::CONT);
    let run = run.wait();
    run.ended(1);
    for words in ["cannot write ", ": No space left on device", "make room there and run it again"] {
        assert!(run.stderr.contains(words), "{words}: {run}");
    }
    site.stick.edit(|root| {
        assert_eq!(archives(root), [old_name]);
        assert!(fs::read(root.path(old_name)).unwrap() == old, "the older archive is as it was");
        assert!(!root.has(".toolmaster/tmp"), "nothing half-done stays");
        root.remove("filler");
    });
    done(site.backup(), "backup export completed");
}

/// Where the kernel has no FAT, as on the machines that test in a small virtual machine, what refuses it is shown; what
/// the limit says, in any case.
#[test]
fn fat32_takes_no_archive_beyond_four_gibibytes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = Dir::open(dir.path()).unwrap();
    let error = shelf::check_room(&dir, 5_000_000_000, Limits::FAT, 0).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let said = error.to_string();
    assert!(said.contains("would be 4.7 GiB") && said.contains("ends files at 4 GiB"), "{said}");
    assert!(said.contains(" -> use a stick with exFAT or ext4"), "{said}");
    for (size, limits) in [(0xffff_ffff, Limits::FAT), (5_000_000_000, Limits::EXFAT), (5_000_000_000, Limits::EXT)] {
        let room = shelf::check_room(&dir, size, limits, 100 << 30);
        assert!(room.is_ok(), "{size}: {room:?}");
    }

    let site = site(Server::new(), 10);
    let fat = Stick::made(64, |image| {
        common::tool("mkfs.vfat", &["-F", "32", "-n", "TM-BACKUP", image]);
        let role = tempfile::NamedTempFile::new().unwrap();
        fs::write(role.path(), "BACKUP\n").unwrap();
        common::tool("mmd", &["-i", image, "::.toolmaster"]);
        common::tool("mcopy", &["-i", image, role.path().to_str().unwrap(), "::.toolmaster/role"]);
    });
    let before = fat.bytes();
    let backup = site.call(&["backup", "--device", fat.device()]);
    if fs::read_to_string("/proc/filesystems").unwrap().contains("\tvfat\n") {
        done(backup, "backup export completed");
    } else {
        let run = backup.fails(78);
        assert!(run.stderr.contains("kernel has no vfat"), "{run}");
        assert!(fat.bytes() == before);
    }
}

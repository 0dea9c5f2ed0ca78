//! What a snapshot costs on the disk, and `snapshot` and `backup` in memory, measured and printed (SPEC 7).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use common::site::{Site, backup_stick};
use common::{Server, ago, noise, sample};
use toolmaster::snapshot::archive::WRITE_MEMORY;

/// What the program takes beside the archive's own memory: itself, its tables, a walk's names.
const PROGRAM: u64 = 16 << 20;

/// The blocks of 512 bytes of each inode below a directory.
fn blocks(dir: &Path, found: &mut BTreeMap<u64, u64>) {
    let metadata = dir.symlink_metadata().unwrap();
    found.insert(metadata.ino(), metadata.blocks());
    if metadata.is_dir() {
        for entry in fs::read_dir(dir).unwrap() {
            blocks(&entry.unwrap().path(), found);
        }
    }
}

#[test]
fn a_second_snapshot_of_unchanged_data_costs_little() {
    let site = Site::without_tables(Server::new());
    sample(&site.server.tree(), ago(3600));
    for number in 0..1000 {
        let drawing = noise(number, 10_000 + number as usize * 20);
        site.server.docviewer().file(format!("図面/{}/{number}.pdf", number % 20), drawing, ago(50));
    }
    site.database.psql("CREATE TABLE part_locations (order_code text PRIMARY KEY, location_code text)");
    site.database.psql("INSERT INTO part_locations SELECT n, '第' || n || '棚' FROM generate_series(1, 10000) n");
    let mut of_each = Vec::new();
    for _ in 0..2 {
        site.snapshot();
        let mut found = BTreeMap::new();
        blocks(&site.latest().path(""), &mut found);
        of_each.push(found);
    }
    let first: u64 = of_each[0].values().sum();
    let added: u64 =
        of_each[1].iter().filter(|(inode, _)| !of_each[0].contains_key(inode)).map(|(_, blocks)| blocks).sum();
    let dump = site.latest().path("db/pg_dump.sql").metadata().unwrap().blocks();
    let share = added as f64 / first as f64 * 100.0;
    println!(
        "first snapshot {} KiB, the second one more {} KiB ({share:.1} %), of these {} KiB its dump",
        first / 2,
        added / 2,
        dump / 2
    );
    assert!(share < 5.0, "{share}");
    assert!(added >= dump, "a dump is always a new one");
}

/// A snapshot and a backup of what is on the site, and the peak memory of each in bytes, as the kernel counted it.
fn peaks(name: &str, site: &Site) {
    let out = tempfile::NamedTempFile::new().unwrap();
    let peak = |arguments: &[&str]| {
        let start = Instant::now();
        let through = ["/usr/bin/time", "-f", "%M", "-o", out.path().to_str().unwrap()];
        let run = site.call(arguments).through(&through).patience(1200).finish();
        run.ended(0);
        let kib: u64 = fs::read_to_string(out.path()).unwrap().trim().parse().unwrap();
        (kib, start.elapsed().as_secs_f64(), run.job["bytes"].as_u64().unwrap())
    };
    let snapshot = peak(&["snapshot"]);
    let backup = peak(&["backup", "--device", site.stick.device()]);
    println!(
        "{name}: snapshot {} KiB {:.1} s, backup {} KiB {:.1} s, an archive of {} bytes",
        snapshot.0, snapshot.1, backup.0, backup.1, backup.2
    );
    assert!(backup.0 << 10 < WRITE_MEMORY + PROGRAM, "{name}");
    assert!(snapshot.0 << 10 < PROGRAM * 2, "{name}");
}

fn site(stick_mib: u64) -> Site {
    let site = Site { stick: backup_stick(stick_mib), ..Site::without_tables(Server::new()) };
    sample(&site.server.tree(), ago(3600));
    site.database.psql("CREATE TABLE t (a int)");
    site
}

#[test]
fn memory_for_ten_megabytes() {
    let site = site(32);
    site.server.docviewer().file("10.bin", noise(1, 10_000_000), ago(50));
    peaks("10 MB", &site);
}

#[test]
#[ignore = "takes minutes: scripts/test --full"]
fn memory_for_a_gigabyte() {
    let site = site(1200);
    let part = noise(1, 10_000_000);
    for number in 0..100 {
        site.server.docviewer().file(format!("{number}.bin"), &part, ago(50));
    }
    peaks("1 GB in 100 files", &site);
}

/// The file is a hole in the live data and 5 GB of zeros in the snapshot: all of it is read, compressed and read back.
#[test]
#[ignore = "takes minutes and 5 GB of disk: scripts/test --full"]
fn memory_for_one_file_of_five_gigabytes() {
    let site = site(6000);
    site.server.docviewer().file("5.bin", "", ago(50));
    let file = File::options().write(true).open(site.server.path("docviewer/5.bin")).unwrap();
    file.set_len(5_000_000_000).unwrap();
    peaks("one file of 5 GB", &site);
}

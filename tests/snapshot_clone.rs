//! On a disk whose filesystem can clone files, a snapshot shares storage with live data, and no edit reaches it (SPEC 7).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};

use common::site::{Site, done};
use common::{Server, ago, noise, sample, tool};

const SIZE: usize = 40_000_000;

/// Bytes in use on the server's disk.
fn used(server: &Server) -> u64 {
    server.sync();
    let room = rustix::fs::statvfs(server.path("")).unwrap();
    (room.f_blocks - room.f_bfree) * room.f_frsize
}

/// Takes a snapshot and says how much the disk lost by it, and the log's line of the dataset.
fn take(site: &Site) -> (u64, String) {
    let before = used(&site.server);
    let run = done(site.call(&["snapshot"]), "snapshot completed");
    let line = run.stderr.lines().find(|line| line.contains("docviewer: ")).unwrap().to_owned();
    (used(&site.server).saturating_sub(before), line)
}

fn shares_storage(fstype: &str) {
    let site = Site::without_tables(Server::on_filesystem(fstype, 400));
    sample(&site.server.tree(), ago(3600));
    site.server.docviewer().file("図面.bin", noise(1, SIZE), ago(50)).file("empty.txt", "", ago(50));
    let live = site.server.path("docviewer/図面.bin");
    let (grown, line) = take(&site);
    println!("{fstype}: {SIZE} bytes of data, the snapshot takes {grown}: {line}");
    assert!(grown < SIZE as u64 / 4, "{grown}");
    assert!(line.contains("4 file(s), of these 4 copied") && line.contains("clones"), "{line}");
    assert!(!line.contains(" 0 as clones"), "{line}");

    // A clone, no hard link: owner, mode and time are its own, and so is its content from now on.
    let taken = site.latest();
    let (of_live, of_taken) = (live.metadata().unwrap(), taken.path("docviewer/図面.bin").metadata().unwrap());
    assert_ne!(of_live.ino(), of_taken.ino());
    assert_eq!((of_live.mtime(), of_live.mode()), (of_taken.mtime(), of_taken.mode()));
    let file = OpenOptions::new().write(true).open(&live).unwrap();
    file.write_all_at(&[0x55; 100_000], SIZE as u64 / 2).unwrap();
    drop(file);
    site.server.sync();
    assert!(fs::read(taken.path("docviewer/図面.bin")).unwrap() == noise(1, SIZE), "an edit in place reached it");
    let path = taken.path("");
    done(site.call(&["restore", "--check", "--snapshot", path.to_str().unwrap()]), "restore check completed");
    let manifest = taken.text("manifest.json");
    let sum = tool("sha256sum", &[taken.path("docviewer/図面.bin").to_str().unwrap()]);
    assert!(manifest.contains(&format!("\"sha256\":\"{}\"", sum.split(' ').next().unwrap())), "{sum}");

    // The next snapshot has the edited file, again as a clone.
    let (grown, line) = take(&site);
    assert!(grown < SIZE as u64 / 4 && line.contains("of these 1 copied"), "{grown} {line}");
    assert!(fs::read(site.latest().path("docviewer/図面.bin")).unwrap() == fs::read(&live).unwrap());
    done(site.backup(), "backup export completed");
}

#[test]
fn a_snapshot_on_btrfs_shares_storage_with_live_data() {
    shares_storage("btrfs");
}

#[test]
fn a_snapshot_on_xfs_shares_storage_with_live_data() {
    shares_storage("xfs");
}

/// ext4 can't: there it is a copy, and no line says otherwise.
#[test]
fn a_snapshot_on_ext4_is_a_copy() {
    let site = Site::without_tables(Server::on_disk(64));
    sample(&site.server.tree(), ago(3600));
    site.server.docviewer().file("plan.bin", noise(1, 5_000_000), ago(50));
    let (grown, line) = take(&site);
    assert!(grown >= 5_000_000 && line.contains(" 0 as clones"), "{grown} {line}");
}

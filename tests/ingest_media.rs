//! SPEC 5: the kinds of medium that a stick may be, and what its mount allows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Server, Stick, ago, files, in_step, sample, sample_master, tool};

/// Goes through a stick's life on a filesystem that `mkfs` with those arguments makes.
fn live_on(arguments: &[&str]) {
    let stick = Stick::made(32, |image| {
        let mut all = vec!["-q", "-F", "-L", "TM-INGEST"];
        all.extend(arguments);
        all.push(image);
        tool("mkfs.ext4", &all);
    });
    stick.edit(|root| {
        sample(root, ago(7200));
        root.file(".toolmaster/role", "INGEST\n", ago(9000));
    });
    let server = Server::new();
    server.run(&stick).clock("-3600").done();
    assert_eq!(server.master().files(), sample_master(), "{arguments:?}");

    // To the stick, with a time that it may not be able to hold.
    server.master().file("b.csv", "server", ago(60));
    common::tree::set_mtime_exactly(&server.path("master/b.csv"), ago(60), 123_456_789);
    server.run(&stick).clock("-50").done().outcome("master", "server wins");
    assert_eq!(stick.read(|root| root.text("master/b.csv")), "server", "{arguments:?}");
    server.run(&stick).done().outcome("master", "nothing");

    // And back, with meta.json forgotten: the base still knows the rounded time.
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(40));
    });
    server.run(&stick).done().outcome("master", "stick wins");
    assert_eq!(server.master().text("b.csv"), "server");
    assert_eq!(server.master().text("a.csv"), "edited");
}

#[test]
fn ext2_is_a_sticks_filesystem() {
    live_on(&["-t", "ext2"]);
}

#[test]
fn ext3_is_a_sticks_filesystem() {
    live_on(&["-t", "ext3"]);
}

#[test]
fn ext4_with_small_blocks_and_inodes_that_hold_whole_seconds_is_a_sticks_filesystem() {
    live_on(&["-b", "1024", "-I", "128"]);
}

#[test]
fn a_device_may_be_named_by_a_link() {
    let (server, stick) = (Server::new(), Stick::ingest());
    stick.edit(|root| sample(root, ago(100)));
    server.tree().link("by-label", stick.device());
    server.call(&["ingest", "--device", server.path("by-label").to_str().unwrap()]).done();
    assert_eq!(server.master().files(), sample_master());
    assert!(!stick.is_mounted());
}

#[test]
fn a_partition_of_a_stick_is_taken_like_a_whole_one() {
    let server = Server::new();
    let whole = Stick::made(40, |image| {
        let filesystem = Stick::ingest();
        filesystem.edit(|root| sample(root, ago(100)));
        let script = "printf 'label: dos\\n2048,65536,83\\n' | sfdisk --quiet \"$1\"";
        tool("sh", &["-c", script, "sh", image]);
        let (from, to) = (format!("if={}", filesystem.image().display()), format!("of={image}"));
        tool("dd", &["status=none", "bs=1M", "seek=1", "conv=notrunc", &from, &to]);
    });
    let stick = whole.partitioned();
    server.call(&["ingest", "--device", &stick.partition(1)]).done();
    assert_eq!(server.docviewer().files(), files([("plan.pdf", "p1")]));
    assert_eq!(common::stick::mountpoint_of(&stick.partition(1)), None);
}

#[test]
fn a_mount_point_of_the_run_allows_nothing_that_a_stick_could_abuse() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        let master = root.sub("master");
        for number in 0..3000 {
            master.file(format!("{number}"), "x", ago(60));
        }
    });
    let mut run = server.run(&stick).start();
    let mut options = String::new();
    run.until("the stick is mounted", || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(&format!(" {} ", stick.device())));
        options = line.unwrap_or_default().to_owned();
        !options.is_empty()
    });
    for option in ["nosuid", "nodev", "noexec", "nosymfollow"] {
        assert!(options.contains(option), "{option} is not in {options}");
    }
    assert!(options.contains(" /run/toolmaster/"), "{options}");
    run.wait().ended(0);
    assert!(!stick.is_mounted());
}

//! The harness itself: that its sticks leave nothing behind and that its comparisons see what they are to see.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;

use common::{Server, Stick, Tree, ago, assert_unchanged, files, tool};

/// The file behind a loop device, as the kernel knows it; nothing if the device is free.
fn backing_file(device: &str) -> Option<String> {
    let name = Path::new(device).file_name().unwrap().to_str().unwrap();
    fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()
}

#[test]
fn a_stick_holds_what_was_put_on_it() {
    let stick = Stick::ingest();
    stick.edit(|root| {
        root.file("master/日本語.csv", "1", ago(10));
    });
    assert_eq!(stick.read(|root| root.sub("master").files()), files([("日本語.csv", "1")]));
    assert_eq!(stick.read(|root| root.text(".toolmaster/role")), "INGEST\n");
}

#[test]
fn a_loop_device_is_free_when_its_last_user_closes_it() {
    let stick = Stick::ingest();
    let (device, image) = (stick.device().to_owned(), stick.image());
    assert_eq!(backing_file(&device).unwrap().trim(), image.to_str().unwrap());
    drop(stick);
    assert_free(&device, &image);
}

/// Another test that looks for sticks may have every device open for a moment; another stick may have its number by now.
fn assert_free(device: &str, image: &std::path::Path) {
    for _ in 0..100 {
        if backing_file(device).as_deref().map(str::trim) != image.to_str() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{device} still holds the image");
}

#[test]
fn a_killed_test_leaves_no_loop_device() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("stick.img");
    fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    // What `Stick` does, in a shell that kills itself.
    let script = "d=$(losetup --find --show \"$1\"); exec 9<\"$d\"; losetup -d \"$d\"; echo \"$d\"; kill -9 $$";
    let output = std::process::Command::new("sh").args(["-c", script, "sh", image.to_str().unwrap()]).output().unwrap();
    let device = String::from_utf8(output.stdout).unwrap();
    assert!(device.starts_with("/dev/loop"), "{device}");
    assert_free(device.trim(), &image);
}

#[test]
fn looking_at_a_stick_changes_no_byte_of_it() {
    let stick = Stick::ingest();
    let before = stick.bytes();
    stick.read(|root| root.snapshot());
    assert!(stick.bytes() == before);
    stick.edit(|root| {
        root.file("x", "", ago(10));
    });
    assert!(stick.bytes() != before);
}

#[test]
fn a_pulled_stick_is_marked_in_use() {
    let stick = Stick::ingest();
    let pulled = stick.edit_and_pull(|root| {
        root.file("master/a.csv", "1", ago(10));
    });
    let header = tool("dumpe2fs", &["-h", pulled.device()]);
    assert!(header.contains("needs_recovery"), "{header}");
    let header = tool("dumpe2fs", &["-h", stick.device()]);
    assert!(!header.contains("needs_recovery"), "{header}");
}

#[test]
fn run_and_etc_are_the_tests_own() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for place in [" /run ", " /etc "] {
        assert!(mounts.lines().any(|line| line.contains(place)), "run the tests with cargo: scripts/in-namespace");
    }
    // A file in the private /etc is not seen in the namespace of whoever called cargo.
    Tree::at("/etc/toolmaster").file("harness-test", "", ago(0));
    let parent = std::os::unix::process::parent_id();
    assert!(!Path::new(&format!("/proc/{parent}/root/etc/toolmaster/harness-test")).exists());
}

#[test]
fn an_inode_snapshot_notices_a_read() {
    let server = Server::new();
    server.master().file("a.csv", "1", ago(100));
    let before = server.tree().snapshot_of_inodes();
    assert_unchanged(&before, &server.tree().snapshot_of_inodes());
    fs::read(server.path("master/a.csv")).unwrap();
    assert_ne!(server.tree().snapshot_of_inodes(), before);
}

#[test]
fn a_server_has_a_disk_of_its_own_if_it_is_to_be_filled() {
    let server = Server::on_disk(16);
    let statistics = rustix::fs::statvfs(server.path("")).unwrap();
    assert!(statistics.f_blocks * statistics.f_frsize < 16 << 20);
}

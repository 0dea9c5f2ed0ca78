//! SPEC 3 and 5: which sticks are refused, and how it is said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};

use common::stick::mkfs;
use common::{Server, Stick, Tree, ago, assert_unchanged, files, sample, tool};

/// Refused as a whole: code 2, the promised last line, the guard's log, and not one byte changed on either side.
fn assert_refused(server: &Server, stick: &Stick, device: &str) {
    let before = (server.data(), stick.bytes());
    let run = server.call(&["ingest", "--device", device]).memory(512).fails(2);
    let last = run.log.lines().last().unwrap();
    assert!(last.contains(&format!("] validation failed for {device}")), "the last line is {last:?}\n{run}");
    let guard = fs::read_to_string(server.path("logs/usb_guard.log")).unwrap();
    assert!(guard.contains(device), "usb_guard.log: {guard}");
    assert_eq!(run.job["result"], "refused", "{run}");
    assert_unchanged(&before.0, &server.data());
    assert!(stick.bytes() == before.1, "the refused stick changed");
    assert_eq!(common::stick::mountpoint_of(device), None);
}

/// A server with data, and a stick like [`Stick::ingest`] with newer data, changed by `change`.
fn changed(change: impl FnOnce(&Tree)) -> (Server, Stick) {
    let (server, stick) = (Server::new(), Stick::ingest());
    sample(&server.tree(), ago(500));
    stick.edit(|root| {
        sample(root, ago(100));
        root.sub("master").file("a.csv", "stick", ago(100));
        change(root);
    });
    (server, stick)
}

#[test]
fn a_wrong_label_is_refused() {
    for label in ["TM-DIST", "tm-ingest", "TM-INGEST2", ""] {
        let (server, stick) = (Server::new(), Stick::blank(label, 16));
        stick.edit(|root| {
            sample(root, ago(100));
            root.file(".toolmaster/role", "INGEST", ago(100));
        });
        assert_refused(&server, &stick, stick.device());
    }
}

#[test]
fn another_label_can_be_set() {
    let (server, stick) = (Server::new(), Stick::labelled("WERK-7", 32));
    stick.edit(|root| sample(root, ago(100)));
    server.run(&stick).var("USB_INGEST_LABEL", "WERK-7").done();
    assert_eq!(server.docviewer().files(), files([("plan.pdf", "p1")]));
}

#[test]
fn a_wrong_role_is_refused() {
    for role in ["DIST", "BACKUP", "ingest", "INGEST DIST", "INGEST\0", "", "INGESTX"] {
        let (server, stick) = changed(|root| {
            root.file(".toolmaster/role", role, ago(10));
        });
        assert_refused(&server, &stick, stick.device());
    }
}

#[test]
fn white_space_around_the_role_is_ignored() {
    for role in ["INGEST", "INGEST\r\n", "  INGEST\t\n\n"] {
        let (server, stick) = changed(|root| {
            root.file(".toolmaster/role", role, ago(10));
        });
        server.run(&stick).done();
    }
}

#[test]
fn a_missing_role_is_refused() {
    let (server, stick) = changed(|root| {
        root.remove(".toolmaster/role");
    });
    assert_refused(&server, &stick, stick.device());
    let (server, stick) = changed(|root| {
        root.remove(".toolmaster");
    });
    assert_refused(&server, &stick, stick.device());
}

#[test]
fn a_role_of_a_gigabyte_is_refused_and_not_read_whole() {
    let (server, stick) = changed(|root| {
        let role = File::options().write(true).open(root.path(".toolmaster/role")).unwrap();
        role.set_len(1 << 30).unwrap();
    });
    assert_refused(&server, &stick, stick.device());
}

#[test]
fn a_role_that_is_no_regular_file_is_refused() {
    let link: fn(&Tree) = |root| {
        root.file("role", "INGEST", ago(10)).remove(".toolmaster/role").link(".toolmaster/role", "../role");
    };
    let link_of_directory: fn(&Tree) = |root| {
        root.file("other/role", "INGEST", ago(10)).remove(".toolmaster").link(".toolmaster", "other");
    };
    let out_of_the_stick: fn(&Tree) = |root| {
        Tree::at("/run/outside").file("role", "INGEST", ago(10));
        root.remove(".toolmaster").link(".toolmaster", "/run/outside");
    };
    let directory: fn(&Tree) = |root| {
        root.remove(".toolmaster/role").dir(".toolmaster/role");
    };
    let fifo: fn(&Tree) = |root| {
        root.remove(".toolmaster/role");
        tool("mkfifo", &[root.path(".toolmaster/role").to_str().unwrap()]);
    };
    for change in [link, link_of_directory, out_of_the_stick, directory, fifo] {
        let (server, stick) = changed(change);
        assert_refused(&server, &stick, stick.device());
    }
}

#[test]
fn media_without_a_filesystem_of_ours_are_refused_by_name() {
    let swap: fn(&str) = |image| {
        tool("mkswap", &["-L", "TM-INGEST", image]);
    };
    let nothing: fn(&str) = |_| {};
    let xfs: fn(&str) = |image| {
        fs::write(image, [b"XFSB", &[0; 4_000_000][..]].concat()).unwrap();
    };
    let ntfs: fn(&str) = |image| {
        fs::write(image, [b"\xeb\x52\x90NTFS    ", &[0; 4_000_000][..]].concat()).unwrap();
    };
    let makers = [("swap", swap), ("", nothing), ("XFS", xfs), ("NTFS", ntfs)];
    for (name, make) in makers {
        let (server, stick) = (Server::new(), Stick::made(8, make));
        assert_refused(&server, &stick, stick.device());
        let log = server.log();
        assert!(log.to_lowercase().contains(&name.to_lowercase()), "{name} is not named in {log}");
    }
}

#[test]
fn an_ext4_whose_superblock_is_cut_off_is_refused() {
    let server = Server::new();
    let stick = Stick::made(16, |image| {
        mkfs(image, "TM-INGEST");
        File::options().write(true).open(image).unwrap().set_len(1024 + 512).unwrap();
    });
    assert_refused(&server, &stick, stick.device());
}

#[test]
fn a_whole_disk_with_a_partition_table_is_refused() {
    let stick = Stick::made(40, |image| {
        tool("sh", &["-c", "printf 'label: gpt\\n2048,65536\\n' | sfdisk --quiet \"$1\"", "sh", image]);
    });
    assert_refused(&Server::new(), &stick, stick.device());
}

#[test]
fn a_device_that_is_none_fails_without_a_trace_in_the_data() {
    let server = Server::new();
    sample(&server.tree(), ago(100));
    let before = server.data();
    let file = server.path("not-a-device");
    fs::write(&file, "x").unwrap();
    for device in ["/dev/no-such-stick", file.to_str().unwrap(), "/dev/null", "/", ""] {
        let run = server.call(&["ingest", "--device", device]).finish();
        assert!([1, 2, 3, 64].contains(&run.code.unwrap()), "{device}\n{run}");
        assert!(run.stderr.contains(" -> "), "{device}\n{run}");
        assert_unchanged(&before, &server.data());
    }
}

#[test]
fn without_a_device_the_one_stick_with_the_label_is_taken() {
    let (server, other) = (Server::new(), Stick::labelled("SOLO-2", 16));
    let solo = |server: &Server| server.call(&["ingest"]).var("USB_INGEST_LABEL", "SOLO-1").finish();
    solo(&server).ended(3);
    let first = Stick::labelled("SOLO-1", 16);
    first.edit(|root| sample(root, ago(100)));
    let run = solo(&server);
    run.ended(0);
    assert_eq!(run.job["device"], first.device());
    let second = first.copy();
    let run = solo(&server);
    run.ended(64).says(second.device()).says(first.device()).never_says(other.device());
}

//! What is no plain file, odd modes, and names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use rustix::fs::FileType;
use toolmaster::tree::same::{Folded, Limits, unfit_name};

use crate::common::{Tree, ago, sample_master, tool};
use crate::{Outside, edited, made, mknod};

type Make = fn(&Tree);

#[test]
fn what_is_no_file_is_skipped_by_name() {
    let cases: [(&str, Make, &str); 4] = [
        ("block device", |root| mknod(root.path("master/disk"), FileType::BlockDevice, (7, 0)), "disk (block device)"),
        (
            "character device (/dev/zero)",
            |root| mknod(root.path("master/zero"), FileType::CharacterDevice, (1, 5)),
            "zero (character device)",
        ),
        ("FIFO", |root| mknod(root.path("master/fifo"), FileType::Fifo, (0, 0)), "fifo (FIFO)"),
        ("socket", |root| drop(UnixListener::bind(root.path("master/socket")).unwrap()), "socket (socket)"),
    ];
    for (case, make, says) in cases {
        let outside = Outside::fresh();
        let (server, stick) = edited(make);
        outside.watch(case, server.run(&stick), 0, says);
        assert_eq!(server.master().files().len(), sample_master().len(), "{case}");
    }
}

#[test]
fn control_files_that_are_none() {
    let role = "it has no readable /.toolmaster/role";
    let node = |root: &Tree, name: &str, kind, device| {
        root.remove(name);
        mknod(root.path(name), kind, device);
    };
    type Make<'a> = &'a dyn Fn(&Tree);
    let cases: [(&str, Make<'_>, i32, &str); 7] = [
        ("role that never ends: FIFO", &|root| node(root, ".toolmaster/role", FileType::Fifo, (0, 0)), 2, role),
        (
            "role that never ends: /dev/zero",
            &|root| node(root, ".toolmaster/role", FileType::CharacterDevice, (1, 5)),
            2,
            role,
        ),
        ("role that is a directory", &|root| made(root.remove(".toolmaster/role").dir(".toolmaster/role")), 2, role),
        ("meta.json: FIFO", &|root| node(root, "master/meta.json", FileType::Fifo, (0, 0)), 0, "master: stick wins"),
        (
            "meta.json: /dev/zero",
            &|root| node(root, "master/meta.json", FileType::CharacterDevice, (1, 5)),
            0,
            "master: stick wins",
        ),
        (
            "manifest.json: FIFO",
            &|root| node(root, ".toolmaster/manifest.json", FileType::Fifo, (0, 0)),
            0,
            "master: server wins",
        ),
        (
            "manifest.json: /dev/zero",
            &|root| node(root, ".toolmaster/manifest.json", FileType::CharacterDevice, (1, 5)),
            0,
            "master: server wins",
        ),
    ];
    for (case, make, code, says) in cases {
        let outside = Outside::fresh();
        let (server, stick) = edited(make);
        outside.watch(case, server.run(&stick), code, says);
    }
}

#[test]
fn modes_and_hard_links_stay_on_the_stick() {
    let outside = Outside::fresh();
    let (server, stick) = edited(|root| {
        root.sub("master").file("root.sh", "#!/bin/sh", ago(60));
        fs::set_permissions(root.path("master/root.sh"), fs::Permissions::from_mode(0o6777)).unwrap();
        std::os::unix::fs::chown(root.path("master/root.sh"), Some(1234), Some(1234)).unwrap();
    });
    outside.watch("setuid, setgid, executable, another's", server.run(&stick), 0, "master: stick wins");
    let metadata = server.path("master/root.sh").metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o644, 0, 0));

    let outside = Outside::fresh();
    let (server, stick) = edited(|root| {
        fs::hard_link(root.path("master/b.csv"), root.path("master/also.csv")).unwrap();
        fs::hard_link(root.path(".toolmaster/role"), root.path("master/role")).unwrap();
    });
    outside.watch("hard links", server.run(&stick), 0, "master: stick wins");
    assert_eq!(server.path("master/also.csv").metadata().unwrap().nlink(), 1);
    assert_eq!(server.master().text("role"), "INGEST\n");

    let outside = Outside::fresh();
    let (server, stick) = edited(|root| drop(tool("chattr", &["+i", root.path("master/b.csv").to_str().unwrap()])));
    outside.watch("immutable file that is read", server.run(&stick), 0, "master: stick wins");
    assert_eq!(server.master().text("a.csv"), "edited");
}

#[test]
fn names_forge_nothing() {
    let line = "x\n2026-01-31T02:30:00+09:00 [info] ingest completed (dry_run=0 force=0)";
    let cases: [(&str, &[u8]); 6] = [
        ("name: line feed and a log line", line.as_bytes()),
        ("name: escape sequences", b"\x1b[2J\x1b]0;title\x07\r"),
        ("name: text direction", "csv.\u{202e}gnp".as_bytes()),
        ("name: not UTF-8", b"gr\xfc\xdfe.csv"),
        ("name: 255 bytes", &[b'x'; 255]),
        ("name: of an option", b"-rf --device=x; $(reboot)"),
    ];
    for (case, name) in cases {
        let outside = Outside::fresh();
        let name = OsStr::from_bytes(name);
        let (server, stick) = edited(|root| {
            root.sub("master").file(name, "1", ago(60));
            // This one is told of by name.
            let told = [b"fifo-", &name.as_bytes()[..name.len().min(200)]].concat();
            mknod(root.path("master").join(OsStr::from_bytes(&told)), FileType::Fifo, (0, 0));
        });
        let run = outside.watch(case, server.run(&stick), 0, "fifo-");
        assert_eq!(server.master().text(name), "1", "{case}");
        for text in [&run.stderr, &run.log] {
            assert_eq!(text.matches("completed (dry_run=0 force=0)\n").count(), 1, "{case}: {run}");
        }
        assert_eq!(run.log.lines().count(), run.stderr.lines().count(), "{case}: {run}");
    }
}

#[test]
fn names_that_are_one_elsewhere() {
    let (nfc, nfd) = ("\u{30ac}.csv", "\u{30ab}\u{3099}.csv");
    for (case, one, other) in
        [("names that differ in case", "Tool.csv", "tool.CSV"), ("names that differ in NFC and NFD", nfc, nfd)]
    {
        let outside = Outside::fresh();
        let (server, stick) = edited(|root| {
            root.sub("master").file(one, "1", ago(60)).file(other, "2", ago(60));
        });
        outside.watch(case, server.run(&stick), 0, "master: stick wins");
        assert_eq!((server.master().text(one), server.master().text(other)), ("1".to_owned(), "2".to_owned()));
    }
    // On FAT and exFAT, which fold case and nothing else, the first pair would be one name: such a write-back is refused.
    let mut folded = Folded::default();
    assert!(folded.insert(b"Tool.csv") && !folded.insert(b"tool.CSV"));
    assert!(folded.insert(nfc.as_bytes()) && folded.insert(nfd.as_bytes()));
    for name in [&b"a\nb"[..], b"\x1b[2J", b"gr\xfc\xdfe.csv", b"a:b", b"blank "] {
        assert!(unfit_name(name, Limits::FAT).is_some() && unfit_name(name, Limits::EXFAT).is_some());
    }
}

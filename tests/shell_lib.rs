//! `lib/toolmaster-usb.sh` from dash, over the real program and real sticks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::call::BINARY;
use common::{Stick, Tree, ago, in_step, path_with, sample, tool};

/// What a script said and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a script that has sourced the library, under `set -eu`, with those arguments.
fn script(text: &str, arguments: &[&str]) -> Said {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("lib/toolmaster-usb.sh");
    let text = format!("set -eu\n. '{}'\n{text}", library.display());
    let bin = Path::new(BINARY).parent().unwrap();
    let output = Command::new("dash")
        .args(["-c", &text, "script"])
        .args(arguments)
        .env("PATH", path_with(bin))
        .env("SERVER_ROOT", "/nowhere")
        .output()
        .unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The same, and it must succeed; what it printed.
fn prints(text: &str, arguments: &[&str]) -> String {
    let said = script(text, arguments);
    assert_eq!(said.code, 0, "{said:?}");
    said.out.trim_end().to_owned()
}

fn options_of(place: &str) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().find(|line| line.split(' ').nth(1) == Some(place)).map(str::to_owned).unwrap_or_default()
}

#[test]
fn it_is_clean_posix_shell() {
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/lib/toolmaster-usb.sh");
    tool("shellcheck", &["--shell=sh", library]);
    tool("dash", &["-n", library]);
}

#[test]
fn it_logs_and_never_stops_a_script() {
    let said = script(
        "usb_log INFO two  words; usb_log warn --help -- x; usb_log Error 'a  b\nc'; usb_log FATAL x; usb_log info; echo end",
        &[],
    );
    assert_eq!((said.code, &*said.out), (0, "end\n"), "{said:?}");
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines[..3], ["two words", "[warn] --help -- x", "[error] a  b\\u{a}c"], "{said:?}");
    assert!(lines[3].contains("\"FATAL\" is no level"), "{said:?}");
    assert!(lines[4].contains("usage"), "{said:?}");
}

#[test]
fn a_proven_stick_is_mounted_for_writing_and_stays_so() {
    let (_server, stick) = in_step();
    let place = prints("usb_mount_device \"$1\"", &[stick.device()]);
    assert!(place.starts_with("/run/toolmaster/"), "{place}");
    let options = options_of(&place);
    for option in ["rw,", "nosuid", "nodev", "noexec", "nosymfollow", "errors=remount-ro"] {
        assert!(options.contains(option), "{option}: {options}");
    }
    Tree::at(&place).sub("master").file("new.csv", "n", ago(5));
    assert_eq!(prints("usb_validate_role \"$1\" INGEST TM-INGEST && echo yes", &[&place]), "yes");
    assert_eq!(prints("usb_unmount \"$1\"", &[&place]), "");
    assert!(!stick.is_mounted() && !Path::new(&place).exists());
    stick.read(|root| assert_eq!(root.text("master/new.csv"), "n"));
    // Once more is no error: the stick may have been pulled, or a job may have ended the mount.
    prints("usb_unmount \"$1\"", &[&place]);
}

#[test]
fn what_is_not_proven_or_write_protected_is_mounted_read_only() {
    let (_server, stick) = in_step();
    let no_role = Stick::blank("TM-INGEST", 16);
    let wrong_role = Stick::blank("TM-DIST", 16);
    wrong_role.edit(|root| {
        root.file(".toolmaster/role", "INGEST", ago(100));
    });
    for stick in [stick.write_protected(), no_role, wrong_role, Stick::blank("HOLIDAY", 16)] {
        let before = stick.bytes();
        let place = prints("usb_mount_device \"$1\"", &[stick.device()]);
        let options = options_of(&place);
        assert!(options.contains(" ro,nosuid,nodev,noexec"), "{options}");
        prints("usb_unmount \"$1\"", &[&place]);
        assert!(stick.bytes() == before, "reading changed it");
    }
}

#[test]
fn what_cannot_be_mounted_is_told() {
    let rubbish = Stick::bare(16);
    for (device, code, says) in [
        (rubbish.device(), 2, "validation failed for"),
        ("/dev/no-such-disk", 64, "there is no device"),
        ("/dev/null", 64, "not a block device"),
    ] {
        let said = script("place=$(usb_mount_device \"$1\"); echo unreached", &[device]);
        assert_eq!((said.code, &*said.out), (code, ""), "{said:?}");
        assert!(said.err.contains(says), "{said:?}");
    }
    assert_eq!(script("usb_mount_device", &[]).code, 64);
}

#[test]
fn a_later_job_ends_the_mount_and_a_second_mount_moves_it() {
    let (server, stick) = in_step();
    let first = prints("usb_mount_device \"$1\"", &[stick.device()]);
    let second = prints("usb_mount_device \"$1\"", &[stick.device()]);
    assert_ne!(first, second);
    assert_eq!(options_of(&first), "");
    server.run(&stick).done();
    assert!(!stick.is_mounted());
    prints("usb_unmount \"$1\"", &[&second]);
}

#[test]
fn only_its_own_mounts_are_unmounted() {
    let place = tempfile::tempdir().unwrap();
    for other in ["/", "/run", "/run/toolmaster", "/run/toolmaster/../etc", "relative", place.path().to_str().unwrap()]
    {
        let said = script("usb_unmount \"$1\"", &[other]);
        assert_eq!(said.code, 64, "{other}: {said:?}");
    }
    assert_eq!(script("usb_unmount", &[]).code, 64);
}

#[test]
fn a_busy_mount_is_told() {
    let (_server, stick) = in_step();
    let place = prints("usb_mount_device \"$1\"", &[stick.device()]);
    let open = fs::File::open(Path::new(&place).join("master/a.csv")).unwrap();
    let said = script("USB_MAX_RETRY=2; export USB_MAX_RETRY; usb_unmount \"$1\"", &[&place]);
    assert_eq!(said.code, 75, "{said:?}");
    assert!(said.err.contains("still in use"), "{said:?}");
    drop(open);
    assert!(!stick.is_mounted());
}

#[test]
fn roles_and_labels_are_validated() {
    let stick = Stick::blank("TM-DIST", 16);
    stick.edit(|root| {
        sample(root, ago(100));
        root.file(".toolmaster/role", " DIST\r\n", ago(100));
    });
    let place = prints("usb_mount_device \"$1\"", &[stick.device()]);
    let code = |arguments: &[&str]| {
        let said = script("rc=0; usb_validate_role \"$@\" || rc=$?; exit $rc", arguments);
        assert_eq!(said.code != 0, said.err.contains(" -> ") || said.err.contains("usage"), "{said:?}");
        said.code
    };
    assert_eq!(code(&[&place, "DIST"]), 0);
    assert_eq!(code(&[&place, "DIST", "TM-DIST"]), 0);
    for wrong in [&["INGEST"][..], &["BACKUP", "TM-DIST"], &["DIST", "TM-INGEST"], &["DIST", ""], &["MASTER"], &[]] {
        assert_eq!(code(&[&[&*place], wrong].concat()), 2, "{wrong:?}");
    }
    prints("usb_unmount \"$1\"", &[&place]);
    // Nothing there: no mount, no directory, a directory that is none.
    let empty = tempfile::tempdir().unwrap();
    for nothing in [&*place, "/no/such/place", empty.path().to_str().unwrap()] {
        assert_eq!(code(&[nothing, "DIST"]), 3, "{nothing}");
    }
}

#[test]
fn a_stick_without_a_role_is_not_valid() {
    let stick = Stick::blank("TM-BACKUP", 16);
    let place = prints("usb_mount_device \"$1\"", &[stick.device()]);
    let said = script("usb_validate_role \"$1\" BACKUP", &[&place]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("no readable /.toolmaster/role"), "{said:?}");
    prints("usb_unmount \"$1\"", &[&place]);
}

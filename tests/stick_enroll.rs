//! Enrolment: with `REQUIRE_ENROLLED=1` only sticks that this server has signed are taken; the key stays on the server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Call, Run, Server, Stick, Tree, ago, assert_unchanged, sample, sample_master, tool};

const ENROLLED: &str = ".toolmaster/enrolled";

/// A new stick with data that an ingest would take.
fn filled() -> Stick {
    let stick = Stick::ingest();
    stick.edit(|root| sample(root, ago(100)));
    stick
}

/// An ingest where enrolment is asked for.
fn strict<'a>(server: &'a Server, stick: &'a Stick) -> Call<'a> {
    server.run(stick).var("REQUIRE_ENROLLED", "1")
}

fn enroll(server: &Server, stick: &Stick) -> Run {
    let run = server.call(&["stick", "enroll", "--device", stick.device()]).finish();
    run.ended(0).says("stick enroll completed (dry_run=0)");
    run
}

fn key(server: &Server) -> Vec<u8> {
    fs::read(server.path(".toolmaster/enroll-key")).unwrap()
}

/// Refused as not enrolled: one line here and in usb_guard.log, nothing changed.
fn assert_refused(server: &Server, stick: &Stick) {
    let before = (server.data(), stick.bytes());
    let guard = || fs::read_to_string(server.path("logs/usb_guard.log")).unwrap_or_default();
    let told = guard().lines().count();
    let line = format!("validation failed for {}: it is not enrolled", stick.device());
    strict(server, stick).fails(2).says(&line);
    assert_unchanged(&before.0, &server.data());
    assert!(stick.bytes() == before.1, "the stick changed");
    let guard = guard();
    assert!(guard.lines().count() == told + 1 && guard.lines().last().unwrap().contains(&line), "{guard}");
}

#[test]
fn without_the_setting_no_stick_needs_a_signature() {
    let (server, stick) = (Server::new(), filled());
    server.run(&stick).done();
    assert_eq!(server.master().files(), sample_master());
    assert!(!server.tree().has(".toolmaster/enroll-key"), "nobody asked for one");
}

#[test]
fn a_stick_is_refused_until_it_is_enrolled() {
    let (server, stick) = (Server::new(), filled());
    assert_refused(&server, &stick);
    enroll(&server, &stick).says("INGEST stick now");
    strict(&server, &stick).done();
    assert_eq!(server.master().files(), sample_master());
    // Enrolled once, it stays so: an ingest that writes to it keeps the signature.
    server.master().file("a.csv", "later", ago(10)).meta(ago(-100));
    strict(&server, &stick).done().outcome("master", "server wins");
    strict(&server, &stick).done().outcome("master", "nothing");
}

#[test]
fn a_signature_is_good_for_one_stick_one_role_and_one_server() {
    let (server, stick, other) = (Server::new(), filled(), filled());
    enroll(&server, &stick);
    let signature = stick.read(|root| root.text(ENROLLED));
    // Another stick.
    other.edit(|root| {
        root.file(ENROLLED, &signature, ago(60));
    });
    assert_refused(&server, &other);
    // Another server, with a key and without one.
    let elsewhere = Server::new();
    assert_refused(&elsewhere, &stick);
    enroll(&elsewhere, &other);
    assert_refused(&elsewhere, &stick);
    // Another role: an INGEST stick's filesystem becomes a DIST stick.
    stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    tool("e2label", &[stick.device(), "TM-DIST"]);
    let export = server.call(&["dist-export", "--device", stick.device()]).var("REQUIRE_ENROLLED", "1");
    export.fails(2).says("it is not enrolled");
}

#[test]
fn what_stands_there_must_be_the_signature_itself() {
    let (server, stick) = (Server::new(), filled());
    enroll(&server, &stick);
    let signature = stick.read(|root| root.text(ENROLLED));
    let write = |root: &Tree, text: &str| {
        root.file(ENROLLED, text, ago(60));
    };
    type Make<'a> = &'a dyn Fn(&Tree);
    let wrong: [(&str, Make<'_>); 5] = [
        ("none", &|root| {
            root.remove(ENROLLED);
        }),
        ("empty", &|root| write(root, "")),
        ("zeros", &|root| write(root, &"0".repeat(64))),
        ("endless", &|root| fs::File::create(root.path(ENROLLED)).unwrap().set_len(1 << 40).unwrap()),
        ("a link to it", &|root| {
            root.remove(ENROLLED).file("signature", &signature, ago(60)).link(ENROLLED, "../signature");
        }),
    ];
    for (what, change) in wrong {
        stick.edit(change);
        strict(&server, &stick).fails(2).says("it is not enrolled");
        assert!(!server.tree().has("master"), "{what}");
    }
    stick.edit(|root| root.remove(ENROLLED).file(ENROLLED, format!(" {signature}\r\n"), ago(60)).path(""));
    strict(&server, &stick).done();
}

#[test]
fn the_key_is_made_once_and_is_for_root_alone() {
    let (server, stick, other) = (Server::new(), filled(), filled());
    enroll(&server, &stick);
    let first = key(&server);
    let mode = server.path(".toolmaster/enroll-key").metadata().unwrap().permissions().mode();
    assert_eq!((first.len(), mode & 0o777), (32, 0o600));
    enroll(&server, &other);
    enroll(&server, &stick).says("enrolled already");
    assert!(key(&server) == first && first.iter().any(|byte| *byte != 0));
    let elsewhere = Server::new();
    enroll(&elsewhere, &other);
    assert!(key(&elsewhere) != first);
    // Not on a stick and in no log, neither itself nor as digits.
    let digits: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
    for hidden in [&first[..], digits.as_bytes()] {
        let found = |bytes: &[u8]| bytes.windows(hidden.len()).any(|window| window == hidden);
        assert!(!found(&stick.bytes()));
        for log in fs::read_dir(server.path("logs")).unwrap() {
            let log = log.unwrap().path();
            assert!(!found(&fs::read(&log).unwrap()), "{}", log.display());
        }
    }
    fs::write(server.path(".toolmaster/enroll-key"), "short").unwrap();
    strict(&server, &stick).fails(78).says("enroll-key is damaged");
}

#[test]
fn a_dry_run_of_enroll_changes_nothing() {
    let (server, stick) = (Server::new(), filled());
    let before = (server.tree().snapshot(), stick.bytes());
    let run = server.call(&["stick", "enroll", "--dry-run", "--device", stick.device()]).finish();
    run.ended(0).says("plan: sign").says("stick enroll completed (dry_run=1)");
    assert_unchanged(&before.0, &server.tree().snapshot());
    assert!(stick.bytes() == before.1);
}

#[test]
fn a_stick_that_init_makes_is_enrolled() {
    let (server, stick) = (Server::new(), Stick::bare(64));
    let words = ["stick", "init", "--not-usb", "--role", "DIST", "--fs", "ext4", "--yes", "--device", stick.device()];
    server.call(&words).var("REQUIRE_ENROLLED", "1").finish().ended(0).says("enroll it at this server");
    sample(&server.tree(), ago(100));
    let export = server.call(&["dist-export", "--device", &stick.partition(1)]).var("REQUIRE_ENROLLED", "1");
    export.finish().ended(0);
}

#[test]
fn a_mount_of_somebody_else_s_is_not_taken_for_enrolled() {
    let (server, stick) = (Server::new(), Stick::blank("TM-DIST", 32));
    stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
        sample(root, ago(60));
    });
    enroll(&server, &stick);
    let sync = |arguments: &[&str]| {
        let arguments = [&["dist-sync"], arguments].concat();
        let call = server.call(&arguments).var("REQUIRE_ENROLLED", "1");
        call.var("LOCAL_MASTER_DIR", server.path("t/master")).var("LOCAL_DOC_DIR", server.path("t/docviewer"))
    };
    sync(&["--device", stick.device()]).finish().ended(0);
    stick.edit(|root| {
        sync(&["--mountpoint", root.path("").to_str().unwrap()]).fails(2).says("use --device");
    });
    let unknown = Stick::blank("TM-DIST", 32);
    unknown.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    // A script's mount is for reading alone.
    let mount = |stick: &Stick| {
        let run = server.call(&["stick", "mount", stick.device()]).var("REQUIRE_ENROLLED", "1").finish();
        run.ended(0);
        let validated =
            server.call(&["stick", "validate", run.stdout.trim(), "DIST"]).var("REQUIRE_ENROLLED", "1").finish();
        server.call(&["stick", "unmount", run.stdout.trim()]).finish().ended(0);
        (run.stderr.contains("for writing"), validated.code.unwrap())
    };
    assert_eq!((mount(&stick), mount(&unknown)), ((true, 0), (false, 2)));
    assert!(Path::new("/run/toolmaster").exists());
}

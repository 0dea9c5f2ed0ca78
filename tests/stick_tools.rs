//! `toolmaster stick verify`, `adopt` and `rescan` on real sticks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Call, Run, Server, Stick, Tree, ago, in_step, path_with, program, sample, stick_in_step, tool};

/// One of the tools on a stick.
fn on<'a>(server: &'a Server, stick: &'a Stick, what: &str) -> Call<'a> {
    Call::new(server, &["stick", what, "--device", stick.device()], Some(stick))
}

fn done(call: Call<'_>) -> Run {
    let run = call.finish();
    run.ended(0);
    run
}

/// An ext4 stick with that label, filled by `fill`.
fn stick(label: &str, fill: impl FnOnce(&Tree)) -> Stick {
    let stick = Stick::blank(label, 32);
    stick.edit(fill);
    stick
}

/// The lines that name a file that is not as it should be.
fn faults(run: &Run) -> Vec<String> {
    let named = |line: &&str| line.starts_with("[error] ") && !line.contains(" -> ");
    run.stderr.lines().filter(named).map(|line| line["[error] ".len()..].to_owned()).collect()
}

/// Verified and refused with those faults; nothing on the stick changed.
fn assert_faults(server: &Server, stick: &Stick, expected: &[&str]) {
    let before = stick.bytes();
    let run = on(server, stick, "verify").fails(2);
    assert_eq!(faults(&run), expected, "{run}");
    run.says(&format!("{} file(s) are not as they were written", expected.len()));
    assert!(stick.bytes() == before, "looking changed it");
}

#[test]
fn a_whole_stick_is_in_order() {
    let (server, stick) = in_step();
    let before = stick.bytes();
    let run = done(on(&server, &stick, "verify"));
    run.says("6 file(s)").says("all in order").says("stick verify completed");
    done(on(&server, &stick, "verify").flag("--role").flag("INGEST"));
    assert!(stick.bytes() == before, "looking changed it");
    assert_eq!(server.last_job()["job"], "stick-verify");
}

#[test]
fn each_fault_is_named() {
    let (server, stick) = in_step();
    let old = ago(2 * 3600);
    stick.edit(|root| {
        let master = root.sub("master");
        master.file("a.csv", "xx", old).file("b.csv", "b1b1", old).remove("sub/c.csv").file("sub/d.csv", "", old);
        master.link("link.csv", "/etc/passwd").file("Thumbs.db", "x", old);
        root.sub("docviewer").file("plan.pdf", "p2", ago(5));
    });
    assert_faults(
        &server,
        &stick,
        &[
            "docviewer/plan.pdf: edited or damaged: another content and time than in the manifest",
            "master/a.csv: damaged: another content under the same size and time",
            "master/b.csv: 4 bytes instead of 2",
            "master/link.csv: symbolic link",
            "master/sub/c.csv: missing",
            "master/sub/d.csv: not in the manifest",
        ],
    );
    assert_eq!(server.last_job()["result"], "refused");
}

#[test]
fn a_bit_that_flipped_on_the_medium_is_found() {
    let server = Server::new();
    let stick = Stick::ingest();
    let text = "one line of a list of tools that stands on this stick only\n";
    stick.edit(|root| {
        sample(root, ago(2 * 3600));
        root.sub("master").file("long.csv", text, ago(2 * 3600));
    });
    server.run(&stick).clock("-3600").done();
    done(on(&server, &stick, "verify"));
    let mut bytes = stick.bytes();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[at + 4] ^= 1;
    let flipped = Stick::made(32, |image| fs::write(image, &bytes).unwrap());
    assert_faults(&server, &flipped, &["master/long.csv: damaged: another content under the same size and time"]);
}

#[test]
fn a_dataset_that_is_gone_is_missing_file_by_file() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.remove("docviewer").remove("master").link("master", "/etc");
    });
    assert_faults(
        &server,
        &stick,
        &[
            "master: not a directory",
            "docviewer/plan.pdf: missing",
            "master/a.csv: missing",
            "master/b.csv: missing",
            "master/sub/c.csv: missing",
        ],
    );
}

#[test]
fn without_a_manifest_it_is_read_and_accepted_with_a_warning() {
    let server = Server::new();
    for label in ["TM-INGEST", "TM-DIST"] {
        let stick = stick(label, |root| {
            sample(root, ago(100));
            root.file(".toolmaster/role", &label[3..], ago(100));
        });
        done(on(&server, &stick, "verify")).warns_of("no manifest").says("6 file(s)");
    }
}

#[test]
fn an_incomplete_or_unsound_manifest_is_refused() {
    let (server, stick) = in_step();
    let manifest = stick.read(|root| root.text(".toolmaster/manifest.json"));
    for (text, says) in [
        (manifest.replacen("\"complete\"", "\"incomplete\"", 1), "writing to it was cut off"),
        (manifest[..manifest.len() - 5].to_owned(), "not a sound manifest"),
        (String::new(), "not a sound manifest"),
    ] {
        stick.edit(|root| {
            root.file(".toolmaster/manifest.json", text, ago(5));
        });
        on(&server, &stick, "verify").fails(2).says(says).never_says("all in order");
    }
    stick.edit(|root| {
        root.remove(".toolmaster/manifest.json").link(".toolmaster/manifest.json", "/etc/passwd");
    });
    on(&server, &stick, "verify").fails(2).says("is not a file");
}

#[test]
fn archives_are_held_against_their_sums() {
    let server = Server::new();
    let stick = stick("TM-BACKUP", |root| {
        root.file(".toolmaster/role", "BACKUP", ago(100));
    });
    done(on(&server, &stick, "verify")).warns_of("no archive");
    stick.edit(|root| {
        for (name, content) in [("2026-01-30_full.tar.zst", "old"), ("2026-01-31_full.tar.zst", "new")] {
            root.file(name, content, ago(50));
        }
        let sums = "cd \"$1\" && sha256sum 2026-01-31_full.tar.zst > 2026-01-31_full.tar.zst.sha256";
        tool("sh", &["-c", sums, "sh", root.path("").to_str().unwrap()]);
    });
    done(on(&server, &stick, "verify")).warns_of("2026-01-30_full.tar.zst").says("1 file(s), 3 B read: all in order");
    stick.edit(|root| {
        root.file("2026-01-31_full.tar.zst", "neu", ago(50));
    });
    let name = "2026-01-31_full.tar.zst";
    assert_faults(&server, &stick, &[&format!("{name}: damaged: another content than {name}.sha256 says")]);
}

#[test]
fn only_a_proven_stick_is_verified_or_adopted() {
    let server = Server::new();
    let wrong_role = stick("TM-DIST", |root| {
        root.file(".toolmaster/role", "INGEST", ago(100));
    });
    let wrong_label = stick("HOLIDAY", |root| {
        root.file(".toolmaster/role", "INGEST", ago(100));
    });
    for stick in [&wrong_role, &wrong_label, &Stick::blank("TM-DIST", 16)] {
        let before = stick.bytes();
        for what in ["verify", "adopt"] {
            on(&server, stick, what).fails(2).says("validation failed for");
        }
        assert!(stick.bytes() == before);
    }
    let (server, stick) = in_step();
    on(&server, &stick, "verify").flag("--role").flag("DIST").fails(2).says("its label is");
    server.call(&["stick", "verify", "--device", "/dev/null"]).fails(64);
}

fn server_on(stick: &Stick) -> Option<String> {
    stick.read(|root| root.has(".toolmaster/server").then(|| root.text(".toolmaster/server")))
}

#[test]
fn a_stick_is_adopted_and_its_files_are_left_alone() {
    let (server, stick) = in_step();
    let data = common::data_on(&stick);
    let id = fs::read_to_string(server.path(".toolmaster/server-id")).unwrap();
    let run = done(on(&server, &stick, "adopt"));
    run.says("nobody adopted it yet; its manifest is the server").says("stick adopt completed (dry_run=0)");
    assert_eq!(server_on(&stick).as_ref(), Some(&id));
    assert_eq!(common::data_on(&stick), data);
    assert_eq!(server.last_job()["job"], "stick-adopt");
    // Again: nothing to do.
    let before = stick.bytes();
    done(on(&server, &stick, "adopt")).says("already");
    assert!(stick.bytes() == before);
    // By another server, which has no id yet.
    let other = Server::new();
    done(on(&other, &stick, "adopt")).says(&format!("it was the server {}'s", id.trim()));
    assert_eq!(server_on(&stick), Some(fs::read_to_string(other.path(".toolmaster/server-id")).unwrap()));
    // The first one still knows the stick.
    server.run(&stick).done();
}

#[test]
fn all_three_kinds_can_be_adopted() {
    let server = Server::new();
    for word in ["INGEST", "DIST", "BACKUP"] {
        let stick = stick(&format!("TM-{word}"), |root| {
            root.file(".toolmaster/role", word, ago(100));
        });
        done(on(&server, &stick, "adopt")).says("nobody adopted it yet");
        assert!(server_on(&stick).is_some());
    }
}

#[test]
fn an_adoptions_dry_run_changes_nothing_anywhere() {
    let server = Server::new();
    let stick = stick_in_step(&Server::new());
    let (data, bytes) = (server.tree().snapshot_of_inodes(), stick.bytes());
    let run = on(&server, &stick, "adopt").flag("--dry-run").finish();
    run.ended(0).says("plan: write to the stick").says("stick adopt completed (dry_run=1)");
    assert_eq!(server.tree().snapshot_of_inodes(), data);
    assert!(stick.bytes() == bytes);
}

#[test]
fn what_lies_in_the_place_of_the_servers_id_is_replaced() {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.dir(".toolmaster/server/x");
    });
    done(on(&server, &stick, "adopt"));
    let id = fs::read_to_string(server.path(".toolmaster/server-id")).unwrap();
    assert_eq!(server_on(&stick), Some(id));
}

#[test]
fn a_write_protected_stick_cannot_be_adopted() {
    let (server, stick) = in_step();
    let stick = stick.write_protected();
    on(&server, &stick, "adopt").fails(2).says("is write-protected");
    on(&server, &stick, "adopt").flag("--dry-run").fails(2).says("is write-protected");
    done(on(&server, &stick, "verify"));
}

/// A `systemctl` that writes down what it is asked: no systemd runs where the tests do.
struct Systemctl {
    dir: tempfile::TempDir,
}

impl Systemctl {
    fn new(ends: &str) -> Systemctl {
        let dir = program("systemctl", &format!("echo \"$@\" >> \"${{0%/*}}/asked\"\n{ends}"));
        Systemctl { dir }
    }

    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("asked")).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// With labels that no other test's stick on this machine has.
    fn rescan<'a>(&self, server: &'a Server, mark: &str) -> Call<'a> {
        let call = server.call(&["stick", "rescan"]).var("PATH", path_with(self.dir.path()));
        let label = |kind: &str| format!("{mark}-{kind}");
        call.var("USB_INGEST_LABEL", label("I")).var("USB_DIST_LABEL", label("D")).var("USB_BACKUP_LABEL", label("B"))
    }
}

fn start(unit: &str, stick: &Stick) -> String {
    format!("start --no-block {unit}@{}.service", stick.device().strip_prefix("/dev/").unwrap())
}

#[test]
fn each_kind_of_stick_starts_its_unit() {
    let (server, systemctl) = (Server::new(), Systemctl::new("exit 0"));
    let ingest = Stick::blank("KINDS-I", 16);
    let backup = Stick::blank("KINDS-B", 16);
    let dist = (Stick::blank("KINDS-D", 16), Stick::blank("KINDS-D", 16));
    let _other = Stick::blank("HOLIDAY", 16);
    let mut expected = [
        start("usb-ingest", &ingest),
        start("usb-backup", &backup),
        start("usb-dist-export", &dist.0),
        start("usb-dist-export", &dist.1),
    ];
    expected.sort();
    let run = systemctl.rescan(&server, "KINDS").flag("--dry-run").finish();
    run.ended(0).says("plan: start usb-backup@");
    assert_eq!(run.plan().len(), 4, "{run}");
    assert_eq!(systemctl.asked(), Vec::<String>::new());
    let run = done(systemctl.rescan(&server, "KINDS"));
    run.says(&format!("for {} (KINDS-I)", ingest.device()));
    assert_eq!(systemctl.asked(), expected);
}

#[test]
fn without_a_stick_there_is_nothing_to_start() {
    let (server, systemctl) = (Server::new(), Systemctl::new("exit 0"));
    systemctl.rescan(&server, "NONE").fails(3).says("NONE-I");
    assert_eq!(systemctl.asked(), Vec::<String>::new());
}

#[test]
fn a_failing_systemctl_is_told_and_the_others_are_started_all_the_same() {
    let server = Server::new();
    let systemctl = Systemctl::new("case $* in *backup*) echo 'Unit not found.' >&2; exit 5 ;; esac");
    let backup = Stick::blank("FAILS-B", 16);
    let ingest = Stick::blank("FAILS-I", 16);
    let run = systemctl.rescan(&server, "FAILS").fails(1);
    run.says("Unit not found.").says("started usb-ingest@");
    assert_eq!(systemctl.asked(), [start("usb-backup", &backup), start("usb-ingest", &ingest)]);
}

#[test]
fn a_whole_disks_partition_is_what_starts() {
    let (server, systemctl) = (Server::new(), Systemctl::new("exit 0"));
    let stick = Stick::bare(32);
    let made = server.call(&[
        "stick",
        "init",
        "--not-usb",
        "--yes",
        "--role",
        "BACKUP",
        "--fs",
        "ext4",
        "--device",
        stick.device(),
    ]);
    done(made.var("USB_BACKUP_LABEL", "PART-B"));
    done(systemctl.rescan(&server, "PART"));
    let name = stick.partition(1);
    let name = name.strip_prefix("/dev/").unwrap();
    assert_eq!(systemctl.asked(), [format!("start --no-block usb-backup@{name}.service")]);
}

#[test]
fn a_parked_or_mounted_stick_can_be_rescanned() {
    let (server, systemctl) = (Server::new(), Systemctl::new("exit 0"));
    let stick = Stick::blank("BUSY-I", 16);
    let place = tempfile::tempdir().unwrap();
    rustix::mount::mount(stick.device(), place.path(), "ext4", rustix::mount::MountFlags::RDONLY, None).unwrap();
    let before = stick.bytes();
    done(systemctl.rescan(&server, "BUSY"));
    assert_eq!(systemctl.asked(), [start("usb-ingest", &stick)]);
    rustix::mount::unmount(place.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    assert!(stick.bytes() == before);
}

//! `/etc/toolmaster/notify.d/`: real programs are given the record of the run that failed. Which units start them is read
//! from the units; that systemd does is for the booted image.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Server, Stick, Tree, ago};
use serde_json::Value;

/// The site's programs; one test at a time has them.
struct Programs {
    dir: Tree,
    out: Tree,
    _out: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Programs {
    fn new() -> Programs {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = Tree::at("/etc/toolmaster/notify.d");
        let _ = fs::remove_dir_all(dir.path(""));
        dir.dir("");
        let out = tempfile::tempdir().unwrap();
        Programs { dir, out: Tree::at(out.path()), _out: out, _alone: alone }
    }

    /// A program that writes down its argument and its input under its own name.
    fn add(&self, name: &str, mode: u32, more: &str) {
        let out = self.out.path(name);
        let script = format!(
            "#!/bin/sh\n{{ echo \"$*\"; cat; }} > {}\necho {name} >> {}\n{more}\n",
            out.display(),
            self.out.path("order").display()
        );
        self.dir.file(name, script, ago(10));
        fs::set_permissions(self.dir.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The unit and the record that a program was given.
    fn told(&self, name: &str) -> (String, Value) {
        let text = self.out.text(name);
        let (unit, record) = text.split_once('\n').unwrap();
        assert_eq!(record.lines().count(), 1, "one line: {record}");
        (unit.to_owned(), serde_json::from_str(record).unwrap())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.dir.path(""));
    }
}

/// Ingests of two sticks that are refused and fail, as two units' runs; the ids of these.
fn two_failed_runs(server: &Server) -> [&'static str; 2] {
    let (wrong, empty) = (Stick::labelled("TM-DIST", 16), Stick::ingest());
    server.run(&wrong).var("INVOCATION_ID", "0123").fails(2);
    server.run(&empty).var("INVOCATION_ID", "4567").fails(3);
    ["0123", "4567"]
}

#[test]
fn programs_get_the_record_of_the_run_that_failed() {
    let (programs, server) = (Programs::new(), Server::new());
    let [refused, _] = two_failed_runs(&server);
    programs.add("20-second", 0o755, "");
    programs.add("10-first", 0o700, "");
    programs.add("30-not-executable", 0o644, "");
    let call = server.call(&["notify", "usb-ingest@sda1"]).var("MONITOR_INVOCATION_ID", refused);
    let run = call.var("MONITOR_SERVICE_RESULT", "exit-code").finish();
    run.ended(0);
    assert_eq!(programs.out.text("order"), "10-first\n20-second\n");
    for name in ["10-first", "20-second"] {
        let (unit, record) = programs.told(name);
        assert_eq!((unit.as_str(), &record["unit"]), ("usb-ingest@sda1", &Value::from("usb-ingest@sda1")));
        assert_eq!((&record["job"], &record["result"]), (&Value::from("ingest"), &Value::from("refused")));
        assert!(record["error"].as_str().unwrap().contains("validation failed for /dev/"), "{record}");
    }
    assert!(!programs.out.has("30-not-executable"));
}

#[test]
fn by_hand_it_is_the_job_s_last_run() {
    let (programs, server) = (Programs::new(), Server::new());
    two_failed_runs(&server);
    programs.add("tell", 0o755, "");
    server.call(&["notify", "usb-ingest@sda1.service"]).finish().ended(0);
    let (unit, record) = programs.told("tell");
    assert_eq!((unit.as_str(), &record["result"]), ("usb-ingest@sda1", &Value::from("nothing")));
}

#[test]
fn a_run_that_left_no_record_is_told_of_by_what_systemd_knows() {
    let (programs, server) = (Programs::new(), Server::new());
    two_failed_runs(&server);
    programs.add("tell", 0o755, "");
    let call = server.call(&["notify", "tool-snapshot"]).var("MONITOR_INVOCATION_ID", "89ab");
    let call = call.var("MONITOR_SERVICE_RESULT", "timeout").var("MONITOR_EXIT_CODE", "killed");
    call.var("MONITOR_EXIT_STATUS", "TERM").finish().ended(0);
    let (_, record) = programs.told("tell");
    assert_eq!((&record["job"], &record["result"]), (&Value::from("snapshot"), &Value::from("failed")));
    assert!(
        record["error"].as_str().unwrap().contains("timeout killed TERM -> journalctl -u tool-snapshot"),
        "{record}"
    );
}

#[test]
fn a_program_that_fails_does_not_keep_the_next_from_telling() {
    let (programs, server) = (Programs::new(), Server::new());
    programs.add("10-broken", 0o755, "echo no network >&2; exit 7");
    programs.add("20-reads-nothing", 0o755, "exit 0");
    let run = server.call(&["notify", "usb-backup@sda1"]).fails(1);
    assert!(run.stderr.contains("10-broken failed") && run.stderr.contains("no network -> "), "{run}");
    assert_eq!(programs.out.text("order"), "10-broken\n20-reads-nothing\n");
    let _ = fs::remove_dir_all(programs.dir.path(""));
    server.call(&["notify", "usb-backup@sda1"]).fails(3);
}

/// The sample of the package, with an address and a sendmail that writes down what it is to send.
#[test]
fn the_sample_sends_the_record() {
    let (programs, server) = (Programs::new(), Server::new());
    two_failed_runs(&server);
    let sample = fs::read_to_string("config/notify.sample.sh").unwrap();
    programs.dir.file("sample", sample.replace("MAIL_TO=''", "MAIL_TO='keeper@example.com'"), ago(10));
    fs::set_permissions(programs.dir.path("sample"), fs::Permissions::from_mode(0o755)).unwrap();
    let mail = programs.out.path("mail");
    let sendmail = common::program("sendmail", &format!("echo \"$*\" > {0}; cat >> {0}", mail.display()));
    let call = server.call(&["notify", "usb-ingest@sda1"]).var("PATH", common::path_with(sendmail.path()));
    call.finish().ended(0);
    let mail = programs.out.text("mail");
    assert!(mail.starts_with("-t\nTo: keeper@example.com\nSubject: usb-ingest@sda1 failed on "), "{mail}");
    let record: Value = serde_json::from_str(mail.split_once("\n\n").unwrap().1).unwrap();
    assert_eq!(record["unit"], "usb-ingest@sda1");
}

#[test]
fn the_failure_of_every_job_is_told() {
    for entry in fs::read_dir("systemd").unwrap() {
        let (name, path) = (entry.as_ref().unwrap().file_name().into_string().unwrap(), entry.unwrap().path());
        // What only shows something, and what runs before there is a network to tell it over.
        let aside = [
            "usb-park@",
            "usb-guard@",
            "usb-light@",
            "toolmaster-notify@",
            "toolmaster-page",
            "toolmaster-web@",
            "toolmaster-site",
        ];
        if name.ends_with(".service") && !aside.iter().any(|unit| name.starts_with(unit)) {
            let text = fs::read_to_string(path).unwrap();
            let line = text.lines().find(|line| line.starts_with("OnFailure=")).unwrap_or_default();
            assert!(line.split(['=', ' ']).any(|unit| unit == "toolmaster-notify@%N.service"), "{name}: {line}");
        }
    }
}

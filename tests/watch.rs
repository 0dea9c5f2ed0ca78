//! `toolmaster watch`. There is no systemd where the tests run: programs by the names of its two stand in, which answer
//! what the test has put down for them; the records of the runs that are followed are those of real runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::call::BINARY;
use common::{Server, Stick, Tree, ago, in_step};
use rustix::process::{Pid, Signal, kill_process};

/// `show`: of each unit that is loaded its properties.
const SYSTEMCTL: &str = r#"[ "$1" = show ] || exit 1
while read -r unit sub; do
	value() { cat "STATE/$unit.$1" 2>/dev/null || echo; }
	printf 'Id=%s\nActiveState=activating\nSubState=%s\nStatusText=%s\nInactiveExitTimestamp=@5\nInvocationID=%s\n\n' \
		"$unit" "$sub" "$(value StatusText)" "$(value InvocationID)"
done < STATE/units"#;

/// As journalctl does it: the lines behind the cursor, then the new one; with nothing new, nothing.
const JOURNALCTL: &str = r#"from=; most=
for word; do case $word in --after-cursor=*) from=${word#*=} ;; --lines=*) most=${word#*=} ;; esac; done
count=$(wc -l < STATE/journal)
[ "$count" -gt "${from:-0}" ] || exit 0
tail -n +$((${from:-0} + 1)) STATE/journal | tail -n "$most"
echo "-- cursor: $count""#;

struct Systemd {
    state: Tree,
    programs: Tree,
    _dir: tempfile::TempDir,
}

impl Systemd {
    fn new() -> Systemd {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (state, programs) = (Tree::at(dir.path().join("state")), Tree::at(dir.path().join("programs")));
        state.file("units", "", ago(9)).file("journal", "", ago(9));
        for (name, script) in [("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)] {
            let script = script.replace("STATE", state.path("").to_str().unwrap());
            programs.file(name, format!("#!/bin/sh\n{script}\n"), ago(9));
            fs::set_permissions(programs.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Systemd { state, programs, _dir: dir }
    }

    /// The units and their sub-states; whole or not at all.
    fn units(&self, lines: &str) {
        self.state.file("units.new", lines, ago(9));
        fs::rename(self.state.path("units.new"), self.state.path("units")).unwrap();
    }

    fn say(&self, line: &str) {
        use std::io::Write;
        let mut journal = fs::File::options().append(true).open(self.state.path("journal")).unwrap();
        journal.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn watch(&self, server: &Server, through: &[&str]) -> Watch {
        let mut words = [through, &[BINARY, "watch"]].concat();
        let out = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(words.remove(0));
        command.args(words).env_clear().env("SERVER_ROOT", server.path("")).env("TZ", "UTC");
        command.env("PATH", common::path_with(&self.programs.path("")));
        // One position for both.
        let file = out.reopen().unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Watch { child: command.spawn().unwrap(), out }
    }
}

struct Watch {
    child: Child,
    out: tempfile::NamedTempFile,
}

impl Watch {
    fn said(&self) -> String {
        fs::read_to_string(self.out.path()).unwrap()
    }

    fn until(&mut self, words: &str) {
        let start = Instant::now();
        while !self.said().contains(words) {
            assert!(start.elapsed() < Duration::from_secs(60), "never {words:?}: {}", self.said());
            assert!(self.child.try_wait().unwrap().is_none() || self.said().contains(words), "ended: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ends(mut self, code: i32) -> String {
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}", self.said());
        self.said()
    }
}

#[test]
fn nothing_at_work() {
    let (systemd, server) = (Systemd::new(), Server::new());
    // Neither the look at a stick's condition nor the hour until the next try is work.
    systemd.units("usb-ingest@sda1.service condition\ntool-snapshot.service auto-restart\n");
    let said = systemd.watch(&server, &[]).ends(0);
    assert_eq!(said, "動いている作業はありません\n");
}

#[test]
fn a_job_is_followed_to_its_end() {
    let systemd = Systemd::new();
    let (server, stick) = in_step();
    systemd.units("usb-ingest@sda1.service start\n");
    systemd.state.file("usb-ingest@sda1.service.InvocationID", "0123\n", ago(9));
    systemd.state.file("usb-ingest@sda1.service.StatusText", "master: from the stick: 7 %\n", ago(9));
    for number in 1..=30 {
        systemd.say(&format!("earlier {number}"));
    }
    let mut watch = systemd.watch(&server, &[]);
    watch.until("usb-ingest@sda1.service: 作業中 master: from the stick: 7 %\n");
    watch.until("earlier 30\n");
    systemd.say("master: stick wins\u{1b}[2J");
    watch.until("master: stick wins");
    // The job comes to its end.
    server.run(&stick).var("INVOCATION_ID", "0123").done();
    systemd.say("ingest completed (dry_run=0 force=0)");
    systemd.units("");
    let said = watch.ends(0);
    assert!(said.contains("earlier 21\n") && !said.contains("earlier 20\n"), "the last ten of before: {said}");
    for line in ["earlier 30\n", "master: stick wins\\u{1b}[2J\n", "ingest completed (dry_run=0 force=0)\n"] {
        assert_eq!(said.matches(line).count(), 1, "{line}: {said}");
    }
    assert!(said.ends_with("usb-ingest@sda1.service: 完了\n") && !said.contains('\r'), "{said}");
}

#[test]
fn it_ends_as_the_job_does() {
    let systemd = Systemd::new();
    let (server, good) = in_step();
    let (wrong, empty) = (Stick::labelled("TM-DIST", 16), Stick::ingest());
    for (stick, id, code) in [(&wrong, "01", 2), (&empty, "02", 3)] {
        systemd.units("usb-ingest@sda1.service start\nusb-backup@sdb1.service start-pre\n");
        systemd.state.file("usb-ingest@sda1.service.InvocationID", id, ago(9));
        systemd.state.file("usb-backup@sdb1.service.InvocationID", format!("{id}b"), ago(9));
        let mut watch = systemd.watch(&server, &[]);
        watch.until("usb-ingest@sda1.service: 作業中");
        server.run(stick).var("INVOCATION_ID", id).fails(code);
        server.run(&good).var("INVOCATION_ID", format!("{id}b")).done();
        systemd.units("");
        let said = watch.ends(code);
        assert!(said.contains("usb-ingest@sda1.service: 完了していません\n"), "{said}");
        assert!(said.contains("usb-backup@sdb1.service: 完了\n"), "{said}");
        assert!(said.lines().last().unwrap().ends_with(" -> what to do stands in its last line above"), "{said}");
    }
    // One that was killed wrote nothing.
    systemd.units("tool-snapshot.service start\n");
    systemd.state.file("tool-snapshot.service.InvocationID", "03", ago(9));
    let mut watch = systemd.watch(&server, &[]);
    watch.until("tool-snapshot.service: 作業中");
    systemd.units("");
    assert!(watch.ends(1).contains("tool-snapshot.service: it left no record -> "));
}

#[test]
fn ending_it_ends_nothing_else() {
    let (systemd, server) = (Systemd::new(), Server::new());
    systemd.units("usb-backup@sda1.service start\n");
    let mut watch = systemd.watch(&server, &[]);
    watch.until("作業中");
    kill_process(Pid::from_child(&watch.child), Signal::INT).unwrap();
    assert!(watch.ends(0).ends_with("見るのをやめました。作業は続いています\n"));
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let (systemd, server) = (Systemd::new(), Server::new());
    systemd.units("usb-backup@sda1.service start\n");
    systemd.state.file("usb-backup@sda1.service.InvocationID", "0123\n", ago(9));
    systemd.state.file("usb-backup@sda1.service.StatusText", "writing it: 40 %\n", ago(9));
    // `script` gives it a terminal.
    let shell = "words=\"$*\"; exec script -qec \"$words\" /dev/null";
    let mut watch = systemd.watch(&server, &["sh", "-c", shell, "sh"]);
    watch.until("\r\u{1b}[Kwriting it: 40 %");
    systemd.state.file("usb-backup@sda1.service.StatusText", "reading it back: 60 %\n", ago(9));
    watch.until("\r\u{1b}[Kreading it back: 60 %");
    systemd.units("");
    watch.ends(1);
}

#[test]
fn without_systemd_it_says_so() {
    let server = Server::new();
    let none = common::program("systemctl", "exit 1");
    let run = server.call(&["watch"]).var("PATH", common::path_with(none.path())).fails(78);
    assert!(run.stderr.contains("systemd does not answer"), "{run}");
}

/// The identifiers are those of the units.
#[test]
fn it_follows_the_units_that_there_are() {
    for (unit, identifier) in toolmaster::cmd::watch::JOBS {
        let text = fs::read_to_string(format!("systemd/{}", unit.replace("@*", "@"))).unwrap();
        assert!(text.contains(&format!("\nSyslogIdentifier={identifier}\n")), "{unit}");
        assert!(text.contains("\nType=oneshot\n"), "{unit}");
    }
}

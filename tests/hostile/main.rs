//! Sticks that mean harm (SPEC 5, 8): each does the worst that its maker here could think of, and each run says so in one
//! line, reads and writes nothing outside the datasets, and stays below 64 MiB of memory.
//!
//! Every case prints a row for the table of docs/security.md (`scripts/faults` puts it there). Damaged superblocks and
//! directories are in `tests/probe.rs`; fuzzed file systems that the kernel itself must survive are mounted in the VM alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
mod contents;
mod devices;
mod lies;
mod links;
mod sizes;
mod write_back;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{CWD, FileType, Mode, makedev};

use common::{Call, Run, Server, Stick, Tree, ago, assert_unchanged, in_step};

/// No run may ever need more, KiB.
const MEMORY: u64 = 64 << 10;

/// What no stick may lead to: a directory beside the server, with secrets that would show a read by their access times.
pub struct Outside(Tree);

impl Outside {
    /// A new one.
    pub fn fresh() -> Outside {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let tree = Tree::at(format!("/run/outside-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        tree.file("secret.csv", "secret", ago(10)).file("sub/c.csv", "secret", ago(10));
        // What a stick would like to be believed.
        tree.file("role", "INGEST\n", ago(10)).file("meta.json", r#"{"updated_at": 4000000000}"#, ago(10));
        tree.file("manifest.json", "{}", ago(10)).file("enrolled", "00", ago(10)).file("archive", "mine", ago(10));
        Outside(tree)
    }

    /// A path below it, for links.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// Runs a command line; it must end with that code, on a line that says so much, in bounded memory, and nothing outside
    /// may be read or written.
    pub fn watch(&self, case: &str, call: Call<'_>, code: i32, says: &str) -> Run {
        let before = self.0.snapshot_of_inodes();
        let peak = tempfile::NamedTempFile::new().unwrap();
        let run = call.through(&["/usr/bin/time", "-q", "-f", "%M", "-o", peak.path().to_str().unwrap()]).finish();
        run.ended(code);
        assert_unchanged(&before, &self.0.snapshot_of_inodes());
        assert!(!run.stdout.contains("secret") && !run.messages().contains("secret\n"), "{case}: {run}");
        let peak: u64 = std::fs::read_to_string(peak.path()).unwrap().trim().parse().unwrap();
        assert!(peak < MEMORY, "{case}: {peak} KiB\n{run}");
        row(case, &run, says, peak);
        run
    }
}

/// Prints a row: what became of it, the code, the line that says so, the peak memory in KiB (0: it was not measured).
fn row(case: &str, run: &Run, says: &str, peak: u64) {
    let line = run.stderr.lines().find(|line| line.contains(says));
    let line = line.unwrap_or_else(|| panic!("{case}: no line says {says:?}\n{run}"));
    assert!(!run.stderr.chars().any(|c| c.is_control() && c != '\n'), "{case}: {run}");
    let datasets = run.job["datasets"].as_object().cloned().unwrap_or_default();
    let outcome: Vec<String> =
        datasets.iter().filter_map(|(name, said)| Some(format!("{name}: {}", said["outcome"].as_str()?))).collect();
    let outcome = match (outcome.is_empty(), run.job["result"].as_str()) {
        (true, Some(result)) => result.to_owned(),
        (true, None) => "not begun".to_owned(),
        _ => outcome.join(", "),
    };
    let short = excerpt(&plain(line), says);
    let short = short.replace('|', "\\|").replace('`', "'");
    let peak = if peak == 0 { "–".to_owned() } else { format!("{:.1}", peak as f64 / 1024.0) };
    println!("HOSTILE|{case}|{outcome}|{}|`{short}`|{peak}|", run.code.unwrap());
}

/// What a row has room for: the beginning, and what it is all about.
fn excerpt(line: &str, says: &str) -> String {
    let chars = |text: &str, count| text.chars().take(count).collect::<String>();
    match line.find(says) {
        Some(at) if at > 100 => format!("{}…{}", chars(line, 40), chars(&line[at..], 100)),
        _ if line.chars().count() > 160 => format!("{}…", chars(line, 160)),
        _ => line.to_owned(),
    }
}

/// A line without what differs from machine to machine.
fn plain(line: &str) -> String {
    let mut line = line.to_owned();
    for (start, instead) in
        [("/run/toolmaster/loop", "/run/toolmaster/sdX"), ("/dev/loop", "/dev/sdX"), ("/tmp/.tmp", "/srv/rpi-server")]
    {
        while let Some(at) = line.find(start) {
            let rest = &line[at + start.len()..];
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-');
            line = format!("{}{instead}{rest}", &line[..at]);
        }
    }
    line
}

/// A server and a stick in step; the stick's master was edited, and then something worse was done to it.
pub fn edited(worse: impl FnOnce(&Tree)) -> (Server, Stick) {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited", ago(60));
        worse(root);
    });
    (server, stick)
}

/// A server and a stick in step; the server's master was edited since and is newer, and something was done to the stick.
pub fn behind(worse: impl FnOnce(&Tree)) -> (Server, Stick) {
    let (server, stick) = in_step();
    server.master().file("a.csv", "server", ago(60)).file("sub/c.csv", "server", ago(60)).meta(ago(-100));
    stick.edit(worse);
    (server, stick)
}

/// Ends a chain of changes.
pub fn made(_: &Tree) {}

/// Makes what is no file: a FIFO, or a device by its numbers.
pub fn mknod(path: impl AsRef<Path>, kind: FileType, (major, minor): (u32, u32)) {
    rustix::fs::mknodat(CWD, path.as_ref(), kind, Mode::from_raw_mode(0o666), makedev(major, minor)).unwrap();
}

//! A server's directories, and how a run on them ended.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;
use serde_json::Value;
use tempfile::TempDir;

use super::stick::Mounted;
use super::tree::read_quietly;
use super::{Call, Stick, Tree};

/// What stands on disk below `$SERVER_ROOT`.
pub struct Server {
    root: PathBuf,
    // Dropped in this order: the mount before its device.
    disk: Option<(Mounted, Stick)>,
    _dir: Option<TempDir>,
}

impl Server {
    /// A new server: a root directory and nothing in it.
    pub fn new() -> Server {
        let dir = tempfile::tempdir().unwrap();
        Server { root: dir.path().to_owned(), disk: None, _dir: Some(dir) }
    }

    /// The same on a disk of that size.
    pub fn on_disk(mib: u64) -> Server {
        let server = Server::booted_from(Stick::blank("server", mib));
        fs::create_dir(&server.root).unwrap();
        server
    }

    /// The same on a disk of 1 GiB whose ext4 filesystem `make` makes.
    pub fn on_disk_of(make: impl FnOnce(&str)) -> Server {
        let server = Server::booted_from(Stick::made(1024, make));
        fs::create_dir(&server.root).unwrap();
        server
    }

    /// The same on a filesystem made by that program, such as `mkfs.xfs`.
    pub fn on_filesystem(fstype: &str, mib: u64) -> Server {
        let disk = Stick::made(mib, |image| drop(super::tool(&format!("mkfs.{fstype}"), &["-q", image])));
        let place = Mounted::of_type(fstype, disk.device(), MountFlags::empty(), "");
        let server = Server { root: place.0.path().join("root"), disk: Some((place, disk)), _dir: None };
        fs::create_dir(&server.root).unwrap();
        server
    }

    /// The server that starts after a power cut at this instant: what is on the disk, and no more.
    pub fn after_power_cut(&self) -> Server {
        let (_, disk) = self.disk.as_ref().expect("a server on a disk of its own");
        Server::booted_from(disk.copy())
    }

    fn booted_from(disk: Stick) -> Server {
        let place = Mounted::new(disk.device(), MountFlags::empty(), "");
        Server { root: place.0.path().join("root"), disk: Some((place, disk)), _dir: None }
    }

    /// The disk of a server that has one of its own.
    pub fn disk(&self) -> &Stick {
        &self.disk.as_ref().expect("a server on a disk of its own").1
    }

    /// Makes durable what the test wrote.
    pub fn sync(&self) {
        rustix::fs::syncfs(fs::File::open(&self.root).unwrap()).unwrap();
    }

    /// The tree of everything.
    pub fn tree(&self) -> Tree {
        Tree::at(&self.root)
    }

    /// A path below `$SERVER_ROOT`.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// The dataset `master`.
    pub fn master(&self) -> Tree {
        Tree::at(self.path("master"))
    }

    /// The dataset `docviewer`.
    pub fn docviewer(&self) -> Tree {
        Tree::at(self.path("docviewer"))
    }

    /// Both datasets as a snapshot.
    pub fn data(&self) -> String {
        self.master().snapshot() + &self.docviewer().snapshot()
    }

    /// The command on a stick, as the unit starts it; [`Call::done`] or [`Call::fails`] runs it.
    pub fn run<'a>(&'a self, stick: &'a Stick) -> Call<'a> {
        Call::new(self, &["ingest", "--device", stick.device()], Some(stick))
    }

    /// Any command line.
    pub fn call<'a>(&'a self, arguments: &[&str]) -> Call<'a> {
        Call::new(self, arguments, None)
    }

    /// All lines of the job's log.
    pub fn log(&self) -> String {
        self.text_of("logs/usb_ingest.log")
    }

    fn text_of(&self, name: &str) -> String {
        let path = self.path(name);
        if path.is_file() { String::from_utf8_lossy(&read_quietly(&path)).into_owned() } else { String::new() }
    }

    /// The last record of `jobs.jsonl`.
    pub fn last_job(&self) -> Value {
        let text = self.text_of("logs/jobs.jsonl");
        text.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap())
    }
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub struct Run {
    /// The command's word.
    pub command: String,
    /// Its exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// What it added to `usb_ingest.log`.
    pub log: String,
    /// The last record of `jobs.jsonl`.
    pub job: Value,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Run { command, code, stdout, stderr, log, job } = self;
        write!(f, "{command}: code {code:?}\n-- stdout\n{stdout}-- stderr\n{stderr}-- log\n{log}-- job\n{job}")
    }
}

impl Run {
    /// The log's lines, or the terminal's where there is no log (a dry run, a log that can't be written).
    pub fn messages(&self) -> &str {
        if self.log.is_empty() { &self.stderr } else { &self.log }
    }

    /// It says that.
    pub fn says(&self, text: &str) -> &Run {
        assert!(self.messages().contains(text), "does not say {text:?}\n{self}");
        self
    }

    /// It does not say that.
    pub fn never_says(&self, text: &str) -> &Run {
        assert!(!self.messages().contains(text), "says {text:?}\n{self}");
        self
    }

    /// It warns of that name in one line.
    pub fn warns_of(&self, name: &str) -> &Run {
        let found = self.messages().lines().any(|line| line.contains("[warn]") && line.contains(name));
        assert!(found, "no warning names {name:?}\n{self}");
        self
    }

    /// How `jobs.jsonl` says that a dataset ended: `stick wins`, `server wins`, `nothing`, `missing`, `refused`, `failed`.
    pub fn outcome(&self, dataset: &str, expected: &str) -> &Run {
        let said = &self.job["datasets"][dataset];
        let word = said["outcome"].as_str().unwrap_or_default();
        let found = match (word, said["reason"].as_str()) {
            ("nothing to do", Some("not on the stick")) => "missing",
            ("nothing to do", _) => "nothing",
            (word, _) => word,
        };
        assert_eq!(found, expected, "{dataset}\n{self}");
        self
    }

    /// The lines that say what a dry run would do.
    pub fn plan(&self) -> Vec<&str> {
        let plan = |line: &'_ str| line.find("plan: ").map(|at| at + "plan: ".len());
        self.stderr.lines().filter_map(|line| plan(line).map(|at| &line[at..])).collect()
    }

    /// It ended with that code.
    pub fn ended(&self, code: i32) -> &Run {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// What holds for every run.
    pub fn check(&self, dry: bool) {
        for word in ["panicked", "RUST_BACKTRACE", "unwrap()"] {
            assert!(!self.stderr.contains(word), "{self}");
        }
        let code = self.code.unwrap_or_else(|| panic!("ended by a signal\n{self}"));
        assert!([0, 1, 2, 3, 64, 75, 78].contains(&code), "not a code of SPEC 3\n{self}");
        for line in self.log.lines() {
            assert!(is_log_line(line), "not a log line: {line:?}\n{self}");
        }
        if dry {
            assert_eq!(self.log, "", "a dry run wrote to the log\n{self}");
        } else if !self.log.is_empty() {
            let result = match code {
                0 => "done",
                2 => "refused",
                3 => "nothing",
                75 => "busy",
                _ => "failed",
            };
            assert_eq!(self.job["job"], *self.command, "{self}");
            assert_eq!(self.job["result"], result, "{self}");
            assert_eq!(self.job["error"].is_string(), code != 0, "{self}");
        }
    }
}

/// `2026-01-31T02:30:00+09:00 [info] message`
fn is_log_line(line: &str) -> bool {
    let Some((time, rest)) = line.split_once(" [") else {
        return false;
    };
    let pattern = "0000-00-00T00:00:00+00:00";
    let shaped = time.len() == pattern.len()
        && time.bytes().zip(pattern.bytes()).all(|(is, like)| match like {
            b'0' => is.is_ascii_digit(),
            b'+' => is == b'+' || is == b'-',
            _ => is == like,
        });
    shaped && ["info] ", "warn] ", "error] "].iter().any(|level| rest.starts_with(level))
}

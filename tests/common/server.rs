//! A server's directories and runs of the program on them, with what every run must leave behind.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::MountFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::stick::{Mounted, mounts_below_run_of};
use super::{Stick, Tree};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_toolmaster");

/// A run that takes longer hangs.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// What stands on disk below `$SERVER_ROOT`.
pub struct Server {
    root: PathBuf,
    // Dropped in this order: the mount before its device.
    _disk: Option<(Mounted, Stick)>,
    _dir: Option<TempDir>,
}

impl Server {
    /// A new server: a root directory and nothing in it.
    pub fn new() -> Server {
        let dir = tempfile::tempdir().unwrap();
        Server { root: dir.path().to_owned(), _disk: None, _dir: Some(dir) }
    }

    /// The same on a disk of that size.
    pub fn on_disk(mib: u64) -> Server {
        let disk = Stick::blank("server", mib);
        let place = Mounted::new(disk.device(), MountFlags::empty(), "");
        let root = place.0.path().join("root");
        fs::create_dir(&root).unwrap();
        Server { root, _disk: Some((place, disk)), _dir: None }
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
        let mut call = self.call(&["ingest", "--device", stick.device()]);
        call.stick = Some(stick);
        call
    }

    /// Any command line.
    pub fn call<'a>(&'a self, arguments: &[&str]) -> Call<'a> {
        let arguments = arguments.iter().map(|argument| (*argument).into()).collect();
        Call { server: self, stick: None, arguments, name: None, variables: vec![], binds: vec![], memory: None }
    }

    /// All lines of the job's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("logs/usb_ingest.log")).unwrap_or_default()
    }

    /// The last record of `jobs.jsonl`.
    pub fn last_job(&self) -> Value {
        let text = fs::read_to_string(self.path("logs/jobs.jsonl")).unwrap_or_default();
        text.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap())
    }
}

/// A command line with its surroundings.
pub struct Call<'a> {
    server: &'a Server,
    stick: Option<&'a Stick>,
    arguments: Vec<OsString>,
    name: Option<&'a str>,
    variables: Vec<(&'a str, OsString)>,
    binds: Vec<(PathBuf, &'a str)>,
    memory: Option<u64>,
}

impl<'a> Call<'a> {
    /// One more argument.
    pub fn flag(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Called by one of its names, which takes the command's word from the command line.
    pub fn named(mut self, name: &'a str) -> Self {
        self.name = Some(name);
        self.arguments.remove(0);
        self
    }

    /// One more variable.
    pub fn var(mut self, name: &'a str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Another time for the program alone, as `faketime` spells it: `-3600`, `@2099-01-01 00:00:00` (UTC).
    pub fn clock(self, time: &str) -> Self {
        let library = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"]
            .map(|place| Path::new(place).join("libfaketime.so.1"));
        let library = library.iter().find(|path| path.exists()).expect("no libfaketime.so.1: apt-get install faketime");
        self.var("LD_PRELOAD", library)
            .var("FAKETIME", time)
            .var("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .var("NO_FAKE_STAT", "1")
    }

    /// The clock is synchronised, as systemd-timesyncd says it.
    pub fn synchronised(self) -> Self {
        let systemd = self.server.tree().sub("run-systemd");
        systemd.file("timesync/synchronized", "", super::ago(0));
        self.bind(&systemd.path(""), "/run/systemd")
    }

    /// Shows the program a directory in the place of another one.
    pub fn bind(mut self, directory: &Path, target: &'a str) -> Self {
        fs::create_dir_all(target).unwrap();
        self.binds.push((directory.to_owned(), target));
        self
    }

    /// With that many MiB of address space at most.
    pub fn memory(mut self, mib: u64) -> Self {
        self.memory = Some(mib << 20);
        self
    }

    /// Runs it; it must succeed, and log what a success promises.
    pub fn done(self) -> Run {
        let (dry, force) = (self.has("--dry-run"), self.has("--force"));
        let run = self.finish();
        run.ended(0);
        let last = format!("ingest completed (dry_run={} force={})", u8::from(dry), u8::from(force));
        assert!(run.messages().ends_with(&format!("{last}\n")), "last line is not {last:?}\n{run}");
        run
    }

    /// Runs it; it must end with that code, and say on one line of stderr what failed and what to do next.
    pub fn fails(self, code: i32) -> Run {
        assert_ne!(code, 0);
        let run = self.finish();
        run.ended(code);
        let advice = run.stderr.lines().filter(|line| line.contains(" -> ")).count();
        assert!(advice >= 1, "no line says what to do next\n{run}");
        assert!(!run.messages().contains("completed"), "it failed, but claims to be complete\n{run}");
        run
    }

    /// Runs it and checks what holds for every run, however it ends.
    pub fn finish(self) -> Run {
        let dry = self.has("--dry-run");
        let stick = self.stick;
        let run = self.start().wait();
        run.check(dry);
        if let Some(stick) = stick {
            assert!(!stick.is_mounted(), "the stick is still mounted\n{run}");
            assert_no_leftovers(stick);
        }
        run
    }

    /// Starts it.
    pub fn start(self) -> Running<'a> {
        let out = tempfile::NamedTempFile::new().unwrap();
        let err = tempfile::NamedTempFile::new().unwrap();
        let mut command = self.command();
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TZ", "UTC");
        command.env("SERVER_ROOT", &self.server.root).envs(self.variables.iter().cloned());
        command.stdin(File::open("/dev/null").unwrap());
        command.stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
        let log_before = self.server.log().len();
        let child = command.spawn().unwrap();
        Running { server: self.server, child, out, err, log_before }
    }

    fn has(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument == flag)
    }

    fn command(&self) -> Command {
        const MOUNT: &str = r#"while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@""#;
        let mut words: Vec<OsString> = vec![];
        if !self.binds.is_empty() {
            words.extend(["unshare", "--mount", "--propagation", "private", "sh", "-euc", MOUNT, "sh"].map(Into::into));
            words.extend(self.binds.iter().flat_map(|(from, to)| [from.into(), (*to).into()]));
            words.push("--".into());
        }
        if let Some(bytes) = self.memory {
            words.extend(["prlimit".into(), format!("--as={bytes}").into()]);
        }
        words.push(BINARY.into());
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if let Some(name) = self.name {
            assert_eq!(words[0], BINARY, "a name can't be given through other programs");
            command.arg0(name);
        }
        command
    }
}

fn assert_no_leftovers(stick: &Stick) {
    // A stick that can't be looked at without a journal replay is not one that the run had mounted for writing.
    if Tree::at(stick.image()).path("").exists() && is_ext4(stick) {
        let left = stick.read(|root| root.sub(".toolmaster/tmp").files());
        assert!(left.is_empty(), "left in .toolmaster/tmp on the stick: {left:?}");
    }
}

fn is_ext4(stick: &Stick) -> bool {
    use std::os::unix::fs::FileExt;
    let mut magic = [0; 2];
    File::open(stick.image()).unwrap().read_exact_at(&mut magic, 1024 + 0x38).is_ok() && magic == [0x53, 0xef]
}

/// A run that has not ended yet.
pub struct Running<'a> {
    server: &'a Server,
    child: Child,
    out: tempfile::NamedTempFile,
    err: tempfile::NamedTempFile,
    log_before: usize,
}

impl Running<'_> {
    /// Waits until `what` holds. A run that ends before fails the test.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(self.child.try_wait().unwrap().is_none(), "ended before {what}: {}", self.stderr());
            assert!(start.elapsed() < TIME_LIMIT, "never: {what}");
            sleep(Duration::from_micros(200));
        }
    }

    /// Waits until it holds a lock (`flock`).
    pub fn until_it_holds_a_lock(&mut self) {
        let owner = format!(" WRITE {} ", self.child.id());
        self.until("it holds a lock", || {
            let locks = fs::read_to_string("/proc/locks").unwrap();
            locks.lines().any(|line| line.contains("FLOCK") && !line.contains("->") && line.contains(&owner))
        });
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it has said so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.err.path()).unwrap()).into_owned()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Run {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > TIME_LIMIT {
                self.child.kill().unwrap();
                panic!("hangs: {}", self.stderr());
            }
            sleep(Duration::from_millis(2));
        };
        let log = self.server.log();
        Run {
            code: status.code(),
            stdout: fs::read_to_string(self.out.path()).unwrap(),
            stderr: self.stderr(),
            log: log.get(self.log_before..).unwrap_or_default().to_owned(),
            job: self.server.last_job(),
        }
    }
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub struct Run {
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
        let Run { code, stdout, stderr, log, job } = self;
        write!(f, "code {code:?}\n-- stdout\n{stdout}-- stderr\n{stderr}-- log\n{log}-- job\n{job}")
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

    /// How `jobs.jsonl` says that a dataset ended.
    pub fn outcome(&self, dataset: &str, expected: &str) -> &Run {
        assert_eq!(self.job["datasets"][dataset]["outcome"], expected, "{dataset}\n{self}");
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
    fn check(&self, dry: bool) {
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
            assert_eq!(self.job["job"], "ingest", "{self}");
            assert_eq!(self.job["result"], result, "{self}");
            assert_eq!(self.job["error"].is_string(), code != 0, "{self}");
        }
    }
}

/// `2026-01-31T02:30:00+09:00 [info] message`
fn is_log_line(line: &str) -> bool {
    let Some((time, rest)) = line.split_once(" [") else { return false };
    let pattern = "0000-00-00T00:00:00+00:00";
    let shaped = time.len() == pattern.len()
        && time.bytes().zip(pattern.bytes()).all(|(is, like)| match like {
            b'0' => is.is_ascii_digit(),
            b'+' => is == b'+' || is == b'-',
            _ => is == like,
        });
    shaped && ["info] ", "warn] ", "error] "].iter().any(|level| rest.starts_with(level))
}

/// How many mounts of a device a run left.
pub fn mounts_of(device: &str) -> usize {
    mounts_below_run_of(device)
}

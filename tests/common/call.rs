//! Command lines: how they are built, run and watched, and what every run must leave behind.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Run, Server, Stick, missing};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_toolmaster");

/// A run that takes longer hangs.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// A command line with its surroundings.
pub struct Call<'a> {
    server: &'a Server,
    job: String,
    stick: Option<&'a Stick>,
    arguments: Vec<OsString>,
    name: Option<&'a str>,
    variables: Vec<(&'a str, OsString)>,
    through: Vec<OsString>,
    systemd: bool,
    limit: Duration,
}

impl<'a> Call<'a> {
    /// A command line on a server; with the stick that it is about, that one is looked at afterwards.
    pub fn new(server: &'a Server, arguments: &[&str], stick: Option<&'a Stick>) -> Self {
        let job = arguments.first().map(|argument| (*argument).to_owned()).unwrap_or_default();
        let arguments = arguments.iter().map(|argument| (*argument).into()).collect();
        Call {
            server,
            job,
            stick,
            arguments,
            name: None,
            variables: vec![],
            through: vec![],
            systemd: false,
            limit: TIME_LIMIT,
        }
    }

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
        let library =
            ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"]
                .map(|place| Path::new(place).join("libfaketime.so.1"));
        let library = library.iter().find(|path| path.exists()).expect("no libfaketime.so.1: apt-get install faketime");
        self.var("LD_PRELOAD", library)
            .var("FAKETIME", time)
            .var("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .var("NO_FAKE_STAT", "1")
    }

    /// With stderr connected to the journal, as a unit has it.
    pub fn under_systemd(mut self) -> Self {
        self.systemd = true;
        self
    }

    /// It may take so long before it is taken to hang.
    pub fn patience(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// With that many MiB of address space at most.
    pub fn memory(mut self, mib: u64) -> Self {
        self.through = vec!["prlimit".into(), format!("--as={}", mib << 20).into()];
        self
    }

    /// Through another program, with arguments that end before ours.
    pub fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(Into::into).collect();
        self
    }

    /// Through a shell that prepares something and then executes `"$@"`.
    pub fn through_shell(mut self, script: &str) -> Self {
        self.through = ["sh", "-euc", script, "sh"].map(Into::into).into();
        self
    }

    /// Runs it; it must succeed, and log what a success promises.
    pub fn done(self) -> Run {
        let (dry, force) = (self.has("--dry-run"), self.has("--force"));
        let run = self.finish();
        run.ended(0);
        let last = match run.command.as_str() {
            "ingest" => format!("ingest completed (dry_run={} force={})", u8::from(dry), u8::from(force)),
            command => format!("{command} completed (dry_run={})", u8::from(dry)),
        };
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
            if !dry {
                assert_no_leftovers(stick);
            }
        }
        run
    }

    /// Starts it.
    pub fn start(self) -> Running<'a> {
        let out = tempfile::NamedTempFile::new().unwrap();
        let err = tempfile::NamedTempFile::new().unwrap();
        let mut command = self.command();
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TZ", "UTC");
        command.env("SERVER_ROOT", self.server.path("")).envs(self.variables.iter().cloned());
        if self.systemd {
            let metadata = err.as_file().metadata().unwrap();
            command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()));
        }
        command.stdin(File::open("/dev/null").unwrap());
        command.stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
        let log_before = self.server.log().len();
        let child = command.spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{}", missing(&command.get_program().to_string_lossy(), &error)));
        Running { server: self.server, command: self.job, child, out, err, log_before, limit: self.limit }
    }

    fn has(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument == flag)
    }

    fn command(&self) -> Command {
        let mut words = self.through.clone();
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
    if is_ext4(stick) {
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
    command: String,
    child: Child,
    out: tempfile::NamedTempFile,
    err: tempfile::NamedTempFile,
    log_before: usize,
    limit: Duration,
}

impl Drop for Running<'_> {
    /// A faked clock leaves these when the program is killed, and they stop the next one that gets its number.
    fn drop(&mut self) {
        for left in ["faketime_shm_", "sem.faketime_sem_"] {
            let _ = fs::remove_file(format!("/dev/shm/{left}{}", self.child.id()));
        }
    }
}

impl Running<'_> {
    /// Waits until `what` holds. A run that ends before fails the test.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(self.child.try_wait().unwrap().is_none(), "ended before {what}: {}", self.stderr());
            assert!(start.elapsed() < self.limit, "never: {what}");
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

    /// Waits for the end of a run that was killed.
    pub fn reap(mut self) {
        self.child.wait().unwrap();
    }

    /// Waits for its end and looks at nothing else: several write the same logs.
    pub fn code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// What it says on stderr, for [`Running::until`].
    pub fn said(&self) -> impl Fn() -> String + 'static {
        let path = self.err.path().to_owned();
        move || String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
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
            if start.elapsed() > self.limit {
                self.child.kill().unwrap();
                panic!("hangs: {}", self.stderr());
            }
            sleep(Duration::from_millis(2));
        };
        let log = self.server.log();
        Run {
            command: self.command.clone(),
            code: status.code(),
            stdout: fs::read_to_string(self.out.path()).unwrap(),
            stderr: self.stderr(),
            log: log.get(self.log_before..).unwrap_or_default().to_owned(),
            job: self.server.last_job(),
        }
    }
}

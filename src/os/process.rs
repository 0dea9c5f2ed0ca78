//! Runs a program that is well kept by others: arguments, environment, time limit, its last words in our error.

pub mod running;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{signal, thread};
use crate::error::{Error, Result};
use crate::text::Shown;

/// How much of a failing program's stderr is shown.
const LAST_WORDS: usize = 1024;
/// How much of it is kept: a secret must not escape by being cut in two.
const KEPT: usize = 16 * 1024;
/// How long a program has to end when it is asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked at: at first and later.
const FIRST_POLL: Duration = Duration::from_millis(1);
const POLL: Duration = Duration::from_millis(20);
/// How long its last words may be on their way after its end.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(500);

/// Where a program is: in `$PATH`, or where the system's own are, which a user's `$PATH` may lack.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).filter(|place| place.is_absolute()).chain(system);
    places.find_map(|place| Some(place.join(program)).filter(|file| file.is_file()))
}

/// Runs `program` with `arguments`, no input, its output thrown away, for at most `limit`.
///
/// # Errors
/// `Failed` with the program's last words if it can't be started, fails or takes too long; `Interrupted`.
pub fn run(program: &Path, arguments: &[&str], limit: Duration, next: &'static str) -> Result<()> {
    Program::new(program, arguments, limit, next).run()
}

/// As [`run`], with a short text as its input.
///
/// # Errors
/// As [`run`].
pub fn feed(program: &Path, arguments: &[&str], input: &str, limit: Duration, next: &'static str) -> Result<()> {
    let program = Program::new(program, arguments, limit, next);
    if input.is_empty() { program.run() } else { program.input(Input::text(input)).run() }
}

/// What writes a program's input; a program that stops reading is no error of it.
type Feeder<'a> = Box<dyn FnOnce(&mut ChildStdin) -> Result<()> + Send + 'a>;

/// Where a program's input comes from.
pub enum Input<'a> {
    /// There is none.
    Nothing,
    /// A file.
    File(File),
    /// Somebody writes it while the program runs.
    Fed(Feeder<'a>),
}

impl<'a> Input<'a> {
    /// A text.
    pub fn text(text: &'a str) -> Input<'a> {
        // A program that reads nothing has its own words to say.
        Input::Fed(Box::new(move |stdin| {
            let _ = stdin.write_all(text.as_bytes());
            Ok(())
        }))
    }
}

/// Where a program's output goes.
pub enum Output {
    /// It is thrown away.
    Nowhere,
    /// Into a file.
    File(File),
    /// Back to the caller, that many bytes at most.
    Text(usize),
}

/// A program to be run.
pub struct Program<'a> {
    command: Command,
    shown: String,
    input: Input<'a>,
    output: Output,
    limit: Duration,
    next: &'static str,
    secret: Option<&'a str>,
    despite_signals: bool,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// The last of what it said on stderr, safe to print, without the secret.
    pub words: String,
    /// The same with its lines, as much as is kept (16 KiB); none if it said more.
    pub said: Option<String>,
    /// Its output, where that was asked for.
    pub text: Vec<u8>,
}

impl Ended {
    /// Why it failed: its last words, or what ended it where it could say none.
    pub fn reason(&self) -> String {
        if self.words.is_empty() && !self.status.success() { self.status.to_string() } else { self.words.clone() }
    }
}

impl<'a> Program<'a> {
    /// A program without input, its output thrown away.
    pub fn new(program: &Path, arguments: &[&str], limit: Duration, next: &'static str) -> Program<'a> {
        let mut command = Command::new(program);
        // A group of its own: whatever it starts ends with it.
        command.args(arguments).process_group(0);
        Program {
            command,
            shown: program.display().to_string(),
            input: Input::Nothing,
            output: Output::Nowhere,
            limit,
            next,
            secret: None,
            despite_signals: false,
        }
    }

    /// What it is called in errors, where that is not its own name.
    #[must_use]
    pub fn shown(self, name: &str) -> Self {
        Program { shown: name.to_owned(), ..self }
    }

    /// Its input.
    #[must_use]
    pub fn input(self, input: Input<'a>) -> Self {
        Program { input, ..self }
    }

    /// Its output.
    #[must_use]
    pub fn output(self, output: Output) -> Self {
        Program { output, ..self }
    }

    /// A variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without a variable that we have.
    #[must_use]
    pub fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// A word that must not appear in what it is quoted with.
    #[must_use]
    pub fn secret(self, secret: Option<&'a str>) -> Self {
        Program { secret: secret.filter(|secret| !secret.is_empty()), ..self }
    }

    /// Cleaning up is done also when a signal asked this process to end.
    #[must_use]
    pub fn despite_signals(self) -> Self {
        Program { despite_signals: true, ..self }
    }

    /// Runs it; it must succeed.
    ///
    /// # Errors
    /// `Failed` with its last words, `Interrupted`.
    pub fn run(self) -> Result<()> {
        let (shown, next) = (self.shown.clone(), self.next);
        let Ended { status, words, .. } = self.end()?;
        if status.success() {
            return Ok(());
        }
        let said = if words.is_empty() { words } else { format!(": {words}") };
        Err(Error::Failed { why: format!("{shown} failed ({status}){said}"), next })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// `Failed` if it can't be started, takes too long or says too much; `Interrupted`; what the input's writer says.
    pub fn end(self) -> Result<Ended> {
        let Program { mut command, shown, input, output, limit, next, secret, despite_signals } = self;
        let failed = |why: String| Error::Failed { why: format!("{shown} {why}"), next };
        let most = if let Output::Text(most) = output { Some(most) } else { None };
        let (stdin, feeder) = match input {
            Input::Nothing => (Stdio::null(), None),
            Input::File(file) => (Stdio::from(file), None),
            Input::Fed(feeder) => (Stdio::piped(), Some(feeder)),
        };
        command.stdin(stdin);
        command.stderr(Stdio::piped()).stdout(match output {
            Output::Nowhere => Stdio::null(),
            Output::File(file) => Stdio::from(file),
            Output::Text(_) => Stdio::piped(),
        });
        let mut child = command.spawn().map_err(|error| failed(format!("can't be started: {error}")))?;
        let deadline = Instant::now() + limit;
        // A grandchild may hold a pipe open for ever: it is read aside and waited for only a moment.
        let words = aside(child.stderr.take(), last_words);
        let text = aside(child.stdout.take(), move |stdout| first_bytes(stdout, most.unwrap_or_default()));
        let stdin = child.stdin.take();
        let status = std::thread::scope(|scope| {
            let feeder = feeder.zip(stdin).map(|(feeder, mut stdin)| scope.spawn(move || feeder(&mut stdin)));
            let status = watch(&mut child, deadline, limit, despite_signals, &failed);
            match feeder.map(std::thread::ScopedJoinHandle::join) {
                Some(Ok(Err(error))) => Err(error),
                _ => status,
            }
        })?;
        let words = words.recv_timeout(LAST_WORDS_WAIT).unwrap_or_default();
        let text = match most {
            Some(_) => text.recv_timeout(GRACE).ok().flatten().ok_or_else(|| failed("says too much".to_owned()))?,
            None => Vec::new(),
        };
        let said = (words.len() < KEPT).then(|| without(secret, &words));
        Ok(Ended { status, words: shown_words(&words, secret), said, text })
    }
}

/// Waits for the child's end; at the limit or on a signal it is ended, with all that it started.
fn watch(
    child: &mut Child,
    deadline: Instant,
    limit: Duration,
    despite: bool,
    failed: &dyn Fn(String) -> Error,
) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => return Err(failed(format!("can't be waited for: {error}"))),
        }
        let interrupted = if despite { Ok(()) } else { signal::check() };
        if interrupted.is_err() || Instant::now() >= deadline {
            end_group(child);
            interrupted?;
            return Err(failed(format!("took longer than {} s and was ended", limit.as_secs())));
        }
        std::thread::sleep(poll_after(start));
    }
}

/// How long to wait before a look, so that what takes long is not looked at often, and what does not is seen at most a sixteenth late.
fn poll_after(start: Instant) -> Duration {
    (start.elapsed() / 16).clamp(FIRST_POLL, POLL)
}

fn end_group(child: &mut Child) {
    let group = Pid::from_child(child);
    let _ = kill_process_group(group, Signal::TERM);
    let start = Instant::now();
    // As long as it is not waited for, its number can't be another's.
    while start.elapsed() < GRACE && !has_ended(group) {
        std::thread::sleep(POLL);
    }
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// Whether the process has ended; it is not reaped.
fn has_ended(pid: Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

fn aside<R: Read + Send + 'static, T: Send + 'static>(
    pipe: Option<R>,
    read: impl FnOnce(R) -> T + Send + 'static,
) -> Receiver<T> {
    let (sender, receiver) = channel();
    if let Some(pipe) = pipe {
        // Without a thread there is no answer: the sender is gone.
        let task = move || {
            let _ = sender.send(read(pipe));
            Ok(())
        };
        let _ = thread::start(None, Box::new(task));
    }
    receiver
}

/// All of it, or nothing if it is more than that.
fn first_bytes(stdout: impl Read, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let count = stdout.take(most.saturating_add(1)).read_to_end(&mut bytes).ok()?;
    Some(bytes).filter(|_| u64::try_from(count).unwrap_or(u64::MAX) <= most)
}

fn last_words(mut stderr: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; LAST_WORDS];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
    kept
}

fn without(secret: Option<&str>, words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    secret.map_or_else(|| text.to_string(), |secret| text.replace(secret, "***"))
}

/// The last words without the secret, on one line.
fn shown_words(words: &[u8], secret: Option<&str>) -> String {
    let text = without(secret, words);
    let from = text.ceil_char_boundary(text.len().saturating_sub(LAST_WORDS));
    Shown(text.get(from..).unwrap_or_default().trim().as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn sh<'a>(script: &str, limit: Duration) -> Program<'a> {
        Program::new(Path::new("/bin/sh"), &["-c", script], limit, "look")
    }

    #[test]
    fn output_input_and_environment() {
        let ended = sh("printf %s \"$A${CARGO_PKG_NAME-none}\"; exit 3", LIMIT).without("CARGO_PKG_NAME");
        let ended = ended.variable("A", "a").output(Output::Text(9)).end().unwrap();
        assert_eq!((ended.status.code(), ended.text.as_slice()), (Some(3), b"anone".as_slice()));
        let ended = sh("/bin/cat; printf %s \"$A\"", LIMIT).input(Input::text("in ")).variable("A", "a");
        assert_eq!(ended.output(Output::Text(4)).end().unwrap().text, b"in a");
        assert!(sh("echo 12345", LIMIT).output(Output::Text(3)).end().is_err());
    }

    #[test]
    fn the_secret_is_not_in_the_last_words() {
        let script = "i=0; while [ $i -lt 400 ]; do printf 'x secret ' >&2; i=$((i+1)); done; exit 1";
        let text = sh(script, LIMIT).secret(Some("secret")).run().unwrap_err().to_string();
        assert!(text.contains("x *** x ***") && !text.contains("secr") && !text.contains("ecret"), "{text}");
        assert!(text.len() < LAST_WORDS + 100);
    }

    #[test]
    fn one_that_says_nothing_has_a_reason_too() {
        let words = |script| sh(script, LIMIT).end().unwrap().reason();
        assert_eq!(words("kill -9 $$"), "signal: 9 (SIGKILL)");
        assert_eq!(words("exit 3"), "exit status: 3");
        assert_eq!(words("exit 0"), "");
        let error = sh("kill -9 $$", LIMIT).run().unwrap_err().to_string();
        assert_eq!(error.matches("SIGKILL").count(), 1, "{error}");
    }

    #[test]
    fn at_its_limit_it_ends_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let script = format!("trap '' TERM; (sleep 4; echo alive >{}) & sleep 60", mark.display());
        let start = Instant::now();
        let error = sh(&script, Duration::from_millis(300)).run().unwrap_err();
        assert!(error.to_string().contains("took longer"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(4));
        std::thread::sleep(Duration::from_secs(5).saturating_sub(start.elapsed()));
        assert!(!mark.exists());
    }

    #[test]
    fn a_program_that_does_not_read_is_no_trouble() {
        let input = Input::Fed(Box::new(|stdin| {
            while stdin.write_all(&[b'x'; 4096]).is_ok() {}
            Ok(())
        }));
        sh("exit 0", LIMIT).input(input).run().unwrap();
    }
}

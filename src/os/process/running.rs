//! A program that runs while its output is read, and may be told more meanwhile.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::fcntl_setpipe_size;

use super::{Ended, LAST_WORDS_WAIT, Program, aside, end_group, last_words, poll_after, shown_words, watch};
use crate::error::{Error, Result};
use crate::os::signal;

/// Bytes that a program may write ahead, so that it need not wait while this naps; 64 KiB are usual, and written in less time than a nap.
const PIPE: usize = 1 << 20;

/// A program under way. Its output is read from this; if this goes before [`Running::end`], the program is ended.
pub struct Running<'a> {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    words: Receiver<Vec<u8>>,
    deadline: Instant,
    limit: Duration,
    shown: String,
    next: &'static str,
    secret: Option<&'a str>,
    despite_signals: bool,
    ended: bool,
}

impl<'a> Program<'a> {
    /// Starts it; input and output are the caller's from now on.
    ///
    /// # Errors
    /// `Failed` if it can't be started.
    pub fn start(self) -> Result<Running<'a>> {
        let Program { mut command, shown, limit, next, secret, despite_signals, .. } = self;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: io::Error| Error::Failed { why: format!("{shown} can't be started: {error}"), next };
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let words = aside(child.stderr.take(), last_words);
        // Reading must not outlast the time limit.
        let set = stdout.as_ref().map_or(Ok(()), |stdout| fcntl_setfl(stdout, OFlags::NONBLOCK));
        let set = set.map_err(|error| failed(error.into()));
        if let Some(stdout) = &stdout {
            // A wish: a user's programs may have all the room for pipes already.
            let _ = fcntl_setpipe_size(stdout, PIPE);
        }
        let running = Running {
            child,
            stdin,
            stdout,
            words,
            deadline: Instant::now() + limit,
            limit,
            shown,
            next,
            secret,
            despite_signals,
            ended: false,
        };
        set.map(|()| running)
    }
}

impl Running<'_> {
    /// Tells it something. A program that reads nothing has its own words to say, so that is no error here.
    pub fn tell(&mut self, text: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(text);
        }
    }

    /// Tells it that nothing more comes.
    pub fn tell_end(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end. Output that was not read is lost to it.
    ///
    /// # Errors
    /// `Failed` if it takes too long, `Interrupted`.
    pub fn end(mut self) -> Result<Ended> {
        (self.stdin, self.stdout) = (None, None);
        let Running { child, shown, limit, deadline, next, despite_signals, .. } = &mut self;
        let failed = |why: String| Error::Failed { why: format!("{shown} {why}"), next };
        let status = watch(child, *deadline, *limit, *despite_signals, &failed);
        self.ended = true;
        let words = self.words.recv_timeout(LAST_WORDS_WAIT).unwrap_or_default();
        Ok(Ended { status: status?, words: shown_words(&words, self.secret), said: None, text: Vec::new() })
    }
}

impl Read for Running<'_> {
    /// Its output. At the time limit or after a signal it is an error of kind `TimedOut`, and [`Running::end`] says
    /// which it was.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stdout) = &mut self.stdout else { return Ok(0) };
        let start = Instant::now();
        loop {
            match stdout.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            let interrupted = !self.despite_signals && signal::check().is_err();
            if interrupted || Instant::now() >= self.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(poll_after(start));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            end_group(&mut self.child);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sh<'a>(script: &str, limit: Duration) -> Running<'a> {
        Program::new(Path::new("/bin/sh"), &["-c", script], limit, "look").start().unwrap()
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_talk() {
        let mut running = sh("read -r a; echo \"heard $a\"; read -r b || echo end; exit 3", LIMIT);
        running.tell(b"x y\n");
        let mut heard = [0; 10];
        running.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"heard x y\n");
        running.tell_end();
        let mut rest = String::new();
        running.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "end\n");
        assert_eq!(running.end().unwrap().status.code(), Some(3));
    }

    #[test]
    fn at_its_limit_reading_ends_too() {
        let mut running = sh("echo a; sleep 60", Duration::from_millis(200));
        let start = Instant::now();
        let mut all = String::new();
        let error = running.read_to_string(&mut all).unwrap_err();
        assert_eq!((error.kind(), all.as_str()), (io::ErrorKind::TimedOut, "a\n"));
        let error = running.end().unwrap_err();
        assert!(error.to_string().contains("took longer"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn nobody_waits_for_one_that_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        drop(sh(&format!("(sleep 2; echo alive >{}) & sleep 60", mark.display()), LIMIT));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!mark.exists());
    }
}

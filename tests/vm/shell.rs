//! A root shell on the machine: one login, kept, because a login takes seconds under emulation.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use crate::{Outcome, fail};

/// Stands before the exit status of a command.
const END: &str = "vm-test-end-of-command";

/// A shell over ssh.
pub struct Shell {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    /// Logs in, trying again until `limit` is over: while the machine boots, nobody answers.
    pub fn open(key: &Path, port: u16, limit: Duration) -> Outcome<Self> {
        let end = Instant::now() + limit;
        loop {
            match Self::try_open(key, port) {
                Ok(shell) => return Ok(shell),
                Err(error) if Instant::now() > end => {
                    return fail(format!("no login within {} s: {error}", limit.as_secs()));
                }
                Err(_) => sleep(Duration::from_secs(1)),
            }
        }
    }

    fn try_open(key: &Path, port: u16) -> Outcome<Self> {
        let mut process = Command::new("ssh")
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "ConnectTimeout=90",
                "-o",
                "ServerAliveInterval=60",
                "-i",
            ])
            .arg(key)
            .args(["-p", &port.to_string(), "root@127.0.0.1", "LC_ALL=C.UTF-8 exec bash 2>&1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("ssh: {error}"))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return fail("ssh has no input or output");
        };
        let (sender, lines) = channel();
        spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { return };
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        let mut shell = Self { process, input, lines };
        shell.try_run("true", Duration::from_secs(120))?;
        Ok(shell)
    }

    /// Runs a command; its output, if it succeeds.
    pub fn run(&mut self, command: &str) -> Outcome<String> {
        self.run_within(command, Duration::from_secs(120))
    }

    /// As [`Shell::run`], for what takes longer.
    pub fn run_within(&mut self, command: &str, limit: Duration) -> Outcome<String> {
        match self.try_run(command, limit)? {
            (0, output) => Ok(output),
            (status, output) => fail(format!("`{command}` ended with {status}: {output}")),
        }
    }

    /// Its exit status and output.
    pub fn try_run(&mut self, command: &str, limit: Duration) -> Outcome<(i32, String)> {
        self.send(&format!("( {command}\n) </dev/null; echo \"{END} $?\""))?;
        let end = Instant::now() + limit;
        let mut output = String::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.split_once(END) {
                    Some((before, status)) => {
                        output.push_str(before);
                        let status = status.trim().parse().map_err(|_| format!("`{command}` gave no exit status"))?;
                        return Ok((status, output.trim_end().to_owned()));
                    }
                    None => {
                        output.push_str(&line);
                        output.push('\n');
                    }
                },
                Err(RecvTimeoutError::Timeout) => {
                    return fail(format!("`{command}` has not ended after {} s: {output}", limit.as_secs()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return fail(format!("`{command}`: the connection broke: {output}"));
                }
            }
        }
    }

    /// Says something and waits for nothing.
    pub fn send(&mut self, command: &str) -> Outcome<()> {
        writeln!(self.input, "{command}").and_then(|()| self.input.flush()).map_err(|error| format!("ssh: {error}"))
    }

    /// Runs it again and again until it succeeds; its output then.
    pub fn until(&mut self, command: &str, limit: Duration) -> Outcome<String> {
        let seconds = limit.as_secs();
        let retried = format!(
            "end=$((SECONDS + {seconds})); until output=$({command}); do \
             if [ $SECONDS -gt $end ]; then printf '%s\\n' \"$output\"; exit 1; fi; sleep 1; done; printf '%s\\n' \"$output\""
        );
        match self.try_run(&retried, limit + Duration::from_secs(120))? {
            (0, output) => Ok(output),
            (_, output) => fail(format!("`{command}` has not come true within {seconds} s: {output}")),
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a program of this machine; what it said, if it fails.
pub fn quiet(command: &mut Command) -> Outcome<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    fail(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

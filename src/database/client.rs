//! PostgreSQL's own programs and the database that they are to reach. The password is in their environment alone: never
//! in their arguments, a message or an error.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::info;

use crate::error::{Error, Result};
use crate::os::process::{self, Ended, Output, Program};
use crate::os::signal;
use crate::settings::pg_uri::PgUri;

/// How long a short question to the database may take.
const QUESTION: Duration = Duration::from_secs(600);
/// How long the database has to come up.
const WAIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_secs(2);
/// No list of tables is longer.
const MAX_ANSWER: usize = 16 << 20;

/// A role's, a database's or the server's own limits are not meant for us, nor may they choose what names mean. Some settings are
/// not known to every version.
pub const SESSION: &str = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
    SET default_transaction_read_only = off; SET row_security = off; SET standard_conforming_strings = on; SET search_path = pg_catalog;\n\
    SELECT count(set_config(name, '0', false)) AS session FROM pg_settings \
    WHERE name IN ('idle_session_timeout', 'transaction_timeout') \\gset toolmaster_\n";

const INSTALL: &str = "install PostgreSQL's programs: sudo apt install postgresql-client";

/// A database, reached through one program.
pub struct Client<'a> {
    uri: &'a PgUri,
    program: PathBuf,
}

impl<'a> Client<'a> {
    /// `psql` for a database.
    ///
    /// # Errors
    /// `Config` if it is not installed.
    pub fn psql(uri: &'a PgUri) -> Result<Client<'a>> {
        Client::new(uri, "psql")
    }

    /// `pg_dump` for a database.
    ///
    /// # Errors
    /// `Config` if it is not installed.
    pub fn pg_dump(uri: &'a PgUri) -> Result<Client<'a>> {
        Client::new(uri, "pg_dump")
    }

    /// `pg_dumpall` for a database's server.
    ///
    /// # Errors
    /// `Config` if it is not installed.
    pub fn pg_dumpall(uri: &'a PgUri) -> Result<Client<'a>> {
        Client::new(uri, "pg_dumpall")
    }

    fn new(uri: &'a PgUri, program: &str) -> Result<Client<'a>> {
        let found = process::find(program);
        let missing = || Error::Config { why: format!("{program} is not installed"), next: INSTALL };
        Ok(Client { uri, program: found.ok_or_else(missing)? })
    }

    /// The program with these arguments. It is told the database by its environment, and nothing else of ours that
    /// begins with `PG`; its messages are in English, because [`failure`](Client::failure) reads them.
    pub fn program(&self, arguments: &[&str], limit: Duration) -> Program<'a> {
        let next = "see why it does not end (the log of the database), and run it again";
        let mut program = Program::new(&self.program, arguments, limit, next).secret(self.uri.password());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") || name.as_encoded_bytes().starts_with(b"PSQL") {
                program = program.without(name);
            }
        }
        for (name, value) in self.uri.environment() {
            program = program.variable(name, value);
        }
        // Against a host that swallows every packet; the rest is the time limit's.
        if self.uri.parameter_value("connect_timeout").is_none() {
            program = program.variable("PGCONNECT_TIMEOUT", "10");
        }
        program.variable("LC_ALL", "C").without("LANGUAGE")
    }

    /// Asks a question of our own; the answer's lines.
    ///
    /// # Errors
    /// `Failed`, `Interrupted`.
    pub fn ask(&self, question: &str) -> Result<Vec<String>> {
        self.ask_within(question, QUESTION)
    }

    /// As [`Client::ask`], with a time limit of its own.
    ///
    /// # Errors
    /// `Failed`, `Interrupted`.
    pub fn ask_within(&self, question: &str, limit: Duration) -> Result<Vec<String>> {
        let ended = self.asked(question, limit, false)?;
        self.check(&ended)?;
        Ok(String::from_utf8_lossy(&ended.text).lines().map(str::to_owned).collect())
    }

    /// As [`Client::ask`] without an answer, and also after a signal: for cleaning up.
    ///
    /// # Errors
    /// `Failed`.
    pub fn tell(&self, statement: &str) -> Result<()> {
        let ended = self.asked(statement, QUESTION, true)?;
        self.check(&ended)
    }

    fn asked(&self, question: &str, limit: Duration, despite_signals: bool) -> Result<Ended> {
        let question = format!("{SESSION}{question}");
        let program = self.session(limit).input(process::Input::text(&question)).output(Output::Text(MAX_ANSWER));
        if despite_signals { program.despite_signals() } else { program }.end()
    }

    /// `psql` that reads statements and prints bare answers.
    pub fn session(&self, limit: Duration) -> Program<'a> {
        let arguments = ["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--file=-"];
        let arguments = [&arguments[..], &["--variable=ON_ERROR_STOP=1"]].concat();
        self.program(&arguments, limit).variable("PGCLIENTENCODING", "UTF8")
    }

    /// An error if the program did not succeed.
    ///
    /// # Errors
    /// `Failed`.
    pub fn check(&self, ended: &Ended) -> Result<()> {
        if ended.status.success() { Ok(()) } else { Err(self.failure(ended)) }
    }

    /// What went wrong, and what the operator does about it.
    pub fn failure(&self, ended: &Ended) -> Error {
        let Ended { status, words, .. } = ended;
        self.failed(&format!(" ({status})"), words)
    }

    /// The same of a program that went on after it.
    pub fn failed(&self, how: &str, words: &str) -> Error {
        let name = self.program.file_name().unwrap_or_default().display();
        let why = format!("{name} failed on the database {}{how}: {words}", self.uri);
        Error::Failed { why, next: advice(words) }
    }

    /// Waits until the database answers, as long as it may take to come up after the machine was switched on.
    ///
    /// # Errors
    /// `Failed`, `Interrupted`.
    pub fn wait(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let ended = self.asked("SELECT 1;", QUESTION, false)?;
            if ended.status.success() {
                return Ok(());
            }
            if !may_come_up(&ended.words) || start.elapsed() >= WAIT {
                return Err(self.failure(&ended));
            }
            if start.elapsed() < POLL {
                info!("waiting for the database {}, at most {} s", self.uri, WAIT.as_secs());
            }
            let before = Instant::now();
            while before.elapsed() < POLL {
                signal::check()?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

const UNREACHABLE: [&str; 8] = [
    "Connection refused",
    "No such file or directory",
    "could not translate host name",
    "timeout expired",
    "No route to host",
    "Network is unreachable",
    "Connection timed out",
    "server closed the connection unexpectedly",
];
const NOT_YET: [&str; 3] = ["is starting up", "is shutting down", "not yet accepting connections"];
const LOGIN: [&str; 4] = [
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "authentication failed for user",
];

fn may_come_up(words: &str) -> bool {
    UNREACHABLE.iter().chain(&NOT_YET).any(|known| words.contains(known))
}

fn advice(words: &str) -> &'static str {
    let says = |known: &[&str]| known.iter().any(|known| words.contains(known));
    if says(&LOGIN) && says(&["user \"toolmaster_"]) {
        "let pg_hba.conf of the database take passwords of every user for every database, as the container's does"
    } else if says(&LOGIN) {
        "correct the user and the password (/etc/toolmaster/postgres-password, .env or PG_URI) and run it again"
    } else if says(&["server version mismatch", "\\restrict"]) {
        "pg_dump and psql must be of the server's version, and current: sudo apt update && sudo apt install postgresql-client"
    } else if says(&NOT_YET) {
        "wait a minute and run it again"
    } else if says(&UNREACHABLE) {
        "start the database (docker compose up -d in /srv/rpi-server), or correct PG_URI, and run it again"
    } else if says(&["FATAL"]) && says(&["does not exist"]) && says(&["database", "role"]) {
        "correct the database and the user (.env or PG_URI) and run it again"
    } else if says(&["permission denied"]) {
        "use a database user that may do this (PG_URI) and run it again"
    } else if says(&["out of shared memory"]) {
        "raise max_locks_per_transaction of the database (postgresql.conf), restart it, and run it again"
    } else if says(&["role"]) && says(&["does not exist"]) {
        "make that role (CREATE ROLE name) and run it again"
    } else if says(&["No space left on device"]) {
        "make room on the server's disk and run it again"
    } else {
        "look at the log of the database (docker compose logs postgres) and run it again"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_has_its_advice() {
        for (words, next) in [
            ("connection to server at \"127.0.0.1\", port 1 failed: Connection refused", "start the database"),
            ("FATAL:  password authentication failed for user \"app\"", "correct the user and the password"),
            ("FATAL:  no pg_hba.conf entry for host \"::1\", user \"toolmaster_load_1\"", "let pg_hba.conf"),
            ("FATAL:  the database system is starting up", "wait a minute"),
            ("ERROR:  role \"viewer\" does not exist", "make that role"),
            ("ERROR:  out of shared memory", "raise max_locks_per_transaction"),
            ("pg_dump: error: aborting because of server version mismatch", "sudo apt install"),
            ("error: invalid command \\restrict", "sudo apt install"),
            ("FATAL:  database \"x\" does not exist", "correct the database"),
            ("anything", "look at the log"),
        ] {
            assert!(advice(words).contains(next), "{words}: {}", advice(words));
        }
        assert!(!may_come_up("FATAL:  password authentication failed"));
    }
}

//! Makes a dump of the database with `pg_dump` (SPEC 7): plain SQL, private to root, whole or not there, and counted by the database
//! itself in the same transaction.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use log::warn;
use rustix::io::Errno;

use super::client::Client;
use super::counts::Moment;
use super::entries::{self, Survey, Trouble};
pub use super::options::check as check_options;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::process::Output;
use crate::settings::pg_uri::PgUri;
use crate::text::Shown;
use crate::tree::manifest::counts::{Counts, MAX_TABLES};

/// The dump's name.
pub const DUMP: &[u8] = b"pg_dump.sql";
/// The name of what the database's server has for all of its databases: the roles.
pub const GLOBALS: &[u8] = b"globals.sql";
/// A dump that takes longer hangs.
pub const LIMIT: Duration = Duration::from_secs(3600);

/// How a dump is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Further options for `pg_dump`.
    pub pg_options: Vec<String>,
    /// Whether the database may be given five minutes to come up.
    pub wait: bool,
    /// How long it may take.
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { pg_options: Vec::new(), wait: false, limit: LIMIT }
    }
}

/// A dump restores without the original's users; large objects are data too. `-b` is called `--blobs` before
/// `pg_dump` 16 and `--large-objects` since. A subscription holds the password of another server.
const ARGUMENTS: [&str; 6] =
    ["--format=plain", "--no-owner", "--no-privileges", "--no-password", "--no-subscriptions", "-b"];
/// The count holds every table when `pg_dump` asks for them. If it has to wait all the same, then behind somebody who waits for the count:
/// the three would wait for ever, and all of the site's programs with them.
const WAIT: &str = "--lock-wait-timeout=5000";
/// So often it is tried.
const ATTEMPTS: u32 = 5;
const SEE_THE_DISK: &str = "see that the disk has room and no errors, and run it again";

/// Dumps the database into two new files of `to`, mode 0600; what is in it. The files are not made durable here. After an
/// error they are gone.
///
/// # Errors
/// `Usage` for options that are not allowed, `Config` without `pg_dump`, `Io` if the disk is full, `Failed` with
/// `pg_dump`'s last words or if it is not what the database says, `Busy` if tables are altered all the time, `Interrupted`.
pub fn dump(uri: &PgUri, options: &Options, to: &Dir) -> Result<Option<Counts>> {
    check_options(&options.pg_options)?;
    if options.wait {
        Client::psql(uri)?.wait()?;
    }
    let done = std::thread::scope(|scope| {
        let roles = scope.spawn(|| roles(uri, options, Output::File(to.create(GLOBALS, 0o600)?)));
        let counts = tables(uri, options, to);
        match roles.join() {
            Ok(Err(error)) => counts.and(Err(error)),
            _ => counts,
        }
    });
    if done.is_err() {
        let _ = to.remove(DUMP);
        let _ = to.remove(GLOBALS);
    }
    done
}

/// Asks for all that [`dump`] asks for, and throws it away.
///
/// # Errors
/// As [`dump`].
pub fn rehearse(uri: &PgUri, options: &Options) -> Result<()> {
    check_options(&options.pg_options)?;
    roles(uri, options, Output::Nowhere)?;
    let (client, psql) = (Client::pg_dump(uri)?, Client::psql(uri)?);
    let moment = Moment::begin(&psql, options.limit)?;
    write(&client, options, moment, Output::Nowhere, Path::new("/dev/null"))?.count().map(drop)
}

/// The roles without their passwords. They are read as text when they are needed, never run.
fn roles(uri: &PgUri, options: &Options, output: Output) -> Result<()> {
    let client = Client::pg_dumpall(uri)?;
    let database = format!("--database={}", uri.database());
    let arguments = ["--globals-only", "--no-role-passwords", "--no-password", &database];
    client.check(&client.program(&arguments, options.limit).output(output).end()?)
}

fn tables(uri: &PgUri, options: &Options, to: &Dir) -> Result<Option<Counts>> {
    for _ in 1..ATTEMPTS {
        match tables_at_once(uri, options, to) {
            Err(Error::Busy { why, .. }) => warn!("{why}: it is dumped once more"),
            done => return done,
        }
        to.remove(DUMP)?;
    }
    tables_at_once(uri, options, to)
}

fn tables_at_once(uri: &PgUri, options: &Options, to: &Dir) -> Result<Option<Counts>> {
    let (client, psql) = (Client::pg_dump(uri)?, Client::psql(uri)?);
    let file = to.create(DUMP, 0o600)?;
    let moment = Moment::begin(&psql, options.limit)?;
    let moment = write(&client, options, moment, Output::File(file), &to.path_of(DUMP))?;
    let survey = survey(to)?;
    if !survey.whole {
        let why = format!("pg_dump said that it is done, but {} is not whole", to.shown(DUMP));
        return Err(Error::Failed { why, next: SEE_THE_DISK });
    }
    if !survey.passwords.is_empty() {
        leave_passwords_out(to)?;
        let without = self::survey(to)?;
        if !without.whole || without.tables != survey.tables {
            let why = format!("{} is not the same without the passwords in it", to.shown(DUMP));
            return Err(Error::Failed { why, next: "report it: this is a fault of the program" });
        }
    }
    let mut counts = moment.count()?;
    counts.left_out.extend(survey.left_out.iter().cloned());
    if !counts.left_out.is_empty() {
        warn!("a restore leaves out what only a superuser may make: {}", shown(&counts.left_out));
    }
    for mapping in &survey.passwords {
        warn!("the password of {mapping} is not in the dump");
        counts.left_out.push(format!("the password of {mapping}"));
    }
    let counts = prove(counts, &survey, !options.pg_options.is_empty(), to)?;
    if counts.tables() > MAX_TABLES {
        warn!("{} tables are too many for the manifest: a restore counts the rows of the dump", counts.tables());
        return Ok(None);
    }
    Ok(Some(counts))
}

/// Writes the dump of a moment. `path`: where to, for messages.
fn write<'a>(
    client: &Client<'_>,
    options: &Options,
    moment: Moment<'a>,
    output: Output,
    path: &Path,
) -> Result<Moment<'a>> {
    let snapshot = format!("--snapshot={}", moment.snapshot);
    let mut arguments = ARGUMENTS.to_vec();
    arguments.extend([WAIT, &snapshot]);
    arguments.extend(options.pg_options.iter().map(String::as_str));
    let ended = client.program(&arguments, options.limit).output(output).end()?;
    if ended.status.success() {
        return Ok(moment);
    }
    // The session that holds the moment has ended, and knows why.
    if ended.words.contains("invalid snapshot identifier") {
        moment.count()?;
    }
    // pg_dump says "output file" of its own output; a full disk of the database is another one.
    if ended.words.contains("output file") && ended.words.contains("No space left on device") {
        return Err(Error::io("write", path, Errno::NOSPC));
    }
    if ended.words.contains("canceling statement due to") && ended.words.contains("LOCK TABLE") {
        return Err(Error::Busy {
            why: "a table of the database was emptied, altered or dropped at the same moment".to_owned(),
            next: "run it again when nobody does that",
        });
    }
    Err(client.failure(&ended))
}

fn survey(to: &Dir) -> Result<Survey> {
    let (file, _) = to.read(DUMP)?;
    entries::read(file, std::io::sink(), &BTreeSet::new()).map_err(|trouble| match trouble {
        Trouble::Source(source) | Trouble::Sink(source) => Error::Unreadable { path: to.shown(DUMP), source },
    })
}

/// Another server's password is no part of what was lost with this one, and whoever finds a stick reads it.
fn leave_passwords_out(to: &Dir) -> Result<()> {
    const WITHOUT: &[u8] = b".pg_dump.sql.tmp";
    let failed = |error| Error::io("write", &to.path_of(WITHOUT), error);
    let mut out = BufWriter::with_capacity(256 * 1024, to.create(WITHOUT, 0o600)?);
    let (file, _) = to.read(DUMP)?;
    let done = entries::without_passwords(file, &mut out).map_err(|trouble| match trouble {
        Trouble::Source(source) => Error::Unreadable { path: to.shown(DUMP), source },
        Trouble::Sink(error) => failed(error),
    });
    done.and_then(|()| out.flush().map_err(failed)).and_then(|()| to.rename(WITHOUT, to, DUMP)).inspect_err(|_| {
        let _ = to.remove(WITHOUT);
    })
}

/// What the database counted must be what the dump holds. An operator's option may have left out tables, or rows.
fn prove(counts: Counts, survey: &Survey, in_part: bool, to: &Dir) -> Result<Counts> {
    let dumped = survey.counts(&counts);
    if in_part {
        return Ok(Counts { left_out: counts.left_out, settings: counts.settings, ..dumped });
    }
    let differences = if survey.readable { dumped.differences(&counts) } else { Vec::new() };
    if differences.is_empty() {
        return Ok(counts);
    }
    let why = format!("{} is not what the database has: {}", to.shown(DUMP), differences.join("; "));
    Err(Error::Failed { why, next: SEE_THE_DISK })
}

/// Names, safe to print.
pub fn shown(names: &[String]) -> String {
    names.iter().map(|name| Shown(name.as_bytes()).to_string()).collect::<Vec<_>>().join(", ")
}

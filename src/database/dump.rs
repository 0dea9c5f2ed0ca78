//! Makes a dump of the database with `pg_dump` (SPEC 7): plain SQL, private to root, whole or not there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use rustix::io::Errno;

use crate::database::client::Client;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::process::Output;
use crate::settings::pg_uri::PgUri;

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
/// `pg_dump` 16 and `--large-objects` since.
const ARGUMENTS: [&str; 5] = ["--format=plain", "--no-owner", "--no-privileges", "--no-password", "-b"];
/// What an operator's further options may not change: the way in, where the dump goes, how it is told to be whole and
/// compared after a restore.
const OURS: [&str; 17] = [
    "--clean",
    "--compress",
    "--create",
    "--data-only",
    "--dbname",
    "--file",
    "--format",
    "--help",
    "--host",
    "--if-exists",
    "--jobs",
    "--load-via-partition-root",
    "--password",
    "--port",
    "--restrict-key",
    "--username",
    "--version",
];
const OURS_SHORT: &str = "CFUVWZacdfhjp?";

/// Whether these are options that `pg_dump` may be given besides ours.
///
/// # Errors
/// `Usage` without the option's value, which may hold a password.
pub fn check_options(options: &[String]) -> Result<()> {
    for option in options {
        let name = option.split('=').next().unwrap_or_default();
        let wrong = |why| Err(Error::Usage(format!("--pg-option {} {why}", crate::text::Shown(name.as_bytes()))));
        if option.contains('\0') {
            return wrong("has a NUL");
        }
        match option.strip_prefix("--") {
            // getopt takes any beginning of a name for the whole.
            Some("") => return wrong("is no option"),
            Some(_) if OURS.iter().any(|ours| ours.starts_with(name)) => return wrong("is decided by the snapshot"),
            Some(_) => {}
            None => match option.strip_prefix('-').and_then(|short| short.chars().next()) {
                None => return Err(Error::Usage("--pg-option takes an option and its value as one: -Tlog".to_owned())),
                Some(short) if OURS_SHORT.contains(short) => {
                    return Err(Error::Usage(format!("--pg-option -{short} is decided by the snapshot")));
                }
                Some(_) => {}
            },
        }
    }
    Ok(())
}

/// Dumps the database into the new file `name` of `to`, mode 0600; its length. The file is not made durable here. After
/// an error it is gone.
///
/// # Errors
/// `Usage` for options that are not allowed, `Config` without `pg_dump`, `Io` if the disk is full, `Failed` with
/// `pg_dump`'s last words, `Interrupted`.
pub fn dump(uri: &PgUri, options: &Options, to: &Dir, name: &[u8]) -> Result<u64> {
    check_options(&options.pg_options)?;
    let client = Client::pg_dump(uri)?;
    if options.wait {
        Client::psql(uri)?.wait()?;
    }
    let file = to.create(name, 0o600)?;
    let done = write(&client, options, file, to, name).and_then(|()| check_whole(to, name));
    if done.is_err() {
        let _ = to.remove(name);
    }
    done
}

fn write(client: &Client<'_>, options: &Options, file: File, to: &Dir, name: &[u8]) -> Result<()> {
    let mut arguments = ARGUMENTS.to_vec();
    arguments.extend(options.pg_options.iter().map(String::as_str));
    let ended = client.program(&arguments, options.limit).output(Output::File(file)).end()?;
    if ended.status.success() {
        return Ok(());
    }
    // pg_dump says "output file" of its own output; a full disk of the database is another one.
    if ended.words.contains("output file") && ended.words.contains("No space left on device") {
        return Err(Error::io("write", &to.path_of(name), Errno::NOSPC));
    }
    Err(client.failure(&ended))
}

/// A dump whose last comment is missing is not whole, whatever `pg_dump` said.
fn check_whole(to: &Dir, name: &[u8]) -> Result<u64> {
    const TAIL: u64 = 1024;
    let (mut file, entry) = to.read(name)?;
    let unreadable = |source| Error::Unreadable { path: to.shown(name), source };
    file.seek(SeekFrom::Start(entry.size.saturating_sub(TAIL))).map_err(unreadable)?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).map_err(unreadable)?;
    if ends_whole(&tail) {
        return Ok(entry.size);
    }
    let why = format!("pg_dump said that it is done, but {} is not whole", to.shown(name));
    Err(Error::Failed { why, next: "see that the disk has room and no errors, and run it again" })
}

fn ends_whole(tail: &[u8]) -> bool {
    let mut lines = tail.split(|byte| *byte == b'\n').rev();
    let last = lines.find(|line| !line.is_empty() && *line != b"--" && !line.starts_with(b"\\unrestrict "));
    last == Some(b"-- PostgreSQL database dump complete") && tail.ends_with(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_that_leave_the_dump_a_dump() {
        let check = |option: &str| check_options(&[option.to_owned()]);
        for good in ["--exclude-table-data=log", "-Tlog", "--verbose", "--schema=public", "--no-comments"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "--file=/etc/passwd",
            "--fil=x",
            "-f/etc/passwd",
            "--dbname=postgresql://app:secret@h/d",
            "-dpostgresql://app:secret@h/d",
            "secret",
            "--",
            "-",
            "-Fc",
            "--create",
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.exit_code(), 64, "{bad}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_end_of_a_dump() {
        let end = b"x\n--\n-- PostgreSQL database dump complete\n--\n\n";
        assert!(ends_whole(end));
        assert!(ends_whole(&[&end[..], b"\\unrestrict abc\n\n"].concat()));
        assert!(!ends_whole(b"x\n--\n-- PostgreSQL database dump complete"));
        assert!(!ends_whole(&[&end[..], b"SELECT 1;\n"].concat()));
        assert!(!ends_whole(b""));
    }
}

//! Loads a dump into an empty database, whole or not at all, and compares what is there with what the dump says (SPEC 7).

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::process::ChildStdin;
use std::time::Duration;

use log::{info, warn};

use super::script::{self, Contents, Table, Trouble};
use crate::database::client::Client;
use crate::error::{Error, Result};
use crate::os::process::Input;
use crate::os::{random, signal};
use crate::settings::pg_uri::PgUri;

/// A load that takes longer hangs.
pub const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// What there is in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The tables and their rows.
    pub tables: BTreeMap<Table, u64>,
    /// The number of large objects.
    pub large_objects: u64,
}

impl Summary {
    /// Where it differs from what a dump says; nothing if it is all there.
    pub fn differences(&self, dump: &Contents) -> Vec<String> {
        let mut found = Vec::new();
        for (table, rows) in &dump.tables {
            match (self.tables.get(table), rows) {
                (None, _) => found.push(format!("{table} is missing")),
                (Some(there), Some(rows)) if there != rows => {
                    found.push(format!("{table} has {there} rows, the dump {rows}"));
                }
                _ => {}
            }
        }
        let more = self.tables.keys().filter(|table| !dump.tables.contains_key(table));
        found.extend(more.map(|table| format!("{table} is not in the dump")));
        if self.large_objects != dump.large_objects {
            found.push(format!("{} large objects, the dump {}", self.large_objects, dump.large_objects));
        }
        found
    }
}

/// What users have made: not the system's own, and nothing that belongs to an extension.
const OURS: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_depend d \
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')";

/// Whether a database has neither tables (views, sequences) nor large objects.
///
/// # Errors
/// `Failed` with psql's words, `Config` without it, `Interrupted`.
pub fn is_empty(uri: &PgUri) -> Result<bool> {
    let question = format!(
        "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND {OURS};\n\
        SELECT count(*) FROM pg_catalog.pg_largeobject_metadata;\n"
    );
    Ok(Client::psql(uri)?.ask(&question)? == ["0", "0"])
}

/// The tables of a database with their rows, and its large objects, as of one moment.
///
/// # Errors
/// As [`is_empty`].
pub fn summary(uri: &PgUri) -> Result<Summary> {
    // One statement for each table, made by the server and run by psql: \gexec.
    let question = format!(
        "SET search_path = pg_catalog;\nSET row_security = off;\nBEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n\
        SELECT count(*) FROM pg_largeobject_metadata;\n\
        SELECT format('SELECT json_build_array(%L, %L, (SELECT count(*) FROM ONLY %I.%I))', n.nspname, c.relname, \
        n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {OURS} \\gexec\nCOMMIT;\n"
    );
    let lines = Client::psql(uri)?.ask(&question)?;
    understand(&lines).ok_or_else(|| Error::Failed {
        why: format!("psql's list of the tables of {uri} can't be understood"),
        next: "run it again; if it stays, keep the log and call the system's keeper",
    })
}

fn understand(lines: &[String]) -> Option<Summary> {
    let (first, rest) = lines.split_first()?;
    let table = |line: &String| {
        let (schema, name, rows) = serde_json::from_str(line).ok()?;
        Some((Table { schema, name }, rows))
    };
    Some(Summary { large_objects: first.parse().ok()?, tables: rest.iter().map(table).collect::<Option<_>>()? })
}

/// Loads a dump (`shown` is its name in messages) into a database that is empty, in one transaction, and compares
/// what is there then with what the dump says. A dump that is cut or foreign, an error, a kill leave the database empty.
///
/// # Errors
/// `Refused` if the database is not empty or the dump is none, `Unreadable`, `Failed` with psql's words or the
/// differences, `Interrupted`.
pub fn load(uri: &PgUri, dump: impl Read + Send, shown: &str, limit: Duration) -> Result<Contents> {
    if !is_empty(uri)? {
        let next = "give a database that is empty (createdb makes one)".to_owned();
        return Err(Error::Refused { why: format!("the database {uri} is not empty: nothing was changed"), next });
    }
    let contents = pour(uri, dump, shown, limit)?;
    let differences = summary(uri)?.differences(&contents);
    if differences.is_empty() {
        return Ok(contents);
    }
    let why = format!("the database {uri} is not what {shown} says: {}", differences.join("; "));
    Err(Error::Failed { why, next: "do not use it; keep the dump and the log, and restore an older snapshot" })
}

/// Whether a database holds what a dump says, table by table: a run that was cut off has loaded it.
///
/// # Errors
/// As [`load`].
pub fn holds(uri: &PgUri, dump: impl Read, shown: &str) -> Result<bool> {
    let there = summary(uri)?;
    if there == Summary::default() {
        return Ok(false);
    }
    let contents = script::read(Checked(dump), std::io::sink()).map_err(|trouble| in_dump(trouble, shown))?;
    Ok(there.differences(&contents).is_empty())
}

fn pour(uri: &PgUri, dump: impl Read + Send, shown: &str, limit: Duration) -> Result<Contents> {
    let client = Client::psql(uri)?;
    let key = random::id()?;
    let mut contents = None;
    let arguments = ["--no-psqlrc", "--no-password", "--quiet", "--file=-", "--variable=ON_ERROR_STOP=1"];
    let feeder = |stdin: &mut ChildStdin| {
        contents = send(stdin, dump, shown, &key)?;
        Ok(())
    };
    let ended = client.program(&arguments, limit).input(Input::Fed(Box::new(feeder))).end()?;
    client.check(&ended)?;
    contents.ok_or_else(|| Error::Failed {
        why: format!("psql stopped reading {shown} before its end"),
        next: "look at the log of the database and run it again",
    })
}

/// Gives psql the dump within a transaction of ours; nothing if psql has stopped reading, for which it has its own words.
/// The transaction is committed only after the whole dump has been read and found whole: whatever happens before, the end
/// of the input rolls it back.
fn send(stdin: &mut ChildStdin, dump: impl Read, shown: &str, key: &str) -> Result<Option<Contents>> {
    let begun = writeln!(stdin, "\\restrict {key}\nBEGIN;");
    let contents = begun.map_err(Trouble::Sink).and_then(|()| script::read(Checked(dump), &mut *stdin));
    signal::check()?;
    match contents {
        Ok(contents) => {
            let end = writeln!(stdin, "\nCOMMIT;\n\\unrestrict {key}");
            Ok(end.is_ok().then_some(contents))
        }
        Err(Trouble::Sink(_)) => Ok(None),
        Err(trouble) => Err(in_dump(trouble, shown)),
    }
}

fn in_dump(trouble: Trouble, shown: &str) -> Error {
    let refused = |why: String| Error::Refused {
        why: format!("{shown} {why}"),
        next: "the database was not changed; use another snapshot or archive".to_owned(),
    };
    match trouble {
        Trouble::Source(source) | Trouble::Sink(source) => Error::Unreadable { path: shown.to_owned(), source },
        Trouble::Cut => refused("is not whole: its end is missing".to_owned()),
        Trouble::Foreign { line, why } => refused(format!("is no dump of pg_dump: line {line} has {why}")),
    }
}

/// A source that ends at a signal.
struct Checked<R>(R);

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        signal::check().map_err(|_| std::io::Error::from(ErrorKind::Other))?;
        self.0.read(buffer)
    }
}

/// The names of scratch databases begin so; sixteen hexadecimal digits follow.
const SCRATCH: &str = "toolmaster_drill_";

/// Loads a dump into a scratch database of a random name on the same server, compares, hands it to `and_then`, and drops
/// it, also after an error or a signal. The live database is never touched. Two of these must not run at once: one drops
/// what a killed one left behind.
///
/// # Errors
/// As [`load`], and what `and_then` says.
pub fn scratch<T>(
    uri: &PgUri,
    dump: impl Read + Send,
    shown: &str,
    and_then: impl FnOnce(&PgUri, &Contents) -> Result<T>,
) -> Result<T> {
    let scratch = Scratch::new(uri)?;
    let done = load(&scratch.uri, dump, shown, LIMIT).and_then(|contents| and_then(&scratch.uri, &contents));
    let dropped = scratch.end();
    let value = done?;
    dropped?;
    Ok(value)
}

/// A database of our own; it goes with this.
struct Scratch {
    uri: PgUri,
    server: PgUri,
    there: bool,
}

impl Scratch {
    fn new(live: &PgUri) -> Result<Scratch> {
        // Where createdb connects to as well: always there, and not the live one.
        let server = live.with_database("postgres");
        let client = Client::psql(&server)?;
        for name in
            client.ask(&format!("SELECT datname FROM pg_database WHERE datname ~ '^{SCRATCH}[0-9a-f]{{16}}$';"))?
        {
            info!("dropping the scratch database {name} that an earlier run left");
            client.tell(&drop_statement(&name))?;
        }
        let name = format!("{SCRATCH}{}", random::word()?);
        // From here on it may be there, whatever the answer says.
        let mut scratch = Scratch { uri: live.with_database(&name), server: server.clone(), there: true };
        let made = client.ask(&format!("CREATE DATABASE {name} TEMPLATE template0;"));
        if let Err(error) = made {
            let _ = scratch.remove();
            return Err(error);
        }
        Ok(scratch)
    }

    fn end(mut self) -> Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.there, false) {
            return Ok(());
        }
        Client::psql(&self.server)?.tell(&drop_statement(self.uri.database()))
    }
}

/// Ends what is still connected to it, such as a load that was ended.
fn drop_statement(name: &str) -> String {
    format!("SET client_min_messages = error; DROP DATABASE IF EXISTS {name} WITH (FORCE);")
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let table = |name: &str| Table { schema: "public".to_owned(), name: name.to_owned() };
        let dump = Contents {
            tables: [(table("a"), Some(1)), (table("b"), None), (table("c"), Some(0))].into_iter().collect(),
            large_objects: 2,
            bytes: 0,
        };
        let lines = ["2", r#"["public", "a", 1]"#, r#"["public", "b", 9]"#, r#"["public", "c", 0]"#].map(str::to_owned);
        assert!(understand(&lines).unwrap().differences(&dump).is_empty());
        let lines = ["1", r#"["public", "a", 2]"#, r#"["public", "b", 9]"#, r#"["x", "y", 0]"#].map(str::to_owned);
        let found = understand(&lines).unwrap().differences(&dump);
        let expected = [
            "public.a has 2 rows, the dump 1",
            "public.c is missing",
            "x.y is not in the dump",
            "1 large objects, the dump 2",
        ];
        assert_eq!(found, expected);
        assert_eq!(understand(&["x".to_owned()]), None);
    }
}

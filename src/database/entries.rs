//! Reads a plain dump entry by entry, as `pg_dump` lays it out: a comment that names an object, then the statements that make it.
//! *Pure*, in constant memory. What it hands on is run by a role without rights, so nothing here keeps a hostile dump from
//! anything; it tells what a genuine one holds, and leaves out what only a superuser may make. psql's own commands are psql's
//! to refuse, in its restricted mode.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};

pub use text::{Entry, Extension, trimmed, unquoted};
use text::{copies, extension, in_one_line, is_comment_on, schema_of};

use crate::tree::manifest::counts::Counts;

/// A line that is longer is only handed on: no statement of interest is.
const LONGEST: u64 = 256 * 1024;
const END: &[u8] = b"-- PostgreSQL database dump complete";

/// What a dump holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Schema and name of each table, and its rows; none where they were not written as `COPY` does.
    pub tables: BTreeMap<(String, String), Option<u64>>,
    /// Whether all names of tables are UTF-8, so that they can be compared.
    pub readable: bool,
    /// The number of large objects.
    pub large_objects: u64,
    /// The extensions.
    pub extensions: Vec<Extension>,
    /// The schemas, as the dump writes them.
    pub schemas: BTreeSet<Vec<u8>>,
    /// What only a superuser may make, and what is therefore left out.
    pub left_out: Vec<String>,
    /// Of which user mappings it holds a password.
    pub passwords: BTreeSet<String>,
    /// Whether its last comment is there, and nothing behind it.
    pub whole: bool,
}

impl Survey {
    /// What it holds, where a count of the database tells what the dump does not: names as they are, and rows that were not
    /// written as `COPY` does.
    pub fn counts(&self, database: &Counts) -> Counts {
        let mut counts = Counts { large_objects: self.large_objects, ..Counts::default() };
        let mut unknown = self.tables.clone();
        for (schema, table, rows) in database.iter() {
            if let Some(dumped) = unknown.remove(&(in_one_line(schema), in_one_line(table))) {
                counts.insert(schema, table, dumped.unwrap_or(rows));
            }
        }
        unknown.iter().for_each(|((schema, table), rows)| counts.insert(schema, table, rows.unwrap_or(0)));
        counts
    }
}

/// Why reading ended.
#[derive(Debug)]
pub enum Trouble {
    /// The dump can't be read.
    Source(io::Error),
    /// Nobody takes it any more.
    Sink(io::Error),
}

enum Mode {
    /// Comments and statements.
    Statements,
    /// Rows, up to `\.`; of the table of the last entry.
    Rows,
    /// An entry that is left out, up to the next comment.
    LeftOut,
}

struct Reader<'a> {
    found: Survey,
    mode: Mode,
    /// The last line was `--`.
    comment: bool,
    /// The entry whose statement comes next.
    entry: Option<Entry>,
    /// A statement has been seen.
    begun: bool,
    /// Schemas, as the dump writes them, that are there already.
    there: &'a BTreeSet<Vec<u8>>,
    /// Where the rows are counted.
    table: Option<(String, String)>,
    makes_large_objects: bool,
    /// The user mapping whose statement it is.
    mapping: Option<String>,
    /// What of the line is a password.
    password: Password,
}

/// A password among the options of a user mapping: `password 'x',`. Its value may have line breaks.
#[derive(Clone, Copy)]
enum Password {
    None,
    /// From here, and perhaps up to there.
    Begins(usize, Option<usize>),
    Within,
    /// Up to here.
    Ends(usize),
}

impl<'a> Reader<'a> {
    fn new(there: &'a BTreeSet<Vec<u8>>) -> Reader<'a> {
        Reader {
            found: Survey { readable: true, ..Survey::default() },
            mode: Mode::Statements,
            comment: false,
            entry: None,
            begun: false,
            there,
            table: None,
            makes_large_objects: false,
            mapping: None,
            password: Password::None,
        }
    }
}

/// Reads a dump to its end and hands on what a role without rights is to be given: not its `\restrict`, not what is left out,
/// not the schemas that are there.
///
/// # Errors
/// [`Trouble`].
pub fn read(source: impl Read, mut sink: impl Write, there: &BTreeSet<Vec<u8>>) -> Result<Survey, Trouble> {
    pass(source, Reader::new(there), |line, hand_on, _| if hand_on { sink.write_all(line) } else { Ok(()) })
}

/// Hands on all of a dump but the passwords of user mappings; these are empty then.
///
/// # Errors
/// [`Trouble`].
pub fn without_passwords(source: impl Read, mut sink: impl Write) -> Result<(), Trouble> {
    let write = |line: &[u8], _, password| match password {
        Password::None => sink.write_all(line),
        Password::Begins(from, to) => {
            sink.write_all(line.get(..from).unwrap_or_default())?;
            sink.write_all(b"''")?;
            sink.write_all(to.and_then(|to| line.get(to..)).unwrap_or_default())
        }
        Password::Within => Ok(()),
        Password::Ends(to) => sink.write_all(line.get(to..).unwrap_or_default()),
    };
    pass(source, Reader::new(&BTreeSet::new()), write).map(drop)
}

/// Reads a dump to its end; `write` gets each line, whether a load is to have it, and what of it is a password.
fn pass(
    source: impl Read,
    mut reader: Reader<'_>,
    mut write: impl FnMut(&[u8], bool, Password) -> io::Result<()>,
) -> Result<Survey, Trouble> {
    let mut source = BufReader::with_capacity(256 * 1024, source);
    let (mut line, mut at_start) = (Vec::new(), true);
    loop {
        line.clear();
        let read = (&mut source).take(LONGEST).read_until(b'\n', &mut line).map_err(Trouble::Source)?;
        if read == 0 {
            return Ok(reader.found);
        }
        let hand_on = if at_start { reader.line(&line) } else { !matches!(reader.mode, Mode::LeftOut) };
        at_start = line.ends_with(b"\n");
        write(&line, hand_on, reader.password).map_err(Trouble::Sink)?;
    }
}

impl Reader<'_> {
    /// Whether the line, or the beginning of a long one, is handed on.
    fn line(&mut self, line: &[u8]) -> bool {
        let text = trimmed(line);
        if matches!(self.mode, Mode::Rows) {
            self.row(text);
            return true;
        }
        self.password = self.password_in(line);
        if !matches!(self.password, Password::None) {
            return true;
        }
        let after_comment = std::mem::replace(&mut self.comment, text == b"--");
        if self.comment {
            self.mode = Mode::Statements;
            self.mapping = None;
            return true;
        }
        if text == END && after_comment {
            self.found.whole = line.ends_with(b"\n");
            return true;
        }
        if matches!(self.mode, Mode::LeftOut) {
            return false;
        }
        if text.is_empty() {
            return true;
        }
        if after_comment && let Some(entry) = Entry::of(text) {
            self.found.whole = false;
            self.entry = Some(entry);
            return true;
        }
        if text.starts_with(b"--") {
            return true;
        }
        if self.found.whole && text.starts_with(b"\\unrestrict ") || !self.begun && text.starts_with(b"\\restrict ") {
            return false;
        }
        (self.found.whole, self.begun) = (false, true);
        let Some(entry) = self.entry.take() else {
            if self.makes_large_objects {
                self.large_object(text);
            }
            return true;
        };
        self.makes_large_objects = entry.kind.starts_with(b"BLOB");
        let kept = self.statement(&entry, text);
        if !kept {
            self.mode = Mode::LeftOut;
        }
        kept
    }

    fn password_in(&mut self, line: &[u8]) -> Password {
        let quotes = |text: &[u8]| text.iter().filter(|byte| **byte == b'\'').count();
        let last = line.iter().rposition(|byte| *byte == b'\'').map(|at| at + 1);
        match (self.password, last) {
            (Password::Begins(_, None) | Password::Within, Some(last)) if quotes(line) % 2 == 1 => Password::Ends(last),
            (Password::Begins(_, None) | Password::Within, _) => Password::Within,
            _ => {
                let (Some(mapping), Some(from)) = (&self.mapping, text::password(line)) else { return Password::None };
                self.found.passwords.insert(mapping.clone());
                Password::Begins(from, last.filter(|_| quotes(line) % 2 == 0))
            }
        }
    }

    fn large_object(&mut self, text: &[u8]) {
        if text.starts_with(b"SELECT pg_catalog.lo_create('") {
            self.found.large_objects = self.found.large_objects.saturating_add(1);
        }
    }

    fn row(&mut self, text: &[u8]) {
        if text == b"\\." {
            self.mode = Mode::Statements;
        } else if let Some(Some(rows)) = self.table.as_ref().and_then(|table| self.found.tables.get_mut(table)) {
            *rows = rows.saturating_add(1);
        }
    }

    /// The first line of an entry's statements: whether they are handed on.
    fn statement(&mut self, entry: &Entry, text: &[u8]) -> bool {
        let shown = || String::from_utf8_lossy(&entry.name).into_owned();
        match entry.kind.as_slice() {
            b"TABLE" => {
                self.found.readable &= entry.is_utf8();
                self.found.tables.insert(entry.table(), Some(0));
            }
            b"TABLE DATA" => {
                let table = entry.table();
                if copies(text) {
                    self.mode = Mode::Rows;
                } else if let Some(rows) = self.found.tables.get_mut(&table) {
                    *rows = None;
                }
                self.table = Some(table);
            }
            b"SCHEMA" => {
                let Some(schema) = schema_of(text) else { return true };
                self.found.schemas.insert(schema.to_vec());
                return !self.there.contains(schema);
            }
            b"EXTENSION" => self.found.extensions.extend(extension(text)),
            // Since version 17 one entry makes many.
            b"BLOB" | b"BLOB METADATA" => self.large_object(text),
            b"USER MAPPING" => self.mapping = Some(shown()),
            b"COMMENT" => return !is_comment_on(text, &[b"EXTENSION", b"EVENT TRIGGER", b"SUBSCRIPTION"]),
            b"SUBSCRIPTION" | b"SUBSCRIPTION TABLE" => {
                self.found.left_out.push(format!("subscription {}", shown()));
                return false;
            }
            b"EVENT TRIGGER" => {
                self.found.left_out.push(format!("event trigger {}", shown()));
                return false;
            }
            b"PUBLICATION" if text.windows(16).any(|part| part == b" FOR ALL TABLES ") => {
                self.found.left_out.push(format!("publication {}", shown()));
                return false;
            }
            b"PUBLICATION TABLES IN SCHEMA" => {
                self.found.left_out.push(format!("publication of a schema: {}", shown()));
                return false;
            }
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests;

//! What of a dump failed while psql went on: which object it was, and whether the data are whole without it. *Pure.*

use std::io::{self, Write};

use super::entries::{Entry, trimmed};
use crate::text::Shown;

/// What data can do without. Whoever restores is told, and makes it by hand.
const SPARE: [&str; 42] = [
    "ACCESS METHOD",
    "ACL",
    "AGGREGATE",
    "CAST",
    "CHECK CONSTRAINT",
    "COLLATION",
    "COMMENT",
    "CONSTRAINT",
    "CONVERSION",
    "DEFAULT ACL",
    "EVENT TRIGGER",
    "FK CONSTRAINT",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "INDEX",
    "INDEX ATTACH",
    "MATERIALIZED VIEW",
    "MATERIALIZED VIEW DATA",
    "OPERATOR",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "POLICY",
    "PROCEDURAL LANGUAGE",
    "PROCEDURE",
    "PUBLICATION",
    "PUBLICATION TABLE",
    "ROW SECURITY",
    "RULE",
    "SECURITY LABEL",
    "SERVER",
    "SHELL TYPE",
    "STATISTICS",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "TRANSFORM",
    "TRIGGER",
    "TYPE",
    "USER MAPPING",
    "VIEW",
];
/// No more entries are remembered.
const MOST: usize = 200_000;

/// Counts the lines that psql is given, as it does, and notes at which an entry begins.
pub struct Numbered<'a, W> {
    to: W,
    line: u64,
    begun: &'a mut Vec<(u64, Entry)>,
}

impl<'a, W: Write> Numbered<'a, W> {
    /// From the first line on.
    pub fn new(to: W, begun: &'a mut Vec<(u64, Entry)>) -> Numbered<'a, W> {
        Numbered { to, line: 1, begun }
    }
}

impl<W: Write> Write for Numbered<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        let bytes = bytes.get(..written).unwrap_or_default();
        if bytes.starts_with(b"-- ")
            && self.begun.len() < MOST
            && let Some(entry) = Entry::of(trimmed(bytes))
        {
            self.begun.push((self.line, entry));
        }
        self.line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The objects that failed, each with the database's words.
///
/// # Errors
/// The words of the first error that took more than such an object.
pub fn left_out(said: &str, begun: &[(u64, Entry)]) -> Result<Vec<String>, String> {
    let mut found: Vec<String> = Vec::new();
    for (line, words) in said.lines().filter_map(error) {
        let at = begun.partition_point(|(first, _)| *first <= line);
        let entry = at.checked_sub(1).and_then(|at| begun.get(at)).map(|(_, entry)| entry);
        let spare = |entry: &&Entry| SPARE.iter().any(|kind| kind.as_bytes() == entry.kind);
        let Some(entry) = entry.filter(spare).filter(|_| !words.contains("backslash commands")) else {
            return Err(words.to_owned());
        };
        let kind = String::from_utf8_lossy(&entry.kind).to_ascii_lowercase();
        let named = format!("{kind} {} ({})", Shown(&entry.name), Shown(words.as_bytes()));
        if !found.contains(&named) {
            found.push(named);
        }
    }
    Ok(found)
}

/// `psql:<stdin>:12: ERROR:  words`, and the same of psql's own.
fn error(line: &str) -> Option<(u64, &str)> {
    let (number, words) = line.strip_prefix("psql:<stdin>:")?.split_once(": ")?;
    let number = number.parse().ok()?;
    let words = ["ERROR:", "error:", "FATAL:", "PANIC:"].iter().find_map(|kind| words.strip_prefix(kind))?;
    Some((number, words.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "SET x;\n--\n-- Name: f(integer); Type: FUNCTION; Schema: public; Owner: -\n--\n\nCREATE FUNCTION\nf;\n\
        --\n-- Name: t; Type: TABLE; Schema: public; Owner: -\n--\n\nCREATE TABLE t;\n";

    #[test]
    fn a_function_may_be_missing_a_table_not() {
        let mut begun = Vec::new();
        let mut numbered = Numbered::new(Vec::new(), &mut begun);
        for line in DUMP.split_inclusive('\n') {
            numbered.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(begun.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 9]);
        let said = |line: u64, words: &str| format!("x\npsql:<stdin>:{line}: {words}\nCONTEXT: y\n");
        let function = said(7, "ERROR:  must be superuser to define a leakproof function");
        let named = "function f(integer) (must be superuser to define a leakproof function)";
        assert_eq!(left_out(&function.repeat(2), &begun), Ok(vec![named.to_owned()]));
        assert_eq!(left_out(&said(7, "NOTICE:  x"), &begun), Ok(Vec::new()));
        assert_eq!(left_out(&(function + &said(12, "ERROR:  no")), &begun), Err("no".to_owned()));
        assert_eq!(left_out(&said(1, "ERROR:  early"), &begun), Err("early".to_owned()));
        assert!(left_out(&said(7, "error: backslash commands are restricted; x"), &begun).is_err());
    }
}

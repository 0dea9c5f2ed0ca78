//! Reads a plain dump as `pg_dump` writes it, in constant memory: what is in it, whether it is whole, and that it is a dump
//! and no program. *Pure.* A dump may come from a stick, so all of it is foreign: psql's own commands (`\!`, `\copy`, `\o`,
//! `\connect`), other transactions than ours, and statements that reach beyond the one database are refused here; psql's
//! restricted mode (`\restrict`, with a key that the dump can't know) stands behind that.

mod lexer;
mod statement;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};

use crate::text::Shown;
use lexer::Lexer;

/// A table's schema and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// The schema.
    pub schema: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", Shown(self.schema.as_bytes()), Shown(self.name.as_bytes()))
    }
}

/// What a dump makes in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The tables and their numbers of rows; a table filled by `INSERT` has none.
    pub tables: BTreeMap<Table, Option<u64>>,
    /// The number of large objects.
    pub large_objects: u64,
    /// The dump's length.
    pub bytes: u64,
}

impl Contents {
    /// The rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.values().flatten().fold(0, |sum, rows| sum.saturating_add(*rows))
    }
}

/// Why a dump can't be used.
#[derive(Debug)]
pub enum Trouble {
    /// It can't be read.
    Source(io::Error),
    /// Nobody takes it any more.
    Sink(io::Error),
    /// It ends too early.
    Cut,
    /// It has something that is in no dump of `pg_dump`.
    Foreign {
        /// In which line.
        line: u64,
        /// What.
        why: &'static str,
    },
}

/// Reads a dump to its end and hands on what psql is to be given: all but the dump's own transactions and `\restrict`
/// lines. The sink may act on it statement by statement, but must not commit before this returns.
///
/// # Errors
/// [`Trouble`].
pub fn read(mut source: impl Read, mut sink: impl Write) -> Result<Contents, Trouble> {
    let mut lexer = Lexer::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes: u64 = 0;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Trouble::Source(error)),
        };
        bytes = bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        let done = lexer.push(buffer.get(..count).unwrap_or_default());
        done.map_err(|why| Trouble::Foreign { line: lexer.line(), why })?;
        sink.write_all(lexer.ready()).map_err(Trouble::Sink)?;
        lexer.taken();
    }
    let contents = lexer.finish().ok_or(Trouble::Cut)?;
    sink.write_all(lexer.ready()).map_err(Trouble::Sink)?;
    Ok(Contents { bytes, ..contents })
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";

    /// Whatever the pieces in which it is read.
    fn both(text: &str) -> (Result<Contents, Trouble>, String) {
        let mut whole = Vec::new();
        let result = read(text.as_bytes(), &mut whole);
        for size in [1, 2, 7] {
            struct Pieces<'a>(&'a [u8], usize);
            impl Read for Pieces<'_> {
                fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                    let count = self.1.min(buffer.len());
                    self.0.read(&mut buffer[..count])
                }
            }
            let mut sink = Vec::new();
            let other = read(Pieces(text.as_bytes(), size), &mut sink);
            assert_eq!(format!("{result:?}"), format!("{other:?}"), "in pieces of {size}: {text}");
            if result.is_ok() {
                assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&sink));
            }
        }
        (result, String::from_utf8(whole).unwrap())
    }

    fn table(name: &str) -> Table {
        Table { schema: "public".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn what_a_dump_has() {
        let text = format!(
            "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET client_encoding = 'UTF8';\n\
            CREATE FUNCTION public.f() RETURNS integer\n    LANGUAGE sql\n    BEGIN ATOMIC\n SELECT CASE WHEN true THEN 1 END;\n\
             SELECT 3;\nEND;\n\n\
            CREATE PROCEDURE public.p() LANGUAGE plpgsql\n    AS $_$ begin\ncommit;\n\\! ls $x$ end $_$;\n\
            CREATE TABLE public.\"工具 \"\"表\" (\n a integer DEFAULT 1);\nCREATE UNLOGGED TABLE public.u ();\n\
            COMMENT ON TABLE public.u IS 'it''s \\ \nCOMMIT;';\nSELECT E'\\'; COMMIT;';\n\
            SELECT pg_catalog.lo_create('16391');\n\
            COPY public.\"工具 \"\"表\" (a, \"b;c\") FROM stdin;\nCOMMIT;\n\\\\! x\n'\n\\.\n\nCOPY public.u  FROM stdin;\n\\.\n\
            BEGIN;\n\nSELECT pg_catalog.lowrite(0, '\\x0102');\n\nCOMMIT;\n\n\
            CREATE RULE r AS\n    ON INSERT TO public.u DO ( SELECT 1;\n SELECT 2;\n);\n{END}"
        );
        let (contents, passed) = both(&text);
        let contents = contents.unwrap();
        let expected = [(table("u"), Some(0)), (table("工具 \"表"), Some(3))];
        assert_eq!(contents.tables, expected.into_iter().collect());
        assert_eq!((contents.large_objects, contents.rows(), contents.bytes), (1, 3, text.len() as u64));
        let without = text.replace("\\restrict abc", "").replace("\\unrestrict abc", "");
        let without = without.replace("\nBEGIN;\n\n", "\n\n\n").replace("\n\nCOMMIT;\n\n", "\n\n\n\n");
        assert_eq!(passed, without);
    }

    #[test]
    fn what_no_dump_has_is_refused_and_not_passed_on() {
        for evil in [
            "\\! touch /tmp/evil\n",
            "SELECT 1 \\! touch /tmp/evil\n;",
            "SELECT 1 \\g |evil\n",
            "\\copy x from program 'evil'\n",
            "\\o |evil\n",
            "\\restrict a`evil`\n",
            "\\unrestrict\n",
            "\\connect evil\n",
            "COPY public.t FROM PROGRAM 'evil';\n",
            "COPY public.t TO PROGRAM 'evil';\n",
            "COPY public.t (a) FROM '/etc/evil';\n",
            "COPY public.t FROM stdin; evil\n\\.\n",
            "COMMIT; evil;\n",
            "COMMIT AND CHAIN;evil",
            "commit/**/;DROP DATABASE evil;",
            "BEGIN ISOLATION LEVEL SERIALIZABLE;evil",
            "ROLLBACK;evil",
            "END;evil",
            "DO $$ evil $$;",
            "CREATE DATABASE evil;",
            "DROP  /* x */ DATABASE evil;",
            "ALTER SYSTEM SET evil = 1;",
            "CREATE ROLE evil;",
            "SET client_encoding = 'SJIS'; evil",
            "SET standard_conforming_strings = off; evil",
            "(SELECT evil);",
        ] {
            let (result, passed) = both(&format!("SET x = 1;\n{evil}\n{END}"));
            let Err(Trouble::Foreign { line, .. }) = result else { panic!("{evil}: {result:?}") };
            assert!((2..=3).contains(&line), "{evil}: {line}");
            assert!(!passed.contains("evil"), "{evil}: {passed}");
        }
    }

    #[test]
    fn a_dump_that_is_cut_is_not_whole() {
        let text =
            format!("SET x = 1;\nCREATE TABLE public.a (i int);\nCOPY public.a (i) FROM stdin;\n1\n\\.\n\n{END}");
        assert!(both(&text).0.is_ok());
        let whole = text.find("complete\n").unwrap() + "complete\n".len();
        for cut in 0..whole {
            assert!(matches!(both(&text[..cut]).0, Err(Trouble::Cut)), "{cut}: {:?}", &text[..cut]);
        }
        assert!(matches!(both(&format!("{text}SELECT 1;\n")).0, Err(Trouble::Cut)), "not at the end");
    }

    #[test]
    fn rows_that_are_inserted_are_not_counted() {
        let text = format!("CREATE TABLE public.a (i int);\nINSERT INTO public.a VALUES (1), (2);\n{END}");
        assert_eq!(both(&text).0.unwrap().tables[&table("a")], None);
    }
}

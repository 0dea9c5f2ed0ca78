//! The parts of a snapshot that may be filled or empty, and which one was emptied (SPEC 7).

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};

use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::tree::manifest::Header;
use crate::tree::walk::{Step, Walk};

/// The dump in a snapshot: its directory and its name there.
pub const DUMP: (&[u8], &[u8]) = (b"db", b"pg_dump.sql");
/// So much of a dump's line is looked at, bytes: what begins a table or its rows is shorter.
const LINE: u64 = 64 * 1024;

/// A part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A file in `docviewer/` other than `meta.json`.
    Docviewer,
    /// A file in `master/` other than `meta.json`.
    Master,
    /// A table in the database.
    Tables,
    /// A row in one of them, or a large object.
    Rows,
}

/// The parts that hold anything.
pub type Filled = BTreeSet<Part>;

impl Part {
    /// All of them.
    pub const ALL: [Part; 4] = [Part::Docviewer, Part::Master, Part::Tables, Part::Rows];

    /// Its word in manifests, records and logs.
    pub fn name(self) -> &'static str {
        match self {
            Part::Docviewer => "docviewer",
            Part::Master => "master",
            Part::Tables => "tables",
            Part::Rows => "rows",
        }
    }

    /// What an operator calls it.
    pub fn shown(self) -> &'static str {
        match self {
            Part::Docviewer => "docviewer",
            Part::Master => "master",
            Part::Tables => "データベースの表",
            Part::Rows => "データベースの行",
        }
    }

    /// The part of that word.
    pub fn of(name: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// What a manifest's first line says of them; none in those of the first version.
pub fn of_header(header: &Header) -> Option<Filled> {
    Some(header.filled.as_ref()?.iter().filter_map(|name| Part::of(name)).collect())
}

/// As a manifest's first line has them.
pub fn words(filled: &Filled) -> Vec<String> {
    filled.iter().map(|part| part.name().to_owned()).collect()
}

/// Finds out which parts of a snapshot hold anything, by looking: up to the first file of each dataset and the dump's first row.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn look(snapshot: &Dir) -> Result<Filled> {
    let mut filled = of_dump_in(snapshot)?;
    for part in [Part::Docviewer, Part::Master] {
        if let Some(dir) = snapshot.sub(part.name().as_bytes())?
            && has_files(&dir)?
        {
            filled.insert(part);
        }
    }
    Ok(filled)
}

/// The same of its dump alone.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn of_dump_in(snapshot: &Dir) -> Result<Filled> {
    let (dir, name) = DUMP;
    let Some(db) = snapshot.sub(dir)? else { return Ok(Filled::new()) };
    let Some((file, _)) = db.read_if_there(name)? else { return Ok(Filled::new()) };
    of_dump(BufReader::new(file)).map_err(|source| Error::Unreadable { path: db.shown(name), source })
}

/// Whether a dataset's directory holds a file that counts.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn has_files(dataset: &Dir) -> Result<bool> {
    let mut walk = Walk::new(Some(dataset), None)?;
    while let Some(step) = walk.step()? {
        if matches!(step, Step::File { .. }) && walk.path() != b"meta.json" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a dump holds, read up to its first row.
///
/// # Errors
/// Of the reader.
pub fn of_dump(mut input: impl BufRead) -> std::io::Result<Filled> {
    let mut filled = Filled::new();
    let mut line = Vec::new();
    let (mut begins, mut in_copy) = (true, false);
    loop {
        line.clear();
        if (&mut input).take(LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(filled);
        }
        // The rest of a line that is longer than what is looked at is no line.
        let is_begin = std::mem::replace(&mut begins, line.ends_with(b"\n"));
        if !is_begin {
            continue;
        }
        if in_copy && !line.starts_with(b"\\.") || ROWS.iter().any(|begin| line.starts_with(begin)) {
            filled.insert(Part::Rows);
            filled.insert(Part::Tables);
            return Ok(filled);
        }
        in_copy = line.starts_with(b"COPY ") && line.trim_ascii_end().ends_with(b" FROM stdin;");
        if TABLES.iter().any(|begin| line.starts_with(begin)) {
            filled.insert(Part::Tables);
        }
    }
}

/// How `pg_dump` begins a table.
const TABLES: [&[u8]; 2] = [b"CREATE TABLE ", b"CREATE UNLOGGED TABLE "];
/// How it begins a row that does not stand in a COPY block, and a large object's content.
const ROWS: [&[u8]; 2] = [b"INSERT INTO ", b"SELECT pg_catalog.lowrite("];

/// *Pure.* A part that the newest generation lacks although an older one has it: with the place of the last one that does. `filled`: of all
/// generations, the newest last.
pub fn emptied(filled: &[Filled]) -> Vec<(Part, usize)> {
    let Some(newest) = filled.last() else { return Vec::new() };
    let last_with = |part: &Part| filled.iter().rposition(|filled| filled.contains(part));
    Part::ALL
        .into_iter()
        .filter(|part| !newest.contains(part))
        .filter_map(|part| last_with(&part).map(|at| (part, at)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(text: &str) -> Vec<&'static str> {
        of_dump(text.as_bytes()).unwrap().into_iter().map(Part::name).collect()
    }

    #[test]
    fn a_dump_is_told_by_its_tables_and_its_rows() {
        let none: [&str; 0] = [];
        assert_eq!(dump(""), none);
        assert_eq!(dump("-- CREATE TABLE x\nCREATE VIEW v AS SELECT 1;\n"), none);
        assert_eq!(dump("CREATE TABLE t (\n);\nCOPY public.t (a) FROM stdin;\n\\.\n"), ["tables"]);
        assert_eq!(dump("CREATE UNLOGGED TABLE t (\n);\n"), ["tables"]);
        assert_eq!(dump("CREATE TABLE t (\n);\nCOPY public.t (a) FROM stdin;\n\\N\n\\.\n"), ["tables", "rows"]);
        assert_eq!(dump("CREATE TABLE t (\n);\nINSERT INTO public.t VALUES (1);\n"), ["tables", "rows"]);
        let long =
            format!("CREATE TABLE t (a text DEFAULT '{}COPY t FROM stdin;\n');\n", "x".repeat(2 * LINE as usize));
        assert_eq!(dump(&long), ["tables"]);
    }

    #[test]
    fn what_was_filled_once_and_is_empty_now_was_emptied() {
        use Part::{Docviewer, Master, Rows, Tables};
        let set = |parts: &[Part]| parts.iter().copied().collect::<Filled>();
        let all = set(&Part::ALL);
        assert_eq!(emptied(&[]), []);
        assert_eq!(emptied(&[set(&[]), all.clone()]), []);
        assert_eq!(emptied(&[all.clone(), set(&[Master, Docviewer])]), [(Tables, 0), (Rows, 0)]);
        // However long ago, and each by itself.
        let long = [all.clone(), set(&[Master, Tables, Rows]), set(&[Master, Tables]), set(&[Master, Tables])];
        assert_eq!(emptied(&long), [(Docviewer, 0), (Rows, 1)]);
        assert_eq!(emptied(&[&long[..], &[all]].concat()), []);
    }
}

//! Single lines of a dump. *Pure.*

use crate::settings::secrets::is_secret;

/// Where in `    password 'x',` of a user mapping's statement the value begins.
pub fn password(line: &[u8]) -> Option<usize> {
    let quote = line.iter().position(|byte| *byte == b'\'')?;
    let name = std::str::from_utf8(line.get(..quote)?).ok()?.trim();
    let name = name.strip_suffix(" E").unwrap_or(name).trim_matches('"');
    is_secret(name).then_some(quote)
}

/// An extension and the schema that it is to be in, as the dump writes that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its name, without quotes.
    pub name: String,
    /// The schema as the dump writes it.
    pub schema_written: Vec<u8>,
    /// The same without quotes.
    pub schema: String,
}

/// What the comment before an object's statements says of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The object's name, line breaks replaced.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Vec<u8>,
    /// Its schema.
    pub schema: Vec<u8>,
}

impl Entry {
    /// Reads `-- Name: n; Type: t; Schema: s; Owner: -`. Names are written as they are, whatever is in them.
    pub fn of(line: &[u8]) -> Option<Entry> {
        let line = line.strip_prefix(b"-- Data for ").or_else(|| line.strip_prefix(b"-- "))?;
        let (rest, _) = last_split(line.strip_prefix(b"Name: ")?, b"; Owner: ")?;
        let (rest, schema) = last_split(rest, b"; Schema: ")?;
        let (name, kind) = last_split(rest, b"; Type: ")?;
        Some(Entry { name: name.to_vec(), kind: kind.to_vec(), schema: schema.to_vec() })
    }

    /// Whether its names are UTF-8.
    pub fn is_utf8(&self) -> bool {
        [&self.name, &self.schema].iter().all(|name| std::str::from_utf8(name).is_ok())
    }

    /// Schema and name.
    pub fn table(&self) -> (String, String) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&self.schema), text(&self.name))
    }
}

fn last_split<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(mark.len()).rposition(|part| part == mark)?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

/// A name as comments and manifests show it alike.
pub fn in_one_line(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}

/// The line without its end.
pub fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether rows follow.
pub fn copies(line: &[u8]) -> bool {
    line.starts_with(b"COPY ") && line.ends_with(b" FROM stdin;")
}

/// Whether it is `COMMENT ON` one of these kinds.
pub fn is_comment_on(line: &[u8], kinds: &[&[u8]]) -> bool {
    let object = line.strip_prefix(b"COMMENT ON ");
    object.is_some_and(|object| kinds.iter().any(|kind| object.starts_with(kind)))
}

/// The schema that `CREATE SCHEMA s;` makes, as it is written.
pub fn schema_of(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"CREATE SCHEMA ")?.strip_suffix(b";")
}

/// Reads `CREATE EXTENSION IF NOT EXISTS e WITH SCHEMA s;`.
pub fn extension(line: &[u8]) -> Option<Extension> {
    let rest = std::str::from_utf8(line.strip_prefix(b"CREATE EXTENSION IF NOT EXISTS ")?).ok()?.strip_suffix(';')?;
    let (name, written) = rest.rsplit_once(" WITH SCHEMA ")?;
    Some(Extension { name: unquoted(name), schema_written: written.as_bytes().to_vec(), schema: unquoted(written) })
}

/// An identifier without its quotes.
pub fn unquoted(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(name) => name.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

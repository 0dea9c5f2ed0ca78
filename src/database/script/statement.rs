//! What single statements of a dump mean, and which are none of `pg_dump`'s. *Pure.*

use super::Table;

/// The first words of all statements that `pg_dump` writes.
const FIRST: [&str; 14] = [
    "alter", "begin", "comment", "commit", "copy", "create", "drop", "grant", "insert", "refresh", "revoke",
    "security", "select", "set",
];
/// What `CREATE`, `ALTER` and `DROP` of a dump are never about: it reaches beyond the database.
const BEYOND: [&str; 6] = ["database", "group", "role", "system", "tablespace", "user"];
/// Encodings in whose characters a byte may look like a quote or a backslash. No server stores them.
const AMBIGUOUS: [&str; 8] =
    ["'big5'", "'gb18030'", "'gbk'", "'johab'", "'shift_jis_2004'", "'sjis'", "'uhc'", "'windows932'"];

/// What is to be done with a statement, as far as its words are known.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More of it must be seen.
    Later,
    /// It may be handed on.
    Pass,
}

/// Judges a statement by its first words (lower case).
///
/// # Errors
/// What is wrong with it.
pub fn judge(words: &[String]) -> Result<Verdict, &'static str> {
    let mut words = words.iter().map(String::as_str);
    let first = words.next().unwrap_or_default();
    if !FIRST.contains(&first) {
        return Err("a statement that pg_dump never writes");
    }
    match (first, words.next(), words.next()) {
        ("copy" | "begin" | "commit" | "set", ..) => Ok(Verdict::Later),
        ("create" | "alter" | "drop", Some("user"), Some("mapping")) => Ok(Verdict::Pass),
        ("create" | "alter" | "drop", Some("user") | None, None) => Ok(Verdict::Later),
        ("create" | "alter" | "drop", Some(second), _) if BEYOND.contains(&second) => {
            Err("a statement that reaches beyond the database")
        }
        _ => Ok(Verdict::Pass),
    }
}

/// Whether semicolons within it may belong to a body (`BEGIN ATOMIC … END`).
pub fn has_body(words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    matches!(
        words.as_slice(),
        ["create", "function" | "procedure", ..] | ["create", "or", "replace", "function" | "procedure", ..]
    )
}

/// A `SET` that would make others read the rest in another way.
pub fn changes_reading(statement: &str) -> bool {
    let statement = statement.to_ascii_lowercase();
    let mut words = statement.split(|c: char| c.is_ascii_whitespace() || c == '=').filter(|word| !word.is_empty());
    let value = |mut words: Vec<&str>| words.pop().unwrap_or_default().to_owned();
    match words.nth(1) {
        Some("client_encoding") => AMBIGUOUS.contains(&value(words.collect()).as_str()),
        Some("standard_conforming_strings") => value(words.collect()) != "on",
        _ => false,
    }
}

/// The table of a `COPY … FROM stdin`.
pub fn copied_table(statement: &str) -> Option<Table> {
    let (table, rest) = table_at(after_word(statement, "copy")?)?;
    let rest = match rest.trim_start().strip_prefix('(') {
        Some(columns) => &columns[end_of_columns(columns)?..],
        None => rest,
    };
    let rest: Vec<String> = rest.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
    (rest == ["from", "stdin"]).then_some(table)
}

/// The table that a statement makes, if it makes one.
pub fn made_table(statement: &str) -> Option<Table> {
    let rest = after_word(statement, "create")?;
    let rest = after_word(rest, "unlogged").unwrap_or(rest);
    table_at(after_word(rest, "table")?).map(|(table, _)| table)
}

/// The table that an `INSERT` fills.
pub fn filled_table(statement: &str) -> Option<Table> {
    table_at(after_word(after_word(statement, "insert")?, "into")?).map(|(table, _)| table)
}

fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let (found, rest) = (text.get(..word.len())?, text.get(word.len()..)?);
    (found.eq_ignore_ascii_case(word) && rest.starts_with(|c: char| c.is_ascii_whitespace())).then(|| rest.trim_start())
}

/// `schema.name` at the beginning, and what follows.
fn table_at(text: &str) -> Option<(Table, &str)> {
    let (schema, rest) = name_at(text)?;
    let (name, rest) = name_at(rest.strip_prefix('.')?)?;
    Some((Table { schema, name }, rest))
}

fn name_at(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let (part, behind) = rest.split_once('"')?;
        name.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, behind)),
        }
    }
}

/// Behind the parenthesis that closes a list of columns.
fn end_of_columns(columns: &str) -> Option<usize> {
    let mut quoted = false;
    columns.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == ')' && !quoted).then_some(at + 1)
    })
}

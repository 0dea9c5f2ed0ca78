//! What the program can say: the string literals of its sources, and whether a quoted text is one of them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// A literal as a pattern, or a quote as one: `{…}` of a format string and `…` of a quote stand for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Char(char),
    Any,
}

/// All that the program can say.
pub struct Words {
    exact: BTreeSet<String>,
    patterns: Vec<Vec<Piece>>,
    /// What may stand for a placeholder, by the depth: a long quote asks for the same piece in very many ways.
    known: Mutex<HashMap<(String, usize), bool>>,
}

/// So many letters and digits of a quote must be the literal's own.
const ANCHOR: usize = 4;
/// A message holds another, that another: more is none of ours.
const DEPTH: usize = 3;

impl Words {
    /// Of all sources below a directory, tests left out.
    pub fn of(directory: &Path) -> Words {
        let mut sources = String::new();
        read_all(directory, &mut sources);
        Words::of_source(&sources)
    }

    fn of_source(source: &str) -> Words {
        // The tags of the status page are no line that anybody quotes, and with so many placeholders they would fit whatever.
        let is_said = |literal: &String| !literal.contains("</") && !literal.contains("/>");
        let exact: BTreeSet<String> = literals(source).into_iter().filter(is_said).collect();
        let patterns = exact.iter().map(|literal| pattern(literal)).collect();
        Words { exact, patterns, known: Mutex::default() }
    }

    /// Whether this is the whole of a literal.
    pub fn has(&self, word: &str) -> bool {
        self.exact.contains(word)
    }

    /// Whether a literal holds this piece of Japanese, which has no blanks between its words.
    pub fn says_in_japanese(&self, text: &str) -> bool {
        let letters = text.chars().filter(|c| !c.is_ascii()).count();
        letters >= 4 && self.exact.iter().any(|literal| literal.contains(text))
    }

    /// Whether a mark without letters stands in a literal.
    pub fn has_mark(&self, mark: &str) -> bool {
        self.exact.iter().any(|literal| literal.contains(mark))
    }

    /// Whether a literal is this text or holds it as whole words. What the text has in a placeholder's stead must be a
    /// value (a number, a path, a name in capitals), another literal, or `…`.
    pub fn says(&self, text: &str) -> bool {
        let text = text.trim_matches(['…', ' ']);
        let quote: Vec<Piece> = text.chars().map(|c| if c == '…' { Piece::Any } else { Piece::Char(c) }).collect();
        self.holds(&quote, DEPTH)
    }

    fn holds(&self, quote: &[Piece], depth: usize) -> bool {
        self.patterns.iter().any(|pattern| {
            let starts = (0..pattern.len()).filter(|at| *at == 0 || !is_letter(pattern[*at - 1]));
            starts.into_iter().any(|at| self.fits(quote, &pattern[at..], 0, depth))
        })
    }

    /// `own`: letters and digits that matched the literal's own so far.
    fn fits(&self, quote: &[Piece], pattern: &[Piece], own: usize, depth: usize) -> bool {
        match (quote, pattern) {
            ([], rest) => own >= ANCHOR && rest.first().is_none_or(|next| !is_letter(*next)),
            ([Piece::Any, quote @ ..], _) => {
                (0..=pattern.len()).any(|skip| self.fits(quote, &pattern[skip..], own, depth))
            }
            (_, []) => false,
            ([Piece::Char(a), quote @ ..], [Piece::Char(b), pattern @ ..]) => {
                a == b && self.fits(quote, pattern, own + usize::from(a.is_alphanumeric()), depth)
            }
            (_, [Piece::Any, pattern @ ..]) => (0..=quote.len()).any(|taken| {
                self.fits(&quote[taken..], pattern, own, depth) && self.may_stand_there(&quote[..taken], depth)
            }),
        }
    }

    fn may_stand_there(&self, taken: &[Piece], depth: usize) -> bool {
        let text: String = taken.iter().map(|piece| if let Piece::Char(c) = piece { *c } else { '…' }).collect();
        let key = (text, depth);
        let known = self.known.lock().unwrap().get(&key).copied();
        known.unwrap_or_else(|| {
            let text = key.0.trim();
            let may = is_value(text) || self.has(text) || (depth > 0 && self.holds(taken, depth - 1));
            self.known.lock().unwrap().insert(key, may);
            may
        })
    }
}

fn is_letter(piece: Piece) -> bool {
    matches!(piece, Piece::Char(c) if c.is_alphanumeric())
}

/// Nothing, a number, a path, a name in capitals or in Japanese: what a message tells of this run.
fn is_value(text: &str) -> bool {
    let lower = text.contains(|c: char| c.is_ascii_lowercase());
    !text.contains([' ', '=']) && (text.starts_with('/') || !lower)
}

fn pattern(literal: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = literal;
    while let Some(c) = rest.chars().next() {
        let placeholder = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            pieces.push(Piece::Char(c));
            rest = after;
        } else if let Some((_, after)) = placeholder.filter(|(name, _)| !name.contains(['"', ' ', '{', ','])) {
            pieces.push(Piece::Any);
            rest = after;
        } else {
            pieces.push(Piece::Char(c));
            rest = &rest[c.len_utf8()..];
        }
    }
    pieces
}

fn read_all(directory: &Path, sources: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, sources);
        } else if path.extension().is_some_and(|end| end == "rs") && path.file_name().unwrap() != "tests.rs" {
            let text = fs::read_to_string(&path).unwrap();
            // A file's tests are its last part.
            sources.push_str(text.split("#[cfg(test)]\nmod tests {").next().unwrap());
        }
    }
}

/// The string literals of Rust sources, their escapes resolved.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skip = |text: &str, end: &str| text.find(end).map_or(text.len(), |at| at + end.len());
        let raw =
            rest.strip_prefix('r').map(|rest| rest.trim_start_matches('#')).is_some_and(|rest| rest.starts_with('"'));
        if rest.starts_with("//") {
            rest = &rest[skip(rest, "\n")..];
        } else if rest.starts_with("/*") {
            rest = &rest[skip(rest, "*/")..];
        } else if raw {
            let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
            let inside = &rest[hashes + 2..];
            let end = format!("\"{}", "#".repeat(hashes));
            let length = inside.find(&end).unwrap_or(inside.len());
            found.push(inside[..length].to_owned());
            rest = &inside[(length + end.len()).min(inside.len())..];
        } else if let Some(inside) = rest.strip_prefix('"') {
            let (literal, after) = quoted(inside);
            found.push(literal);
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('\'') {
            // A lifetime has no second quote where a character has one.
            let mut chars = inside.chars();
            let (first, second) = (chars.next(), chars.next());
            rest = match (first, second) {
                (Some('\\'), Some(escaped)) => {
                    let after = &inside[1 + escaped.len_utf8()..];
                    &after[skip(after, "'")..]
                }
                (Some(c), Some('\'')) => &inside[c.len_utf8() + 1..],
                _ => inside,
            };
        } else if is_name(c) {
            // A name may end with r.
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let prefix = matches!(&rest[..end], "b" | "c" | "br" | "r");
            rest = &rest[if prefix { end.min(1) } else { end }..];
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text up to the closing quote, and what follows.
fn quoted(inside: &str) -> (String, &str) {
    let mut text = String::new();
    let mut rest = inside;
    loop {
        let Some(c) = rest.chars().next() else { return (text, rest) };
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return (text, rest),
            '\\' => {
                let escaped = rest.chars().next().unwrap_or_default();
                rest = &rest[escaped.len_utf8().min(rest.len())..];
                match escaped {
                    '\n' => rest = rest.trim_start(),
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'u' | 'x' => text.push('\u{fffd}'),
                    other => text.push(other),
                }
            }
            c => text.push(c),
        }
    }
}

#[test]
fn literals_are_found() {
    let source = r##"
        // "no"
        /* "no" */
        let a: &'static str = "one \"two\" \
            three"; let c = '"'; let d = '\''; let e = b"bytes";
        let f = r#"raw "x""#; for_r("last"); let g = br"rb";
    "##;
    assert_eq!(literals(source), ["one \"two\" three", "bytes", "raw \"x\"", "last", "rb"]);
}

#[test]
fn quotes_are_held_against_them() {
    let words = Words::of_source(
        r#"info!("ingest completed (dry_run={} force={})", 0, 1);
        format!("validation failed for {}: {why}"); format!("its label is \"{}\", not \"{label}\"");
        format!("{name}: refused: {reason}"); "the stick's dataset is empty"; "{}: {}"; "stick";"#,
    );
    for good in [
        "ingest completed (dry_run=0 force=0)",
        "ingest completed",
        "validation failed for /dev/sdX1",
        "validation failed for …: its label is …",
        "refused: the stick's dataset is empty",
        "… completed (dry_run=…)",
    ] {
        assert!(words.says(good), "{good}");
    }
    for bad in [
        "ingest complete",
        "ingest finished (dry_run=0 force=0)",
        "ingest completed (dryrun=0)",
        "gest completed",
        "validation failed for the wrong stick",
        "validation failed for …: its name is …",
        "refused: the stick is too old",
        "refused: stick: too old",
        "abc: def",
        "…",
    ] {
        assert!(!words.says(bad), "{bad}");
    }
    assert!(words.has("stick") && !words.has("sticks"));
}

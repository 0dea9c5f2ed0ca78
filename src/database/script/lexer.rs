//! Takes a dump apart as psql does (psqlscan.l): statements, quotes, comments, rows of `COPY`. *Pure.* Its memory is
//! bounded whatever the dump's rows and strings.

mod bulk;

use super::statement::{self, Verdict};
use super::{Contents, Table};

/// What is kept of a statement; no `COPY` of a table of 1600 columns is longer.
const MAX_HEAD: usize = 256 * 1024;
/// No `\restrict` line, comment at the end or tag that `pg_dump` writes is longer.
const MAX_SHORT: usize = 128;
const COMPLETE: &[u8] = b"PostgreSQL database dump complete";

#[derive(Default)]
enum State {
    #[default]
    Plain,
    /// Within `'…'`; with backslash escapes in `E'…'`.
    Quote {
        escapes: bool,
    },
    /// Within `"…"`.
    Name,
    /// Behind a `$` that may begin a quote.
    Tag,
    /// Within `$tag$…$tag$`, and how much of the closing tag has been seen.
    Dollar {
        seen: usize,
    },
    LineComment,
    BlockComment {
        depth: u32,
        last: u8,
    },
    /// A line that begins with a backslash.
    Meta,
    /// Behind `FROM stdin;`: the line must end here.
    CopyBegins,
    Copy,
}

#[derive(Default)]
pub(super) struct Lexer {
    state: State,
    /// What may be handed on, up to `held`.
    out: Vec<u8>,
    /// Where a statement begins that is not judged yet.
    held: Option<usize>,
    line: u64,
    /// A `-` or `/` that may begin a comment.
    dash: Option<u8>,
    /// The last two bytes of plain code.
    before: [u8; 2],
    /// A statement has begun; this is its text, as far as it is kept.
    head: Vec<u8>,
    word: Vec<u8>,
    words: Vec<String>,
    parentheses: u32,
    /// Depth of `BEGIN ATOMIC … END`.
    body: u32,
    /// Whether the last quote had escapes, and whether the next byte is escaped.
    escapes: bool,
    escaped: bool,
    /// A tag, a comment, a line of psql's, the beginning of a row.
    short: Vec<u8>,
    copied: Option<Table>,
    rows: u64,
    complete: bool,
    contents: Contents,
}

impl Lexer {
    /// The line that is being read.
    pub fn line(&self) -> u64 {
        self.line + 1
    }

    /// What may be handed on.
    pub fn ready(&self) -> &[u8] {
        self.out.get(..self.held.unwrap_or(self.out.len())).unwrap_or_default()
    }

    /// What was ready has been handed on.
    pub fn taken(&mut self) {
        self.out.drain(..self.held.unwrap_or(self.out.len()));
        self.held = self.held.map(|_| 0);
    }

    /// What was in it; nothing if it does not end as a whole dump does.
    pub fn finish(&mut self) -> Option<Contents> {
        let between = self.head.is_empty() && self.dash.is_none() && matches!(self.state, State::Plain);
        (between && self.complete).then(|| std::mem::take(&mut self.contents))
    }

    /// Reads a piece.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), &'static str> {
        while let Some(&byte) = piece.first() {
            let step = match self.state {
                State::Copy => self.row(piece),
                State::Quote { escapes: false } => self.bulk(piece, b'\''),
                State::Name => self.bulk(piece, b'"'),
                _ => {
                    self.byte(byte)?;
                    self.line += u64::from(byte == b'\n');
                    1
                }
            };
            piece = piece.get(step..).unwrap_or_default();
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), &'static str> {
        match self.state {
            State::Plain => return self.plain(byte),
            State::Quote { .. } | State::Name => {
                self.code(byte);
                let escaped = self.escaped;
                self.escaped = byte == b'\\' && !escaped;
                if byte == b'\'' && !escaped {
                    self.escaped = false;
                    self.state = State::Plain;
                }
            }
            State::Tag => return self.tag(byte),
            State::Dollar { seen } => {
                self.code(byte);
                let seen = if self.short.get(seen) == Some(&byte) { seen + 1 } else { usize::from(byte == b'$') };
                self.state = if seen == self.short.len() { State::Plain } else { State::Dollar { seen } };
            }
            State::LineComment => {
                self.out.push(byte);
                if byte == b'\n' {
                    self.complete |= self.head.is_empty() && self.short.trim_ascii() == COMPLETE;
                    self.state = State::Plain;
                } else {
                    self.keep(byte);
                }
            }
            State::BlockComment { depth, last } => {
                self.out.push(byte);
                self.state = match (last, byte, depth) {
                    (b'*', b'/', 0) => State::Plain,
                    (b'*', b'/', _) => State::BlockComment { depth: depth - 1, last: 0 },
                    (b'/', b'*', _) => State::BlockComment { depth: depth.saturating_add(1), last: 0 },
                    _ => State::BlockComment { depth, last: byte },
                };
            }
            State::Meta if byte == b'\n' => return self.meta(),
            State::Meta => self.keep(byte),
            State::CopyBegins if byte == b'\n' => {
                self.out.push(byte);
                self.short.clear();
                self.state = State::Copy;
            }
            State::CopyBegins | State::Copy => return Err("something behind \"FROM stdin;\""),
        }
        Ok(())
    }

    fn keep(&mut self, byte: u8) {
        if self.short.len() < MAX_SHORT {
            self.short.push(byte);
        }
    }

    /// A byte of a statement.
    fn code(&mut self, byte: u8) {
        if self.head.is_empty() {
            self.complete = false;
            self.held = Some(self.out.len());
        }
        self.out.push(byte);
        if self.head.len() < MAX_HEAD {
            self.head.push(byte);
        }
        self.before = [self.before[1], byte];
    }

    fn plain(&mut self, byte: u8) -> Result<(), &'static str> {
        match (self.dash.take(), byte) {
            (Some(b'-'), b'-') => return self.comment(b"--", State::LineComment),
            (Some(b'/'), b'*') => return self.comment(b"/*", State::BlockComment { depth: 0, last: 0 }),
            (Some(dash), _) => {
                self.end_word()?;
                self.code(dash);
            }
            (None, _) => {}
        }
        if is_word(byte) {
            return self.word_byte(byte);
        }
        self.end_word()?;
        match byte {
            b'-' | b'/' => self.dash = Some(byte),
            b'\\' => return self.backslash(),
            b';' if self.parentheses == 0 && self.body == 0 => return self.end_statement(),
            byte if byte.is_ascii_whitespace() && self.head.is_empty() => {
                self.out.push(byte);
                self.before = [0, byte];
            }
            byte => {
                self.state = match byte {
                    b'\'' => State::Quote { escapes: self.quote_escapes() },
                    b'"' => State::Name,
                    _ => State::Plain,
                };
                self.parentheses = match byte {
                    b'(' => self.parentheses.saturating_add(1),
                    b')' => self.parentheses.saturating_sub(1),
                    _ => self.parentheses,
                };
                if self.words.is_empty() {
                    return Err("a statement that pg_dump never writes");
                }
                self.code(byte);
            }
        }
        Ok(())
    }

    /// `E'…'`, also where a doubled quote goes on with it.
    fn quote_escapes(&mut self) -> bool {
        self.escapes = match self.before {
            [_, b'\''] => self.escapes,
            [other, b'e' | b'E'] => !is_word(other),
            _ => false,
        };
        self.escapes
    }

    fn word_byte(&mut self, byte: u8) -> Result<(), &'static str> {
        if byte == b'$' && !is_word(self.before[1]) {
            self.short = vec![byte];
            self.state = State::Tag;
        } else if self.word.len() < MAX_SHORT {
            self.word.push(byte.to_ascii_lowercase());
        }
        self.code(byte);
        Ok(())
    }

    fn tag(&mut self, byte: u8) -> Result<(), &'static str> {
        let begins = self.short.len() > 1;
        if byte == b'$' {
            self.short.push(byte);
            self.code(byte);
            self.state = State::Dollar { seen: 0 };
        } else if is_word(byte) && (begins || !byte.is_ascii_digit()) && self.short.len() < MAX_SHORT {
            self.short.push(byte);
            self.code(byte);
        } else {
            self.state = State::Plain;
            return self.plain(byte);
        }
        if self.words.is_empty() { Err("a statement that pg_dump never writes") } else { Ok(()) }
    }

    fn comment(&mut self, begin: &[u8], state: State) -> Result<(), &'static str> {
        self.end_word()?;
        self.out.extend_from_slice(begin);
        self.before = [0, b' '];
        self.short.clear();
        self.state = state;
        Ok(())
    }

    fn backslash(&mut self) -> Result<(), &'static str> {
        if !self.head.is_empty() || !matches!(self.before[1], 0 | b'\n') && self.line > 0 {
            return Err("a command of psql");
        }
        self.short = vec![b'\\'];
        self.state = State::Meta;
        Ok(())
    }

    /// The end of a line of psql's: only what `pg_dump` protects its dumps with may be there, and it is not handed on.
    fn meta(&mut self) -> Result<(), &'static str> {
        let mut words = self.short.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let known = matches!(words.next(), Some(b"\\restrict" | b"\\unrestrict"));
        let key = words.next().is_some_and(|key| key.iter().all(u8::is_ascii_alphanumeric));
        if !known || !key || words.next().is_some() || self.short.len() >= MAX_SHORT {
            return Err("a command of psql");
        }
        self.out.push(b'\n');
        self.before = [0, b'\n'];
        self.state = State::Plain;
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), &'static str> {
        if self.word.is_empty() {
            return Ok(());
        }
        let word = String::from_utf8_lossy(&std::mem::take(&mut self.word)).into_owned();
        if self.parentheses == 0 && statement::has_body(&self.words) {
            self.body = match word.as_str() {
                "begin" => self.body.saturating_add(1),
                "case" if self.body > 0 => self.body.saturating_add(1),
                "end" => self.body.saturating_sub(1),
                _ => self.body,
            };
        }
        if self.words.len() < 4 {
            self.words.push(word);
            if self.held.is_some() {
                self.judge()?;
            }
        }
        Ok(())
    }

    fn judge(&mut self) -> Result<(), &'static str> {
        if statement::judge(&self.words)? == Verdict::Pass {
            self.held = None;
        }
        Ok(())
    }

    fn end_statement(&mut self) -> Result<(), &'static str> {
        let head = String::from_utf8_lossy(&std::mem::take(&mut self.head)).into_owned();
        let words = std::mem::take(&mut self.words);
        let first = words.first().map_or("", String::as_str);
        let held = self.held.take();
        self.before = [0, b';'];
        let refused = |lexer: &mut Lexer, why| {
            lexer.held = held;
            Err(why)
        };
        match first {
            "begin" | "commit" if head.trim_ascii().eq_ignore_ascii_case(first) => {
                self.out.truncate(held.unwrap_or(self.out.len()));
                return Ok(());
            }
            "begin" | "commit" => return refused(self, "a transaction of its own"),
            "set" if statement::changes_reading(&head) => {
                return refused(self, "a setting that changes how the rest is read");
            }
            "copy" => match statement::copied_table(&head) {
                Some(table) if head.len() < MAX_HEAD => {
                    self.copied = Some(table);
                    self.rows = 0;
                    self.state = State::CopyBegins;
                }
                _ => return refused(self, "a COPY that is not FROM stdin"),
            },
            "create" => {
                if let Some(table) = statement::made_table(&head) {
                    self.contents.tables.entry(table).or_insert(Some(0));
                }
            }
            "insert" => {
                if let Some(table) = statement::filled_table(&head) {
                    self.contents.tables.insert(table, None);
                }
            }
            "select" if words.get(1..3).is_some_and(|words| words == ["pg_catalog", "lo_create"]) => {
                self.contents.large_objects = self.contents.large_objects.saturating_add(1);
            }
            "" => return Err("a statement that pg_dump never writes"),
            _ => {}
        }
        self.out.push(b';');
        Ok(())
    }
}

/// What belongs to a word: letters, digits, `_`, `$` and whatever is not ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

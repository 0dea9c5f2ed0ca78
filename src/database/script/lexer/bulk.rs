//! What most of a dump is, rows and long texts, read as fast as bytes can be searched. *Pure.*

use std::io::BufRead;

use super::{Lexer, MAX_HEAD, MAX_SHORT, State};

impl Lexer {
    /// A quoted text without escapes up to its end: as fast as bytes can be searched.
    pub(super) fn bulk(&mut self, piece: &[u8], end: u8) -> usize {
        let mut rest = piece;
        let count = rest.skip_until(end).unwrap_or_default();
        let part = piece.get(..count).unwrap_or_default();
        self.out.extend_from_slice(part);
        let room = MAX_HEAD.saturating_sub(self.head.len()).min(count);
        self.head.extend_from_slice(part.get(..room).unwrap_or_default());
        self.line += u64::try_from(part.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0);
        if part.last() == Some(&end) {
            self.before = [0, end];
            self.state = State::Plain;
        }
        count
    }

    /// A row of `COPY`, or a part of one.
    pub(super) fn row(&mut self, piece: &[u8]) -> usize {
        let mut rest = piece;
        let count = rest.skip_until(b'\n').unwrap_or_default();
        let part = piece.get(..count).unwrap_or_default();
        self.out.extend_from_slice(part);
        let room = MAX_SHORT.saturating_sub(self.short.len()).min(count);
        self.short.extend_from_slice(part.get(..room).unwrap_or_default());
        if part.last() != Some(&b'\n') {
            return count;
        }
        self.line += 1;
        if matches!(self.short.as_slice(), b"\\.\n" | b"\\.\r\n") {
            if let Some(table) = self.copied.take() {
                let rows = self.contents.tables.entry(table).or_insert(Some(0));
                *rows = rows.map(|rows| rows.saturating_add(self.rows));
            }
            self.before = [0, b'\n'];
            self.state = State::Plain;
        } else {
            self.rows = self.rows.saturating_add(1);
        }
        self.short.clear();
        count
    }
}

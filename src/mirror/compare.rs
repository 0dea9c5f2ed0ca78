//! Merges two streams of rows in the order of their keys' bytes into differences, in constant memory. *Pure.*

use std::cmp::Ordering;
use std::io::{BufRead, Read, Write};
use std::{fmt, io, mem};

use super::row::{NULL, Row, decode};
use crate::text::Shown;

/// No row that people scan is longer, bytes.
const MAX_ROW: u64 = 1 << 20;
/// The line behind the last row: it has no tab, so it can't be one. A stream that ends without it was cut off.
pub const END: &str = "END";

/// One of the two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one in service.
    Primary,
    /// The one that is to take its place.
    Mirror,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Primary => "primary",
            Side::Mirror => "mirror",
        })
    }
}

/// Why nothing can be said of the two.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The stream ended before its end.
    Cut(Side),
    /// What it holds can't be compared.
    Wrong(String),
}

/// How many rows there are, and how many of them differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the primary.
    pub primary: u64,
    /// Rows of the mirror.
    pub mirror: u64,
    /// Keys that only one has, or that have different values.
    pub different: u64,
}

/// A key of which the two databases do not say the same.
pub struct Difference<'a> {
    /// The primary's row.
    pub primary: Option<Row<'a>>,
    /// The mirror's.
    pub mirror: Option<Row<'a>>,
}

impl Difference<'_> {
    /// As a JSON object (SPEC 9).
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (reason, key) = match (&self.primary, &self.mirror) {
            (None, None) => return Ok(()),
            (None, Some(row)) => ("missing_in_primary", row),
            (Some(row), None) => ("missing_in_mirror", row),
            (Some(row), Some(_)) => ("field_mismatch", row),
        };
        out.write_all(b"{\"order_code\":")?;
        key.write_key(out)?;
        write!(out, ",\"reason\":\"{reason}\",\"diff\":")?;
        match (&self.primary, &self.mirror) {
            (Some(primary), Some(mirror)) => primary.write_difference(mirror, out)?,
            _ => out.write_all(b"{}")?,
        }
        for (name, row) in [("primary", &self.primary), ("mirror", &self.mirror)] {
            write!(out, ",\"{name}\":")?;
            match row {
                Some(row) => row.write(out)?,
                None => out.write_all(b"null")?,
            }
        }
        out.write_all(b"}")
    }
}

/// Compares two streams of COPY's lines, each ended by [`END`]; every difference is told in the order of the keys.
///
/// # Errors
/// A stream that is cut off, or whose keys are not in strictly rising byte order, are NULL, or are no rows.
pub fn compare(
    primary: impl BufRead,
    mirror: impl BufRead,
    differs: &mut dyn FnMut(&Difference<'_>),
) -> Result<Counts, Trouble> {
    let mut primary = Stream::new(Side::Primary, primary);
    let mut mirror = Stream::new(Side::Mirror, mirror);
    let mut different = 0;
    primary.advance()?;
    mirror.advance()?;
    loop {
        let order = match (primary.there, mirror.there) {
            (false, false) => break,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            // The usual case, and the fastest: byte for byte the same.
            (true, true) if primary.line == mirror.line => {
                primary.advance()?;
                mirror.advance()?;
                continue;
            }
            (true, true) => primary.key.cmp(&mirror.key),
        };
        different += 1;
        differs(&Difference {
            primary: if order.is_le() { Some(primary.row()?) } else { None },
            mirror: if order.is_ge() { Some(mirror.row()?) } else { None },
        });
        if order.is_le() {
            primary.advance()?;
        }
        if order.is_ge() {
            mirror.advance()?;
        }
    }
    Ok(Counts { primary: primary.count, mirror: mirror.count, different })
}

/// One side's stream, at one of its rows.
struct Stream<R> {
    side: Side,
    input: R,
    there: bool,
    line: Vec<u8>,
    key: Vec<u8>,
    key_before: Vec<u8>,
    count: u64,
}

impl<R: BufRead> Stream<R> {
    fn new(side: Side, input: R) -> Stream<R> {
        Stream { side, input, there: true, line: Vec::new(), key: Vec::new(), key_before: Vec::new(), count: 0 }
    }

    /// Goes to the next row, or notes that there is none.
    fn advance(&mut self) -> Result<(), Trouble> {
        self.line.clear();
        let read = (&mut self.input).take(MAX_ROW).read_until(b'\n', &mut self.line);
        if read.is_err() || self.line.pop() != Some(b'\n') {
            let long = u64::try_from(self.line.len()).unwrap_or(u64::MAX).saturating_add(1) >= MAX_ROW;
            return Err(if long {
                self.wrong("に 1 MiB を超える行があります")
            } else {
                Trouble::Cut(self.side)
            });
        }
        mem::swap(&mut self.key, &mut self.key_before);
        let Some(end) = self.line.iter().position(|byte| *byte == b'\t') else {
            self.there = false;
            let ends = self.line == END.as_bytes() && self.input.fill_buf().is_ok_and(<[u8]>::is_empty);
            return if ends { Ok(()) } else { Err(self.wrong("の行を読めません")) };
        };
        let field = self.line.get(..end).unwrap_or_default();
        if field == NULL {
            return Err(self.wrong("に order_code が NULL の行があります"));
        }
        self.key.clear();
        self.key.extend_from_slice(&decode(field));
        if self.count > 0 && self.key <= self.key_before {
            let what = if self.key == self.key_before {
                "が 2 行あります"
            } else {
                "がバイト順ではありません"
            };
            return Err(self.wrong(&format!("の order_code {} {what}", Shown(&self.key))));
        }
        self.count += 1;
        Ok(())
    }

    fn row(&self) -> Result<Row<'_>, Trouble> {
        Row::of(&self.line).ok_or_else(|| self.wrong("の行の列の数が違います"))
    }

    fn wrong(&self, what: &str) -> Trouble {
        Trouble::Wrong(format!("{} {what}", self.side))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(keys: &[&str]) -> String {
        keys.iter().map(|key| format!("{key}\tshelf\td\t1\tt\tt\n")).collect::<String>() + "END\n"
    }

    fn of(primary: &str, mirror: &str) -> Result<(Counts, String), Trouble> {
        let mut told = Vec::new();
        let mut tell = |difference: &Difference<'_>| {
            difference.write(&mut told).unwrap();
            told.push(b'\n');
        };
        let counts = compare(primary.as_bytes(), mirror.as_bytes(), &mut tell)?;
        Ok((counts, String::from_utf8(told).unwrap()))
    }

    #[test]
    fn each_kind_of_difference() {
        let (counts, told) =
            of(&stream(&["a", "b", "c", "e"]), &stream(&["b", "c", "d", "e"]).replace("c\tsh", "c\tx")).unwrap();
        assert_eq!(counts, Counts { primary: 4, mirror: 4, different: 3 });
        let a = r#"{"order_code":"a","location_code":"shelf","device_id":"d","last_scan_id":"1","scanned_at":"t","updated_at":"t"}"#;
        let (c, d) = (a.replace(":\"a\"", ":\"c\""), a.replace(":\"a\"", ":\"d\""));
        let x = c.replace("shelf", "xelf");
        let lines = [
            format!(r#"{{"order_code":"a","reason":"missing_in_mirror","diff":{{}},"primary":{a},"mirror":null}}"#),
            format!(
                r#"{{"order_code":"c","reason":"field_mismatch","diff":{{"location_code":["shelf","xelf"]}},"primary":{c},"mirror":{x}}}"#
            ),
            format!(r#"{{"order_code":"d","reason":"missing_in_primary","diff":{{}},"primary":null,"mirror":{d}}}"#),
        ];
        assert_eq!(told, lines.join("\n") + "\n");
    }

    #[test]
    fn the_order_is_that_of_the_values_bytes_not_of_their_escapes() {
        // A tab comes before "A", its escape "\t" after it.
        let (counts, _) = of(&stream(&["\\t", "A", "工", "😀"]), &stream(&["\\t", "A", "工", "😀"])).unwrap();
        assert_eq!((counts.primary, counts.different), (4, 0));
        assert_eq!(of(&stream(&[]), &stream(&[])).unwrap().0, Counts::default());
    }

    #[test]
    fn what_can_not_be_compared_never_looks_equal() {
        let good = stream(&["a", "b"]);
        let wrong = |what: &str| Err(Trouble::Wrong(format!("mirror {what}")));
        for (bad, expected) in [
            ("", Err(Trouble::Cut(Side::Mirror))),
            ("a\tshelf\td\t1\tt\tt\n", Err(Trouble::Cut(Side::Mirror))),
            ("a\tshelf\td\t1\tt\tt\nb\tshelf\td\t1\tt\tt\n", Err(Trouble::Cut(Side::Mirror))),
            ("a\tshelf\td\t1\tt\tt\nb\tshe", Err(Trouble::Cut(Side::Mirror))),
            ("a\tshelf\td\t1\tt\tt\nEND", Err(Trouble::Cut(Side::Mirror))),
            ("END\na\tshelf\td\t1\tt\tt\nEND\n", wrong("の行を読めません")),
            ("a\tshelf\td\t1\tt\tt\na\tshelf\td\t1\tt\tt\nEND\n", wrong("の order_code a が 2 行あります")),
            ("b\tshelf\td\t1\tt\tt\na\tx\td\t1\tt\tt\nEND\n", wrong("の order_code a がバイト順ではありません")),
            ("a\tshelf\nEND\n", wrong("の行の列の数が違います")),
            ("\\N\tshelf\td\t1\tt\tt\nEND\n", wrong("に order_code が NULL の行があります")),
        ] {
            assert_eq!(of(&good, bad).map(|_| ()), expected, "{bad:?}");
        }
        let long = format!("a\t{}\n", "x".repeat(1 << 20));
        assert_eq!(of(&good, &long).map(|_| ()), wrong("に 1 MiB を超える行があります"));
    }
}

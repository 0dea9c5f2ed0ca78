//! A row of `part_locations` as `COPY … TO STDOUT` writes it, and as JSON. *Pure.*

use std::borrow::Cow;
use std::io::{self, Write};

/// The columns, the key first, in the order in which they are read and written.
pub const COLUMNS: [&str; 6] = ["order_code", "location_code", "device_id", "last_scan_id", "scanned_at", "updated_at"];
/// From here on columns are times.
const FIRST_TIME: usize = 4;

/// The fields of a line, still in COPY's escapes: equal fields are equal values, also NULL.
#[derive(Clone, Copy)]
pub struct Row<'a>([&'a [u8]; COLUMNS.len()]);

impl<'a> Row<'a> {
    /// The line without its line feed; nothing if it has another number of fields.
    pub fn of(line: &'a [u8]) -> Option<Row<'a>> {
        let mut fields = line.split(|byte| *byte == b'\t');
        let mut row = [&line[..0]; COLUMNS.len()];
        for field in &mut row {
            *field = fields.next()?;
        }
        fields.next().is_none().then_some(Row(row))
    }

    /// The key, which is the same in JSON.
    pub fn write_key(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_value(0, out)
    }

    /// All of it as a JSON object.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (index, column) in COLUMNS.iter().enumerate() {
            write!(out, "{}\"{column}\":", if index == 0 { '{' } else { ',' })?;
            self.write_value(index, out)?;
        }
        out.write_all(b"}")
    }

    /// Where it differs from another row, as a JSON object: `{"column":[this,other]}`.
    pub fn write_difference(&self, other: &Row<'_>, out: &mut dyn Write) -> io::Result<()> {
        let mut first = true;
        out.write_all(b"{")?;
        for (index, column) in COLUMNS.iter().enumerate().filter(|(index, _)| self.0[*index] != other.0[*index]) {
            write!(out, "{}\"{column}\":[", if first { "" } else { "," })?;
            first = false;
            self.write_value(index, out)?;
            out.write_all(b",")?;
            other.write_value(index, out)?;
            out.write_all(b"]")?;
        }
        out.write_all(b"}")
    }

    fn write_value(&self, index: usize, out: &mut dyn Write) -> io::Result<()> {
        let field = self.0[index];
        if field == NULL {
            return out.write_all(b"null");
        }
        let value = decode(field);
        let text = String::from_utf8_lossy(&value);
        let text = if index < FIRST_TIME { text } else { Cow::Owned(iso(&text)) };
        out.write_all(serde_json::to_string(&text)?.as_bytes())
    }
}

/// How COPY writes NULL.
pub const NULL: &[u8] = b"\\N";

/// A field's value (PostgreSQL's manual, COPY, text format).
pub fn decode(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut value = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        value.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 8,
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'v') => 11,
                Some(b'f') => 12,
                Some(b'r') => b'\r',
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    Cow::Owned(value)
}

/// PostgreSQL's time in UTC (`2026-01-31 02:30:00.5+00`) as RFC 3339; `infinity`, years before Christ and whatever else
/// it may be stay as they are.
fn iso(text: &str) -> String {
    match text.strip_suffix("+00").and_then(|text| text.split_once(' ')) {
        Some((date, time)) => format!("{date}T{time}Z"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(line: &[u8]) -> String {
        let mut out = Vec::new();
        Row::of(line).unwrap().write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values() {
        let line = b"A\\tB\\\\\t\\N\t\t\\\\N\t2026-01-31 02:30:00.5+00\t-infinity";
        let expected = r#"{"order_code":"A\tB\\","location_code":null,"device_id":"","last_scan_id":"\\N",
            "scanned_at":"2026-01-31T02:30:00.5Z","updated_at":"-infinity"}"#;
        assert_eq!(json(line), expected.replace("\n            ", ""));
        assert!(
            json(b"\xff\t1\t2\t3\t0044-03-15 00:00:00+00 BC\t10000-01-01 00:00:00+00")
                .ends_with("\"scanned_at\":\"0044-03-15 00:00:00+00 BC\",\"updated_at\":\"10000-01-01T00:00:00Z\"}")
        );
        assert_eq!(decode(b"\\b\\n\\v\\f\\r\\x\\").as_ref(), b"\x08\n\x0b\x0c\rx\\");
    }

    #[test]
    fn another_number_of_fields_is_no_row() {
        for line in [&b""[..], b"a\tb\tc\td\te", b"a\tb\tc\td\te\tf\tg"] {
            assert!(Row::of(line).is_none());
        }
    }

    #[test]
    fn null_differs_from_nothing_written() {
        let (a, b) = (Row::of(b"k\t\\N\tx\t1\ta\tb").unwrap(), Row::of(b"k\t\tx\t1\ta\t\\\\N").unwrap());
        let mut out = Vec::new();
        a.write_difference(&b, &mut out).unwrap();
        assert_eq!(out, br#"{"location_code":[null,""],"updated_at":["b","\\N"]}"#);
    }
}

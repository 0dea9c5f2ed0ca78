//! Text that is safe to print: names from a stick can hold anything, and a log line must stay one line (SPEC 4, 8).

use std::fmt;

/// Bytes of a name or a message, shown so that no terminal or log reader can be fooled: control characters,
/// line separators, text-direction marks and what is not UTF-8 appear as escapes.
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if unprintable(c) {
                    write!(f, "{}", c.escape_unicode())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Control characters (C0, C1, DEL), separators that start a line, and marks that reorder text.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A number of bytes as a person reads it: `812 B`, `1.4 MiB`.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = UNITS[0];
        for next in &UNITS[1..] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        if unit == "B" { write!(f, "{} B", self.0) } else { write!(f, "{value:.1} {unit}") }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of a hexadecimal text, or nothing if it is none.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks() else { return None };
    pairs.iter().map(byte).collect()
}

/// The digits of a hash: exactly two for each byte.
pub fn unhex_exactly<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let (pairs, []) = digits.as_chunks() else { return None };
    let mut bytes = [0; BYTES];
    if pairs.len() != BYTES {
        return None;
    }
    for (to, pair) in bytes.iter_mut().zip(pairs) {
        *to = byte(pair)?;
    }
    Some(bytes)
}

fn byte([high, low]: &[u8; 2]) -> Option<u8> {
    let digit = |c: &u8| DIGITS.get(usize::from(*c)).copied().filter(|digit| *digit < 16);
    Some(digit(high)? << 4 | digit(low)?)
}

/// What each byte means as a hexadecimal digit. A table: a manifest has 64 digits a file, and runs read millions of them.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        digits[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_line() {
        assert_eq!(Shown(b"a\nb\x1b[2J").to_string(), "a\\u{a}b\\u{1b}[2J");
        assert_eq!(Shown(b"\xffx").to_string(), "\\xffx");
        assert_eq!(Shown("図面.pdf".as_bytes()).to_string(), "図面.pdf");
        assert_eq!(Shown("a\u{202e}fdp".as_bytes()).to_string(), "a\\u{202e}fdp");
    }

    #[test]
    fn bytes_and_hex() {
        assert_eq!(Bytes(812).to_string(), "812 B");
        assert_eq!(Bytes(1_468_006).to_string(), "1.4 MiB");
        assert_eq!(unhex(&hex(&[0, 0xab, 255])), Some(vec![0, 0xab, 255]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }
}

//! *Pure.* A JSON object as bytes, of which one member gets another value and everything else stays to the letter: the
//! order, the spaces, how a number is written (RFC 8259).
//!
//! More is taken for an object than a parser would: a number beyond what a machine holds, text in another encoding, a
//! comma after the last member. Such a file is somebody's too.

use std::ops::Range;

/// Notepad may put a byte order mark in front.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Where things stand in an object's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// After the opening brace.
    begin: usize,
    /// The values of the members that are looked for. A name may stand there several times.
    pub values: Vec<Range<usize>>,
    /// There is no member at all.
    is_empty: bool,
}

impl Object {
    /// Finds the members of that name; nothing in objects inside counts. `None`: the bytes are no object.
    pub fn find(bytes: &[u8], name: &str) -> Option<Object> {
        let mut text = Text { bytes, at: if bytes.starts_with(MARK) { MARK.len() } else { 0 } };
        text.space();
        text.expect(b'{')?;
        let mut object = Object { begin: text.at, values: Vec::new(), is_empty: true };
        text.space();
        while text.peek()? != b'}' {
            object.is_empty = false;
            let key = text.string()?;
            text.space();
            text.expect(b':')?;
            text.space();
            let value = text.value()?;
            if serde_json::from_slice::<String>(bytes.get(key)?).is_ok_and(|key| key == name) {
                object.values.push(value);
            }
            text.space();
            match text.peek()? {
                b',' => text.at += 1,
                b'}' => break,
                _ => return None,
            }
            text.space();
        }
        text.at += 1;
        text.space();
        (text.at == bytes.len()).then_some(object)
    }

    /// The bytes with another value for the members that were found; without one, with a first member of that name.
    pub fn with(&self, bytes: &[u8], name: &str, value: &str) -> Vec<u8> {
        let part = |range: Range<usize>| bytes.get(range).unwrap_or_default();
        let mut new = Vec::with_capacity(bytes.len() + name.len() + value.len() + 8);
        let mut done = 0;
        for old in &self.values {
            new.extend_from_slice(part(done..old.start));
            new.extend_from_slice(value.as_bytes());
            done = old.end;
        }
        if self.values.is_empty() {
            let mut text = Text { bytes, at: self.begin };
            text.space();
            new.extend_from_slice(part(0..text.at));
            new.extend_from_slice(format!("\"{name}\": {value}").as_bytes());
            if !self.is_empty {
                new.push(b',');
                new.extend_from_slice(part(self.begin..text.at));
            }
            done = text.at;
        }
        new.extend_from_slice(part(done..bytes.len()));
        new
    }
}

struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Text<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_while(&mut self, is: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&is) {
            self.at += 1;
        }
    }

    fn space(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<Range<usize>> {
        let begin = self.at;
        self.expect(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(begin..self.at)
    }

    /// Any value. What is inside another object or a list is passed by its brackets: however deep, nothing calls itself.
    fn value(&mut self) -> Option<Range<usize>> {
        let begin = self.at;
        let mut open = Vec::new();
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' => {
                    open.push(b'}');
                    self.at += 1;
                }
                b'[' => {
                    open.push(b']');
                    self.at += 1;
                }
                close @ (b'}' | b']') if !open.is_empty() => {
                    (open.pop() == Some(close)).then(|| self.at += 1)?;
                }
                b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if !open.is_empty() => self.at += 1,
                byte if is_plain(byte) => self.skip_while(is_plain),
                _ => return None,
            }
            if open.is_empty() {
                return Some(begin..self.at);
            }
        }
    }
}

/// What numbers and the three words are written with.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    const NAME: &str = "updated_at";

    fn with(text: &str) -> Option<String> {
        let object = Object::find(text.as_bytes(), NAME)?;
        Some(String::from_utf8(object.with(text.as_bytes(), NAME, "7")).unwrap())
    }

    #[test]
    fn one_value_changes_and_nothing_else() {
        for (old, new) in [
            (r#"{"updated_at": 5}"#, r#"{"updated_at": 7}"#),
            (
                "\u{feff}{\r\n\t\"a\":1.10,\"updated_at\" : \"2023\" ,\"b\":1e2}\r\n",
                "\u{feff}{\r\n\t\"a\":1.10,\"updated_at\" : 7 ,\"b\":1e2}\r\n",
            ),
            (
                r#"{"n": 12345678901234567890123, "updated_at": null, "m": -0, "big": 1e400}"#,
                r#"{"n": 12345678901234567890123, "updated_at": 7, "m": -0, "big": 1e400}"#,
            ),
            (
                r#"{"updated_at": {"updated_at": 5}, "updated_at": [5, {"x": "}"}]}"#,
                r#"{"updated_at": 7, "updated_at": 7}"#,
            ),
            (
                r#"{"a": {"updated_at": 5}, "b": "\"updated_at\": 5", "updated\u005fat":5}"#,
                r#"{"a": {"updated_at": 5}, "b": "\"updated_at\": 5", "updated\u005fat":7}"#,
            ),
            (r#"{"note": "x"}"#, r#"{"updated_at": 7,"note": "x"}"#),
            ("{\n  \"note\": \"x\"\n}\n", "{\n  \"updated_at\": 7,\n  \"note\": \"x\"\n}\n"),
            ("{}", r#"{"updated_at": 7}"#),
            (" { } ", r#" { "updated_at": 7} "#),
            (r#"{"note": "x", "updated_at": 5,}"#, r#"{"note": "x", "updated_at": 7,}"#),
        ] {
            assert_eq!(with(old).as_deref(), Some(new), "{old}");
        }
    }

    #[test]
    fn text_in_another_encoding_stays() {
        let old = b"{\"note\": \"\x8d\x48\x8b\xef\", \"updated_at\": 5}"; // 工具, Shift JIS
        let object = Object::find(old, NAME).unwrap();
        assert_eq!(object.with(old, NAME, "7"), b"{\"note\": \"\x8d\x48\x8b\xef\", \"updated_at\": 7}");
    }

    #[test]
    fn no_object() {
        for text in [
            "",
            " ",
            "[]",
            "5",
            "null",
            "\"updated_at\"",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1}}",
            "{\"a\":1} x",
            "{\"a\":1 \"b\":2}",
            "{,}",
            "{\"a\":\"x}",
            "{\"a\":[}]}",
            "{\"a\":\"\\\"}",
            "{'a':1}",
            "// x\n{\"a\":1}",
            "{\"a\\",
        ] {
            assert_eq!(Object::find(text.as_bytes(), NAME), None, "{text}");
        }
        assert!(Object::find("{\"a\":".repeat(20_000).as_bytes(), NAME).is_none());
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(Object::find(deep.as_bytes(), NAME).is_some());
    }

    /// Numbers that look random and are the same in each run (xorshift64, Marsaglia 2003).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % end as u64).unwrap()
        }

        fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
            of[self.below(of.len())]
        }

        fn space(&mut self) -> &'static str {
            self.one_of(&["", "", "", " ", "\n  ", "\t", "\r\n"])
        }

        fn value(&mut self, depth: usize) -> String {
            match self.below(if depth > 3 { 2 } else { 4 }) {
                0 => self
                    .one_of(&["0", "-1", "1.10", "1e3", "18446744073709551615", "true", "null", "-0.5E-3"])
                    .to_owned(),
                1 => format!(
                    "\"{}\"",
                    self.one_of(&["", "}", "\\\"", "\\\\", "a,b:c", "updated_at", "図", "\\u005f", "[{"])
                ),
                2 => {
                    let values: Vec<String> = (0..self.below(4)).map(|_| self.value(depth + 1)).collect();
                    format!("[{}{}{}]", self.space(), values.join(","), self.space())
                }
                _ => self.object(depth + 1),
            }
        }

        fn object(&mut self, depth: usize) -> String {
            let members: Vec<String> = (0..self.below(5))
                .map(|_| {
                    let key = self.one_of(&["updated_at", "note", "updated_at2", "", "a\\\"", "updated\\u005fat", "}"]);
                    format!(
                        "{}\"{key}\"{}:{}{}{}",
                        self.space(),
                        self.space(),
                        self.space(),
                        self.value(depth),
                        self.space()
                    )
                })
                .collect();
            format!("{{{}{}}}", members.join(","), self.space())
        }
    }

    fn without(mut keys: Map<String, Value>) -> Map<String, Value> {
        keys.remove(NAME);
        keys
    }

    /// Held against a parser: what it calls an object is one, only that member differs afterwards, and what is outside of
    /// the values that were found is the same bytes.
    #[test]
    fn a_parser_agrees() {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut objects = 0;
        for round in 0..6000 {
            let mut text = format!("{}{}{}", numbers.space(), numbers.object(0), numbers.space()).into_bytes();
            if round % 3 == 2 {
                // Damaged: whether a parser takes it or not, nothing but the member may change.
                let at = numbers.below(text.len());
                text[at] = b"{}[]\",:\\ x1"[numbers.below(11)];
            }
            let parsed = serde_json::from_slice::<Map<String, Value>>(&text);
            let shown = String::from_utf8_lossy(&text).into_owned();
            let Some(object) = Object::find(&text, NAME) else {
                assert!(parsed.is_err(), "{shown}");
                continue;
            };
            let new = object.with(&text, NAME, "7");
            let again = Object::find(&new, NAME).unwrap();
            assert!(
                !again.values.is_empty() && again.values.iter().all(|value| &new[value.clone()] == b"7"),
                "{shown}"
            );
            if !object.values.is_empty() {
                let outside = |bytes: &[u8], values: &[Range<usize>]| {
                    let mut rest = bytes.to_vec();
                    values.iter().rev().for_each(|value| drop(rest.drain(value.clone())));
                    rest
                };
                assert_eq!(outside(&text, &object.values), outside(&new, &again.values), "{shown}");
            }
            if let Ok(keys) = parsed {
                objects += 1;
                let last =
                    object.values.last().map(|value| serde_json::from_slice::<Value>(&text[value.clone()]).unwrap());
                assert_eq!(last.as_ref(), keys.get(NAME), "{shown}");
                let changed: Map<String, Value> = serde_json::from_slice(&new).unwrap();
                assert_eq!(changed.get(NAME), Some(&Value::from(7)), "{shown}");
                assert_eq!(without(changed), without(keys), "{shown}");
            }
        }
        assert!(objects > 4000, "{objects}");
    }
}

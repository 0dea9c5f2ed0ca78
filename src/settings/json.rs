//! A JSON object as it is written: members in their order, values to the letter. *Pure.* Nothing is lost of a number's digits or
//! of a file's style, and it costs less than a tree of values.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Keys and values; a key that is there twice is here twice.
pub struct Object<'a>(pub Vec<(String, &'a str)>);

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            members.push((key, value.get()));
        }
        Ok(members)
    }
}

impl<'a> Object<'a> {
    /// Reads a text that holds one object and nothing else.
    ///
    /// # Errors
    /// Where it is none, for an operator.
    pub fn parse(text: &'a str) -> Result<Object<'a>, String> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(Members).and_then(|members| deserializer.end().map(|()| members));
        members.map(Object).map_err(|error| {
            format!("JSON のオブジェクトとして読めません({} 行 {} 文字目)", error.line(), error.column())
        })
    }

    /// A key's value as it is written. The last of several counts, as it does for most programs.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(other, _)| other == key).map(|(_, value)| *value)
    }
}

/// The text that a value is, if it is one.
pub fn text(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

//! Changes a few keys of the Pi Zero's `config.json`. *Pure.* Every other key, its value to the letter, the order and the
//! file's indentation stay: other programs and people own that file too.

use crate::settings::json::{Object, text};

/// What is to become of a key.
pub enum Change<'a> {
    /// It gets this text as its value.
    Text(&'a str),
    /// It gets this text if it is not there.
    TextIfAbsent(&'a str),
    /// It gets true or false.
    Flag(bool),
    /// It goes.
    Remove,
}

/// The values of two keys as they are written, for people to read; nothing where a key is not there.
///
/// # Errors
/// Why it is no JSON object.
pub fn look<'a>(text: &'a str, keys: [&str; 2]) -> Result<[Option<&'a str>; 2], String> {
    let object = Object::parse(text)?;
    Ok(keys.map(|key| object.get(key)))
}

/// The text with its keys changed; `None` if it says all that already.
///
/// # Errors
/// Why it is no JSON object.
pub fn change(text: &str, changes: &[(&str, Change<'_>)]) -> Result<Option<String>, String> {
    let Object(members) = Object::parse(text)?;
    let mut values: Vec<String> = Vec::new();
    for (_, change) in changes {
        values.push(match change {
            Change::Text(text) | Change::TextIfAbsent(text) => serde_json::to_string(text).unwrap_or_default(),
            Change::Flag(flag) => flag.to_string(),
            Change::Remove => String::new(),
        });
    }
    let mut after = members.clone();
    for ((key, change), value) in changes.iter().zip(&values) {
        let first = after.iter().position(|(other, _)| other == key);
        match (change, first) {
            (Change::TextIfAbsent(_), Some(_)) => {}
            (Change::Remove, _) => after.retain(|(other, _)| other != key),
            (_, None) => after.push(((*key).to_owned(), value)),
            (_, Some(first)) => {
                let mut index = 0..;
                after.retain(|(other, _)| index.next() == Some(first) || other != key);
                if let Some((_, old)) = after.get_mut(first).filter(|(_, old)| !same(old, value)) {
                    *old = value;
                }
            }
        }
    }
    Ok(if after == members { None } else { Some(written(&after, text)) })
}

/// Whether two values are the same text or flag, however their letters are escaped.
fn same(a: &str, b: &str) -> bool {
    a == b || text(a).is_some_and(|a| text(b).as_ref() == Some(&a))
}

/// The members in the style of the text that they come from: its indentation, its blanks and its end.
fn written(members: &[(String, &str)], like: &str) -> String {
    let open = like.find('{').unwrap_or(0);
    let inside = like.get(open + 1..).unwrap_or_default();
    let blank = |text: &str| text.len() - text.trim_start().len();
    let indent = match inside.get(..blank(inside)).unwrap_or_default() {
        // An empty object shows no style.
        _ if inside.trim_start().starts_with('}') => "\n  ",
        indent => indent,
    };
    let spaced = inside.contains("\": ") || !inside.contains("\":");
    let colon = if spaced { ": " } else { ":" };
    let comma = if spaced && !indent.contains('\n') { ", " } else { "," };
    let close = if indent.contains("\r\n") { "\r\n" } else { "\n" };
    let mut out = like.get(..=open).unwrap_or_default().to_owned();
    for (number, (key, value)) in members.iter().enumerate() {
        if number > 0 {
            out.push_str(comma);
        }
        if number == 0 || indent.contains('\n') {
            out.push_str(indent);
        }
        out.push_str(&serde_json::to_string(key).unwrap_or_default());
        out.push_str(colon);
        out.push_str(value);
    }
    out.push_str(if indent.contains('\n') { close } else { indent });
    out.push_str(like.rfind('}').and_then(|end| like.get(end..)).unwrap_or("}"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enable(text: &str) -> Option<String> {
        let changes = [
            ("mirror_mode", Change::Flag(true)),
            ("mirror_endpoint", Change::Text("http://mirror/\"図\"")),
            ("primary_endpoint", Change::TextIfAbsent("http://primary")),
        ];
        change(text, &changes).unwrap()
    }

    fn disable(text: &str) -> Option<String> {
        change(text, &[("mirror_mode", Change::Flag(false)), ("mirror_endpoint", Change::Remove)]).unwrap()
    }

    const SITE: &str = r#"{
    "device_id": "HANDHELD-01",
    "mirror_mode": false,
    "big": 12345678901234567890.10,
    "nested": {"b": 1,
        "a": [1,  2]},
    "primary_endpoint": "http://old",
    "名": "\u56f3"
}
"#;

    #[test]
    fn all_else_stays_to_the_letter_and_there_and_back_is_the_same_file() {
        let on = enable(SITE).unwrap();
        let expected = SITE
            .replace("\"mirror_mode\": false", "\"mirror_mode\": true")
            .replace("\"\\u56f3\"\n", "\"\\u56f3\",\n    \"mirror_endpoint\": \"http://mirror/\\\"図\\\"\"\n");
        assert_eq!(on, expected);
        assert_eq!(enable(&on), None, "again");
        assert_eq!(disable(&on).unwrap(), SITE);
        assert_eq!(disable(SITE), None);
    }

    #[test]
    fn other_styles() {
        let ends = "\"mirror_mode\":true,\"mirror_endpoint\":\"http://mirror/\\\"図\\\"\",\"primary_endpoint\":\"http://primary\"}";
        assert_eq!(enable("{\"a\":1}").unwrap(), format!("{{\"a\":1,{ends}"));
        let spaced = ends.replace("\":", "\": ").replace(",\"", ", \"");
        assert_eq!(enable("{ \"a\": 1 }").unwrap(), format!("{{ \"a\": 1, {}", spaced.replace('}', " }")));
        assert_eq!(enable("{\"a\": 1}").unwrap(), format!("{{\"a\": 1, {spaced}"));
        assert!(enable("{}").unwrap().starts_with("{\n  \"mirror_mode\": true,\n  \"mirror_endpoint\""));
        let windows = enable("{\r\n\t\"a\": 1\r\n}\r\n").unwrap();
        assert!(
            windows.starts_with("{\r\n\t\"a\": 1,\r\n\t\"mirror_mode\": true,") && windows.ends_with("\"\r\n}\r\n")
        );
        for text in [SITE, "{}", "{\"a\":1}", " { \"a\": {} } \n"] {
            let value: serde_json::Value = serde_json::from_str(&enable(text).unwrap()).unwrap();
            assert_eq!(value["mirror_mode"], true);
        }
    }

    #[test]
    fn a_key_twice_counts_once_afterwards() {
        let on = enable("{\"mirror_mode\":false,\"x\":1,\"x\":2,\"mirror_mode\":true}").unwrap();
        assert!(on.starts_with("{\"mirror_mode\":true,\"x\":1,\"x\":2,\"mirror_endpoint\""), "{on}");
        assert_eq!(look("{\"a\":1,\"a\":\"2\"}", ["a", "b"]).unwrap(), [Some("\"2\""), None]);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "{\"a\":1", "{'a':1}", "{\"a\":1} x", "null", "\u{feff}{}"] {
            assert!(change(text, &[]).is_err(), "{text}");
        }
    }

    #[test]
    fn an_escaped_value_is_the_same_value() {
        assert_eq!(change("{\"e\":\"\\u56f3\"}", &[("e", Change::Text("図"))]).unwrap(), None);
    }
}

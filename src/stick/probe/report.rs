//! The answer as text for people and as JSON for programs. Pure.

use serde::Serialize;

use super::{NotAStick, Superblock};

/// One answer; keys that do not apply are left out.
#[derive(Default, Serialize)]
struct Report<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    fstype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirty: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// One line of JSON without a line end: `type`, `label`, `uuid`, `size` (bytes), `dirty`; or `error` (see
/// [`NotAStick::word`]) and `message`.
#[must_use]
pub fn to_json(result: &Result<Superblock, NotAStick>) -> String {
    let report = match result {
        Ok(found) => Report {
            fstype: Some(found.fstype.name()),
            label: Some(&found.label),
            uuid: Some(&found.uuid),
            size: Some(found.size),
            dirty: Some(found.dirty),
            ..Report::default()
        },
        Err(error) => Report { error: Some(error.word()), message: Some(error.to_string()), ..Report::default() },
    };
    // Cannot fail: no map with odd keys and no number that JSON lacks is in it.
    serde_json::to_string(&report).unwrap_or_default()
}

/// Lines of `key: value` in the order and with the keys of [`to_json`], each with its line end.
#[must_use]
pub fn to_text(result: &Result<Superblock, NotAStick>) -> String {
    match result {
        Ok(found) => format!(
            "type: {}\nlabel: {}\nuuid: {}\nsize: {}\ndirty: {}\n",
            found.fstype,
            found.label,
            found.uuid,
            found.size,
            if found.dirty { "yes" } else { "no" },
        ),
        Err(error) => format!("error: {}\nmessage: {error}\n", error.word()),
    }
}

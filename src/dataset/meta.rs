//! `meta.json`: when a dataset was last changed, and what stands in for it where it can't be read (SPEC 6).

use std::io::Read;

use serde_json::{Map, Value};

use crate::clock::{Belief, parse_rfc3339};
use crate::error::{Error, Result};
use crate::os::dir::Dir;

/// Its name in a dataset's directory.
pub const NAME: &[u8] = b"meta.json";
/// More than this is no meta.json of ours.
const MAX_SIZE: u64 = 64 * 1024;

/// What a dataset's `meta.json` says.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// Its `updated_at` in unix seconds, whether believable or not.
    pub claimed: Option<i64>,
    /// When the file itself was last changed, unix seconds; none if there is no such file.
    pub mtime: Option<i64>,
    /// All its keys.
    pub keys: Map<String, Value>,
}

impl Meta {
    /// Reads it from a dataset's directory. Whatever it holds makes it unreadable at worst, never an error; anything but
    /// a file in its place is no `meta.json`.
    ///
    /// # Errors
    /// `Io`, `Unreadable` if the medium can't be read: a time must not be guessed then.
    pub fn read(dir: &Dir) -> Result<Meta> {
        let Some((file, entry)) = dir.read_if_there(NAME)? else {
            return Ok(Meta::default());
        };
        let mtime = Some(entry.mtime.div_euclid(1_000_000_000));
        let mut bytes = Vec::new();
        let read = file.take(MAX_SIZE + 1).read_to_end(&mut bytes);
        read.map_err(|source| Error::Unreadable { path: dir.shown(NAME), source })?;
        if bytes.len() as u64 > MAX_SIZE {
            return Ok(Meta { mtime, ..Meta::default() });
        }
        let keys = parse(&bytes).unwrap_or_default();
        Ok(Meta { claimed: keys.get("updated_at").and_then(seconds), mtime, keys })
    }

    /// The dataset's time: `updated_at`, else the file's own time, else (no file) that of the newest of the dataset's
    /// files, each only if it is plausible; else 0. `newest_file`: unix seconds.
    pub fn time(&self, newest_file: i64, belief: &Belief) -> i64 {
        let stand_in = self.mtime.unwrap_or(newest_file);
        [self.claimed, Some(stand_in)].into_iter().flatten().find(|time| belief.plausible(*time)).unwrap_or(0)
    }

    /// The file's content with another time, its other keys kept.
    pub fn with_time(&self, time: i64) -> Vec<u8> {
        let mut keys = self.keys.clone();
        keys.insert("updated_at".to_owned(), Value::from(time));
        let mut content = Value::Object(keys).to_string().into_bytes();
        content.push(b'\n');
        content
    }
}

/// A dataset's `meta.json` as it stands, if it is a file of a size that it may have.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn bytes(dir: &Dir) -> Result<Option<Vec<u8>>> {
    let Some((file, entry)) = dir.read_if_there(NAME)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(MAX_SIZE)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Unreadable { path: dir.shown(NAME), source })?;
    Ok(Some(bytes).filter(|_| entry.size <= MAX_SIZE))
}

/// The keys of a `meta.json`; Windows' Notepad may have put a byte order mark in front.
pub fn parse(bytes: &[u8]) -> Option<Map<String, Value>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).ok()
}

/// Unix seconds of an `updated_at`: a number, or a number or RFC 3339 time as text.
pub fn seconds(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| parse_rfc3339(text)).or_else(|| text.parse().ok().and_then(whole))
        }
        _ => None,
    }
}

/// A number with a fraction, cut; what no clock shows is none.
fn whole(number: f64) -> Option<i64> {
    (number.abs() < 1e15).then_some(number.floor() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELIEF: Belief = Belief { now: 1_790_000_000, newest: 0, believed: true };

    fn read(text: &str) -> Option<i64> {
        parse(text.as_bytes()).as_ref().and_then(|keys| keys.get("updated_at")).and_then(seconds)
    }

    #[test]
    fn forms_of_a_time() {
        assert_eq!(read(r#"{"updated_at": 1700000000}"#), Some(1_700_000_000));
        assert_eq!(read(r#"{"updated_at": 1700000000.9}"#), Some(1_700_000_000));
        assert_eq!(read(r#"{"updated_at": "1700000000"}"#), Some(1_700_000_000));
        assert_eq!(read(r#"{"updated_at": "2023-11-14T22:13:20Z"}"#), Some(1_700_000_000));
        assert_eq!(read("\u{feff}{\"updated_at\": 5}"), Some(5));
        for bad in
            [r#"{"updated_at": "2023-11-14"}"#, r#"{"updated_at": 1e308}"#, r#"{"updated_at": "NaN"}"#, "{}", "", "[1]"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn fallbacks() {
        let claimed = Meta { claimed: Some(1_700_000_000), mtime: Some(1_700_000_009), ..Meta::default() };
        assert_eq!(claimed.time(0, &BELIEF), 1_700_000_000);
        let future = Meta { claimed: Some(4_000_000_000), ..claimed.clone() };
        assert_eq!(future.time(0, &BELIEF), 1_700_000_009, "its own time");
        let both = Meta { mtime: Some(-5), ..future };
        assert_eq!(both.time(1_700_000_000, &BELIEF), 0, "a file that is there keeps the files' times out");
        assert_eq!(Meta::default().time(1_700_000_000, &BELIEF), 1_700_000_000);
        assert_eq!(Meta::default().time(5, &BELIEF), 0);
    }

    #[test]
    fn other_keys_stay() {
        let meta = Meta { keys: parse(br#"{"note": "x", "updated_at": 5}"#).unwrap(), ..Meta::default() };
        assert_eq!(meta.with_time(7), b"{\"note\":\"x\",\"updated_at\":7}\n");
    }
}

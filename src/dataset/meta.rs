//! `meta.json`: when a dataset was last changed, and what stands in for it where it can't be read (SPEC 6).

mod object;

use std::io::Read;

use log::warn;
use object::Object;
use serde_json::Value;

use super::Dataset;
use crate::clock::{Belief, parse_rfc3339};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};

/// Its name in a dataset's directory.
pub const NAME: &[u8] = b"meta.json";
/// More than this is no meta.json of ours.
const MAX_SIZE: u64 = 16 * 1024 * 1024;
/// The key of its time.
const TIME: &str = "updated_at";

/// What a dataset's `meta.json` says.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// Its `updated_at` in unix seconds, whether believable or not.
    pub claimed: Option<i64>,
    /// When the file itself was last changed, unix seconds; none if there is no such file.
    pub mtime: Option<i64>,
    /// The file as it stands: what else people and programs keep in it is not ours to change.
    pub bytes: Vec<u8>,
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
        Ok(Meta { claimed: claimed(&bytes), mtime, bytes })
    }

    /// The dataset's time: `updated_at`, else the file's own time, else (no file) that of the newest of the dataset's
    /// files, each only if it is plausible; else 0. `newest_file`: unix seconds.
    pub fn time(&self, newest_file: i64, belief: &Belief) -> i64 {
        let stand_in = self.mtime.unwrap_or(newest_file);
        [self.claimed, Some(stand_in)].into_iter().flatten().find(|time| belief.plausible(*time)).unwrap_or(0)
    }

    /// Whether something is in it that is lost with a new time: it is no JSON object, and not empty.
    pub fn is_odd(&self) -> bool {
        !self.bytes.trim_ascii().is_empty() && Object::find(&self.bytes, TIME).is_none()
    }

    /// Whether two differ in more than their times.
    pub fn differs(&self, other: &Meta) -> bool {
        self.mtime.is_some() && self.with_time(0).trim_ascii() != other.with_time(0).trim_ascii()
    }

    /// The file's content with another time and nothing else changed; of what is no JSON object nothing is kept.
    pub fn with_time(&self, time: i64) -> Vec<u8> {
        match Object::find(&self.bytes, TIME) {
            Some(object) => object.with(&self.bytes, TIME, &time.to_string()),
            None => format!("{{\"{TIME}\": {time}}}\n").into_bytes(),
        }
    }
}

/// Gives a directory called `meta.json` another name, and a file larger than any of ours: it is people's, and no `meta.json` can be written beside it.
///
/// # Errors
/// `Io`.
pub fn make_way(dir: &Dir, dataset: Dataset, place: &str) -> Result<()> {
    let what = match dir.look(NAME)? {
        Some(Entry { kind: Kind::Dir, .. }) if !dir.remove_dir(NAME)? => "a directory",
        Some(Entry { kind: Kind::File, size, .. }) if size > MAX_SIZE => "a large file",
        _ => return Ok(()),
    };
    for number in 1..100 {
        let name = format!("meta.json-{number}");
        if dir.look(name.as_bytes())?.is_none() {
            dir.rename_new(NAME, dir, name.as_bytes())?;
            warn!("{}: on {place} {what} was called meta.json; it is called {name} now", dataset.name());
            return dir.sync();
        }
    }
    Ok(())
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

/// The `updated_at` of a `meta.json`, if it can be read; the last one where there are several, as parsers have it.
pub fn claimed(bytes: &[u8]) -> Option<i64> {
    let value = Object::find(bytes, TIME)?.values.pop()?;
    seconds(&serde_json::from_slice(bytes.get(value)?).ok()?)
}

/// Unix seconds of an `updated_at`: a number, or a number or RFC 3339 time as text.
fn seconds(value: &Value) -> Option<i64> {
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

    #[test]
    fn forms_of_a_time() {
        assert_eq!(claimed(br#"{"updated_at": 1700000000}"#), Some(1_700_000_000));
        assert_eq!(claimed(br#"{"updated_at": 1700000000.9}"#), Some(1_700_000_000));
        assert_eq!(claimed(br#"{"updated_at": "1700000000"}"#), Some(1_700_000_000));
        assert_eq!(claimed(br#"{"updated_at": "2023-11-14T22:13:20Z"}"#), Some(1_700_000_000));
        assert_eq!(claimed("\u{feff}{\"updated_at\": 5}".as_bytes()), Some(5));
        for bad in
            [r#"{"updated_at": "2023-11-14"}"#, r#"{"updated_at": 1e308}"#, r#"{"updated_at": "NaN"}"#, "{}", "", "[1]"]
        {
            assert_eq!(claimed(bad.as_bytes()), None, "{bad}");
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
    fn another_time_leaves_the_rest() {
        let with_time = |bytes: &[u8]| {
            let meta = Meta { bytes: bytes.to_vec(), ..Meta::default() };
            String::from_utf8(meta.with_time(7)).unwrap()
        };
        assert_eq!(
            with_time(br#"{"note": "x", "rev": 1.10, "updated_at": "5" }"#),
            r#"{"note": "x", "rev": 1.10, "updated_at": 7 }"#
        );
        for nothing in [&b""[..], b"[1]", b"{", b"\xff\xfe{\0}\0"] {
            assert_eq!(with_time(nothing), "{\"updated_at\": 7}\n");
        }
    }
}

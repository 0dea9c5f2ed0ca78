//! Manifests: the files of a dataset with size, time and SHA-256, in walk order, written and read as a stream.
//!
//! The format is JSON with one file a line, so that a manifest of a million files is read in constant memory:
//! ```text
//! {"version":1,"state":"complete","server":"…","runs":{"master":"…"},"files":[
//! {"path":"master/a.csv","size":12,"mtime_ns":1700000000000000000,"sha256":"…"},
//! …
//! {"count":1}]}
//! ```
//! The last line proves that it is whole. A path that is not UTF-8 stands as hexadecimal in `path_hex`.

pub mod counts;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};

use self::counts::Counts;
use crate::os::dir::Entry;
use crate::text::{hex, unhex, unhex_exactly};

/// The longest path that is taken: a hundred levels, as deep as a walk goes, of names of 255 bytes (Linux `NAME_MAX`), with their dataset. Nothing
/// here opens a path as a whole, so `PATH_MAX` does not count.
const MAX_PATH: usize = 26 * 1024;
/// The longest line that is read: such a path, each byte escaped, and the rest.
const MAX_LINE: u64 = 160 * 1024;
/// The longest first line: in a snapshot it names the tables of a database.
const MAX_FIRST_LINE: u64 = 8 << 20;

/// The highest number of a snapshot: far more than a server takes, so that nothing that is foreign can use them up.
const MAX_SEQ: u64 = 1_000_000_000;

/// Whether what a manifest describes is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A run is changing the stick, or was cut off while it did.
    Incomplete,
    /// All files are there.
    Complete,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// 1.
    pub version: u32,
    /// Whether the files are all there.
    pub state: State,
    /// The id of the server that wrote it.
    pub server: String,
    /// For each dataset the id of the run that its files are from.
    pub runs: BTreeMap<String, String>,
    /// For each dataset: on an INGEST stick when both sides held its files, unix seconds; on a DIST stick the number of the export, which grows with each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub times: BTreeMap<String, i64>,
    /// On a stick: the run that wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    /// In the server's copy: the digest of the manifest that the stick may still have, if it was pulled before it got this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<String>,
    /// In a snapshot: its place in the order of all snapshots of the server.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seq: Option<u64>,
    /// In a snapshot: when it was taken, unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub taken: Option<i64>,
    /// In a snapshot: which of its parts hold anything; none in those of the first version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub filled: Option<Vec<String>>,
    /// In a snapshot: what its dump holds, as the database counted it in the dump's own transaction.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub database: Option<Box<Counts>>,
}

impl Header {
    /// A complete manifest of a server.
    pub fn complete(server: &str) -> Header {
        Header {
            version: 1,
            state: State::Complete,
            server: server.to_owned(),
            runs: BTreeMap::new(),
            times: BTreeMap::new(),
            run: None,
            previous: None,
            seq: None,
            taken: None,
            filled: None,
            database: None,
        }
    }
}

impl Header {
    /// Whether the files are all there.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Path below the tree's root, components separated by `/`.
    pub path: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Last change, nanoseconds since 1970, as read back from the medium.
    pub mtime: i64,
    /// SHA-256 of the content; none while it was only planned to be written.
    pub sha256: Option<[u8; 32]>,
}

impl Listed {
    /// A file of that path, as the system sees it.
    pub fn of(path: &[u8], entry: &Entry, sha256: Option<[u8; 32]>) -> Listed {
        Listed { path: path.to_vec(), size: entry.size, mtime: entry.mtime, sha256 }
    }
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    path: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    path_hex: Option<String>,
    size: u64,
    mtime_ns: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sha256: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Tail {
    count: u64,
}

/// Order of paths as a walk meets them: component by component, so that `a/b` comes before `a.b`.
pub fn path_order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

/// Writes a manifest as the files are met.
pub struct Writer<W: Write> {
    out: BufWriter<W>,
    count: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the first line.
    ///
    /// # Errors
    /// Of the writer.
    pub fn new(out: W, header: &Header) -> std::io::Result<Writer<W>> {
        let mut out = BufWriter::new(out);
        let line = serde_json::to_string(header)?;
        out.write_all(line.strip_suffix('}').unwrap_or(&line).as_bytes())?;
        out.write_all(b",\"files\":[\n")?;
        Ok(Writer { out, count: 0 })
    }

    /// Writes the next file.
    ///
    /// # Errors
    /// Of the writer.
    pub fn push(&mut self, file: &Listed) -> std::io::Result<()> {
        let text = std::str::from_utf8(&file.path).ok();
        let line = Line {
            path: text.map(std::borrow::Cow::Borrowed),
            path_hex: if text.is_none() { Some(hex(&file.path)) } else { None },
            size: file.size,
            mtime_ns: file.mtime,
            sha256: file.sha256.map(|sha256| hex(&sha256)),
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b",\n")?;
        self.count += 1;
        Ok(())
    }

    /// Writes the last line and gives the writer back.
    ///
    /// # Errors
    /// Of the writer.
    pub fn finish(mut self) -> std::io::Result<W> {
        serde_json::to_writer(&mut self.out, &Tail { count: self.count })?;
        self.out.write_all(b"]}\n")?;
        self.out.into_inner().map_err(std::io::IntoInnerError::into_error)
    }
}

/// A place in a manifest that is being written.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    length: u64,
    count: u64,
}

impl Writer<File> {
    /// Where it is now.
    ///
    /// # Errors
    /// Of the file.
    pub fn mark(&mut self) -> std::io::Result<Mark> {
        Ok(Mark { length: self.out.stream_position()?, count: self.count })
    }

    /// Forgets the files that were written since.
    ///
    /// # Errors
    /// Of the file.
    pub fn back_to(&mut self, mark: Mark) -> std::io::Result<()> {
        // Seeking writes out what is held, so that nothing of it comes after the cut.
        self.out.seek(SeekFrom::Start(mark.length))?;
        self.out.get_ref().set_len(mark.length)?;
        self.count = mark.count;
        Ok(())
    }
}

/// Reads a manifest file by file.
pub struct Reader<R: Read> {
    input: BufReader<R>,
    header: Header,
    line: Vec<u8>,
    last: Vec<u8>,
    count: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// Of the reader; `InvalidData` if it is no manifest of ours.
    pub fn new(input: R) -> std::io::Result<Reader<R>> {
        let mut reader = Reader {
            input: BufReader::new(input),
            header: Header { state: State::Incomplete, ..Header::complete("") },
            line: Vec::new(),
            last: Vec::new(),
            count: 0,
            ended: false,
        };
        reader.read_line(MAX_FIRST_LINE)?;
        let start = reader.line.strip_suffix(b",\"files\":[").ok_or_else(|| invalid("its first line"))?;
        let header =
            serde_json::from_slice::<Header>(&[start, b"}"].concat()).map_err(|_| invalid("its first line"))?;
        if header.version != 1 {
            return Err(invalid("its version"));
        }
        if header.seq.is_some_and(|number| number > MAX_SEQ) {
            return Err(invalid("its number"));
        }
        reader.header = header;
        Ok(reader)
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next file; `None` at a sound end. Paths are below the root, without `.` and `..`, in walk order, each once.
    ///
    /// # Errors
    /// Of the reader; `InvalidData` if it is cut off or not as a manifest must be.
    pub fn next_file(&mut self) -> std::io::Result<Option<Listed>> {
        if self.ended {
            return Ok(None);
        }
        self.read_line(MAX_LINE)?;
        if let Some(tail) = self.line.strip_suffix(b"]}") {
            let tail = serde_json::from_slice::<Tail>(tail).map_err(|_| invalid("its last line"))?;
            if tail.count != self.count {
                return Err(invalid("its count of files"));
            }
            self.ended = true;
            return Ok(None);
        }
        let file = parse_file(&self.line).ok_or_else(|| invalid("the line of a file"))?;
        if self.count > 0 && path_order(&self.last, &file.path).is_ge() {
            return Err(invalid("the order of its files"));
        }
        self.count += 1;
        self.last.clone_from(&file.path);
        Ok(Some(file))
    }

    fn read_line(&mut self, longest: u64) -> std::io::Result<()> {
        self.line.clear();
        (&mut self.input).take(longest).read_until(b'\n', &mut self.line)?;
        if self.line.pop() == Some(b'\n') { Ok(()) } else { Err(invalid("its end: it is cut off")) }
    }
}

fn parse_file(line: &[u8]) -> Option<Listed> {
    let line = line.strip_suffix(b",")?;
    let file = plain(line).or_else(|| any(line))?;
    let sound = file.path.len() <= MAX_PATH
        && !file.path.contains(&0)
        && file.path.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b"." && part != b"..");
    sound.then_some(file)
}

/// A line as JSON, whoever wrote it.
fn any(line: &[u8]) -> Option<Listed> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let path = match (line.path, line.path_hex) {
        (Some(path), None) => path.into_owned().into_bytes(),
        (None, Some(digits)) => unhex(&digits)?,
        _ => return None,
    };
    let sha256 = match line.sha256 {
        Some(digits) => Some(unhex_exactly(digits.as_bytes())?),
        None => None,
    };
    Some(Listed { path, size: line.size, mtime: line.mtime_ns, sha256 })
}

/// A line exactly as [`Writer::push`] makes nearly all of them: read in a tenth of the time that JSON at large takes, and
/// each run reads some manifests several times. Anything else is left to the JSON parser.
fn plain(line: &[u8]) -> Option<Listed> {
    let rest = line.strip_prefix(br#"{"path":""#)?;
    let (path, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'"')?)?;
    let (size, rest) = number(rest.strip_prefix(br#"","size":"#)?)?;
    let (mtime, rest) = number(rest.strip_prefix(br#","mtime_ns":"#)?)?;
    let sha256 = rest.strip_prefix(br#","sha256":""#)?.strip_suffix(br#""}"#)?;
    let unescaped = path.iter().all(|byte| *byte >= b' ' && *byte != b'\\') && std::str::from_utf8(path).is_ok();
    let (mtime, sha256) = (i64::try_from(mtime).ok()?, unhex_exactly(sha256)?);
    unescaped.then(|| Listed { path: path.to_vec(), size, mtime, sha256: Some(sha256) })
}

/// The number that a text begins with, as JSON writes it, and what follows.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(digits)?;
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with(b"0")) {
        return None;
    }
    let shift = |value: u64, digit: &u8| value.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, shift).map(|value| (value, rest))
}

fn invalid(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("not a sound manifest: {what}"))
}

/// Reads a whole manifest and says whether it is sound.
///
/// # Errors
/// As [`Reader`].
pub fn check(input: impl Read) -> std::io::Result<Header> {
    let mut reader = Reader::new(input)?;
    while reader.next_file()?.is_some() {}
    Ok(reader.header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let runs = BTreeMap::from([("master".to_owned(), "r1".to_owned())]);
        Header { runs, ..Header::complete("s") }
    }

    fn listed(path: &[u8]) -> Listed {
        Listed { path: path.to_vec(), size: 3, mtime: -1, sha256: Some([7; 32]) }
    }

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &header()).unwrap();
        for path in [&b"a/b"[..], b"a.b", "図面.pdf".as_bytes(), b"\xff"] {
            writer.push(&listed(path)).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn plain_lines_are_read_as_json_is() {
        let sha256 = "07".repeat(32);
        let sound =
            format!(r#"{{"path":"図面/a b.pdf","size":12,"mtime_ns":1700000000000000000,"sha256":"{sha256}"}}"#);
        assert!(plain(sound.as_bytes()).is_some());
        // Each byte of a sound line replaced by each of the others: what the short way takes, the parser takes alike.
        for at in 0..sound.len() {
            for byte in 0..=255 {
                let mut line = sound.clone().into_bytes();
                line[at] = byte;
                if let Some(short) = plain(&line) {
                    assert_eq!(Some(short), any(&line), "{}", String::from_utf8_lossy(&line));
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = sample();
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok(), "it is JSON");
        let mut reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.header(), &header());
        assert_eq!(reader.next_file().unwrap().unwrap(), listed(b"a/b"));
        assert_eq!(reader.next_file().unwrap().unwrap(), listed(b"a.b"));
        assert_eq!(reader.next_file().unwrap().unwrap().path, "図面.pdf".as_bytes());
        assert_eq!(reader.next_file().unwrap().unwrap().path, b"\xff");
        assert_eq!(reader.next_file().unwrap(), None);
        assert_eq!(reader.next_file().unwrap(), None);
    }

    #[test]
    fn every_cut_is_found() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert!(check(&bytes[..length]).is_err(), "cut at {length}");
        }
        assert!(check(&bytes[..]).is_ok());
    }

    #[test]
    fn lies_are_refused() {
        let text = String::from_utf8(sample()).unwrap();
        for (from, to) in [
            ("\"a/b\"", "\"../b\""),
            ("\"a/b\"", "\"/b\""),
            ("\"a/b\"", "\"z/b\""),
            ("\"count\":4", "\"count\":5"),
            ("\"version\":1", "\"version\":2"),
            ("\"size\":3", "\"size\":-3"),
            ("\"path\":\"a.b\"", "\"path\":\"a.b\",\"path_hex\":\"61\""),
        ] {
            assert!(text.contains(from));
            assert!(check(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} -> {to}");
        }
    }
}

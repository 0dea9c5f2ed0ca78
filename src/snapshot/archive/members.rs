//! The entries of a tar file, one after the other, in constant memory. Takes what GNU tar and POSIX pax write; what is
//! neither a file nor a directory is told by its kind, for the caller to refuse.

use std::io::{self, BufRead, Read};

use super::RECORD;
use super::header::{self, BLOCK, Extended, Proof, Raw};
use crate::text::Shown;

/// The longest extended header or GNU long name that is taken, bytes: a path of 4 KiB and records of attributes.
const MAX_EXTENDED: u64 = 64 << 10;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Dir,
    /// What has no content: it can be left out.
    Bare(&'static str),
    Other(&'static str),
}

/// An entry.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// As it stands in the archive: not to be trusted.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) mtime: i64,
    pub(super) proof: Option<Proof>,
}

/// A tar file being read; as a reader, the content of the entry given out last.
pub(super) struct Members<R> {
    input: R,
    /// Of the current content, bytes.
    rest: u64,
    /// Zeros after it.
    padding: u64,
    /// Bytes read.
    at: u64,
}

/// `InvalidData`: what is read is not sound.
pub(super) fn damage(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// `Unsupported`: what is read may be sound, but is not taken.
pub(super) fn not_taken(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why.into())
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: R) -> Members<R> {
        Members { input, rest: 0, padding: 0, at: 0 }
    }

    /// The next entry; `None` at the end mark. What was not read of the last one is passed over.
    ///
    /// # Errors
    /// Of the input; `InvalidData` for what is not sound.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                if extended != Extended::default() || self.block()? != [0; BLOCK] {
                    return Err(damage("a header is zero"));
                }
                return Ok(None);
            }
            let raw = header::decode(&block).ok_or_else(|| damage("a header is damaged"))?;
            match raw.kind {
                b'x' => {
                    let records = self.small(raw.size)?;
                    extended.take(&records).ok_or_else(|| damage("an extended header is damaged"))?;
                }
                // GNU: the name of what follows, ended by a zero byte.
                b'L' => {
                    let mut name = self.small(raw.size)?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    extended.path = Some(name);
                }
                // GNU: where a link that follows leads; the archive's own label.
                b'K' | b'V' => drop(self.small(raw.size)?),
                // For all entries that follow: comments, such as `git archive` writes. Names, sizes and times are each entry's own.
                b'g' => {
                    let mut global = Extended::default();
                    let records = self.small(raw.size)?;
                    global.take(&records).ok_or_else(|| damage("a global header is damaged"))?;
                    if global != Extended::default() {
                        return Err(not_taken("it has a global header that changes its entries"));
                    }
                }
                _ => return Ok(Some(self.member(raw, extended))),
            }
        }
    }

    fn member(&mut self, raw: Raw, extended: Extended) -> Member {
        let path = extended.path.unwrap_or(raw.path);
        let kind = match raw.kind {
            _ if extended.sparse => Kind::Other("file with holes"),
            // Old tars mark a directory by its slash only.
            b'0' | b'\0' | b'7' if path.ends_with(b"/") => Kind::Dir,
            b'0' | b'\0' | b'7' => Kind::File,
            b'5' => Kind::Dir,
            b'1' => Kind::Other("hard link"),
            b'2' => Kind::Bare("symbolic link"),
            b'3' => Kind::Bare("character device"),
            b'4' => Kind::Bare("block device"),
            b'6' => Kind::Bare("FIFO"),
            b'S' => Kind::Other("file with holes"),
            _ => Kind::Other("member of unknown kind"),
        };
        let size = extended.size.unwrap_or(raw.size);
        self.rest = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        let mtime = extended.mtime.unwrap_or(raw.mtime);
        Member { path, kind, size, mode: raw.mode, mtime, proof: extended.proof }
    }

    /// After the end mark: nothing but zeros follows. `exactly`: only those that fill the record.
    ///
    /// # Errors
    /// As [`Members::next`].
    pub(super) fn end(mut self, exactly: bool) -> io::Result<R> {
        let record = self.at.next_multiple_of(RECORD);
        let mut buffer = [0; BLOCK];
        loop {
            let count = self.fill(&mut buffer)?;
            if count == 0 {
                break;
            }
            if buffer.iter().take(count).any(|byte| *byte != 0) {
                return Err(damage("something follows its end"));
            }
        }
        if exactly && self.at != record {
            return Err(damage("its end is not as it was written"));
        }
        Ok(self.input)
    }

    fn skip(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * BLOCK];
        let mut left = self.rest.saturating_add(self.padding);
        while left > 0 {
            let now = left.min(buffer.len() as u64) as usize;
            self.exact(buffer.get_mut(..now).unwrap_or_default())?;
            left -= now as u64;
        }
        self.rest = 0;
        self.padding = 0;
        Ok(())
    }

    fn block(&mut self) -> io::Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.exact(&mut block)?;
        Ok(block)
    }

    /// A content that is held in memory.
    fn small(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENDED {
            return Err(damage(format!("an extended header of {size} bytes is longer than any we take")));
        }
        let mut bytes = vec![0; size as usize];
        self.exact(&mut bytes)?;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(bytes)
    }

    fn exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if self.fill(buffer)? < buffer.len() { Err(damage("it is cut off")) } else { Ok(()) }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while let Some(rest) = buffer.get_mut(count..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest)? {
                0 => break,
                more => count += more,
            }
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Members<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest == 0 {
            return Ok(&[]);
        }
        let bytes = self.input.fill_buf()?;
        let most = self.rest.min(bytes.len() as u64) as usize;
        if most == 0 { Err(damage("it is cut off")) } else { Ok(bytes.get(..most).unwrap_or_default()) }
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.rest -= count as u64;
        self.at += count as u64;
    }
}

/// Whether a path stays below where it is put: relative, without `.`, `..`, empty and overlong components.
///
/// # Errors
/// `InvalidData`, naming it.
pub(super) fn check_path(path: &[u8]) -> io::Result<()> {
    let sound = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && part.len() <= 255 && !part.contains(&0);
    if path.len() > 4096
        || path.split(|byte| *byte == b'/').count() > 100
        || !path.split(|byte| *byte == b'/').all(sound)
    {
        let shown = Shown(path.get(..path.len().min(200)).unwrap_or_default()).to_string();
        return Err(damage(format!("{shown} is no path that may be in an archive")));
    }
    Ok(())
}

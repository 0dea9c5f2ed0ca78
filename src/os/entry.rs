//! What the system knows of a name, and the names of a directory.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else; the word says what ("symbolic link", "FIFO", …).
    Other(&'static str),
}

/// What the system knows of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// File, directory or something else.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970, held within an `i64` (1677 to 2262).
    pub mtime: i64,
    /// Inode number.
    pub ino: u64,
    /// Device number of the filesystem.
    pub dev: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
}

impl Entry {
    /// From what the system returned.
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the field types differ between architectures")]
    pub(super) fn of(stat: &Stat) -> Entry {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Other("symbolic link"),
            FileType::Fifo => Kind::Other("FIFO"),
            FileType::Socket => Kind::Other("socket"),
            FileType::CharacterDevice => Kind::Other("character device"),
            FileType::BlockDevice => Kind::Other("block device"),
            _ => Kind::Other("unknown kind of file"),
        };
        let mtime = i128::from(stat.st_mtime as i64) * 1_000_000_000 + i128::from(stat.st_mtime_nsec as i64);
        Entry {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: i64::try_from(mtime).unwrap_or(if mtime < 0 { i64::MIN } else { i64::MAX }),
            ino: stat.st_ino as u64,
            dev: stat.st_dev as u64,
            mode: stat.st_mode as u32 & 0o7777,
            owner: (stat.st_uid as u32, stat.st_gid as u32),
        }
    }
}

impl Entry {
    /// Of an open file.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_file(fd: impl AsFd) -> io::Result<Entry> {
        Ok(Entry::of(&rustix::fs::fstat(fd)?))
    }
}

/// The names in a directory, sorted bytewise, kept in one buffer: a directory of a million names takes tens of MiB,
/// not hundreds.
#[derive(Default)]
pub struct Names {
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
}

impl Names {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The name at a place in the order.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = *self.spans.get(index)?;
        self.bytes.get(start as usize..end as usize)
    }

    /// All names in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub(super) fn push(&mut self, name: &[u8]) -> io::Result<()> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| io::Error::other("directory too large"))?;
        self.bytes.extend_from_slice(name);
        let end = u32::try_from(self.bytes.len()).map_err(|_| io::Error::other("directory too large"))?;
        self.spans.push((start, end));
        Ok(())
    }

    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |span: &(u32, u32)| bytes.get(span.0 as usize..span.1 as usize).unwrap_or_default();
        self.spans.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    }
}

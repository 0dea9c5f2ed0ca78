//! What the system knows of a name, and the names of a directory.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, makedev, statx};

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

/// Nanoseconds since 1970. What is too far for them (before 1677, after 2262) is told apart by the second, in the outermost quarter of an hour of their range: two
/// far times are never one.
fn nanoseconds(seconds: i64, fraction: u32) -> i64 {
    const FAR: i64 = 1_000_000_000_000;
    const LAST: i64 = (i64::MAX - FAR) / 1_000_000_000 - 1;
    const FIRST: i64 = -LAST;
    match seconds {
        ..=FIRST => (i64::MIN + FAR).saturating_sub(seconds.saturating_neg().saturating_sub(LAST)),
        LAST.. => (i64::MAX - FAR).saturating_add(seconds.saturating_sub(LAST)),
        _ => seconds * 1_000_000_000 + i64::from(fraction),
    }
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
    /// How many names it has.
    pub links: u64,
    /// Something is mounted at this name, a file or directory of the same disk (bind mount) as well.
    pub mount_root: bool,
    /// It can't be changed, or only be appended to (`chattr +i`, `+a`).
    pub immutable: bool,
}

impl Entry {
    /// What is there, if it is a file.
    pub fn file(entry: Option<Entry>) -> Option<Entry> {
        entry.filter(|entry| entry.kind == Kind::File)
    }

    /// From what the system returned.
    fn of(stat: &Statx) -> Entry {
        let mode = u32::from(stat.stx_mode);
        let kind = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Other("symbolic link"),
            FileType::Fifo => Kind::Other("FIFO"),
            FileType::Socket => Kind::Other("socket"),
            FileType::CharacterDevice => Kind::Other("character device"),
            FileType::BlockDevice => Kind::Other("block device"),
            _ => Kind::Other("unknown kind of file"),
        };
        Entry {
            kind,
            size: stat.stx_size,
            mtime: nanoseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ino: stat.stx_ino,
            dev: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            mode: mode & 0o7777,
            owner: (stat.stx_uid, stat.stx_gid),
            links: stat.stx_nlink.into(),
            mount_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            immutable: stat.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND),
        }
    }

    /// Of a name in an open directory. A link is looked at itself, and nothing is mounted by looking (autofs).
    pub(super) fn at(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<Entry> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        Ok(Entry::of(&statx(dir, name, flags, StatxFlags::BASIC_STATS)?))
    }

    /// Of a name on a filesystem that can't be looked at.
    pub fn unknown(dev: u64) -> Entry {
        Entry {
            kind: Kind::Other("unknown kind of file"),
            size: 0,
            mtime: 0,
            ino: 0,
            dev,
            mode: 0,
            owner: (0, 0),
            links: 1,
            mount_root: false,
            immutable: false,
        }
    }

    /// Of an open file.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_file(fd: impl AsFd) -> io::Result<Entry> {
        Ok(Entry::of(&statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_times_stay_apart_and_in_order() {
        assert_eq!(nanoseconds(-1, 500_000_000), -500_000_000);
        let times = [
            i64::MIN,
            -20_000_000_000,
            -10_413_792_000,
            -9_223_372_036,
            -1,
            0,
            9_223_372_035,
            10_413_792_000,
            13_569_552_000,
            i64::MAX,
        ];
        let told = times.map(|seconds| nanoseconds(seconds, 0));
        assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
    }
}

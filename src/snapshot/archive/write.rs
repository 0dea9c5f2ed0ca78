//! Writes an archive: one pass over the snapshot, in step with its manifest.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::FileExt;

use log::warn;

use super::frames::{Frames, largest};
use super::header::{BLOCK, Plain, Proof};
use super::{MANIFEST, RECORD};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry};
use crate::os::progress::Progress;
use crate::os::signal;
use crate::text::Shown;
use crate::tree::copy::HashingWriter;
use crate::tree::manifest::{Listed, path_order};
use crate::tree::stream::Stream;
use crate::tree::walk::{Side, Step, Walk};

/// An archive that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the archive.
    pub bytes: u64,
    /// Files of the manifest, all of them in it.
    pub files: u64,
    /// Bytes of these files.
    pub content: u64,
}

/// As [`write_listed`] with the snapshot's own manifest.
///
/// # Errors
/// As [`write_listed`].
pub fn write(snapshot: &Dir, name: &str, out: &mut dyn Write, progress: &mut Progress) -> Result<Written> {
    let (manifest, _) = snapshot.read(MANIFEST)?;
    write_listed(snapshot, &manifest, name, out, progress)
}

/// Writes the snapshot `snapshot` as an archive whose root is called `name` (one component), in step with `manifest`. That each
/// content is the manifest's is proved where the archive is read back ([`super::read`]), once and of what the medium holds; here it is
/// not hashed. Nothing is flushed to a medium: that is the caller's.
///
/// # Errors
/// `Refused` if the snapshot is not as its manifest says, naming the first file; `Unreadable` for its files, `Io` for
/// `out`, `Interrupted`, `Failed`.
pub fn write_listed(
    snapshot: &Dir,
    manifest: &File,
    name: &str,
    out: &mut dyn Write,
    progress: &mut Progress,
) -> Result<Written> {
    let unreadable = |source| Error::Unreadable { path: snapshot.shown(MANIFEST), source };
    let mut file = manifest.try_clone().map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let list = Stream::new(file, snapshot.shown(MANIFEST), b"")?;
    let mut writer = Writer {
        snapshot,
        name: name.as_bytes(),
        frames: Frames::new(out, format!("the archive of {}", Shown(name.as_bytes()))),
        list,
        files: 0,
        content: 0,
        progress,
    };
    if !writer.list.header().is_complete() {
        return Err(writer.not_whole(MANIFEST, "is that of a snapshot that was never finished"));
    }
    writer.directory(b"", &snapshot.entry()?)?;
    writer.manifest(manifest)?;
    writer.walk()?;
    writer.frames.put(&[0; 2 * BLOCK])?;
    writer.frames.pad(RECORD)?;
    let bytes = writer.frames.finish()?;
    Ok(Written { bytes, files: writer.files, content: writer.content })
}

struct Writer<'a> {
    snapshot: &'a Dir,
    name: &'a [u8],
    frames: Frames<'a>,
    list: Stream,
    files: u64,
    content: u64,
    progress: &'a mut Progress,
}

impl Writer<'_> {
    fn walk(&mut self) -> Result<()> {
        let mut walk = Walk::new(Some(self.snapshot), None)?;
        while let Some(step) = walk.step()? {
            match step {
                Step::File { .. } if walk.path() == MANIFEST => {}
                Step::File { left: Some(entry), .. } => self.file(&walk, &entry)?,
                Step::Enter { left: Some(entry), .. } => self.directory(walk.path(), &entry)?,
                // The original system copied links too; ours has none.
                Step::Skipped(Side::Left, what) if self.list.header().seq.is_none() => {
                    warn!("{} is not in the archive: {what}", self.snapshot.shown(walk.path()));
                }
                Step::Skipped(Side::Left, what) => return Err(self.not_whole(walk.path(), &format!("is a {what}"))),
                _ => {}
            }
        }
        match self.list.head() {
            None => Ok(()),
            Some(missing) => Err(self.not_whole(&missing.path, "is missing")),
        }
    }

    fn directory(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let path = in_root(self.name, path);
        self.frames.put(&Plain { path: &path, proof: None, size: 0, mode: entry.mode, mtime: entry.mtime }.encode())
    }

    /// The manifest is read twice more: to hash it for its own header, and to write it.
    fn manifest(&mut self, manifest: &File) -> Result<()> {
        let unreadable = |source| Error::Unreadable { path: self.snapshot.shown(MANIFEST), source };
        let entry = Entry::of_file(manifest).map_err(unreadable)?;
        let sha256 = Some(digest(manifest).map_err(unreadable)?);
        let listed = Listed { path: MANIFEST.to_vec(), size: entry.size, mtime: entry.mtime, sha256 };
        self.content(self.snapshot, MANIFEST, FromStart { file: manifest, at: 0 }, &listed, entry.mode)
    }

    fn file(&mut self, walk: &Walk, entry: &Entry) -> Result<()> {
        let path = walk.path();
        let Some(listed) = self.list.head().filter(|head| path_order(&head.path, path).is_le()) else {
            // Somebody's copy beside it makes what was taken no worse.
            warn!("left out: {} is not in its manifest", self.snapshot.shown(path));
            return Ok(());
        };
        if listed.path != path {
            return Err(self.not_whole(&listed.path, "is missing"));
        }
        if listed.size != entry.size {
            let why = format!("has {} bytes instead of {}", entry.size, listed.size);
            return Err(self.not_whole(path, &why));
        }
        let (Some(listed), Some(dir)) = (self.list.take()?, walk.left()) else { return Ok(()) };
        let (file, _) = dir.read(walk.name())?;
        self.files += 1;
        self.content += listed.size;
        self.content(dir, walk.name(), file, &listed, entry.mode)?;
        self.progress.add_file();
        Ok(())
    }

    /// Header and content. The time is the manifest's: with the content it lists, it is the file that it lists.
    fn content(&mut self, dir: &Dir, name: &[u8], file: impl Read, listed: &Listed, mode: u32) -> Result<()> {
        let Some(sha256) = listed.sha256 else {
            return Err(self.not_whole(&listed.path, "has no SHA-256 in its manifest"));
        };
        let path = in_root(self.name, &listed.path);
        let proof = Some(Proof { sha256, number: self.files });
        self.frames.put(&Plain { path: &path, proof, size: listed.size, mode, mtime: listed.mtime }.encode())?;
        self.bytes_of(dir, name, file, listed)?;
        self.frames.pad(BLOCK as u64)
    }

    /// Reads a file to where it is compressed from.
    fn bytes_of(&mut self, dir: &Dir, name: &[u8], mut file: impl Read, listed: &Listed) -> Result<()> {
        let mut rest = listed.size;
        loop {
            signal::check()?;
            let room = self.frames.room();
            // One byte more than there should be: so its end is seen without a read that gives nothing.
            let most = usize::try_from(rest).unwrap_or(usize::MAX).saturating_add(1).min(room.len());
            let count = match file.read(room.get_mut(..most).unwrap_or_default()) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Unreadable { path: dir.shown(name), source }),
            };
            if count as u64 > rest || count == 0 && rest > 0 {
                return Err(self.not_whole(&listed.path, "has another size than in its manifest"));
            }
            self.frames.filled(count)?;
            self.progress.add_bytes(count as u64);
            rest -= count as u64;
            if rest == 0 && count < most {
                return Ok(());
            }
        }
    }

    fn not_whole(&self, path: &[u8], why: &str) -> Error {
        Error::Refused {
            why: format!("{} {why}: the snapshot is not whole", self.snapshot.shown(path)),
            next: "take a new snapshot, then run it again".to_owned(),
        }
    }
}

/// A file from its beginning, whatever else reads from it.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The SHA-256 of a manifest, by which an archive is known to be of this very snapshot.
///
/// # Errors
/// Of the file.
pub fn digest(manifest: &File) -> std::io::Result<[u8; 32]> {
    let mut hasher = HashingWriter::new(std::io::sink());
    std::io::copy(&mut FromStart { file: manifest, at: 0 }, &mut hasher)?;
    Ok(hasher.end().1)
}

fn in_root(name: &[u8], path: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [name, b"/", path].concat() }
}

/// The largest that the archive of a snapshot can be, bytes: all contents stored uncompressed, with tar's headers, each
/// with an extended one, and the frames' own bytes. The name of the root counts with 64 bytes.
///
/// # Errors
/// `Io`, `Interrupted`, `Refused` (too deep).
pub fn estimate(snapshot: &Dir) -> Result<u64> {
    let mut tar = entry_size(0, 0);
    let mut walk = Walk::new(Some(snapshot), None)?;
    while let Some(step) = walk.step()? {
        let size = match step {
            Step::File { left: Some(entry), .. } => entry.size,
            Step::Enter { .. } => 0,
            _ => continue,
        };
        tar = tar.saturating_add(entry_size(walk.path().len(), size));
    }
    Ok(largest(tar.saturating_add(2 * RECORD)))
}

/// Two headers, the records of the extended one (at most 256 bytes beside the path), and the content.
fn entry_size(path: usize, size: u64) -> u64 {
    const BLOCK_SIZE: u64 = BLOCK as u64;
    let records = (path as u64 + 64 + 256).next_multiple_of(BLOCK_SIZE);
    let content = size.checked_next_multiple_of(BLOCK_SIZE).unwrap_or(u64::MAX);
    content.saturating_add(2 * BLOCK_SIZE + records)
}

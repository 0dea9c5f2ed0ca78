//! Copies one file between directories, hashing what passes, and compares contents. Only user of SHA-256.

use std::fs::File;
use std::io::{Read, Seek, Write};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::os::buffer::Buffer;
use crate::os::dir::{Dir, Entry, clone_into, set_owner_mode, set_time_of};
use crate::os::flow::Flow;
use crate::os::progress::Progress;
use crate::os::signal;

/// Who owns what is made, and with which permission bits.
#[derive(Clone, Copy, Debug)]
pub struct Ownership {
    /// User and group; `None`: whoever runs us (a stick's filesystem may have no owners).
    pub owner: Option<(u32, u32)>,
    /// Permission bits of files.
    pub file_mode: u32,
    /// Permission bits of directories.
    pub dir_mode: u32,
}

/// A copied file: as read back from the target, and its content's SHA-256.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// As read back from the target.
    pub entry: Entry,
    /// SHA-256 of the bytes that were written.
    pub sha256: [u8; 32],
    /// It is a clone: it shares the storage of its source until one of them is changed.
    pub cloned: bool,
}

/// Copies a file, told by its directory and its name there, to a new one, with its time. A file that is being written to
/// meanwhile is copied again.
///
/// # Errors
/// `Unreadable` for the source, `Io` for the target, `Busy` if the source does not come to rest, `Interrupted`.
pub fn copy(from: (&Dir, &[u8]), to: (&Dir, &[u8]), owned: Ownership, progress: &mut Progress) -> Result<Copied> {
    bring(from, to, owned, false, progress)
}

/// As [`copy`], but a clone where the filesystem can make one: it takes no room, and later changes of the source do not
/// reach it. The SHA-256 is then that of what the new file holds.
///
/// # Errors
/// As [`copy`].
pub fn clone_or_copy(
    from: (&Dir, &[u8]),
    to: (&Dir, &[u8]),
    owned: Ownership,
    progress: &mut Progress,
) -> Result<Copied> {
    bring(from, to, owned, true, progress)
}

fn bring(
    (from, name): (&Dir, &[u8]),
    (to, to_name): (&Dir, &[u8]),
    owned: Ownership,
    may_clone: bool,
    progress: &mut Progress,
) -> Result<Copied> {
    for _ in 0..3 {
        let (mut source, before) = from.read(name)?;
        let mut target = Flow::new(to.create(to_name, owned.file_mode)?);
        let fail = |error: std::io::Error| Error::io("write", &to.path_of(to_name), error);
        let cloned = may_clone && clone_into(&source, target.file()).map_err(fail)?;
        let (sha256, count) = if cloned {
            let (mut target, _) = to.read(to_name)?;
            pump(&mut target, to, to_name, |bytes| {
                progress.add_bytes(bytes.len() as u64);
                Ok(())
            })?
        } else {
            pump(&mut source, from, name, |bytes| {
                target.write_all(bytes).map_err(fail)?;
                progress.add_bytes(bytes.len() as u64);
                Ok(())
            })?
        };
        let after = Entry::of_file(&source).map_err(|source| unreadable(from, name, source))?;
        if after.mtime == before.mtime && after.size == count {
            let target = target.file();
            set_owner_mode(target, owned.owner, owned.file_mode).map_err(fail)?;
            set_time_of(&source, target).map_err(fail)?;
            progress.add_file();
            return Ok(Copied { entry: Entry::of_file(target).map_err(fail)?, sha256, cloned });
        }
        to.remove(to_name)?;
    }
    Err(Error::Busy {
        why: format!("{} is being written to", from.shown(name)),
        next: "wait until it is done and run it again",
    })
}

/// The SHA-256 of a file.
///
/// # Errors
/// `Unreadable`, `Interrupted`.
pub fn hash(dir: &Dir, name: &[u8]) -> Result<[u8; 32]> {
    let (mut file, _) = dir.read(name)?;
    pump(&mut file, dir, name, |_| Ok(())).map(|(sha256, _)| sha256)
}

/// The SHA-256 of some bytes.
pub fn hash_bytes(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A writer that hashes what passes.
pub struct HashingWriter<W> {
    out: W,
    hasher: Sha256,
}

impl<W: Write> HashingWriter<W> {
    /// Starts.
    pub fn new(out: W) -> HashingWriter<W> {
        HashingWriter { out, hasher: Sha256::new() }
    }

    /// The writer, and the SHA-256 of all that passed.
    pub fn end(self) -> (W, [u8; 32]) {
        (self.out, self.hasher.finalize().into())
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Copies a file of our own to a new one, durably.
///
/// # Errors
/// `Unreadable`, `Io`, `Interrupted`.
pub fn copy_plainly(from: &Dir, name: &[u8], to: &Dir, to_name: &[u8]) -> Result<()> {
    let (mut source, _) = from.read(name)?;
    let mut target = to.create(to_name, 0o644)?;
    let fail = |error: std::io::Error| Error::io("write", &to.path_of(to_name), error);
    pump(&mut source, from, name, |bytes| target.write_all(bytes).map_err(fail))?;
    target.sync_all().map_err(fail)
}

/// Whether a file holds bytes and all of them are zero, as a power cut leaves it on some filesystems. It is read no further than to the first other byte.
///
/// # Errors
/// `Unreadable`, `Interrupted`.
pub fn is_all_zero(dir: &Dir, name: &[u8]) -> Result<bool> {
    let (mut file, _) = dir.read(name)?;
    let mut buffer = Buffer::take();
    let mut any = false;
    loop {
        signal::check()?;
        // A file of a terabyte of nothing has no data to be read.
        if !seek_data(&mut file) {
            return Ok(true);
        }
        let bytes = fill(&mut file, buffer.bytes()).map_err(|source| unreadable(dir, name, source))?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        any |= !bytes.is_empty();
        if bytes.len() < Buffer::SIZE {
            return Ok(any);
        }
    }
}

/// Goes on to the next bytes that lie on the medium, where the filesystem tells (lseek(2), `SEEK_DATA`). `false`: there are none.
fn seek_data(file: &mut File) -> bool {
    let Ok(at) = file.stream_position() else { return true };
    !matches!(rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(at)), Err(rustix::io::Errno::NXIO))
        || at == 0 && is_empty(file)
}

fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() == 0)
}

fn fill<'a>(file: &mut File, buffer: &'a mut [u8]) -> std::io::Result<&'a [u8]> {
    let mut count = 0;
    while let Some(rest) = buffer.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.get(..count).unwrap_or_default())
}

fn pump(file: &mut File, dir: &Dir, name: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<([u8; 32], u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = Buffer::take();
    let mut count = 0;
    loop {
        signal::check()?;
        let bytes = fill(file, buffer.bytes()).map_err(|source| unreadable(dir, name, source))?;
        hasher.update(bytes);
        if !bytes.is_empty() {
            each(bytes)?;
        }
        count += bytes.len() as u64;
        if bytes.len() < Buffer::SIZE {
            return Ok((hasher.finalize().into(), count));
        }
    }
}

fn unreadable(dir: &Dir, name: &[u8], source: std::io::Error) -> Error {
    Error::Unreadable { path: dir.shown(name), source }
}

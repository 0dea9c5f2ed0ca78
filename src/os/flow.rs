//! Bytes that set out for the medium while more are written, so that medium and processor work at the same time and the flush at the end
//! has little left to wait for. The kernel by itself begins after seconds, or when a tenth of the memory is dirty.
//! And pages that are let go of once an archive has passed through them, in either direction.

use std::fs::File;
use std::io::{Read, Result, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::fs::{Advice, fadvise};

use super::thread;

/// Bytes of a large file that set out together.
const STEP: u64 = 4 << 20;
/// Bytes until a filesystem's next flush. Fewer would write the directories of small files again and again.
const FLUSH: u64 = 32 << 20;
/// Bytes until a file's next flush.
const FLUSH_FILE: u64 = 8 << 20;

/// A new file that is written from its beginning. Small files are left to the kernel: it puts several into one request, which a stick
/// takes faster.
pub struct Flow {
    file: File,
    written: u64,
    out: u64,
    early: Option<EarlyFlush>,
}

impl Flow {
    /// Takes an empty file.
    pub fn new(file: File) -> Flow {
        Flow { file, written: 0, out: 0, early: None }
    }

    /// Takes an empty file that is to be on the medium: it is flushed on the way too.
    ///
    /// # Errors
    /// Of the system, if it gives no more descriptors.
    pub fn to_medium(file: File) -> Result<Flow> {
        // Not its filesystem: that flushes the medium's tables too, and took a third longer.
        let early = EarlyFlush::by(&file, flush_and_let_go, FLUSH_FILE)?;
        Ok(Flow { early: Some(early), ..Flow::new(file) })
    }

    /// Flushes the file.
    ///
    /// # Errors
    /// Of the medium, those on the way too.
    pub fn finish(mut self) -> Result<()> {
        self.early.as_mut().map_or(Ok(()), EarlyFlush::end)?;
        self.file.sync_all()
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// A hint, which also lets go of pages that have arrived: whether all arrives, only a flush tells.
    fn set_out(&mut self) {
        if let Some(count) = NonZero::new(self.written - self.out) {
            let _ = fadvise(&self.file, self.out, Some(count), Advice::DontNeed);
            self.out = self.written;
        }
    }
}

impl Write for Flow {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        match &mut self.early {
            Some(early) => early.wrote(count as u64)?,
            None if self.written - self.out >= STEP => self.set_out(),
            None => {}
        }
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

/// The pages that have arrived are used again for what is written next. New ones are cold, and are taken from what else the machine keeps.
fn flush_and_let_go(file: OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::fdatasync(&file)?;
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(())
}

/// A file that is read once, from its beginning. Its pages are used again for what is read next.
pub struct Once {
    file: File,
    read: u64,
    gone: u64,
}

impl Once {
    /// Takes a file of which nothing has been read.
    pub fn new(file: File) -> Once {
        Once { file, read: 0, gone: 0 }
    }
}

impl Read for Once {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        // One step later: the kernel does not let go of pages that it has not yet entered in its lists.
        if self.read - self.gone >= 2 * STEP {
            let _ = fadvise(&self.file, self.gone, NonZero::new(STEP), Advice::DontNeed);
            self.gone += STEP;
        }
        Ok(count)
    }
}

/// What is flushed by another thread while this one writes on. It makes nothing durable that could be relied upon: the flush
/// at the end does.
pub struct EarlyFlush {
    on: OwnedFd,
    flush: fn(OwnedFd) -> rustix::io::Result<()>,
    /// Bytes from one flush to the next.
    every: u64,
    /// Bytes since the last flush began.
    since: u64,
    running: Option<JoinHandle<Result<()>>>,
}

impl EarlyFlush {
    /// Of the filesystem that `on` is on. Ended by [`EarlyFlush::end`], and if it is dropped, so that nothing keeps the filesystem mounted.
    ///
    /// # Errors
    /// Of the system, if it gives no more descriptors.
    pub fn new(on: impl AsFd) -> Result<EarlyFlush> {
        EarlyFlush::by(on, rustix::fs::syncfs, FLUSH)
    }

    fn by(on: impl AsFd, flush: fn(OwnedFd) -> rustix::io::Result<()>, every: u64) -> Result<EarlyFlush> {
        Ok(EarlyFlush { on: on.as_fd().try_clone_to_owned()?, flush, every, since: 0, running: None })
    }

    /// So many bytes more were written. On a slow medium the last flush may go on for long; the next begins after it.
    ///
    /// # Errors
    /// What [`EarlyFlush::end`] tells of the last flush.
    pub fn wrote(&mut self, bytes: u64) -> Result<()> {
        self.since = self.since.saturating_add(bytes);
        if self.since < self.every || self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return Ok(());
        }
        self.end()?;
        self.since = 0;
        let (on, flush) = (self.on.try_clone()?, self.flush);
        // Where the system allows no more threads, all is left to the flush at the end.
        self.running = thread::start(None, Box::new(move || Ok(flush(on)?))).ok();
        Ok(())
    }

    /// Waits for the flush that goes on.
    ///
    /// # Errors
    /// A write error. The system tells of it once, so a flush that comes after this one may know nothing of it.
    pub fn end(&mut self) -> Result<()> {
        match self.running.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Ok(()),
        }
    }
}

impl Drop for EarlyFlush {
    fn drop(&mut self) {
        // Whoever drops it without `end` has failed already.
        let _ = self.end();
    }
}

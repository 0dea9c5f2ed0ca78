//! A file whose bytes set out for the medium while more are written, so that medium and processor work at the same time
//! and the flush at the end has little left to wait for. The kernel by itself begins after seconds, or when a tenth of the
//! memory is dirty. Small files are left to it: it puts several into one request, which a stick takes faster.

use std::fs::File;
use std::io::{Result, Write};
use std::num::NonZero;

use rustix::fs::{Advice, fadvise};

/// Bytes that set out together.
const STEP: u64 = 4 << 20;

/// A new file that is written from its beginning.
pub struct Flow {
    file: File,
    written: u64,
    out: u64,
}

impl Flow {
    /// Takes an empty file.
    pub fn new(file: File) -> Flow {
        Flow { file, written: 0, out: 0 }
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file back. What was written last is left to its flush.
    pub fn into_file(self) -> File {
        self.file
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
        if self.written - self.out >= STEP {
            self.set_out();
        }
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

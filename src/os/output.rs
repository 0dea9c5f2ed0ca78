//! What a command prints for whoever called it.

use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Lines on standard output. A reader that has seen enough (`| head`) is no failure.
pub struct Lines(BufWriter<std::io::StdoutLock<'static>>);

impl Lines {
    /// Begins.
    pub fn start() -> Lines {
        Lines(BufWriter::new(std::io::stdout().lock()))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// `Io`.
    pub fn line(&mut self, line: &str) -> Result<()> {
        writeln!(self.0, "{line}").map_err(|error| Error::io("write to", Path::new("standard output"), error))
    }

    /// Ends; `result` is what the lines came to.
    ///
    /// # Errors
    /// `result`'s, `Io`.
    pub fn end(mut self, result: Result<()>) -> Result<()> {
        let flushed = self.0.flush().map_err(|error| Error::io("write to", Path::new("standard output"), error));
        match result.and(flushed) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}

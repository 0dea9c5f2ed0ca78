//! A manifest read in step with a walk: both are in the same order, so each is passed once.

use std::fs::File;

use crate::error::{Error, Result};
use crate::tree::manifest::{Header, Listed, Reader, path_order};

/// The files of a manifest below a prefix, one after the other.
pub struct Stream {
    reader: Reader<File>,
    prefix: &'static [u8],
    head: Option<Listed>,
    shown: String,
}

impl Stream {
    /// Starts at a manifest's first file whose path begins with `prefix` (such as `master/`), which is cut off.
    /// `shown`: the manifest's name in messages.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn new(file: File, shown: String, prefix: &'static [u8]) -> Result<Stream> {
        let reader = Reader::new(file).map_err(|source| Error::Unreadable { path: shown.clone(), source })?;
        let mut stream = Stream { reader, prefix, head: None, shown };
        stream.take()?;
        Ok(stream)
    }

    /// The manifest's first line.
    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    /// The id of the run that a dataset's files are from.
    pub fn run(&self, dataset: &str) -> Option<&str> {
        self.header().runs.get(dataset).map(String::as_str)
    }

    /// The next file, looked at.
    pub fn head(&self) -> Option<&Listed> {
        self.head.as_ref()
    }

    /// The next file, taken.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn take(&mut self) -> Result<Option<Listed>> {
        let next = loop {
            let next = self.reader.next_file();
            match next.map_err(|source| Error::Unreadable { path: self.shown.clone(), source })? {
                Some(mut listed) => {
                    if let Some(path) = listed.path.strip_prefix(self.prefix) {
                        listed.path = path.to_vec();
                        break Some(listed);
                    }
                }
                None => break None,
            }
        };
        Ok(std::mem::replace(&mut self.head, next))
    }

    /// The file of that path, passing all before it.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn find(&mut self, path: &[u8]) -> Result<Option<&Listed>> {
        while self.head().is_some_and(|head| path_order(&head.path, path).is_lt()) {
            self.take()?;
        }
        Ok(self.head().filter(|head| head.path == path))
    }
}

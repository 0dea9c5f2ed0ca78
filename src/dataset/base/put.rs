//! What `undo` put on a stick: its own earlier data, which the server does not have (yet). To `undo` it is our own doing
//! and no edit. To the next ingest it is a change since the last common state, exactly as if somebody had edited the
//! stick: so that state stays as it is, and the ingest takes the stick's files.

use super::{Dataset, Header, Known, Records, Result, Stream, pending_names};

/// Named as a pending record, because it ends with them: at the next common state.
fn put_name(dataset: Dataset) -> Vec<u8> {
    format!("{}.pending-put", dataset.name()).into_bytes()
}

impl Records {
    /// What the stick holds now is what the ended record `next` says, and an undo put it there. Nothing is pending any
    /// more. A crash in between leaves both: then the next ingest makes the stick the server's again.
    ///
    /// # Errors
    /// `Io`.
    pub fn settle_put(&self, dataset: Dataset) -> Result<()> {
        let dir = self.to_write()?;
        let put = put_name(dataset);
        dir.rename(format!("{}.next", dataset.name()).as_bytes(), dir, &put)?;
        dir.sync()?;
        for name in pending_names(dir, dataset)?.iter().filter(|name| **name != put) {
            dir.remove(name)?;
        }
        dir.sync()
    }

    /// Every file that an undo put on the stick, if no ingest has come since.
    ///
    /// # Errors
    /// `Io`.
    pub fn put(&self, dataset: Dataset) -> Result<Option<Stream>> {
        self.open_sound(&put_name(dataset))
    }

    /// As [`Records::known`], and what an undo put there is no edit either.
    ///
    /// # Errors
    /// `Io`.
    pub fn known_and_put(&self, dataset: Dataset, on_stick: Option<&Header>) -> Result<Known> {
        let mut known = self.known(dataset, on_stick)?;
        // A pair of which both halves are the same: nothing in it was cut off.
        if let (Some(before), Some(planned)) = (self.put(dataset)?, self.put(dataset)?) {
            known.pending.extend([before, planned]);
        }
        Ok(known)
    }
}

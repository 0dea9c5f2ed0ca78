//! Whose fault it is that a stick's filesystem is marked dirty (SPEC 6, 8).
//!
//! A stick that was pulled from a PC without being unmounted may be damaged, and is doubtful until a PC has unmounted it cleanly. But mounting it for
//! writing marks it dirty as well, and if the power fails then, the next run must finish the work without help. And our own
//! mounting replays ext's journal and so wipes the mark that a PC left. So before a stick is mounted for writing the server notes, durably, in which
//! state it came; and what a doubtful one looked like when we let go of it, by which a PC's use of it since is known.

use super::StickState;
use crate::error::Result;
use crate::os::atomic;
use crate::os::dir::Dir;

const NAME: &[u8] = b"mounted";
const CLEAN: &str = "it came clean";
const DIRTY: &str = "it came dirty";

/// What a note says.
#[derive(Debug, PartialEq, Eq)]
enum Note {
    /// It came clean, and a run that wrote to it did not come to its end.
    CameClean,
    /// It came dirty; the number is what it looked like afterwards, none if that run did not come to its end.
    CameDirty(Option<u64>),
}

fn noted(dir: &Dir) -> Result<Option<Note>> {
    let Some((file, _)) = dir.read_if_there(NAME)? else { return Ok(None) };
    let text = std::io::read_to_string(std::io::Read::take(file, 64)).unwrap_or_default();
    Ok(Some(match text.trim_end().strip_prefix(DIRTY) {
        Some(seal) => Note::CameDirty(seal.trim().parse().ok()),
        None => Note::CameClean,
    }))
}

impl StickState {
    /// Whether the stick is to be doubted, whose superblock was found `dirty` before it was mounted, with `use_count` as its count of uses.
    /// Changes nothing.
    ///
    /// # Errors
    /// `Io`.
    pub fn is_doubtful(&self, dirty: bool, use_count: u64) -> Result<bool> {
        let Some(dir) = self.dir() else { return Ok(dirty) };
        Ok(match noted(dir)? {
            None => dirty,
            Some(Note::CameClean) => false,
            Some(Note::CameDirty(left)) => dirty || (use_count != 0 && left.is_none_or(|left| left == use_count)),
        })
    }

    /// To be called before the stick is mounted for writing: as [`StickState::is_doubtful`], and notes it.
    ///
    /// # Errors
    /// `Io`.
    pub fn note_mounted(&self, dirty: bool, use_count: u64) -> Result<bool> {
        let doubtful = self.is_doubtful(dirty, use_count)?;
        self.note(if doubtful { DIRTY.to_owned() } else { CLEAN.to_owned() })?;
        Ok(doubtful)
    }

    /// To be called once the stick is unmounted in order. `settled`: everything that was asked was done, so that nothing is to be doubted any more;
    /// else a stick that came dirty is doubted until a PC has used it.
    ///
    /// # Errors
    /// `Io`.
    pub fn note_unmounted(&self, doubtful: bool, settled: bool, use_count: u64) -> Result<()> {
        match self.dir() {
            Some(_) if doubtful && !settled => self.note(format!("{DIRTY} {use_count}")),
            Some(dir) => dir.remove(NAME),
            None => Ok(()),
        }
    }

    fn note(&self, text: String) -> Result<()> {
        match self.dir() {
            Some(dir) => atomic::write(dir, NAME, format!("{text}\n").as_bytes(), 0o600),
            None => Ok(()),
        }
    }
}

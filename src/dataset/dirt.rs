//! Whose fault it is that a stick's filesystem is marked dirty (SPEC 6, rule 3; SPEC 8).
//!
//! A stick that was pulled from a PC without being unmounted may be damaged, and is doubtful. But mounting it for
//! writing marks it dirty as well, and if the power fails then, the next run must finish the work without help. Also,
//! our own mounting replays ext's journal and so wipes the mark that a PC left. So before a stick is mounted for
//! writing the server notes, durably, in which state it came.

use super::base::Records;
use crate::error::Result;
use crate::os::atomic;
use crate::os::dir::Dir;

const NAME: &[u8] = b"mounted";
const CLEAN: &[u8] = b"it came clean\n";
const DIRTY: &[u8] = b"it came dirty\n";

/// What the note says: the stick came dirty. None: no note, the last run ended in order.
fn noted(dir: &Dir) -> Result<Option<bool>> {
    let Some((file, _)) = dir.read_if_there(NAME)? else { return Ok(None) };
    let text = std::io::read_to_string(std::io::Read::take(file, 64)).unwrap_or_default();
    Ok(Some(text.as_bytes() == DIRTY))
}

/// Whether a stick is to be doubted, whose superblock was found `dirty` before it was mounted. Changes nothing.
///
/// # Errors
/// `Io`.
pub fn is_doubtful(records: &Records, dirty: bool) -> Result<bool> {
    match records.dir() {
        Some(dir) => Ok(noted(dir)?.unwrap_or(dirty)),
        None => Ok(dirty),
    }
}

/// To be called before the stick is mounted for writing: as [`is_doubtful`], and notes it.
///
/// # Errors
/// `Io`.
pub fn note(records: &Records, dirty: bool) -> Result<bool> {
    let doubtful = is_doubtful(records, dirty)?;
    if let Some(dir) = records.dir() {
        atomic::write(dir, NAME, if doubtful { DIRTY } else { CLEAN }, 0o600)?;
    }
    Ok(doubtful)
}

/// To be called once the stick is unmounted in order and everything that was asked was done. After a refusal the note
/// of a stick that came dirty stays: mounting it has wiped the mark on the stick itself.
///
/// # Errors
/// `Io`.
pub fn forget(records: &Records, all_done: bool) -> Result<()> {
    let Some(dir) = records.dir() else { return Ok(()) };
    if all_done || noted(dir)? == Some(false) { dir.remove(NAME) } else { Ok(()) }
}

//! Files that were found rotten in a snapshot. They are noted in the server's `.toolmaster`, so that the next snapshot copies them anew from live data
//! instead of sharing them on (SPEC 7).
//!
//! The note is a list of paths, each ended by a zero byte. A crash while it is written leaves the old one. It loses what a snapshot has copied
//! anew once that snapshot has its name: a crash in between costs one more copy.

use std::collections::BTreeSet;
use std::io::Read;

use log::warn;

use super::generation;
use crate::error::{Error, Result};
use crate::os::atomic;
use crate::os::dir::Dir;
use crate::os::lock::Lock;
use crate::os::progress::Progress;
use crate::settings::STATE_LOCK;
use crate::tree::stream::Stream;
use crate::tree::verify::{self, Fault};

const NOTE: &[u8] = b"rotten";
/// So much is noted, bytes: more is found again once this is put right.
const MOST: usize = 1 << 20;
/// What helps where a snapshot is damaged.
pub const NEXT: &str = "take a new snapshot (sudo tool-snapshot.sh), which copies it anew, then run it again";

/// The paths that were found rotten since they were copied last, such as `master/tools.csv`.
///
/// # Errors
/// `Io`.
pub fn noted(state: &Dir) -> Result<BTreeSet<Vec<u8>>> {
    let Some((file, _)) = state.read_if_there(NOTE)? else { return Ok(BTreeSet::new()) };
    let mut bytes = Vec::new();
    file.take(MOST as u64).read_to_end(&mut bytes).map_err(|error| Error::io("read", &state.path_of(NOTE), error))?;
    Ok(bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect())
}

/// Notes paths that are rotten.
fn note(state: &Dir, rotten: &BTreeSet<Vec<u8>>) -> Result<()> {
    change(state, |paths| paths.extend(rotten.iter().cloned()))
}

/// Forgets paths that a snapshot has copied anew.
///
/// # Errors
/// `Io`, `Busy`.
pub fn cured(state: &Dir, copied: &BTreeSet<Vec<u8>>) -> Result<()> {
    if copied.is_empty() { Ok(()) } else { change(state, |paths| paths.retain(|path| !copied.contains(path))) }
}

fn change(state: &Dir, with: impl FnOnce(&mut BTreeSet<Vec<u8>>)) -> Result<()> {
    let _lock = Lock::file(state, STATE_LOCK)?;
    let mut paths = noted(state)?;
    with(&mut paths);
    if paths.is_empty() {
        return atomic::remove(state, NOTE);
    }
    let mut text = Vec::new();
    for path in paths {
        if text.len() + path.len() < MOST {
            text.extend_from_slice(&path);
            text.push(0);
        }
    }
    atomic::write(state, NOTE, &text, 0o600)
}

/// Reads every file of a snapshot and holds it against its manifest; what is rotten is noted in `state`, the server's `.toolmaster`.
///
/// # Errors
/// `Failed` if anything is not as the manifest says, naming the first; `Io`, `Interrupted`, `Unreadable`.
pub fn examine(snapshot: &Dir, state: Option<&Dir>, progress: &mut Progress) -> Result<()> {
    let Some((file, _)) = snapshot.read_if_there(generation::MANIFEST)? else { return Ok(()) };
    let list = Stream::new(file, snapshot.shown(generation::MANIFEST), b"")?;
    let mut rotten = BTreeSet::new();
    let mut first = None;
    let mut faults = 0_u64;
    verify::verify(snapshot, &generation::PARTS, b"", Some(list), progress, |path, fault| {
        let said = format!("{}: {fault}", snapshot.shown(path));
        warn!("{said}");
        faults += 1;
        first.get_or_insert(said);
        if matches!(fault, Fault::Size { .. } | Fault::Changed | Fault::Damaged | Fault::Unreadable(_)) {
            rotten.insert(path.to_vec());
        }
        Ok(())
    })?;
    state.map_or(Ok(()), |state| note(state, &rotten))?;
    match first {
        None => Ok(()),
        Some(first) => {
            let more = if faults > 1 { format!(", and {} more", faults - 1) } else { String::new() };
            Err(Error::Failed { why: format!("{first}{more}: the snapshot is not whole"), next: NEXT })
        }
    }
}

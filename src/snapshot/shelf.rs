//! The archives on a backup stick: which there are, which are too many, and whether another fits (SPEC 7).

use std::io::{BufRead, BufReader, Read};

use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::text::{Bytes, unhex_exactly};
use crate::tree::same::Limits;

const SUFFIX: &str = "_full.tar.zst";
/// For the checksum, directories and the filesystem's own needs, bytes.
const MARGIN: u64 = 256 * 1024;

/// The archives on a stick by date, the oldest first: `YYYY-MM-DD_full.tar.zst`.
///
/// # Errors
/// `Io`.
pub fn list(root: &Dir) -> Result<Vec<String>> {
    let is_ours = |name: &&str| {
        name.strip_suffix(SUFFIX).is_some_and(|date| crate::clock::parse_dir_name(&format!("{date}_000000")).is_some())
    };
    let names = root.names()?;
    Ok(names.iter().filter_map(|name| std::str::from_utf8(name).ok()).filter(is_ours).map(str::to_owned).collect())
}

/// The newest archive by date.
///
/// # Errors
/// `Io`.
pub fn newest(root: &Dir) -> Result<Option<String>> {
    Ok(list(root)?.pop())
}

/// The archives beyond `retention` (0: none) once `coming` is there.
///
/// # Errors
/// `Io`.
pub fn surplus(root: &Dir, coming: &str, retention: u32) -> Result<Vec<String>> {
    Ok(too_many(list(root)?, coming, retention))
}

/// *Pure.* The oldest of `names`, so many that with `coming` at most `retention` stay; never `coming` itself.
fn too_many(mut names: Vec<String>, coming: &str, retention: u32) -> Vec<String> {
    names.retain(|name| name != coming);
    let stay = usize::try_from(retention).unwrap_or(usize::MAX).saturating_sub(1);
    let gone = if retention == 0 { 0 } else { names.len().saturating_sub(stay) };
    names.truncate(gone);
    names
}

/// The bytes that archives take.
///
/// # Errors
/// `Io`.
pub fn size_of(root: &Dir, names: &[String]) -> Result<u64> {
    names
        .iter()
        .try_fold(0_u64, |sum, name| Ok(sum.saturating_add(root.look(name.as_bytes())?.map_or(0, |entry| entry.size))))
}

/// Removes an archive and its checksum. That goes first: a crash in between leaves an archive that is still too many,
/// and so is removed by the next run, not a checksum of nothing.
///
/// # Errors
/// `Io`.
pub fn remove(root: &Dir, name: &str) -> Result<()> {
    root.remove(checksum_name(name).as_bytes())?;
    root.remove(name.as_bytes())
}

/// The name of the file beside an archive that holds its SHA-256.
pub fn checksum_name(archive: &str) -> String {
    format!("{archive}.sha256")
}

/// What the file beside an archive says of it, if it is there and sound.
///
/// # Errors
/// `Io`, `Unreadable`.
pub fn checksum(root: &Dir, archive: &str) -> Result<Option<[u8; 32]>> {
    let Some((file, _)) = root.read_if_there(checksum_name(archive).as_bytes())? else { return Ok(None) };
    let text = std::io::read_to_string(file.take(4096)).unwrap_or_default();
    Ok(text.as_bytes().get(..64).and_then(unhex_exactly))
}

/// Whether an archive of `needed` bytes fits, if `freed` bytes become free.
///
/// # Errors
/// `Failed` with the needed and the free bytes.
pub fn check_room(root: &Dir, needed: u64, limits: Limits, freed: u64) -> Result<()> {
    if needed > limits.max_size {
        return Err(Error::Failed {
            why: format!("the archive would be {}, and the stick's filesystem ends files at 4 GiB", Bytes(needed)),
            next: "use a stick with exFAT or ext4; the archives on this one are as they were",
        });
    }
    let room = root.room()?;
    let free = room.f_bavail.saturating_mul(room.f_frsize).saturating_add(freed);
    let needed = needed.saturating_add(MARGIN);
    if needed > free {
        return Err(Error::Failed {
            why: format!("not enough room on the stick: {needed} bytes needed, {free} bytes free"),
            next: "make room there or use a larger one; the archives on it are as they were",
        });
    }
    Ok(())
}

/// Whether a snapshot's dump makes any table. Reads up to the first one.
///
/// # Errors
/// `Unreadable`.
pub fn dump_has_tables(snapshot: &Dir) -> Result<bool> {
    let Some(db) = snapshot.sub(b"db")? else { return Ok(false) };
    let Some((file, _)) = db.read_if_there(b"pg_dump.sql")? else { return Ok(false) };
    let mut input = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line of a COPY block may be huge; before the first table there are none.
        let read = (&mut input).take(1 << 20).read_until(b'\n', &mut line);
        match read.map_err(|source| Error::Unreadable { path: db.shown(b"pg_dump.sql"), source })? {
            0 => return Ok(false),
            _ if line.starts_with(b"CREATE TABLE ") => return Ok(true),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let four = names(&["1", "2", "3", "4"]);
        assert_eq!(too_many(four.clone(), "5", 4), ["1"]);
        assert_eq!(too_many(four.clone(), "4", 4), [""; 0]);
        assert_eq!(too_many(four.clone(), "5", 1), ["1", "2", "3", "4"]);
        assert_eq!(too_many(four.clone(), "5", 0), [""; 0], "0 keeps all");
        assert_eq!(too_many(four, "0", 2), ["1", "2", "3"], "whatever is coming");
    }
}

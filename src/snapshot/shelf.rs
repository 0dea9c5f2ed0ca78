//! The archives on a backup stick: which there are, which are too many, and whether another fits (SPEC 7).

use std::io::Read;

use log::warn;

use super::archive::{self, Beginning};
use super::part::Filled;
use super::retention::{self, Fate};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::os::flow::Once;
use crate::os::signal;
use crate::text::{Bytes, unhex_exactly};
use crate::tree::manifest::Header;
use crate::tree::same::Limits;

const SUFFIX: &str = "_full.tar.zst";
/// For the checksum, directories and the filesystem's own needs, bytes.
const MARGIN: u64 = 256 * 1024;

/// So much of an archive says what it is of, bytes, if its manifest's first line does: the first frame.
const QUICK: u64 = 6 << 20;

/// An archive on a stick, as its beginning says. Nothing of that is proved.
#[derive(Clone, Debug)]
pub struct Archive {
    /// `YYYY-MM-DD_full.tar.zst`, or with the time `YYYY-MM-DD_HHMMSS_full.tar.zst`.
    pub name: String,
    /// Its manifest's first line; none if the original system made it, or its beginning can't be read.
    pub header: Option<Header>,
    /// The parts that hold anything; none if that is not known.
    pub filled: Option<Filled>,
    /// Whether its beginning can be read.
    pub is_readable: bool,
}

impl Archive {
    /// Its snapshot's number; 0 if it has none.
    pub fn number(&self) -> u64 {
        self.header.as_ref().and_then(|header| header.seq).unwrap_or(0)
    }
}

/// The archives on a stick, the newest last: by the numbers of their snapshots, never by name, which the clock made. Those without a number come first, by
/// name. Only the beginning of each is read.
///
/// # Errors
/// `Io`, `Interrupted`.
pub fn archives(root: &Dir) -> Result<Vec<Archive>> {
    let mut archives = Vec::new();
    for name in root.names()?.iter().filter_map(|name| std::str::from_utf8(name).ok()).filter(|name| is_archive(name)) {
        if let Some(Entry { kind: Kind::File, .. }) = root.look(name.as_bytes())? {
            archives.push(look(root, name)?);
        }
    }
    Ok(in_order(archives))
}

/// Whether it is the name of an archive of ours or of the original system's.
fn is_archive(name: &str) -> bool {
    let time = |text: &str| crate::clock::parse_dir_name(text).is_some();
    name.strip_suffix(SUFFIX).is_some_and(|date| time(date) || time(&format!("{date}_000000")))
}

/// *Pure.* The newest last. Where one that can't be read stands nobody knows; by its name it comes after the one before.
fn in_order(archives: Vec<Archive>) -> Vec<Archive> {
    let (mut sound, mut others): (Vec<Archive>, Vec<Archive>) =
        archives.into_iter().partition(|archive| archive.is_readable);
    sound.sort_by(|a, b| (a.number(), &a.name).cmp(&(b.number(), &b.name)));
    others.sort_by(|a, b| a.name.cmp(&b.name));
    for other in others {
        let before = sound.iter().rposition(|archive| archive.name < other.name);
        sound.insert(before.map_or(0, |at| at + 1), other);
    }
    sound
}

fn look(root: &Dir, name: &str) -> Result<Archive> {
    let peeked = peek(root, name);
    signal::check()?;
    let (header, filled, is_readable) = match peeked {
        Ok(Some(Beginning { header, filled })) => (Some(header), Some(filled), true),
        Ok(None) => (None, None, true),
        // What nobody can restore holds nothing; what can't be read now perhaps can on another machine.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            warn!("{name} is damaged at its beginning: {error}");
            (None, Some(Filled::new()), false)
        }
        Err(error) => {
            warn!("{name} can't be read at its beginning: {error}");
            (None, None, false)
        }
    };
    Ok(Archive { name: name.to_owned(), header, filled, is_readable })
}

fn peek(root: &Dir, name: &str) -> std::io::Result<Option<Beginning>> {
    let open = || root.read(name.as_bytes()).map_err(std::io::Error::other);
    let (file, entry) = open()?;
    match archive::peek(Once::new(file).take(QUICK)) {
        // Cut off by us, and not said all of it.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData && entry.size > QUICK => {
            archive::peek(Once::new(open()?.0))
        }
        peeked => peeked,
    }
}

/// The names of the archives, in the order of [`archives`].
///
/// # Errors
/// As [`archives`].
pub fn list(root: &Dir) -> Result<Vec<String>> {
    Ok(archives(root)?.into_iter().map(|archive| archive.name).collect())
}

/// The newest archive, by number.
///
/// # Errors
/// As [`archives`].
pub fn newest(root: &Dir) -> Result<Option<String>> {
    Ok(list(root)?.pop())
}

/// What becomes of each but the one of the name `coming`, which is the newest and holds `filled`, with a retention (0: all stay).
pub fn fates<'a>(
    archives: &'a [Archive],
    coming: &str,
    filled: &Filled,
    retention: u32,
) -> impl Iterator<Item = (&'a str, Fate)> {
    let others: Vec<&Archive> = archives.iter().filter(|archive| archive.name != coming).collect();
    let known: Vec<Option<Filled>> = others.iter().map(|archive| archive.filled.clone()).collect();
    let fates = retention::on_stick(&known, filled, retention);
    others.into_iter().map(|archive| archive.name.as_str()).zip(fates)
}

/// Whether the archive of that name would take with it something that neither the others nor the coming one, which holds `filled`, have.
pub fn is_last_with(archives: &[Archive], name: &str, filled: &Filled) -> bool {
    let Some(at) = archives.iter().position(|archive| archive.name == name) else { return false };
    let known: Vec<Option<Filled>> = archives.iter().map(|archive| archive.filled.clone()).collect();
    retention::on_stick(&known, filled, 1).get(at) == Some(&Fate::Kept(retention::LAST_WITH))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_before_names_and_what_is_damaged_stays_where_its_name_puts_it() {
        let archive = |name: &str, number: u64, is_readable| {
            let header = Header { seq: Some(number), ..Header::complete("") };
            Archive { name: name.to_owned(), header: Some(header).filter(|_| number > 0), filled: None, is_readable }
        };
        let order = |list: &[(&str, u64, bool)]| {
            let archives = list.iter().map(|(name, number, readable)| archive(name, *number, *readable)).collect();
            in_order(archives).into_iter().map(|archive| archive.name).collect::<Vec<_>>()
        };
        assert_eq!(
            order(&[("05", 1, true), ("02", 2, true), ("03", 3, true), ("09", 0, true)]),
            ["09", "05", "02", "03"]
        );
        assert_eq!(order(&[("01", 1, true), ("02", 2, true), ("03", 0, false)]), ["01", "02", "03"]);
        assert_eq!(
            order(&[("01", 0, false), ("02", 2, true), ("04", 3, true), ("03", 0, false)]),
            ["01", "02", "03", "04"]
        );
    }

    #[test]
    fn names_are_ours_or_the_original_system_s() {
        let is = |name| is_archive(name);
        assert!(is("2026-01-31_full.tar.zst") && is("2026-01-31_023000_full.tar.zst"));
        assert!(is("2026-01-31_023000-2_full.tar.zst"));
        for other in
            ["notes_full.tar.zst", "2026-13-31_full.tar.zst", "2026-01-31_full.tar.zst.sha256", "_full.tar.zst"]
        {
            assert!(!is(other), "{other}");
        }
    }
}

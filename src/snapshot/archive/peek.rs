//! Reads no more of an archive than says what it is of: its manifest comes first, and the database's dump after that.

use std::io::{self, BufReader, Read};

use super::MANIFEST;
use super::members::{Kind, Members, damage};
use super::unframe::Unframed;
use crate::snapshot::part::{self, Filled, Part};
use crate::text::Shown;
use crate::tree::manifest::{Header, Reader};

/// What an archive is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The manifest's first line.
    pub header: Header,
    /// The parts of the snapshot that hold anything.
    pub filled: Filled,
}

/// The beginning of an archive; `None` if it has no manifest (the original system made it). Nothing of it is proved.
///
/// # Errors
/// Of the input; `InvalidData` if it is damaged, or nothing that an archive begins with.
pub fn peek(input: impl Read + Send + 'static) -> io::Result<Option<Beginning>> {
    let mut members = Members::new(Unframed::new(input)?);
    let mut found: Option<Beginning> = None;
    while let Some(member) = members.next()? {
        let path = member.path.splitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default();
        match (&mut found, member.kind) {
            // Links and devices of other makers are left out by who reads it.
            (_, Kind::Dir | Kind::Bare(_)) => {}
            (None, Kind::File) if path == MANIFEST && member.proof.is_some() => {
                let (beginning, is_known) = manifest(&mut members)?;
                if is_known {
                    return Ok(Some(beginning));
                }
                found = Some(beginning);
            }
            (Some(beginning), Kind::File) if path == [part::DUMP.0, b"/", part::DUMP.1].concat() => {
                beginning.filled.extend(part::of_dump(&mut members)?);
                break;
            }
            // The database's files come first.
            (Some(_), Kind::File) if path.starts_with(part::DUMP.0) => {}
            (_, Kind::File) => break,
            (_, Kind::Other(what)) => return Err(damage(format!("{} is a {what}", Shown(&member.path)))),
        }
    }
    Ok(found)
}

/// The manifest's first line, and whether it says what is filled. One of the first version lists the files, which say it too, but for the
/// database.
fn manifest(input: impl Read) -> io::Result<(Beginning, bool)> {
    let mut lines = Reader::new(BufReader::new(input))?;
    let header = lines.header().clone();
    if !header.is_complete() {
        return Err(damage("its manifest is that of a snapshot that was never finished"));
    }
    if let Some(filled) = part::of_header(&header) {
        return Ok((Beginning { header, filled }, true));
    }
    let mut filled = Filled::new();
    while let Some(file) = lines.next_file()? {
        for part in [Part::Docviewer, Part::Master] {
            let below = file.path.strip_prefix(part.name().as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
            if below.is_some_and(|path| path != b"meta.json") {
                filled.insert(part);
            }
        }
    }
    Ok((Beginning { header, filled }, false))
}

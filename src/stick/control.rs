//! `/.toolmaster` on a stick, read: the role that it claims and its manifest. Nothing there is believed further than
//! this file checks it.

use std::io::Read;

use super::role::{MAX_ROLE, Role, word};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::text::Shown;
use crate::tree::manifest::{self, Header};
use crate::tree::stream::Stream;

/// Its name in a stick's root.
pub const CONTROL: &[u8] = b".toolmaster";
/// The role file's name in it.
pub const ROLE: &[u8] = b"role";
/// The manifest's name in it.
pub const MANIFEST: &[u8] = b"manifest.json";

/// Why a role was not proven, or nothing if it was. Reads at most [`MAX_ROLE`] bytes.
pub fn role_trouble(root: &Dir, role: Role) -> Option<String> {
    let read = || {
        let control = root.sub(CONTROL).ok().flatten()?;
        let (file, _) = control.read(ROLE).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_ROLE).read_to_end(&mut bytes).ok().map(|_| bytes)
    };
    let Some(bytes) = read() else { return Some("it has no readable /.toolmaster/role".to_owned()) };
    if word(&bytes) == Some(role.word()) {
        return None;
    }
    Some(format!("its role is \"{}\", not \"{}\"", Shown(bytes.trim_ascii()), role.word()))
}

/// The first line of a stick's manifest, if it has one that can be read.
pub fn header(root: &Dir) -> Option<Header> {
    let control = root.sub(CONTROL).ok().flatten()?;
    let (file, _) = control.read_if_there(MANIFEST).ok().flatten()?;
    manifest::Reader::new(file).ok().map(|reader| reader.header().clone())
}

/// A stick's manifest, checked from its first line to its last; none on a stick that the original system made.
///
/// # Errors
/// `Refused` if it says `incomplete` or is not sound.
pub fn whole_manifest(root: &Dir) -> Result<Option<Header>> {
    let unsound = |why: String| Error::Refused {
        why: format!("the stick is not whole: {why}"),
        next: "fill it again at the server (plug it in there)".to_owned(),
    };
    let shown = || root.shown(&[CONTROL, MANIFEST].join(&b'/'));
    let Some(control) = root.sub(CONTROL)? else { return Ok(None) };
    match control.look(MANIFEST)? {
        None => return Ok(None),
        Some(Entry { kind: Kind::File, .. }) => {}
        Some(_) => return Err(unsound(format!("{} is not a file", shown()))),
    }
    let (file, _) = control.read(MANIFEST)?;
    let header = manifest::check(file).map_err(|error| unsound(format!("{}: {error}", shown())))?;
    if header.is_complete() { Ok(Some(header)) } else { Err(unsound("writing to it was cut off".to_owned())) }
}

/// The files of a checked manifest below `prefix`, as a stream.
///
/// # Errors
/// `Unreadable`, `Io`.
pub fn manifest_files(root: &Dir, prefix: &'static [u8]) -> Result<Stream> {
    let control = root.sub(CONTROL)?.ok_or_else(|| {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        Error::io("open", &root.path_of(CONTROL), source)
    })?;
    let (file, _) = control.read(MANIFEST)?;
    Stream::new(file, control.shown(MANIFEST), prefix)
}

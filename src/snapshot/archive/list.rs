//! Which files an archive says that it has, without proving them.

use std::io::{self, Read};
use std::ops::ControlFlow;

use super::MANIFEST;
use super::failing::Failing;
use super::members::{Kind, Member, Members, damage};
use super::root::Root;
use super::unframe::Unframed;
use crate::error::{Error, Result};
use crate::os::signal;
use crate::tree::manifest::{self, Header};

/// A file of an archive.
pub struct Seen<'a> {
    /// Path below the archive's root.
    pub path: &'a [u8],
    /// Bytes.
    pub size: u64,
    /// Last change, nanoseconds since 1970.
    pub mtime: i64,
}

/// Shows each file, until it is told to stop; the manifest's first line. With a manifest, which comes first, little of the archive is
/// read; without one (the original system made it) all.
///
/// # Errors
/// As [`super::read()`]'s, as far as it is read.
pub fn list(
    input: impl Read + Send + 'static,
    shown: &str,
    mut each: impl FnMut(Seen<'_>) -> ControlFlow<()>,
) -> Result<Option<Header>> {
    let unframed = Unframed::new(input).map_err(|error| Error::Io {
        what: "start a thread to read",
        path: shown.to_owned(),
        source: error,
    })?;
    let (mut members, mut root, mut last) = (Members::new(unframed), Root::default(), Vec::new());
    loop {
        signal::check()?;
        let entry = members.next().and_then(|member| match member {
            Some(member) => root.below(&member).map(|path| Some((member, path))),
            None => Ok(None),
        });
        let step = match entry {
            Ok(None) => return Ok(None),
            Ok(Some((member, path))) => {
                last = path;
                one(&mut members, &member, &last, &mut each)
            }
            Err(error) => Err(error),
        };
        match step {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(header)) => return Ok(header),
            Err(error) => return Err(Failing { shown, last }.error(error)),
        }
    }
}

/// The manifest tells of all; any other file of itself.
fn one(
    members: &mut Members<Unframed>,
    member: &Member,
    path: &[u8],
    each: &mut impl FnMut(Seen<'_>) -> ControlFlow<()>,
) -> io::Result<ControlFlow<Option<Header>>> {
    if member.kind != Kind::File {
        return Ok(ControlFlow::Continue(()));
    }
    if path != MANIFEST || member.proof.is_none() {
        let seen = each(Seen { path, size: member.size, mtime: member.mtime });
        return Ok(seen.map_break(|()| None));
    }
    let mut lines = manifest::Reader::new(members)?;
    if !lines.header().is_complete() {
        return Err(damage("its manifest is that of a snapshot that was never finished"));
    }
    while let Some(file) = lines.next_file()? {
        if each(Seen { path: &file.path, size: file.size, mtime: file.mtime }).is_break() {
            break;
        }
    }
    Ok(ControlFlow::Break(Some(lines.header().clone())))
}

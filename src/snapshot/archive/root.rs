//! *Pure.* The directory that an archive's entries lie in.

use std::io;

use super::MANIFEST;
use super::members::{Kind, Member, check_path, damage};
use crate::snapshot::generation::PARTS;
use crate::text::Shown;

/// What the first entry shows: a snapshot's directory; empty where an archive was made from inside it.
#[derive(Default)]
pub(super) struct Root(Option<Vec<u8>>);

impl Root {
    /// An entry's path below the root; empty for the root itself.
    ///
    /// # Errors
    /// `InvalidData` for one that lies elsewhere, or leads out.
    pub(super) fn below(&mut self, member: &Member) -> io::Result<Vec<u8>> {
        let mut path = member.path.as_slice();
        while let Some(rest) = path.strip_prefix(b"./") {
            path = rest;
        }
        let path = if path == b"." { b"" } else { path.strip_suffix(b"/").unwrap_or(path) };
        if path.is_empty() {
            if member.kind != Kind::Dir || member.path.is_empty() {
                return Err(damage("an entry has no name"));
            }
            self.0.get_or_insert_default();
            return Ok(Vec::new());
        }
        check_path(path)?;
        let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        let inside = first == MANIFEST || PARTS.iter().any(|part| part.as_bytes() == first);
        let root = self.0.get_or_insert_with(|| if inside { Vec::new() } else { first.to_vec() });
        if root.is_empty() {
            Ok(path.to_vec())
        } else if path == root.as_slice() && member.kind == Kind::Dir {
            Ok(Vec::new())
        } else {
            let below = path.strip_prefix(root.as_slice()).and_then(|rest| rest.strip_prefix(b"/"));
            below.map(<[u8]>::to_vec).ok_or_else(|| damage(format!("{} lies outside of {}", Shown(path), Shown(root))))
        }
    }
}

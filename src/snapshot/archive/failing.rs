//! What is told of an archive that can't be read.

use std::io;

use crate::error::Error;
use crate::text::Shown;

const NOT_TAKEN: &str = "is sound as far as it was read, but of a form that is not taken here";

/// Whether an archive was refused for its form alone: another tool restores it.
pub fn is_not_taken(error: &Error) -> bool {
    matches!(error, Error::Refused { why, .. } if why.contains(NOT_TAKEN))
}

/// Where reading had come to.
pub(super) struct Failing<'a> {
    /// The archive in messages.
    pub(super) shown: &'a str,
    /// The last entry's path.
    pub(super) last: Vec<u8>,
}

impl Failing<'_> {
    /// What the operator is told.
    pub(super) fn error(&self, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::Unsupported {
            return Error::Refused {
                why: format!("{} {NOT_TAKEN}: {source}", self.shown),
                next: "unpack it on a PC: tar -I \"zstd -d --long=31\" -xf FILE".to_owned(),
            };
        }
        if source.kind() != io::ErrorKind::InvalidData {
            return Error::Unreadable { path: self.shown.to_owned(), source };
        }
        let place =
            if self.last.is_empty() { "at its beginning".into() } else { format!("after {}", Shown(&self.last)) };
        refused(format!("{} is damaged {place}: {source}", self.shown))
    }
}

/// An archive that is damaged.
pub(super) fn refused(why: String) -> Error {
    Error::Refused {
        why,
        next: "use another archive; `toolmaster restore --list --check` tells which are sound".to_owned(),
    }
}

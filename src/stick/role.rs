//! *Pure.* The kinds of sticks, and the role file that says which kind a stick is (SPEC 5).

use std::path::Path;

use crate::os::mount::{PARKED_BACKUP, PARKED_DATA};
use crate::os::systemd;
use crate::settings::Labels;

/// What a stick is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Brings data in.
    Ingest,
    /// Carries data to terminals.
    Dist,
    /// Holds backups.
    Backup,
}

/// So much of a role file is read.
pub const MAX_ROLE: u64 = 64;

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Ingest, Role::Dist, Role::Backup];

    /// The kind of stick that carries a label.
    pub fn of_label(label: &str, labels: &Labels) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.label(labels) == label)
    }

    /// The template of the unit that works on its sticks, without `@`.
    pub fn unit(self) -> &'static str {
        match self {
            Role::Ingest => "usb-ingest",
            Role::Dist => "usb-dist-export",
            Role::Backup => "usb-backup",
        }
    }

    /// The unit that works on the stick on a device, `usb-ingest@sda1.service`: the instance is the node's name below `/dev`.
    pub fn unit_for(self, node: &Path) -> String {
        let name = node.strip_prefix("/dev").unwrap_or(node).to_string_lossy();
        format!("{}@{}.service", self.unit(), systemd::escape(&name))
    }

    /// Where an operator looks for its sticks after their job.
    pub fn parking(self) -> &'static Path {
        Path::new(match self {
            Role::Ingest | Role::Dist => PARKED_DATA,
            Role::Backup => PARKED_BACKUP,
        })
    }

    /// The word in `/.toolmaster/role`.
    pub fn word(self) -> &'static str {
        match self {
            Role::Ingest => "INGEST",
            Role::Dist => "DIST",
            Role::Backup => "BACKUP",
        }
    }

    /// The label that its sticks carry.
    pub fn label(self, labels: &Labels) -> &str {
        match self {
            Role::Ingest => &labels.ingest,
            Role::Dist => &labels.dist,
            Role::Backup => &labels.backup,
        }
    }
}

/// On a command line, in capitals or not.
impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let found = Role::ALL.into_iter().find(|role| role.word().eq_ignore_ascii_case(text));
        found.ok_or_else(|| "a role is INGEST, DIST or BACKUP".to_owned())
    }
}

/// The word in a role file: white space and Notepad's byte order mark do not count.
pub fn word(bytes: &[u8]) -> Option<&str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(word(b" INGEST\r\n"), Some("INGEST"));
        assert_eq!(word(b"\xef\xbb\xbfDIST"), Some("DIST"));
        assert_eq!(word(b"\xff\xfeI\0"), None);
        assert_ne!(word(b"INGEST\0\0"), Some("INGEST"));
    }
}

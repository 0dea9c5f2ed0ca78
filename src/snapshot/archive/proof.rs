//! *Pure.* A digest over the files of a manifest: equal for two lists if and only if they are equal.

use sha2::{Digest, Sha256};

use crate::tree::manifest::Listed;

/// Counts and digests files in their order.
#[derive(Default)]
pub(super) struct Roll {
    hasher: Sha256,
    /// How many files.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Roll {
    /// The next file. A file without a SHA-256 digests differently from any with one.
    pub(super) fn push(&mut self, file: &Listed) {
        self.hasher.update((file.path.len() as u64).to_le_bytes());
        self.hasher.update(&file.path);
        self.hasher.update(file.size.to_le_bytes());
        self.hasher.update(file.mtime.to_le_bytes());
        self.hasher.update([u8::from(file.sha256.is_some())]);
        self.hasher.update(file.sha256.unwrap_or_default());
        self.files += 1;
        self.bytes = self.bytes.saturating_add(file.size);
    }

    /// The digest of all.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }
}
